"""Whole runs by the real command: what their files, logs, processes and sockets tell others (threats L1, W12, E4, E1)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from crowdstack.errors import CrowdstackError
from crowdstack.wire import worker as frames
from crowdstack.wiring import Project
from tests.security.test_engine import listening
from tests.server.world import Page
from tests.stories.stage import Stage, assert_nothing_is_left, bots_project, pause, stage, wait_until

pytestmark = [pytest.mark.story, pytest.mark.timeout(120)]

CANARY = "canary-5f1d8c07"
CREDENTIALS = ("AWS_SECRET_ACCESS_KEY", "PULUMI_CONFIG_PASSPHRASE", "PROLIFIC_TOKEN", "CROWDSTACK_VAR_KEY")


def slow_bots(folder: Path, *, items: int, each: str) -> None:
    bots_project(folder, items=items, repeats=1, workers=2)
    spec = folder / "task.yaml"
    spec.write_text(spec.read_text().replace("seed: 3", f"seed: 3, time_per_unit: {each}"))


def for_people(folder: Path, *, items: int) -> None:
    bots_project(folder, items=items, repeats=1, workers=2)
    spec = folder / "task.yaml"
    spec.write_text(spec.read_text().replace("{type: bots, workers: 2, seed: 3}", "{type: human, people: [ann]}"))


# ---------------------------------------------------------------------- L1: files


def readable_by_others(state: Path, seen: set[str]) -> list[str]:
    """What others could read below the state folder, and the folder itself; `seen` gains the names that were looked at."""
    found = []
    for path in (state, *state.rglob("*")):
        try:
            there = path.lstat()
        except FileNotFoundError:
            continue
        seen.add(path.name)
        private = 0o700 if stat.S_ISDIR(there.st_mode) else 0o600
        if stat.S_IMODE(there.st_mode) & ~private:
            found.append(f"{path.relative_to(state)} {stat.filemode(there.st_mode)}")
    return found


def test_every_file_is_private(tmp_path: Path) -> None:
    slow_bots(tmp_path, items=30, each="100ms")
    seen: set[str] = set()
    with stage(tmp_path) as here:
        before = os.umask(0)
        try:
            up = here.start("up", "task.yaml", "--yes")
            while up.poll() is None:
                assert not here.state.exists() or readable_by_others(here.state, seen) == []
                pause(0.05)
            assert up.returncode == 0, here.logs()
            here.run("export", "task.yaml", "-f", "csv", "-o", str(here.state / "answers.csv"))
        finally:
            os.umask(before)
        assert readable_by_others(here.state, seen) == []
    looked_at = {
        *("store.db", "store.db-wal", "store.db-shm", "mock.db", "state.key", "bots-1.lock", "blobs", "answers.csv"),
        *("inbox.db", "inbox.db-wal", "inbox.db-shm", "inbox.ballast", "server.json", "server.log", "server.lock"),
        *("crowd", "crowd.json", "crowd.log", "journal.jsonl", "reconcile.log", "steps.jsonl", "backups", "bots-1.db"),
        *("stacks", "state.json", "lock"),
    }
    assert looked_at <= seen, f"never there to be looked at: {looked_at - seen}"


# What the state folder holds, by who makes it: the command, the engine, the launcher, the server, the reconciler, the crowd.
MADE = {
    "store.db": "file",
    "store.db-wal": "file",
    "mock.db": "file",
    "state.key": "file",
    "blobs": "folder",
    "stacks": "folder",
    "stacks/bots": "folder",
    "stacks/bots/lock": "file",
    "runs": "folder",
    "runs/bots-1": "folder",
    "runs/bots-1/steps.jsonl": "file",
    "runs/bots-1/server.lock": "file",
    "runs/bots-1/server.log": "file",
    "runs/bots-1/inbox.db": "file",
    "runs/bots-1/reconcile.log": "file",
    "backups": "folder",
    "bots-1.lock": "file",
}


@pytest.mark.parametrize("dangling", [False, True], ids=["there", "dangling"])
@pytest.mark.parametrize("path", MADE)
def test_a_planted_symlink_is_not_followed(path: str, dangling: bool, tmp_path: Path) -> None:
    project_folder, target = tmp_path / "project", tmp_path / "target"
    for_people(project_folder, items=1)
    if not dangling and MADE[path] == "file":
        target.write_bytes(b"")
        target.chmod(0o644)
    elif not dangling:
        target.mkdir(mode=0o755)
    link = project_folder / ".crowdstack" / path
    link.parent.mkdir(parents=True, mode=0o700)
    link.symlink_to(target)
    with stage(project_folder):
        with closing(Project.open(spec=project_folder / "task.yaml")) as project:
            with pytest.raises(CrowdstackError):
                project.up()
    assert link.is_symlink()
    if dangling:
        assert not target.exists()
    elif MADE[path] == "file":
        assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"", 0o644)
    else:
        assert (list(target.iterdir()), target.stat().st_mode & 0o777) == ([], 0o755)


# ---------------------------------------------------------------------- W12, E4: secrets


TOKEN = re.compile(rb"v1\.[A-Za-z0-9]+\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}")  # a link or session of any kind


def written(key: bytes) -> set[bytes]:
    """The ways in which a key may be found."""
    base64s = {base64.b64encode(key), base64.urlsafe_b64encode(key)}
    hexes = {key.hex().encode(), key.hex().upper().encode()}
    return {bytes(key), *hexes, *(text.rstrip(b"=") for text in base64s), repr(bytes(key))[2:-1].encode()}


def leaks(text: bytes, keys: dict[str, bytes]) -> set[str]:
    """Which keys, or tokens of any kind, `text` shows."""
    found = {name for name, key in keys.items() if any(form in text for form in written(key))}
    return found | ({"a token"} if TOKEN.search(text) else set())


def keys_of(here: Stage) -> dict[str, bytes]:
    with closing(Project.open(spec=here.folder / "task.yaml")) as project:
        server = project.server()
        assert server is not None
        assert {"link", "session", "control"} <= set(server.keys)
        return {**server.keys, "the state's key": project.folder.key_file.read_bytes()}


def shown_of_processes(pids: list[int]) -> dict[str, bytes]:
    return {
        f"/proc/{pid}/{part}": Path(f"/proc/{pid}/{part}").read_bytes()
        for pid in pids
        for part in ("cmdline", "environ")
    }


def shown_of_files(folder: Path) -> dict[str, bytes]:
    """Every log, and the engine's state with its backups: what people show when they ask for help."""
    files = [
        *folder.rglob("*.log"),
        *folder.rglob("state.json*"),
        *folder.rglob("steps.jsonl"),
        *folder.rglob("*process.json"),
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_no_log_line_holds_a_token(tmp_path: Path) -> None:
    for_people(tmp_path, items=1)
    shown: dict[str, bytes] = {}
    with stage(tmp_path) as here:

        def says(*command: str, expect: tuple[int, ...] = (0,)) -> bytes:
            said = here.run(*command, expect=expect)
            shown[" ".join(command)] = said.encode()
            return said.encode()

        here.run("up", "task.yaml", "--yes", "--detach")
        keys = keys_of(here)
        links = json.loads(here.run("status", "task.yaml", "-o", "json"))["links"]
        assert leaks(links[0].encode(), keys) == {"a token"}, "the check finds what there is"
        origin, token = links[0].partition("/?")[0], parse_qs(urlsplit(links[0]).query)["t"][0]
        says("preview", "task.yaml", "-o", "json")
        with pytest.raises(AssertionError) as refused:  # its message holds both streams
            here.run("--debug", "units", "approve", "nothing-like-it")
        shown["--debug"] = str(refused.value).encode()
        assert b"Traceback" in shown["--debug"]
        shown.update(shown_of_processes(here.pids()))
        shown.update({f"{name} while it ran": text for name, text in shown_of_files(tmp_path).items()})
        session = asyncio.run(one_answer(origin, token))
        wait_until(lambda: not here.pids(), within_s=30, what="the end of the run", told=here.logs)
        says("status", "task.yaml", "-o", "json")
        says("logs", "task.yaml")
        shown.update(shown_of_files(tmp_path))
    assert TOKEN.fullmatch(session.encode()), "the pattern knows a session"
    assert {"environ", "cmdline"} <= {name.rpartition("/")[2] for name in shown}
    assert sum("state.json" in name for name in shown) >= 2
    assert sum(name.endswith("server.log") for name in shown) == 1
    assert {name: found for name, text in shown.items() if (found := leaks(text, keys))} == {}


async def one_answer(origin: str, token: str) -> str:
    """A person opens the link, in a page that errs, then a second tab, and answers; the session they had."""
    page = await Page.open(origin)
    assert isinstance(await page.hello(token), frames.Welcome)
    assert isinstance(await page.ask('{"type":"' + token), frames.Error)
    assigned = await page.take()
    other = await Page.open(origin)  # a second tab
    assert isinstance(await other.hello(session=page.session), frames.Welcome)
    other.close()
    assert isinstance(await page.submit(assigned.assignment, {"label": "neutral"}), frames.Accepted)
    await page.next()  # nothing is left: the visit ends
    page.close()
    return page.session


# ---------------------------------------------------------------------- a run at work


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, int]]:
    """A run with server, reconciler, crowd and a watching `up`, started where credentials were about; and `up`'s pid."""
    folder = tmp_path_factory.mktemp("at_work")
    slow_bots(folder, items=20, each="10s")
    with pytest.MonkeyPatch.context() as about:
        for name in CREDENTIALS:
            about.setenv(name, CANARY)
        with stage(folder) as here:
            up = here.start("up", "task.yaml", "--yes")
            wait_until(lambda: here.units_in_hand() == 2, within_s=60, what="both bots at work", told=here.logs)
            yield here, up.pid


def test_a_child_inherits_no_credentials(at_work: tuple[Stage, int]) -> None:
    here, up = at_work
    assert CANARY.encode() in Path(f"/proc/{up}/environ").read_bytes(), "there was something to inherit"
    children = {part: here.pids(part) for part in ("server", "loop", "crowd")}
    assert all(children.values()), children
    for name, text in shown_of_processes(here.pids()).items():
        assert CANARY.encode() not in text, name
        assert not [each for each in CREDENTIALS if each.encode() in text], name


def test_no_process_of_a_run_leaves_a_core_dump(at_work: tuple[Stage, int]) -> None:
    here, up = at_work
    for pid in (up, *here.pids()):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), (pid, limits)


def test_a_run_listens_on_the_server_port_only(at_work: tuple[Stage, int]) -> None:
    here, up = at_work
    port = urlsplit(here.status()["server"]["url"]).port
    heard = {part: [listening(pid) for pid in here.pids(part)] for part in ("server", "loop", "crowd")}
    assert heard == {"server": [{port}], "loop": [set()], "crowd": [set()]}
    assert listening(up) == set()


def test_doctor_finds_a_run_at_work_well(at_work: tuple[Stage, int]) -> None:
    here, _ = at_work
    findings = json.loads(here.run("doctor", "task.yaml", "-o", "json"))
    assert {"folder", "store", "events", "server", "reconciler", "locks"} <= {row["what"] for row in findings}
    assert [
        row for row in findings if row["level"] == "fail" or (row["level"] == "warn" and row["what"] != "disk")
    ] == []


def test_doctor_finds_a_run_well_that_is_over(tmp_path: Path) -> None:
    bots_project(tmp_path, items=2, repeats=1, workers=1)
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes")
        assert_nothing_is_left(here)
        findings = {row["what"]: row for row in json.loads(here.run("doctor", "task.yaml", "-o", "json"))}
        assert findings["run"]["found"] == "none is live"
        assert findings["folder"]["level"] == findings["clock"]["level"] == "ok"
        assert findings["locks"]["found"] == "none is held"
        assert "fail" not in {row["level"] for row in findings.values()}
