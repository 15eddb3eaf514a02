"""Threats E1, E2, L1: what a stranger on this machine could ask of the engine's plugin, and what it must leave alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from crowdstack import process
from crowdstack.engine.plugin import Found
from crowdstack.engine.types import BUNDLE, KEYS, TASK_SERVER, crowdstack_plugin
from crowdstack.errors import Refused
from crowdstack.process import ProcessId
from crowdstack.tokens import b64
from tests.engine.runs import Site, servers
from tests.engine.world import told


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    for pid in servers(site):
        os.kill(pid, signal.SIGKILL)
    process.reap()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as child:
        yield child
        assert child.poll() is None, "it was left alone"
        child.kill()


# ------------------------------------------------------------------------------------------------ E1


def server_inputs(**changes: Any) -> dict[str, Any]:
    digest = "a" * 64
    return {
        "run": "birds-1",
        "task": "birds",
        "title": "t",
        "description": "d",
        "host": "127.0.0.1",
        "port": 0,
        "bundle": digest,
        "files": {"/": {"blob": digest, "type": "text/html"}},
        "timeoutS": 60,
        "completion": "c",
        "keys": {purpose: b64(bytes(32)) for purpose in ("link", "session", "control", "metrics")},
        **changes,
    }


HOSTILE = [
    {"command": "/bin/sh"},
    {"args": ["-c", "id"]},
    {"env": {"LD_PRELOAD": "/tmp/x.so"}},
    {"runFolder": "/etc"},
    {"blobs": "/etc"},
    {"run": "../../etc"},
    {"run": "/etc"},
    {"run": "a/b"},
    {"run": "a\n"},
    {"run": ""},
    {"run": ["birds-1"]},
    {"host": "127.0.0.1; id"},
    {"host": "file:///etc/passwd"},
    {"port": "0"},
    {"port": True},
    {"publicUrl": "file:///etc/passwd"},
    {"publicUrl": "https://user@evil.example/path"},
    {"bundle": "../../etc/passwd"},
    {"files": {"/": {"blob": "../../../../etc/passwd", "type": "text/html"}}},
    {"files": {"/": {"blob": "a" * 64, "type": "text/html", "path": "/etc/passwd"}}},
    {"files": {"/": "/etc/passwd"}},
    {"limits": {"command": 1}},
    {"frameAncestors": ["https://a.example; script-src *"]},
    {"answers": "not JSON"},
    {"claims": {"worker": "t", "submission": "s"}},
    {"claims": {"worker": "w"}},
    {"claims": ["w", "s"]},
    {"finish": {"answered": {"url": "https://evil.example/"}, "hosts": ["app.prolific.com"]}},
    {"finish": {"answered": {"url": "http://app.prolific.com/"}, "hosts": ["app.prolific.com"]}},
    {"finish": {"empty": {"url": "javascript:alert(1)"}, "hosts": [""]}},
    {"finish": {"answered": {"path": "/etc/passwd"}}},
    {"keys": {}},
]


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_create_cannot_name_a_program(site: Site, change: dict[str, Any]) -> None:
    """Neither by a property of the schema, nor by one that is made up, nor by what a good one holds."""
    kind = crowdstack_plugin(site.folder, site.launcher).type(TASK_SERVER)
    before = sorted(site.folder.root.rglob("*"))
    with pytest.raises(Refused):
        kind.create("urn", server_inputs(**change), preview=False)
    assert sorted(site.folder.root.rglob("*")) == before
    assert servers(site) == []


def test_no_property_of_the_schema_is_a_command_or_a_path(site: Site) -> None:
    plugin = crowdstack_plugin(site.folder, site.launcher)
    names = {name.lower() for token in (KEYS, BUNDLE, TASK_SERVER) for name in plugin.type(token).inputs}
    words = ("command", "path", "folder", "program", "arg", "env", "exec", "/", "download", "source")
    assert [name for name in names if any(word in name for word in words)] == []


def test_delete_and_read_stay_inside_the_runs_folders(site: Site) -> None:
    kind = crowdstack_plugin(site.folder, site.launcher).type(TASK_SERVER)
    outside = site.folder.root.parent / "server.json"
    outside.write_text("{}")
    hostile = Found(id="x", inputs={"run": "../.."}, outputs={"config": ""})
    with pytest.raises(Refused):
        kind.delete(hostile)
    with pytest.raises(Refused):
        kind.read(hostile)
    assert outside.exists()


def listening(pid: int | str) -> set[int]:
    """TCP ports on which a process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(link))
        except FileNotFoundError:
            continue  # the descriptor that listed the folder
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def test_embedded_up_listens_on_the_server_port_only(site: Site) -> None:
    ours: list[set[int]] = [listening("self")]
    program = site.program(site.inputs())
    site.engine.up(program, lambda _: ours.append(listening("self")))
    assert len(ours) > 4  # looked at after each step
    assert ours == [ours[0]] * len(ours)
    [server] = servers(site)
    assert listening(server) == {site.process_json()["port"]}


# ------------------------------------------------------------------------------------------------ E2


def plant(site: Site, pid: int, *, start: str | None = None) -> None:
    """The server's process file points to a stranger: with its pid, and with its whole identity if `start` is not given."""
    stranger = process.identify(pid)
    assert stranger is not None
    data = {**stranger.to_json(), "port": site.server_json()["port"], "nonce": "x"}
    site.run.server_process.write_text(json.dumps(data if start is None else {**data, "start": start}))


@pytest.mark.parametrize("start", ["1", None])
def test_a_reused_pid_is_left_alone(site: Site, sleeper: subprocess.Popen[bytes], start: str | None) -> None:
    site.up()
    there = ProcessId.from_json(site.process_json())
    process.send_signal(there, signal.SIGKILL)
    assert process.wait_gone(there, 10)
    plant(site, sleeper.pid, start=start)
    assert told(site.up()) == ["refresh birds-server", "create birds-server"]  # not taken for the server
    assert len(servers(site)) == 1
    there = ProcessId.from_json(site.process_json())
    process.send_signal(there, signal.SIGKILL)
    assert process.wait_gone(there, 10)
    plant(site, sleeper.pid, start=start)
    site.engine.destroy()
    assert sleeper.poll() is None


class Squatter(BaseHTTPRequestHandler):
    """Says that it is well, as anybody could."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Crowdstack-Proof", "0" * 64)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


def test_a_stranger_on_the_port_is_not_believed(site: Site) -> None:
    site.up()
    there, port = ProcessId.from_json(site.process_json()), site.process_json()["port"]
    process.send_signal(there, signal.SIGKILL)
    assert process.wait_gone(there, 10)
    plant(site, os.getpid())
    with HTTPServer(("127.0.0.1", port), Squatter) as squatter:
        thread = threading.Thread(target=squatter.serve_forever, args=(0.01,))
        thread.start()
        found = site.launcher.find("birds-1", "0" * 64)
        squatter.shutdown()
        thread.join()
    assert found is None


# ------------------------------------------------------------------------------------------------ L1


def test_a_planted_symlink_is_not_followed(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    site.stack.mkdir(parents=True, mode=0o700)
    (site.stack / "lock").symlink_to(target)
    with pytest.raises(Refused, match="is a link"):
        site.up()
    (site.stack / "lock").unlink()
    site.folder.key_file.symlink_to(target)
    with pytest.raises(Refused):
        site.up()
    assert target.read_text() == "mine"
    assert servers(site) == []


def test_every_file_of_a_run_is_private_whatever_the_umask(site: Site) -> None:
    before = os.umask(0)
    try:
        site.up()
    finally:
        os.umask(before)
    for path in site.folder.root.rglob("*"):
        assert path.lstat().st_mode & 0o077 == 0, path
