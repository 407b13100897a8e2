"""Say how long to wait before the next try.

A value, so that the reflector, the writer and the event recorder share one rule and
tests hand in tiny waits and a fixed jitter. Jitter is a function because thousands of
speakers lose the API server in the same instant and must not come back in the same one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

Jitter = Callable[[], float]
"""Return a number in [0, 1); `random.random` outside tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Double from `first_s` to `most_s`, spread by half to either side."""

    first_s: float = 0.2
    most_s: float = 30.0
    jitter: Jitter = random.random

    def delay_s(self, failures: int, *, most_s: float | None = None) -> float:
        """Return the wait after `failures` failures in a row (1 for the first)."""
        most = self.most_s if most_s is None else min(most_s, self.most_s)
        # The exponent is capped so that a week of failures cannot overflow a float.
        plain = min(most, self.first_s * 2.0 ** min(max(failures, 1) - 1, 32))
        return plain * (0.5 + self.jitter())
