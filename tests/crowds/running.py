"""Many seeds: each in a folder of its own in memory, told with its seed when it fails."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.crowds.parts import seeded
from tests.crowds.promises import PROMISES, Check
from tests.crowds.world import World

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # what is proven here is no matter of disks


def play(seed: int, world_class: type[World] = World, promises: tuple[Check, ...] = PROMISES) -> World:
    """One run; its first broken promise is raised. The store of the world that comes back is closed."""
    base = Path(tempfile.mkdtemp(prefix="crowdstack-crowds-", dir=MEMORY))
    folder = base / "run"
    folder.mkdir()
    try:
        with seeded(seed):
            world = world_class(seed=seed, folder=folder, promises=promises)
            try:
                world.play()
            finally:
                world.store.close()
        return world
    finally:
        shutil.rmtree(base)
