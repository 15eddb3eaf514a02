"""Bringing up and taking down the same run at the same moment: the end of a run is final."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from crowdstack.errors import StateMismatch
from crowdstack.model import Drained, Event, EventKind, RunState
from crowdstack.ports import Batch
from crowdstack.wiring import Project
from tests.stories.stage import bots_project, stage

pytestmark = pytest.mark.story


def test_a_run_whose_intake_is_over_is_not_brought_up_again(tmp_path: Path) -> None:
    bots_project(tmp_path, items=2, repeats=1, workers=1)
    human = ("provider.crowd={type: human, people: 1}",)
    with stage(tmp_path) as here, closing(Project.open(spec=tmp_path / "task.yaml", sets=human)) as project:
        here.run("up", "task.yaml", "--yes", "--detach", "--set", human[0])
        here.kill("loop")
        run = project.run
        assert run is not None
        cursor = project.store.cursor(run.id)
        assert cursor is not None
        said = Event(seq=cursor.seq + 1, at=project.clock.now(), kind=EventKind.DRAINED, body=Drained(), receipt=0)
        after = type(cursor)(inbox=cursor.inbox, epoch=cursor.epoch, seq=said.seq, chain=cursor.chain)
        project.store.keep(run.id, Batch(before=cursor, events=(said,), cursor=after))
        with pytest.raises(StateMismatch, match="being taken down"):
            project.deployment.bring_up(run)
        project.start_loop()  # goes on to the end without the server
        here.run("destroy", "--yes", expect=(0, 6, 8, 10))


def test_a_closed_run_stays_closed(tmp_path: Path) -> None:
    bots_project(tmp_path, items=2, repeats=1, workers=1)
    with stage(tmp_path) as here, closing(Project.open(spec=tmp_path / "task.yaml")) as project:
        here.run("up", "task.yaml", "--yes")
        run = project.run
        assert run is not None
        project.store.set_reached(run.id, RunState.LIVE, project.clock.now())
        assert project.store.run(run.id).closed_at is not None
        assert project.store.live_run(run.task) is None
