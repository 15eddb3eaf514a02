"""The commands on a run that is really up: server, reconciler and store as users have them."""

from __future__ import annotations

import json

import pytest

from tests.stories.stage import Stage, wait_until

pytestmark = pytest.mark.story


def test_a_live_run_is_paused_resumed_examined_and_taken_down(here: Stage) -> None:
    here.run("preview", "--detailed-exitcode", "task.yaml", expect=(2,))
    assert not here.state.exists()  # looking makes nothing

    assert "crowdstack status" in here.run("up", "task.yaml", "--yes", "--detach")
    link = here.status()["links"][0]
    assert link.startswith(here.status()["server"]["url"] + "/?t=")

    here.run("stop")
    assert here.status()["state"] == "paused"
    assert "resume study" in here.run("preview", "task.yaml")
    here.run("up", "task.yaml", "--yes", "--detach")
    assert here.status()["state"] == "live"

    here.kill("loop")
    (identity,) = here.state.glob("runs/*/reconcile.process.json")
    identity.write_bytes(b"\0" * 64)  # a machine that lost its power: nobody is known to run
    assert not here.status()["loop"]["running"]
    found = {row["what"]: row["level"] for row in json.loads(here.run("doctor", "-o", "json"))}
    assert (found["reconciler"], found["store"], found["folder"]) == ("warn", "ok", "ok")
    assert "as it was left" in here.run("refresh")
    here.kill("server")
    assert "TaskServer" in here.run("refresh", "--expect-no-changes", expect=(10,))
    here.run("resume")
    assert here.status()["loop"]["running"]
    wait_until(lambda: here.status()["server"]["healthy"], within_s=20, what="the server to come back", told=here.logs)

    assert len(here.run("units", "ls", "-o", "ndjson", "--limit", "100").splitlines()) == 50
    wait_until(lambda: "connected" in here.run("logs", "loop"), within_s=10, what="the reconciler to log")

    assert "nothing is left" in here.run("destroy", "--yes")
    assert here.pids() == []
    assert here.status()["state"] == "destroyed"
    assert "nothing is up" in here.run("destroy", "--yes")
