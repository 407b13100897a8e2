"""Count the endpoints of a Service as kube-proxy would use them. Pure.

A pod can stand in several slices while the slice controller moves it; it counts once, in its
best state, because one usable endpoint suffices. Slices of the other address family (and FQDN
slices) say nothing about this family. Called by `lbctl.plan.announcement` and by the command.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lbctl.model.address import Family
from lbctl.model.endpoints import Endpoint, EndpointSlice, EndpointState
from lbctl.model.names import NodeName

_ORDER: Final = {EndpointState.READY: 0, EndpointState.DRAINING: 1, EndpointState.UNUSABLE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCount:
    """Hold the endpoints of one family by state, and the nodes that have them.

    An endpoint without a node is counted but local to no node.
    """

    ready: int = 0
    draining: int = 0
    unusable: int = 0
    ready_nodes: frozenset[NodeName] = frozenset()
    draining_nodes: frozenset[NodeName] = frozenset()

    @property
    def usable(self) -> int:
        return self.ready + self.draining

    def __str__(self) -> str:
        return f"{self.ready} ready, {self.draining} draining, {self.unusable} unusable"


NO_ENDPOINTS: Final = EndpointCount()


def count_endpoints(slices: Iterable[EndpointSlice], family: Family) -> EndpointCount:
    """Return the count over the slices of `family`."""
    best: dict[str, Endpoint] = {}
    for block in slices:
        if block.family is not family:
            continue
        for endpoint in block.endpoints:
            known = best.get(endpoint.address)
            if known is None or _better(endpoint, known):
                best[endpoint.address] = endpoint
    if not best:
        return NO_ENDPOINTS
    by_state: dict[EndpointState, list[Endpoint]] = {state: [] for state in EndpointState}
    for endpoint in best.values():
        by_state[endpoint.state].append(endpoint)
    return EndpointCount(
        ready=len(by_state[EndpointState.READY]),
        draining=len(by_state[EndpointState.DRAINING]),
        unusable=len(by_state[EndpointState.UNUSABLE]),
        ready_nodes=_nodes(by_state[EndpointState.READY]),
        draining_nodes=_nodes(by_state[EndpointState.DRAINING]),
    )


def _better(endpoint: Endpoint, known: Endpoint) -> bool:
    """Compare by state, then by having a node, then by its name, so that order never matters."""
    return (_ORDER[endpoint.state], endpoint.node is None, endpoint.node or "") < (
        _ORDER[known.state],
        known.node is None,
        known.node or "",
    )


def _nodes(endpoints: Iterable[Endpoint]) -> frozenset[NodeName]:
    return frozenset(endpoint.node for endpoint in endpoints if endpoint.node is not None)
