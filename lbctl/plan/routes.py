"""Which routes one node wants each of its BGP peers to have, and why not the others. Pure.

Every eligible node announces, so each plans for itself and agrees with nobody. A decision is made
per address (its lawful holders, the advertisements, the endpoints), and the addresses' prefixes
are merged into one table for each peer. What no peer is told carries a reason: `RoutePlan.verdict`
answers for one address and one peer.

The plan is incremental: a changed Service or EndpointSlice touches the addresses that it has or
had, a changed Node or SpeakerStatus of another node those whose draining endpoints look at the
others. Pools, advertisements, communities, peers and the node itself ask for a full plan, whose
result is the same, which a property holds. `news` names the prefixes that may be told otherwise
than before. Called by lb-speaker, by the controller for the status, and by the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import NodeName, PeerName, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.route import Attributes, Prefix, Table, prefix_of
from lbctl.model.service import Service, TrafficPolicy
from lbctl.model.snapshot import Changed, Snapshot
from lbctl.plan.claims import (
    Claims,
    Unlawful,
    claims_after,
    claims_of,
    holders_of,
    still_unlawful,
)
from lbctl.plan.eligibility import endpoint_refusal
from lbctl.plan.endpoints import EndpointCount, count_endpoints
from lbctl.plan.ground import Ground, Offer, ground_of, untold
from lbctl.plan.tables import Asked, Demand, asking, counted, tables_of


class AddressRoutes(NamedTuple):
    """Hold the decision of this node on one address that some Service lawfully shows.

    A named tuple: a plan of 10,000 Services makes as many. `asked` are the prefixes that the node announces for it, each with its advertisement; without
    any, `refused` says why. `parting` are those that it gives up and can still serve meanwhile.
    """

    address: Address
    pool: PoolName
    services: tuple[ServiceKey, ...]
    asked: tuple[Asked, ...]
    parting: tuple[Asked, ...]
    refused: Refused | None
    hinges: bool
    """What other nodes can do took part in the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Say yes: the peer is told of the address by these routes."""

    routes: Mapping[Prefix, Attributes]
    asked_by: Mapping[Prefix, tuple[str, ...]]
    """The advertisements from which a route has its attributes; those of an aggregate may be
    about other addresses."""


Verdict: TypeAlias = Told | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """Hold the whole plan of one node."""

    ground: Ground
    claims: Claims
    unlawful: Unlawful
    addresses: Mapping[Address, AddressRoutes]
    demand: Demand
    tables: Mapping[PeerName, Table]
    """For each session that the node keeps."""
    news: frozenset[Prefix] | None = field(default=None, compare=False)
    """Prefixes that some table may have otherwise than the plan before; None: any."""

    def verdict(self, address: Address, peer: PeerName) -> Verdict:
        """Return what the peer is told of the address, or why it is told nothing."""
        plan = self.addresses.get(address)
        if plan is None:
            return Refused(reason=Reason.NOT_ALLOCATED, detail=f"{address} is not ours to announce")
        if plan.refused is not None:
            return plan.refused
        kept = self.ground.sessions.kept.get(peer)
        if kept is None:
            absent = Refused(reason=Reason.NO_PEER, detail=f"there is no BGPPeer {peer}")
            return self.ground.sessions.refused.get(peer, absent)
        offers = [self.ground.offers[name] for _, name in plan.asked]
        table = self.tables[peer]
        prefixes = dict.fromkeys(
            prefix
            for prefix, name in plan.asked
            if self.ground.offers[name].reaches(kept, family_of(address))
        )
        if not prefixes:
            return untold(kept, offers, family_of(address))
        routes = {one: table.routes[one] for one in prefixes if one in table.routes}
        if not routes:
            return table.refused[next(iter(prefixes))]
        return Told(routes=routes, asked_by={one: self.asking(peer, one) for one in routes})

    def asking(self, peer: PeerName, prefix: Prefix) -> tuple[str, ...]:
        """Return the advertisements that make what a kept peer's route of a prefix says."""
        return asking(self.ground, self.demand, self.ground.sessions.kept[peer], prefix)


def plan_routes(
    previous: RoutePlan | None,
    snapshot: Snapshot,
    changed: Changed,
    *,
    node: NodeName,
    load_balancer_class: str | None,
) -> RoutePlan:
    """Return the plan of `node` for `snapshot`, judging again only what `changed` can touch."""
    if previous is None or changed.everything:
        return plan_on(ground_of(snapshot, node), snapshot, load_balancer_class)
    ground, again = previous.ground, frozenset[Address]()
    if changed.nodes:
        ground = ground_of(snapshot, node)
        if not ground.stands_as(previous.ground):
            return plan_on(ground, snapshot, load_balancer_class)
        if previous.ground.others_moved(ground):
            again = frozenset(a for a, plan in previous.addresses.items() if plan.hinges)
    claims, touched = claims_after(
        previous.claims, snapshot.services, changed.services, load_balancer_class
    )
    return _judged(replace(previous, ground=ground, claims=claims), snapshot, touched | again)


def routes_alone(
    ground: Ground, snapshot: Snapshot, claimants: Mapping[Address, frozenset[ServiceKey]]
) -> RoutePlan:
    """Return the plan for these addresses alone; `claimants` are all Services that show each."""
    plan = _bare(ground, Claims(claimants=claimants))
    return replace(_judged(plan, snapshot, claimants), news=None)


def plan_beside(
    plan: RoutePlan, snapshot: Snapshot, node: NodeName, addresses: frozenset[Address]
) -> RoutePlan:
    """Return the plan of another node of the same snapshot that stands as the plan's own does.

    `addresses` are those of which the two may decide otherwise: of `Local` Services.
    """
    ground = replace(plan.ground, node=node)
    touched = addresses & plan.claims.claimants.keys()
    return replace(_judged(replace(plan, ground=ground), snapshot, touched), news=None)


def plan_on(ground: Ground, snapshot: Snapshot, load_balancer_class: str | None) -> RoutePlan:
    """Return the plan of the ground's node from nothing."""
    claims = claims_of(snapshot.services, load_balancer_class)
    plan = _judged(_bare(ground, claims), snapshot, claims.claimants)
    return replace(plan, news=None)


def _bare(ground: Ground, claims: Claims) -> RoutePlan:
    """Return a plan in which nothing has been judged yet."""
    return RoutePlan(
        ground=ground,
        claims=claims,
        unlawful={},
        addresses={},
        demand=Demand(),
        tables=dict.fromkeys(ground.sessions.kept, Table()),
    )


def _judged(before: RoutePlan, snapshot: Snapshot, touched: Iterable[Address]) -> RoutePlan:
    """Return `before` with these addresses judged again; its ground and claims are those of now."""
    touched = frozenset(touched)
    ground, claimants = before.ground, before.claims.claimants
    addresses = dict(before.addresses)
    keys = {key for one in touched for key in claimants.get(one, ())}
    former = {key for key, found in before.unlawful.items() if not touched.isdisjoint(found)}
    unlawful = still_unlawful(before.unlawful, keys | former, touched)
    gone: list[AddressRoutes] = []
    come: list[AddressRoutes] = []
    for address in touched:
        had = addresses.pop(address, None)
        pool, holders, refused = holders_of(
            address, claimants.get(address, ()), snapshot.services, ground.pools
        )
        has = None
        if pool is not None:
            has = addresses[address] = judge_address(ground, snapshot, address, pool, holders)
        if had != has:
            gone += [had] if had is not None else []
            come += [has] if has is not None else []
        for key, refusal in refused.items():
            unlawful[key] = {**unlawful.get(key, {}), address: refusal}
    demand = Demand(
        staying=counted(
            before.demand.staying,
            (asked for one in gone for asked in one.asked),
            (asked for one in come for asked in one.asked),
        ),
        parting=counted(
            before.demand.parting,
            (asked for one in gone for asked in one.parting),
            (asked for one in come for asked in one.parting),
        ),
    )
    news = frozenset(prefix for one in (*gone, *come) for prefix, _ in (*one.asked, *one.parting))
    return RoutePlan(
        ground=ground,
        claims=before.claims,
        unlawful=unlawful,
        addresses=addresses,
        demand=demand,
        tables=tables_of(ground, demand, before.tables, news),
        news=news,
    )


def judge_address(
    ground: Ground,
    snapshot: Snapshot,
    address: Address,
    pool: PoolName,
    holders: tuple[Service, ...],
) -> AddressRoutes:
    """Decide on an address: it is announced if it may be for one of the Services that hold it."""
    parts = [_part(ground, snapshot, address, pool, service) for service in holders]
    announcing = [part for part in parts if part.refused is None]
    return AddressRoutes(
        address=address,
        pool=pool,
        services=tuple([service.key for service in holders]),
        asked=_asked(address, announcing),
        parting=() if announcing else _asked(address, [one for one in parts if one.parting]),
        refused=None if announcing else parts[0].refused,
        hinges=any(part.hinges for part in parts),
    )


class _Part(NamedTuple):
    """Hold what one Service contributes; a named tuple, because one is made for every address."""

    offers: tuple[Offer, ...]
    refused: Refused | None
    parting: bool
    hinges: bool


def _asked(address: Address, parts: list[_Part]) -> tuple[Asked, ...]:
    family = family_of(address)
    offers = (
        parts[0].offers
        if len(parts) == 1
        else dict.fromkeys(offer for part in parts for offer in part.offers)
    )
    return tuple(
        [(prefix_of(address, offer.advertisement.length(family)), offer.name) for offer in offers]
    )


def _no(refused: Refused | None) -> _Part:
    return _Part(offers=(), refused=refused, parting=False, hinges=False)


def _part(
    ground: Ground, snapshot: Snapshot, address: Address, pool: PoolName, service: Service
) -> _Part:
    """Judge the part of one Service in an address, in the order in which one would repair."""
    family = family_of(address)
    matching = ground.matching(service, pool)
    if not matching:
        return _no(ground.uncovered(service, pool))
    told = ground.told(matching, family)
    if isinstance(told, Refused):
        return _no(told)
    too_wide = [ground.too_wide(one, address, pool) for one in told]
    if all(too_wide):
        return _no(too_wide[0])
    slices = snapshot.slices.get(service.key)
    endpoints = count_endpoints(slices.values() if slices else (), family)
    hinges = (
        service.traffic_policy is TrafficPolicy.LOCAL
        and ground.node in endpoints.draining_nodes
        and ground.node not in endpoints.ready_nodes
    )
    refused = endpoint_refusal(
        policy=service.traffic_policy,
        endpoints=endpoints,
        node=ground.node,
        ready_elsewhere=hinges and _ready_elsewhere(ground, endpoints, matching, family),
    )
    return _Part(
        offers=tuple([one for one, wide in zip(told, too_wide, strict=True) if wide is None]),
        refused=ground.refused or refused,
        parting=refused is None or hinges,
        hinges=hinges,
    )


def _ready_elsewhere(
    ground: Ground, endpoints: EndpointCount, matching: tuple[Offer, ...], family: Family
) -> bool:
    able = ground.able(family, tuple([one.name for one in matching]))
    return any(name in able for name in endpoints.ready_nodes)
