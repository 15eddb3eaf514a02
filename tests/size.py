"""Tests come in two sizes: reduced, and full for `make soak` (CROWDSTACK_SOAK=1)."""

from __future__ import annotations

import os

FULL = os.environ.get("CROWDSTACK_SOAK") == "1"
