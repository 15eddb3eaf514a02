"""Whole stacks of runs on this machine, with the real task server."""

from __future__ import annotations

import hashlib
import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

from crowdstack.assets import folder as assets
from crowdstack.engine.detached import DetachedLauncher
from crowdstack.engine.embedded.engine import EmbeddedEngine
from crowdstack.engine.launcher import Launcher
from crowdstack.engine.types import crowdstack_plugin
from crowdstack.folder import Folder, private_folder, write_private
from crowdstack.ports import Program
from crowdstack.wire.configs import BundleFile
from crowdstack.wire.stack import CONFIG_KEY, StackInputs

PAGE = b"<!doctype html><title>birds</title><script src=/client.js></script>"


def run_program() -> None:
    runpy.run_path(str(assets("stacks") / "__main__.py"))


class Site:
    """A project's folder with a staged bundle, and its engine."""

    def __init__(self, root: Path, launcher: Launcher | None = None) -> None:
        self.folder = Folder(private_folder(root / "state"))
        self.launcher = launcher or DetachedLauncher(self.folder)
        self.stack = self.folder.stack("birds")
        self.engine = EmbeddedEngine(self.stack, self.folder.key_file, crowdstack_plugin(self.folder, self.launcher))
        self.run = self.folder.run("birds-1")

    def inputs(self, *, page: bytes = PAGE, **changes: Any) -> StackInputs:
        """The stack of run birds-1, its page staged."""
        blob = hashlib.sha256(page).hexdigest()
        private_folder(self.folder.blobs)
        write_private(self.folder.blobs / blob, page)
        files = {"/": BundleFile(blob=blob, type="text/html; charset=utf-8")}
        inputs = StackInputs(
            run="birds-1",
            task="birds",
            title="Which bird is it?",
            description="Look and tell.",
            architect="local",
            bundle=hashlib.sha256(blob.encode()).hexdigest(),
            files=files,
            answers={"type": "object", "properties": {"bird": {"enum": ["wren", None, 1.0]}}},
            timeout_s=600,
            units_per_visit=1,
            max_units=None,
            sample={"image": "wren.png"},
            completion="Thank you.",
        )
        return replace(inputs, **changes)

    def program(self, inputs: StackInputs) -> Program:
        return Program(project="crowdstack", stack="birds", config={CONFIG_KEY: inputs.to_json()}, run=run_program)

    def up(self, **changes: Any) -> Any:
        return self.engine.up(self.program(self.inputs(**changes)))

    def server_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run.server_config.read_bytes())
        return found

    def process_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run.server_process.read_bytes())
        return found


def servers(site: Site) -> list[int]:
    """Processes of this site's run, by what they were started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(site.run.root).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended meanwhile
    return found
