"""A case on Pulumi's own engine: the real CLI over inline programs, as the Automation API drives it, and a file backend.

One run of the CLI is preview and update; its event log tells the steps of both.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc

from crowdstack.engine.automation.events import Story
from crowdstack.engine.automation.inline import serving
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.plugin_server import PluginServer
from crowdstack.engine.values import SECRET, SIGNATURE, differing
from crowdstack.folder import private_folder
from crowdstack.ports import Program
from tests.engine.conformance.moves import PROJECT, STACK, Case, Destroy, Move, Outside, Refresh, Up, plugin_types
from tests.engine.conformance.outcome import Line, Outcome, canonical, lines
from tests.engine.world import ThingType
from tests.pulumi.tools import path_with, pulumi_cli

PASSPHRASE = "any"


class Attached(PluginServer):
    """The plugin in this process: the CLI is told its port, which saves starting one for each run."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__(
            lambda _: plugin, package=plugin, version="1.0.0", settings=frozenset(), trusts=lambda peer: True
        )

    def Attach(self, request: plugin_pb2.PluginAttach, context: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()


class Site:
    """What all stacks of a test run share: the CLI, and an empty stack that is copied for each case."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cli = pulumi_cli()
        empty = root / "empty"
        (empty / "backend").mkdir(parents=True)
        (empty / "work").mkdir()
        (empty / "work" / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
        told = self.run(empty, "stack", "init", STACK, "--non-interactive")
        assert told.returncode == 0, told.stderr

    def run(self, root: Path, *arguments: str, plugin: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            "HOME": str(self.root),
            "PATH": path_with(),
            "PULUMI_DEBUG_PROVIDERS": f"crowdstack:{plugin}",
            "PULUMI_HOME": str(self.root / "home"),
            "PULUMI_BACKEND_URL": f"file://{root / 'backend'}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # lets it write an event log
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
        }
        command = [str(self.cli), *arguments]
        return subprocess.run(
            command, cwd=root / "work", env=environment, capture_output=True, text=True, timeout=100, check=False
        )


class Real:
    """A stack on the real engine and its world."""

    def __init__(self, site: Site, root: Path) -> None:
        self._site, self.root = site, root
        shutil.copytree(site.root / "empty", root)
        self.kind = ThingType(private_folder(root / "things"))
        self._plugin = Plugin("crowdstack", plugin_types(self.kind))
        self._events: list[dict[str, Any]] = []

    def play(self, case: Case) -> list[Outcome]:
        return [self.move(move) for move in case.moves]

    def move(self, move: Move) -> Outcome:
        before = len(self.kind.calls())
        found = canonical(self.deployment().get("resources", ()))
        self._events = []
        message = ""
        if isinstance(move, Outside):
            move.change(self.kind)
        else:
            told = self._run(move)
            message = f"{told.stdout}\n{told.stderr}" if told.returncode else ""
            assert bool(move.fails) == bool(message), f"{move}: {message or told.stdout}"
            assert re.search(move.fails, message, re.I), message
        self._phases = 2 if isinstance(move, Up) else 1
        previewed, done = self._lines(has_preview=isinstance(move, Up))
        assert not self.deployment().get("pending_operations")
        resources = self.deployment().get("resources", ())
        half = {entry["urn"] for entry in resources if entry.get("pendingReplacement")}
        return Outcome(
            failed=bool(message),
            previewed=previewed,
            done=_without(half, done),
            state=canonical(resources),
            world=tuple({"id": path.name, **thing} for path, thing in self.kind.things().items()),
            calls=tuple(self.kind.calls()[before:]),
            message=message,
            told=None if isinstance(move, Outside) else _without(half, self._told()),
            before=found,
        )

    def deployment(self) -> dict[str, Any]:
        file = self.root / "backend/.pulumi/stacks" / PROJECT / f"{STACK}.json"
        latest: dict[str, Any] = json.loads(file.read_bytes())["checkpoint"].get("latest") or {}
        salt = (latest.get("secrets_providers") or {}).get("state", {}).get("salt", "")
        found: dict[str, Any] = _opened(latest, salt)
        return found

    def _told(self) -> tuple[Line, ...]:
        """The last phase as our adapter for this engine tells it."""
        begin = max((at for at, event in enumerate(self._events) if "preludeEvent" in event), default=0)
        if sum("preludeEvent" in event for event in self._events) < self._phases:
            return ()
        story = Story(lambda step: None)
        for event in self._events[begin:]:
            story.hear(event)
        return lines(story.steps)

    def export(self) -> dict[str, Any]:
        """The state as the CLI exports it, secrets opened."""
        told = self._site.run(self.root, "stack", "export", "--show-secrets", "--stack", STACK)
        assert told.returncode == 0, told.stderr
        found: dict[str, Any] = json.loads(told.stdout)["deployment"]
        return found

    def take(self, deployment: dict[str, Any]) -> None:
        """Go on with this state, secrets opened: the CLI imports it."""
        file = self.root / "state.json"
        key = yaml.safe_load((self.root / "work" / f"Pulumi.{STACK}.yaml").read_text())["encryptionsalt"]
        keyed = {**deployment, "secrets_providers": {"type": "passphrase", "state": {"salt": key}}}
        file.write_text(json.dumps({"version": 3, "deployment": _as_text(keyed)}))
        told = self._site.run(self.root, "stack", "import", "--stack", STACK, "--file", str(file))
        assert told.returncode == 0, told.stderr

    def _run(self, move: Up | Refresh | Destroy) -> subprocess.CompletedProcess[str]:
        with _told(self.root / "events") as (pipe, self._events):
            options = ["--yes", "--non-interactive", "--stack", STACK, "--event-log", str(pipe)]
            options += [word for target in move.targets for word in ("--target", target)]
            server = Attached(self._plugin)
            with _serving(provider_pb2_grpc.add_ResourceProviderServicer_to_server, server) as plugin:
                match move:
                    case Refresh():
                        return self._site.run(self.root, "refresh", "--skip-preview", *options, plugin=plugin)
                    case Destroy():
                        return self._site.run(self.root, "destroy", "--skip-preview", *options, plugin=plugin)
                program = Program(project=PROJECT, stack=STACK, config={}, run=move.body)
                with serving(program, serially=False) as inline:
                    # A refresh would not know targets that are still to be made.
                    refresh = () if move.targets else ("--refresh",)
                    return self._site.run(self.root, "up", *refresh, *inline.arguments, *options, plugin=plugin)

    def _lines(self, *, has_preview: bool) -> tuple[tuple[Line, ...] | None, tuple[Line, ...]]:
        phases: list[list[dict[str, Any]]] = []
        for event in self._events:
            if "preludeEvent" in event:
                phases.append([])
            elif phases:
                phases[-1].append(event)
        folded = [_folded(phase) for phase in phases] + [(), ()]
        if not has_preview:
            return (), folded[0]
        return (None if any(map(_is_fault, phases[0] if phases else ())) else folded[0]), folded[1]


@contextmanager
def _told(path: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """A pipe for the event log: update starts the file anew, so that the events of the preview would be lost in a plain one."""
    os.mkfifo(path)
    events: list[dict[str, Any]] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if line == b"\n":
                    return
                events.append(json.loads(line))

    reading = os.open(path, os.O_RDWR)  # holds both ends, so it is no matter how often the CLI opens it
    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield path, events
    finally:
        with path.open("wb") as last:
            last.write(b"\n")
        thread.join()
        path.unlink()


@contextmanager
def _serving(add: Callable[[Any, grpc.Server], None], servicer: object) -> Iterator[int]:
    """The port where it answers."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def _folded(events: Iterable[dict[str, Any]]) -> tuple[Line, ...]:
    """A phase's events as lines: one for a replacement, whatever its parts."""
    begun: dict[str, dict[str, dict[str, Any]]] = {}  # urn -> operation -> metadata
    refreshed: list[Line] = []
    for event in events:
        if (told := event.get("resourcePreEvent")) is not None:
            metadata = told["metadata"]
            if not metadata["type"].startswith("pulumi:providers:"):
                begun.setdefault(metadata["urn"], {})[metadata["op"]] = metadata
        elif (told := event.get("resOutputsEvent")) is not None:
            metadata = told["metadata"]
            if _is_refresh(begun, metadata):
                refreshed += _refreshed(metadata)
        elif (told := event.get("resOpFailedEvent")) is not None:
            metadata = told["metadata"]
            begun.get(metadata["urn"], {}).pop(metadata["op"], None)
    for replaced in [steps["create-replacement"] for steps in begun.values() if "create-replacement" in steps]:
        if (earlier := replaced["old"]["urn"]) != replaced["urn"]:  # its delete is told under its earlier name
            begun.get(earlier, {}).pop("delete-replaced", None)
    return tuple(sorted([*refreshed, *(line for urn, steps in begun.items() for line in _steps(urn, steps))]))


def _without(half: set[str], told: tuple[Line, ...]) -> tuple[Line, ...]:
    return tuple(line for line in told if not (line.operation == "delete" and line.urn in half))


def _is_fault(event: dict[str, Any]) -> bool:
    return bool(event.get("diagnosticEvent", {}).get("severity") == "error")


def _is_refresh(begun: dict[str, dict[str, dict[str, Any]]], metadata: dict[str, Any]) -> bool:
    steps = begun.get(metadata["urn"], {})
    return "refresh" in steps and (metadata["op"] == "refresh" or len(steps) == 1)


def _refreshed(metadata: dict[str, Any]) -> list[Line]:
    old, new = metadata["old"], metadata.get("new")
    if not new or (old.get("id") and not new.get("id")):
        return [Line("refresh", metadata["urn"])]
    changed = {name for side in ("inputs", "outputs") for name in differing(old.get(side) or {}, new.get(side) or {})}
    return [Line("refresh", metadata["urn"], tuple(sorted(changed)))] if changed else []


def _steps(urn: str, steps: dict[str, dict[str, Any]]) -> list[Line]:
    if "import-replacement" in steps:
        return [Line("import", urn)]
    if (replaced := steps.get("create-replacement")) is not None:
        return [Line("replace", urn, _names(replaced, "diffs"), _names(replaced, "keys"))]
    parts = {"delete-replaced", "remove-pending-replace"} & steps.keys()
    return [Line("delete", urn)] * bool(parts) + [
        Line(
            operation, urn, _names(metadata, "diffs") if operation == "update" and metadata["new"].get("custom") else ()
        )
        for operation, metadata in steps.items()
        if operation not in ("refresh", "replace", *parts)
    ]


def _names(metadata: dict[str, Any], field: str) -> tuple[str, ...]:
    return tuple(sorted(metadata.get(field) or ()))


def _opened(value: Any, salt: str) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return {SIGNATURE: SECRET, "plaintext": json.loads(_decrypted(value["ciphertext"], salt))}
        return {key: _opened(item, salt) for key, item in value.items()}
    return [_opened(item, salt) for item in value] if isinstance(value, list) else value


def _as_text(value: Any) -> Any:
    """Opened secrets as the CLI exports them: JSON in a text."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return {**value, "plaintext": json.dumps(value["plaintext"])}
        return {key: _as_text(item) for key, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, list | tuple) else value


_keys: dict[str, bytes] = {}


def _decrypted(ciphertext: str, salt: str) -> str:
    """Pulumi's passphrase secrets: AES-256-GCM under PBKDF2 of the passphrase."""
    if salt not in _keys:
        raw = base64.b64decode(salt.split(":")[1])
        _keys[salt] = hashlib.pbkdf2_hmac("sha256", PASSPHRASE.encode(), raw, 1_000_000, 32)
    _, nonce, sealed = ciphertext.split(":")
    return AESGCM(_keys[salt]).decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None).decode()
