"""A whole run of a real crowd in one process, under one virtual clock, all of it drawn from a seed.

Real: the reconciler's loop with its rules and journal, the store, the pool of the task server, the Prolific adapter with
its client. Played: the provider (the fake, with faults), people, operator, reviewer, and the kernel that kills the
reconciler before or after any call that it makes to store, provider or server.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import requests

from crowdstack.errors import LockHeld, NotYet, OverBudget, Refused, StateMismatch
from crowdstack.fakes.prolific import submissions as prolific_submissions
from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.faults import Faults
from crowdstack.fakes.prolific.records import Study
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.fakes.prolific.service import Lost, Request, Service
from crowdstack.fakes.prolific.settings import DAY_S, Settings
from crowdstack.fakes.prolific.states import StudyStatus, SubmissionStatus
from crowdstack.fakes.prolific.transport import encode
from crowdstack.model import Money, RunState, StudyKey, Verdict, WorkerId, gross_of, visit_of
from crowdstack.plan.actions import FixTopUp, PayBonus, draft
from crowdstack.plan.cost import cost
from crowdstack.plan.decide import RestState, target_met
from crowdstack.plan.desired import Count, Desired
from crowdstack.providers.prolific.api import Prolific
from crowdstack.providers.prolific.provider import ProlificProvider
from crowdstack.reconcile.observe import observe
from crowdstack.reconcile.settle import settle
from crowdstack.server import pool
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import TASK, items
from tests.crowds import people
from tests.crowds.parts import (
    TOKEN,
    Broken,
    Clock,
    Copyless,
    Log,
    NoCrowd,
    Process,
    Reconciler,
    Wire,
    hold,
    new_store,
)
from tests.crowds.server import Line, Server
from tests.crowds.terms import HOUR, MINUTE, Terms
from tests.money.world import Killed, Life, Mortal
from tests.plan.builders import desired as wish

CODES = {"done": "DONE1234", "nothing": "NONE1234"}
REWARD = 50
FEE_BP = 4280
MOST_TICKS = 1500  # of one run; more is no rest


@dataclass
class World:
    seed: int
    folder: Path
    promises: tuple[Callable[[World], None], ...] = ()
    log: Log = field(default_factory=Log)

    codes: ClassVar[dict[str, str]] = CODES
    api_class: ClassVar[type[Prolific]] = Prolific
    provider_class: ClassVar[type[ProlificProvider]] = ProlificProvider
    reconciler_class: ClassVar[type[Reconciler]] = Reconciler

    def __post_init__(self) -> None:
        self.terms = terms = self.draw_terms()
        self.random = random.Random(f"world:{self.seed}")
        self.fake = FakeProlific(
            seed=self.seed,
            wallet=terms.wallet * self.gross(REWARD).minor,
            currency="USD",
            token=TOKEN,
            faults=Faults(self.seed),
            settings=Settings(**terms.settings),
        )
        self.service = Service(self.fake)
        self.begin = self.now
        self.store = self.open_store()
        names = [f"item-{n}" for n in range(terms.units)]
        wanted = replace(
            wish(items=terms.units, repeats=terms.repeats, per_visit=terms.per_visit),
            task=TASK,
            count=terms.count,
            reward=Money(REWARD, "USD"),
            minutes=1,
            top_up=None if terms.top_up is None else Money(terms.top_up, "USD"),
            budget=None if terms.budget is None else self.worst * terms.budget,
            wave=terms.wave,
            surplus_percent=0,
            surplus_least=terms.surplus,
            keep=terms.keep,
            provider={
                "type": "prolific",
                "minutes": 1,
                "maximum_minutes": 6,
                "codes": CODES,
                "fee_bp": FEE_BP,
                "vat_bp": 0,
                "no_data": terms.no_data,
                "max_submissions_per_participant": terms.twice,
            },
        )
        self.items = items(*names)
        self.run = self.store.open_run(
            TASK, settings=_settings(wanted), items=self.items, repeats=terms.repeats, fresh=False, now=self.utc()
        )
        self.study = StudyKey(self.run.id)
        self.desired = replace(wanted, study=self.study)
        self.server = Server(
            pool.Terms(timeout_s=terms.timeout_s, units_per_visit=terms.per_visit, max_units=None), lambda: self.now
        )
        self.forged: set[tuple[str, str]] = set()
        self.over = False
        self.ticks = 0
        self.faulty = True
        self.decided_by_hand: set[str] = set()
        self.pays: list[tuple[str, int]] = []  # (submission, minor) of each payment of a bonus that may have been taken
        self.ordered: set[tuple[str, int]] = set()  # bonuses: (submission, minor) of each
        self.asked_to_end = False  # the operator destroyed it
        self.abandoned_at: float | None = None
        self.left_at = Money(0, "USD")  # the exposure when we stopped for good
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._seen_effects = 0
        self._came = 0
        self._bonuses = 0
        self._resting: tuple[object, float] = (None, self.now)
        self._writes = 0  # to the provider
        self._stops: set[int] = set()  # the numbers of those before which the reconciler stands still
        self.preview()
        self._stops.update(random.Random(f"stops:{self.seed}").sample(range(1, 30), terms.seconds))
        self.fake.world.faults.set(terms.faults)

    def preview(self) -> None:
        """What the operator says yes to."""
        provider = self.open_provider(Life())
        first = observe(self.run, self.desired, store=self.store, provider=provider, connected=True, refused={})
        self.cap = cost(self.desired, first).cap
        self.most_places = self.desired.most_visits(first.units)

    # ------------------------------------------------------------------ parts

    def draw_terms(self) -> Terms:
        return Terms.draw(self.seed)

    def open_store(self) -> PeeweeStore:
        (self.folder / "store.db").write_bytes(new_store())
        store = PeeweeStore(self.folder / "store.db")
        for pragma in ("synchronous = OFF", "locking_mode = EXCLUSIVE"):  # what is proven here is no matter of disks
            store._database.peewee.execute_sql(f"PRAGMA {pragma}")
        return store

    def open_provider(self, life: Life) -> ProlificProvider:
        store = Mortal(self.store, life)
        return self.provider_class(
            self.api_class(Wire(self, life), workspace=self.fake.workspace.id, currency="USD"),
            self.desired.provider,
            page=lambda key: f"https://study.example.org/?t=signed-for-{key}",
            memory=lambda run: Mortal(store.memory(run), life),
            runs=lambda: [self.run.id],
            now=self.utc,
            monotonic=lambda: self.now,
        )

    def seen_store(self) -> Any:
        """As the reconciler has it."""
        return Copyless(self.store)

    def reconciler(self, life: Life, store: Any, provider: Any) -> Reconciler:
        def line() -> Line:
            return Line(
                self.server,
                around=life.around,
                fails=lambda: self.faulty and self.random.random() < self.terms.drops,
                lease_s=lambda: 5.0 if self.faulty and self.random.random() < self.terms.short_lease else 30.0,
                most=lambda: self.random.choice([3, 20, 40]),
            )

        alone: Any = None  # no second thread
        log: Any = self.log
        return self.reconciler_class(
            self.run.id,
            store,
            line,
            provider,
            NoCrowd(),
            lambda: None,
            lambda: None,
            "",
            Clock(self),
            log,
            alone,
            lambda: None,
        )

    # ------------------------------------------------------------------ time

    @property
    def now(self) -> float:
        return self.fake.now

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now, timezone.utc)

    def at(self, after_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + after_s, next(self._numbers), act))

    def spawn(self, life: Iterator[float]) -> None:
        try:
            self.at(next(life), lambda: self.spawn(life))
        except StopIteration:
            pass

    def play(self) -> None:
        """The whole of it: until the run is over or rests for good, and what came of it."""
        terms = self.terms
        self.at(0, self.live)
        for _ in range(terms.seconds):  # by somebody who does `up` again
            self.at(self.random.uniform(0, 15) * MINUTE, self.live)
        self.at(self.random.uniform(0, terms.gap_s), self.come)
        self.at(terms.faults_end, self.faults_end)
        for after_s in terms.fills:
            self.at(after_s, self.fill)
        if terms.count is Count.APPROVED or terms.verdicts[0] < 1:
            self.at(terms.review_s, self.review)
        for _ in range(terms.bonuses):
            self.at(self.random.uniform(2, 20) * MINUTE, self.give_bonus)
        if terms.hand is not None:
            self.at(self.random.uniform(1, 12) * MINUTE, self.act_by_hand)
        if terms.operator is not None:
            self.at(self.random.uniform(0, 15) * MINUTE, self.operate)
        if terms.abandoned is not None:
            self.at(terms.abandoned, self.abandon)
        self.at(terms.faults_end + 5 * MINUTE, self.look_after)
        end = self.begin + 8 * HOUR
        while self._heap and not self.done:
            due, _, act = heapq.heappop(self._heap)
            if due > end:
                break
            self.fake.world.advance_to(due)
            act()
        self.finish()

    @property
    def done(self) -> bool:
        return self.over or self.abandoned_at is not None

    def faults_end(self) -> None:
        self.fake.world.faults.set({})
        self.faulty = False

    def fill(self) -> None:
        self.fake.top_up(1000 * self.gross(REWARD).minor)

    # ------------------------------------------------------------------ the reconciler

    def live(self) -> None:
        """A life of a reconciler's process: it leads the run, or ends where another does."""
        if self.done:
            return
        killed = self.faulty and self.random.random() < self.terms.mortal
        life = Life(until=self.random.randint(1, 160) if killed else None, before=self.random.random() < 0.5)
        if process := self.start(life):
            self.step(process)

    def start(self, life: Life) -> Process | None:
        """As `reconcile` does; None: the run has one."""
        store, held = self.seen_store(), ExitStack()
        try:
            held.enter_context(store.reconciler_lock(self.run.id))
        except LockHeld:
            return None
        loop = self.reconciler(life, Mortal(store, life), Mortal(self.open_provider(life), life))
        return Process(loop.live(), held)

    def second(self) -> None:
        """While the one that there is stands still, as a process that was stopped, another is started and does what it can."""
        if process := self.start(Life()):
            for _ in range(8):
                process.rounds.send(None)
            process.held.close()

    def step(self, process: Process) -> None:
        """From one wait of the reconciler's to the next."""
        if self.done:
            process.held.close()
            return
        self.ticks += 1
        hold(self.ticks <= MOST_TICKS, "I13", f"no rest after {self.ticks} ticks: {self.store.noted(self.run.id)}")
        taken_in = self.store.drained(self.run.id)
        try:
            waits_s = process.rounds.send(None)
        except StopIteration:
            process.held.close()
            self.over = True
        except Killed:
            process.held.close()
            self.at(self.random.choice([0.5, 20.0, 300.0]), self.live)
        else:
            self.at(self.pace(waits_s), lambda: self.step(process))
        if not taken_in:
            self.was_met = self.met()  # a verdict that comes while the last are paid changes nothing of why it ended
        for promise in self.promises:
            promise(self)

    def pace(self, waits_s: float) -> float:
        """The reconciler's seconds are long, so that a run is few rounds."""
        if waits_s < 0.1:
            return self.random.uniform(0.01, 2)
        if waits_s < 0.5:
            return self.random.uniform(10, 40) if self.faulty else self.random.uniform(20, 60)
        longer = self.now > self.begin + 30 * MINUTE  # 20: at times sooner than what was refused is tried again
        return self.random.choice([20.0, 100.0, 200.0] if longer else [20.0, 45.0, 75.0, 120.0])

    def exchange(self, method: str, url: str, body: Any) -> tuple[int, Mapping[str, str], bytes]:
        self._writes += method != "GET"
        if method != "GET" and self._writes in self._stops:
            self.second()
        if method == "POST" and url.endswith("/submissions/bonus-payments/"):
            body = self.as_understood(body)
        text = b"" if body is None else json.dumps(body).encode()
        if method == "POST" and url.endswith("/pay/"):
            bulk = self.fake.world.bulks.get(url.split("/")[-3])
            paid = [] if bulk is None else list(bulk.lines)
        else:
            paid = []
        answer = self.service.answer(Request(method, url, f"Token {TOKEN}", text))
        if method != "GET":
            self.check_intents()
        if isinstance(answer, Lost) or not 400 <= answer.status < 500:
            self.pays += paid
        if isinstance(answer, Lost):
            if answer.hangs:
                self.fake.advance(10)
                raise requests.ReadTimeout("no answer came in time")
            raise requests.ConnectionError("the connection was closed without an answer")
        content, headers = encode(answer)
        return answer.status, headers, content

    def as_understood(self, body: Any) -> Any:
        """The provider's reading of bonuses: where it takes cents for dollars, or the other way round, it is another sum."""
        if self.terms.understood == 1:
            return body
        lines = [line.split(",") for line in body["csv_bonuses"].splitlines()]
        read = [f"{id_},{max(0.01, float(amount) * self.terms.understood):.2f}" for id_, amount in lines]
        return {**body, "csv_bonuses": "\n".join(read)}

    def check_intents(self) -> None:
        """I5: what has just been done was written down, and had no result yet."""
        effects = list(itertools.islice(self.fake.world.effects.values(), self._seen_effects, None))
        self._seen_effects = len(self.fake.world.effects)
        ours = [effect for effect in effects if effect.by == "api"]
        if not ours:
            return
        intents = self.store.open_intents(self.run.id)
        kinds = {intent.kind for intent in intents}
        of = {(intent.kind, intent.body.get("submission")) for intent in intents}
        for effect in ours:
            match effect.verb:
                case "create_study" | "publish":
                    found = "open" in kinds
                case "patch_study" | "places":
                    most = max((i.body["places"] for i in intents if i.kind in ("open", "places")), default=0)
                    found = most >= (effect.amount or 0)
                case "pause":
                    found = "pause" in kinds
                case "start":
                    found = "resume" in kinds
                case "stop":
                    found = self.store.intent(self.run.id, f"close:{self.study}") is not None  # it holds from then on
                case "approve" | "reject":
                    found = (effect.verb, effect.subject) in of
                case "request_return":
                    found = ("ask_return", effect.subject) in of
                case "create_bonus" | "pay_bonus":
                    found = "bonus" in kinds or "top_up" in kinds
                case _:  # what follows by itself
                    found = True
            hold(found, "I5", (effect, sorted(map(str, of))))

    # ------------------------------------------------------------------ people

    def listed(self) -> str | None:
        """The published study, as participants see it."""
        found = self.fake.world.studies.values()
        studies = [study.id for study in found if study.status is StudyStatus.ACTIVE and not study.deleted]
        return self.random.choice(studies) if studies else None

    def come(self) -> None:
        if self.done or self._came >= self.terms.people:
            return
        self.at(self.random.expovariate(1 / self.terms.gap_s), self.come)
        if self.listed() is None:
            return
        self._came += 1
        if self.random.random() < self.terms.conduct.forged:
            self.spawn(people.forger(self, self._came))
        else:
            again = self.terms.twice > 1 and self._came > 3 and self.random.random() < 0.3
            number = self.random.randint(1, self._came) if again else self._came
            self.spawn(people.somebody(self, f"p{number:023d}"))

    # ------------------------------------------------------------------ reviewer and operator

    def review(self, everything: bool = False) -> None:
        good, excluded, _ = self.terms.verdicts
        if everything or self.faulty:
            good, excluded = max(good, 0.8), 0.1
        given: dict[Verdict, list[tuple[int, int | None]]] = {verdict: [] for verdict in Verdict}
        for seen in self.unjudged():
            if everything or self.random.random() < 0.8:
                lot = self.random.random()
                verdict = (
                    Verdict.APPROVE if lot < good else Verdict.EXCLUDE if lot < good + excluded else Verdict.REJECT
                )
                given[verdict].append(seen)
        for verdict, these in given.items():
            self.judge(these, verdict)
        if not self.done:
            self.at(self.terms.review_s, self.review)

    def unjudged(self) -> list[tuple[int, int | None]]:
        with self.store._database.reading() as db:
            found = db.execute_sql("SELECT id, version FROM submission WHERE status = 'submitted' ORDER BY id")
            return list(found.fetchall())

    def judge(self, seen: list[tuple[int, int | None]], verdict: Verdict) -> None:
        if not seen:
            return
        try:
            self.store.judge_all(seen, verdict, reason="seen", by="ann", now=self.utc())
        except (Refused, StateMismatch):  # money has moved: the store says so
            if len(seen) > 1:
                for one in seen:
                    self.judge([one], verdict)

    def give_bonus(self) -> None:
        approved = [s for s in self.fake.world.submissions.values() if s.status is SubmissionStatus.APPROVED]
        if not approved:
            return
        chosen = self.random.choice(approved)
        self._bonuses += 1
        net = Money(100 + self._bonuses, "USD")  # each another sum, so that a second one is known from the first
        worker = WorkerId(chosen.participant)
        bonus = PayBonus(
            study=self.study,
            visit=visit_of(self.study, worker, chosen.id),
            worker=worker,
            submission=chosen.id,
            payment=f"decision-{self._bonuses}",
            net=net,
            amount=self.gross(net.minor),
            reason="well done",
        )
        self.ordered.add((chosen.id, net.minor))
        try:
            self.store.record_intents(
                self.run.id, [draft(bonus, self.utc())], budget=self.desired.budget, now=self.utc()
            )
        except OverBudget:
            pass

    def act_by_hand(self) -> None:
        published = [s for s in self.fake.world.studies.values() if s.published_at is not None]
        if not published:
            self.at(MINUTE, self.act_by_hand)
            return
        study, hand = published[0], self.terms.hand
        if hand in ("PAUSE", "STOP", "DELETE"):
            try:
                self.fake.by_hand(study.id, hand)
            except Refusal:
                pass
            return
        for submission in self.fake.world.of_study(study):
            if submission.status is SubmissionStatus.AWAITING_REVIEW:
                self.decide_by_hand(submission.id, approve=hand == "APPROVE")
                return

    def decide_by_hand(self, submission: str, *, approve: bool) -> None:
        world, found = self.fake.world, self.fake.world.submissions[submission]
        self.decided_by_hand.add(submission)
        with world.acting("hand"):
            if approve:
                prolific_submissions.approve(world, found)
            else:
                asked = {"action": "REJECT", "message": "no" * 60, "rejection_category": "NO_DATA"}
                prolific_submissions.transition(world, found, asked)

    def operate(self) -> None:
        match self.terms.operator:
            case "pause":
                self.want(RunState.PAUSED)
                self.at(self.random.uniform(1, 10) * MINUTE, lambda: self.want(RunState.LIVE))
            case "destroy":
                self.destroy()
            case _:
                self.destroy(now=True)

    def want(self, state: RunState) -> None:
        if self.store.run(self.run.id).wanted is not RunState.DESTROYED:
            self.store.want(self.run.id, state, self.utc())

    def destroy(self, *, now: bool = False) -> None:
        self.asked_to_end = True
        self.store.want(self.run.id, RunState.DESTROYED, self.utc(), drain_now=now)

    def abandon(self) -> None:
        """We are gone for good; the world is not."""
        if self.over:
            return
        self.abandoned_at = self.now
        self.left_at = self.store.exposure(TASK, "USD")

    def look_after(self) -> None:
        """What a person does where the run says that it waits for one."""
        if self.done:
            return
        self.at(5 * MINUTE, self.look_after)
        noted = self.store.noted(self.run.id)
        units, visits = self.store.unit_counts(self.run.id), self.store.visit_counts(self.run.id)
        state = (noted and noted[0], units, visits, self.store.listed_counts(self.run.id))
        if state != self._resting[0]:
            self._resting = state, self.now
            return
        if self.now < self._resting[1] + 10 * MINUTE or noted is None:
            return
        rest, why = noted[0], noted[1]
        self.rest(rest, why)

    def rest(self, rest: str, why: str) -> None:
        """Nothing has changed for long."""
        study = next((s for s in self.fake.world.studies.values() if s.published_at is not None), None)
        unanswered = self.store.without_answers(self.run.id, 100)
        if study is not None and study.deleted:
            self.destroy(now=self.asked_to_end)  # those who were inside cannot hand in any more
        elif unanswered:
            for visit in unanswered:  # as the site shows them, which may be ahead of us
                if self.fake.world.submissions[visit.submission].status is SubmissionStatus.AWAITING_REVIEW:
                    self.decide_by_hand(visit.submission, approve=self.random.random() < 0.5)
        elif study is not None and study.status is StudyStatus.PAUSED and "provider's site" in why:
            self.fake.by_hand(study.id, "START")
        elif rest == RestState.BUDGET.value and self.random.random() < 0.5:
            self.more_budget()
        elif rest == RestState.VERDICTS.value:
            self.review(everything=True)
        elif self._came >= self.terms.people or self.desired.keep:
            self.destroy()  # nobody comes any more
        elif "is not shown yet" in why or ("topping up" in why and self.terms.understood != 1):
            # An order that was lost on its way, of which nobody can tell; or no top-up is taken, for another sum is read.
            self.destroy(now=True)
        elif rest == RestState.PAUSED.value:
            pass  # it goes on when the operator says so
        elif rest in (RestState.BUDGET.value, RestState.NEEDS_PERSON.value):
            hold(not self.terms.easy, "I13", f"nothing is missing and it says {rest}: {why}")
            self.destroy()
        else:
            raise Broken(f"I13: nothing happens and it says {rest}: {why}")

    def more_budget(self) -> None:
        """The operator says yes to all that the surplus may cost."""
        self.desired = replace(self.desired, budget=self.worst * (self.most_places + 50))
        self.store.open_run(
            TASK,
            settings=_settings(self.desired),
            items=self.items,
            repeats=self.terms.repeats,
            fresh=False,
            now=self.utc(),
        )
        self.cap = self.worst * self.most_places

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """Everything that was begun ends, and we take note of it."""
        self.faults_end()
        if self.abandoned_at is not None:
            self.fake.advance(30 * DAY_S)
            for promise in self.promises:
                promise(self)
            return
        hold(self.over, "I13", f"not over after 8 hours: {self.store.noted(self.run.id)}")
        self.by_itself = not self.asked_to_end
        if self.random.random() < 0.3:  # what is said later is settled, too
            self.review(everything=True)
        self.fill()  # and what was refused for want of money
        self.fake.advance(HOUR)
        for _ in range(3):
            self.settle()
            self.fake.advance(5 * MINUTE)
        if self.random.random() < 0.2:
            self.fake.advance(22 * DAY_S)
            self.settle()
        for promise in self.promises:
            promise(self)

    def settle(self) -> None:
        provider, run = self.open_provider(Life()), self.store.run(self.run.id)
        try:
            settle(run, store=self.seen_store(), provider=provider, clock=Clock(self))
        except NotYet:
            hold(any(study.deleted for study in self.published()), "I12", "no study was deleted")

    # ------------------------------------------------------------------ what the judges ask

    def gross(self, minor: int) -> Money:
        return gross_of(Money(minor, "USD"), fee_bp=FEE_BP, vat_bp=0)

    @property
    def worst(self) -> Money:
        """Of one visit."""
        return self.gross(REWARD) + self.gross(self.terms.top_up or 0)

    @property
    def promised(self) -> FixTopUp | None:
        """What every paid visit gets on top, once that was decided."""
        return FixTopUp.written(self.store.intent(self.run.id, FixTopUp.name(self.study)))

    def spent(self) -> Money:
        return Money(self.fake.workspace.spent, "USD")

    def met(self) -> bool:
        return target_met(self.desired, self.store.unit_counts(self.run.id))

    def how_it_ended(self) -> str:
        if self.abandoned_at is not None:
            return "abandoned"
        return "by itself" if self.by_itself else "destroyed"

    def published(self) -> list[Study]:
        return [study for study in self.fake.world.studies.values() if study.published_at is not None]


def _settings(wanted: Desired) -> dict[str, Any]:
    return {"desired": wanted.to_settings()}
