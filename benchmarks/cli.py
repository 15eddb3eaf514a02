"""How long does a person wait? `python benchmarks/cli.py`: commands beside `python -c pass`, several runs each, in turn.

`up` is measured until its first link answers, `preview` on a run that is up and unchanged.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
CROWDSTACK = [sys.executable, "-m", "crowdstack"]


def run(*words: str, folder: Path) -> None:
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} -> {done.returncode}\n{done.stdout}{done.stderr}")


def timed(act: Callable[[], None]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as room:
        folder = Path(room)
        for name in ("demo", "rte"):
            shutil.copytree(ROOT / "examples" / name, folder / name, ignore=shutil.ignore_patterns(".crowdstack"))
        people, rte = str(folder / "demo" / "people.yaml"), str(folder / "rte" / "task.yaml")
        keep = ["--set", "lifecycle.keep=true", "--set", "provider.crowd={type: human, people: 10}"]
        up, down = ["up", people, "--yes", "--detach"], ["-C", str(folder / "demo"), "destroy", "--yes", "--now"]
        run(*CROWDSTACK, "up", rte, "--yes", "--detach", *keep, folder=folder)
        acts: dict[str, Callable[[], None]] = {
            "python -c pass": lambda: run(sys.executable, "-c", "pass", folder=folder),
            "crowdstack --help": lambda: run(*CROWDSTACK, "--help", folder=folder),
            "validate rte (800 items)": lambda: run(*CROWDSTACK, "validate", rte, folder=folder),
            "no-op preview, rte (8,000 units)": lambda: run(*CROWDSTACK, "preview", rte, *keep, folder=folder),
        }
        took: dict[str, list[float]] = {name: [] for name in acts}
        links: list[float] = []
        for _ in range(runs):
            for name, act in acts.items():
                took[name].append(timed(act))
            links.append(timed(lambda: run(*CROWDSTACK, *up, folder=folder)))
            run(*CROWDSTACK, *down, folder=folder)
        took["up until the first link answers"] = links
        run(*CROWDSTACK, "-C", str(folder / "rte"), "destroy", "--yes", "--now", folder=folder)
    base = statistics.median(took["python -c pass"])
    print(f"{'command':36} {'median s':>9} {'min':>7} {'max':>7} {'x python':>9}")
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{name:36} {median:9.3f} {min(seconds):7.3f} {max(seconds):7.3f} {median / base:9.1f}")


if __name__ == "__main__":
    main()
