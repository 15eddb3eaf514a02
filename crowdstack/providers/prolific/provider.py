"""Prolific behind ports.Provider: our key -> one published study; its submissions -> visits (decisions/0009).

Creating is not idempotent there, and a draft costs nothing: so drafts may double, and the id of the one that is to be
published is written into `Memory` before it is. Every other write is a total or a transition, which may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

from crowdstack.errors import Busy, NotYet, Refused, Unclear
from crowdstack.model import (
    ListedState,
    ListedVisit,
    Money,
    RunId,
    Study,
    StudyKey,
    StudyState,
    VisitId,
    WorkerId,
    gross_of,
    visit_of,
)
from crowdstack.ports import HookKey, Listing, Memory
from crowdstack.providers.pace import Paced
from crowdstack.providers.prolific.answers import Study as Found
from crowdstack.providers.prolific.answers import StudyStatus, Submission, SubmissionStatus
from crowdstack.providers.prolific.api import PAGE, Prolific, Rejection, StudyMove
from crowdstack.providers.prolific.drift import drift
from crowdstack.providers.prolific.faults import ApiRefused
from crowdstack.providers.prolific.legacy import as_filter
from crowdstack.providers.prolific.terms import mark, rejection, study_draft

_STATES = {
    SubmissionStatus.RESERVED: ListedState.RESERVED,
    SubmissionStatus.ACTIVE: ListedState.ACTIVE,
    SubmissionStatus.TIMED_OUT: ListedState.TIMED_OUT,
    SubmissionStatus.AWAITING_REVIEW: ListedState.AWAITING,
    SubmissionStatus.APPROVED: ListedState.APPROVED,
    SubmissionStatus.PARTIALLY_APPROVED: ListedState.PARTIAL,
    SubmissionStatus.REJECTED: ListedState.REJECTED,
    SubmissionStatus.RETURNED: ListedState.RETURNED,
    SubmissionStatus.SCREENED_OUT: ListedState.SCREENED_OUT,
    SubmissionStatus.UNKNOWN: ListedState.UNKNOWN,
}
_PENDING = (StudyStatus.SCHEDULED, StudyStatus.PUBLISHING)
_OVER = (StudyStatus.AWAITING_REVIEW, StudyStatus.COMPLETED)  # every place taken, or stopped: more places reopen it
_GROUPS = {"allow_groups": "participant_group_allowlist", "block_groups": "participant_group_blocklist"}
_EVENTS = ("study.status.change", "submission.status.change")
_TIME, _SIGNATURE = "X-Prolific-Request-Timestamp", "X-Prolific-Request-Signature"
_LAG = timedelta(minutes=2)  # what is read is never older
_FIRST_S, _LONGEST_S = 5.0, 60.0  # between two looks at the provider


@contextmanager
def _shown(id_: str) -> Iterator[None]:
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


class ProlificProvider:
    """ports.Provider of one task. `settings`: the spec's provider; `memory`: the adapter's notes on a run; `page`: the signed
    link of a study (Busy before there is a server)."""

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
        self._studies: dict[StudyKey, Paced[Found | None]] = {}
        self._visits: dict[StudyKey, Paced[tuple[Submission, ...]]] = {}
        self._asked: dict[StudyKey, datetime] = {}  # when the visits were last asked for
        self._told: dict[StudyKey, Listing] = {}  # what they were then
        self._paused: dict[StudyKey, Found] = {}  # as it was when it was first found paused
        self._quotes: dict[Money, Money] = {}
        self._noted: dict[StudyKey, Memory] = {}
        self._ids: dict[StudyKey, str] = {}

    def close(self) -> None:
        self._api.http.close()

    # -------------------------------------------------------------------------------------------- studies

    def fetch_study(self, key: StudyKey) -> Study | None:
        id_ = self._id(key)
        if id_ is None:
            return None
        found = self._look(key)
        if found is None:
            reward = Money.parse(self._notes(key).get("reward") or "")
            return Study(id=id_, key=key, places=0, state=StudyState.CLOSED, reward=reward, by_hand=True)
        return None if found.status is StudyStatus.UNPUBLISHED else self._study(key, found)

    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Study:
        """Find or make the draft, note its id, publish it. Refused: no funds, something that the account may not do."""
        if places < 1:
            raise Refused(f"a study needs places, not {places}")
        notes = self._notes(key)
        id_ = self._id(key) or self._find(key) or self._create(key, places, reward, title)
        notes.put("reward", str(reward))
        notes.put("study", id_)
        if self._fetch(id_).status is StudyStatus.UNPUBLISHED:
            self._publish(key, id_, places)
        return self._study(key, self._look_again(key))

    def _publish(self, key: StudyKey, id_: str, places: int) -> None:
        """A no is taken for one only where no earlier attempt may have had its effect: what is read may be old."""
        notes = self._notes(key)
        before, now = notes.get("publishing"), self._now()
        notes.put("publishing", now.isoformat())
        try:
            self._api.change_published(id_, places=places)
            self._api.move_study(id_, StudyMove.PUBLISH)
        except (Unclear, Busy):
            raise
        except Refused as fault:
            if before and now < datetime.fromisoformat(before) + _LAG:
                notes.put("publishing", before)
                raise NotYet(f"study {id_} may be published: it is looked at again", why=str(fault)) from fault
            notes.put("publishing", "")
            raise

    def raise_places(self, key: StudyKey, to: int) -> Study:
        notes, found = self._notes(key), self._known(key)
        if to > found.places:
            if notes.get("closed"):
                raise Refused(f"study {key} is closed: it cannot be given places")
            notes.put("raised_from", str(found.places))
            self._api.change_published(found.id, places=to)
            found = self._look_again(key)
        return self._study(key, found)

    def set_state(self, key: StudyKey, state: StudyState) -> Study:
        notes, found = self._notes(key), self._known(key)
        if notes.get("closed") and state is not StudyState.CLOSED:
            raise Refused(f"study {key} is closed for good: it cannot be {state.value}")
        if state is StudyState.PAUSED:
            notes.put("paused", "yes")
            if found.status is StudyStatus.ACTIVE:
                self._api.move_study(found.id, StudyMove.PAUSE)
        elif state is StudyState.OPEN:
            if found.status is StudyStatus.PAUSED:
                notes.put("freed", str(self._gone(key)))
                self._api.move_study(found.id, StudyMove.START)
            notes.put("paused", "")
        else:
            if found.status in (StudyStatus.ACTIVE, StudyStatus.PAUSED):
                self._api.move_study(found.id, StudyMove.STOP)
            notes.put("closed", "yes")
        return self._study(key, self._look_again(key))

    def drift(self, key: StudyKey, *, reward: Money, title: str) -> tuple[str, ...]:
        found = self._look(key)
        if found is None:
            return ()
        wanted = study_draft(
            self._settings, key, places=found.places, reward=reward, title=title, page="", project=None
        )
        return drift(wanted.fields(self._api.currency), found.raw)

    def _create(self, key: StudyKey, places: int, reward: Money, title: str) -> str:
        draft = study_draft(
            self._settings,
            key,
            places=places,
            reward=reward,
            title=title,
            page=self._page(key),
            project=self._project(),
            filters=[*map(as_filter, self._settings.get("eligibility_requirements") or ()), *self._groups()],
        )
        self._check_filters(draft.filters)
        return self._api.create_study(draft).id

    def _find(self, key: StudyKey) -> str | None:
        """Our study over all states: one that is out before any draft, the oldest before later ones."""
        project = self._project()
        with _shown(mark(key)):
            found = self._api.find_studies(mark(key), project=project)
        found.sort(key=lambda study: (study.status is StudyStatus.UNPUBLISHED, study.id))  # ids begin with their time
        return found[0].id if found else None

    def _project(self) -> str | None:
        """The id of the project that the spec names; None: the account's first one."""
        wanted = self._settings.get("project")
        if wanted is None:
            return None
        for project in self._api.fetch_projects():
            if wanted in (project.id, project.title):
                return project.id
        if self._settings.get("create"):
            return self._api.create_project(wanted).id
        raise Refused(f"there is no project {wanted!r} in the workspace", hint="provider.create: true makes it")

    def _check_filters(self, filters: Sequence[Mapping[str, Any]]) -> None:
        """They are fixed once it is published, so a name that the account does not know is told before."""
        if not filters:
            return
        known = {found.id for found in self._api.list_filters()}
        for given in filters:
            name = str(given.get("filter_id"))
            if name not in known and name not in ("and", "or"):
                near = get_close_matches(name, known, 1)
                raise Refused(
                    f"the account has no filter {name!r}",
                    hint=f"did you mean {near[0]!r}?" if near else "provider.filters",
                )

    def _groups(self) -> list[dict[str, Any]]:
        """Allow and block groups: they stay open to change when the study is out, filters do not."""
        filters = []
        for setting, filter_id in _GROUPS.items():
            ids = []
            for name in self._settings.get(setting) or ():
                group = self._api.find_group(name)
                if group is None and self._settings.get("create"):
                    group = self._api.create_group(name)
                if group is None:
                    raise Refused(
                        f"there is no participant group {name!r} in the workspace",
                        hint="make it there, or let provider.create: true make it, empty",
                    )
                ids.append(group.id)
            if ids:
                filters.append({"filter_id": filter_id, "selected_values": ids})
        return filters

    def _study(self, key: StudyKey, found: Found) -> Study:
        state, by_hand = self._state(key, found)
        return Study(id=found.id, key=key, places=found.places, state=state, reward=found.reward, by_hand=by_hand)

    def _state(self, key: StudyKey, found: Found) -> tuple[StudyState, bool]:
        """How it stands, and whether somebody else brought it there.

        A study whose places are all taken waits for review and goes on with more places: for us it is open. When one of
        them is freed it may be found paused (facts differ): `decide` starts it again like one that we paused.
        """
        notes = self._notes(key)
        if notes.get("closed"):
            return StudyState.CLOSED, False
        if found.status is StudyStatus.PAUSED:
            if self._paused.get(key) is not found:  # since the visits were listed, perhaps, and that is why
                self._paused[key] = found
                if key in self._visits:
                    self._visits[key].forget()
            return StudyState.PAUSED, not notes.get("paused") and not self._freed(key, found)
        if notes.get("paused"):
            return StudyState.PAUSED, False
        if found.status in _OVER:
            taken = len(self._listed(key)) - self._gone(key)
            stopped = taken < found.places and found.status is StudyStatus.COMPLETED
            return (StudyState.PAUSED, True) if stopped else (StudyState.OPEN, False)
        return StudyState.OPEN, False

    def _gone(self, key: StudyKey) -> int:
        return sum(_STATES[visit.status].gone for visit in self._listed(key))

    def _freed(self, key: StudyKey, found: Found) -> bool:
        """Whether it may have paused itself: it was full, and places were freed since we started it last. So a person who
        pauses it once more than that is not fought."""
        before = self._notes(key).get("raised_from")  # paused by itself, it may have been given more places since
        full_once = len(self._listed(key)) >= min(found.places, int(before or found.places))
        return full_once and self._gone(key) > int(self._notes(key).get("freed") or 0)

    # -------------------------------------------------------------------------------------------- visits

    def fetch_visits(self, key: StudyKey) -> Listing | None:
        if self._id(key) is not None and self._look(key) is None:
            return None
        listed = self._listed(key)
        if told := self._told.get(key):
            return told
        visits = tuple(
            ListedVisit(
                visit=visit_of(key, WorkerId(found.participant), found.id),
                submission=found.id,
                worker=WorkerId(found.participant),
                state=_STATES[found.status],
                code=found.code,
                started_at=found.started_at,
                completed_at=found.completed_at,
                return_asked=found.return_requested is not None,
            )
            for found in listed
        )
        listing = Listing(visits=visits, at=self._asked.get(key) or self._now())
        if key in self._asked:
            self._told[key] = listing
        return listing

    def approve(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None = None) -> None:
        found = self._verified(key, visit, worker, submission)
        if found.status in (SubmissionStatus.APPROVED, SubmissionStatus.PARTIALLY_APPROVED):
            return
        if found.status is SubmissionStatus.ACTIVE:
            raise NotYet(f"submission {found.id} was not handed in yet: it cannot be approved")
        if found.status is not SubmissionStatus.AWAITING_REVIEW:
            raise Refused(f"submission {found.id} is {found.status.value}: it cannot be paid any more")
        self._api.approve(found.id)
        self._changed(key)

    def reject(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, reason: str, submission: str | None = None
    ) -> None:
        found = self._verified(key, visit, worker, submission)
        if found.status is SubmissionStatus.REJECTED:
            return
        if found.status is not SubmissionStatus.AWAITING_REVIEW:
            raise Refused(f"submission {found.id} is {found.status.value}: it cannot be rejected")
        category = Rejection.NO_DATA if found.code is None or "nothing" in reason else Rejection.LOW_EFFORT
        self._api.reject(found.id, message=rejection(reason), category=category)
        self._changed(key)

    def pay_bonus(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None, *, payment: str, net: Money
    ) -> None:
        """Setting up is free and may be repeated; paying is neither idempotent nor readable. So what had been paid before is
        noted first, and from there on only the submission's own list of bonuses is believed. One at a time for each
        submission, else nobody could tell which of them is shown."""
        found = self._verified(key, visit, worker, submission)
        notes, name, turn = self._notes(key), f"bonus:{payment}", f"paying:{found.id}"
        if notes.get(turn) not in (None, "", payment):
            raise NotYet(f"another bonus to submission {found.id} is not shown yet")
        if not notes.get(name):
            before = self._on_top(found.id)
            setup = self._api.create_bonus(found.study, {found.id: net}, booked=self.gross(net))
            notes.put(turn, payment)
            notes.put(name, str(before))
            try:
                self._api.pay_bonus(setup.id)
            except Unclear:
                raise
            except (Busy, Refused):  # nothing was paid: it may be sent again
                notes.put(name, "")
                notes.put(turn, "")
                raise
        with _shown(found.study):
            on_top = self._on_top(found.id)
        if on_top < int(notes.get(name) or 0) + net.minor:
            raise Unclear(
                f"bonus {payment} of {net} to submission {found.id} was sent and is not shown yet",
                hint="if it stays so, look at the submission on Prolific's site; it is not sent again",
            )
        notes.put(turn, "")

    def _on_top(self, submission: str) -> int:
        """Minor units that were paid as bonuses so far."""
        return sum(bonus.minor for bonus in self._api.fetch_submission(submission).bonuses or ())

    def ask_return(self, key: StudyKey, submission: str, reason: str) -> None:
        self._api.request_return(submission, [reason])
        self._changed(key)

    def _verified(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None) -> Submission:
        """The provider's record of just this visit, seen by this process (I8)."""
        if submission is None:
            raise Refused(f"visit {visit} has no id at the provider: it cannot be paid or rejected there")
        known = (found for found in self._listed(key) if found.id == submission)
        found = next(known, None) or self._api.fetch_submission(submission)
        ours = visit_of(key, worker, found.id)
        if found.study != self._id(key) or found.participant != worker or ours != visit:
            raise Refused(f"submission {submission} belongs to another study or participant than visit {visit}")
        return found

    # -------------------------------------------------------------------------------------------- money

    def gross(self, reward: Money) -> Money:
        """The greater of the provider's own quote and our table of fees, for one visit."""
        table = gross_of(reward, fee_bp=self._settings["fee_bp"], vat_bp=self._settings["vat_bp"])
        if reward not in self._quotes:
            self._quotes[reward] = self._api.quote(reward, 1)
        return max(table, self._quotes[reward])

    def spent(self) -> Money | None:
        """By the provider's cost of every study of this task."""
        ids = [id_ for run in self._runs() if (id_ := self._memory(run).get("study"))]
        costs = [self._api.fetch_cost(id_).total for id_ in ids]
        return None if not costs else sum(costs[1:], start=costs[0])

    # -------------------------------------------------------------------------------------------- looking

    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        """The workspace's secret is taken as it is: a new one would make strangers of everybody else's hooks. A subscription
        that was not noted may not have been confirmed, and then tells nothing: it is made anew."""
        if not self._settings.get("webhooks"):
            return None
        secret = next(iter(self._api.list_hook_secrets()), None) or self._api.create_hook_secret()
        notes, missing = self._notes(key), set(_EVENTS)
        for found in self._api.list_subscriptions():
            noted = notes.get(f"hook:{found.event}") == found.id
            if noted and found.url == at:
                missing.discard(found.event)
            elif noted or found.url == at:
                self._unsubscribe(found.id)
        for event in sorted(missing):
            notes.put(f"hook:{event}", self._api.subscribe(event, at).id)
        return HookKey(secret=secret.value, event="X-Event-ID", timestamp=_TIME, signature=_SIGNATURE)

    def unwatch(self, key: StudyKey, at: str) -> None:
        if not self._settings.get("webhooks"):
            return
        noted = {self._notes(key).get(f"hook:{event}") for event in _EVENTS}
        for enabled in (True, False):  # Prolific stops what failed for days
            for found in self._api.list_subscriptions(enabled=enabled):
                if found.id in noted or found.url == at:
                    self._unsubscribe(found.id)

    def _unsubscribe(self, subscription: str) -> None:
        try:
            self._api.unsubscribe(subscription)
        except ApiRefused as fault:
            if fault.status != 404:  # somebody was faster
                raise

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

    def _look(self, key: StudyKey) -> Found | None:
        """None: there is none, or it was deleted on the site."""
        id_ = self._id(key)
        if id_ is None:
            return None
        if key not in self._studies:
            self._studies[key] = self._paced(lambda: self._find_again(key, id_))
        return self._studies[key]()

    def _find_again(self, key: StudyKey, id_: str) -> Found | None:
        """None: it has not been there for longer than any copy lags behind."""
        notes = self._notes(key)
        since = notes.get("missing")
        try:
            found = self._fetch(id_)
        except NotYet:
            if not since:
                notes.put("missing", self._now().isoformat())
            elif self._now() >= datetime.fromisoformat(since) + _LAG:
                return None
            raise
        if since:
            notes.put("missing", "")
        return found

    def _fetch(self, id_: str) -> Found:
        with _shown(id_):
            return self._api.fetch_study(id_)

    def _look_again(self, key: StudyKey) -> Found:
        self._changed(key)
        found = self._look(key)
        if found is None:
            raise Refused(f"study {self._id(key)} is not at Prolific any more", hint="`crowdstack destroy`, then `up`")
        return found

    def _known(self, key: StudyKey) -> Found:
        if self._id(key) is None:
            raise Refused(f"no study {key} is listed at Prolific")
        return self._look_again(key)

    def _listed(self, key: StudyKey) -> tuple[Submission, ...]:
        id_ = self._id(key)
        if id_ is None:
            return ()

        def ask() -> tuple[Submission, ...]:
            at = self._now()
            with _shown(id_):
                found = tuple(self._api.list_submissions(id_))
            self._asked[key] = at
            self._told.pop(key, None)
            self._visits[key].first_s = self._pace_s[0] * (
                1 + len(found) // PAGE
            )  # as many requests a minute as before
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
