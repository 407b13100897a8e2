"""The one clock of lb-fastpath: CLOCK_BOOTTIME, which also counts time spent suspended."""

from __future__ import annotations

import time

from speaker.fast.instant import Instant


def now() -> Instant:
    """Return the present moment."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
