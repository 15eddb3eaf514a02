"""The fake's time beside the real one: as it goes, or faster, so that nobody waits half an hour for a time-out."""

from __future__ import annotations

import time
from collections.abc import Callable


def running(since: float, *, speed: float = 1.0) -> Callable[[], float]:
    """Unix seconds for `Service`: from `since` on (or from now, if that is later), `speed` of them in each real one."""
    begun, at = max(since, time.time()), time.monotonic()
    return lambda: begun + (time.monotonic() - at) * speed
