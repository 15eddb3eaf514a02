"""Simulated participants: they look for studies, take places, work, return, forget; seeded, on the fake's own clock.

What they do on the task's page is a port: `work` is called with the URL they were sent to and says how it ended.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from crowdstack.fakes.prolific import people
from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.fakes.prolific.states import SubmissionStatus


class Visit(NamedTuple):
    url: str
    participant: str
    study: str
    submission: str


class Outcome(NamedTuple):
    """How the page was left: after how many seconds, with which code (None: closed without one)."""

    seconds: float
    code: str | None


Work = Callable[[Visit], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How often people do what. The rest opens the page, works and comes back with the code of the page."""

    returns: float = 0.08
    times_out: float = 0.04
    no_code: float = 0.03
    wrong_code: float = 0.0
    never_starts: float = 0.02
    late: float = 0.25  # of those who time out: come back with the code afterwards
    looks_every_s: float = 300  # mean pause between two looks at the list of studies


class Crowd:
    """`size` participants of a fake. `run_until` plays them up to a time; between calls nothing happens."""

    def __init__(
        self,
        fake: FakeProlific,
        work: Work,
        *,
        size: int,
        seed: int = 0,
        conduct: Conduct | None = None,
        name: str = "p",
    ) -> None:
        self._fake = fake
        self._work = work
        self._conduct = conduct or Conduct()
        self._random = random.Random(f"crowd:{seed}")
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.visits: list[Visit] = []  # every page that was opened, in order
        for number in range(1, size + 1):
            participant = f"{name}{number:023d}"[:24]
            self._fake.add_person(participant, **self._attributes())
            self._look_later(participant)

    @property
    def next_due(self) -> float:
        """When somebody does something next."""
        return self._queue[0][0]

    def run_until(self, now: float) -> None:
        """Play everybody up to `now`, and the fake's clock with them."""
        while self._queue and self._queue[0][0] <= now:
            due, _, act = heapq.heappop(self._queue)
            self._fake.world.advance_to(due)
            act()
        self._fake.world.advance_to(now)

    # ------------------------------------------------------------------------------------------------ inside

    def _attributes(self) -> dict[str, object]:
        draw = self._random
        return {
            "age": draw.randint(18, 80),
            "handedness": draw.choices(["0", "1", "2"], [10, 85, 5])[0],
            "sex": draw.choice(["0", "1"]),
            "current-country-of-residence": draw.choice(["0", "1"]),
        }

    def _at(self, after_s: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, (self._fake.now + after_s, self._number, act))

    def _look_later(self, participant: str, patience: float = 1) -> None:
        pause_s = patience * self._conduct.looks_every_s
        self._at(self._random.expovariate(1 / pause_s), lambda: self._look(participant))

    def _look(self, participant: str) -> None:
        found = people.open_to(self._fake.world, self._fake.world.person(participant))
        if not found:
            self._look_later(participant, patience=4)  # who found nothing comes less often
            return
        study = self._random.choice(found).id
        submission = self._fake.reserve(study, participant).id
        if self._random.random() < self._conduct.never_starts:
            self._look_later(participant)  # the reservation lapses
            return
        self._at(self._random.uniform(1, 60), lambda: self._start(participant, study, submission))

    def _start(self, participant: str, study: str, submission: str) -> None:
        try:
            url = self._fake.start(submission)
        except Refusal:
            self._look_later(participant)
            return
        limit_s = 60 * self._fake.world.studies[study].fields["maximum_allowed_time"]
        draw = self._random.random()
        conduct = self._conduct
        if draw < conduct.returns:
            self._at(self._random.uniform(5, limit_s / 4), lambda: self._return(participant, submission))
            return
        visit = Visit(url, participant, study, submission)
        self.visits.append(visit)
        outcome = self._work(visit)
        code, seconds = outcome.code, outcome.seconds
        draw -= conduct.returns
        if draw < conduct.times_out:
            if self._random.random() >= conduct.late:
                self._look_later(participant)
                return
            seconds = limit_s + self._random.uniform(1, 600)
        elif draw < conduct.times_out + conduct.no_code:
            code = None
        elif draw < conduct.times_out + conduct.no_code + conduct.wrong_code:
            code = "WR0NG"
        self._at(seconds, lambda: self._complete(participant, submission, code))

    def _return(self, participant: str, submission: str) -> None:
        if self._fake.world.submissions[submission].status is SubmissionStatus.ACTIVE:
            self._fake.give_back(submission)
        self._look_later(participant)

    def _complete(self, participant: str, submission: str, code: str | None) -> None:
        try:
            self._fake.complete(submission, code)
        except Refusal:
            pass  # too late, or the study is gone
        self._look_later(participant)
