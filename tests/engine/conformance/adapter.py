"""A case on Pulumi's own engine as a command has it: through our adapter, with the plugin as a process. For kills.

`python -m tests.engine.conformance.adapter ROOT CASE NUMBER` makes one move and ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from crowdstack.engine.automation.engine import AutomationEngine, Place
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.folder import private_folder
from crowdstack.ports import Program
from tests.engine.conformance.moves import PROJECT, STACK, Destroy, Move, Outside, Refresh, Up, plugin_types
from tests.engine.conformance.programs import CASES
from tests.engine.world import ThingType
from tests.pulumi.tools import script

PLUGIN = """
from pathlib import Path
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.plugin_process import serve
from tests.engine.conformance.moves import plugin_types
from tests.engine.world import ThingType
plugin = Plugin("crowdstack", plugin_types(ThingType(Path({things!r}))))
serve(lambda settings: plugin, package=plugin)
"""


class Adapted:
    """A stack of the adapter and its world. PATH must hold the CLI."""

    def __init__(self, root: Path) -> None:
        self.root = private_folder(root)
        self.kind = ThingType(private_folder(root / "things"))
        self._plugins = root / "bin"
        if not self._plugins.exists():
            script(self._plugins / "pulumi-resource-crowdstack", PLUGIN.format(things=str(self.kind.folder)))
        self.engine = AutomationEngine(
            folder=root / "stack",
            project=PROJECT,
            stack=STACK,
            place=Place(backend=(root / "backend").as_uri(), passphrase=root / "state.passphrase"),
            vault=Vault(root / "state.key"),
            plugin=Plugin("crowdstack", plugin_types(self.kind)),
            plugins=lambda package: self._plugins,
        )

    def move(self, move: Move) -> None:
        match move:
            case Up(targets=targets):
                self.engine.up(Program(project=PROJECT, stack=STACK, config={}, run=move.body), targets=targets)
            case Refresh(targets=targets):
                self.engine.refresh(targets=targets)
            case Destroy(targets=targets):
                self.engine.destroy(targets=targets)
            case Outside():
                move.change(self.kind)

    def processes(self) -> list[int]:
        """The CLI's and the plugin's, by the folder that their arguments or environment name."""
        pids = map(int, filter(str.isdigit, os.listdir("/proc")))
        return [pid for pid in pids if pid != os.getpid() and self._ours(pid)]

    def _ours(self, pid: int) -> bool:
        try:
            told = b"".join((Path("/proc") / str(pid) / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            return False
        return str(self.root).encode() in told


if __name__ == "__main__":
    root, name, number = sys.argv[1:]
    [case] = [case for case in CASES if case.name == name]
    Adapted(Path(root)).move(case.moves[int(number)])
