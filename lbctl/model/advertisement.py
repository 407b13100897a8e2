"""Advertisements, on the local network and by BGP: who may be told what, from where. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lbctl.model.address import Family
from lbctl.model.community import Alias, Community
from lbctl.model.names import LinkName, PeerName, PoolName
from lbctl.model.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePreference:
    """Add `weight` (1..100) to a node's score when its labels match."""

    weight: int
    preference: Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Advertisement:
    """Hold an L2Advertisement whose fields are valid by themselves.

    Pool names and pool selectors both empty mean every pool; node, service and interface lists
    empty mean all of them.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    pools: frozenset[PoolName] = frozenset()
    pool_selectors: tuple[Selector, ...] = ()
    node_selectors: tuple[Selector, ...] = ()
    service_selectors: tuple[Selector, ...] = ()
    interfaces: frozenset[LinkName] = frozenset()
    preferred_nodes: tuple[NodePreference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BGPAdvertisement:
    """Hold a BGPAdvertisement whose fields are valid by themselves.

    Pool names and pool selectors both empty mean every pool; node and service lists and peers
    empty mean all of them.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    aggregation_length: int = 32
    aggregation_length_v6: int = 128
    local_preference: int = 0
    """0: unset. It is told to peers of our own AS only (RFC 4271 5.1.5)."""
    communities: tuple[Community | Alias, ...] = ()
    pools: frozenset[PoolName] = frozenset()
    pool_selectors: tuple[Selector, ...] = ()
    node_selectors: tuple[Selector, ...] = ()
    service_selectors: tuple[Selector, ...] = ()
    peers: frozenset[PeerName] = frozenset()

    @property
    def aggregates(self) -> bool:
        """Return whether addresses of some family share routes."""
        return (self.aggregation_length, self.aggregation_length_v6) != (32, 128)

    def length(self, family: Family) -> int:
        """Return the prefix length under which an address of the family is announced."""
        return self.aggregation_length if family is Family.IPV4 else self.aggregation_length_v6


Advertisement: TypeAlias = L2Advertisement | BGPAdvertisement
