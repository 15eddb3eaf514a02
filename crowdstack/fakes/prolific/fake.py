"""The whole account in one object: what the HTTP front, a simulation without sockets and the tests drive.

`FakeProlific` is pure: it has a virtual clock and no I/O. Its verbs are those of time, of participants and of a person
at the web page; the researcher's verbs are requests (service.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crowdstack.fakes.prolific import bonuses, groups, hooks, messages, people, studies, submissions, wallet
from crowdstack.fakes.prolific.drafts import patched
from crowdstack.fakes.prolific.faults import Faults
from crowdstack.fakes.prolific.records import Effect, Person, Project, Study, Submission, WalletLine, Workspace
from crowdstack.fakes.prolific.settings import Settings
from crowdstack.fakes.prolific.states import TRANSITIONS, Move
from crowdstack.fakes.prolific.world import Delivery, World

EPOCH = 1_790_000_000.0  # where a virtual clock starts: September 2026


class FakeProlific:
    """An account with one workspace, one project and `wallet` minor units of `currency`."""

    def __init__(
        self,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        faults: Faults | None = None,
        wallet: int = 0,
        currency: str = "GBP",
        token: str = "fake-token",
        now: float = EPOCH,
    ) -> None:
        self.world = World(
            seed=seed, settings=settings or Settings(), faults=faults or Faults(seed), now=now, token=token
        )
        self.world.happens = {
            "published": studies.when_published,
            "scheduled": studies.when_scheduled,
            "shown": submissions.when_shown,
            "lapsed": submissions.when_lapsed,
            "out of time": submissions.when_out_of_time,
            "unreviewed": submissions.when_unreviewed,
            "bulk approved": submissions.when_bulk_approved,
            "bonus due": bonuses.when_due,
            "study moved": hooks.when_study_moved,
            "submission moved": hooks.when_submission_moved,
            "study returned often": hooks.when_returned_often,
            "deliver": hooks.when_delivered,
        }
        first = Workspace(id=self.world.new_id(), title="My workspace", currency=currency, paid_in=wallet)
        self.world.workspaces[first.id] = first
        project = Project(id=self.world.new_id(), workspace=first.id, title="Project")
        self.world.projects[project.id] = project

    @property
    def workspace(self) -> Workspace:
        """The first one."""
        return next(iter(self.world.workspaces.values()))

    # ------------------------------------------------------------------------------------------------ time

    @property
    def now(self) -> float:
        return self.world.now

    def advance(self, seconds: float) -> None:
        """Let time pass; all that is due happens, in order."""
        self.world.advance_to(self.world.now + seconds)

    # ------------------------------------------------------------------------------------------------ participants

    def add_person(self, participant: str, **attributes: Any) -> Person:
        """A participant who is something in the filters' eyes (`age=30`, `handedness="1"`)."""
        person = self.world.person(participant)
        person.attributes = person.attributes | attributes
        return person

    def open_studies(self, participant: str) -> list[Study]:
        """What this participant could take a place in now."""
        return people.open_to(self.world, self.world.person(participant))

    def submissions_of(self, participant: str) -> list[Submission]:
        """All places this participant ever took, in this order."""
        return [found for found in self.world.submissions.values() if found.participant == participant]

    def reserve(self, study: str, participant: str) -> Submission:
        with self.world.acting("person"):
            return people.reserve(self.world, self.world.study(study), self.world.person(participant))

    def start(self, submission: str) -> str:
        """The URL of the study, its placeholders filled."""
        with self.world.acting("person"):
            return people.start(self.world, self.world.submission(submission))

    def complete(self, submission: str, code: str | None) -> None:
        with self.world.acting("person"):
            people.complete(self.world, self.world.submission(submission), code)

    def give_back(self, submission: str) -> None:
        with self.world.acting("person"):
            people.give_back(self.world, self.world.submission(submission))

    def say(self, participant: str, study: str, body: str) -> None:
        """A message to the researcher."""
        messages.from_participant(self.world, participant, study, body)

    # ------------------------------------------------------------------------------------------------ by hand

    def by_hand(self, study: str, action: str) -> Study:
        """PAUSE, START, STOP, ... pressed on the site; or DELETE, whatever state the study is in."""
        found = self.world.study(study)
        with self.world.acting("hand"):
            if action == "DELETE":
                found.deleted = True
                self.world.effect("delete_study", found.id, key=found.key)
            else:
                studies.act(self.world, found, action)
        return found

    def edit_by_hand(self, study: str, **fields: Any) -> Study:
        """Change fields on the site, frozen ones too. More places still need money."""
        found = self.world.study(study)
        with self.world.acting("hand"):
            places = fields.pop("total_available_places", None)
            found.fields = patched(self.world, found.fields, fields)
            self.world.effect("patch_study", found.id, amount=found.places, key=found.key)
            if places is not None:
                studies.patch(self.world, found, {"total_available_places": places})
        return found

    def top_up(self, minor: int, workspace: str | None = None) -> int:
        """Pay money in, or take out (negative) what is not reserved. What is there then, in minor units."""
        found = self.world.workspace(workspace or self.workspace.id)
        if minor < 0:
            wallet.require(self.world, found, -minor)
        found.paid_in += minor
        with self.world.acting("hand"):
            self.world.effect("top_up", found.id, amount=minor)
        return wallet.balance(found)

    def change_group(self, group: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        with self.world.acting("hand"):
            groups.add(self.world, groups.find(self.world, group), add)
            groups.remove(self.world, groups.find(self.world, group), remove)

    # ------------------------------------------------------------------------------------------------ webhooks

    def deliveries(self) -> list[Delivery]:
        """The requests that are due to receivers, in an order that is not theirs. Each is handed out once."""
        found, self.world.outbox = self.world.outbox, []
        self.world.faults.random.shuffle(found)
        return found

    def delivered(self, event: str, ok: bool) -> None:
        """What came of one."""
        hooks.delivered(self.world, event, ok)

    def pump(self, send: Callable[[Delivery], bool]) -> int:
        """Deliver what is due through `send`, which says whether it was taken; how many requests that were."""
        found = self.deliveries()
        for delivery in found:
            self.delivered(delivery.event, send(delivery))
        return len(found)

    # ------------------------------------------------------------------------------------------------ the judge

    def effects(self) -> list[Effect]:
        """Everything that ever changed here, in order."""
        return list(self.world.effects.values())

    def wallet_lines(self) -> list[WalletLine]:
        """Every payment that left the wallet, in order."""
        return list(self.world.lines.values())

    def balance(self) -> int:
        """Of the first workspace, minor units; reserved money is in it."""
        return wallet.balance(self.workspace)

    def available(self) -> int:
        return wallet.available(self.world, self.workspace)

    def taken(self) -> dict[Move, int]:
        """How often each transition was taken; those never taken are in it with 0."""
        return {
            move: self.world.meta.taken.get(" ".join([move.kind, move.start or "-", move.cause, move.end]), 0)
            for move in TRANSITIONS
        }
