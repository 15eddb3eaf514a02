"""What does an engine cost when nothing changes? `python benchmarks/engines.py`: the stack of a run on this machine, previewed
and brought up again by both engines, in turn. Without the Pulumi CLI (`.ci/pulumi`) it says so and measures nothing."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from crowdstack.engine.chosen import Choice  # noqa: E402
from crowdstack.errors import Refused  # noqa: E402
from crowdstack.model import TaskName  # noqa: E402
from crowdstack.ports import Engine  # noqa: E402
from crowdstack.wiring import open_engine, stack_program  # noqa: E402
from tests.engine.runs import Site  # noqa: E402

WANTED = 20  # times faster: the embedded engine's promise


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measure(site: Site, engine: Engine, runs: int) -> dict[str, list[float]]:
    program = stack_program(site.inputs())
    engine.up(program)
    try:
        took: dict[str, list[float]] = {"preview": [], "up": []}
        for _ in range(runs):
            took["preview"].append(timed(lambda: engine.preview(program)))
            took["up"].append(timed(lambda: engine.up(program)))
        return took
    finally:
        engine.destroy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    cli = subprocess.run([ROOT / ".ci" / "pulumi"], capture_output=True, text=True)
    if cli.returncode:
        print(cli.stderr.strip())
        return 0
    os.environ["PATH"] = f"{Path(cli.stdout.strip()).parent}{os.pathsep}{os.environ['PATH']}"
    took = {}
    with tempfile.TemporaryDirectory(prefix="crowdstack-") as room:
        os.environ["PULUMI_HOME"] = room
        for name in ("embedded", "pulumi"):
            site = Site(Path(room) / name)
            try:
                took[name] = measure(site, open_engine(site.folder, TaskName("birds"), Choice(engine=name)), runs)
            except Refused as fault:
                raise SystemExit(str(fault)) from fault
    print(f"{'nothing to change':20} {'embedded s':>11} {'pulumi s':>9} {'times':>7}")
    ratios = []
    for verb in ("preview", "up"):
        ours, real = (statistics.median(took[name][verb]) for name in ("embedded", "pulumi"))
        ratios.append(real / ours)
        print(f"{verb:20} {ours:11.4f} {real:9.3f} {real / ours:7.0f}")
    return 0 if min(ratios) >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
