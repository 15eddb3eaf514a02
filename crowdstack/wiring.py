"""The only place that names adapters: a project's folder -> store, engine, provider, crowd, control, processes.

`cli` talks to `Project`; the detached reconciler enters by `reconcile`. Heavy libraries (pulumi, pydantic, tornado) are
imported by the verb that needs them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import shutil
import signal
import socket
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from crowdstack import assets, deploy, process, tokens
from crowdstack.crowds import CrowdOfStack, OpenProvider, of_plugin, open_crowd, open_provider, page_for_all
from crowdstack.deploy import Preview, Status
from crowdstack.engine.automation.engine import AutomationEngine, Place
from crowdstack.engine.chosen import PULUMI, Choice, ChosenEngine
from crowdstack.engine.detached import DetachedLauncher, prove
from crowdstack.engine.embedded.engine import EmbeddedEngine
from crowdstack.engine.inside import InProcessLauncher
from crowdstack.engine.launcher import reachable, read_config
from crowdstack.engine.passphrase import prepare_passphrase
from crowdstack.engine.secrets import Vault
from crowdstack.engine.stack_state import StackState
from crowdstack.engine.types import crowdstack_plugin
from crowdstack.errors import Busy, LockHeld, NotFound, Refused, StateMismatch, TimedOut, UsageError
from crowdstack.folder import Folder, private_folder, write_private
from crowdstack.model import Money, Run, RunId, RunState, StudyKey, TaskName, WorkerId
from crowdstack.plan.actions import Order, PayBonus, SendMessage
from crowdstack.plan.forecast import Line
from crowdstack.ports import Engine, OnStep, Program, Step, Store, ignore
from crowdstack.providers.credentials import of_operator
from crowdstack.providers.generic import DECLINED, GenericProvider, Said
from crowdstack.providers.mock_crowd import MockCrowd
from crowdstack.store.store import PeeweeStore
from crowdstack.wire.configs import Limits, ServerConfig
from crowdstack.wire.stack import CONFIG_KEY, STATE_VARIABLE, StackInputs

if TYPE_CHECKING:
    from crowdstack.plan.measured import MeasuredPay
    from crowdstack.providers.credentials import Registered, Safe
    from crowdstack.providers.prolific.registration import Checked
    from crowdstack.spec import Spec

STARTS = 3  # tries to start a reconciler that ends at once
PROJECT = "crowdstack"  # as in Pulumi.yaml
SECRETS_VARIABLE = "CROWDSTACK_SECRETS_PROVIDER"  # a key service for a new stack of the engine pulumi
START_S = 20.0  # within this a reconciler has taken its run, or its log says why not


class SystemClock:
    """ports.Clock by the system's clocks."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Project:
    """One task in one folder: what `cli` asks of it. Opens nothing before it is needed."""

    def __init__(self, *, task: TaskName, state: Path, spec: Spec | None = None, engine: Choice | None = None) -> None:
        self.task = task
        self.folder = Folder(state)
        self.spec = spec
        self._wish = engine
        self.clock = SystemClock()
        self._served: Server | None = None  # what `destroy` was asked to take away

    @classmethod
    def open(
        cls,
        *,
        spec: Path | None,
        overlays: Sequence[Path] = (),
        sets: Sequence[str] = (),
        stack: str | None = None,
        state: Path | None = None,
        directory: Path | None = None,
        engine: str | None = None,
        backend: str | None = None,
    ) -> Project:
        """By its spec; without one, the only live task of the folder (or `stack`).

        UsageError lists several; NotFound when there is none.
        """
        here = directory or Path.cwd()
        wish = wished(engine, backend)
        if spec is not None:
            from crowdstack.spec import load_spec

            read = load_spec(here / spec, overlays=[here / path for path in overlays], sets=sets)
            if stack is not None and stack != read.name:
                raise UsageError(f"the spec is of task {read.name}, not {stack}", hint="leave out SPEC or -s")
            if read.architect.type == "mock":
                if wish is not None and wish.engine == PULUMI:
                    raise UsageError("architect mock runs inside this process", hint="leave out --engine pulumi")
                return InsideProject(read)
            return cls(task=read.name, state=(state or read.folder / ".crowdstack").resolve(), spec=read, engine=wish)
        root = (state or here / ".crowdstack").resolve()
        return cls(task=_only_task(root, stack), state=root, engine=wish)

    def close(self) -> None:
        if "store" in self.__dict__:
            self.store.close()
        if "provider" in self.__dict__:
            self.provider.close()

    # ------------------------------------------------------------------------------------------ adapters

    @cached_property
    def store(self) -> Store:
        if not _has_store(self.folder):
            raise NotFound(f"task {self.task} was never up", where=str(self.folder.root), hint="crowdstack up SPEC")
        return open_store(self.folder)

    @cached_property
    def engine(self) -> Engine:
        return self.chosen

    @cached_property
    def chosen(self) -> ChosenEngine:
        return ChosenEngine(
            self.folder.stack(self.task),
            wish=self._wish,
            bound=lambda: self.run is not None and self.run.closed_at is None,
            open_=lambda choice: open_engine(self.folder, self.task, choice),
        )

    @cached_property
    def provider(self) -> OpenProvider:
        run = self.run
        live = run is not None and run.closed_at is None
        settings = run.settings["desired"]["provider"] if run and (live or self.spec is None) else None
        return open_provider(
            settings or self._wanted.desired(RunId("")).provider,
            folder=self.folder,
            task=self.task,
            store=lambda: self.store,
            wallet=self._wallet,
            page=self._page,
        )

    def _page(self, study: StudyKey) -> str:
        """What the provider of a live run shows to everybody."""
        run, server = self._live(), self.server()
        if server is None:
            raise Busy("there is no task server yet that people could be sent to")
        return page_for_all(server.origin, server.keys["link"], run, run.settings["desired"]["provider"]["type"])

    def _wallet(self) -> Money | None:
        """As the last `up` of the live run says, so that money can be put in while it goes on."""
        run = self.run
        text = run.settings["desired"]["provider"].get("wallet") if run else None
        return None if text is None else Money.parse(text)

    @cached_property
    def _wanted(self) -> deploy.Wanted:
        if self.spec is None:
            raise UsageError("this needs the spec", hint=f"name it: crowdstack ... SPEC (task {self.task})")
        return deploy.read(self.spec)

    @cached_property
    def deployment(self) -> deploy.Deployment:
        return deploy.Deployment(
            folder=self.folder,
            store=self.store,
            engine=self.engine,
            provider=self.provider,
            program=stack_program,
            clock=self.clock,
        )

    # ------------------------------------------------------------------------------------------ changing

    def preview(self, *, fresh: bool = False) -> Preview:
        wanted = self._wanted
        if _has_store(self.folder):
            return self.deployment.preview(wanted, fresh=fresh)
        # Nothing is there yet, and looking must not make it so: rehearse in a folder that goes away.
        with tempfile.TemporaryDirectory(prefix="crowdstack-") as room:
            with closing(self._rehearsal(Path(room).resolve())) as other:
                return other.deployment.preview(wanted, fresh=fresh)

    def _rehearsal(self, room: Path) -> Project:
        """This task in another folder, where nothing ever was. The stack is looked at where it is."""
        other = Project(task=self.task, state=room / "state", spec=self.spec)
        other.__dict__["engine"] = self.engine
        open_store(other.folder).close()
        return other

    def stack_inputs(self, *, staged: bool) -> StackInputs:
        """The stack that `up` would make, for a program that Pulumi runs by itself. `staged`: with its files in place."""
        wanted = self._wanted
        if staged:
            deploy.stage(self.folder, wanted.bundle)
        if _has_store(self.folder):
            return self.deployment.stack(wanted)
        with tempfile.TemporaryDirectory(prefix="crowdstack-") as room:
            with closing(self._rehearsal(Path(room).resolve())) as other:
                return other.deployment.stack(wanted)

    def up(self, *, seen: Preview | None = None, fresh: bool = False, on_step: OnStep = ignore) -> Run | None:
        """Deploy, open the run or bring it to the spec, and see to it that its reconciler runs. None: nothing to do.

        `seen`: the preview that this is to keep (deploy.Deployment.up).
        """
        wanted = self._wanted
        _has_store(self.folder)
        open_store(self.folder).close()
        run = self.deployment.up(wanted, seen=seen, fresh=fresh, on_step=on_step, before=self._remember_engine)
        if run is not None:
            self.start_loop()
        return run

    @property
    def stack_state(self) -> StackState:
        return StackState(
            chosen=self.chosen,
            open_=lambda choice: open_engine(self.folder, self.task, choice),
            plugin=crowdstack_plugin(self.folder, DetachedLauncher(self.folder)),
            project=PROJECT,
            stack=self.task,
            passphrase=self.folder.passphrase,
            backups=self.folder.backups,
        )

    def import_state(self, data: bytes, *, where: str) -> str:
        """Make this the stack's state, in the engine that `--engine` names; that engine."""

        def allowed(run: str) -> str | None:
            live = self.run if self.run is not None and self.run.closed_at is None else None
            if live is not None:
                return None if run == live.id else f"it is of {run or 'no run'}, and {live.id} is up"
            over = _has_store(self.folder) and run in [found.id for found in self.store.runs(self.task)]
            return f"{run} is over" if over else None

        return str(self.stack_state.import_(data, where=where, wish=self._wish, allowed=allowed))

    def pulumi_environment(self) -> dict[str, str]:
        """What lets `pulumi` work on this stack by hand. The engine is `pulumi` from now on."""
        if self._wish is None and self.chosen.choice.engine != PULUMI:
            self._wish = wished(PULUMI, None)
            self.__dict__.pop("chosen", None)
        choice = self.chosen.choice
        private_folder(self.folder.root)
        self.chosen.remember()
        told = {
            STATE_VARIABLE: str(self.folder.root),
            "PULUMI_BACKEND_URL": choice.backend or str(self.folder.backend.as_uri()),
        }
        if choice.backend is None:
            private_folder(self.folder.backend)
        if choice.secrets == "passphrase":
            prepare_passphrase(self.folder.passphrase)
            told["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(self.folder.passphrase)
        return told

    def _remember_engine(self) -> None:
        """Before a run is opened: whoever finds the run must find its stack."""
        self.chosen.remember()

    def refresh(self, targets: Collection[str] = ()) -> tuple[Step, ...]:
        """Look at the stack's resources, or at those of these URNs; what was found other than it was left. NotFound when nothing
        is up."""
        if self.engine.outputs() is None:
            raise NotFound(f"task {self.task} has no stack", hint="crowdstack up SPEC")
        return self.engine.refresh(targets=targets).steps

    def stop(self) -> None:
        self.store.want(self._live().id, RunState.PAUSED, self.clock.now())

    def resume(self) -> None:
        self.store.want(self._live().id, RunState.LIVE, self.clock.now())

    def destroy(self, *, now: bool = False) -> None:
        """Ask for it; the reconciler does it (docs/decisions/0002). What never served has nothing to be emptied."""
        run = self._live()
        self._served = self.server()
        self.store.want(run.id, RunState.DESTROYED, self.clock.now(), drain_now=now)
        if self.folder.run(run.id).inbox.exists() or self.store.cursor(run.id) is not None:
            self.start_loop()
            return
        try:
            with self.store.reconciler_lock(run.id):
                self.deployment.take_down(run)
                self.store.set_reached(run.id, RunState.DESTROYED, self.clock.now())
        except LockHeld:
            pass  # a reconciler is at it already

    def start_loop(self) -> None:
        """One reconciler runs for the live run when this returns. LockHeld and the like come from its log."""
        run = self._live()
        folder = self.folder.run(run.id)
        if _runs(folder.loop_process):
            return
        private_folder(folder.root)
        arguments = ["-m", "crowdstack", "reconcile", "--state", str(self.folder.root), "--run", run.id]
        environment = {**of_operator(), **of_plugin(run.settings["desired"]["provider"])}
        for _ in range(STARTS):
            child = process.spawn_detached(arguments, log=folder.loop_log, folder=folder.root, environment=environment)
            for _ in process.polls(START_S):
                process.reap()
                if _runs(folder.loop_process) or self.store.run(run.id).closed_at is not None:
                    return
                if not process.alive(child):
                    break  # killed at its start, or it had a reason
            else:
                raise TimedOut("the reconciler did not start", where=str(folder.loop_log))
        tail = folder.loop_log.read_text(errors="replace")[-1000:]
        raise Refused("the reconciler ended at its start", where=str(folder.loop_log), why=tail.strip())

    def settle(self) -> dict[str, str]:
        """After verdicts: pay or reject the visits of runs that are over. What the provider refused: key -> why."""
        from crowdstack.reconcile.settle import settle

        refused: dict[str, str] = {}
        for run in self.store.runs(self.task):
            promised = self.store.top_up(StudyKey(run.id))
            owed = self.store.visit_counts(run.id).left or (
                promised and promised.minor and self.store.untopped(run.id, 1)
            )
            if run.closed_at is not None and (owed or self.store.open_intents(run.id)):
                refused |= settle(run, store=self.store, provider=self.provider, clock=self.clock)
        return refused

    def bonus(self, named: str, net: Money, *, reason: str, payment: str | None = None) -> PayBonus:
        from crowdstack.reconcile.orders import bonus

        return bonus(self.task, named, net, reason=reason, payment=payment, store=self.store, provider=self.provider)

    def message(self, named: str, text: str, *, name: str | None = None) -> SendMessage:
        from crowdstack.reconcile.orders import message

        return message(self.task, named, text, name=name, store=self.store)

    def carry_out(self, order: Order) -> str | None:
        """Why it is not done, if it is not."""
        from crowdstack.reconcile.orders import carry_out

        return carry_out(
            order,
            store=self.store,
            provider=self.provider,
            clock=self.clock,
            waits=lambda: process.polls(START_S),
            looks=lambda: process.polls(START_S, every_s=2.0),
        )

    @property
    def panel(self) -> GenericProvider:
        """The books of a panel without an interface."""
        if not isinstance(self.provider, GenericProvider):
            raise UsageError("payment lists are for provider generic", hint="the others are paid by the run itself")
        return self.provider

    def import_payments(self, said: Iterable[Said]) -> int:
        """Take over what the panel did, into its books and then into our ledger; how many lines were news."""
        news = self.panel.confirm(said)
        declined = [(line.visit, line.purpose) for line in self.panel.payments() if line.state == DECLINED]
        self.store.keep_declined(self.task, declined)
        return news

    def why(self, worker: str) -> list[str]:
        """Why a worker gets no work in the last run; nothing when nothing stands in the way."""
        from crowdstack.reconcile.why import why

        run = self.run
        if run is None:
            raise NotFound(f"task {self.task} was never up", hint="crowdstack up SPEC")
        limit = run.settings["stack"]["max_units"]
        return why(run, WorkerId(worker), store=self.store, provider=self.provider, max_units=limit)

    def cost(self) -> Mapping[str, Money | None]:
        from crowdstack.reconcile.cost import cost

        return cost(self.task, store=self.store, provider=self.provider)

    def pay_measured(self) -> MeasuredPay | None:
        """What an hour of the last run's visits was paid; None before any visit ended."""
        return self.deployment.pay(self.run) if self.run is not None else None

    # ------------------------------------------------------------------------------------------ looking

    def status(self) -> Status:
        run, server = self.run, self.server()
        if server is not None and (run is None or (run.closed_at is not None and server.run != run.id)):
            healthy = _healthy(self.folder.run(server.run).server_config)
            return deploy.not_opened(self.task, RunId(server.run), server_url=server.origin, server_healthy=healthy)
        if run is None:
            return deploy.absent(self.task)
        folder = self.folder.run(run.id)
        return self.deployment.status(
            run,
            server_url=server.origin if server else None,
            server_healthy=server is not None and _healthy(folder.server_config),
            loop_running=_runs(folder.loop_process),
            disk_low=folder.root.exists() and shutil.disk_usage(folder.root).free < Limits().disk_reserve,
            links=self.links(),
        )

    def links(self) -> Mapping[WorkerId, str]:
        """For people; none unless the crowd is human, or sent by a panel that is given one link, and the stack is up."""
        run, server = self.run, self.server()
        told = run.settings["desired"]["provider"] if run else {}
        if run and run.closed_at is None and server and told["type"] == "generic":
            page = page_for_all(server.origin, server.keys["link"], run, told["type"])
            return {WorkerId("everybody"): str(told["link"]).replace("{page}", page)}
        crowd = (
            open_crowd(self.folder, run, origin=server.origin, link_key=server.keys["link"]) if run and server else None
        )
        return crowd.links() if crowd else {}

    def history(self) -> tuple[tuple[Step, ...], tuple[Line, ...]]:
        """What happened to the last run, folded as `preview` folds what would."""
        run = self.run
        return self.deployment.history(run) if run else ((), ())

    def logs(self) -> list[Path]:
        if self.run is None:
            return []
        folder = self.folder.run(self.run.id)
        return [folder.server_log, folder.loop_log, folder.crowd / "crowd.log"]

    def gone(self) -> list[str]:
        """What is left of the last run, if it is over: processes, the port (when `destroy` was called here), state.
        Empty is the proof."""
        run = self.run
        if run is None:
            return []
        folder = self.folder.run(run.id)
        left = [
            f"process: {name} ({path.name})"
            for name, path in (
                ("task server", folder.server_process),
                ("reconciler", folder.loop_process),
                ("crowd", folder.crowd / "crowd.process.json"),
            )
            if _runs(path)
        ]
        left += [f"state: {path}" for path in (folder.server_config, folder.inbox) if path.exists()]
        if self._served is not None and _answers(self._served.dial):
            left.append(f"port: somebody listens at {self._served.dial}")
        if self.engine.outputs() is not None:
            left.append(f"stack: {self.folder.stack(self.task)}")
        return left

    @property
    def run(self) -> Run | None:
        """The live run, else the last one."""
        if not _has_store(self.folder):
            return None
        return self.store.live_run(self.task) or next(reversed(self.store.runs(self.task)), None)

    def _live(self) -> Run:
        run = self.run
        if run is None or run.closed_at is not None:
            raise NotFound(f"task {self.task} has no live run", hint="crowdstack up SPEC")
        return run

    def server(self) -> Server | None:
        """Where the stack's server is, and its keys; None when there is none.

        One on this machine is told by its own settings, so that nobody who looks at it needs the engine's state.
        """
        run = self.run
        here = None if run is None else read_config(self.folder.run(run.id))
        if here is not None:
            dial = f"http://{reachable(here.host)}:{here.port}"
            return Server(run=here.run, origin=here.origin, dial=dial, keys=dict(here.keys))
        outputs = self.engine.outputs()
        if not outputs or "keys" not in outputs:
            return None
        keys = {purpose: tokens.Secret(tokens.unb64(key)) for purpose, key in outputs["keys"].items()}
        host = (self.run.settings["stack"].get("host") if self.run else None) or "127.0.0.1"
        return Server(
            run=outputs["run"],
            origin=outputs["origin"],
            dial=f"http://{reachable(host)}:{int(outputs['port'])}",
            keys=keys,
        )


# ---------------------------------------------------------------------------------------------------- adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The task server of a stack."""

    run: str
    origin: str  # as in links
    dial: str  # as this machine reaches it
    keys: dict[str, tokens.Secret] = field(repr=False)  # by purpose


def open_store(folder: Folder) -> PeeweeStore:
    private_folder(folder.root)
    return PeeweeStore(folder.store)


def wished(engine: str | None, backend: str | None) -> Choice | None:
    """What `--engine` and `--state URL` ask for; None when they do not."""
    if engine is None and backend is None:
        return None
    if backend is not None and engine not in (None, PULUMI):
        raise UsageError(f"{backend} is a backend of the engine pulumi, not of {engine}", hint="--engine pulumi")
    if backend is not None and backend.startswith("file://"):  # the CLI would look for it from another folder
        path, _, query = backend.removeprefix("file://").partition("?")
        backend = Path(unquote(path)).expanduser().resolve().as_uri() + (f"?{query}" if query else "")
    secrets = os.environ.get(SECRETS_VARIABLE, "passphrase")
    return Choice(engine=PULUMI, backend=backend, secrets=secrets) if engine != "embedded" else Choice()


def open_engine(folder: Folder, task: TaskName, choice: Choice) -> EmbeddedEngine | AutomationEngine:
    plugin = crowdstack_plugin(folder, DetachedLauncher(folder))
    if choice.engine != PULUMI:
        return EmbeddedEngine(folder.stack(task), folder.key_file, plugin)
    return AutomationEngine(
        folder=folder.stack(task),
        project=PROJECT,
        stack=task,
        place=Place(
            backend=choice.backend or folder.backend.as_uri(), passphrase=folder.passphrase, secrets=choice.secrets
        ),
        vault=Vault(folder.key_file),
        plugin=plugin,
        environment={STATE_VARIABLE: str(folder.root)},
    )


def stack_program(inputs: StackInputs) -> Program:
    """stacks/__main__.py, told of one run."""
    main = str(assets.folder("stacks") / "__main__.py")
    return Program(
        project=PROJECT,
        stack=inputs.task,
        config={CONFIG_KEY: inputs.to_json()},
        run=lambda: (runpy.run_path(main), None)[1],
    )


# ---------------------------------------------------------------------------------------------------- the reconciler


def reconcile(state: Path, run_id: str) -> int:
    """Body of the detached reconciler: returns once the run is destroyed."""
    process.start_log()
    folder = Folder(state.resolve())
    with closing(open_store(folder)) as store:
        task = store.run(RunId(run_id)).task
    with closing(Project(task=task, state=folder.root)) as project:
        _keep_so(project, RunId(run_id))
    return 0


def _keep_so(project: Project, run_id: RunId) -> None:
    """Reconcile this run until it is destroyed; LockHeld when somebody else does."""
    from crowdstack.reconcile.loop import reconcile as loop
    from crowdstack.server.client import ControlClient
    from crowdstack.server.hooks import PATH

    folder, store, deployment = project.folder, project.store, project.deployment
    run = store.run(run_id)

    def control() -> ControlClient:
        there = project.server()
        if there is None:
            raise Busy("the stack has no server")
        return ControlClient(there.origin, there.keys["control"], store.client_id(), dial=there.dial)

    def crowd() -> MockCrowd | None:
        there = project.server()
        if there is None:
            return None
        return open_crowd(folder, store.run(run_id), origin=there.origin, link_key=there.keys["link"])

    def hooks_at() -> str | None:
        there = project.server()
        return there.origin + PATH if there is not None and there.origin.startswith("https://") else None

    def ready() -> None:
        identity = process.identify(os.getpid())
        assert identity is not None
        write_private(folder.run(run_id).loop_process, json.dumps(identity.to_json()).encode())

    private_folder(folder.backup(run_id).parent)
    job = loop(
        run_id,
        store=store,
        control_factory=control,
        provider=project.provider,
        crowd=CrowdOfStack(crowd, lambda: store.run(run_id).settings),
        revive=lambda: deployment.bring_up(store.run(run_id)),
        tear_down=lambda: deployment.take_down(run),
        backup=str(folder.backup(run_id)),
        clock=project.clock,
        log=logging.getLogger("crowdstack.reconcile"),
        ready=ready,
        hooks_at=hooks_at,
    )
    asyncio.run(job)


# ---------------------------------------------------------------------------------------------------- architect mock


class InsideProject(Project):
    """The mock architect: the same program, with server and reconciler in this process and all state in a folder that
    goes with it. For authors' tests (crowdstack.testing)."""

    def __init__(self, spec: Spec) -> None:
        self._room = tempfile.TemporaryDirectory(prefix="crowdstack-")
        super().__init__(task=spec.name, state=Path(self._room.name).resolve() / "state", spec=spec)
        self._loop: Future[None] | None = None

    def _remember_engine(self) -> None:
        """There is only one for it."""

    @cached_property
    def engine(self) -> Engine:
        from crowdstack.server.server import serve

        plugin = crowdstack_plugin(self.folder, InProcessLauncher(self.folder, serve))
        return EmbeddedEngine(self.folder.stack(self.task), self.folder.key_file, plugin)

    def start_loop(self) -> None:
        if self._loop is None or self._loop.done():
            pool = ThreadPoolExecutor(1, "reconciler")
            self._loop = pool.submit(self._reconcile, self._live().id)
            pool.shutdown(wait=False)  # it ends with its one job

    def close(self) -> None:
        """Ends what still runs: there is nobody to go on with it."""
        run = self.run
        if run is not None and run.closed_at is None:
            self.destroy(now=True)
        if self._loop is not None:
            self._loop.result(timeout=START_S)
        super().close()
        self._room.cleanup()

    def _reconcile(self, run: RunId) -> None:
        # Store and provider of its own, as a process would have.
        other = Project(task=self.task, state=self.folder.root, spec=self.spec)
        other.__dict__["engine"] = self.engine
        with closing(other):
            _keep_so(other, run)


# ---------------------------------------------------------------------------------------------------- small change


def stacks(state: Path) -> list[TaskName]:
    """Tasks of a folder that have a live run."""
    folder = Folder(state)
    if not _has_store(folder):
        return []
    with closing(open_store(folder)) as store:
        return [task for task in store.tasks() if store.live_run(task) is not None]


def restore(state: Path) -> tuple[Path, Path | None]:
    """Put the last backup in the place of a store that is lost or broken, for all tasks of a folder; which one, and
    where the old store is kept. Reconcilers that have it open are ended first: `up` starts them again."""
    from crowdstack.store import backups

    folder = Folder(state.resolve())
    if not folder.backups.is_dir():
        raise NotFound(
            "there is no backup to put back", where=str(folder.backups), hint="name the spec, or its folder with -C"
        )
    for identity in folder.root.glob("runs/*/reconcile.process.json"):
        loop = process.written(identity)
        if loop and process.send_signal(loop, signal.SIGTERM) and not process.wait_gone(loop, START_S):
            raise TimedOut(f"the reconciler does not end (process {loop.pid})", where=str(identity.parent))
    return backups.restore(folder.store, folder.backups)


def _only_task(state: Path, stack: str | None) -> TaskName:
    """The task that a command without a spec means."""
    folder = Folder(state)
    known: list[TaskName] = []
    if _has_store(folder):
        with closing(open_store(folder)) as store:
            known = store.tasks()
    if stack is not None:
        if stack not in known:
            raise NotFound(
                f"no stack {stack} in {state}", hint=f"there is: {', '.join(known)}" if known else "crowdstack up"
            )
        return TaskName(stack)
    live = stacks(state)
    candidates = live if live else known
    if not candidates:
        raise NotFound(f"nothing is up in {state}", hint="crowdstack up; or name another spec, or its folder with -C")
    if len(candidates) > 1:
        raise UsageError(f"several stacks are here: {', '.join(candidates)}", hint="choose one with -s")
    return candidates[0]


def _has_store(folder: Folder) -> bool:
    """StateMismatch when it had one and that is gone: a new one would take the run's files for somebody else's."""
    if folder.store.exists():
        return True
    if any(folder.backups.glob("*.db")) or any(run.led for run in folder.runs()):
        raise StateMismatch(
            "the store is gone, and runs that it knew are here",
            where=str(folder.store),
            hint="put it back, or `crowdstack restore` its last backup; a live run then goes on",
        )
    return False


def _runs(path: Path) -> bool:
    """Whether the process that wrote who it is into `path` lives."""
    found = process.written(path)
    return found is not None and process.alive(found)


def _healthy(server_config: Path) -> bool:
    """Whether the run's own server answers, and goes by what is written."""
    try:
        raw = server_config.read_bytes()
    except FileNotFoundError:
        return False
    return prove(ServerConfig.from_bytes(raw), tokens.config_digest(raw))


def _answers(address: str) -> bool:
    """Whether anybody takes a connection there."""
    there = urlsplit(address)
    try:
        with socket.create_connection((there.hostname or "", there.port or 80), timeout=1):
            return True
    except OSError:
        return False


# ---------------------------------------------------------------------------------------------------- accounts


def safe() -> Safe:
    """Where the operator's credentials are."""
    from crowdstack.providers.credentials import Safe

    return Safe()


def register_prolific(
    token: tokens.Secret, *, account: str | None, workspace: str | None, create: bool
) -> tuple[Registered, Checked]:
    """Check the token with Prolific, then keep it. Nothing is kept of a token that is not accepted."""
    from crowdstack.providers import credentials
    from crowdstack.providers.prolific.account import Account
    from crowdstack.providers.prolific.registration import check
    from crowdstack.providers.prolific.transport import Transport

    kept = safe()
    name = credentials.checked_name(account or credentials.DEFAULT)
    http = Transport(token, origin=kept.origin("prolific"))
    with closing(http):
        found = check(Account(http), workspace=workspace, create=create)
    return kept.register(
        credentials.Credentials(
            provider="prolific",
            account=name,
            origin=http.origin,
            kept=credentials.FILE,
            who=found.me.email,
            workspace=found.chosen.id if found.chosen else None,
            workspace_name=found.chosen.title if found.chosen else None,
            checked_at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            token=token,
        )
    ), found
