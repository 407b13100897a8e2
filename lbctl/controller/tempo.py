"""Say when the next plan may begin: at once when it is quiet, in bundles under load. No clock.

One change must not wait for company (the budget from creation to address is milliseconds), and
a thousand changes must not cost a thousand plans. A bucket of tokens tells the two apart: a
plan takes one; while there is one, the next plan begins at once, and after that plans are
`gather_s` apart, longer if they are costly. What our own writes bring back is no news: it waits
for the next plan, or `echo_s`. The caller is `lbctl.controller.reconciler`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TempoLimits:
    """Sizes and times; `gather_s` to `gather_most_s` is how long changes are gathered."""

    burst: int = 20
    refill_per_s: float = 50.0
    gather_s: float = 0.05
    gather_most_s: float = 0.2
    echo_s: float = 0.2


class Tempo:
    """Count plans; every instant is of one monotonic clock, in seconds."""

    def __init__(self, limits: TempoLimits | None = None) -> None:
        self.limits = limits or TempoLimits()
        self._tokens = float(self.limits.burst)
        self._at: float | None = None
        self._ended = 0.0
        self._cost_s = 0.0

    def begins_at(self, *, news_at: float | None, echo_at: float | None) -> float | None:
        """Return when to plan, given when the oldest unplanned news and echo came, or None.

        An instant in the past means now.
        """
        if news_at is not None:
            if self._tokens_at(news_at) >= 1:
                return news_at
            # A plan that takes long may take a third of the time, not all of it.
            gather = min(max(self.limits.gather_s, 2 * self._cost_s), self.limits.gather_most_s)
            return max(news_at, self._ended + gather)
        if echo_at is not None:
            return echo_at + self.limits.echo_s
        return None

    def planned(self, *, began: float, ended: float) -> None:
        """Note a plan."""
        self._tokens = max(0.0, self._tokens_at(began) - 1)
        self._at = ended  # planning time is not quiet time
        self._ended = ended
        self._cost_s = ended - began

    def _tokens_at(self, now: float) -> float:
        if self._at is None:
            return self._tokens
        gained = max(0.0, now - self._at) * self.limits.refill_per_s
        return min(float(self.limits.burst), self._tokens + gained)
