"""Deploy: what `up` would do, doing it, and taking it down. The order: blobs, the run in the store, the stack, the loop.

Use cases over ports; `wiring` hands in the adapters. Killed anywhere and called again, `up` goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from crowdstack.errors import StateMismatch
from crowdstack.folder import Folder, open_private, private_folder, write_private
from crowdstack.lock import held as held_lock
from crowdstack.model import (
    EndedVisit,
    Item,
    Money,
    Run,
    RunId,
    RunState,
    TaskName,
    UnitCounts,
    VisitCounts,
    WorkerId,
    gross_of,
)
from crowdstack.plan.actions import FixTopUp
from crowdstack.plan.cost import Cost, check_budget, cost
from crowdstack.plan.decide import Observed, RestState, target_met, visits_counted
from crowdstack.plan.desired import Count, Desired, desired_of, stack_inputs
from crowdstack.plan.fees import check_pay
from crowdstack.plan.fixed import fixed_by_publishing
from crowdstack.plan.forecast import Line, fold, forecast, journaled
from crowdstack.plan.measured import MeasuredPay, check_measured_pay, measured_pay
from crowdstack.plan.panels import review_span
from crowdstack.ports import (
    Clock,
    Engine,
    GroupChange,
    OnStep,
    Operation,
    Program,
    Provider,
    Rehearsal,
    Step,
    Store,
    ignore,
)
from crowdstack.spec import Bundle, Edits, Spec, build_bundle, held, kept, load_items, notes_of
from crowdstack.wire.stack import StackInputs

_MANY = 10_000  # visits: more than anybody reads of


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What `up` would do: edits of the live run's spec, steps of the engine, changes at the crowd, what people may cost."""

    task: TaskName
    run: RunId  # the run that is, or that would be opened
    new_run: bool
    steps: tuple[Step, ...]
    lines: tuple[Line, ...]
    cost: Cost
    target_met: bool
    basis: str  # what the task's runs went by then (Store.basis)
    edits: tuple[str, ...] = ()  # `field (old -> new)`, in force at once
    notes: tuple[str, ...] = ()
    groups: tuple[GroupChange, ...] = ()
    never_changes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return bool(self.steps or self.lines or self.edits or self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Visits that wait for a verdict at the provider, which pays them by itself when nobody gives one."""

    waiting: int
    due_at: datetime  # of the first
    left_s: int  # until then; negative when it is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a task stands. `done` of `target` units; money in the task's currency. `provider`: its type, of a plugin its name;
    `crowd`: of provider mock who comes, human, bots or replay."""

    task: TaskName
    run: RunId | None
    state: str  # live | paused | draining | done | destroyed | absent | not deployed | not opened
    units: UnitCounts
    visits: VisitCounts
    target: int
    done: int
    server_url: str | None
    server_healthy: bool
    loop_running: bool
    loop_note: str | None
    links: Mapping[WorkerId, str]
    spend: Money
    exposure: Money
    cap: Money | None
    budget: Money | None
    quarantined: int
    workers: int
    labels: Mapping[str, str]
    started_at: datetime | None
    rate_per_min: float | None = None
    provider: str = ""
    crowd: str = ""
    pay: MeasuredPay | None = None  # by the time that visits took
    review: Review | None = None  # none waits for one, or nobody approves them but us
    disk_low: bool = False  # the server gives out no unit until there is room (Limits.disk_reserve)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A spec read with everything it names: the same values for preview and up."""

    spec: Spec
    items: Sequence[Item]
    bundle: Bundle

    def desired(self, run: RunId) -> Desired:
        return desired_of(self.spec, self.items, run=run)

    def stack(self, run: RunId) -> StackInputs:
        return stack_inputs(self.spec, run, self.bundle)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the store keeps for whoever has no spec at hand: the reconciler, `status`, `destroy`."""
        nobody = RunId("")
        return {
            "desired": self.desired(nobody).to_settings(),
            "stack": json.loads(self.stack(nobody).to_json()),
            "spec": kept(self.spec),
        }

    def arguments(self, *, fresh: bool, now: datetime) -> dict[str, Any]:
        """For `Store.open_run` and `rehearse`: the same, so that the rehearsal is one."""
        return {
            "task": self.spec.name,
            "settings": self.settings,
            "items": self.items,
            "repeats": self.spec.target.repeats,
            "fresh": fresh,
            "now": now,
        }


def read(spec: Spec) -> Wanted:
    """SpecError for whatever is wrong with the files that the spec names."""
    return Wanted(spec=spec, items=load_items(spec), bundle=build_bundle(spec))


class StepJournal:
    """What the engine did for a run, kept beside its logs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def also(self, on_step: OnStep) -> OnStep:
        """`on_step`, after the step was written down."""

        def keep(step: Step) -> None:
            if step.operation is not Operation.SAME:
                private_folder(self._path.parent)
                line = json.dumps({**asdict(step), "operation": step.operation.value})
                with open(self._path, "a", encoding="utf-8", opener=_private) as file:
                    file.write(f"\n{line}\n")  # begins anew: the line before may have been cut off
            on_step(step)

        return keep

    def read(self) -> tuple[Step, ...]:
        """Each change once, in order: what was made again after a crash is the same change."""
        if not self._path.exists():
            return ()
        steps: dict[tuple[str, str], Step] = {}
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                data = json.loads(line)
            except ValueError:  # empty, or cut off
                continue
            told = {name: tuple(data.pop(name)) for name in ("changed", "replaced_by")}
            step = Step(**{**data, **told, "operation": Operation(data["operation"])})
            steps.setdefault((data["operation"], step.urn), step)
        return tuple(steps.values())


def _private(path: str, flags: int) -> int:
    """An opener for files that only we may read."""
    return open_private(Path(path), flags)


class Deployment:
    """A task of one folder: looked at, brought up, told to stop."""

    def __init__(
        self,
        *,
        folder: Folder,
        store: Store,
        engine: Engine,
        provider: Provider,
        program: Callable[[StackInputs], Program],
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._store = store
        self._engine = engine
        self._provider = provider
        self._program = program
        self._clock = clock

    def preview(self, wanted: Wanted, *, fresh: bool = False) -> Preview:
        """What `up` would do now. Changes nothing. OverBudget and PolicyRefused when the run must not be started."""
        return self._preview(*self._held(wanted), fresh=fresh)

    def _preview(self, wanted: Wanted, edits: Edits, *, fresh: bool) -> Preview:
        basis = self._store.basis(wanted.spec.name)
        stands = self._store.rehearse(**wanted.arguments(fresh=fresh, now=self._clock.now()))
        if stands.new and self._folder.run(stands.run).led:
            raise StateMismatch(
                f"the store knows nothing of {stands.run}, and its inbox is here: this is an older store",
                where=str(self._folder.run(stands.run).inbox),
                hint="put the newer store back, or `crowdstack restore` its last backup",
            )
        desired = wanted.desired(stands.run)
        ended = () if stands.new else self._ended(stands.run, desired)
        observed = self._observe(desired, stands, ended)
        met = target_met(desired, stands.units)
        begins = stands.new and not met
        told = Preview(
            task=desired.task,
            run=stands.run,
            new_run=stands.new,
            steps=(),
            lines=(),
            cost=cost(desired, observed),
            target_met=met,
            basis=basis,
            edits=edits.now,
            notes=(
                *(f"takes effect with the next run: {edit}" for edit in edits.next_run),
                *(notes_of(wanted.spec) if begins else ()),
                *(f"changed at the provider: {line}" for line in self._drift(desired, observed)),
            ),
            never_changes=(
                *((f"metadata.name: {desired.task} (another name is another task)",) if stands.new else ()),
                *(fixed_by_publishing(desired) if begins else ()),
            ),
        )
        if met and stands.new:
            return told
        check_budget(desired, observed)
        if begins:
            told = replace(told, notes=(*told.notes, *(check_pay(desired) or self._check_measured_pay(desired))))
        steps = self._engine.preview(self._program(wanted.stack(stands.run))).steps
        changes = tuple(step for step in steps if step.operation is not Operation.SAME)
        admission = self._store.admission(desired.task, **desired.admission_rules)
        groups = () if observed.drained else self._provider.group_changes(desired.study, admission)
        notes = told.notes if admission.allowed != () else (*told.notes, _nobody(desired))
        return replace(told, steps=changes, lines=forecast(desired, observed), groups=groups, notes=notes)

    def up(
        self,
        wanted: Wanted,
        *,
        seen: Preview | None = None,
        fresh: bool = False,
        on_step: OnStep = ignore,
        before: Callable[[], None] = lambda: None,
    ) -> Run | None:
        """Blobs, the run, the stack: durable one after the other. None when the target is met and nothing is up.

        `seen`: the preview that was said yes to. StateMismatch, and nothing is changed, when it does not hold any more;
        LockHeld while another `up` is at it. `before` is called when nothing stands in the way, before anything is changed.
        """
        with held_lock(self._folder.up_lock(wanted.spec.name)):
            return self._up(wanted, seen, fresh=fresh, on_step=on_step, before=before)

    def _up(
        self, wanted: Wanted, seen: Preview | None, *, fresh: bool, on_step: OnStep, before: Callable[[], None]
    ) -> Run | None:
        wanted, edits = self._held(wanted)
        plan = self._preview(wanted, edits, fresh=fresh)
        if seen is not None and (plan.basis != seen.basis or plan.cost.cap > seen.cost.cap):
            raise StateMismatch(
                f"{plan.task} was changed since it was previewed", hint="the same command shows it anew"
            )
        if plan.target_met and plan.new_run:
            return None
        before()
        stage(self._folder, wanted.bundle)
        run = self._store.open_run(**wanted.arguments(fresh=fresh, now=self._clock.now()))
        if run.wanted is RunState.DESTROYED:
            raise _going(run)
        if run.wanted is RunState.PAUSED:
            self._store.want(run.id, RunState.LIVE, self._clock.now())  # as the preview said: resume
        self.bring_up(run, on_step)
        self._store.set_reached(run.id, RunState.LIVE, self._clock.now())
        return run

    def stack(self, wanted: Wanted) -> StackInputs:
        """The stack that `up` would make now: of the live run, else of the one it would open."""
        wanted, _ = self._held(wanted)
        return wanted.stack(self._store.rehearse(**wanted.arguments(fresh=False, now=self._clock.now())).run)

    def bring_up(self, run: Run, on_step: OnStep = ignore) -> None:
        """Make the stack of this run so, by what the store keeps of it: also how a dead server comes back.

        StateMismatch when its intake is over: the reconciler is taking it down, and may have begun while we were at it.
        """
        if self._store.drained(run.id):
            raise _going(run)
        journal = StepJournal(self._folder.run(run.id).steps)
        inputs = StackInputs.from_json(json.dumps({**run.settings["stack"], "run": run.id}))
        self._engine.up(self._program(inputs), journal.also(on_step))
        if self._store.drained(run.id):
            self._engine.destroy(journal.also(on_step))
            raise _going(run)

    def take_down(self, run: Run, on_step: OnStep = ignore) -> None:
        """Delete the stack and the run's inbox. Only called once every event is stored and backed up."""
        journal = StepJournal(self._folder.run(run.id).steps)
        self._engine.destroy(journal.also(on_step))
        for path in self._folder.run(run.id).root.glob("inbox.*"):  # with its ballast
            path.unlink()

    def history(self, run: Run) -> tuple[tuple[Step, ...], tuple[Line, ...]]:
        """What happened to a run, folded as preview folds what would: engine steps before the teardown, changes at the crowd."""
        desired = Desired.from_settings(run.settings["desired"], run=run.id)
        lines = fold(journaled(self._store.journal(run.id)), desired, self._store.unit_counts(run.id))
        return StepJournal(self._folder.run(run.id).steps).read(), lines

    def status(
        self,
        run: Run,
        *,
        server_url: str | None,
        server_healthy: bool,
        loop_running: bool,
        disk_low: bool,
        links: Mapping[WorkerId, str],
    ) -> Status:
        """How the run stands, by the store; what only the machine knows is handed in."""
        desired = Desired.from_settings(run.settings["desired"], run=run.id)
        units = self._store.unit_counts(run.id)
        visits = visits_counted(desired, self._store.visit_counts(run.id), self._store.listed_counts(run.id))
        stands = Rehearsal(run=run.id, new=False, units=units, visits=visits, offers=self._store.offers(run.id))
        noted = self._store.noted(run.id)
        currency = desired.reward.currency
        return Status(
            task=run.task,
            run=run.id,
            state=_state(run, noted[0] if noted else None),
            units=units,
            visits=visits,
            target=units.total,
            done=units.approved + (units.submitted if desired.count is Count.SUBMITTED else 0),
            server_url=server_url,
            server_healthy=server_healthy,
            loop_running=loop_running,
            disk_low=disk_low,
            loop_note=noted[1] if noted else None,
            links=links,
            spend=self._store.paid(run.task, currency),
            exposure=self._store.exposure(run.task, currency),
            cap=cost(desired, self._remembered(desired, stands)).cap,
            budget=desired.budget,
            quarantined=self._store.quarantined(run.id),
            workers=visits.active,
            labels=run.settings["spec"]["metadata"].get("labels") or {},
            started_at=run.opened_at,
            provider=desired.service,
            crowd=desired.crowd.get("kind", ""),
            pay=self.pay(run),
            review=self._review(run, desired),
        )

    def _review(self, run: Run, desired: Desired) -> Review | None:
        span, (waiting, first_at) = review_span(desired), self._store.awaiting_review(run.id)
        if span is None or first_at is None:
            return None
        due_at = first_at + span
        return Review(waiting=waiting, due_at=due_at, left_s=round((due_at - self._clock.now()).total_seconds()))

    def _check_measured_pay(self, desired: Desired) -> tuple[str, ...]:
        last = next(reversed(self._store.runs(desired.task)), None)
        if last is None:
            return ()
        before = Desired.from_settings(last.settings["desired"], run=last.id)
        return check_measured_pay(desired, before, self.pay(last))

    def pay(self, run: Run) -> MeasuredPay | None:
        """What an hour of the run's visits was paid, by the time that they took."""
        desired = Desired.from_settings(run.settings["desired"], run=run.id)
        fixed = FixTopUp.written(self._store.intent(run.id, FixTopUp.name(desired.study)))
        return measured_pay(desired, self._store.visit_times(run.id), fixed)

    def _held(self, wanted: Wanted) -> tuple[Wanted, Edits]:
        """What of `wanted` may hold for the live run, and how it differs from what the run goes by."""
        run = self._store.live_run(wanted.spec.name)
        if run is None:
            return wanted, Edits()
        spec, edits = held(wanted.spec, run.settings["spec"])
        return (read(spec) if edits.next_run else wanted), edits

    def _remembered(self, desired: Desired, stands: Rehearsal) -> Observed:
        """How the run stands by the store alone: `status` costs no request and needs no provider that answers."""
        told = desired.provider
        gross = partial(gross_of, fee_bp=told.get("fee_bp", 0), vat_bp=told.get("vat_bp", 0))
        return Observed(
            wanted=RunState.LIVE,
            units=stands.units,
            visits=stands.visits,
            offers=stands.offers,
            study=None,
            places=self._store.places(desired.study),
            gross=self._store.gross(desired.study) or gross(desired.reward),
            reserve=desired.top_up and (self._store.top_up(desired.study) or gross(desired.top_up)),
            exposure=self._store.exposure(desired.task, desired.reward.currency),
        )

    def _drift(self, desired: Desired, observed: Observed) -> tuple[str, ...]:
        if observed.study is None:
            return ()
        return self._provider.drift(desired.study, reward=desired.reward, title=desired.title)

    def _observe(self, desired: Desired, stands: Rehearsal, ended: tuple[EndedVisit, ...] = ()) -> Observed:
        gross = self._provider.gross(desired.reward)
        promised = FixTopUp.written(self._store.intent(stands.run, FixTopUp.name(desired.study)))
        return Observed(
            wanted=RunState.LIVE,
            units=stands.units,
            visits=visits_counted(desired, stands.visits, {} if stands.new else self._store.listed_counts(stands.run)),
            offers=stands.offers,
            study=self._provider.fetch_study(desired.study),
            places=self._store.places(desired.study),
            gross=gross,
            exposure=self._store.exposure(desired.task, gross.currency),
            ended=ended,
            reserve=desired.top_up and (self._store.top_up(desired.study) or self._provider.gross(desired.top_up)),
            top_up=promised,
            top_up_fixed=promised is not None,
            untopped=tuple(self._store.untopped(stands.run, _MANY)) if promised and promised.net.minor else (),
            drained=not stands.new and self._store.drained(stands.run),
        )

    def _ended(self, run: RunId, desired: Desired) -> tuple[EndedVisit, ...]:
        """Visits that can be settled now."""
        return tuple(
            self._store.ended_visits(run, _MANY, judged=desired.count is Count.APPROVED, handed_in=desired.managed)
        )


def stage(folder: Folder, bundle: Bundle) -> None:
    """Put the files of the bundle where the stack finds them by digest."""
    blobs = private_folder(folder.blobs)
    for digest, content in bundle.sources.items():
        if not (blobs / digest).exists():
            write_private(blobs / digest, content)


def _nobody(desired: Desired) -> str:
    asked = " and ".join(desired.require)
    return f"nobody holds {asked}, which workers.require asks for: nobody can come until `crowdstack workers qualify`"


def _going(run: Run) -> StateMismatch:
    return StateMismatch(f"run {run.id} is being taken down", hint="wait until it is gone, then `up` opens the next")


def _state(run: Run, resting: str | None) -> str:
    if run.closed_at is not None:
        return "destroyed"
    if run.wanted is RunState.DESTROYED:
        return "draining"
    if run.reached is None:
        return "not deployed"
    if run.wanted is RunState.PAUSED:
        return "paused"
    return "done" if resting == RestState.DONE.value else "live"


def absent(task: TaskName) -> Status:
    """The status of a task that never had a run."""
    nothing = Money(0, "USD")
    return Status(
        task=task,
        run=None,
        state="absent",
        units=UnitCounts(),
        visits=VisitCounts(),
        target=0,
        done=0,
        server_url=None,
        server_healthy=False,
        loop_running=False,
        loop_note=None,
        links={},
        spend=nothing,
        exposure=nothing,
        cap=None,
        budget=None,
        quarantined=0,
        workers=0,
        labels={},
        started_at=None,
    )


def not_opened(task: TaskName, run: RunId, *, server_url: str, server_healthy: bool) -> Status:
    """The status of a stack that somebody made without us (`pulumi up`), before `up` lets anybody in."""
    note = f"the stack of {run} is up and nobody is let in yet: `crowdstack up` opens the run"
    return replace(
        absent(task), state="not opened", server_url=server_url, server_healthy=server_healthy, loop_note=note
    )
