"""The layer-2 advertisement: who may be told what, from which nodes and interfaces. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lbctl.model.names import LinkName, PoolName
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
