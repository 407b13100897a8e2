"""What a router says that it holds: one value for the tables of FRR, BIRD and GoBGP. Pure."""

from dataclasses import dataclass

USUAL_PREF = 100
"""The local preference of a route that says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A way to a prefix that a router has learnt, whether or not it uses it."""

    prefix: str
    next_hop: str
    local_pref: int = USUAL_PREF
