"""What a BGP OPEN and the attributes of a route say, as values. Pure.

Without ExaBGP, whose codec in `speaker.wire.bgp` turns them into bytes and back: a node that has no
BGP peer does without its 17 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from lbctl.model.address import Family

MAX_COMMUNITIES: Final = 64
"""Of each kind: 63, as an advertisement may have, and GRACEFUL_SHUTDOWN. With them the attributes
leave room for prefixes in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestart:
    """Hold the capability of RFC 4724 3; the N bit of RFC 8538 is never set."""

    restarting: bool
    time_s: int
    forwarding: frozenset[Family]
    """Families whose routes the peer may keep while we are away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMessage:
    """Hold an OPEN: RFC 4271 4.2 and the capabilities that we understand."""

    asn: int
    """The real one, of four bytes if the sender has told it (RFC 6793)."""
    hold_time_s: int
    identifier: IPv4Address
    families: frozenset[Family]
    """What is offered; a sender without the capability offers IPv4 (RFC 4760 8)."""
    four_octet_asn: bool = True
    route_refresh: bool = True
    extended_next_hop: bool = True
    graceful: GracefulRestart | None = None
    others: tuple[int, ...] = ()
    """Codes of capabilities that we do not understand; received only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathAttributes:
    """Hold what a route says besides its prefix and next hop.

    Raises:
        ValueError: more communities of a kind than MAX_COMMUNITIES, or one of a wrong size.

    """

    local_preference: int | None = None
    """Told to internal peers only (RFC 4271 5.1.5); None is 100."""
    communities: tuple[int, ...] = ()
    """RFC 1997: the four bytes as one number."""
    extended_communities: tuple[bytes, ...] = ()
    """RFC 4360: eight bytes each."""
    large_communities: tuple[tuple[int, int, int], ...] = ()
    """RFC 8092."""

    def __post_init__(self) -> None:
        for kind in (self.communities, self.extended_communities, self.large_communities):
            if len(kind) > MAX_COMMUNITIES:
                raise ValueError(f"{len(kind)} communities of one kind; at most {MAX_COMMUNITIES}")
        if any(len(one) != 8 for one in self.extended_communities):
            raise ValueError("an extended community has eight bytes")
