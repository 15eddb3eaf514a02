"""The state file: whatever was answered is there after a kill, and the fake goes on as if nothing had been."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import StateMismatch
from crowdstack.fakes.prolific import FakeProlific, Settings
from crowdstack.fakes.prolific.crowd import Crowd, Outcome
from crowdstack.fakes.prolific.shelf import Shelf, _plain
from tests.fakes.lab import CODE, Lab

SETTINGS = Settings(fee_bp=0, publishing_s=0)


def everything(fake: FakeProlific) -> dict[str, list[Any]]:
    return {name: [_plain(record) for record in table.values()] for name, table in fake.world.tables().items()}


def restarted(path: Path) -> tuple[FakeProlific, Shelf]:
    fake = FakeProlific(seed=0, settings=SETTINGS)
    return fake, Shelf(path, fake)


def test_only_what_changed_is_written_and_nothing_is_missing(tmp_path: Path) -> None:
    lab = Lab()
    shelf = Shelf(tmp_path / "fake.db", lab.fake)
    lab.service._keep = shelf.keep
    workspace = lab.fake.workspace.id
    lab.api.post("/hooks/secrets/", {"workspace_id": workspace})
    lab.api.post("/hooks/secrets/", {"workspace_id": workspace})
    group = lab.api.post("/participant-groups/", {"name": "g", "workspace_id": workspace, "participant_ids": ["anna"]})
    study = lab.live(total_available_places=20)
    crowd = Crowd(lab.fake, lambda visit: Outcome(60, CODE), size=30, seed=1)
    draw = random.Random(1)
    for _ in range(40):
        crowd.run_until(lab.fake.now + 120)
        found = [s.id for s in lab.fake.world.submissions.values() if s.status == "AWAITING REVIEW"]
        if found:
            key = draw.choice(found)
            lab.decide(key, "APPROVE")
            lab.api.post(f"/bulk-bonus-payments/{lab.bonus(study, (key, '0.50'))['id']}/pay/")
        lab.api.post(f"/participant-groups/{group['id']}/participants/", {"participant_ids": [f"b{draw.random()}"]})
    lab.api.get("/users/me/")
    before = everything(lab.fake)
    shelf.close()
    again, shelf = restarted(tmp_path / "fake.db")
    assert everything(again) == before
    assert (again.balance(), again.available()) == (lab.fake.balance(), lab.fake.available())
    # And both go on alike: what was to happen later still does.
    lab.fake.advance(86_400 * 30)
    again.advance(86_400 * 30)
    assert everything(again) == everything(lab.fake)
    shelf.close()


def test_webhooks_under_way_are_delivered_again(tmp_path: Path) -> None:
    from tests.fakes.test_hooks import listening

    lab = Lab()
    shelf = Shelf(tmp_path / "fake.db", lab.fake)
    listening(lab, "study.status.change")
    lab.live()
    shelf.keep()
    ids = {delivery.event for delivery in lab.fake.deliveries()}
    shelf.close()
    again, shelf = restarted(tmp_path / "fake.db")
    assert {delivery.event for delivery in again.deliveries()} == ids
    shelf.close()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fake.db"
    path.write_text("not a database, but long enough to look at " * 50)
    with pytest.raises(StateMismatch, match="does not hold"):
        Shelf(path, FakeProlific())


def test_a_file_that_is_in_use_is_refused(tmp_path: Path) -> None:
    first = Shelf(tmp_path / "fake.db", FakeProlific())
    first.keep()
    with pytest.raises(StateMismatch, match="another process"):
        Shelf(tmp_path / "fake.db", FakeProlific())
    first.close()
