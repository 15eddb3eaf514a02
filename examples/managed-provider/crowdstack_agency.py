"""An agency as a provider: it lists our jobs, gives their seats to people itself, and tells who came. A managed provider.

The service is `agency.py`; where it is and who we are say AGENCY_URL and AGENCY_TOKEN, which only the reconciler and your commands get.
What is created twice by the same name is there once, so no verb here has to look before it asks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import requests

from crowdstack.errors import Busy, CredentialsMissing, CredentialsRefused, NotYet, Refused
from crowdstack.model import (
    Admission,
    ListedState,
    ListedVisit,
    Money,
    RunId,
    Study,
    StudyKey,
    StudyState,
    VisitId,
    WorkerId,
    visit_of,
)
from crowdstack.plugin import Claims, Ending, Finish, Opening, ProviderPlugin
from crowdstack.ports import GroupChange, HookKey, Listing

STATES = {
    "working": ListedState.ACTIVE,
    "ended": ListedState.AWAITING,
    "paid": ListedState.APPROVED,
    "refused": ListedState.REJECTED,
    "left": ListedState.RETURNED,
}
PACE_S = 1.0  # between two looks at who came
TIMEOUT_S = 10.0


class Agency:
    """crowdstack.ports.Provider over the agency's HTTP interface."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._http = requests.Session()
        self._http.trust_env = False  # no .netrc takes the token's place
        self._seen: dict[StudyKey, tuple[float, Listing]] = {}
        self._prices: dict[Money, Money] = {}

    def close(self) -> None:
        self._http.close()

    # ---------------------------------------------------------------------------------------- studies

    def fetch_study(self, key: StudyKey) -> Study | None:
        job = self._job(key)
        return None if job is None else _study(key, job)

    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Study:
        job = self._ask(
            "POST", "/jobs", ref=key, list=self._opening.task, title=title, link=self._opening.page(key), seats=places,
            reward=reward.minor, currency=reward.currency,
        )  # fmt: skip
        self._opening.memory(RunId(key)).put("job", job["id"])  # found without a search from now on
        return _study(key, job)

    def raise_places(self, key: StudyKey, to: int) -> Study:
        job = self._known(key)
        if to > job["seats"]:
            job = self._ask("PATCH", f"/jobs/{job['id']}", seats=to)
        return _study(key, job)

    def set_state(self, key: StudyKey, state: StudyState) -> Study:
        return _study(key, self._ask("PATCH", f"/jobs/{self._known(key)['id']}", state=state.value))

    def drift(self, key: StudyKey, *, reward: Money, title: str) -> tuple[str, ...]:
        job = self._job(key)
        if job is None:
            return ()
        wanted = {"title": title, "reward": reward.minor}
        return tuple(f"{name}: {job[name]} there, {value} here" for name, value in wanted.items() if job[name] != value)

    # ---------------------------------------------------------------------------------------- who came

    def fetch_visits(self, key: StudyKey) -> Listing | None:
        now = self._opening.monotonic()
        if key in self._seen and now < self._seen[key][0] + PACE_S:
            return self._seen[key][1]
        at, job = self._opening.now(), self._job(key)
        shifts = [] if job is None else self._ask("GET", f"/jobs/{job['id']}/shifts")
        listing = Listing(visits=tuple(_visit(key, shift) for shift in shifts), at=at)
        self._seen[key] = now, listing
        return listing

    def hint(self, key: StudyKey) -> None:
        """The next look is a second away at most."""

    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        return None  # the agency calls nobody

    def unwatch(self, key: StudyKey, at: str) -> None: ...

    def set_workers(self, key: StudyKey, admission: Admission) -> None:
        self._ask("PUT", f"/lists/{self._opening.task}", **_people(admission))

    def group_changes(self, key: StudyKey, admission: Admission) -> tuple[GroupChange, ...]:
        there, wanted = self._ask("GET", f"/lists/{self._opening.task}"), _people(admission)
        if there == wanted:
            return ()
        before, after = ({*found["out"], *(found["only"] or ())} for found in (there or _people(Admission()), wanted))
        change = GroupChange(
            name=self._opening.task, made=there is None, joining=len(after - before), leaving=len(before - after)
        )
        return (change,)

    # ---------------------------------------------------------------------------------------- pay

    def approve(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None = None) -> None:
        shift = self._verified(key, visit, worker, submission)
        if shift["state"] == "working":
            raise NotYet(f"shift {shift['id']} has not ended yet")
        self._ask("POST", f"/shifts/{shift['id']}/pay")
        self._seen.pop(key, None)

    def reject(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, reason: str, submission: str | None = None
    ) -> None:
        shift = self._verified(key, visit, worker, submission)
        self._ask("POST", f"/shifts/{shift['id']}/refuse", reason=reason)
        self._seen.pop(key, None)

    def ask_return(self, key: StudyKey, submission: str, reason: str) -> None:
        self._ask("POST", f"/shifts/{submission}/ask-back")

    def pay_bonus(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None, *, payment: str, net: Money
    ) -> None:
        shift = self._verified(key, visit, worker, submission)
        self._ask("POST", f"/shifts/{shift['id']}/tips", ref=payment, cents=net.minor)

    def send_message(self, key: StudyKey, worker: WorkerId, *, message: str, text: str) -> None:
        self._ask("POST", "/messages", ref=f"{key}:{message}", person=worker, text=text)

    def gross(self, reward: Money) -> Money:
        if reward not in self._prices:
            price = self._ask("GET", "/price", reward=reward.minor)
            self._prices[reward] = Money(price["gross"], reward.currency)
        return self._prices[reward]

    def spent(self) -> Money | None:
        """Of all runs of the task."""
        jobs = [job for run in self._opening.runs() if (job := self._job(StudyKey(run))) is not None]
        return sum((Money(job["spent"], job["currency"]) for job in jobs[1:]), start=_spent(jobs[0])) if jobs else None

    def _verified(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None) -> dict[str, Any]:
        """The agency's record of just this visit: nobody is paid on the word of a browser."""
        job = self._known(key)
        if submission is None:
            raise Refused(f"visit {visit} is no shift of the agency")
        shift: dict[str, Any] = self._ask("GET", f"/shifts/{submission}")
        if (shift["job"], shift["person"]) != (job["id"], worker) or visit != visit_of(key, worker, submission):
            raise Refused(f"shift {submission} is of another job or person than visit {visit}")
        return shift

    # ---------------------------------------------------------------------------------------- the service

    def _job(self, key: StudyKey) -> dict[str, Any] | None:
        noted = self._opening.memory(RunId(key)).get("job")
        found = [self._ask("GET", f"/jobs/{noted}")] if noted else self._ask("GET", "/jobs", ref=key)
        return found[0] if found else None

    def _known(self, key: StudyKey) -> dict[str, Any]:
        job = self._job(key)
        if job is None:
            raise Refused(f"there is no job {key} at the agency")
        return job

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        """What the service answers. Busy: perhaps it was done, and asking again does it no second time."""
        url, token = (os.environ.get(name) for name in PLUGIN.environment)
        if not url or not token:
            raise CredentialsMissing(
                "the agency's address or our token is not known", hint="set AGENCY_URL, AGENCY_TOKEN"
            )
        sent = {"params": body} if method == "GET" else {"json": body}
        try:
            answer = self._http.request(
                method, url + path, **sent, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S,
                allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as fault:
            raise Busy("the agency does not answer", where=path, why=str(fault)) from fault
        if answer.status_code == 401:
            raise CredentialsRefused("the agency does not take our token", hint="set AGENCY_TOKEN")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Busy(f"the agency answers {answer.status_code}", where=path)
        if answer.status_code != 200:
            raise Refused(f"the agency says no ({answer.status_code})", where=path, why=answer.text[:300])
        return answer.json()


def _study(key: StudyKey, job: Mapping[str, Any]) -> Study:
    reward = Money(job["reward"], job["currency"])
    return Study(id=job["id"], key=key, places=job["seats"], state=StudyState(job["state"]), reward=reward)


def _visit(key: StudyKey, shift: Mapping[str, Any]) -> ListedVisit:
    worker = WorkerId(shift["person"])
    return ListedVisit(
        visit=visit_of(key, worker, shift["id"]), submission=shift["id"], worker=worker, state=STATES[shift["state"]],
        code=shift["code"], return_asked=shift["asked_back"],
    )  # fmt: skip


def _people(admission: Admission) -> dict[str, Any]:
    return {"out": list(admission.blocked), "only": None if admission.allowed is None else list(admission.allowed)}


def _spent(job: Mapping[str, Any]) -> Money:
    return Money(job["spent"], job["currency"])


PLUGIN = ProviderPlugin(
    open=Agency,
    settings={"type": "object", "properties": {}, "additionalProperties": False},
    claims=lambda settings: Claims(worker="person", submission="shift"),
    finish=lambda settings: Finish(answered=Ending(code="SHIFT-DONE"), empty=Ending(code="SHIFT-EMPTY")),
    managed=True,
    environment=("AGENCY_URL", "AGENCY_TOKEN"),
)
