"""The stack of a run with the real task server: made, changed, found again, deleted."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crowdstack import process
from crowdstack.engine.detached import DetachedLauncher
from crowdstack.engine.inside import InProcessLauncher
from crowdstack.engine.launcher import free_port
from crowdstack.errors import StepFailed
from crowdstack.folder import Folder, private_folder
from crowdstack.process import ProcessId
from crowdstack.server.server import serve
from crowdstack.wire.configs import Claims, Ending, Finish, ServerConfig
from tests.engine.runs import PAGE, Site, servers
from tests.engine.world import told


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    for pid in servers(site):
        os.kill(pid, signal.SIGKILL)
    process.reap()


def page(site: Site) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", site.server_json()["port"], timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def kill(site: Site) -> None:
    there = ProcessId.from_json(site.process_json())
    assert process.send_signal(there, signal.SIGKILL)
    assert process.wait_gone(there, 10)


def test_up_makes_keys_bundle_and_server(site: Site) -> None:
    foreseen = site.engine.preview(site.program(site.inputs()))
    result = site.up()
    assert result.steps == foreseen.steps
    assert told(result) == [
        f"create {name}" for name in ("crowdstack-birds", "birds", "birds-keys", "birds-bundle", "birds-server")
    ]
    assert b"birds" in page(site)
    assert result.outputs["origin"] == f"http://127.0.0.1:{site.process_json()['port']}"
    assert sorted(result.outputs["keys"]) == ["control", "link", "metrics", "session"]
    config = site.server_json()
    assert config["answers"] == {"type": "object", "properties": {"bird": {"enum": ["wren", None, 1.0]}}}
    assert config["keys"] == result.outputs["keys"]
    assert site.run.server_config.stat().st_mode & 0o777 == 0o600


def test_no_key_is_in_clear_in_the_state(site: Site) -> None:
    keys = site.up().outputs["keys"]
    written = b"".join(path.read_bytes() for path in site.stack.iterdir())
    assert not [purpose for purpose, key in keys.items() if key.encode() in written]


def test_a_second_up_finds_the_server_and_changes_nothing(site: Site) -> None:
    site.up()
    before = (servers(site), (site.stack / "state.json").read_bytes())
    assert told(site.up()) == []
    assert (servers(site), (site.stack / "state.json").read_bytes()) == before


def test_settings_and_files_change_in_place(site: Site) -> None:
    keys = site.up().outputs["keys"]
    before = servers(site)
    changes = {"title": "Which beast?", "page": PAGE.replace(b"birds", b"beasts"), "bundle": "0" * 64}
    foreseen = site.engine.preview(site.program(site.inputs(**changes)))
    done = site.up(**changes)
    assert done.steps == foreseen.steps
    assert told(done) == ["update birds-bundle digest files", "update birds-server bundle files title"]
    assert servers(site) == before
    assert b"beasts" in page(site)
    assert done.outputs["keys"] == keys


def test_who_comes_and_what_they_are_given_at_the_end_change_in_place(site: Site) -> None:
    claims = Claims(worker="PROLIFIC_PID", submission="SESSION_ID")
    url = "https://app.prolific.com/submissions/complete?cc=C1"
    finish = Finish(answered=Ending(code="C1", url=url), empty=Ending(code="C0"), hosts=("app.prolific.com",))
    site.up(claims=claims)
    before = site.process_json()
    assert told(site.up(claims=claims, finish=finish)) == ["update birds-server finish"]
    assert told(site.up(claims=claims, finish=finish)) == []
    assert told(site.up(claims=claims, finish=replace(finish, empty=Ending()))) == ["update birds-server finish"]
    config = ServerConfig.from_bytes(site.run.server_config.read_bytes())
    assert (config.claims, config.finish) == (claims, replace(finish, empty=Ending()))
    assert site.process_json() == before


def test_another_port_is_another_server_of_the_same_run(site: Site) -> None:
    site.up()
    before, port = servers(site), free_port("127.0.0.1")
    foreseen = site.engine.preview(site.program(site.inputs(port=port)))
    done = site.up(port=port)
    assert done.steps == foreseen.steps
    assert told(done) == ["replace birds-server port"]
    assert done.outputs["origin"] == f"http://127.0.0.1:{port}"
    assert len(servers(site)) == 1
    assert servers(site) != before


def test_a_dead_server_is_started_again_on_its_port(site: Site) -> None:
    origin = site.up().outputs["origin"]
    kill(site)
    foreseen = site.engine.preview(site.program(site.inputs()))
    done = site.up()
    assert done.steps == foreseen.steps
    assert told(done) == ["refresh birds-server", "create birds-server"]
    assert done.outputs["origin"] == origin
    assert len(servers(site)) == 1


def test_a_server_that_an_earlier_command_started_is_adopted(site: Site) -> None:
    site.up()
    before = servers(site)
    for path in site.stack.glob("state*"):
        path.unlink()  # as if that command had written nothing down
    result = site.up()
    assert servers(site) == before
    assert site.server_json()["keys"] == result.outputs["keys"], "it goes by the new keys"
    assert told(site.up()) == []


def test_settings_that_others_wrote_are_set_right(site: Site) -> None:
    site.up()
    before = site.server_json()
    changed = json.dumps({**before, "title": "Mine!"}, sort_keys=True, indent=1)
    site.run.server_config.write_text(changed)  # not even told to the server
    foreseen = site.engine.preview(site.program(site.inputs()))
    done = site.up()
    assert done.steps == foreseen.steps
    assert [line.split()[:2] for line in told(done)] == [["refresh", "birds-server"], ["update", "birds-server"]]
    assert site.server_json() == before
    assert told(site.up()) == []


def impatient(site: Site) -> Site:
    launcher = DetachedLauncher(site.folder, adopt_s=0.5, grace_s=0.5)
    return Site(site.folder.root.parent, launcher)


def test_a_server_that_hangs_is_replaced(site: Site) -> None:
    origin = site.up().outputs["origin"]
    [before] = servers(site)
    assert process.send_signal(ProcessId.from_json(site.process_json()), signal.SIGSTOP)
    assert impatient(site).up().outputs["origin"] == origin
    [after] = servers(site)
    assert after != before
    assert told(site.up()) == []


def test_a_server_whose_settings_were_broken_is_replaced(site: Site) -> None:
    site.up()
    site.run.server_config.write_bytes(site.run.server_config.read_bytes()[:100])
    impatient(site).up()
    assert len(servers(site)) == 1
    assert b"birds" in page(site)
    assert told(site.up()) == []


def test_a_missing_blob_is_told_and_nothing_is_started(site: Site) -> None:
    inputs = site.inputs()
    (site.folder.blobs / inputs.files["/"].blob).unlink()
    with pytest.raises(StepFailed, match="the file of / is not among the blobs"):
        site.engine.up(site.program(inputs))
    assert servers(site) == []


def test_a_changed_blob_is_told(site: Site) -> None:
    inputs = site.inputs()
    (site.folder.blobs / inputs.files["/"].blob).write_bytes(b"other")
    with pytest.raises(StepFailed, match="was changed after it was staged"):
        site.engine.up(site.program(inputs))


def test_a_server_that_cannot_start_is_told_with_the_end_of_its_log(site: Site) -> None:
    site.run.inbox.mkdir(parents=True)  # no file can be there
    with pytest.raises(StepFailed, match="ended at its start") as failed:
        site.up()
    assert str(site.run.server_log) in str(failed.value)
    assert "its log is empty" not in str(failed.value)


def test_a_server_that_does_not_end_is_ended(tmp_path: Path) -> None:
    site = impatient(Site(tmp_path))
    site.up()
    there = ProcessId.from_json(site.process_json())
    assert process.send_signal(there, signal.SIGSTOP)  # deaf to SIGTERM
    site.engine.destroy()
    assert servers(site) == []
    assert not process.alive(there)


def test_destroy_leaves_no_process_port_or_settings_but_the_inbox(site: Site) -> None:
    site.up()
    port = site.process_json()["port"]
    assert told(site.engine.destroy())[0] == "delete birds-server"
    assert servers(site) == []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
    assert not site.run.server_config.exists()
    assert not site.run.server_process.exists()
    assert site.run.inbox.exists()
    assert site.engine.destroy().steps == ()


def test_the_same_program_runs_with_its_server_in_this_process(tmp_path: Path) -> None:
    folder = Folder(private_folder(tmp_path / "state"))
    site = Site(tmp_path, InProcessLauncher(folder, serve))
    foreseen = site.engine.preview(site.program(site.inputs(architect="mock")))
    done = site.up(architect="mock")
    assert done.steps == foreseen.steps
    try:
        assert b"birds" in page(site)
        assert servers(site) == []
        assert told(site.up(architect="mock")) == []
        assert told(site.up(architect="mock", title="Which beast?")) == ["update birds-server title"]
        port = free_port("127.0.0.1")
        assert told(site.up(architect="mock", title="Which beast?", port=port)) == ["replace birds-server port"]
        assert b"birds" in page(site)
    finally:
        site.engine.destroy()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)
