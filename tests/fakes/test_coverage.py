"""Seeded random runs take every transition that there is, on no other path, and the same seed replays exactly."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timezone

from crowdstack.fakes.prolific import TRANSITIONS, Faults
from crowdstack.fakes.prolific.crowd import Conduct, Crowd, Outcome, Visit
from tests.fakes.lab import APPROVING, CODE, LONG, Lab
from tests.size import FULL

SEEDS = 400 if FULL else 30
CODES = [
    {"code": CODE, "code_type": "COMPLETED", "actions": [{"action": "MANUALLY_REVIEW"}]},
    {"code": APPROVING, "code_type": "OTHER", "actions": [{"action": "AUTOMATICALLY_APPROVE"}]},
    {"code": "SCREEN", "code_type": "SCREENED_OUT", "actions": [{"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 10, "slots": 1}]},
    {"code": "PART", "code_type": "OTHER", "actor": "researcher", "actions": [{"action": "DYNAMIC_PAYMENT"}]},
    {"code": "SERVER", "code_type": "OTHER", "actor": "researcher", "actions": [{"action": "MANUALLY_REVIEW"}]},
    {"code": "SERVER-PAYS", "code_type": "OTHER", "actor": "researcher", "actions": [{"action": "AUTOMATICALLY_APPROVE"}]},
    {"code": "SERVER-SCREENS", "code_type": "OTHER", "actor": "researcher", "actions": [{"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 10, "slots": 1}]},
]  # fmt: skip
FAULTS = {"429": 0.05, "5xx_before": 0.02, "5xx_after": 0.02, "drop_after": 0.02, "timeout_after": 0.02, "stale": 0.2}


def run(seed: int) -> Lab:
    """A researcher who presses at random, and a crowd."""
    draw = random.Random(seed)
    lab = Lab(
        seed=seed, wallet=draw.choice([400, 2_000]), faults=Faults(seed, FAULTS), publishing_s=2,
        full_when_taken=draw.random() < 0.3, freed_is_active=draw.random() < 0.5,
    )  # fmt: skip

    def press(path: str, **body: object) -> None:
        try:
            lab.api.send("POST", path, body)
        except OSError:  # of requests: lost on the way
            pass

    def work(visit: Visit) -> Outcome:
        return Outcome(draw.uniform(30, 600), draw.choice([CODE, CODE, APPROVING, "SCREEN"]))

    lazy = draw.choice([0, 0, 200])
    studies = []
    for _ in range(3):
        fields = {"completion_codes": CODES, "total_available_places": draw.randint(1, 3), "maximum_allowed_time": 29}
        try:
            studies.append(lab.draft(**fields))
        except (AssertionError, OSError):
            pass
    crowd = Crowd(
        lab.fake,
        work,
        size=8,
        seed=seed,
        conduct=Conduct(never_starts=0.1, returns=0.15, times_out=0.15, looks_every_s=600),
    )
    for _ in range(60):
        crowd.run_until(lab.fake.now + draw.choice([1, 60, 600, 600, 86_400]))
        if studies:
            study = draw.choice(studies)
            soon = datetime.fromtimestamp(lab.fake.now + draw.choice([60, 3600]), timezone.utc).isoformat()
            action = draw.choice(
                ["PUBLISH", "PUBLISH", "SCHEDULE_PUBLISH", "CANCEL_PUBLISH", "PAUSE", "START", "START", "STOP"]
            )
            press(f"/studies/{study}/transition/", action=action, publish_at=soon)
            if draw.random() < 0.3:
                places = lab.fake.world.studies[study].places + 1
                try:
                    lab.api.send("PATCH", f"/studies/{study}/", {"total_available_places": places})
                except OSError:
                    pass
        for submission in list(lab.fake.world.submissions.values()):
            path = f"/submissions/{submission.id}/transition/"
            match draw.randint(0, 9 + lazy), submission.status.value:
                case 0 | 1, "AWAITING REVIEW":
                    press(path, action="APPROVE")
                case 2 | 3, "AWAITING REVIEW":
                    press(path, action="REJECT", message=LONG, rejection_category="OTHER")
                case 4, "AWAITING REVIEW":
                    lab.fake.give_back(submission.id)
                case 0 | 1 | 2, "ACTIVE":
                    code = draw.choice(["PART", "SERVER", "SERVER-PAYS", "SERVER-SCREENS"])
                    press(
                        path, action="COMPLETE", completion_code=code, completion_code_data={"percentage_of_reward": 50}
                    )
                case 0, "RESERVED":
                    lab.fake.give_back(submission.id)
                case _:
                    pass
        assert 0 <= lab.fake.available() <= lab.fake.balance()
    lab.fake.advance(22 * 86_400)
    return lab


def test_every_transition_is_taken_by_a_random_run() -> None:
    taken: Counter[object] = Counter()
    for seed in range(SEEDS):
        taken.update(run(seed).fake.taken())
    for move in TRANSITIONS:
        print(f"{taken[move]:7}  {move.kind:10} {move.start or '-':16} {move.cause:16} -> {move.end}")
    print(f"{sum(taken[move] > 0 for move in TRANSITIONS)} of {len(TRANSITIONS)} transitions in {SEEDS} runs")
    assert [move for move in TRANSITIONS if not taken[move]] == []


def test_the_same_seed_replays_exactly() -> None:
    def journal(seed: int) -> list[tuple[float, str, str, str]]:
        return [(effect.at, effect.by, effect.verb, effect.subject) for effect in run(seed).fake.effects()]

    assert journal(7) == journal(7) != journal(8)


def test_a_crowd_does_what_its_conduct_says() -> None:
    lab = Lab(wallet=10**6)
    study = lab.live(total_available_places=600)
    crowd = Crowd(lab.fake, lambda visit: Outcome(120, CODE), size=1200, seed=1, conduct=Conduct(looks_every_s=60))
    crowd.run_until(lab.fake.now + 7_200)
    every = lab.fake.world.of_study(lab.fake.world.study(study))
    statuses = Counter(submission.status.value for submission in every)
    assert 590 <= statuses["AWAITING REVIEW"] <= 600
    started = [submission for submission in every if submission.started_at is not None]
    returned = sum(submission.status == "RETURNED" for submission in started) / len(started)
    no_code = sum(submission.status == "AWAITING REVIEW" and submission.entered_code is None for submission in every)
    assert 0.04 < returned < 0.13
    assert 5 < no_code < 45
    assert statuses["TIMED-OUT"] > 5
    assert len({visit.participant for visit in crowd.visits}) == len(crowd.visits)
