"""A provider's hooks: whether one is real, and whether it is news. All that a real one is good for is to look soon.

Nothing in a body is read, so whoever could forge one could have the provider asked a little earlier, and no more (threats H1).
The key comes from the reconciler and is kept in memory alone; before it came the provider is told to try again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from enum import Enum

from crowdstack.ports import HookKey
from crowdstack.tokens import Secret

PATH = "/v1/hooks"
BODY = 64 * 1024
_KNOWN_S = 48 * 3600.0  # deliveries are repeated for a day or two
_KNOWN = 20_000  # remembered at most; a hook that was forgotten and comes again is one more look, no harm
_LOOK_S = 1.0  # between two words to the reconciler, however many hooks come


class Took(Enum):
    """What became of a hook, and the status that its sender is answered with."""

    NEWS = "news", 204
    KNOWN = "known", 204
    FORGED = "forged", 403
    TOO_LARGE = "too_large", 413
    NO_KEY = "no_key", 503  # the sender tries again

    def __init__(self, word: str, status: int) -> None:
        self.word, self.status = word, status


def verify_hook(secret: Secret, timestamp: str, raw_body: bytes, signature: str) -> bool:
    """Whether `signature` is of this time and of this body as it came.

    Old times are not refused: deliveries are repeated for a day. Takes as long for a good one as for a bad one.
    """
    made = base64.b64encode(hmac.digest(secret, timestamp.encode("utf-8", "surrogateescape") + raw_body, "sha256"))
    return hmac.compare_digest(made, signature.encode("utf-8", "surrogateescape"))


class Hooks:
    """`tell` is called in the event loop once there was news: at once, and once a second at most."""

    def __init__(self, tell: Callable[[], None], now: Callable[[], float] = time.monotonic) -> None:
        self.key: HookKey | None = None
        self._tell, self._now = tell, now
        self._known: dict[bytes, float] = {}  # by age: the oldest first
        self._told_at = float("-inf")
        self._due: asyncio.TimerHandle | None = None

    def take(self, headers: Mapping[str, str], body: bytes) -> Took:
        if len(body) > BODY:
            return Took.TOO_LARGE
        if self.key is None:
            return Took.NO_KEY
        signature = headers.get(self.key.signature, "")
        if not verify_hook(self.key.secret, headers.get(self.key.timestamp, ""), body, signature):
            return Took.FORGED
        # The event's id is not signed: what was heard once may come again under another one.
        if not self._first(headers.get(self.key.event, ""), signature):
            return Took.KNOWN
        if self._due is None:
            wait_s = max(0.0, self._told_at + _LOOK_S - self._now())
            self._due = asyncio.get_running_loop().call_later(wait_s, self._say)
        return Took.NEWS

    def _first(self, *names: str) -> bool:
        now = self._now()
        keys = [
            hashlib.sha256(f"{n}/{name}".encode("utf-8", "surrogateescape")).digest() for n, name in enumerate(names)
        ]
        first = not any(self._known.get(key, float("-inf")) > now - _KNOWN_S for key in keys)
        for key in keys if first else ():
            self._known.pop(key, None)
            self._known[key] = now
        while len(self._known) > 2 * _KNOWN:
            del self._known[next(iter(self._known))]
        return first

    def _say(self) -> None:
        self._due, self._told_at = None, self._now()
        self._tell()
