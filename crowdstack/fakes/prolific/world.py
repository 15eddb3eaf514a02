"""The account's memory: tables of records, a virtual clock, what happens by itself later, and a journal of every effect.

Pure: time passes when `advance_to` is called, ids come from the seed, nothing is read or written elsewhere.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from crowdstack.fakes.prolific import records as r
from crowdstack.fakes.prolific.faults import Faults
from crowdstack.fakes.prolific.refusal import Refusal, unknown
from crowdstack.fakes.prolific.settings import Settings
from crowdstack.fakes.prolific.states import HOLDING, TRANSITIONS, Move, StudyStatus, SubmissionStatus

_ALLOWED = frozenset(TRANSITIONS)
Happens = Callable[["World", str, dict[str, Any]], None]


class Delivery(NamedTuple):
    """One request to a webhook's receiver."""

    event: str
    url: str
    headers: dict[str, str]
    body: bytes


class World:
    def __init__(self, *, seed: int, settings: Settings, faults: Faults, now: float, token: str) -> None:
        self.seed = seed
        self.settings = settings
        self.faults = faults
        self.meta = r.Meta(id="account", now=now, token=token)
        self.workspaces: dict[str, r.Workspace] = {}
        self.projects: dict[str, r.Project] = {}
        self.studies: dict[str, r.Study] = {}
        self.submissions: dict[str, r.Submission] = {}
        self.people: dict[str, r.Person] = {}
        self.groups: dict[str, r.Group] = {}
        self.bulks: dict[str, r.Bulk] = {}
        self.messages: dict[str, r.Message] = {}
        self.secrets: dict[str, r.Secret] = {}
        self.subscriptions: dict[str, r.Subscription] = {}
        self.events: dict[str, r.HookEvent] = {}
        self.laters: dict[str, r.Later] = {}
        self.effects: dict[str, r.Effect] = {}
        self.lines: dict[str, r.WalletLine] = {}
        self.removed: list[tuple[str, str]] = []  # (table, id) since the last save
        self.outbox: list[Delivery] = []
        self.happens: dict[str, Happens] = {}  # verb -> what is done when it is due
        self.by = "api"
        self._counts: defaultdict[str, Counter[SubmissionStatus]] = defaultdict(Counter)
        self._of_study: defaultdict[str, list[r.Submission]] = defaultdict(list)
        self._queue: list[tuple[float, int, str]] = []

    def tables(self) -> dict[str, dict[str, Any]]:
        """Every table by its name, for whoever keeps or compares them."""
        return {
            "meta": {self.meta.id: self.meta}, "workspaces": self.workspaces, "projects": self.projects,
            "studies": self.studies, "submissions": self.submissions, "people": self.people, "groups": self.groups,
            "bulks": self.bulks, "messages": self.messages, "secrets": self.secrets,
            "subscriptions": self.subscriptions, "events": self.events, "laters": self.laters,
            "effects": self.effects, "lines": self.lines,
        }  # fmt: skip

    def reindex(self) -> None:
        """After the tables were filled from elsewhere."""
        self._counts, self._of_study = defaultdict(Counter), defaultdict(list)
        for submission in self.submissions.values():
            self._of_study[submission.study].append(submission)
            self._counts[submission.study][submission.status] += 1
        self._queue = [(later.due, int(later.args["number"]), later.id) for later in self.laters.values()]
        heapq.heapify(self._queue)

    def detach(self) -> None:
        """A copy with tables of its own counts for itself. It is for reading."""
        self._queue, self.laters = [], {}
        self.reindex()

    # ------------------------------------------------------------------------------------------------ clock

    @property
    def now(self) -> float:
        return self.meta.now

    def later(self, after_s: float, verb: str, subject: str, **args: Any) -> None:
        """Let `verb` happen to `subject` in `after_s` seconds; at once when that is 0."""
        if after_s <= 0:
            self.happens[verb](self, subject, args)
            return
        key = self.new_id()
        number = self.meta.counter
        self.laters[key] = r.Later(
            id=key, due=self.now + after_s, verb=verb, subject=subject, args=args | {"number": number}
        )
        heapq.heappush(self._queue, (self.now + after_s, number, key))

    @property
    def next_due(self) -> float | None:
        """When the next thing happens by itself."""
        return self._queue[0][0] if self._queue else None

    def advance_to(self, now: float) -> None:
        """What is due until `now` happens, in order, each at its own time. A clock set back changes nothing."""
        while self._queue and self._queue[0][0] <= now:
            due, _, key = heapq.heappop(self._queue)
            later = self.laters.pop(key)
            self.removed.append(("laters", key))
            if due > self.now:
                self.meta.tick(due)
            with self.acting("time"):
                self.happens[later.verb](self, later.subject, later.args)
        if now > self.now:
            self.meta.tick(now)

    # ------------------------------------------------------------------------------------------------ journal

    @contextmanager
    def acting(self, by: str) -> Iterator[None]:
        """Who is to be named in the journal."""
        before, self.by = self.by, by
        try:
            yield
        finally:
            self.by = before

    def effect(self, verb: str, subject: str, *, amount: int | None = None, key: str = "") -> None:
        number = f"{len(self.effects) + 1:08d}"
        self.effects[number] = r.Effect(
            id=number, at=self.now, by=self.by, verb=verb, subject=subject, amount=amount, key=key
        )

    # ------------------------------------------------------------------------------------------------ ids and look-up

    def new_id(self) -> str:
        """24 hex digits, the same ones for the same seed."""
        self.meta.counter += 1
        return hashlib.sha256(f"{self.seed}:{self.meta.counter}".encode()).hexdigest()[:24]

    def workspace(self, key: str) -> r.Workspace:
        found = self.workspaces.get(key)
        if found is None:
            raise unknown("workspace", key)
        if found.foreign:
            raise Refusal(403, "Forbidden", "You do not have permission to perform this action.")
        return found

    def project(self, key: str) -> r.Project:
        found = self.projects.get(key)
        if found is None:
            raise unknown("project", key)
        self.workspace(found.workspace)
        return found

    def study(self, key: str) -> r.Study:
        found = self.studies.get(key)
        if found is None or found.deleted:
            raise unknown("study", key)
        return found

    def submission(self, key: str) -> r.Submission:
        found = self.submissions.get(key)
        if found is None or self.studies[found.study].deleted:
            raise unknown("submission", key)
        return found

    def person(self, key: str) -> r.Person:
        """The participant of this id; anybody exists."""
        if key not in self.people:
            self.people[key] = r.Person(id=key)
        return self.people[key]

    # ------------------------------------------------------------------------------------------------ moves

    def move_study(self, study: r.Study, cause: str, end: StudyStatus) -> None:
        self._take(Move("study", study.status.value, cause, end.value))
        study.status = end
        self.effect(cause.lower().replace(" ", "_"), study.id, key=study.key)
        self.happens["study moved"](self, study.id, {})

    def move(self, submission: r.Submission, cause: str, end: SubmissionStatus) -> None:
        self._take(Move("submission", submission.status.value, cause, end.value))
        counts = self._counts[submission.study]
        counts[submission.status] -= 1
        counts[end] += 1
        submission.status = end
        self.effect(cause.lower().replace(" ", "_"), submission.id)
        self.happens["submission moved"](self, submission.id, {})

    def add_study(self, study: r.Study) -> None:
        self.studies[study.id] = study
        self._take(Move("study", None, "create", study.status.value))
        self.effect("create_study", study.id, amount=study.places, key=study.key)

    def add_submission(self, submission: r.Submission) -> None:
        self.submissions[submission.id] = submission
        self._of_study[submission.study].append(submission)
        self._counts[submission.study][submission.status] += 1
        self._take(Move("submission", None, "reserve", submission.status.value))
        self.effect("reserve", submission.id)
        self.happens["submission moved"](self, submission.id, {})

    def _take(self, move: Move) -> None:
        assert move in _ALLOWED, f"no such move: {move}"
        name = " ".join([move.kind, move.start or "-", move.cause, move.end])
        self.meta.taken = self.meta.taken | {name: self.meta.taken.get(name, 0) + 1}

    # ------------------------------------------------------------------------------------------------ counting

    def of_study(self, study: r.Study) -> list[r.Submission]:
        return self._of_study[study.id]

    def count(self, study: r.Study, statuses: frozenset[SubmissionStatus]) -> int:
        counts = self._counts[study.id]
        return sum(counts[status] for status in statuses)

    def free_places(self, study: r.Study) -> int:
        return study.places - self.count(study, HOLDING)
