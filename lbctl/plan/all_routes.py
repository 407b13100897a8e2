"""The plans of routes of all nodes, one after the other. Pure.

Each is the plan that the node's speaker makes (tests/property/test_audience.py). Nodes that stand
alike differ only in addresses of `Local` Services, so only these are judged again from one to the
next; one plan is alive at a time, because each of them may hold 10,000 routes. Nodes that announce
nothing have none. Called by `lbctl get routes`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.model.names import NodeName
from lbctl.model.service import TrafficPolicy
from lbctl.model.snapshot import Snapshot
from lbctl.plan.audience import Stage
from lbctl.plan.routes import RoutePlan, plan_beside, plan_on


def plans_of(
    stage: Stage, snapshot: Snapshot, *, load_balancer_class: str | None
) -> Iterator[tuple[NodeName, RoutePlan]]:
    """Yield the plan of every node that may announce."""
    local = frozenset(
        address
        for service in snapshot.services.values()
        if service.traffic_policy is TrafficPolicy.LOCAL
        for address in service.addresses
    )
    for standing in stage.standings.values():
        first = plan_on(standing.ground, snapshot, load_balancer_class)
        for node in sorted(standing.nodes):
            same = node == standing.ground.node or not local
            yield node, first if same else plan_beside(first, snapshot, node, local)
