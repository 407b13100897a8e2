"""The BGP peer: a router that is told of addresses, and the session with it. Pure.

A peer here has passed every check that one object alone can fail. Times have their defaults
already; what depends on the node (which sessions it keeps) or on other peers is judged in
`lbctl.plan.peers`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import LinkName, PeerName
from lbctl.model.selector import Selector

PORT: Final = 179
HOLD_TIME_S: Final = 90
"""RFC 4271 section 10 suggests it."""


class DynamicASN(enum.StrEnum):
    """Name which AS a peer may have whose number is learned from its OPEN."""

    INTERNAL = "internal"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class BGPPeer:
    """Hold a BGPPeer whose fields are valid by themselves.

    Exactly one of `peer_asn` and `dynamic_asn`, and of `address` and `interface`, is set.
    """

    name: PeerName
    namespace: str
    uid: str
    created: str
    generation: int
    my_asn: int
    peer_asn: int | None = None
    dynamic_asn: DynamicASN | None = None
    local_asn: int | None = None
    """What the peer sees in place of `my_asn`, in OPEN and in paths (no-prepend replace-as)."""
    address: Address | None = None
    interface: LinkName | None = None
    """An unnumbered session: the peer is whoever advertises itself as a router on the link."""
    source: Address | None = None
    port: int = PORT
    hold_time_s: int = HOLD_TIME_S
    """What our OPEN proposes; 0 proposes no KEEPALIVEs at all."""
    keepalive_time_s: int = HOLD_TIME_S // 3
    connect_time_s: int | None = None
    """Pause between two attempts to connect; None leaves it to the session."""
    router_id: IPv4Address | None = None
    node_selectors: tuple[Selector, ...] = ()
    password: str = field(default="", repr=False)
    password_secret: str = ""
    """A Secret of the peer's own namespace."""
    bfd_profile: str = ""
    vrf: str = ""
    graceful_restart: bool = False
    multihop: bool = False
    ttl_security_hops: int | None = None
    """Packets of the peer are believed only from at most this many hops away (RFC 5082)."""
    dual_stack: bool = False

    @property
    def internal(self) -> bool:
        """Return whether both ends are of one AS (iBGP)."""
        return self.dynamic_asn is DynamicASN.INTERNAL or self.peer_asn == self.my_asn

    @property
    def families(self) -> frozenset[Family]:
        """Return the families whose routes the session carries."""
        if self.address is None or self.dual_stack:
            return frozenset(Family)
        return frozenset((family_of(self.address),))


@dataclass(frozen=True, slots=True, kw_only=True)
class BFDProfile:
    """Hold a BFDProfile; the times are in milliseconds, the defaults those of FRR's bfdd."""

    name: str
    namespace: str
    uid: str
    generation: int
    receive_interval_ms: int = 300
    transmit_interval_ms: int = 300
    detect_multiplier: int = 3
    echo_interval_ms: int = 50
    echo_mode: bool = False
    passive_mode: bool = False
    minimum_ttl: int = 254
