"""The file itself: private, on a local disk, honest about being locked, broken or of another version."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import peewee
import pytest

from crowdstack.errors import Busy, LockHeld, Refused, StateMismatch
from crowdstack.model import RunId
from crowdstack.store import tables
from crowdstack.store.database import Database, shared
from crowdstack.store.migrations import STEPS, migrate, version
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import TASK, offered, open_run, started

_SPAWN = multiprocessing.get_context("spawn")

MOUNTS = """\
/dev/vda / ext4 rw 0 0
srv:/home /home nfs4 rw 0 0
/dev/vdb /home/local ext4 rw 0 0
me@host: /mnt/far\\040away fuse.sshfs rw 0 0
drive /mnt/drive fuse.rclone rw 0 0
nas /nas cifs rw 0 0
/dev/fuse /mnt/zip fuse.archivemount rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/work/x", False),
        ("/home/ann/x", True),
        ("/home/local/x", False),
        ("/homework/x", False),
        ("/mnt/far away/x", True),
        ("/mnt/drive/x", True),
        ("/mnt/zip/x", False),
        ("/nas", True),
        ("/work/Dropbox/x", True),
    ],
)
def test_a_store_on_a_shared_folder_is_refused(path: str, refused: bool) -> None:
    assert (shared(Path(path), MOUNTS) is not None) == refused


def test_every_file_of_the_store_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = PeeweeStore(tmp_path / "state" / "store.db")
        open_run(store)
        with store.reconciler_lock(RunId("birds-1")):
            store.backup(str(tmp_path / "state" / "copy.db"))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)
    store.close()
    assert modes == dict.fromkeys(["birds-1.lock", "copy.db", "store.db", "store.db-shm", "store.db-wal"], 0o600)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "store.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(Refused):
        PeeweeStore(tmp_path / "store.db")
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_commit_is_on_disk_when_it_returns(store: PeeweeStore) -> None:
    with store._database.reading() as db:
        asked = [
            db.execute_sql(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert asked == ["wal", 2, 1]


def test_two_stores_on_one_file_see_the_same(store: PeeweeStore) -> None:
    other = PeeweeStore(store._database.path)
    run = open_run(store)
    assert other.live_run(TASK) == run
    assert other.client_id() == store.client_id()
    other.close()


def test_a_copy_of_the_store_elsewhere_is_another_client_of_the_server(store: PeeweeStore, tmp_path: Path) -> None:
    store.backup(str(tmp_path / "copy.db"))
    copy = PeeweeStore(tmp_path / "copy.db")
    assert copy.client_id() != store.client_id()
    copy.close()


def test_verbs_may_be_called_from_many_threads(store: PeeweeStore) -> None:
    run = open_run(store)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: (store.note(run.id, "s", str(n), run.opened_at), store.unit_counts(run.id)), range(64)))
    assert store.noted(run.id) is not None


def test_a_store_locked_for_long_is_busy_and_nothing_is_written(store: PeeweeStore) -> None:
    run = open_run(store)
    store._database.peewee.execute_sql("PRAGMA busy_timeout = 50")  # the wait is 5 s; the test does not need them
    other = sqlite3.connect(store._database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        store.note(run.id, "s", "text", run.opened_at)
    assert store.noted(run.id) is None  # readers are not locked out
    other.execute("ROLLBACK")
    other.close()
    store.note(run.id, "s", "text", run.opened_at)


def test_a_writer_waits_for_another_instead_of_failing(store: PeeweeStore) -> None:
    run = open_run(store)
    other = sqlite3.connect(store._database.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, lambda: other.execute("COMMIT")).start()
    store.note(run.id, "s", "text", run.opened_at)
    assert store.noted(run.id) is not None
    other.close()


def test_a_file_that_is_no_database_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database at all, and long enough to be read as one" * 100)
    with pytest.raises(StateMismatch, match="crowdstack restore"):
        PeeweeStore(tmp_path / "store.db")


def test_a_backup_is_the_store(store: PeeweeStore, tmp_path: Path) -> None:
    run, inbox, units = started(store)
    inbox.work(units[0], "ann")
    inbox.deliver()
    store.backup(str(tmp_path / "copy.db"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["copy.db"]
    copy = PeeweeStore(tmp_path / "copy.db")
    assert list(copy.submissions(TASK)) == list(store.submissions(TASK))
    assert copy.cursor(run.id) == store.cursor(run.id)
    copy.close()


def test_from_a_restored_backup_the_inbox_tells_the_rest(store: PeeweeStore, tmp_path: Path) -> None:
    _, inbox, units = started(store)
    inbox.work(units[0], "ann")
    inbox.deliver()
    store.backup(str(tmp_path / "copy.db"))
    inbox.work(units[1], "bo")
    inbox.deliver()
    restored = PeeweeStore(tmp_path / "copy.db")
    inbox.store = restored
    inbox.deliver()
    assert list(restored.submissions(TASK)) == list(store.submissions(TASK))
    restored.close()


# ---------------------------------------------------------------------------------------------------- the reconciler's lock


def _hold_lock(path: Path, held: Callable[[], None]) -> None:
    store = PeeweeStore(path)
    with store.reconciler_lock(RunId("birds-1")):
        held()
        signal.pause()


def test_a_second_reconciler_is_told_who_the_first_is_and_a_killed_one_frees_the_lock(store: PeeweeStore) -> None:
    held = _SPAWN.Event()
    first = _SPAWN.Process(target=_hold_lock, args=(store._database.path, held.set))
    first.start()
    try:
        assert held.wait(20)
        with pytest.raises(LockHeld, match=str(first.pid)):
            with store.reconciler_lock(RunId("birds-1")):
                pass
        with store.reconciler_lock(RunId("birds-2")):
            pass
    finally:
        first.kill()
        first.join()
    with store.reconciler_lock(RunId("birds-1")):
        pass


# ---------------------------------------------------------------------------------------------------- migrations

_SECOND = (
    "ALTER TABLE task ADD COLUMN colour TEXT",
    "UPDATE task SET colour = 'blue'",
    "CREATE TABLE shade (id INTEGER PRIMARY KEY)",
)


def _second_step(db: peewee.Database) -> None:
    for statement in _SECOND:
        db.execute_sql(statement)


def _migrate_and_die(path: Path, after: int) -> None:
    def dying(db: peewee.Database) -> None:
        for statement in _SECOND[:after]:
            db.execute_sql(statement)
        os.kill(os.getpid(), signal.SIGKILL)

    migrate(Database(path), (*STEPS, dying))


def _schema(path: Path) -> set[str]:
    with sqlite3.connect(path) as db:
        found = {text for (text,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    db.close()
    return found


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    store = PeeweeStore(tmp_path / "store.db")
    offered(store, open_run(store))
    store.close()
    return tmp_path / "store.db"


@pytest.mark.parametrize("after", range(len(_SECOND) + 1))
def test_a_migration_killed_at_any_statement_leaves_the_old_version_and_runs_again(old_store: Path, after: int) -> None:
    before = _schema(old_store)
    process = _SPAWN.Process(target=_migrate_and_die, args=(old_store, after))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert _schema(old_store) == before
    database = Database(old_store)
    migrate(database, (*STEPS, _second_step))
    with database.reading() as db:
        assert version(db) == 2
        assert db.execute_sql("SELECT colour FROM task").fetchone() == ("blue",)
    database.close()


def test_before_a_migration_the_file_is_copied(old_store: Path) -> None:
    before = _schema(old_store)
    database = Database(old_store)
    migrate(database, (*STEPS, _second_step))
    database.close()
    assert _schema(old_store.with_name("store.db.v1")) == before
    copy = PeeweeStore(old_store.with_name("store.db.v1"))
    assert copy.unit_counts(RunId("birds-1")).total == 2
    copy.close()


def test_an_older_program_refuses_a_newer_store_and_leaves_it_alone(old_store: Path) -> None:
    database = Database(old_store)
    migrate(database, (*STEPS, _second_step))
    database.close()
    before = _schema(old_store)
    with pytest.raises(StateMismatch, match="newer crowdstack"):
        PeeweeStore(old_store)
    assert _schema(old_store) == before


def _open(paths: list[Path], gate: threading.Barrier) -> None:
    for path in paths:
        gate.wait(20)
        PeeweeStore(path).close()


def test_processes_that_open_a_new_store_at_once_agree(tmp_path: Path) -> None:
    gate = _SPAWN.Barrier(4)
    paths = [tmp_path / str(number) / "store.db" for number in range(20)]  # what goes wrong does so now and then
    processes = [_SPAWN.Process(target=_open, args=(paths, gate)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    for path in paths:
        with closing(PeeweeStore(path)) as store, store._database.reading() as db:
            assert tables.Identity.select().count(db) == 1
