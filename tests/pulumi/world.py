"""The small world of the engine tests under the real engine: things in a folder, made by the plugin's own process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from crowdstack.engine.automation.cli import plugin_folder
from crowdstack.engine.automation.engine import AutomationEngine, Place
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.folder import private_folder
from crowdstack.ports import OnStep, StackResult
from tests.engine.world import ThingType, program
from tests.pulumi.tools import pulumi_cli, script

# A thing whose colour is "held" is made, and then its create waits for ever: long enough to be killed.
PLUGIN = """
import json, os, threading
from pathlib import Path
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.automation.cli import plugin_folder
from crowdstack.engine.plugin_process import serve
from tests.engine.world import ThingType

class Held(ThingType):
    def create(self, urn, inputs, *, preview):
        made = super().create(urn, inputs, preview=preview)
        if inputs["colour"] == "held" and not preview:
            threading.Event().wait()
        return made

root = Path({root!r})
(root / "environment").write_text(json.dumps(dict(os.environ)))
plugin = Plugin("crowdstack", [Held(root / "things", delete_first={delete_first}, broken={{"bad"}})])
serve(lambda _: plugin, package=plugin)
"""


class RealWorld:
    """As tests.engine.world.World, with the real CLI."""

    def __init__(self, root: Path, *, delete_first: bool = False) -> None:
        self.root = private_folder(root)
        self.kind = ThingType(private_folder(root / "things"), delete_first, broken={"bad"})
        script(root / "bin" / "pulumi-resource-crowdstack", PLUGIN.format(root=str(root), delete_first=delete_first))
        self.place = Place(backend=(root / "backend").as_uri(), passphrase=root / "state.passphrase")
        self.state_file = root / "backend" / ".pulumi" / "stacks" / "paint" / "shop.json"
        self.note = root / "stack" / "cli.process.json"

    @property
    def engine(self) -> AutomationEngine:
        """A new one each time, as each command has."""
        return AutomationEngine(
            folder=self.root / "stack",
            project="paint",
            stack="shop",
            place=self.place,
            vault=Vault(self.root / "state.key"),
            plugin=Plugin("crowdstack", [self.kind]),
            plugins=lambda package: plugin_folder(package, self.root / "bin"),
        )

    def up(self, body: Callable[[], None], on_step: OnStep = lambda _: None) -> StackResult:
        return self.engine.up(program(body), on_step)

    def preview(self, body: Callable[[], None]) -> StackResult:
        return self.engine.preview(program(body))

    def things(self) -> list[str]:
        """The names of all things there are."""
        return sorted(thing["urn"].split("::")[-1] for thing in self.kind.things().values())

    def lock(self, **owner: object) -> Path:
        """A lock of the stack as the CLI writes it."""
        path = self.root / "backend" / ".pulumi" / "locks" / "organization" / "paint" / "shop" / "1234.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"username": "ada", **owner}))
        return path

    def processes(self) -> list[int]:
        """The CLI's and the plugin's, by the folder that their arguments or environment name."""
        return [
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid != os.getpid() and self._ours(pid)
        ]

    def _ours(self, pid: int) -> bool:
        try:
            told = b"".join((Path("/proc") / str(pid) / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            return False
        return str(self.root).encode() in told

    def clear(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealWorld:
    """With the CLI on PATH and a Pulumi home of its own."""
    cli = pulumi_cli()
    monkeypatch.setenv("PATH", f"{cli.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_HOME", str(private_folder(tmp_path / "pulumi-home")))
    return RealWorld(tmp_path / "world")
