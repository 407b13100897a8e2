"""Which nodes can announce under given advertisements, before endpoints are asked. Pure.

Almost all Services of a cluster are covered by the same few sets of advertisements, so nodes,
links and subnets are judged once per set and family, not once per Service, and the sets of nodes
are shared by all their plans. When Nodes or SpeakerStatuses change, only those of these names are
judged again, and a set whose verdicts stay the same stays the same object: whoever planned with it
sees by identity that nothing is to be done. Called by `lbctl.plan.announcement`, which keeps the
value between two plans, and by the controller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

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
from lbctl.plan.election import narrowed
from lbctl.plan.eligibility import Eligible, believed, placement, selects_node

_NAMED_NODES = 3
"""Nodes that a summary of refusals names; `lbctl explain` lists them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Hold the nodes among which an address's hash decides, and those in its subnet."""

    nodes: frozenset[NodeName]
    in_subnet: frozenset[NodeName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Hold the nodes that may announce (with links, weights and subnets) and why not the others.

    What `nodes`, `refused` and the contests say follows from the rest.
    """

    able: Mapping[NodeName, Eligible]
    unable: Mapping[NodeName, Refused]
    weights: Mapping[NodeName, int]
    subnets: tuple[tuple[int, int, frozenset[NodeName]], ...]
    """First and last address of a subnet, and the able nodes that have it on an eligible link."""
    nodes: frozenset[NodeName]
    """The able ones."""
    refused: Refused | None
    """Why no node is able, summed up."""
    _contests: dict[tuple[bool, ...], Contest] = field(
        default_factory=dict, compare=False, repr=False
    )

    def contest(self, address: Address) -> Contest:
        """Return who is to be compared for an address that every able node may announce.

        One value for all addresses of the same subnets.
        """
        number = int(address)
        where = tuple([first <= number <= last for first, last, _ in self.subnets])
        found = self._contests.get(where)
        if found is None:
            inside = [
                nodes for (_, _, nodes), within in zip(self.subnets, where, strict=True) if within
            ]
            in_subnet = frozenset().union(*inside) if inside else frozenset[NodeName]()
            best = narrowed(self.nodes, weights=self.weights, in_subnet=in_subnet)
            found = self._contests[where] = Contest(nodes=frozenset(best), in_subnet=in_subnet)
        return found

    def in_subnet(self, address: Address) -> frozenset[NodeName]:
        """Return the nodes on whose links the address's neighbors are."""
        return self.contest(address).in_subnet


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

    A Reach that comes out as before is the former object (`moved` tells). None when readiness
    begins or ceases to count: then everything is to be surveyed anew.
    """
    present = believed(snapshot.nodes)
    if reaches.blind or present is not snapshot.nodes:
        return None
    nodes = _with(reaches.nodes, present, names)
    speakers = _with(reaches.speakers, snapshot.speakers, names)
    by_advertisements = {}
    for key, former in reaches._by_advertisements.items():  # noqa: SLF001 - this module's own cache
        matching = tuple(
            item for item in reaches.advertisements if (item.namespace, item.name) in key
        )
        before = _judge(_only(reaches.nodes, names), reaches.speakers, matching)
        after = _judge(_only(nodes, names), speakers, matching)
        by_advertisements[key] = {
            family: reach
            if before[family] == after[family]
            else _with_verdicts(reach, after[family], names, speakers, family)
            for family, reach in former.items()
        }
    return replace(reaches, nodes=nodes, speakers=speakers, _by_advertisements=by_advertisements)


def moved(before: Reaches, after: Reaches) -> dict[int, Reach]:
    """Return what took the place of each Reach of `before`, by the `id` of the former one."""
    return {
        id(reach): after._by_advertisements[key][family]  # noqa: SLF001 - this module's own cache
        for key, former in before._by_advertisements.items()  # noqa: SLF001 - as above
        for family, reach in former.items()
        if after._by_advertisements[key][family] is not reach  # noqa: SLF001 - as above
    }


def _with_verdicts(
    reach: Reach,
    fresh: Reach,
    names: Collection[NodeName],
    speakers: Mapping[NodeName, SpeakerReport],
    family: Family,
) -> Reach:
    """Return `reach` with what `fresh` says of these nodes."""
    return _reach(
        able=dict(sorted(_with(reach.able, fresh.able, names).items())),
        unable=dict(sorted(_with(reach.unable, fresh.unable, names).items())),
        weights=_with(reach.weights, fresh.weights, names),
        speakers=speakers,
        family=family,
    )


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
        family: _reach(
            able=able[family],
            unable=unable[family],
            weights=weights,
            speakers=speakers,
            family=family,
        )
        for family in Family
    }


def _reach(
    *,
    able: Mapping[NodeName, Eligible],
    unable: Mapping[NodeName, Refused],
    weights: Mapping[NodeName, int],
    speakers: Mapping[NodeName, SpeakerReport],
    family: Family,
) -> Reach:
    return Reach(
        able=able,
        unable=unable,
        weights=weights,
        subnets=_subnets(able, speakers, family),
        nodes=frozenset(able),
        refused=None if able else _why_none(unable),
    )


_CHOICES: Final = (Reason.NODE_NOT_SELECTED, Reason.NODE_EXCLUDED)
"""What somebody decided: of no interest while a node that was to announce cannot."""


def _why_none(unable: Mapping[NodeName, Refused]) -> Refused:
    """Sum up the refusals of all nodes by the commonest reason that calls for a repair."""
    if not unable:
        return Refused(reason=Reason.NO_SPEAKER, detail="the cluster has no node")
    refusals = list(unable.values())
    for choice in _CHOICES:
        refusals = [no for no in refusals if no.reason is not choice] or refusals
    ranks = {reason: index for index, reason in enumerate(Reason)}
    counts = Counter(refused.reason for refused in refusals)
    reason = min(counts, key=lambda one: (-counts[one], ranks[one]))
    details = [no.detail for no in refusals if no.reason is reason]
    distinct = list(dict.fromkeys(details))
    more = f"; and {len(distinct) - _NAMED_NODES} more" if len(distinct) > _NAMED_NODES else ""
    return Refused(reason=reason, detail="; ".join(distinct[:_NAMED_NODES]) + more)


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
