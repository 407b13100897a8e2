"""Routes that a node wants its BGP peers to have. Pure.

The next hop is no part of a route here: it is the node itself, by each session's own address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from lbctl.model.address import Address, Family
from lbctl.model.community import GRACEFUL_SHUTDOWN, Community, in_order
from lbctl.model.outcome import Refused


class Prefix(NamedTuple):
    """Hold the destination of a route: the first `length` bits of `number`, the rest is zero.

    A named tuple of numbers: prefixes are the keys of tables of 10,000 routes, and an
    `ipaddress` network takes twenty times as long to hash.
    """

    version: int
    number: int
    length: int

    @property
    def family(self) -> Family:
        return Family.IPV4 if self.version == 4 else Family.IPV6

    @property
    def address(self) -> Address:
        """Return the first address."""
        return IPv4Address(self.number) if self.version == 4 else IPv6Address(self.number)

    def __contains__(self, address: object) -> bool:
        """Return whether the address lies in the prefix."""
        return (
            isinstance(address, IPv4Address | IPv6Address)
            and prefix_of(address, self.length) == self
        )

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


def prefix_of(address: Address, length: int) -> Prefix:
    """Return the prefix of this length that holds the address."""
    rest = (32 if address.version == 4 else 128) - length
    return Prefix(address.version, int(address) >> rest << rest, length)


DEFAULT_LOCAL_PREFERENCE: Final = 100
"""What routers assume where nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Hold what a route says beside its prefix; equal ones travel in one UPDATE.

    The local preference is for peers of our own AS; others are not told (RFC 4271 5.1.5).
    """

    local_preference: int = DEFAULT_LOCAL_PREFERENCE
    communities: tuple[Community, ...] = ()
    """Each once, in the order of `lbctl.model.community.in_order`."""

    def at_the_end(self) -> Attributes:
        """Return what the route says while it is still there and about to go (RFC 8326 4)."""
        return Attributes(
            local_preference=0, communities=in_order((*self.communities, GRACEFUL_SHUTDOWN))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Hold all that one peer is to be told; peers that are to be told the same share one table.

    `parting` are routes that must go although the node can still serve them: a peer that has one
    gets these attributes first, and the withdraw a while later; a peer that does not have it gets
    nothing. `refused` says why a prefix is in neither.
    """

    routes: Mapping[Prefix, Attributes] = field(default_factory=dict)
    parting: Mapping[Prefix, Attributes] = field(default_factory=dict)
    refused: Mapping[Prefix, Refused] = field(default_factory=dict)
