"""A small world for engine tests: things that lie as files in a folder, so that they outlive the process that made them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pulumi

from crowdstack.engine.embedded.engine import EmbeddedEngine
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
    `cut_off` is made, and then the program is interrupted. What must hold across processes lies beside the folder: `calls`
    (what was done, in order), `broken` (colours that cannot be made), `stuck` (colours that cannot be deleted).
    Ids and passwords follow from the URN and how many things it had, so that two worlds can be compared.
    """

    folder: Path
    delete_first: bool = False
    broken: set[str] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    token: str = TOKEN
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
        self.asked.append(f"create {_name(urn)}")
        self._refuse(inputs, "broken")
        # What an earlier call for this URN had begun. Where two may stand side by side, only the same inputs tell it apart.
        same = ("shape",) if self.delete_first else ("colour", "shape", "parts")
        for path, thing in self.things().items():
            if thing["urn"] == urn and all(thing["inputs"].get(name) == inputs.get(name) for name in same):
                return self._keep("create", path, urn, inputs)
        made = self._keep("create", self._new(urn), urn, inputs)
        if inputs["colour"] in self.cut_off:
            raise KeyboardInterrupt
        return made

    def read(self, there: Found) -> Found | None:
        thing = self.things().get(self.folder / there.id)
        return None if thing is None else self._found(self.folder / there.id, thing)

    def update(self, there: Found, inputs: Properties, *, preview: bool) -> Found:
        if preview:
            colour = inputs["colour"]
            size = UNKNOWN if colour is UNKNOWN else len(colour)
            return Found(
                id=there.id, inputs=inputs, outputs={**inputs, "password": there.outputs["password"], "size": size}
            )
        thing = self.things()[self.folder / there.id]
        self.asked.append(f"update {_name(thing['urn'])}")
        self._refuse(inputs, "broken")
        return self._keep("update", self.folder / there.id, thing["urn"], inputs)

    def delete(self, there: Found) -> None:
        for path, thing in self.things().items():
            if path.name == there.id or (not there.id and thing["inputs"] == there.inputs):
                self.asked.append(f"delete {_name(thing['urn'])}")
                self._refuse(thing["inputs"], "stuck")
                path.unlink()
                self._note("delete", path.name, thing["urn"])

    def beside(self, what: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{what}")

    def calls(self) -> list[dict[str, str]]:
        try:
            return [json.loads(line) for line in (self.beside("calls")).read_text().splitlines()]
        except FileNotFoundError:
            return []

    def things(self) -> dict[Path, dict[str, Any]]:
        return {path: json.loads(path.read_bytes()) for path in sorted(self.folder.glob("[0-9a-f]*"))}

    def _refuse(self, inputs: Properties, list_: str) -> None:
        listed = self.beside(list_)
        if inputs["colour"] in self.broken or (listed.exists() and inputs["colour"] in listed.read_text().split()):
            raise Refused(f"no {inputs['colour']} paint left", hint="buy some")

    def _new(self, urn: str) -> Path:
        made = sum(call["verb"] == "create" and call["urn"] == urn for call in self.calls())
        return self.folder / f"{hashlib.sha256(urn.encode()).hexdigest()[:12]}{made:04x}"

    def _keep(self, verb: str, path: Path, urn: str, inputs: Properties) -> Found:
        thing = {"urn": urn, "inputs": inputs}
        write_private(path, json.dumps(thing).encode())
        self._note(verb, path.name, urn)
        return self._found(path, thing)

    def _note(self, verb: str, id_: str, urn: str) -> None:
        line = json.dumps({"verb": verb, "id": id_, "urn": urn}) + "\n"
        fd = os.open(self.beside("calls"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode())
        os.close(fd)

    def _found(self, path: Path, thing: Mapping[str, Any]) -> Found:
        password = hashlib.sha256(path.name.encode()).hexdigest()[:16]
        outputs = {**thing["inputs"], "password": password, "size": len(thing["inputs"]["colour"])}
        return Found(id=path.name, inputs=thing["inputs"], outputs=outputs)


def _name(urn: str) -> str:
    return urn.split("::")[-1]


class Thing(pulumi.CustomResource):
    def __init__(
        self, name: str, opts: pulumi.ResourceOptions | None = None, token: str = TOKEN, **properties: Any
    ) -> None:
        super().__init__(token, name, {**properties, "password": None, "size": None}, opts)


class Box(pulumi.ComponentResource):
    """A component: holds a thing."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, **properties: Any) -> None:
        super().__init__("crowdstack:test:Box", name, None, opts)
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
