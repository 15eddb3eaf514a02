"""Our resource types: the keys of a run, the bundle workers load, the task server. What `plugin` holds.

Inputs are settings and digests. There is no command, no path and no address to fetch among them, so whoever may ask for
a resource can at most start this package's own server on files that are already in the owner's folder (threats E1).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from crowdstack import tokens
from crowdstack.engine.launcher import RUN_PATTERN, Launcher, Running, reachable
from crowdstack.engine.plugin import Found, Input, Output, Plugin, check
from crowdstack.engine.values import UNKNOWN, Properties
from crowdstack.errors import Refused
from crowdstack.folder import Folder
from crowdstack.tokens import PURPOSES, Secret, b64, unb64
from crowdstack.wire.configs import BundleFile, Claims, Finish, Limits, ServerConfig

PACKAGE = "crowdstack"
KEYS, BUNDLE, TASK_SERVER = (f"{PACKAGE}:index:{name}" for name in ("Keys", "Bundle", "TaskServer"))

_ORIGIN = r"https?://[A-Za-z0-9._:\[\]-]+"
_RUN = Input(type=str, about="a run's id: letters, digits, - and _", pattern=RUN_PATTERN, replaces=True)
_DIGEST = Input(type=str, about="a SHA-256 digest in hex", pattern=r"[0-9a-f]{64}")
_FILES = Input(type=dict, about="URL path -> {blob: SHA-256 digest, type: media type}")


def crowdstack_plugin(folder: Folder, launcher: Launcher) -> Plugin:
    """The plugin of one project's folder."""
    return Plugin(PACKAGE, [KeysType(), BundleType(folder.blobs), TaskServerType(launcher)])


@dataclass(frozen=True)
class KeysType:
    """The run's root key, random, and the keys derived from it, by purpose (threats 5.1). They live in the state only."""

    token: ClassVar[str] = KEYS
    inputs: ClassVar[Mapping[str, Input]] = {"run": _RUN}
    outputs: ClassVar[Mapping[str, Output]] = {
        "run": Output(type=str, about="the run's id"),
        "root": Output(type=str, about="the run's root key"),
        "keys": Output(type=dict, about="the keys derived from it, by purpose"),
    }
    secret_outputs: ClassVar[frozenset[str]] = frozenset({"root", "keys"})
    delete_first: ClassVar[bool] = False

    def create(self, urn: str, inputs: Properties, *, preview: bool) -> Found:
        run = inputs["run"]
        if preview:
            return Found(id="", inputs=inputs, outputs={"run": run, "root": UNKNOWN, "keys": UNKNOWN})
        root = secrets.token_bytes(32)
        keys = {purpose: b64(tokens.derive(root, run, purpose)) for purpose in PURPOSES}
        return Found(id=run, inputs=inputs, outputs={"run": run, "root": b64(root), "keys": keys})

    def read(self, there: Found) -> Found:
        return _known(there)

    def update(self, there: Found, inputs: Properties, *, preview: bool) -> Found:
        raise AssertionError("every input of it replaces")

    def delete(self, there: Found) -> None:
        """They are forgotten with the state's entry."""


@dataclass(frozen=True)
class BundleType:
    """The files that workers' browsers may load, by digest. They were staged before; here it is made sure that all are there."""

    blobs: Path
    token: ClassVar[str] = BUNDLE
    inputs: ClassVar[Mapping[str, Input]] = {"digest": _DIGEST, "files": _FILES}
    outputs: ClassVar[Mapping[str, Output]] = {"digest": Output(type=str, about="SHA-256 digest of the table of files")}
    secret_outputs: ClassVar[frozenset[str]] = frozenset()
    delete_first: ClassVar[bool] = False

    def create(self, urn: str, inputs: Properties, *, preview: bool) -> Found:
        files = _files(inputs["files"])
        if not preview:
            for url, file in files.items():
                self._verify(url, file)
        return Found(id=inputs["digest"], inputs=inputs, outputs={"digest": inputs["digest"]})

    def read(self, there: Found) -> Found | None:
        files = _files(_known(there).inputs["files"])
        present = all((self.blobs / file.blob).is_file() for file in files.values())
        return there if present else None

    def update(self, there: Found, inputs: Properties, *, preview: bool) -> Found:
        return self.create("", inputs, preview=preview)

    def delete(self, there: Found) -> None:
        """The blobs stay: other runs may show them, and reviews of this one will."""

    def _verify(self, url: str, file: BundleFile) -> None:
        path = self.blobs / file.blob
        if path.is_symlink() or not path.is_file():
            raise Refused(
                f"the file of {url} is not among the blobs", where=str(path), hint="run the same command again"
            )
        if hashlib.sha256(path.read_bytes()).hexdigest() != file.blob:
            raise Refused(f"the file of {url} was changed after it was staged", where=str(path), hint="delete it")


@dataclass(frozen=True)
class TaskServerType:
    """The server that workers talk to. Settings and files change in place: workers keep what they hold."""

    launcher: Launcher
    token: ClassVar[str] = TASK_SERVER
    inputs: ClassVar[Mapping[str, Input]] = {
        "run": _RUN,
        "task": Input(type=str, about="the task's name"),
        "title": Input(type=str, about="what workers read first"),
        "description": Input(type=str, about="what workers read next"),
        "host": Input(type=str, about="the address to listen on", pattern=r"[A-Za-z0-9._:-]+", replaces=True),
        "port": Input(type=int, about="the port to listen on; 0 for a free one, kept from then on", replaces=True),
        "publicUrl": Input(type=str, about="scheme://host[:port] of links", required=False, pattern=_ORIGIN),
        "bundle": _DIGEST,
        "files": _FILES,
        "answers": Input(type=str, about="JSON Schema of answers, as JSON text", required=False),
        "timeoutS": Input(type=int, about="seconds that a worker may hold a unit"),
        "unitsPerVisit": Input(type=int, about="units of one visit; leave it out for no limit", required=False),
        "maxUnits": Input(type=int, about="units of one worker; leave it out for no limit", required=False),
        "sample": Input(type=str, about="an item for the page's preview, as JSON text", required=False),
        "completion": Input(type=str, about="what a worker reads at the end"),
        "claims": Input(
            type=dict, about="{worker, submission}: parameters of the page's address that say who came", required=False
        ),
        "finish": Input(
            type=dict,
            about="{answered, empty: {code, url}, hosts}: what a worker is given at the end; addresses are https at the hosts",
            required=False,
        ),
        "frameAncestors": Input(type=list, about="origins that may frame the page", required=False),
        "limits": Input(type=dict, about="overrides of the server's limits", required=False),
        "keys": Input(type=dict, about="the run's keys by purpose", secret=True),
    }
    outputs: ClassVar[Mapping[str, Output]] = {
        "origin": Output(type=str, about="scheme://host:port as it stands in links"),
        "port": Output(type=int, about="the port it listens on"),
        "process": Output(type=dict, about="who the server's process is: {pid, boot, start}"),
        "config": Output(type=str, about="digest of the settings it goes by"),
    }
    secret_outputs: ClassVar[frozenset[str]] = frozenset()
    delete_first: ClassVar[bool] = True  # two servers of one run would give out the same unit twice

    def create(self, urn: str, inputs: Properties, *, preview: bool) -> Found:
        if preview:
            port = inputs["port"]
            origin = inputs.get("publicUrl") or (_origin(inputs["host"], port) if port else UNKNOWN)
            outputs = {"origin": origin, "port": port or UNKNOWN, "process": UNKNOWN, "config": UNKNOWN}
            return Found(id="", inputs=inputs, outputs=outputs)
        self._check(inputs)
        port = self.launcher.choose_port(inputs["run"], inputs["host"], inputs["port"])
        config = self._config(inputs, port)
        return _found(inputs, self.launcher.ensure(config), origin=config.origin, port=port)

    def read(self, there: Found) -> Found | None:
        running = self.launcher.find(_known(there).inputs["run"], there.outputs["config"])
        if running is None:
            return None
        inputs = there.inputs
        if running.config != there.outputs["config"]:
            # It goes by settings that are not ours, so all that can change in place counts as changed.
            inputs = {name: value for name, value in inputs.items() if self.inputs[name].replaces}
        return _found(inputs, running, origin=there.outputs["origin"], port=there.outputs["port"])

    def update(self, there: Found, inputs: Properties, *, preview: bool) -> Found:
        port = there.outputs["port"]
        origin = inputs.get("publicUrl") or _origin(inputs["host"], port)
        if preview:
            return Found(id=there.id, inputs=inputs, outputs={**there.outputs, "origin": origin, "config": UNKNOWN})
        return _found(inputs, self.launcher.ensure(self._config(inputs, port)), origin=origin, port=port)

    def delete(self, there: Found) -> None:
        self.launcher.stop(there.inputs["run"])

    def _check(self, inputs: Properties) -> None:
        """Refused for inputs that are not a task server's, whoever sends them (threats E1)."""
        faults = check(self, inputs)
        if not all(re.fullmatch(_ORIGIN, str(origin)) for origin in inputs.get("frameAncestors") or ()):
            faults.append("frameAncestors: must be origins, like https://example.org")
        if faults:
            raise Refused("these are no settings of a task server", why="; ".join(faults))

    def _config(self, inputs: Properties, port: int) -> ServerConfig:
        self._check(inputs)
        answers, sample = inputs.get("answers"), inputs.get("sample")
        claims, finish = inputs.get("claims"), inputs.get("finish")
        try:
            return ServerConfig(
                run=inputs["run"],
                task=inputs["task"],
                title=inputs["title"],
                description=inputs["description"],
                host=inputs["host"],
                port=port,
                origin=inputs.get("publicUrl") or _origin(inputs["host"], port),
                keys={purpose: Secret(unb64(inputs["keys"][purpose])) for purpose in PURPOSES},
                bundle=inputs["bundle"],
                files=_files(inputs["files"]),
                answers=None if answers is None else json.loads(answers),
                timeout_s=inputs["timeoutS"],
                units_per_visit=inputs.get("unitsPerVisit"),
                max_units=inputs.get("maxUnits"),
                sample=None if sample is None else json.loads(sample),
                completion=inputs["completion"],
                claims=None if claims is None else Claims(**claims),
                finish=None if finish is None else Finish.of(finish),
                frame_ancestors=tuple(inputs.get("frameAncestors") or ()),
                limits=Limits(**(inputs.get("limits") or {})),
            )
        except (ValueError, KeyError, TypeError) as fault:
            raise Refused("these are no settings of a task server", why=f"{type(fault).__name__}: {fault}") from fault


def _files(table: Mapping[str, Any]) -> dict[str, BundleFile]:
    """The bundle's table; Refused unless every entry is a digest and a media type (a blob's name is no path)."""
    files = {}
    for url, entry in table.items():
        match entry:
            case {"blob": str(blob), "type": str(kind)} if len(entry) == 2 and len(blob) == 64 and blob.isalnum():
                files[url] = BundleFile(blob=blob, type=kind)
            case _:
                raise Refused(f"files: {url} is not a blob's digest and a media type")
    return files


def _known(there: Found) -> Found:
    """Refused for an import: what these resources are is written in a stack's state and nowhere else."""
    if not there.outputs:
        raise Refused(
            f"{there.id} cannot be imported by its id alone",
            hint="make it: a server or bundle that is there already is adopted; or import the whole state",
        )
    return there


def _origin(host: str, port: int) -> str:
    address = reachable(host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _found(inputs: Properties, running: Running, *, origin: str, port: int) -> Found:
    outputs = {"origin": origin, "port": port, "process": running.process.to_json(), "config": running.config or ""}
    return Found(id=inputs["run"], inputs=inputs, outputs=outputs)
