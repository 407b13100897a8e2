"""Instants of the fast path: seconds on CLOCK_BOOTTIME, as a float. Pure.

CLOCK_BOOTTIME goes on while the machine is suspended, so a right that ended during a suspend has
ended when the process wakes. The type is the one of `lbctl.model.membership`.
"""

from __future__ import annotations

from lbctl.model.membership import Instant

__all__ = ["Instant", "earliest"]


def earliest(*instants: Instant | None) -> Instant | None:
    """Return the first of the instants that exist, or None."""
    known = [instant for instant in instants if instant is not None]
    return min(known) if known else None
