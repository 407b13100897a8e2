"""To whom the addresses of Services are told by BGP, seen from all nodes at once. Pure.

A speaker plans for its own node (`lbctl.plan.routes`); who looks at the whole cluster would need
as many plans as there are nodes. Nodes that keep the same sessions and are selected by the same
advertisements decide alike, but for `Local` endpoints: they form one `Standing`, an address is
judged once for each, and Services by the thousand share one `Audience`. It says the same as the
nodes' plans (tests/property/test_audience.py); that routes are merged per prefix is looked at for
the address's own advertisements, which an aggregate within one pool cannot tell from the whole.

The audience is intent; `lbctl.plan.tally` puts what speakers report beside it. Called by the
controller, for the condition lbctl.io/Announced and for ServiceBGPStatus, and by `explain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final, NamedTuple, TypeAlias

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import NodeName, PeerName, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.selector import keys_of, seen_by
from lbctl.model.service import Service, TrafficPolicy
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announced import further
from lbctl.plan.claims import PoolsByName, holders_of, pools_by_name
from lbctl.plan.endpoints import EndpointCount, count_endpoints
from lbctl.plan.ground import Ground, ground_of, silence
from lbctl.plan.peers import selecting_keys
from lbctl.plan.routes import judge_address
from lbctl.plan.tables import Asked

StandingKey: TypeAlias = tuple[frozenset[PeerName], frozenset[str]]
"""The sessions of some nodes, and the advertisements that select them."""


class Hearers(NamedTuple):
    """Hold peers that are told of an address by some nodes of one standing; None: by all of them."""

    standing: StandingKey
    nodes: frozenset[NodeName] | None
    peers: frozenset[PeerName]
    families: frozenset[Family]
    """Those of the address; of several addresses, those that each of the peers is told of."""


Audience: TypeAlias = frozenset[Hearers]
"""Never empty."""
Heard: TypeAlias = Audience | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Hold nodes that announce alike, and the ground on which all of them stand."""

    ground: Ground
    """That of one of them."""
    nodes: frozenset[NodeName]
    _told: dict[tuple[Family, tuple[Asked, ...]], frozenset[PeerName] | Refused] = field(
        default_factory=dict, compare=False, repr=False
    )

    def told(self, asked: tuple[Asked, ...], family: Family) -> frozenset[PeerName] | Refused:
        """Return the peers that get a route of what an address asks for; there is one, or why not."""
        lengths = tuple([(prefix._replace(number=0), name) for prefix, name in asked])
        key = (family, lengths)
        if key not in self._told:
            self._told[key] = self._judge_told(lengths, family)
        return self._told[key]

    def _judge_told(
        self, asked: tuple[Asked, ...], family: Family
    ) -> frozenset[PeerName] | Refused:
        told: set[PeerName] = set()
        refused: Refused | None = None
        for peer in self.ground.sessions.kept.values():
            by_prefix: dict[object, list[str]] = {}
            for prefix, name in asked:
                if self.ground.offers[name].reaches(peer, family):
                    by_prefix.setdefault(prefix, []).append(name)
            for names in by_prefix.values():
                merged = self.ground.merged(tuple(sorted(names)))
                if isinstance(merged, Refused):
                    refused = merged
                else:
                    told.add(peer.name)
        if told or refused is None:
            return frozenset(told)
        return refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Hold what decides on audiences, beside Services and endpoints."""

    standings: Mapping[StandingKey, Standing] = field(default_factory=dict)
    silent: Mapping[NodeName, Refused] = field(default_factory=dict)
    """Nodes that announce nothing at all, and why."""
    where: Mapping[NodeName, StandingKey] = field(default_factory=dict)
    pools: PoolsByName = field(default_factory=dict)
    ground: Ground | None = field(default=None, compare=False, repr=False)
    """That of some node, for what all of them share."""
    kinds: dict[object, Heard] = field(default_factory=dict, compare=False, repr=False)
    """Answers that hold for many Services alike; fills while they are asked for."""

    def nodes(self, hearers: Hearers) -> frozenset[NodeName]:
        """Return the nodes that are to tell these hearers."""
        if hearers.nodes is not None:
            return hearers.nodes
        standing = self.standings.get(hearers.standing)
        return frozenset() if standing is None else standing.nodes


NO_STAGE: Final = Stage()


def stage_of(snapshot: Snapshot) -> Stage:
    """Return how the nodes stand now."""
    silent: dict[NodeName, Refused] = {}
    groups: dict[StandingKey, list[NodeName]] = {}
    grounds: dict[StandingKey, Ground] = {}
    known: dict[tuple[str | None, ...], Ground] = {}
    keys = _selecting_keys(snapshot)
    base: Ground | None = None
    for name, node in snapshot.nodes.items():
        base = ground_of(snapshot, name) if base is None else base
        refused = silence(name, node, snapshot.speakers.get(name))
        if refused is not None:
            silent[name] = refused
            continue
        seen = seen_by(keys, node.labels)
        if seen not in known:
            known[seen] = base.on(name)
        ground = known[seen]
        key = (frozenset(ground.sessions.kept), ground.selected)
        grounds.setdefault(key, ground)
        groups.setdefault(key, []).append(name)
    return Stage(
        standings={
            key: Standing(ground=grounds[key], nodes=frozenset(names))
            for key, names in groups.items()
        },
        silent=silent,
        where={name: key for key, names in groups.items() for name in names},
        pools=pools_by_name(snapshot.pools),
        ground=base,
    )


def _selecting_keys(snapshot: Snapshot) -> tuple[str, ...]:
    specs = (entry.spec for entry in snapshot.bgp_advertisements.values())
    own = keys_of(one for spec in specs if spec is not None for one in spec.node_selectors)
    return (*selecting_keys(snapshot.peers), *own)


def hear(
    stage: Stage,
    snapshot: Snapshot,
    key: ServiceKey,
    address: Address,
    claimants: Iterable[ServiceKey],
) -> Heard:
    """Return who is to hear of an address that the Service shows, or why nobody is.

    `claimants` are all Services that show it. Of several reasons it is that of the nodes which
    got furthest.
    """
    pool, holders, unlawful = holders_of(address, claimants, snapshot.services, stage.pools)
    if key in unlawful:
        return unlawful[key]
    if pool is None:
        return Refused(reason=Reason.NOT_ALLOCATED, detail=f"{address} is not ours to announce")
    kind = _kind(stage, snapshot, pool, holders, address)
    if kind is None:
        return _judge(stage, snapshot, address, pool, holders)
    if kind not in stage.kinds:
        stage.kinds[kind] = _judge(stage, snapshot, address, pool, holders)
    return stage.kinds[kind]


def _kind(
    stage: Stage,
    snapshot: Snapshot,
    pool: PoolName,
    holders: tuple[Service, ...],
    address: Address,
) -> object:
    """Return what decides on an address that any node may serve; None if there is more to ask."""
    (service, *others), family = holders, family_of(address)
    if others or service.traffic_policy is TrafficPolicy.LOCAL or not stage.standings:
        return None
    if not _count(snapshot, service, family).usable:
        return None
    ground = next(iter(stage.standings.values())).ground
    matching = ground.matching(service, pool)
    narrow = [ground.too_wide(one, address, pool) is None for one in matching]
    return (pool, family, tuple([one.name for one in matching]), tuple(narrow))


def _judge(
    stage: Stage,
    snapshot: Snapshot,
    address: Address,
    pool: PoolName,
    holders: tuple[Service, ...],
) -> Heard:
    family = family_of(address)
    near = near_nodes(snapshot, holders, address)
    # Without endpoints of its own no node can announce for these: only the reason is far away.
    local = bool(near) and all(one.traffic_policy is TrafficPolicy.LOCAL for one in holders)
    for everywhere in (False, True) if local else (True,):
        found: set[Hearers] = set()
        refusals: list[Refused] = []
        for key, standing in stage.standings.items():
            telling: dict[frozenset[PeerName], set[NodeName]] = {}
            for node, nodes in alike(standing, near, everywhere=everywhere):
                ground = standing.ground
                if node != ground.node:
                    ground = replace(ground, node=node)
                plan = judge_address(ground, snapshot, address, pool, holders)
                told = plan.refused or standing.told(plan.asked, family)
                if isinstance(told, Refused):
                    refusals.append(told)
                elif told:
                    telling.setdefault(told, set()).update(nodes)
            for peers, names in telling.items():
                some = frozenset(names) if near else None
                found.add(Hearers(key, some, peers, frozenset((family,))))
        if found:
            return frozenset(found)
    refused = _furthest(stage, refusals)
    if refused.reason is Reason.NO_LOCAL_ENDPOINTS:
        return _without_endpoints(snapshot, holders[0], family)
    return refused


def near_nodes(
    snapshot: Snapshot, holders: Iterable[Service], address: Address
) -> frozenset[NodeName]:
    """Return the nodes that may decide otherwise than others, because of endpoints of their own."""
    family = family_of(address)
    near: frozenset[NodeName] = frozenset()
    for service in holders:
        if service.traffic_policy is TrafficPolicy.LOCAL:
            count = _count(snapshot, service, family)
            near |= count.ready_nodes | count.draining_nodes
    return near


def alike(
    standing: Standing, near: frozenset[NodeName], *, everywhere: bool
) -> Iterator[tuple[NodeName, frozenset[NodeName]]]:
    """Yield nodes that decide alike, each time with one of them."""
    far = standing.nodes - near if near else standing.nodes
    if far and everywhere:
        yield (standing.ground.node if standing.ground.node in far else min(far)), far
    for node in sorted(standing.nodes & near):
        yield node, frozenset((node,))


def _furthest(stage: Stage, refusals: list[Refused]) -> Refused:
    nobody = Refused(reason=Reason.NO_SPEAKER, detail="there is no node to announce it")
    found = (*refusals, *stage.silent.values())
    return further(*found) if found else nobody


def _without_endpoints(snapshot: Snapshot, service: Service, family: Family) -> Refused:
    """Say of all nodes together what each says of itself."""
    count = _count(snapshot, service, family)
    if not count.usable:
        return Refused(reason=Reason.NO_ENDPOINTS, detail=f"the Service has {count}")
    return Refused(
        reason=Reason.NO_LOCAL_ENDPOINTS,
        detail="no node that may announce has a usable endpoint",
    )


def _count(snapshot: Snapshot, service: Service, family: Family) -> EndpointCount:
    slices = snapshot.slices.get(service.key)
    return count_endpoints(slices.values() if slices else (), family)


def united(stage: Stage, audiences: Iterable[Audience]) -> Audience:
    """Return the sessions of several addresses together, each once."""
    distinct = tuple(dict.fromkeys(audiences))
    if len(distinct) == 1:
        return distinct[0]
    by_standing: dict[StandingKey, list[Hearers]] = {}
    for audience in distinct:
        for hearers in audience:
            by_standing.setdefault(hearers.standing, []).append(hearers)
    found: set[Hearers] = set()
    for key, each in by_standing.items():
        # Where nobody is left out the nodes need not be listed.
        everywhere = all(one.nodes is None for one in each)
        families: dict[tuple[NodeName | None, PeerName], frozenset[Family]] = {}
        for one in each:
            nodes = (None,) if everywhere else stage.nodes(one)
            for session in product(nodes, one.peers):
                families[session] = families.get(session, frozenset()) | one.families
        groups: dict[tuple[PeerName, frozenset[Family]], set[NodeName]] = {}
        for (node, peer), told in families.items():
            groups.setdefault((peer, told), set()).update(() if node is None else (node,))
        found |= {
            Hearers(key, None if everywhere else frozenset(names), frozenset((peer,)), told)
            for (peer, told), names in groups.items()
        }
    return frozenset(found)
