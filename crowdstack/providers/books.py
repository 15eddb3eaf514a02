"""Books of studies, charged visits and a wallet, for crowds without a service that keeps them (mock, generic).

As strict as a company that keeps real money: they refuse what a real provider would refuse, and keep a journal of every
effect so that tests can hold the store's intents against it. What they say is on disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdstack.errors import Busy, Refused
from crowdstack.folder import private_file, private_folder
from crowdstack.model import Admission, Money, Study, StudyKey, StudyState, TaskName, VisitId, WorkerId
from crowdstack.ports import GroupChange, HookKey, Listing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS study (
    key TEXT PRIMARY KEY, title TEXT NOT NULL, places INTEGER NOT NULL, state TEXT NOT NULL,
    minor INTEGER NOT NULL, currency TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS visit (
    id TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES study (key), worker TEXT NOT NULL, submission TEXT,
    state TEXT NOT NULL CHECK (state IN ('charged', 'rejected')));
CREATE TABLE IF NOT EXISTS debit (
    visit TEXT NOT NULL REFERENCES visit (id), purpose TEXT NOT NULL, net INTEGER NOT NULL, minor INTEGER NOT NULL,
    currency TEXT NOT NULL, PRIMARY KEY (visit, purpose));
CREATE TABLE IF NOT EXISTS effect (
    number INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, subject TEXT NOT NULL, total INTEGER);
"""


class Books:
    """ports.Provider over one SQLite file. One file is one account: `wallet` says what was paid in by now (None: no end).

    Each verb is one transaction; a repeat finds its own effect and changes nothing.
    """

    name = "mock"

    def __init__(
        self,
        path: Path,
        *,
        task: TaskName | None = None,
        wallet: Callable[[], Money | None] = lambda: None,
        patience_s: float = 5,
    ) -> None:
        private_folder(path.parent)
        self._task = task  # whose studies `spent` adds up; None: all of the account
        self._wallet = wallet
        self._lock = threading.Lock()
        private_file(path)
        self._db = sqlite3.connect(path, timeout=patience_s, isolation_level=None, check_same_thread=False)
        with self._told():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    # -------------------------------------------------------------------------------------------- ports.Provider

    def fetch_study(self, key: StudyKey) -> Study | None:
        with self._told():
            return self._study(key)

    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Study:
        if places < 1:
            raise Refused(f"a study needs places, not {places}")
        wallet = self._wallet()
        with self._writing():
            found = self._study(key)
            if found is not None:
                return found
            if wallet is not None and wallet.currency != reward.currency:
                raise Refused(
                    f"the wallet holds {wallet.currency}, the reward is {reward}",
                    hint="use one currency in provider.wallet and task.reward",
                )
            row = (key, title, places, StudyState.OPEN.value, reward.minor, reward.currency)
            self._db.execute("INSERT INTO study (key, title, places, state, minor, currency) VALUES (?,?,?,?,?,?)", row)
            self._effect("open", key, places)
            return self._known(key)

    def raise_places(self, key: StudyKey, to: int) -> Study:
        with self._writing():
            study = self._known(key)
            if to <= study.places:
                return study
            if study.state is StudyState.CLOSED:
                raise Refused(f"study {key} is closed: it cannot be given places")
            self._db.execute("UPDATE study SET places = ? WHERE key = ?", (to, key))
            self._effect("places", key, to)
            return self._known(key)

    def set_state(self, key: StudyKey, state: StudyState) -> Study:
        with self._writing():
            study = self._known(key)
            if state is study.state:
                return study
            if study.state is StudyState.CLOSED:
                raise Refused(f"study {key} is closed for good: it cannot be {state.value}")
            self._db.execute("UPDATE study SET state = ? WHERE key = ?", (state.value, key))
            self._effect(state.value, key)
            return self._known(key)

    def approve(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None = None) -> None:
        wallet = self._wallet()
        with self._writing():
            study = self._known(key)
            if self._settled(key, visit, worker) == "charged":
                return
            if self._settled(key, visit, worker) == "rejected":
                raise Refused(f"visit {visit} was rejected: it cannot be paid any more")
            (charged,) = self._db.execute(
                "SELECT COUNT(*) FROM visit WHERE study = ? AND state = 'charged'", (key,)
            ).fetchone()
            if charged >= study.places:
                raise Refused(f"all {study.places} places of study {key} are paid: there is none for visit {visit}")
            self._db.execute("INSERT INTO visit VALUES (?, ?, ?, ?, 'charged')", (visit, key, worker, submission))
            self._debit(wallet, visit, "reward", study.reward)
            self._effect("approve", visit)

    def reject(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, reason: str, submission: str | None = None
    ) -> None:
        with self._writing():
            self._known(key)
            if self._settled(key, visit, worker) == "rejected":
                return
            if self._settled(key, visit, worker) == "charged":
                raise Refused(f"visit {visit} was paid: it cannot be rejected any more")
            self._db.execute("INSERT INTO visit VALUES (?, ?, ?, ?, 'rejected')", (visit, key, worker, submission))
            self._effect("reject", visit)

    def pay_bonus(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None, *, payment: str, net: Money
    ) -> None:
        wallet = self._wallet()
        with self._writing():
            self._known(key)
            if self._settled(key, visit, worker) is None:
                raise Refused(f"visit {visit} is not settled yet: a bonus comes after the reward or the rejection")
            purpose = f"bonus:{payment}"
            if self._db.execute("SELECT 1 FROM debit WHERE visit = ? AND purpose = ?", (visit, purpose)).fetchone():
                return
            price = self._debit(wallet, visit, purpose, net)
            self._effect("bonus", payment, price.minor)

    def _debit(self, wallet: Money | None, visit: VisitId, purpose: str, net: Money) -> Money:
        """Take what paying `net` costs out of the wallet. Refused when it is not in it."""
        price = self.gross(net)
        if wallet is not None and wallet < self._debits(price.currency) + price:
            raise Refused(f"the wallet of {wallet} cannot pay {price} more", hint="put more into provider.wallet")
        line = (visit, purpose, net.minor, price.minor, price.currency)
        self._db.execute("INSERT INTO debit (visit, purpose, net, minor, currency) VALUES (?, ?, ?, ?, ?)", line)
        return price

    def drift(self, key: StudyKey, *, reward: Money, title: str) -> tuple[str, ...]:
        return ()

    def fetch_visits(self, key: StudyKey) -> Listing | None:
        return None

    def ask_return(self, key: StudyKey, submission: str, reason: str) -> None:
        raise Refused(f"the {self.name} provider knows of no visit without answers")

    def send_message(self, key: StudyKey, worker: WorkerId, *, message: str, text: str) -> None:
        raise Refused(f"the {self.name} provider has no messages", hint="write to people where you know them from")

    def set_workers(self, key: StudyKey, admission: Admission) -> None:
        """The task server counts places and lets people in."""

    def group_changes(self, key: StudyKey, admission: Admission) -> tuple[GroupChange, ...]:
        return ()

    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        return None

    def unwatch(self, key: StudyKey, at: str) -> None:
        """Nothing is told by it."""

    def hint(self, key: StudyKey) -> None:
        """Books are as they are."""

    def gross(self, reward: Money) -> Money:
        """No fees: a visit costs its reward."""
        return reward

    def spent(self) -> Money | None:
        with self._told():
            found = self._db.execute(
                "SELECT study.key, study.currency, COALESCE(SUM(debit.minor), 0) FROM study "
                "LEFT JOIN visit ON visit.study = study.key LEFT JOIN debit ON debit.visit = visit.id GROUP BY study.key"
            ).fetchall()
            ours = [row for row in found if self._ours(row[0])]
            return Money(sum(minor for _, _, minor in ours), ours[0][1]) if ours else None

    def _ours(self, key: str) -> bool:
        """Whether a study is of the task whose books are looked at. Keys are <task>-<number>."""
        return self._task in (None, key.rpartition("-")[0])

    # -------------------------------------------------------------------------------------------- for the judge

    def debits(self) -> dict[VisitId, Money]:
        """The wallet's own lines: what was debited for which visit as its reward."""
        return {visit: amount for (visit, purpose), amount in self.lines().items() if purpose == "reward"}

    def lines(self) -> dict[tuple[VisitId, str], Money]:
        """All lines of the wallet, by visit and purpose (`reward`, `bonus:<payment>`)."""
        with self._told():
            found = self._db.execute("SELECT visit, purpose, minor, currency FROM debit").fetchall()
            return {(VisitId(visit), purpose): Money(minor, currency) for visit, purpose, minor, currency in found}

    def effects(self) -> list[tuple[str, str, int | None]]:
        """Everything that ever changed here, in order: (verb, study or visit, total)."""
        with self._told():
            return self._db.execute("SELECT verb, subject, total FROM effect ORDER BY number").fetchall()

    # -------------------------------------------------------------------------------------------- inside

    def _study(self, key: StudyKey) -> Study | None:
        row = self._db.execute("SELECT places, state, minor, currency FROM study WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        places, state, minor, currency = row
        return Study(
            id=f"{self.name}-{key}", key=key, places=places, state=StudyState(state), reward=Money(minor, currency)
        )

    def _known(self, key: StudyKey) -> Study:
        study = self._study(key)
        if study is None:
            raise Refused(f"no study {key} is listed here")
        return study

    def _settled(self, key: StudyKey, visit: VisitId, worker: WorkerId) -> str | None:
        """How this visit was settled, if it was; it must then be the same study's and the same worker's."""
        row = self._db.execute("SELECT study, worker, state FROM visit WHERE id = ?", (visit,)).fetchone()
        if row is None:
            return None
        if row[:2] != (key, worker):
            raise Refused(f"visit {visit} belongs to study {row[0]} and another worker or study was named")
        return str(row[2])

    def _debits(self, currency: str) -> Money:
        sql = "SELECT COALESCE(SUM(minor), 0) FROM debit WHERE currency = ?"
        return Money(self._db.execute(sql, (currency,)).fetchone()[0], currency)

    def _effect(self, verb: str, subject: str, total: int | None = None) -> None:
        self._db.execute("INSERT INTO effect (verb, subject, total) VALUES (?, ?, ?)", (verb, subject, total))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """One caller at a time; faults of the database in our words."""
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as fault:
                raise Busy(f"the {self.name} provider's books cannot be used now", why=str(fault)) from fault
