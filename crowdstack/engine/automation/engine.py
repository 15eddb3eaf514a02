"""The engine `pulumi`: stacks made so by the real CLI, with its own backends, state and secrets.

The program runs in this process, as the Automation API runs inline programs; the resource types in the plugin's. What is
ours: the stack's lock on this machine, what a cut-off command left behind, steps and errors in the project's words.
"""

from __future__ import annotations

import json
import logging
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from crowdstack.engine import deployments
from crowdstack.engine.automation import state as states
from crowdstack.engine.automation.cli import Cli, CliFailed, check_version, end_orphan, find_cli, plugin_folder
from crowdstack.engine.automation.events import Story
from crowdstack.engine.automation.faults import error_of, owners
from crowdstack.engine.automation.outputs import Outputs
from crowdstack.engine.deployments import Deployment
from crowdstack.engine.passphrase import prepare_passphrase
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.engine.targets import refuse_unknown
from crowdstack.errors import Busy, CrowdstackError, LockHeld, StateMismatch, StepFailed
from crowdstack.folder import private_folder, write_private
from crowdstack.lock import held
from crowdstack.ports import OnStep, Program, StackResult, ignore

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stack's state lives and what keeps its secrets."""

    backend: str  # URL as of `pulumi login`
    passphrase: Path  # the file that holds it
    secrets: str = "passphrase"  # or the URL of a key service, as of `pulumi stack init --secrets-provider`

    @property
    def local(self) -> Path | None:
        """The folder of a backend on this machine."""
        return Path(unquote(urlsplit(self.backend).path)) if self.backend.startswith("file:///") else None


@dataclass(frozen=True, kw_only=True)
class AutomationEngine:
    """ports.Engine for one stack. `folder`: its lock, and what was last seen of its outputs.

    plugin: the types that `plugins`/pulumi-resource-PACKAGE serves; asked here about creates that were cut off.
    serially: one registration and one step at a time, in the order in which the program asks for them: for stacks that are
    small, and are to be shown in the same order each time.
    """

    folder: Path
    project: str
    stack: str
    place: Place
    vault: Vault
    plugin: Plugin
    plugins: Callable[[str], Path] = plugin_folder
    environment: Mapping[str, str] = field(default_factory=dict)  # for the plugin
    serially: bool = True

    # ------------------------------------------------------------------------------------------ ports.Engine

    def preview(self, program: Program, *, targets: Collection[str] = ()) -> StackResult:
        self._mend()
        found = self._fetch()
        with self._room(program, found) as room:
            if found is None:  # looking makes no stack: what is not there is previewed in a place that goes away
                return self._aside(room)._walk("preview", program, room, ignore, *_aimed(targets))
            return self._walk("preview", program, room, ignore, *_looking(found, targets), *_aimed(targets))

    def up(self, program: Program, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        with self._alone():
            found, taken_up = self._settled(keep=True)
            with self._room(program, found) as room:
                if found is None:
                    self._begin(room)
                told = ("--yes", "--skip-preview", *_looking(found, targets), *_aimed(targets))
                result = self._walk("up", program, room, on_step, *told, taken_up=taken_up)
            return replace(result, outputs=self._look() or {})

    def destroy(self, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        return self._without_program("destroy", on_step, targets)

    def refresh(self, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        return self._without_program("refresh", on_step, targets)

    def _without_program(self, verb: str, on_step: OnStep, targets: Collection[str]) -> StackResult:
        """The CLI refuses targets that it does not know before it begins, so it is given those that are there."""
        result, outputs = StackResult(steps=()), None
        if not self.folder.exists():
            return result
        with self._alone():
            found, _ = self._settled(keep=verb != "destroy" or bool(targets))
            aimed, gone = _known(found).intersection(targets), found is None
            if found is not None and (aimed or not targets):
                with self._room(None, found) as room:
                    result = self._walk(verb, None, room, on_step, "--yes", "--skip-preview", *_aimed(aimed))
                    gone = verb == "destroy" and not (targets and _known(self._fetch()))
                    if gone:
                        self._change("stack", "rm", "--yes", room=room)
            if gone:
                self._outputs.forget()
            else:
                outputs = self._look()
        refuse_unknown(targets, _known(found))
        return replace(result, outputs=outputs or {})

    def outputs(self) -> Mapping[str, Any] | None:
        """As of the last change, whoever made it. A backend on this machine is asked only when its file has changed."""
        if (local := self._state_file) is not None and not local.exists():
            return None
        try:
            self._mend()
            if (kept := self._outputs.read(self._stamp())) is not None:
                return kept.outputs
            return self._look()
        except (Busy, LockHeld):  # the latter: somebody is writing the state just now
            if (last := self._outputs.last()) is not None:  # better than nothing, and the server proves itself
                return last.outputs
            raise

    # ------------------------------------------------------------------------------------------ state

    def export(self) -> Deployment | None:
        """The whole state, secrets in clear; None when there is no stack."""
        return self._fetch()

    def replace_state(self, deployment: Deployment) -> None:
        """Put this state in the place of what is there. Its secrets are kept by what keeps those of this stack."""
        with self._alone():
            found = self._fetch()
            with self._room(None, found) as room:
                if found is None:
                    self._begin(room)
                keeper = (found or {}).get("secrets_providers") or self._keeper(room)
                self._outputs.forget()
                self._import({**deployment, "secrets_providers": keeper}, room)
        self._look()

    def remove(self) -> None:
        """Forget the stack and leave its resources alone. A repeat does nothing."""
        with self._alone():
            if (found := self._fetch()) is not None:
                with self._room(None, found) as room:
                    self._change("stack", "rm", "--yes", "--force", room=room)
            self._outputs.forget()

    # ------------------------------------------------------------------------------------------ the CLI

    @cached_property
    def _cli(self) -> Cli:
        path = find_cli()
        check_version(path)
        return Cli(
            path=path,
            backend=self.place.backend,
            secrets=self.place.secrets,
            passphrase=self.place.passphrase,
            plugins=self.plugins(self.plugin.package),
            more=self.environment,
        )

    @cached_property
    def _outputs(self) -> Outputs:
        return Outputs(self.folder / "outputs", self.vault)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Under the stack's lock, with nothing left of a command that was killed."""
        with held(self.folder / "lock"):
            end_orphan(self._note)
            if (file := self._state_file) is not None:
                if _empty(file) and _before(file).exists():
                    write_private(file, _before(file).read_bytes())
                if _empty(_about(file)):
                    _about(file).unlink()
            yield

    def _mend(self) -> None:
        """For who looks without the lock: what a killed CLI left half written is mended by `_alone`.

        On this machine it writes the state, and a note about it, by emptying a file and filling it. The state before is
        kept beside it, and what was done since is found again, for creates are idempotent by URN; the note is optional.
        """
        if (file := self._state_file) is not None and (_empty(file) or _empty(_about(file))):
            with self._alone():
                pass

    @property
    def _note(self) -> Path:
        return self.folder / "cli.process.json"

    def _change(self, *arguments: str, room: Path) -> None:
        """One command that changes the stack."""
        self._said(lambda: self._cli.run(*arguments, "--stack", self.stack, folder=room, note=self._note))

    @contextmanager
    def _room(self, program: Program | None, found: Deployment | None) -> Iterator[Path]:
        """A folder with the project as the CLI wants to find it. Nothing in it is worth keeping."""
        with tempfile.TemporaryDirectory(prefix="crowdstack-") as name:
            room = Path(name)
            project = {"name": self.project, "runtime": "python"}
            config: dict[str, Any] = dict(states.settings(found)) if found else {}
            if program is not None:
                config["config"] = dict(program.config)
            write_private(room / "Pulumi.yaml", json.dumps(project).encode())  # JSON is YAML
            if config:
                write_private(room / f"Pulumi.{self.stack}.yaml", json.dumps(config).encode())
            yield room

    def _aside(self, room: Path) -> AutomationEngine:
        """The same stack in a backend of its own, empty."""
        passphrase = room / "passphrase"
        write_private(passphrase, secrets.token_hex(16).encode())
        place = Place(backend=private_folder(room / "backend").as_uri(), passphrase=passphrase)
        aside = replace(self, place=place)
        aside._begin(room)
        return aside

    def _begin(self, room: Path) -> None:
        """Make the stack, empty."""
        if (local := self.place.local) is not None and not local.exists():  # one that is there is its owner's
            private_folder(local)
        if self.place.secrets == "passphrase":
            prepare_passphrase(self.place.passphrase)
        kept = () if self.place.secrets == "passphrase" else ("--secrets-provider", self.place.secrets)
        self._said(lambda: self._cli.run("stack", "init", self.stack, "--no-select", *kept, folder=room))

    def _keeper(self, room: Path) -> Mapping[str, Any]:
        """What keeps the secrets of a stack that was just made: the CLI has written it beside the project."""
        lines = (room / f"Pulumi.{self.stack}.yaml").read_text().splitlines()
        return states.keeper(dict(line.split(": ", 1) for line in lines if ": " in line))

    def _walk(
        self,
        verb: str,
        program: Program | None,
        room: Path,
        on_step: OnStep,
        *told: str,
        taken_up: tuple[str, ...] = (),
    ) -> StackResult:
        """One operation of the CLI, told as steps. Raises the program's own fault, else that of the first step."""
        story = Story(on_step, taken_up)
        one = ("--parallel", "1") if self.serially else ()
        note = None if verb == "preview" else self._note

        def operate(*served: str) -> None:
            asked = (verb, "--stack", self.stack, *told, *one, *served)
            self._said(lambda: self._cli.operate(*asked, folder=room, on_event=story.hear, note=note), story=story)

        if program is None:
            operate()
        else:
            from crowdstack.engine.automation.inline import serving

            with serving(program, serially=self.serially) as inline:
                try:
                    operate(*inline.arguments)
                except CrowdstackError as fault:
                    raise _of_program(inline.fault) or fault from fault
        for warning in story.warnings:
            _log.warning("%s", warning)
        return StackResult(steps=tuple(story.steps))

    def _said(self, act: Callable[[], T], story: Story | None = None, *, first: bool = True) -> T:
        """What it returns; its complaint in our words. A lock whose owner has died is taken away, once."""
        try:
            return act()
        except CliFailed as failed:
            held_by = owners(failed.told)
            if first and held_by and all(owner.dead for owner in held_by):
                with self._room(None, None) as room:
                    cancel = ("cancel", "--yes", "--stack", self.stack)
                    self._said(lambda: self._cli.run(*cancel, folder=room, note=self._note), first=False)
                return self._said(act, story, first=False)
            fault = story.fault() if story else None
            raise fault or self._error(failed) from failed

    def _error(self, failed: CliFailed) -> CrowdstackError:
        return error_of(failed.told, backend=self.place.backend, passphrase=str(self.place.passphrase))

    # ------------------------------------------------------------------------------------------ looking

    @property
    def _state_file(self) -> Path | None:
        local = self.place.local
        return local and local / ".pulumi" / "stacks" / self.project / f"{self.stack}.json"

    def _stamp(self) -> str | None:
        """Changes whenever the state does; None where only the backend knows."""
        if (file := self._state_file) is None:
            return None
        try:
            found = file.stat()
        except FileNotFoundError:
            return "absent"
        return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"

    def _fetch(self) -> Deployment | None:
        """The state as it is; None when there is no stack. StateMismatch when it is another's, or older than one seen."""
        if (file := self._state_file) is not None and not file.exists():
            return None
        seen = self._outputs.last_written()  # first: what is written meanwhile is newer
        with self._room(None, None) as room:
            try:
                told = self._cli.run("stack", "export", "--show-secrets", "--stack", self.stack, folder=room)
            except CliFailed as failed:
                if "no stack named" in failed.told:
                    return None
                raise self._error(failed) from failed
        found: Deployment = json.loads(told).get("deployment") or {}
        where = str(file or self.place.backend)
        deployments.check_identity(found, project=self.project, stack=self.stack, where=where)
        if file is not None and seen and states.written_at(found) < seen:
            raise StateMismatch(
                "this is an older copy of the stack's state",
                where=where,
                why=f"it was written at {states.written_at(found)}, the last one at {seen}",
                hint=f"put the last one back; to go on with this one all the same, delete {self._outputs.path}",
            )
        return found

    def _look(self) -> Mapping[str, Any] | None:
        """Fetch the outputs and remember them."""
        stamp = self._stamp()
        found = self._fetch()
        outputs = deployments.outputs(found) if found is not None else None
        self._outputs.keep(stamp, outputs, written=states.written_at(found) if found is not None else "")
        return outputs

    def _settled(self, *, keep: bool) -> tuple[Deployment | None, tuple[str, ...]]:
        """The state with nothing pending; the creates that were completed for it."""
        found = self._fetch()
        if found is None or not deployments.pending(found):
            return found, ()
        settled = states.settle(found, self.plugin, keep=keep)
        with self._room(None, found) as room:
            self._import(settled.deployment, room)
        return settled.deployment, settled.taken_up

    def _import(self, deployment: Deployment, room: Path) -> None:
        file = room / "state.json"
        write_private(file, json.dumps({"version": deployments.VERSION, "deployment": deployment}).encode())
        try:
            self._change("stack", "import", "--file", str(file), room=room)
        finally:
            file.unlink()


def _known(found: Deployment | None) -> set[str]:
    """The URNs of what is in the state."""
    return {resource["urn"] for resource in deployments.resources(found or {})}


def _looking(found: Deployment | None, targets: Collection[str]) -> tuple[str, ...]:
    """Look at the targets first. The CLI does not know how to while one of them is still to be made."""
    return ("--refresh",) if _known(found).issuperset(targets) else ()


def _aimed(targets: Collection[str]) -> tuple[str, ...]:
    return tuple(word for urn in sorted(targets) for word in ("--target", urn))


def _before(file: Path) -> Path:
    """Where the CLI keeps the state that was before."""
    return file.with_name(f"{file.name}.bak")


def _about(file: Path) -> Path:
    """The CLI's note about a file: its type and digest."""
    return file.with_name(f"{file.name}.attrs")


def _empty(file: Path) -> bool:
    return file.exists() and not file.stat().st_size


def _of_program(fault: Exception | None) -> CrowdstackError | None:
    """What the stack program itself raised, as the embedded engine tells it."""
    if fault is None or isinstance(fault, CrowdstackError):
        return fault
    return StepFailed("the stack program failed", why=f"{type(fault).__name__}: {fault}")
