"""The wallet: fees rounded up, places reserved, money that runs dry, bonuses that are paid as often as they are asked for."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdstack.fakes.prolific import wallet as rules
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.fakes.prolific.settings import FEES_BP, Settings
from tests.fakes.lab import APPROVING, CODE, LONG, Lab
from tests.size import FULL


@given(st.integers(1, 10**7), st.sampled_from([0, *FEES_BP.values()]), st.sampled_from([0, 2000]), st.booleans())
def test_what_a_payment_costs_is_rounded_up_to_the_minor_unit(amount: int, fee: int, vat: int, on_all: bool) -> None:
    cost = rules.price(Settings(fee_bp=fee, vat_bp=vat, vat_on_all=on_all), amount)
    base = Decimal(amount + cost.fees if on_all else cost.fees)
    assert 0 <= cost.fees - Decimal(amount) * fee / 10_000 < 1
    assert 0 <= cost.vat - base * vat / 10_000 < 1
    assert cost.total == cost.amount + cost.fees + cost.vat
    parts = rules.breakdown(Settings(fee_bp=fee, vat_bp=vat, vat_on_all=on_all), amount)
    assert sum(parts.values()) == amount
    assert min(parts.values()) >= 0


def test_fees_and_vat_are_in_every_figure() -> None:
    lab = Lab(fee_bp=4280, vat_bp=2000)
    one = 101 + 44 + 9  # 43.228 and 8.8 rounded up
    calculated = lab.api.post("/study-cost-calculator/", {"reward": 101, "total_available_places": 2})
    study = lab.live(reward=101)
    assert calculated == {"total_cost": 2 * one}
    assert (
        lab.api.get(f"/projects/{lab.api.get(f'/studies/{study}/')['project']}/studies/")["results"][0]["total_cost"]
        == 2 * one
    )
    projected = lab.api.get(f"/studies/{study}/cost/", is_projected="true")["rewards"]
    assert {kind: part["amount"] for kind, part in projected.items()} == {"rewards": 202, "fees": 88, "tax": 18}
    assert (lab.fake.balance(), lab.fake.available()) == (10_000, 10_000 - 2 * one)
    lab.handed_in(study, code=APPROVING)
    assert (lab.fake.balance(), lab.fake.available()) == (10_000 - one, 10_000 - 2 * one)
    balance = lab.api.get(f"/workspaces/{lab.fake.workspace.id}/balance/")
    assert (balance["total_balance"], balance["available_balance"]) == (10_000 - one, 10_000 - 2 * one)
    assert sum(balance["balance_breakdown"].values()) == 10_000 - one
    spent = lab.api.get(f"/studies/{study}/cost/")["rewards"]
    assert sum(part["amount"] for part in spent.values()) == one


def test_publishing_and_raising_need_money_for_all_places() -> None:
    lab = Lab(wallet=250)
    study = lab.draft(total_available_places=3)
    path = f"/studies/{study}/"
    assert "Insufficient funds" in lab.api.refused("POST", f"{path}transition/", {"action": "PUBLISH"})
    assert lab.status(study) == "UNPUBLISHED"
    lab.api.patch(path, {"total_available_places": 2})
    lab.api.act(study, "PUBLISH")
    assert "Insufficient funds" in lab.api.refused("PATCH", path, {"total_available_places": 3})
    assert lab.api.get(path)["total_available_places"] == 2
    lab.fake.top_up(50)
    lab.api.patch(path, {"total_available_places": 3})
    assert lab.fake.available() == 0


def test_a_draft_costs_nothing_and_a_stopped_study_gives_back_what_it_held() -> None:
    lab = Lab()
    lab.draft(total_available_places=99)
    assert lab.fake.available() == 10_000
    study = lab.live(total_available_places=9)
    lab.begun(study)
    assert lab.fake.available() == 9_100
    lab.api.act(study, "PAUSE")
    assert lab.fake.available() == 9_100
    lab.api.act(study, "STOP")
    assert lab.fake.available() == 9_900


def test_bonuses_are_in_major_units_and_bear_the_fee() -> None:
    lab = Lab(fee_bp=3330)
    study = lab.live()
    submission = lab.handed_in(study)
    bulk = lab.bonus(study, (submission, "1.50"), ("anna", "30"))
    assert (bulk["amount"], bulk["fees"], bulk["total_amount"]) == (3_150, 50 + 999, 3_150 + 1_049)


@pytest.mark.parametrize("line", ["zoe,1.00", "{s},-1", "{s},1.005", "{s},0", "{s}", "{s},1,000", "{s},£1"])
def test_one_wrong_line_refuses_the_whole_bonus(line: str) -> None:
    lab = Lab()
    study = lab.live()
    submission = lab.handed_in(study)
    csv = f"{submission},1.00\n{line.format(s=submission)}\n"
    lab.api.refused("POST", "/submissions/bonus-payments/", {"study_id": study, "csv_bonuses": csv})
    lab.fake.advance(60)
    assert lab.fake.wallet_lines() == []


def test_a_bonus_is_for_200_at_most() -> None:
    lab = Lab()
    study = lab.live()
    submission = lab.handed_in(study)
    lab.bonus(study, *[(submission, "0.01")] * 200)
    csv = f"{submission},0.01\n" * 201
    lab.api.refused("POST", "/submissions/bonus-payments/", {"study_id": study, "csv_bonuses": csv})


def test_pay_is_queued_and_twice_pays_twice() -> None:
    lab = Lab(pay_lag_s=5)
    study = lab.live()
    submission = lab.handed_in(study)
    bulk = lab.bonus(study, (submission, "1.50"))["id"]
    for _ in range(2):
        lab.api.call("POST", f"/bulk-bonus-payments/{bulk}/pay/", expect=202)
    assert lab.submission(submission)["bonus_payments"] == []
    lab.fake.advance(6)
    assert lab.submission(submission)["bonus_payments"] == [150, 150]
    assert lab.fake.balance() == 9_700
    assert [line.source for line in lab.fake.wallet_lines()] == [bulk, bulk]
    assert sum(part["amount"] for part in lab.api.get(f"/studies/{study}/cost/")["bonuses"].values()) == 300


def test_a_bonus_is_not_paid_from_what_is_reserved() -> None:
    lab = Lab(wallet=300, pay_lag_s=5)
    study = lab.live()
    submission = lab.handed_in(study)
    bulk = lab.bonus(study, (submission, "1.00"))["id"]
    lab.api.post(f"/bulk-bonus-payments/{bulk}/pay/")
    lab.api.patch(f"/studies/{study}/", {"total_available_places": 3})  # takes the money meanwhile
    assert "Insufficient funds" in lab.api.refused("POST", f"/bulk-bonus-payments/{bulk}/pay/")
    lab.fake.advance(6)
    assert lab.submission(submission)["bonus_payments"] == []
    assert lab.fake.effects()[-1].verb == "bonus_failed"


def test_the_journal_says_who_did_what_to_which_study() -> None:
    lab = Lab()
    study = lab.live(internal_name="mine")
    submission = lab.handed_in(study)
    lab.decide(submission, "APPROVE")
    said = [(effect.by, effect.verb, effect.key) for effect in lab.fake.effects()]
    assert ("api", "create_study", "mine") in said
    assert ("api", "publish", "mine") in said
    assert ("person", "reserve", "") in said
    assert ("api", "approve", "") in said


_STEPS = st.sampled_from(
    ["publish", "raise", "raise", "reserve", "reserve", "reserve", "complete", "complete", "approving", "screen", "screen",
     "return", "approve", "approve", "reject", "stop", "pause", "go", "go", "bonus", "pay", "pay", "wait", "long", "bulk", "draw"]
)  # fmt: skip


@settings(max_examples=1000 if FULL else 100, deadline=None)
@given(
    st.lists(st.tuples(_STEPS, st.integers(0, 9)), min_size=30, max_size=80), st.integers(250, 800), st.sampled_from([0, 4280]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_money_never_goes_below_zero_whatever_happens(
    steps: list[tuple[str, int]], paid_in: int, fee: int, full_when_taken: bool, freed_is_active: bool
) -> None:
    lab = Lab(wallet=paid_in, fee_bp=fee, full_when_taken=full_when_taken, freed_is_active=freed_is_active)
    slots = {"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 30, "slots": 2}
    codes = [
        {"code": CODE, "code_type": "X", "actions": []},
        {"code": APPROVING, "code_type": "X", "actions": [{"action": "AUTOMATICALLY_APPROVE"}]},
        {"code": "S", "code_type": "X", "actions": [slots]},
    ]
    studies = [lab.draft(completion_codes=codes, maximum_allowed_time=29) for _ in range(2)]
    lab.api.send("POST", f"/studies/{studies[0]}/transition/", {"action": "PUBLISH"})
    bulks: list[str] = []
    taken_out = 0
    for number, (step, which) in enumerate(steps):
        study = studies[which % 2]
        inside = [s.id for s in lab.fake.world.submissions.values()]
        submission = inside[which % len(inside)] if inside else "none"
        transition = {"publish": "PUBLISH", "stop": "STOP", "pause": "PAUSE", "go": "START"}
        try:
            match step:
                case "publish" | "stop" | "pause" | "go":
                    lab.api.send("POST", f"/studies/{study}/transition/", {"action": transition[step]})
                case "raise":
                    lab.api.send(
                        "PATCH",
                        f"/studies/{study}/",
                        {"total_available_places": lab.fake.world.study(study).places + 1},
                    )
                case "reserve":
                    lab.fake.start(lab.fake.reserve(study, f"p{number}").id)
                case "complete" | "approving" | "screen":
                    lab.fake.complete(submission, {"complete": CODE, "approving": APPROVING, "screen": "S"}[step])
                case "return":
                    lab.fake.give_back(submission)
                case "approve":
                    lab.api.send("POST", f"/submissions/{submission}/transition/", {"action": "APPROVE"})
                case "reject":
                    body = {"action": "REJECT", "message": LONG, "rejection_category": "OTHER"}
                    lab.api.send("POST", f"/submissions/{submission}/transition/", body)
                case "bulk":
                    lab.api.send("POST", "/submissions/bulk-approve/", {"submission_ids": inside})
                case "bonus":
                    csv = {"study_id": study, "csv_bonuses": f"{submission},0.{which}5"}
                    made = lab.api.send("POST", "/submissions/bonus-payments/", csv)
                    bulks += [made.json()["id"]] if made.ok else []
                case "pay" if bulks:
                    lab.api.send("POST", f"/bulk-bonus-payments/{bulks[which % len(bulks)]}/pay/")
                case "draw":
                    lab.fake.top_up(-10 * which)
                    taken_out += 10 * which
                case "wait":
                    lab.fake.advance(which * 300)
                case "long":
                    lab.fake.advance(which * 3 * 86_400)
        except Refusal:
            pass
        assert 0 <= lab.fake.available() <= lab.fake.balance()
        assert all(lab.fake.world.free_places(each) >= 0 for each in lab.fake.world.studies.values())
        spent = sum(line.total for line in lab.fake.wallet_lines())
        assert lab.fake.balance() == paid_in - taken_out - spent
