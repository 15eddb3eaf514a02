"""What a simulated run is put together from: the client's wire, clock and log, and the reconciler's process.

Whatever is made up at random comes from the seed, so that a run replays exactly.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crowdstack.server.pool
import crowdstack.store.layout
import crowdstack.store.runs
from crowdstack.fakes.prolific.transport import InProcessTransport
from crowdstack.model import WorkerId
from crowdstack.providers.prolific.transport import Transport
from crowdstack.reconcile.loop import _Loop
from crowdstack.store.store import PeeweeStore
from crowdstack.tokens import Secret
from tests.crowds.server import Pause
from tests.money.world import Life

if TYPE_CHECKING:
    from tests.crowds.world import World

TOKEN = "t0ken-of-the-fake-account"


class Broken(AssertionError):
    """A promise about money or people does not hold."""


def hold(condition: object, promise: str, found: object = "") -> None:
    if not condition:
        raise Broken(f"{promise}: {found}")


@cache
def new_store() -> bytes:
    """A store with nothing in it: what every run begins with, laid out once in a process."""
    with tempfile.TemporaryDirectory() as folder, seeded(0):
        path = Path(folder) / "store.db"
        PeeweeStore(path).close()
        return path.read_bytes()


class Seeded:
    """Stands for `secrets`, so that a run replays exactly."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"ids:{seed}")

    def token_urlsafe(self, size: int) -> str:
        return "".join(self._random.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=size))

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every id that is made up inside comes from the seed, and so does the jitter of waits."""
    modules: list[Any] = [crowdstack.server.pool, crowdstack.store.layout, crowdstack.store.runs]
    before = [module.secrets for module in modules]
    made, state = Seeded(seed), random.getstate()
    for module in modules:
        module.secrets = made
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        for module, was in zip(modules, before, strict=True):
            module.secrets = was


class Wire(Transport):
    """The client's transport with the service at the other end of a call instead of a socket."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(
            Secret(TOKEN.encode()),
            adapter=InProcessTransport(world.service),  # type: ignore[arg-type]
            sleep=world.fake.advance,
            wall=lambda: world.now,
        )
        self._world, self._life = world, life

    def _exchange(self, method: str, target: str, body: Any, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        return self._life.around(self._world.exchange)(method, self.origin + target, body)  # type: ignore[no-any-return]


@dataclass
class Clock:
    world: World

    def now(self) -> datetime:
        return self.world.utc()

    def monotonic(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        await Pause(seconds)


class Log:
    """Words of the reconciler's. A fault that is no error of ours is a fault of the program, and ends the run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: object) -> None:
        self.lines.append(text % values)

    warning = info

    def exception(self, text: str) -> None:
        fault = sys.exc_info()[1]
        if isinstance(fault, Broken):
            raise fault
        raise Broken(f"a round failed: {fault!r}") from fault


class Reconciler(_Loop):
    """The loop, stepped: its verbs run at once, and where it waits it yields to the world."""

    async def _aside(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        return verb(*arguments)


@dataclass
class Process:
    """A reconciler's: what is left of its life, and the lock that the kernel frees at the end of it."""

    rounds: Coroutine[Any, Any, None]
    held: ExitStack


class NoCrowd:
    """People come by themselves."""

    def ensure(self) -> None: ...

    def running(self) -> bool:
        return True

    def stop(self) -> None: ...

    def links(self) -> Mapping[WorkerId, str]:
        return {}


class Copyless:
    """A store without backups: what they are for is not part of this."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def backup(self, to: str) -> None:
        pass
