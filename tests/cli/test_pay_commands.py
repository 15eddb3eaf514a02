"""`pay` and `cost` for a panel without an interface: over its books and our ledger as they lie in a folder, no process running."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowdstack.cli.main import run
from crowdstack.folder import Folder
from crowdstack.model import Drained, EventKind, Money, RunState
from crowdstack.plan.actions import ApproveVisit, CloseStudy, FixTopUp, OpenStudy, TopUp
from crowdstack.providers.generic import GenericProvider
from crowdstack.reconcile.act import record_and_send
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, Inbox, items
from tests.plan.builders import CENTS_5, desired

PANEL = {"type": "generic", "fee_bp": 2000, "vat_bp": 0}
CENTS_6 = Money(6, "USD")  # with the fee

Call = Callable[..., str]


@pytest.fixture
def crowdstack(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command, in a folder where ann and bob were paid for a visit that took longer than was said, and ann topped up."""
    folder = Folder(tmp_path)
    wish = replace(
        desired(items=2, estimated_s=1, top_up=CENTS_5, provider=PANEL, minimum_hourly=Money(18_000, "USD")), task=TASK
    )
    settings = {"desired": wish.to_settings(), "spec": {"metadata": {}}, "stack": {}}
    with closing(PeeweeStore(folder.store)) as store, closing(GenericProvider(folder.panel_books, PANEL)) as books:
        found = store.open_run(TASK, settings=settings, items=items("a", "b"), repeats=1, fresh=False, now=NOW)
        inbox = Inbox(store, found)
        _, units, _ = store.unoffered(found.id, 10)
        holds = [
            inbox.hold(unit.unit, name, inbox.arrive(name, f"panel-{name}"))
            for unit, name in zip(units, ("ann", "bob"), strict=True)
        ]
        for hold in holds:
            inbox.answer(hold)
            inbox.leave(hold)
        inbox.say(EventKind.DRAINED, Drained())
        inbox.deliver()
        study: Any = found.id
        of = [{"study": study, "visit": h.visit, "worker": h.worker, "submission": f"panel-{h.worker}"} for h in holds]
        topped = {"payment": TopUp.name(holds[0].visit), "net": CENTS_5, "amount": CENTS_6, "reason": "longer"}
        for action in (
            OpenStudy(study=study, places=2, gross=CENTS_6, top_up=CENTS_6, reward=CENTS_5, title="Birds"),
            *(ApproveVisit(**visit, amount=CENTS_6) for visit in of),
            CloseStudy(study=study),
            FixTopUp(study=study, net=CENTS_5, amount=CENTS_6, median_s=2),
            TopUp(**of[0], **topped),
        ):
            refused = record_and_send(
                found.id, [action], store=store, provider=books, budget=None, may_spend=lambda: True, now=NOW
            )
            assert refused == {}
        store.want(found.id, RunState.DESTROYED, NOW)
        store.set_reached(found.id, RunState.DESTROYED, NOW)

    def call(*arguments: str, code: int = 0) -> str:
        capfd.readouterr()
        assert run(["--state", str(tmp_path), *arguments]) == code, capfd.readouterr().err
        said = capfd.readouterr()
        return said.out or said.err

    return call


def listed(crowdstack: Call) -> dict[tuple[str, str], tuple[str, str]]:
    rows = list(csv.DictReader(crowdstack("pay", "list", "-o", "csv").splitlines()))
    return {(row["visit"], row["purpose"].partition(":")[0]): (row["amount"], row["state"]) for row in rows}


def imported(crowdstack: Call, folder: Path, text: str, code: int = 0) -> str:
    (folder / "said.csv").write_text(text)
    return crowdstack("pay", "import", str(folder / "said.csv"), code=code)


def cost(crowdstack: Call) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(crowdstack("cost", "-o", "json"))
    return told


def test_all_that_is_to_be_paid_is_on_the_list(crowdstack: Call) -> None:
    crowdstack("pay", "bonus", "bob", "0.10 USD", "--reason", "thorough", "--id", "thanks", "--yes")
    assert listed(crowdstack) == {
        ("panel-ann", "reward"): ("0.05 USD", "to_pay"),
        ("panel-ann", "bonus"): ("0.05 USD", "to_pay"),
        ("panel-bob", "reward"): ("0.05 USD", "to_pay"),
        ("panel-bob", "bonus"): ("0.10 USD", "to_pay"),
    }
    told = cost(crowdstack)
    assert (told["paid"], told["of_it_bonuses"], told["of_it_top_ups"]) == ("0.30 USD", "0.12 USD", "0.06 USD")


def test_what_the_panel_declined_is_spent_nowhere_and_nothing_more_is_owed_for_it(
    crowdstack: Call, tmp_path: Path
) -> None:
    before = cost(crowdstack)
    assert (before["paid"], before["may_still_be_charged"]) == ("0.18 USD", "0.06 USD")  # bob's top-up
    for news in (1, 0):
        said = imported(crowdstack, tmp_path, "visit,state\npanel-bob,declined\n")
        assert said == f"1 lines, {news} new\n"
        told = cost(crowdstack)
        assert (told["paid"], told["by_the_providers_books"]) == ("0.12 USD", "0.12 USD")
        assert (told["may_still_be_charged"], told["most_in_all"]) == ("0.00 USD", "0.12 USD")
    imported(crowdstack, tmp_path, "visit,state\npanel-bob,paid\n")
    assert cost(crowdstack)["most_in_all"] == before["most_in_all"]


def test_a_bonus_may_be_declined_alone(crowdstack: Call, tmp_path: Path) -> None:
    crowdstack("pay", "bonus", "bob", "0.10 USD", "--reason", "thorough", "--id", "thanks", "--yes")
    imported(crowdstack, tmp_path, "visit,purpose,state\npanel-bob,bonus:thanks,declined\n")
    told = cost(crowdstack)
    assert (told["paid"], told["of_it_bonuses"], told["of_it_top_ups"]) == ("0.18 USD", "0.00 USD", "0.06 USD")
    assert listed(crowdstack)["panel-bob", "reward"] == ("0.05 USD", "to_pay")


def test_a_file_with_a_fault_changes_nothing(crowdstack: Call, tmp_path: Path) -> None:
    before = listed(crowdstack)
    said = imported(crowdstack, tmp_path, "visit,state\npanel-ann,paid\npanel-eve,paid\n", code=4)
    assert "visit 'panel-eve' is not on the payment list" in said
    assert "column 'state'" in imported(crowdstack, tmp_path, "visit\npanel-ann\n", code=2)
    assert listed(crowdstack) == before


def test_cost_says_what_an_hour_was_really_paid(crowdstack: Call) -> None:
    pay = cost(crowdstack)["pay"]
    assert (pay["visits"], pay["per_hour"], pay["on_top"], pay["verdict"]) == (
        2,
        "36.00 USD",
        "0.05 USD",
        "below the minimum",
    )
    assert "36.00 USD an hour by the median of 2 visits" in crowdstack("cost")


def test_what_a_run_that_is_over_still_owes_is_paid_by_a_command(crowdstack: Call) -> None:
    for _ in range(2):
        assert crowdstack("pay", "settle") == "nothing is owed by runs that are over\n"
        assert listed(crowdstack)["panel-bob", "bonus"] == ("0.05 USD", "to_pay")
        assert cost(crowdstack)["most_in_all"] == cost(crowdstack)["paid"] == "0.24 USD"


def test_no_payment_of_a_persons_takes_the_name_of_a_top_up(crowdstack: Call) -> None:
    said = crowdstack("pay", "bonus", "bob", "0.10 USD", "--reason", "x", "--id", "top_up:1", "--yes", code=2)
    assert "'top_up:1' is the name of a top-up" in said
