"""Which nodes can announce under given advertisements, before endpoints are asked. Pure.

Almost all Services of a cluster are covered by the same few sets of advertisements, so nodes,
links and subnets are judged once per set and family, not once per Service: a full plan of
5,000 Services and 50 nodes then costs little more than its hashes. Called by
`lbctl.plan.announcement`, which keeps the value between two plans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lbctl.model.address import Address, Family, family_of
from lbctl.model.advertisement import L2Advertisement
from lbctl.model.configuration import Configured
from lbctl.model.names import NodeName, ObjectKey, PoolName
from lbctl.model.node import Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.selector import any_matches
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.claims import PoolsByName, pools_by_name
from lbctl.plan.eligibility import Eligible, believed, placement, selects_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Hold the nodes that may announce (with links, weights and subnets) and why not the others."""

    able: Mapping[NodeName, Eligible]
    unable: Mapping[NodeName, Refused]
    weights: Mapping[NodeName, int]
    subnets: tuple[tuple[int, int, frozenset[NodeName]], ...]
    """First and last address of a subnet, and the able nodes that have it on an eligible link."""

    def in_subnet(self, address: Address) -> frozenset[NodeName]:
        """Return the nodes on whose links the address's neighbors are."""
        number = int(address)
        inside = [nodes for first, last, nodes in self.subnets if first <= number <= last]
        return frozenset().union(*inside) if inside else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaches:
    """Hold what a plan needs of everything but Services and endpoints.

    The two maps are caches that fill while a plan runs; they hold derived values only.
    """

    pools: PoolsByName
    nodes: Mapping[NodeName, Node]
    speakers: Mapping[NodeName, SpeakerReport]
    advertisements: tuple[L2Advertisement, ...]
    blind: bool = False
    """No node at all was Ready, so readiness was not counted (`believed`)."""
    _by_pool: dict[PoolName, tuple[L2Advertisement, ...]] = field(default_factory=dict)
    _by_advertisements: dict[tuple[tuple[str, str], ...], dict[Family, Reach]] = field(
        default_factory=dict
    )

    def reach(self, service: Service, pool: PoolName, address: Address) -> Reach:
        """Return the nodes that can announce `address` of `pool` for the Service."""
        matching = self.matching(service, pool)
        key = tuple((item.namespace, item.name) for item in matching)
        if key not in self._by_advertisements:
            self._by_advertisements[key] = _judge(self.nodes, self.speakers, matching)
        return self._by_advertisements[key][family_of(address)]

    def matching(self, service: Service, pool: PoolName) -> tuple[L2Advertisement, ...]:
        """Return the advertisements that cover the pool and the Service."""
        return tuple(
            item
            for item in self.covering(pool)
            if not item.service_selectors or any_matches(item.service_selectors, service.labels)
        )

    def uncovered(self, service: Service, pool: PoolName) -> Refused | None:
        """Return what is wrong when no advertisement covers the pool and the Service."""
        if self.matching(service, pool):
            return None
        names = ", ".join(item.name for item in self.covering(pool))
        return Refused(
            reason=Reason.NO_ADVERTISEMENT,
            detail=f"the serviceSelectors of {names}, which cover pool {pool}, do not select this "
            "Service"
            if names
            else f"no L2Advertisement covers pool {pool}",
        )

    def covering(self, pool: PoolName) -> tuple[L2Advertisement, ...]:
        """Return the advertisements that cover the pool, whatever the Service.

        Raises:
            KeyError: there is no object of this name.

        """
        if pool not in self._by_pool:
            self._by_pool[pool] = tuple(
                item for item in self.advertisements if _covers(item, self.pools[pool])
            )
        return self._by_pool[pool]


def survey(snapshot: Snapshot) -> Reaches:
    """Take from the snapshot what decides where Services can be announced."""
    nodes = believed(snapshot.nodes)
    return Reaches(
        pools=pools_by_name(snapshot.pools),
        nodes=dict(nodes),
        speakers=dict(snapshot.speakers),
        advertisements=_valid(snapshot.advertisements),
        blind=nodes is not snapshot.nodes,
    )


def renewed(reaches: Reaches, snapshot: Snapshot, names: Collection[NodeName]) -> Reaches | None:
    """Return the survey with the present Nodes and SpeakerStatuses of these names.

    None if one of them can now do something else than before, under any set of advertisements
    that was asked for: then everything is to be judged anew. So a label that nobody selects by
    costs two looks at one node, whatever the size of the cluster.
    """
    present = believed(snapshot.nodes)
    if reaches.blind or present is not snapshot.nodes:
        return None
    nodes = _with(reaches.nodes, present, names)
    speakers = _with(reaches.speakers, snapshot.speakers, names)
    for key in reaches._by_advertisements:  # noqa: SLF001 - it is this module's own cache
        matching = tuple(
            item for item in reaches.advertisements if (item.namespace, item.name) in key
        )
        before = _judge(_only(reaches.nodes, names), reaches.speakers, matching)
        if before != _judge(_only(nodes, names), speakers, matching):
            return None
    return replace(reaches, nodes=nodes, speakers=speakers)


Value = TypeVar("Value")


def _with(
    before: Mapping[NodeName, Value], present: Mapping[NodeName, Value], names: Collection[NodeName]
) -> dict[NodeName, Value]:
    return {name: value for name, value in before.items() if name not in names} | _only(
        present, names
    )


def _only(values: Mapping[NodeName, Value], names: Collection[NodeName]) -> dict[NodeName, Value]:
    return {name: values[name] for name in names if name in values}


def _valid(
    advertisements: Mapping[ObjectKey, Configured[L2Advertisement]],
) -> tuple[L2Advertisement, ...]:
    ordered = sorted(advertisements.items(), key=lambda item: item[0])
    return tuple(item.spec for _, item in ordered if item.spec is not None)


def _covers(advertisement: L2Advertisement, pool: Configured[Pool]) -> bool:
    if not advertisement.pools and not advertisement.pool_selectors:
        return True
    if pool.key.name in advertisement.pools:
        return True
    # A pool that cannot be read has no labels that one could trust.
    return pool.spec is not None and any_matches(advertisement.pool_selectors, pool.spec.labels)


def _judge(
    nodes: Mapping[NodeName, Node],
    speakers: Mapping[NodeName, SpeakerReport],
    advertisements: tuple[L2Advertisement, ...],
) -> dict[Family, Reach]:
    able: dict[Family, dict[NodeName, Eligible]] = {family: {} for family in Family}
    unable: dict[Family, dict[NodeName, Refused]] = {family: {} for family in Family}
    for name in sorted(nodes):
        verdicts = placement(
            node=nodes[name],
            report=speakers.get(name),
            advertisements=advertisements,
            families=tuple(Family),
        )
        for family, verdict in verdicts.items():
            if isinstance(verdict, Eligible):
                able[family][name] = verdict
            else:
                unable[family][name] = verdict
    weights = _weights(nodes.values(), advertisements)
    return {
        family: Reach(
            able=able[family],
            unable=unable[family],
            weights=weights,
            subnets=_subnets(able[family], speakers, family),
        )
        for family in Family
    }


def _weights(
    nodes: Iterable[Node], advertisements: tuple[L2Advertisement, ...]
) -> dict[NodeName, int]:
    """Sum the weights of matching preferences, of each advertisement that covers the node."""
    weights = {
        node.name: sum(
            wish.weight
            for item in advertisements
            if item.preferred_nodes and selects_node(item, node)
            for wish in item.preferred_nodes
            if wish.preference.matches(node.labels)
        )
        for node in nodes
    }
    return {name: weight for name, weight in weights.items() if weight}


def _subnets(
    able: Mapping[NodeName, Eligible], speakers: Mapping[NodeName, SpeakerReport], family: Family
) -> tuple[tuple[int, int, frozenset[NodeName]], ...]:
    found: dict[tuple[int, int], set[NodeName]] = {}
    for name, verdict in able.items():
        for link in speakers[name].links:
            if link.name not in verdict.links:
                continue
            for interface in link.subnets:
                if family_of(interface.ip) is not family or interface.ip.is_link_local:
                    continue
                network = interface.network
                bounds = (int(network[0]), int(network[-1]))
                found.setdefault(bounds, set()).add(name)
    return tuple((*bounds, frozenset(names)) for bounds, names in sorted(found.items()))
