"""Who announces which address, with a yes or no and its reason for every node. Pure.

One plan for everybody: each speaker takes the part with its own name, the controller asks about
single addresses that nobody reports (`lbctl.plan.announced`), and `lbctl explain` takes the
whole. It depends on the snapshot alone, so all speakers that see the same world agree without
talking.

The plan is incremental: only the addresses that a changed Service has or had are judged again, and
those whose Reach a changed Node or speaker moved; an owner that stays is compared with newcomers
alone. Pools and advertisements change rarely; they ask for a full plan (`EVERYTHING`).
`plan_announcements(None, snapshot, EVERYTHING)` gives the same result, which a property holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lbctl.model.address import Address, family_of
from lbctl.model.names import LinkName, NodeName, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service, TrafficPolicy
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.claims import Claims, claims_after, claims_of, holders_of, still_unlawful
from lbctl.plan.election import elect, first, ranking, succeed
from lbctl.plan.eligibility import Eligible, Verdict, endpoint_refusal, serving_nodes
from lbctl.plan.endpoints import EndpointCount, count_endpoints
from lbctl.plan.reach import Contest, Reach, Reaches, moved, renewed, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hold one Service's part in an address: its endpoints and the nodes that it allows."""

    service: Service
    endpoints: EndpointCount
    reach: Reach
    nodes: frozenset[NodeName]
    """Nodes that may announce as far as this Service is concerned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPlan:
    """Hold the decision on one address that some Service lawfully shows.

    `services` are its lawful holders, the oldest first. `owner` is None when nobody may
    announce; `refused` then says why.
    """

    address: Address
    pool: PoolName
    services: tuple[ServiceKey, ...]
    owner: NodeName | None
    links: tuple[LinkName, ...]
    """The owner's links, sorted."""
    refused: Refused | None
    in_subnet: bool
    """Some able node has the address's subnet; False for a pool that lies in nobody's subnet."""
    parts: tuple[Part, ...]

    @property
    def anchor(self) -> Address:
        """Return the address that is hashed: the oldest holder's first one.

        So both addresses of a dual-stack Service go to one node where both can, and to the
        one that MetalLB would choose.
        """
        return _anchor(self.parts)

    @property
    def endpoints(self) -> EndpointCount:
        """Return the endpoints of the oldest holder."""
        return self.parts[0].endpoints

    def candidates(self) -> dict[NodeName, Verdict]:
        """Return the verdict on every node, by name; all but the owner carry a reason.

        Built on demand, because a plan has one decision and the whole list is for people.
        """
        part = _deciding(self.parts)
        verdicts: dict[NodeName, Verdict] = dict(part.reach.unable)
        for node, eligible in part.reach.able.items():
            if node == self.owner:
                verdicts[node] = eligible
            else:
                verdicts[node] = self._refusal(part, node)
        return dict(sorted(verdicts.items()))

    def order(self) -> tuple[NodeName, ...]:
        """Return the nodes that may announce, in the order of succession."""
        part = _deciding(self.parts)
        return ranking(
            _common(self.parts),
            self.anchor,
            weights=part.reach.weights,
            in_subnet=part.reach.in_subnet(self.address),
        )

    def _refusal(self, part: Part, node: NodeName) -> Refused:
        refused = endpoint_refusal(
            policy=part.service.traffic_policy,
            endpoints=part.endpoints,
            node=node,
            ready_elsewhere=any(name in part.reach.able for name in part.endpoints.ready_nodes),
        )
        if refused is not None:
            return refused
        chosen = f"node {self.owner} was elected" if self.owner else "nobody was elected"
        return Refused(reason=Reason.NOT_ELECTED, detail=chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Hold the whole plan; `unlawful` says why a Service's address in status is not announced."""

    addresses: Mapping[Address, AddressPlan]
    unlawful: Mapping[ServiceKey, Mapping[Address, Refused]]
    shown: Mapping[ServiceKey, tuple[Address, ...]]
    """The addresses of the Services that are ours: where the next plan looks for former ones."""
    claimants: Mapping[Address, frozenset[ServiceKey]]
    """`shown` turned around; derived."""
    reaches: Reaches = field(compare=False, repr=False)


def announcement_plan(
    snapshot: Snapshot, *, load_balancer_class: str | None = None
) -> Mapping[Address, AddressPlan]:
    """Return the plan for every address that is announced or could be, from nothing."""
    return plan_announcements(
        None, snapshot, EVERYTHING, load_balancer_class=load_balancer_class
    ).addresses


def plan_announcements(
    previous: Announcement | None,
    snapshot: Snapshot,
    changed: Changed,
    *,
    load_balancer_class: str | None,
) -> Announcement:
    """Return the plan for `snapshot`, judging again only what `changed` can touch.

    `changed.services` names the Services that changed or whose EndpointSlices did.
    """
    if previous is None or changed.everything:
        return _full_plan(snapshot, load_balancer_class, previous)
    if changed.nodes:
        reaches = renewed(previous.reaches, snapshot, changed.nodes)
        if reaches is None:
            return _full_plan(snapshot, load_balancer_class, previous)
        previous = replace(previous, addresses=_moved(previous, reaches), reaches=reaches)
    if not changed.services:
        return previous
    before = Claims(shown=previous.shown, claimants=previous.claimants)
    claims, touched = claims_after(before, snapshot.services, changed.services, load_balancer_class)
    addresses = dict(previous.addresses)
    for address in touched:
        addresses.pop(address, None)
    sharers = {key for one in touched for key in claims.claimants.get(one, ())}
    unlawful = still_unlawful(previous.unlawful, changed.services | sharers, touched)
    _judge(
        snapshot,
        previous.reaches,
        touched,
        claimants=claims.claimants,
        addresses=addresses,
        unlawful=unlawful,
        former=previous.addresses,
    )
    return Announcement(
        addresses=addresses,
        unlawful=unlawful,
        shown=claims.shown,
        claimants=claims.claimants,
        reaches=previous.reaches,
    )


def judge_addresses(
    snapshot: Snapshot,
    reaches: Reaches,
    claimants: Mapping[Address, frozenset[ServiceKey]],
    *,
    shown: Mapping[ServiceKey, tuple[Address, ...]] | None = None,
    former: Mapping[Address, AddressPlan] | None = None,
) -> Announcement:
    """Return the plan for these addresses alone; `claimants` are all Services that show each.

    `former` are the plans before, if any; they spare hashes and change nothing.
    """
    addresses: dict[Address, AddressPlan] = {}
    unlawful: dict[ServiceKey, Mapping[Address, Refused]] = {}
    _judge(
        snapshot,
        reaches,
        claimants,
        claimants=claimants,
        addresses=addresses,
        unlawful=unlawful,
        former=former or {},
    )
    return Announcement(
        addresses=addresses,
        unlawful=unlawful,
        shown=shown or {},
        claimants=claimants,
        reaches=reaches,
    )


def _moved(previous: Announcement, reaches: Reaches) -> Mapping[Address, AddressPlan]:
    """Return the plans with the Reaches that differ now; the very same map if none does."""
    fresh = moved(previous.reaches, reaches)
    if not fresh:
        return previous.addresses
    came = _Newcomers()
    addresses = dict(previous.addresses)
    for address, plan in previous.addresses.items():
        if any(id(part.reach) in fresh for part in plan.parts):
            parts = tuple(
                _part(part.service, part.endpoints, fresh.get(id(part.reach), part.reach))
                for part in plan.parts
            )
            addresses[address] = _decide(reaches, address, plan.pool, parts, plan, came)
    return addresses


def _full_plan(
    snapshot: Snapshot, load_balancer_class: str | None, previous: Announcement | None
) -> Announcement:
    claims = claims_of(snapshot.services, load_balancer_class)
    former = {} if previous is None else previous.addresses
    return judge_addresses(
        snapshot, survey(snapshot), claims.claimants, shown=claims.shown, former=former
    )


def _judge(
    snapshot: Snapshot,
    reaches: Reaches,
    touched: Iterable[Address],
    *,
    claimants: Mapping[Address, frozenset[ServiceKey]],
    addresses: dict[Address, AddressPlan],
    unlawful: dict[ServiceKey, Mapping[Address, Refused]],
    former: Mapping[Address, AddressPlan],
) -> None:
    """Fill `addresses` and `unlawful` for the addresses in `touched`."""
    came = _Newcomers()
    for address in touched:
        pool, holders, refused = holders_of(
            address, claimants.get(address, ()), snapshot.services, reaches.pools
        )
        if pool is not None:
            parts = tuple(_judged(snapshot, reaches, address, pool, holder) for holder in holders)
            addresses[address] = _decide(reaches, address, pool, parts, former.get(address), came)
        for key, refusal in refused.items():
            unlawful[key] = {**unlawful.get(key, {}), address: refusal}


class _Newcomers:
    """Remember, for one call, who came into a set of nodes since another: few pairs, many asks."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], frozenset[NodeName]] = {}

    def since(self, before: frozenset[NodeName], now: frozenset[NodeName]) -> frozenset[NodeName]:
        # The plans of both moments hold the sets for as long as this lives.
        pair = (id(before), id(now))
        if pair not in self._known:
            self._known[pair] = now - before
        return self._known[pair]


def _decide(  # noqa: PLR0917 - private, both calls side by side above
    reaches: Reaches,
    address: Address,
    pool: PoolName,
    parts: tuple[Part, ...],
    former: AddressPlan | None,
    came: _Newcomers,
) -> AddressPlan:
    deciding = _deciding(parts)
    owner = _owner(address, parts, former, came)
    return AddressPlan(
        address=address,
        pool=pool,
        services=tuple([part.service.key for part in parts]),
        owner=owner,
        links=deciding.reach.able[owner].links if owner is not None else (),
        refused=None
        if owner is not None
        else reaches.uncovered(deciding.service, pool) or _why_nobody(deciding),
        in_subnet=bool(deciding.reach.in_subnet(address)),
        parts=parts,
    )


def _owner(
    address: Address, parts: tuple[Part, ...], former: AddressPlan | None, came: _Newcomers
) -> NodeName | None:
    anchor = _anchor(parts)
    contest = _contest(address, parts)
    if contest is None:
        reach = _deciding(parts).reach
        return elect(
            _common(parts), anchor, weights=reach.weights, in_subnet=reach.in_subnet(address)
        )
    before = _contest(address, former.parts) if former and former.anchor == anchor else None
    if former is None or before is None:
        return first(contest.nodes, anchor)
    if before.nodes is contest.nodes:
        return former.owner
    newcomers = came.since(before.nodes, contest.nodes)
    return succeed(former.owner, contest.nodes, newcomers, anchor)


def _contest(address: Address, parts: tuple[Part, ...]) -> Contest | None:
    """Return the contest of an address that every able node may announce, else None."""
    reach = parts[0].reach
    alike = all(part.reach is reach and part.nodes is reach.nodes for part in parts)
    return reach.contest(address) if alike else None


def _judged(
    snapshot: Snapshot, reaches: Reaches, address: Address, pool: PoolName, service: Service
) -> Part:
    slices = snapshot.slices.get(service.key)
    endpoints = count_endpoints(slices.values() if slices else (), family_of(address))
    return _part(service, endpoints, reaches.reach(service, pool, address))


def _part(service: Service, endpoints: EndpointCount, reach: Reach) -> Part:
    policy = service.traffic_policy
    if policy is TrafficPolicy.CLUSTER and endpoints.usable:
        # The very set: thousands of Services share it.
        nodes = reach.nodes
    else:
        nodes = frozenset(serving_nodes(policy=policy, endpoints=endpoints, able=reach.able.keys()))
    return Part(service=service, endpoints=endpoints, reach=reach, nodes=nodes)


def _deciding(parts: tuple[Part, ...]) -> Part:
    return next((part for part in parts if part.nodes), parts[0])


def _anchor(parts: tuple[Part, ...]) -> Address:
    return parts[0].service.addresses[0]


def _common(parts: tuple[Part, ...]) -> Collection[NodeName]:
    """Return the nodes that may announce for all Services on the address that have any.

    A shared address has one owner. Where no node serves all, the oldest Service decides.
    """
    choices = [part.nodes for part in parts if part.nodes]
    if not choices:
        return frozenset()
    if len(choices) == 1:
        return choices[0]
    return frozenset.intersection(*choices) or choices[0]


def _why_nobody(part: Part) -> Refused:
    """Sum up the refusals: the endpoints if nodes are able, else the nodes' own."""
    if part.reach.refused is not None:
        return part.reach.refused
    if part.endpoints.usable == 0:
        return Refused(reason=Reason.NO_ENDPOINTS, detail=f"the Service has {part.endpoints}")
    return Refused(
        reason=Reason.NO_LOCAL_ENDPOINTS,
        detail="no node that may announce has a usable endpoint",
    )


__all__ = [
    "AddressPlan",
    "Announcement",
    "Eligible",
    "Part",
    "Verdict",
    "announcement_plan",
    "judge_addresses",
    "plan_announcements",
]
