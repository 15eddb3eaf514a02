"""All benchmarks: `python benchmarks/run.py` (`--quick`: small sizes, to see that they run). Ratios come from the same run."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUICK = {
    "server.py": ["--seconds", "1"],
    "store.py": ["--units", "3000"],
    "cli.py": ["--runs", "2"],
    "whole.py": ["--items", "40"],
    "engines.py": ["--runs", "2"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    failed = 0
    for name, small in QUICK.items():
        print(f"\n== benchmarks/{name}", flush=True)
        failed += subprocess.run([sys.executable, str(HERE / name), *(small if quick else [])]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
