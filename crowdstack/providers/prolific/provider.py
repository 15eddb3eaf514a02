"""Prolific behind ports.Provider: our key -> one published study; its submissions -> visits (decisions/0009).

Creating is not idempotent there, and a draft costs nothing: so drafts may double, and the id of the one that is to be
published is written into `Memory` before it is. Every other write is a total or a transition, which may be repeated.
"""

from __future__ import annotations

from datetime import datetime

from crowdstack.errors import Busy, NotYet, Refused, Unclear
from crowdstack.model import ListedState, ListedVisit, Money, Study, StudyKey, StudyState, WorkerId, visit_of
from crowdstack.ports import Listing
from crowdstack.providers.prolific.answers import Study as Found
from crowdstack.providers.prolific.answers import StudyStatus, SubmissionStatus
from crowdstack.providers.prolific.api import StudyMove
from crowdstack.providers.prolific.audience import Audience
from crowdstack.providers.prolific.drift import drift
from crowdstack.providers.prolific.messages import Messages
from crowdstack.providers.prolific.payments import Payments
from crowdstack.providers.prolific.sight import LAG, shown
from crowdstack.providers.prolific.terms import mark, study_draft
from crowdstack.providers.prolific.watching import Watching

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
_OVER = (StudyStatus.AWAITING_REVIEW, StudyStatus.COMPLETED)  # every place taken, or stopped: more places reopen it


class ProlificProvider(Audience, Payments, Messages, Watching):
    """ports.Provider of one task: studies and who came here, the rest by its parts."""

    # -------------------------------------------------------------------------------------------- studies

    def fetch_study(self, key: StudyKey) -> Study | None:
        id_ = self._id(key)
        if id_ is None:
            return None
        found = self._look(key)
        if found is None:
            reward = Money.parse(self._notes(key).get("reward") or "")
            return Study(id=id_, key=key, places=0, state=StudyState.CLOSED, reward=reward, by_hand=True)
        if found.status is StudyStatus.ACTIVE and self._notes(key).get("closed"):
            found = self._stop_again(key, found)
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
            if before and now < datetime.fromisoformat(before) + LAG:
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

    def _stop_again(self, key: StudyKey, found: Found) -> Found:
        """Closed when it was full, so there was nothing to stop; a place that was freed since may have let people in again."""
        if self._stopped.get(key) is found:  # tried already
            return found
        self._stopped[key] = found
        try:
            self._api.move_study(found.id, StudyMove.STOP)
        except Refused:  # it is not as it was shown: seen next time
            return found
        return self._look_again(key)

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
            filters=self._filters(key),
        )
        return self._api.create_study(draft).id

    def _find(self, key: StudyKey) -> str | None:
        """Our study over all states: one that is out before any draft, the oldest before later ones."""
        project = self._project()
        with shown(mark(key)):
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
