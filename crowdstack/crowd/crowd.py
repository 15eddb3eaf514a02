"""A whole crowd: so many workers at a time, each until nothing is left for it; over when nothing is left for anybody."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from crowdstack import process
from crowdstack.crowd.bots import bots
from crowdstack.crowd.conduct import Conduct
from crowdstack.crowd.journal import Journal
from crowdstack.crowd.panel import open_panel
from crowdstack.crowd.participant import Participant
from crowdstack.crowd.replay import recorded_workers, stands
from crowdstack.crowd.site import Site
from crowdstack.crowd.worker import Worker
from crowdstack.errors import LockHeld, NotFound
from crowdstack.folder import open_private, write_private
from crowdstack.wire.configs import CrowdConfig, PanelConfig

log = logging.getLogger(__name__)


async def play(folder: Path) -> Counter[str]:
    """Run the crowd of `folder` to its end; how many workers ended for which reason.

    Cancelled, it leaves as it would if it were killed, only sooner: what workers saw accepted is in the journal.
    LockHeld if another process plays it, NotFound if it was called off.
    """
    with _alone(folder):
        config = _config(folder)
        journal = Journal(folder / "journal.jsonl")
        people = _people(config, journal)
        site = Site(config, connections=config.workers)
        log.info("%d workers (%s), %d answers accepted before", len(people), config.kind, journal.accepted)
        try:
            if config.panel is not None:
                return await _sent_by(config.panel, config, people, site, journal)
            workers = [Worker(one, seed=config.seed, site=site, journal=journal) for one in people]
            return await _all_of(workers, at_a_time=config.workers)
        finally:
            site.close()
            await journal.close()
            log.info("%d answers accepted in all", journal.accepted)


def _people(config: CrowdConfig, journal: Journal) -> Sequence[Conduct]:
    if config.kind == "bots":
        return bots(config)
    # A panel's people get any unit: nobody comes for the very items that one worker of the recording answered.
    return recorded_workers(config) if config.panel is None else stands(config, journal.given)


async def _sent_by(
    source: PanelConfig, config: CrowdConfig, people: Sequence[Conduct], site: Site, journal: Journal
) -> Counter[str]:
    """Everybody looks at the panel at the same time; `workers` have a page open at a time."""
    panel, room = open_panel(source, journal, connections=config.workers), asyncio.Semaphore(config.workers)
    try:
        comers = [
            Participant(one, source, seed=config.seed, site=site, journal=journal, panel=panel, room=room)
            for one in people
        ]
        return await _all_of(comers, at_a_time=len(comers))
    finally:
        panel.close()


async def _all_of(workers: Sequence[Worker | Participant], *, at_a_time: int) -> Counter[str]:
    """Every worker's ending. The first that fails stops all."""
    waiting = deque(workers)
    endings: Counter[str] = Counter()

    async def one_after_another() -> None:
        while waiting:
            endings[await waiting.popleft().work()] += 1

    jobs = [asyncio.create_task(one_after_another()) for _ in range(min(at_a_time, len(workers)))]
    try:
        await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    return endings


def _config(folder: Path) -> CrowdConfig:
    try:
        return CrowdConfig.from_bytes((folder / "crowd.json").read_bytes())
    except FileNotFoundError as fault:
        raise NotFound("there is no crowd to play (any more)", where=str(folder)) from fault


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process dies, however it dies."""
    fd = open_private(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise LockHeld("this crowd is already at work", where=str(folder)) from fault
        us = process.identify(os.getpid())
        assert us is not None, "we run"
        write_private(folder / "crowd.process.json", json.dumps(us.to_json()).encode())  # who to stop (providers.mock)
        yield
    finally:
        os.close(fd)
