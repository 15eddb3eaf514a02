"""A small world for engine tests: things that lie as files in a folder, so that they outlive the process that made them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pulumi

from crowdstack.engine.embedded import EmbeddedEngine
from crowdstack.engine.plugin import Found, Input, Output, Plugin
from crowdstack.engine.values import UNKNOWN, Properties
from crowdstack.errors import Refused
from crowdstack.folder import private_folder, write_private
from crowdstack.ports import Program, StackResult

TOKEN = "crowdstack:index:Thing"


@dataclass
class ThingType:
    """Things have a colour (may change), a shape (makes a new one) and a password of their own (secret).

    `asked` tells what the engine asked for; a thing whose colour is in `broken` cannot be made; one whose colour is in
    `cut_off` is made, and then the program is interrupted.
    """

    folder: Path
    delete_first: bool = False
    broken: set[str] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    token: ClassVar[str] = TOKEN
    inputs: ClassVar[Mapping[str, Input]] = {
        "colour": Input(type=str, about="its colour"),
        "shape": Input(type=str, about="its shape", required=False, replaces=True),
        "parts": Input(type=dict, about="what it is made of", required=False),
    }
    outputs: ClassVar[Mapping[str, Output]] = {
        **{name: Output(type=wanted.type, about=wanted.about) for name, wanted in inputs.items()},
        "password": Output(type=str, about="its password"),
        "size": Output(type=int, about="letters of its colour"),
    }
    secret_outputs: ClassVar[frozenset[str]] = frozenset({"password"})

    def create(self, urn: str, inputs: Properties, *, preview: bool) -> Found:
        if preview:
            return Found(id="", inputs=inputs, outputs={**inputs, "password": UNKNOWN, "size": UNKNOWN})
        self.asked.append(f"create {urn.split('::')[-1]}")
        if inputs["colour"] in self.broken:
            raise Refused(f"no {inputs['colour']} paint left", hint="buy some")
        # Found again by URN and what it cannot change: an old thing that is being replaced is another one.
        for path, thing in self.things().items():
            if (thing["urn"], thing["inputs"].get("shape")) == (urn, inputs.get("shape")):
                return self._keep(path, urn, inputs, thing["password"])
        made = self._keep(self.folder / secrets.token_hex(8), urn, inputs, secrets.token_hex(8))
        if inputs["colour"] in self.cut_off:
            raise KeyboardInterrupt
        return made

    def read(self, there: Found) -> Found | None:
        thing = self.things().get(self.folder / there.id)
        return None if thing is None else self._found(self.folder / there.id, thing)

    def update(self, there: Found, inputs: Properties, *, preview: bool) -> Found:
        if preview:
            return Found(id=there.id, inputs=inputs, outputs={**there.outputs, **inputs})
        thing = self.things()[self.folder / there.id]
        self.asked.append(f"update {thing['urn'].split('::')[-1]}")
        if inputs["colour"] in self.broken:
            raise Refused(f"no {inputs['colour']} paint left", hint="buy some")
        return self._keep(self.folder / there.id, thing["urn"], inputs, thing["password"])

    def delete(self, there: Found) -> None:
        for path, thing in self.things().items():
            if path.name == there.id or (not there.id and thing["inputs"] == there.inputs):
                self.asked.append(f"delete {thing['urn'].split('::')[-1]}")
                path.unlink()

    def things(self) -> dict[Path, dict[str, Any]]:
        return {path: json.loads(path.read_bytes()) for path in sorted(self.folder.glob("[0-9a-f]*"))}

    def _keep(self, path: Path, urn: str, inputs: Properties, password: str) -> Found:
        thing = {"urn": urn, "inputs": inputs, "password": password}
        write_private(path, json.dumps(thing).encode())
        return self._found(path, thing)

    def _found(self, path: Path, thing: Mapping[str, Any]) -> Found:
        outputs = {**thing["inputs"], "password": thing["password"], "size": len(thing["inputs"]["colour"])}
        return Found(id=path.name, inputs=thing["inputs"], outputs=outputs)


class Thing(pulumi.CustomResource):
    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, **properties: Any) -> None:
        super().__init__(TOKEN, name, {**properties, "password": None, "size": None}, opts)


class Box(pulumi.ComponentResource):
    """A component: holds a thing."""

    def __init__(self, name: str, **properties: Any) -> None:
        super().__init__("crowdstack:test:Box", name)
        self.thing = Thing(f"{name}-thing", opts=pulumi.ResourceOptions(parent=self), **properties)
        self.register_outputs({"size": self.thing.size})


class World:
    """An engine over things in a folder. `up(body)` runs `body` as a stack program."""

    def __init__(self, root: Path, *, delete_first: bool = False) -> None:
        self.root = root
        self.stack = root / "stack"
        self.state_file = self.stack / "state.json"
        self.kind = ThingType(private_folder(root / "things"), delete_first)
        self.engine = EmbeddedEngine(self.stack, root / "state.key", Plugin("crowdstack", [self.kind]))

    def up(self, body: Callable[[], None], **config: str) -> StackResult:
        return self.engine.up(program(body, **config))

    def preview(self, body: Callable[[], None], **config: str) -> StackResult:
        return self.engine.preview(program(body, **config))

    def things(self) -> dict[str, dict[str, Any]]:
        """What there is, by name."""
        return {thing["urn"].split("::")[-1]: thing["inputs"] for thing in self.kind.things().values()}

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state_file.read_bytes())
        return found

    def resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.state()["deployment"]["resources"]
        return found


def program(body: Callable[[], None], **config: str) -> Program:
    return Program(
        project="paint", stack="shop", config={f"paint:{key}": value for key, value in config.items()}, run=body
    )


def told(result: StackResult) -> list[str]:
    """The steps as short lines, without those that change nothing."""
    return [
        " ".join([step.operation.value, step.name, *step.changed])
        for step in result.steps
        if step.operation.value != "same"
    ]
