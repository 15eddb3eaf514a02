"""Simulate: a spec against a fake of its provider, with simulated people, in a folder that goes away. Called by `cli`.

Whatever would reach a real account is set aside: the token is the fake's, credentials are looked for in that folder only,
and the page has an address of this machine. Time goes `speed` times as fast for the fake and its people.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crowdstack import process
from crowdstack.crowd.journal import accepted
from crowdstack.errors import Busy, Refused, StateMismatch, UsageError
from crowdstack.folder import private_folder, write_private
from crowdstack.model import Money, RunId, SubmissionStatus, Verdict
from crowdstack.tokens import Secret
from crowdstack.wire.configs import CrowdConfig, PanelConfig
from crowdstack.wiring import Project

if TYPE_CHECKING:
    from crowdstack.fakes.prolific import Service
    from crowdstack.spec import Spec

TOKEN, CONTROL_TOKEN = "token-of-a-simulation", "control-of-a-simulation"
T = TypeVar("T")

_LEAST_TIMEOUT_S = 3
_PATIENCE_S = 60.0
_REVIEWED = 200  # at once
_SPARE = 4  # times the budget (or the cap) is in the fake's wallet
_ENVIRONMENT = ("CROWDSTACK_PROLIFIC_TOKEN", "CROWDSTACK_PROLIFIC_URL", "XDG_CONFIG_HOME", "XDG_DATA_HOME")


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who comes: bots that answer by the schema, or those of a recording."""

    count: int = 20
    seed: int = 1
    recording: Path | None = None
    returns: float = 0.08
    times_out: float = 0.04
    no_code: float = 0.03
    time_per_unit_s: float | None = None  # median; by the spec's estimate where it is not said


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. Money of the fake's wallet, of our ledger, and what `preview` had said at most."""

    target: int
    done: int
    state: str
    took_s: float
    speed: float
    paid: Money  # left the fake's wallet
    ledger: Money
    cap: Money
    visits: Mapping[str, int]  # by ending
    accepted: int  # answers that people saw accepted
    exported: int  # of these in the export
    requests: Mapping[str, int]  # to the provider, by verb and path
    note: str | None = None

    @property
    def lost(self) -> int:
        return self.accepted - self.exported

    @property
    def handed_in(self) -> int:
        """Visits that were handed in and kept."""
        return sum(count for ending, count in self.visits.items() if ending not in ("returned", "timed out", "open"))

    @property
    def requests_per_visit(self) -> float | None:
        return round(sum(self.requests.values()) / self.handed_in, 2) if self.handed_in and self.requests else None


@dataclass
class Simulation:
    """One rehearsal. `project` is brought up like any other; people come from `begin` until the simulation is left."""

    project: Project
    people: People
    speed: float
    cap: Money
    room: Path
    service: Service | None = None
    origin: str = ""
    _crowd: subprocess.Popen[bytes] | None = None
    _begun: float = field(default_factory=time.monotonic)

    @property
    def crowd_folder(self) -> Path:
        return self.room / "crowd"

    def begin(self) -> None:
        """Let people come."""
        spec = self.project.spec
        assert spec is not None
        seconds = self.people.time_per_unit_s
        if seconds is None:
            seconds = (spec.task.estimated_time or 0) / self.speed
        write_private(
            private_folder(self.crowd_folder) / "crowd.json",
            crowd_config(spec, self.people, self._panel(spec), time_per_unit_s=seconds).to_bytes(),
        )
        with open(self.room / "crowd.log", "ab") as log:
            self._crowd = subprocess.Popen(
                [sys.executable, "-m", "crowdstack.crowd", "--folder", str(self.crowd_folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=process.child_environment(),
            )  # fmt: skip

    def _panel(self, spec: Spec) -> PanelConfig:
        if spec.provider.type == "generic":
            links = list(self.project.links().values())
            if not links:
                raise Refused("there is no page yet that people could be sent to")
            names = spec.provider.worker_parameter, spec.provider.visit_parameter
            panel = PanelConfig(kind="link", url=links[0], worker=names[0], submission=names[1])
        else:
            panel = PanelConfig(kind="fake", url=self.origin, token=Secret(CONTROL_TOKEN.encode()))
        who = self.people
        return replace(panel, returns=who.returns, times_out=who.times_out, no_code=who.no_code)

    def review(self) -> int:
        """Play the reviewer, to whom all is fine; how many answers were approved."""
        store, task = self.project.store, self.project.task
        waiting = [row for row in store.submissions(task) if row.status is SubmissionStatus.SUBMITTED][:_REVIEWED]
        if not waiting:
            return 0
        seen = [(row.submission, row.version) for row in waiting]
        now = self.project.clock.now()
        try:
            return len(store.judge_all(seen, Verdict.APPROVE, reason="", by="simulated", now=now))
        except StateMismatch:  # one of them is void meanwhile: the next look has the others
            return len(seen)

    def end(self) -> None:
        """Nobody comes any more."""
        if self._crowd is not None and self._crowd.poll() is None:
            self._crowd.kill()
            self._crowd.wait()

    def result(self) -> Result:
        from crowdstack.review.export import rows

        status, store = self.project.status(), self.project.store
        seen = accepted(self.crowd_folder / "journal.jsonl")
        exported = {row["assignment"] for row in rows(store, self.project.task, identified=True)}
        paid = Money(0, status.spend.currency)
        visits: Counter[str] = Counter()
        requests: Mapping[str, int] = {}
        if self.service is not None:
            with self.service.paused() as fake:
                paid = Money(sum(line.total for line in fake.wallet_lines()), fake.workspace.currency)
                verbs = self.service.requests.items()
                requests = {verb: count for verb, count in verbs if len(verb.split()) == 2}  # with a third word: faults
                for found in fake.world.submissions.values():
                    ending = found.status.value.lower().replace("-", " ").replace("active", "open")
                    coded = found.entered_code or not found.handed_in
                    visits[ending if coded else f"{ending} without code"] += 1
        elif status.run is not None:
            paid = self.project.provider.spent() or paid
            counts = store.visit_counts(RunId(status.run))
            told = {"to pay": counts.paid, "rejected": counts.rejected, "without answers": counts.empty}
            visits.update({ending: count for ending, count in told.items() if count})
        return Result(
            target=status.target,
            done=status.done,
            state=status.state,
            took_s=round(time.monotonic() - self._begun, 1),
            speed=self.speed,
            paid=paid,
            ledger=status.spend,
            cap=self.cap,
            visits=dict(visits),
            accepted=len(seen),
            exported=len(exported & seen.keys()),
            requests=requests,
            note=status.loop_note,
        )


def patiently(verb: Callable[[], T]) -> T:
    """The same again while the provider is busy, as a person would do. Busy when it stays so."""
    for _ in process.polls(_PATIENCE_S):
        try:
            return verb()
        except Busy:
            continue
    return verb()


@contextmanager
def simulation(
    path: Path,
    room: Path,
    *,
    overlays: Sequence[Path] = (),
    sets: Sequence[str] = (),
    people: People,
    speed: float = 60.0,
    faults: Mapping[str, float] | None = None,
    wallet: Money | None = None,
) -> Iterator[Simulation]:
    """A rehearsal of the spec at `path` in the empty folder `room`; all that it started is gone when it is left."""
    from crowdstack.spec import load_spec

    spec = load_spec(path, overlays=overlays, sets=sets)
    if spec.provider.type == "mock":
        raise UsageError(
            "provider mock plays its own people", where=str(path), hint="crowdstack up, with provider.crowd: bots"
        )
    if spec.provider.type == "plugin":
        raise UsageError(
            "there is no fake of a plugin's service", where=str(path), hint="try the task with provider mock or generic"
        )
    ours = [*sets, *_set_aside(spec)]
    with ExitStack() as stack:
        service = None
        origin = ""
        if spec.provider.type == "prolific":
            from crowdstack.fakes.prolific.background import played

            money = wallet or (
                spec.budget.max * _SPARE if spec.budget else Money(100_000_00, spec.task.reward.currency)
            )
            service = fake_of(spec, people=people, speed=speed, faults=faults or {}, wallet=money)
            origin = stack.enter_context(played(service))
        stack.enter_context(_environment(origin, room))
        project = stack.enter_context(
            closing(Project.open(spec=path, overlays=overlays, sets=ours, state=room / "state"))
        )
        _hurry(project, speed)
        plan = patiently(project.preview)
        here = Simulation(project, people, speed, plan.cost.cap, room, service, origin)
        try:
            yield here
        finally:
            here.end()
            _take_down(project)


def _hurry(project: Project, speed: float) -> None:
    """The task server's clock is the real one: people of another time may hold a unit that much shorter."""
    assert project.spec is not None
    task = project.spec.task
    faster = task.model_copy(update={"timeout": max(_LEAST_TIMEOUT_S, round(task.timeout / speed))})
    project.spec = project.spec.model_copy(update={"task": faster})


def _set_aside(spec: Spec) -> list[str]:
    """Settings of the spec that a simulation cannot keep."""
    told = ["architect={type: local}", "workers.require=[]"]  # who is simulated holds nothing
    if spec.provider.type == "prolific":
        told += ["provider.account=default", "provider.workspace=null", "provider.project=null", "provider.filters=[]"]
        told += ["provider.eligibility_requirements=[]", "provider.allow_groups=[]", "provider.block_groups=[]"]
        told += ["provider.webhooks=false"]
    return told


def crowd_config(spec: Spec, people: People, panel: PanelConfig, *, time_per_unit_s: float) -> CrowdConfig:
    from crowdstack.spec import answers_schema

    return CrowdConfig(
        kind="replay" if people.recording else "bots",
        run="",
        task=spec.name,
        study="",
        origin="",
        link_key=Secret(b""),
        seed=people.seed,
        workers=people.count,
        answers=answers_schema(spec),
        recording=str(people.recording.absolute()) if people.recording else None,
        data_id=spec.task.source.id or "id",
        time_per_unit_s=time_per_unit_s,
        panel=panel,
    )


def fake_of(spec: Spec, *, people: People, speed: float, faults: Mapping[str, float], wallet: Money) -> Service:
    """An account at a fake of Prolific with this much money. UsageError for a fault that there is not."""
    from crowdstack.fakes.prolific import FEES_BP, FakeProlific, Faults, Service, Settings
    from crowdstack.fakes.prolific.clock import running

    assert spec.provider.type == "prolific"
    try:
        rates = Faults(people.seed, faults)
    except ValueError as fault:
        raise UsageError(str(fault)) from fault
    vat_bp = round(spec.provider.vat_percent * 100)
    fake = FakeProlific(
        seed=people.seed,
        settings=Settings(fee_bp=FEES_BP[spec.provider.fee], vat_bp=vat_bp, vat_on_all=True),
        faults=rates,
        wallet=wallet.minor,
        currency=wallet.currency,
        token=TOKEN,
        now=time.time(),
    )
    return Service(fake, control_token=CONTROL_TOKEN, clock=running(fake.now, speed=speed))


@contextmanager
def _environment(origin: str, room: Path) -> Iterator[None]:
    """No account but the fake's, and no credentials but those in `room` (there are none)."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(XDG_CONFIG_HOME=str(room / "config"), XDG_DATA_HOME=str(room / "data"))
    for name in _ENVIRONMENT[:2]:
        os.environ.pop(name, None)
    if origin:
        os.environ.update(CROWDSTACK_PROLIFIC_TOKEN=TOKEN, CROWDSTACK_PROLIFIC_URL=origin)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _take_down(project: Project) -> None:
    """Whatever state the run is in: end its processes."""
    run = project.run
    if run is None:
        return
    folder = project.folder.run(run.id)
    for path in (folder.loop_process, folder.server_process):
        found = process.written(path)
        if found is not None and process.send_signal(found, signal.SIGKILL):
            process.wait_gone(found, 10)
    process.reap()


def data(result: Result) -> dict[str, Any]:
    """For JSON."""
    plain = {name: getattr(result, name) for name in Result.__slots__}
    plain |= {"lost": result.lost, "handed_in": result.handed_in, "requests_per_visit": result.requests_per_visit}
    told: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return told
