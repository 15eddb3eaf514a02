"""What the adapter sees of a task's studies: notes that outlive it, study and submissions read at a pace of their own.

The parts of the adapter build on `Sight`. What is read may be some seconds old, here and at Prolific.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from crowdstack.errors import NotYet, Refused
from crowdstack.model import Money, RunId, StudyKey
from crowdstack.ports import Listing, Memory
from crowdstack.providers.pace import Paced
from crowdstack.providers.prolific.answers import Study, Submission
from crowdstack.providers.prolific.api import PAGE, Prolific
from crowdstack.providers.prolific.faults import ApiRefused

LAG = timedelta(minutes=2)  # what is read is never older
_FIRST_S, _LONGEST_S = 5.0, 60.0  # between two looks at the provider


@contextmanager
def shown(id_: str) -> Iterator[None]:
    """What is read inside is there, for we made it or saw it: a 404 is no answer to anything (reads may be old)."""
    try:
        yield
    except ApiRefused as fault:
        if fault.status != 404:
            raise
        raise NotYet(
            f"study {id_} of ours is not shown by Prolific now",
            why=fault.why,
            hint="if it stays so, see whether it was deleted on the site",
        ) from fault


class Sight:
    """Of one task. `settings`: the spec's provider; `memory`: the adapter's notes on a run; `page`: the signed link of a study
    (Busy before there is a server)."""

    def __init__(
        self,
        api: Prolific,
        settings: Mapping[str, Any],
        *,
        page: Callable[[StudyKey], str],
        memory: Callable[[RunId], Memory],
        runs: Callable[[], list[RunId]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        pace_s: tuple[float, float] = (_FIRST_S, _LONGEST_S),
    ) -> None:
        self._api, self._settings, self._page = api, settings, page
        self._memory, self._runs, self._now, self._monotonic = memory, runs, now, monotonic
        self._pace_s = pace_s
        self._studies: dict[StudyKey, Paced[Study | None]] = {}
        self._visits: dict[StudyKey, Paced[tuple[Submission, ...]]] = {}
        self._asked: dict[StudyKey, datetime] = {}  # when the visits were last asked for
        self._told: dict[StudyKey, Listing] = {}  # what they were then
        self._paused: dict[StudyKey, Study] = {}  # as it was when it was first found paused
        self._stopped: dict[StudyKey, Study] = {}  # as it was when it was last stopped again
        self._quotes: dict[Money, Money] = {}
        self._noted: dict[StudyKey, Memory] = {}
        self._ids: dict[StudyKey, str] = {}

    def close(self) -> None:
        self._api.http.close()

    def hint(self, key: StudyKey) -> None:
        for paced in (self._studies.get(key), self._visits.get(key)):
            if paced is not None:
                paced.hint()

    def _notes(self, key: StudyKey) -> Memory:
        if key not in self._noted:
            self._noted[key] = self._memory(RunId(key))  # a study's key is its run
        return self._noted[key]

    def _id(self, key: StudyKey) -> str | None:
        """Of our study. Once it is noted it is the one for good."""
        if key not in self._ids and (noted := self._notes(key).get("study")):
            self._ids[key] = noted
        return self._ids.get(key)

    def _look(self, key: StudyKey) -> Study | None:
        """None: there is none, or it was deleted on the site."""
        id_ = self._id(key)
        if id_ is None:
            return None
        if key not in self._studies:
            self._studies[key] = self._paced(lambda: self._find_again(key, id_))
        return self._studies[key]()

    def _find_again(self, key: StudyKey, id_: str) -> Study | None:
        """None: it has not been there for longer than any copy lags behind."""
        notes = self._notes(key)
        since = notes.get("missing")
        try:
            found = self._fetch(id_)
        except NotYet:
            if not since:
                notes.put("missing", self._now().isoformat())
            elif self._now() >= datetime.fromisoformat(since) + LAG:
                return None
            raise
        if since:
            notes.put("missing", "")
        return found

    def _fetch(self, id_: str) -> Study:
        with shown(id_):
            return self._api.fetch_study(id_)

    def _look_again(self, key: StudyKey) -> Study:
        self._changed(key)
        found = self._look(key)
        if found is None:
            raise Refused(f"study {self._id(key)} is not at Prolific any more", hint="`crowdstack destroy`, then `up`")
        return found

    def _known(self, key: StudyKey) -> Study:
        if self._id(key) is None:
            raise Refused(f"no study {key} is listed at Prolific")
        return self._look_again(key)

    def _listed(self, key: StudyKey) -> tuple[Submission, ...]:
        id_ = self._id(key)
        if id_ is None:
            return ()

        def ask() -> tuple[Submission, ...]:
            at = self._now()
            with shown(id_):
                found = tuple(self._api.list_submissions(id_))
            self._asked[key] = at
            self._told.pop(key, None)
            pages = 1 + len(found) // PAGE
            self._visits[key].first_s = self._pace_s[0] * pages  # as many requests a minute as before
            return found

        if key not in self._visits:
            self._visits[key] = self._paced(ask)
        return self._visits[key]()

    def _changed(self, key: StudyKey) -> None:
        if key in self._studies:
            self._studies[key].forget()
        if key in self._visits:
            self._visits[key].hint()

    def _paced(self, ask: Callable[[], Any]) -> Paced[Any]:
        first_s, longest_s = self._pace_s
        return Paced(ask, self._monotonic, first_s=first_s, longest_s=longest_s)
