"""`python -m crowdstack.crowd --folder F`: play the crowd of F/crowd.json. Started and stopped by the mock provider.

Exit 0 when nothing is left for anybody or on SIGTERM, 6 when there is no crowd.json, 9 when another process plays this
crowd. While it plays, F/crowd.process.json says which process it is. Killed, start it again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from crowdstack import process
from crowdstack.crowd.crowd import play
from crowdstack.errors import CrowdstackError

log = logging.getLogger("crowdstack.crowd")


async def _until_stopped(folder: Path) -> None:
    playing = asyncio.ensure_future(play(folder))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, playing.cancel)
    try:
        endings = await playing
    except asyncio.CancelledError:
        log.info("stopped")
    else:
        log.info("nothing is left for anybody: %s", ", ".join(f"{why} {count}" for why, count in endings.items()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m crowdstack.crowd", description="Play a simulated crowd.")
    parser.add_argument("--folder", type=Path, required=True, help="holds crowd.json; the journal is written there")
    folder: Path = parser.parse_args(arguments).folder
    process.start_log()
    logging.getLogger("tornado").setLevel(logging.ERROR)
    try:
        asyncio.run(_until_stopped(folder))
    except CrowdstackError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
