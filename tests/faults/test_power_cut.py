"""Power is cut at any moment: what was promised before is on the disk, with whatever else happened to get there.

One run is traced and then cut at many of its lines; each cut gets a server, or a store, of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from crowdstack.store.store import PeeweeStore
from crowdstack.wire import worker as frames
from tests.contracts.store import TASK
from tests.faults.power import Call, Disk, calls, traced
from tests.faults.test_server_disk import free_port, listening, needs_strace, process, stock
from tests.faults.test_server_faults import heard, leave, reconciler
from tests.faults.test_store_killed import RUN, assert_finished, assert_whole
from tests.mutation.mutate import ROOT, Mutation, mutated
from tests.server.world import Page, nonce
from tests.size import FULL

pytestmark = [pytest.mark.story, pytest.mark.strace, needs_strace, pytest.mark.timeout(1800 if FULL else 180)]

SEED = 20260302
CUTS = 60 if FULL else 6
SHARES = (0.0, 0.5)  # of what was not synced: nothing is there, or about half, torn
WORKERS, EACH = ("ann", "bob", "cyd"), 12 if FULL else 4
UNITS = 2 * len(WORKERS) * EACH + len(WORKERS)


@dataclass(frozen=True, slots=True)
class Given:
    worker: str
    nonce: str
    answers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Traced:
    """A run that is over: its log, where the server was, and what each worker had sent, by assignment."""

    log: Path
    root: Path
    port: int
    given: dict[str, Given] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accepted(self) -> Iterator[tuple[int, str, int]]:
        """(line, assignment, receipt) of each `accepted` that began to leave the server."""
        for line, call in enumerate(calls(self.log)):
            for assignment, receipt in told(call):
                yield line, assignment, receipt

    def copied(self) -> list[int]:
        """The lines at which a page was moved from the log into the file."""
        return [
            line
            for line, call in enumerate(calls(self.log))
            if call.name == "pwrite64" and call.path(0) == PurePosixPath(self.root, "inbox.db")
        ]


def told(call: Call) -> Iterator[tuple[str, int]]:
    if call.name == "sendto" and call.result is None:
        for frame in re.findall(rb'\{"type":"accepted".*?\}', call.arguments[1].data):
            body = json.loads(frame)
            yield body["assignment"], body["receipt"]


def a_traced_run(folder: Path, *, code: Path = ROOT) -> Traced:
    """Two lives of a server, the first stopped in order, each with three workers at once."""
    run = Traced(folder / "trace", folder / "run", free_port())

    async def work(worker: str) -> None:
        page = await Page.of(run.origin, worker)
        for number in range(EACH):
            unit = await page.take()
            given = Given(worker, nonce(), {"label": "yes", "note": f"{worker} {number}"})
            run.given[unit.assignment] = given
            answer = await page.submit(unit.assignment, given.answers, given.nonce)
            assert isinstance(answer, frames.Accepted)
        page.close()
        await page.closed()

    async def story() -> None:
        await listening(folder)
        await stock(run.origin, UNITS)
        await asyncio.gather(*(work(worker) for worker in WORKERS))

    for _ in range(2):
        with process(folder, run.port, under=traced(run.log), code=code) as child:
            asyncio.run(story())
            os.killpg(child.pid, signal.SIGTERM)
            assert child.wait(20) == 0
    return run


def mutant(folder: Path, old: str, new: str) -> Path:
    return mutated(folder / "code", Mutation(file="crowdstack/server/inbox.py", old=old, new=new))


def cuts(log: Path, root: Path, folder: Path, *, at: dict[int, float]) -> Iterator[tuple[int, Path]]:
    """For each of these lines, in order, a folder in which `root` is as a cut right after it leaves it."""
    disk, chance = Disk(root), random.Random(SEED)
    for line, call in enumerate(calls(log)):
        disk.take(call)
        if line in at:
            left = folder / f"cut-{line}"
            (left / root.name).mkdir(mode=0o700, parents=True)
            disk.after_cut(left / root.name, share=at[line], chance=chance)
            yield line, left


def chosen(run: Traced) -> dict[int, float]:
    """Lines to cut at, and how much of what is not synced is kept there: the worst moments, and seeded ones."""
    chance = random.Random(SEED)
    said = [line for line, _, _ in run.accepted()]
    writes = [line for line, call in enumerate(calls(run.log)) if on_disk(call, run.root)]
    copied = run.copied()
    seeded = chance.sample(said, CUTS // 2) + chance.sample(writes, CUTS - CUTS // 2)
    return {
        **{line: SHARES[number % 2] for number, line in enumerate(sorted(seeded))},
        said[0]: 0.0,
        said[-1]: 0.0,
        chance.choice(copied): 0.5,  # the log was being moved into the file
        copied[-1]: 0.5,
    }


def on_disk(call: Call, root: Path) -> bool:
    if call.name not in ("pwrite64", "fdatasync", "fsync", "unlink", "rename"):
        return False
    return call.arguments[0].data.startswith(bytes(root))


def assert_kept(run: Traced, said: dict[str, int], folder: Path) -> None:
    """A server on what is left gives each accepted answer its receipt again, has its answers under it, and no receipt twice."""

    async def again(page: Page, worker: str) -> None:
        for assignment, receipt in said.items():
            given = run.given[assignment]
            if given.worker == worker:
                answer = await page.submit(assignment, given.answers, given.nonce)
                assert isinstance(answer, frames.Accepted), answer
                assert answer.receipt == receipt

    async def another(page: Page) -> None:
        answer = await page.submit((await page.take()).assignment, {"label": "no"})
        assert isinstance(answer, frames.Accepted)
        assert answer.receipt not in said.values(), "a receipt is given twice"

    async def story() -> None:
        await listening(folder)
        await stock(run.origin, UNITS)
        pages = {worker: await Page.of(run.origin, worker) for worker in WORKERS}
        try:
            stored = await stored_answers(run.origin)
            lost = {a: r for a, r in said.items() if stored.get(r) != run.given[a].answers}
            assert not lost, f"accepted and lost: {lost}"
            for worker, page in pages.items():
                await again(page, worker)
            for page in pages.values():
                await another(page)
        finally:
            for page in pages.values():
                page.close()
                await page.closed()
        assert len(await stored_answers(run.origin)) == len(stored) + len(WORKERS)

    with process(folder, run.port):
        asyncio.run(story())


async def stored_answers(origin: str) -> dict[int, object]:
    """What the server tells a store of: answers by receipt."""
    client, page = reconciler(origin), await Page.open(origin)
    await client.connect(None)
    _, answers = await heard(client)
    await leave(client, page)
    return answers


@pytest.mark.parametrize("log_pages", [8000, 20])
def test_after_a_power_cut_every_accepted_answer_is_there_under_its_receipt(tmp_path: Path, log_pages: int) -> None:
    """With a log of 20 pages it is moved into the file, and begun anew, every few answers."""
    pages = "PRAGMA wal_autocheckpoint = "
    run = a_traced_run(tmp_path, code=mutant(tmp_path, f"{pages}8000", f"{pages}{log_pages}"))
    said = list(run.accepted())
    assert len(said) == len(run.given) == 2 * len(WORKERS) * EACH
    first_life = range(said[0][0], said[len(said) // 2 - 1][0])
    assert any(line in first_life for line in run.copied()) == (log_pages < 8000)
    at = chosen(run)
    for line, left in cuts(run.log, run.root, tmp_path, at=at):
        before = {assignment: receipt for when, assignment, receipt in said if when <= line}
        print(f"seed {SEED}: cut at line {line}, {len(before)} accepted, {at[line]:.0%} of the rest kept")
        assert_kept(run, before, left)


_COMMIT = "run_in_executor(self._thread, self._write.commit)\n"
_SLOW = 'run_in_executor(self._thread, lambda: (__import__("time").sleep(0.05), self._write.commit()) and None)\n'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"PRAGMA synchronous = FULL"', '"PRAGMA synchronous = NORMAL"', id="commits that do not sync"),
        pytest.param(
            f"        job = asyncio.get_running_loop().{_COMMIT}",
            f"        self._tell(group, outcome)\n        job = asyncio.get_running_loop().{_SLOW}",
            id="accepted before the commit",
        ),
    ],
)
def test_a_server_that_promises_too_early_is_caught_by_the_same_cut(tmp_path: Path, old: str, new: str) -> None:
    run = a_traced_run(tmp_path, code=mutant(tmp_path, old, new))
    said = list(run.accepted())
    last = said[-1][0]
    ((_, left),) = cuts(run.log, run.root, tmp_path, at={last: 0.0})
    with pytest.raises(AssertionError, match="accepted and lost"):
        assert_kept(run, {assignment: receipt for _, assignment, receipt in said}, left)


def traced_script(log: Path, *command: str, code: Path = ROOT) -> None:
    """Run a script of the tests to its end, with the package of another checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*traced(log), sys.executable, *command], cwd=code, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_what_was_not_synced_is_gone_and_so_is_a_name_whose_folder_was_not(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "trace"
    root.mkdir()
    script = f"""
import os
from pathlib import Path, PurePosixPath
root = Path({str(root)!r})
def write(name, data, *, sync):
    fd = os.open(root / name, os.O_WRONLY | os.O_CREAT)
    os.write(fd, data)
    if sync:
        os.fsync(fd)
    os.close(fd)
def sync_folder():
    fd = os.open(root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
write("synced", b"old", sync=True)
write("unsynced", b"x" * 2000, sync=False)
sync_folder()
write("synced", b"new", sync=False)
write("unnamed", b"x", sync=True)
os.unlink(root / "unsynced")
"""
    traced_script(log, "-c", script)
    last = sum(1 for _ in calls(log)) - 1
    ((_, nothing),) = cuts(log, root, tmp_path / "nothing", at={last: 0.0})
    assert {path.name: path.read_bytes() for path in (nothing / "root").iterdir()} == {
        "synced": b"old",
        "unsynced": b"",
    }
    ((_, all_),) = cuts(log, root, tmp_path / "all", at={last: 1.0})
    assert {path.name: path.read_bytes() for path in (all_ / "root").iterdir()} == {"synced": b"new", "unnamed": b"x"}


def test_a_private_folder_is_on_disk_before_anything_is_put_into_it(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "trace"
    root.mkdir()
    script = f"""
from pathlib import Path, PurePosixPath
from crowdstack.folder import private_folder, write_private
write_private(private_folder(Path({str(root)!r}, "runs", "birds-1")) / "server.json", b"whole")
"""
    traced_script(log, "-c", script)
    last = sum(1 for _ in calls(log)) - 1
    ((_, left),) = cuts(log, root, tmp_path, at={last: 0.0})
    found = left / "root" / "runs" / "birds-1" / "server.json"
    assert found.exists()
    assert found.read_bytes() == b"whole"


def acks(log: Path) -> Iterator[tuple[int, int]]:
    """(line, number) of each `ack` that the script has said."""
    for line, call in enumerate(calls(log)):
        if call.name == "write" and call.result is None and call.path(0).name == "acked":
            yield line, int(call.arguments[1].data)


def store_cuts(folder: Path, *, at: int, code: Path = ROOT) -> Iterator[Path]:
    """A run of the store, cut right after `at` of its acks and as often anywhere else; with what had been acked by then."""
    root, log, chance = folder / "store", folder / "trace", random.Random(SEED)
    root.mkdir(mode=0o700)
    traced_script(log, "-m", "tests.faults.store_script", str(root), code=code)
    said = list(acks(log))
    writes = [line for line, call in enumerate(calls(log)) if on_disk(call, root)]
    lines = sorted(
        {said[-1][0], *(line for line, _ in chance.sample(said, min(at, len(said)))), *chance.sample(writes, at)}
    )
    for line, left in cuts(log, root, folder, at={line: SHARES[n % 2] for n, line in enumerate(lines)}):
        acked = max((number for when, number in said if when <= line), default=0)
        (left / "store" / "acked").unlink(missing_ok=True)
        if acked:  # the server's memory: no power was cut there
            (left / "store" / "acked").write_text(str(acked))
        print(f"seed {SEED}: cut at line {line}, {acked} acked")
        yield left / "store"


def assert_all_whole(folder: Path, code: Path) -> None:
    for left in store_cuts(folder, at=CUTS // 2, code=code):
        assert_whole(left)


def test_after_a_power_cut_the_store_has_all_it_acked_and_goes_on_to_the_end(tmp_path: Path) -> None:
    for left in store_cuts(tmp_path, at=CUTS // 2):
        assert_whole(left)
        traced_script(left.parent / "again", "-m", "tests.faults.store_script", str(left))
        assert_finished(left)


def test_a_backup_is_on_disk_before_the_server_is_told_that_it_may_forget(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "trace"
    root.mkdir(mode=0o700)
    script = f"""
from pathlib import Path
from crowdstack.folder import private_folder
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import started
root = Path({str(root)!r})
store = PeeweeStore(root / "store.db")
_, inbox, units = started(store, *(f"item-{{n}}" for n in range(10)))
for number, unit in enumerate(units):
    inbox.work(unit, f"w{{number}}")
inbox.deliver()
store.backup(str(private_folder(root / "backups") / "birds-1.db"))
(root / "told").touch()
store.close()
"""
    traced_script(log, "-c", script)
    release = next(n for n, call in enumerate(calls(log)) if call.name == "openat" and call.path(1) == root / "told")
    ((_, left),) = cuts(log, root, tmp_path, at={release: 0.0})
    with closing(PeeweeStore(left / "root" / "backups" / "birds-1.db")) as backup:
        cursor = backup.cursor(RUN)
        assert cursor is not None
        assert cursor.seq > 0
        assert len(list(backup.submissions(TASK))) == 10
    with closing(PeeweeStore(left / "root" / "store.db")) as store:
        assert store.cursor(RUN) == cursor


def test_a_store_whose_transactions_do_not_sync_is_caught_by_the_same_cut(tmp_path: Path) -> None:
    code = mutated(
        tmp_path / "code",
        Mutation(file="crowdstack/store/database.py", old='("synchronous", "full")', new='("synchronous", "normal")'),
    )
    with pytest.raises(AssertionError, match=r"acked|\d+ >= \d+"):
        assert_all_whole(tmp_path, code)
