"""Declare how a field spells a span of time: Go's way, as `90s` or `1m30s`. Pure.

The grammar is the common part of Go's ParseDuration (which the API server's CEL uses) and ours:
no sign, no micro sign, a digit on both sides of a point. BGP counts in seconds, so a fraction is
cut off, as MetalLB does it.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final

from lbctl.kube.crds.reading import shown
from lbctl.kube.crds.table import Rule, Text
from lbctl.model.outcome import Problem

_UNITS: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3_600),
}
DURATION_PATTERN: Final = r"^(0|([0-9]{1,9}([.][0-9]{1,9})?(ns|us|ms|s|m|h)){1,6})$"
_PART: Final = re.compile(r"([0-9]+(?:[.][0-9]+)?)(ns|us|ms|s|m|h)", re.ASCII)
_MAX_LENGTH: Final = 32


def seconds(text: str) -> Fraction:
    """Return the seconds that a text of `DURATION_PATTERN` spells."""
    return sum(
        (Fraction(number) * _UNITS[unit] for number, unit in _PART.findall(text)), Fraction(0)
    )


def span(*, least_s: int, most_s: int, zero: bool = False, whole: bool = False) -> Text:
    """Return the type of a span from `least_s` to `most_s`, read as whole seconds.

    `zero` also lets 0 pass; `whole` refuses a fraction of a second instead of cutting it off.
    """
    message = f"must be from {least_s}s to {most_s}s"
    cel = f"duration(self) >= duration('{least_s}s') && duration(self) < duration('{most_s + 1}s')"
    if zero:
        message += ", or 0s"
        cel = f"duration(self) == duration('0s') || ({cel})"
    if whole:
        message += ", in whole seconds"
        cel = f"{cel} && duration(self).getMilliseconds() % 1000 == 0"

    def parse(text: str, path: str) -> int | Problem:
        exact = seconds(text)
        fits = (zero and exact == 0) or least_s <= exact < most_s + 1
        if not fits or (whole and int(exact * 1000) % 1000):
            return Problem(path=path, message=f"{shown(text)} {message}")
        return int(exact)

    def holds(value: Any) -> bool:
        return not isinstance(parse(value, ""), Problem)

    return Text(
        max_length=_MAX_LENGTH,
        pattern=DURATION_PATTERN,
        says="a span of time such as 90s or 1m30s",
        rules=(Rule(cel=cel, message=message, holds=holds),),
        parse=parse,
    )
