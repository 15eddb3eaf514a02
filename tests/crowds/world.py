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
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import requests

import crowdstack.server.pool
import crowdstack.store.layout
import crowdstack.store.runs
from crowdstack.errors import NotYet, OverBudget, Refused, StateMismatch
from crowdstack.fakes.prolific import submissions as prolific_submissions
from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.faults import Faults
from crowdstack.fakes.prolific.records import Study
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.fakes.prolific.service import Lost, Request, Service
from crowdstack.fakes.prolific.settings import DAY_S, Settings
from crowdstack.fakes.prolific.states import StudyStatus, SubmissionStatus
from crowdstack.fakes.prolific.transport import InProcessTransport, encode
from crowdstack.model import Money, RunState, StudyKey, Verdict, WorkerId, gross_of, visit_of
from crowdstack.plan.actions import FixTopUp, PayBonus, draft
from crowdstack.plan.cost import cost
from crowdstack.plan.decide import RestState, target_met
from crowdstack.plan.desired import Count, Desired, ceil_div
from crowdstack.providers.prolific.api import Prolific
from crowdstack.providers.prolific.provider import ProlificProvider
from crowdstack.providers.prolific.transport import Transport
from crowdstack.reconcile.loop import _Loop
from crowdstack.reconcile.observe import observe
from crowdstack.reconcile.settle import settle
from crowdstack.server import pool
from crowdstack.store.store import PeeweeStore
from crowdstack.tokens import Secret
from tests.contracts.store import TASK, items
from tests.crowds import people
from tests.crowds.people import Conduct
from tests.crowds.server import Line, Pause, Server
from tests.money.world import Killed, Life, Mortal
from tests.plan.builders import desired as wish

TOKEN = "t0ken-of-the-fake-account"
CODES = {"done": "DONE1234", "nothing": "NONE1234"}
REWARD = 50
FEE_BP = 4280
MINUTE, HOUR = 60.0, 3600.0
MOST_TICKS = 1500  # of one run; more is no rest


class Broken(AssertionError):
    """A promise about money or people does not hold."""


def hold(condition: object, promise: str, found: object = "") -> None:
    if not condition:
        raise Broken(f"{promise}: {found}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the case in one run."""

    units: int
    per_visit: int
    repeats: int
    count: Count
    wave: int | None
    surplus: int
    budget: int | None  # visits that it pays for
    wallet: int  # visits that are in it at first
    fills: tuple[float, ...]  # when it is filled
    faults: Mapping[str, float]
    faults_end: float
    mortal: float  # share of lives that are killed
    drops: float  # of calls to the server
    short_lease: float
    keep: bool
    no_data: str
    twice: int  # visits of one participant
    gap_s: float  # mean time between two who come
    work_s: tuple[float, float]
    timeout_s: int
    limit_s: float
    verdicts: tuple[float, float, float]  # of answers: approved, excluded, rejected
    review_s: float
    bonuses: int
    hand: str | None  # what somebody does on the provider's site
    operator: str | None  # what the operator does meanwhile
    abandoned: float | None  # when we stop for good
    people: int  # most that ever come
    settings: Mapping[str, Any]
    conduct: Conduct
    top_up: int | None  # at most; a visit is said to take a minute

    @classmethod
    def draw(cls, seed: int) -> Terms:
        draw = random.Random(f"terms:{seed}")
        often = draw.random
        per_visit = draw.randint(1, 5)
        repeats = 1 if often() < 0.7 else 2
        units = draw.randint(8, 30) // repeats
        visits = ceil_div(units * repeats, per_visit)
        surplus = draw.choice([0, 2, 10, 30, 60])
        wild = draw.choice([0.0, 0.3, 1.0])
        faults = {
            "429": 0.1, "5xx_before": 0.03, "5xx_after": 0.03, "drop_before": 0.02, "drop_after": 0.03,
            "timeout_after": 0.03, "stale": draw.choice([0.0, 0.1]),
        }  # fmt: skip
        most_s = draw.randint(20, 50)
        return cls(
            units=units,
            per_visit=per_visit,
            repeats=repeats,
            count=draw.choice([Count.APPROVED, Count.APPROVED, Count.SUBMITTED]),
            wave=draw.choice([None, None, 1, 2, 4]),
            surplus=surplus,
            budget=draw.choice([None, None, None, 1000, 1000, visits + surplus, visits, max(1, visits // 2)]),
            wallet=draw.choice([1000, 1000, 1000, visits, max(1, visits // 2), 0]),
            fills=tuple(sorted(draw.uniform(0, 20 * MINUTE) for _ in range(2))),
            faults={name: rate * wild for name, rate in faults.items() if rate},
            faults_end=draw.uniform(4, 15) * MINUTE,
            mortal=draw.choice([0.0, 0.5, 0.9]),
            drops=draw.choice([0.0, 0.01, 0.05]),
            short_lease=draw.choice([0.0, 0.05]),
            keep=often() < 0.05,
            no_data=draw.choice(["ask_return", "ask_return", "reject", "approve"]),
            twice=draw.choice([1, 1, 3]),
            gap_s=draw.choice([4.0, 8.0, 15.0]),
            work_s=(5.0, float(most_s)),
            timeout_s=draw.choice([45, 90]),
            limit_s=6 * MINUTE,
            verdicts=draw.choice([(1.0, 0.0, 0.0), (0.8, 0.1, 0.1), (0.5, 0.1, 0.4)]),
            review_s=draw.choice([30.0, 120.0]),
            bonuses=draw.choice([0, 0, 1, 3]),
            hand=draw.choice([None] * 16 + ["PAUSE", "STOP", "APPROVE", "REJECT", "DELETE"]),
            operator=draw.choice([None] * 12 + ["pause"] + ["pause", "destroy", "destroy now"]),
            abandoned=draw.uniform(1, 25) * MINUTE if often() < 0.1 else None,
            people=draw.choice([4000] * 11 + [visits]),
            settings={
                "publishing_s": draw.choice([0, 2, 20]),
                "completion_lag_s": draw.choice([0, 0, 5]),
                "pay_lag_s": draw.choice([0, 5, 40]),
                "full_when_taken": often() < 0.5,
                "freed_is_active": often() < 0.5,
                "reserved_s": draw.choice([60, 300]),
            },
            conduct=draw.choice([Conduct(), Conduct(), Conduct(forged=0.3), Conduct(returns=0.3, times_out=0.1)]),
            top_up=draw.choice([None, 10, 40]),
        )

    @property
    def easy(self) -> bool:
        """Whether money, places and people suffice, so that the run must come to its end by itself."""
        enough = self.budget is None or self.budget >= 1000
        willing = self.hand is None and self.operator in (None, "pause") and self.abandoned is None and not self.keep
        return enough and willing and self.surplus >= 30 and self.verdicts[0] >= 0.8 and self.people >= 1000


class Seeded:
    """Stands for `secrets`, so that a run replays exactly."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"ids:{seed}")

    def token_urlsafe(self, size: int) -> str:
        return "".join(self._random.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=size))

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every id that is made up inside comes from the seed, and so does the jitter of waits."""
    modules: list[Any] = [crowdstack.server.pool, crowdstack.store.layout, crowdstack.store.runs]
    before = [module.secrets for module in modules]
    made, state = Seeded(seed), random.getstate()
    for module in modules:
        module.secrets = made
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        for module, was in zip(modules, before, strict=True):
            module.secrets = was


class Wire(Transport):
    """The client's transport with the service at the other end of a call instead of a socket."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(
            Secret(TOKEN.encode()),
            adapter=InProcessTransport(world.service),  # type: ignore[arg-type]
            sleep=world.fake.advance,
            wall=lambda: world.now,
        )
        self._world, self._life = world, life

    def _exchange(self, method: str, target: str, body: Any, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        return self._life.around(self._world.exchange)(method, self.origin + target, body)  # type: ignore[no-any-return]


@dataclass
class Clock:
    world: World

    def now(self) -> datetime:
        return self.world.utc()

    def monotonic(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        await Pause(seconds)


class Log:
    """Words of the reconciler's. A fault that is no error of ours is a fault of the program, and ends the run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: object) -> None:
        self.lines.append(text % values)

    warning = info

    def exception(self, text: str) -> None:
        fault = sys.exc_info()[1]
        if isinstance(fault, Broken):
            raise fault
        raise Broken(f"a round failed: {fault!r}") from fault


class Reconciler(_Loop):
    """The loop, stepped: its verbs run at once, and where it waits it yields to the world."""

    async def _aside(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        return verb(*arguments)


class NoCrowd:
    """People come by themselves."""

    def ensure(self) -> None: ...

    def running(self) -> bool:
        return True

    def stop(self) -> None: ...

    def links(self) -> Mapping[WorkerId, str]:
        return {}


class Copyless:
    """A store without backups: what they are for is not part of this."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def backup(self, to: str) -> None:
        pass


@dataclass
class World:
    seed: int
    folder: Path
    promises: tuple[Callable[[World], None], ...] = ()
    log: Log = field(default_factory=Log)

    codes: ClassVar[dict[str, str]] = CODES
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
        self.asked_to_end = False  # the operator destroyed it
        self.abandoned_at: float | None = None
        self.left_at = Money(0, "USD")  # the exposure when we stopped for good
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._seen_effects = 0
        self._came = 0
        self._bonuses = 0
        self._resting: tuple[object, float] = (None, self.now)
        self._alive: Coroutine[Any, Any, None] | None = None
        self.preview()
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
        template = self.folder.parent / "template.db"
        if not template.exists():
            made = self.folder.parent / f"{self.folder.name}-template.db"
            PeeweeStore(made).close()
            made.rename(template)
        shutil.copyfile(template, self.folder / "store.db")
        return PeeweeStore(self.folder / "store.db")

    def open_provider(self, life: Life) -> ProlificProvider:
        store = Mortal(self.store, life)
        return self.provider_class(
            Prolific(Wire(self, life), workspace=self.fake.workspace.id, currency="USD"),
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
        """A life of the reconciler's process."""
        if self.done:
            return
        killed = self.faulty and self.random.random() < self.terms.mortal
        life = Life(until=self.random.randint(1, 160) if killed else None, before=self.random.random() < 0.5)
        store = Mortal(self.seen_store(), life)
        loop = self.reconciler(life, store, Mortal(self.open_provider(life), life))
        self._alive = loop.live()
        self.step()

    def step(self) -> None:
        """From one wait of the reconciler's to the next."""
        if self.done or self._alive is None:
            return
        self.ticks += 1
        hold(self.ticks <= MOST_TICKS, "I13", f"no rest after {self.ticks} ticks: {self.store.noted(self.run.id)}")
        if not self.store.drained(self.run.id):
            self.was_met = self.met()  # a verdict that comes while the last are paid changes nothing of why it ended
        try:
            waits_s = self._alive.send(None)
        except StopIteration:
            self.over, self._alive = True, None
        except Killed:
            self._alive = None
            self.at(self.random.choice([0.5, 20.0, 300.0]), self.live)
        else:
            self.at(self.pace(waits_s), self.step)
        for promise in self.promises:
            promise(self)

    def pace(self, waits_s: float) -> float:
        """The reconciler's seconds are long, so that a run is few rounds."""
        if waits_s < 0.1:
            return self.random.uniform(0.01, 2)
        if waits_s < 0.5:
            return self.random.uniform(10, 40)
        return self.random.choice([20.0, 45.0, 75.0, 120.0])  # at times sooner than what was refused is tried again

    def exchange(self, method: str, url: str, body: Any) -> tuple[int, Mapping[str, str], bytes]:
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
                    found = "close" in kinds
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
            for visit in unanswered:
                self.decide_by_hand(visit.submission, approve=self.random.random() < 0.5)
        elif study is not None and study.status is StudyStatus.PAUSED and "provider's site" in why:
            self.fake.by_hand(study.id, "START")
        elif rest == RestState.BUDGET.value and self.random.random() < 0.5:
            self.more_budget()
        elif rest == RestState.VERDICTS.value:
            self.review(everything=True)
        elif self._came >= self.terms.people or self.desired.keep:
            self.destroy()  # nobody comes any more
        elif "is not shown yet" in why:
            self.destroy(now=True)  # an order that was lost on its way: nobody can tell, and it is not sent again
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
