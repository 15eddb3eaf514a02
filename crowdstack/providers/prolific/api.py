"""The verbs of one Prolific workspace: studies, submissions, money, groups, messages, hooks. Values in, values out.

Called by the provider's adapter, which decides; here is translated. Each verb is one request unless it says otherwise.
Looking verbs may be repeated. Changing ones say what a repeat does where it is not "nothing"; their faults are of four
kinds: Refused and CredentialsRefused (a definite no, nothing was done), Busy (nothing was done, try again), Unclear (look).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

from crowdstack.errors import Refused
from crowdstack.model import Money
from crowdstack.providers.prolific import draft as drafts
from crowdstack.providers.prolific.answers import (
    Allocation,
    Balance,
    Bonus,
    Counts,
    Fields,
    Filter,
    Group,
    HookSecret,
    Message,
    Project,
    RewardRate,
    Study,
    StudyCost,
    StudyLine,
    Submission,
    SubmissionStatus,
    Subscription,
    TestStudy,
    Unreadable,
)
from crowdstack.providers.prolific.draft import StudyDraft
from crowdstack.providers.prolific.money import bonus_csv, checked_id, to_minor
from crowdstack.providers.prolific.transport import Transport

PAGE = 100
BULK = 500  # approvals and members in one request; the documents advise at most 1,000
MOST_BONUSES = 200
LEAST_MESSAGE = 100  # characters of the message with a rejection

Entry = TypeVar("Entry", StudyLine, Submission)


class StudyMove(str, Enum):
    PUBLISH = "PUBLISH"
    SCHEDULE = "SCHEDULE_PUBLISH"
    UNSCHEDULE = "CANCEL_PUBLISH"
    PAUSE = "PAUSE"
    START = "START"
    STOP = "STOP"


class Rejection(str, Enum):
    """The categories a rejection can have."""

    TOO_QUICKLY = "TOO_QUICKLY"
    TOO_SLOWLY = "TOO_SLOWLY"
    FAILED_INSTRUCTIONS = "FAILED_INSTRUCTIONS"
    INCOMP_LONGITUDINAL = "INCOMP_LONGITUDINAL"
    FAILED_CHECK = "FAILED_CHECK"
    LOW_EFFORT = "LOW_EFFORT"
    MALINGERING = "MALINGERING"
    NO_CODE = "NO_CODE"
    BAD_CODE = "BAD_CODE"
    NO_DATA = "NO_DATA"
    UNSUPP_DEVICE = "UNSUPP_DEVICE"
    OTHER = "OTHER"


class Prolific:
    """One workspace, whose currency is `currency`."""

    def __init__(self, http: Transport, *, workspace: str, currency: str) -> None:
        self.http = http
        self.workspace = checked_id(workspace)
        self.currency = currency
        self._study = Study.reader(currency)
        self._submission = Submission.reader(currency)
        self._currencies: dict[str, str] = {}  # of studies, as their cost says

    def __repr__(self) -> str:
        return f"Prolific(workspace={self.workspace!r}, currency={self.currency!r})"

    @property
    def requests_made(self) -> Counter[str]:
        return self.http.requests_made

    @property
    def clock_skew_s(self) -> float | None:
        """The provider's clock minus ours, as of the last answer."""
        return self.http.clock_skew_s

    # -------------------------------------------------------------------------------------------- workspace

    def fetch_balance(self) -> Balance:
        return self.http.get("balance", f"/workspaces/{self.workspace}/balance/").read(Balance.read)

    def fetch_projects(self) -> list[Project]:
        path = f"/workspaces/{self.workspace}/projects/"
        return list(self.http.pages("projects", path, Project.read, {"limit": 200}))

    def create_project(self, title: str) -> Project:
        """A repeat makes another one of the same title."""
        path = f"/workspaces/{self.workspace}/projects/"
        return self.http.write("create_project", "POST", path, {"title": title}).read(Project.read)

    # -------------------------------------------------------------------------------------------- studies

    def create_study(self, draft: StudyDraft) -> Study:
        """A draft, which costs nothing. A repeat makes a second one: look for it first (`find_studies`)."""
        body = draft.fields(self.currency)
        return self.http.write("create_study", "POST", "/studies/", body).read(self._study)

    def fetch_study(self, study: str) -> Study:
        return self.http.get("study", _of_study(study)).read(self._study)

    def list_studies(self, *, project: str | None = None) -> list[StudyLine]:
        """In every state, the newest first where a project is named; without one those of the whole account."""
        if project is None:
            return list(self.http.pages("studies", "/studies/", StudyLine.read))
        path, query = f"/projects/{checked_id(project)}/studies/", {"ordering": "-date_created", "page_size": PAGE}
        return _once(self.http.pages("studies", path, StudyLine.read, query))

    def find_studies(self, key: str, *, project: str | None = None, since: datetime | None = None) -> list[Study]:
        """Every study, in whatever state, that bears `key` as its internal name or metadata.

        Lists do not promise to show metadata, and people can edit internal names: with `since`, studies made after it
        are looked into one by one (a request each).
        """
        found = []
        for line in self.list_studies(project=project):
            named = key in (line.internal_name, line.metadata)
            recent = since is not None and (line.created_at is None or line.created_at >= since)
            if named or (recent and line.metadata is None):
                study = self.fetch_study(line.id)
                if key in (study.internal_name, study.metadata):
                    found.append(study)
        return found

    def change_draft(self, study: str, draft: StudyDraft) -> Study:
        """Make an unpublished study like `draft`. A repeat changes nothing."""
        return self.http.write("change_draft", "PATCH", _of_study(study), draft.fields(self.currency)).read(self._study)

    def change_published(
        self,
        study: str,
        *,
        places: int | None = None,
        internal_name: str | None = None,
        allocations: Sequence[tuple[str, int]] = (),
    ) -> Study:
        """What may change once people can come: `places` in all (never fewer), the name that only we see, and addresses of
        a taskflow study with their places. Totals, so a repeat changes nothing."""
        body: dict[str, Any] = {} if places is None else {"total_available_places": places}
        if internal_name is not None:
            body["internal_name"] = internal_name
        if allocations:
            body["access_details"] = drafts.allocations(allocations)
        return self.http.write("change_published", "PATCH", _of_study(study), body).read(self._study)

    def move_study(self, study: str, move: StudyMove, *, at: datetime | None = None) -> Study:
        """Publish, schedule (`at`), pause, start, stop. Refused when it is not in a state for that, a repeat included."""
        body = {"action": move.value} if at is None else {"action": move.value, "publish_at": _utc(at)}
        path = f"{_of_study(study)}transition/"
        return self.http.write(move.value.lower(), "POST", path, body).read(self._study)

    def delete_draft(self, study: str) -> None:
        """Refused for a study that was published, and for one that is gone (`status` 404)."""
        self.http.write("delete_draft", "DELETE", _of_study(study))

    def clone_study(self, study: str, *, block_previous: bool = True) -> Study:
        """A new draft like it. A repeat makes another."""
        body = {"block_previous_participants": block_previous}
        return self.http.write("clone_study", "POST", f"{_of_study(study)}clone/", body).read(self._study)

    def create_test_study(self, study: str) -> TestStudy:
        """Let test participants try a draft. Some workspaces only: Refused or CredentialsRefused in others."""
        path = f"/studies/{checked_id(study)}/test-study"  # no slash at the end
        return self.http.write("test_study", "POST", path).read(TestStudy.read)

    def create_test_participant(self, email: str) -> str:
        """The id of a participant who gets no money; `email` must be new to Prolific."""
        answer = self.http.write("test_participant", "POST", "/researchers/participants/", {"email": email})
        return answer.read(lambda fields: fields.text("participant_id"))

    def count_submissions(self, study: str) -> Counts:
        return self.http.get("counts", f"{_of_study(study)}submissions/counts/").read(Counts.read)

    def fetch_allocations(self, study: str) -> list[Allocation]:
        """Of a taskflow study, how far each address is; Refused (404) for any other."""
        answer = self.http.get("allocations", f"{_of_study(study)}access-details-progress/")
        return answer.read(lambda fields: [Allocation.read(entry) for entry in fields.entries("progress")])

    def fetch_cost(self, study: str, *, projected: bool = False) -> StudyCost:
        """What it cost so far, or will in all (`projected`): rewards and bonuses, each with fees and tax."""
        query = {"is_projected": True} if projected else None
        return self.http.get("study_cost", f"{_of_study(study)}cost/", query).read(StudyCost.read)

    # -------------------------------------------------------------------------------------------- submissions

    def list_submissions(self, study: str, *, status: SubmissionStatus | None = None) -> list[Submission]:
        """All of a study (or those in one status), the first to start first, so that newcomers shift nobody to another page."""
        query = {
            "study": checked_id(study),
            "status": status and status.in_a_query,
            "ordering": "started_at",
            "page_size": PAGE,
        }
        reader = Submission.reader(self.currency, study=study)
        return _once(self.http.pages("submissions", "/submissions/", reader, query))

    def fetch_submission(self, submission: str) -> Submission:
        return self.http.get("submission", _of_submission(submission)).read(self._submission)

    def approve(self, submission: str) -> Submission:
        """It is paid. A repeat is passed over."""
        return self._move(submission, "approve", action="APPROVE")

    def reject(self, submission: str, *, message: str, category: Rejection) -> Submission:
        """It is not paid, and the participant reads why. Not to be taken back. A repeat is passed over."""
        if len(message.strip()) < LEAST_MESSAGE:
            raise Refused(
                f"a rejection needs a message of at least {LEAST_MESSAGE} characters, this one has {len(message.strip())}",
                where=f"submission {submission}",
                hint="say what was asked for, what was handed in, and how you saw it: the participant reads it",
            )
        return self._move(submission, "reject", action="REJECT", message=message, rejection_category=category.value)

    def complete(
        self, submission: str, code: str, *, percentage: int | None = None, message: str | None = None
    ) -> Submission:
        """Finish it with a code of the researcher's; `percentage` of the reward and `message` where the code pays a part."""
        fields: dict[str, Any] = {"action": "COMPLETE", "completion_code": code}
        if percentage is not None:
            data = {"percentage_of_reward": percentage, "message_to_participant": message or ""}
            fields["completion_code_data"] = data
        return self._move(submission, "complete", **fields)

    def _move(self, submission: str, verb: str, **fields: Any) -> Submission:
        return self.http.write(verb, "POST", f"{_of_submission(submission)}transition/", fields).read(self._submission)

    def approve_many(self, submissions: Iterable[str]) -> int:
        """Ask for the approval of all of them, in requests of up to 500; how many requests. Prolific does it a little later.
        After a fault some may have been asked for: a repeat approves nobody twice."""
        return self._in_bulk(
            submissions,
            lambda ids: self.http.write("approve_many", "POST", "/submissions/bulk-approve/", {"submission_ids": ids}),
        )

    def request_return(self, submission: str, reasons: Sequence[str]) -> datetime | None:
        """Ask the participant to give the place back; when it was asked for. They need not do it."""
        body = {"request_return_reasons": list(reasons)}
        answer = self.http.write("request_return", "POST", f"{_of_submission(submission)}request-return/", body)
        return answer.read(lambda fields: fields.time_or_none("return_requested"))

    # -------------------------------------------------------------------------------------------- money

    def create_bonus(self, study: str, amounts: Mapping[str, Money], *, booked: Money) -> Bonus:
        """Set up a bonus for each submission (or participant) of one study; `pay_bonus` pays it. Nothing is paid here.

        Refused before anything is sent: more than 200, an amount that is not above zero, a currency that is not the
        study's own (asked for once per study). Refused afterwards, with the bonus never to be paid: the service understood
        another sum than ours, or would take more than was `booked` (threats I11).
        """
        if not 0 < len(amounts) <= MOST_BONUSES:
            raise Refused(f"{len(amounts)} bonuses in one request", hint=f"1 to {MOST_BONUSES} at a time")
        csv = bonus_csv(amounts, self.currency)
        to_minor(booked, self.currency)
        self._check_currency(study)
        asked = sum((amount for amount in amounts.values()), Money(0, self.currency))
        body = {"study_id": checked_id(study), "csv_bonuses": csv}
        answer = self.http.write("create_bonus", "POST", "/submissions/bonus-payments/", body)

        def read(fields: Fields) -> Bonus:
            return Bonus(
                id=checked_id(fields.text("id")),
                amount=fields.money("amount", self.currency),
                total=fields.money("total_amount", self.currency),
            )

        made = answer.read(read)
        if made.amount != asked or made.total < asked or booked < made.total:
            raise Refused(
                f"Prolific would pay {made.amount} and take {made.total}; we asked for {asked} and booked {booked}",
                where=f"bonus {made.id} of study {study}",
                hint="it is set up and not paid, and must not be; compare fees and currency with the workspace's",
            )
        return made

    def _check_currency(self, study: str) -> None:
        if study not in self._currencies:
            self._currencies[study] = self.fetch_cost(study).rewards.net.currency
        if self._currencies[study] != self.currency:
            raise Refused(
                f"study {study} is in {self._currencies[study]}, not in {self.currency}",
                where=f"workspace {self.workspace}",
                hint="name the workspace of the study: crowdstack register prolific --workspace NAME",
            )

    def pay_bonus(self, bonus: str) -> None:
        """Pay what `create_bonus` set up; Prolific does it a little later. TWICE PAYS TWICE: never again after Unclear; compare
        the submissions' `bonuses` with what they were before."""
        self.http.write("pay_bonus", "POST", f"/bulk-bonus-payments/{checked_id(bonus)}/pay/")

    def quote(self, reward: Money, places: int) -> Money:
        """What so many places cost with fees and tax, by the account's own rates."""
        body = {"reward": to_minor(reward, self.currency), "total_available_places": places}
        answer = self.http.write("quote", "POST", "/study-cost-calculator/", body)
        return answer.read(lambda fields: fields.money("total_cost", self.currency))

    def fetch_reward_rates(self) -> list[RewardRate]:
        """The least and the advised pay per hour, by currency."""
        answer = self.http.get(
            "reward_rates", "/reward-recommendations/", {"workspace_id": self.workspace, "currency": self.currency}
        )
        try:
            return list(RewardRate.read_all(answer.value))
        except Unreadable as fault:
            raise answer.unreadable(str(fault)) from None

    # -------------------------------------------------------------------------------------------- groups, filters

    def list_groups(self) -> list[Group]:
        """The participant groups of the workspace that were not deleted."""
        query = {"workspace_id": self.workspace, "active": True, "limit": 200}
        return list(self.http.pages("groups", "/participant-groups/", Group.read, query))

    def create_group(self, name: str, *, members: Sequence[str] = ()) -> Group:
        """A repeat is refused, or makes another one of this name: look first. So is the name of one that was deleted, perhaps."""
        body: dict[str, Any] = {"name": name, "workspace_id": self.workspace}
        if members:
            body["participant_ids"] = list(members)
        return self.http.write("create_group", "POST", "/participant-groups/", body).read(Group.read)

    def list_members(self, group: str) -> set[str]:
        return set(self.http.pages("members", _members(group), lambda fields: fields.text("participant_id")))

    def add_members(self, group: str, participants: Iterable[str]) -> None:
        """Studies that go by the group follow at once. A repeat changes nothing."""
        self._in_bulk(
            participants,
            lambda ids: self.http.write("add_members", "POST", _members(group), {"participant_ids": ids}),
        )

    def remove_members(self, group: str, participants: Iterable[str]) -> None:
        """Who is not in it is passed over."""
        self._in_bulk(
            participants,
            lambda ids: self.http.write("remove_members", "DELETE", _members(group), {"participant_ids": ids}),
        )

    def list_filters(self) -> list[Filter]:
        query = {"workspace_id": self.workspace}
        return list(self.http.pages("filters", "/filters/", Filter.read, query))

    def count_eligible(self, filters: Sequence[Mapping[str, Any]]) -> int:
        """About how many participants the filters let through; 0 stands for fewer than 25."""
        body = {"filters": list(filters), "workspace_id": self.workspace}
        answer = self.http.write("count_eligible", "POST", "/eligibility-count/", body)
        return answer.read(lambda fields: fields.whole("count"))

    # -------------------------------------------------------------------------------------------- messages

    def list_messages(self, participant: str) -> list[Message]:
        """To and from this participant."""
        query = {"user_id": checked_id(participant)}
        return list(self.http.pages("messages", "/messages/", Message.read, query))

    def send_message(self, participant: str, text: str, *, study: str) -> None:
        """A repeat sends it again."""
        body = {"recipient_id": participant, "body": text, "study_id": study}
        self.http.write("send_message", "POST", "/messages/", body)

    def send_messages(self, participants: Sequence[str], text: str, *, study: str) -> None:
        """The same text to each of them. A repeat sends it again."""
        body = {"ids": list(participants), "body": text, "study_id": study}
        self.http.write("send_messages", "POST", "/messages/bulk/", body)

    # -------------------------------------------------------------------------------------------- hooks

    def create_hook_secret(self) -> HookSecret:
        """The workspace's one secret. A repeat replaces it: hooks signed with the old one are strangers from then on."""
        body = {"workspace_id": self.workspace}
        return self.http.write("create_hook_secret", "POST", "/hooks/secrets/", body).read(HookSecret.read)

    def list_hook_secrets(self) -> list[HookSecret]:
        query = {"workspace_id": self.workspace}
        return list(self.http.pages("hook_secrets", "/hooks/secrets/", HookSecret.read, query))

    def list_subscriptions(self, *, enabled: bool = True) -> list[Subscription]:
        query = {"workspace_id": self.workspace, "is_enabled": enabled}
        return list(self.http.pages("subscriptions", "/hooks/subscriptions/", Subscription.read, query))

    def subscribe(self, event: str, url: str) -> Subscription:
        """Have hooks of `event` sent to `url` (public, https): two requests, to subscribe and to confirm. A repeat makes
        another subscription; Unclear may leave one that is not confirmed, which delivers nothing."""
        body = {"workspace_id": self.workspace, "event_type": event, "target_url": url}
        answer = self.http.write("subscribe", "POST", "/hooks/subscriptions/", body)
        secret = next((value for name, value in answer.headers.items() if name.lower() == "x-hook-secret"), None)
        if secret is None:
            raise answer.unreadable("the header X-Hook-Secret is missing")

        def read(fields: Fields) -> Subscription:  # the document has a list here, clients see the new one alone
            entries = fields.entries("results") if "results" in fields.value else [fields]
            made = [Subscription.read(entry) for entry in entries]
            ours = [one for one in made if (one.event, one.url) == (event, url)]
            if not ours:
                raise Unreadable("the new subscription is missing")
            return ours[-1]

        made = answer.read(read)
        path = f"/hooks/subscriptions/{checked_id(made.id)}/"
        return self.http.write("confirm_subscription", "POST", path, {"secret": secret}).read(Subscription.read)

    def unsubscribe(self, subscription: str) -> None:
        self.http.write("unsubscribe", "DELETE", f"/hooks/subscriptions/{checked_id(subscription)}/")

    # -------------------------------------------------------------------------------------------- inside

    def _in_bulk(self, ids: Iterable[str], send: Callable[[list[str]], object]) -> int:
        rest = iter([checked_id(id_) for id_ in dict.fromkeys(ids)])
        requests = 0
        while part := list(islice(rest, BULK)):
            send(part)
            requests += 1
        return requests


def _of_study(study: str) -> str:
    return f"/studies/{checked_id(study)}/"


def _of_submission(submission: str) -> str:
    return f"/submissions/{checked_id(submission)}/"


def _members(group: str) -> str:
    return f"/participant-groups/{checked_id(group)}/participants/"


def _utc(at: datetime) -> str:
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _once(entries: Iterable[Entry]) -> list[Entry]:
    """Each entry once, in the order of the list; of one that came twice the later word counts."""
    return list({entry.id: entry for entry in entries}.values())
