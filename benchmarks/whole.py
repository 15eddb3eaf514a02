"""A whole run: `python benchmarks/whole.py`. RTE replayed by 50 workers at a time, through every part, as a user runs it.

Prints how long it took and the most memory that each process used (resident set, from /proc).
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"server": "crowdstack.server", "reconciler": "reconcile", "crowd": "crowdstack.crowd"}


def resident(folder: Path) -> dict[str, float]:
    """MiB by part of the run that lives in `folder`."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text().split("\0")
            pages = int((entry / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            continue
        for part, mark in PARTS.items():
            if mark in words and any(str(folder) in word for word in words):
                found[part] = pages * os.sysconf("SC_PAGESIZE") / 2**20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=800, help="of the 800 of examples/rte")
    wanted = parser.parse_args().items
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as room:
        folder = Path(room)
        shutil.copytree(ROOT / "examples" / "rte", folder, dirs_exist_ok=True)
        kept = cut(folder / "items.csv", "id", lambda number, _: number < wanted)
        answers = cut(folder / "answers.csv", "item", lambda _, item: item in set(kept))
        command = [sys.executable, "-m", "crowdstack", "up", "task.yaml", "--yes", "--set", "provider.crowd.workers=50"]
        begun = time.perf_counter()
        up = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        most: dict[str, float] = {}
        while up.poll() is None:
            for part, mib in resident(folder).items():
                most[part] = max(mib, most.get(part, 0.0))
            threading.Event().wait(0.2)
        took = time.perf_counter() - begun
        if up.returncode:
            raise SystemExit(f"up ended with {up.returncode}")
    print(f"{len(answers):,} answers, command to command: {took:.1f} s ({len(answers) / took:.0f}/s)")
    for part, mib in sorted(most.items()):
        print(f"{part:12} {mib:6.1f} MiB at most")
    print(f"{'server + reconciler':12} {most['server'] + most['reconciler']:6.1f} MiB")


def cut(path: Path, column: str, keep: Callable[[int, str], bool]) -> list[str]:
    """Leave only the rows of a CSV that `keep(number, value of column)` wants; their values."""
    with path.open(newline="") as file:
        rows = [row for number, row in enumerate(csv.DictReader(file)) if keep(number, row[column])]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [row[column] for row in rows]


if __name__ == "__main__":
    main()
