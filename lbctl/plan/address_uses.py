"""Say who has an address, who announces it, and whether it could be given. Pure.

One row for each address that a plan gives or a status shows, and for one address alone everything
there is to say about it, also when nobody has it. Nothing is decided here: the rows are the
allocator's plan, the announcement plan and what speakers report, side by side. Called by
`lbctl get addresses` and `lbctl explain address`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.address import Address
from lbctl.model.allocation import Outcome
from lbctl.model.names import LinkName, NodeName, PeerName, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.pool import Pool, is_buggy
from lbctl.model.reason import Reason
from lbctl.model.snapshot import Snapshot
from lbctl.plan.allocation import Plan
from lbctl.plan.announced import Sent, nearest, unreported
from lbctl.plan.announcement import Announcement
from lbctl.plan.checklist_steps import some
from lbctl.plan.explain import Candidate, candidates_of
from lbctl.plan.slots import slot_of
from lbctl.plan.telling import NOBODY, PeerAnswer, Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressUse:
    """Hold one address in use: the intent (`owner`) and what speakers say they sent."""

    address: Address
    pool: PoolName | None
    services: tuple[ServiceKey, ...]
    """All that share it, the oldest lawful holder first."""
    owner: NodeName | None
    links: tuple[LinkName, ...]
    sent: tuple[NodeName, ...]
    refused: Refused | None
    """Why no speaker reports that it announces it; None if one does."""
    peers: tuple[PeerName, ...] = ()
    """The BGP peers that have confirmed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingPool:
    """Hold one pool object with the address in its ranges, and whether it may give it."""

    pool: PoolName
    gives: bool
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Name a Service that asks for the address by name and does not have it."""

    service: ServiceKey
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFacts:
    """Hold everything there is to say about one address."""

    address: Address
    free: bool
    """A pool in effect holds it, and nobody has it."""
    verdict: str
    """The answer in one sentence."""
    pools: tuple[HoldingPool, ...]
    use: AddressUse | None
    candidates: tuple[Candidate, ...]
    asking: tuple[Asking, ...]
    elsewhere: tuple[ServiceKey, ...]
    """Services that are not ours, or may not have it, whose status shows it."""
    peers: tuple[PeerAnswer, ...] = ()
    """What BGP peers are told of it; empty where nothing is about BGP."""

    @property
    def fine(self) -> bool:
        """Return whether there is nothing to repair: announced, or free to be given."""
        if self.use is not None:
            return self.use.refused is None
        return self.free and not self.elsewhere


def address_uses(
    plan: Plan,
    announcement: Announcement,
    sent: Mapping[ServiceKey, tuple[Sent, ...]],
    telling: Telling = NOBODY,
) -> tuple[AddressUse, ...]:
    """Return a row for every address that is given or lawfully shown, in the order of addresses."""
    given = _given(plan)
    return tuple(
        _use(address, given.get(address, {}), announcement, sent, telling)
        for address in sorted({*given, *announcement.addresses}, key=slot_of)
    )


def explain_address(
    address: Address,
    snapshot: Snapshot,
    plan: Plan,
    announcement: Announcement,
    sent: Mapping[ServiceKey, tuple[Sent, ...]],
    *,
    telling: Telling = NOBODY,
) -> AddressFacts:
    """Return the facts on one address, whether anybody has it or not."""
    given = _given(plan).get(address, {})
    known = announcement.addresses.get(address)
    use = _use(address, given, announcement, sent, telling) if given or known else None
    pools = tuple(_holding(address, snapshot, plan))
    elsewhere = tuple(
        sorted(
            key
            for key, service in snapshot.services.items()
            if address in service.addresses and (use is None or key not in use.services)
        )
    )
    free = use is None and any(one.gives for one in pools)
    return AddressFacts(
        address=address,
        free=free,
        verdict=_verdict(address, use, pools, elsewhere),
        pools=pools,
        use=use,
        candidates=() if known is None else candidates_of(known, use.sent if use else ()),
        asking=tuple(sorted(_asking(address, snapshot, plan), key=lambda one: one.service)),
        elsewhere=elsewhere,
        peers=() if known is None else telling.answers(address),
    )


def _given(plan: Plan) -> dict[Address, dict[ServiceKey, PoolName]]:
    """Return who gets each address, and from which pool."""
    given: dict[Address, dict[ServiceKey, PoolName]] = {}
    for key, outcome in plan.outcomes.items():
        if isinstance(outcome, Outcome):
            for address, pool in zip(outcome.addresses, outcome.pools, strict=True):
                given.setdefault(address, {})[key] = pool
    return given


def _use(
    address: Address,
    given: Mapping[ServiceKey, PoolName],
    announcement: Announcement,
    sent: Mapping[ServiceKey, tuple[Sent, ...]],
    telling: Telling,
) -> AddressUse:
    known = announcement.addresses.get(address)
    services = tuple(dict.fromkeys([*(known.services if known else ()), *sorted(given)]))
    told = tuple(
        dict.fromkeys(
            one.node for key in services for one in sent.get(key, ()) if one.tells_of(address)
        )
    )
    peers: tuple[PeerName, ...] = ()
    if known is None:
        refused: Refused | None = Refused(
            reason=Reason.NOT_ALLOCATED,
            detail="no status shows the address yet; the controller writes it",
        )
    else:
        # Its lawful holders are told alike.
        holder = known.services[0]
        peers = telling.told(holder, address)
        refused = known.refused if told else unreported(known)
        if peers:
            refused = None
        elif refused is not None and not told:
            refused = nearest(refused, telling.why_not(holder, address))
    return AddressUse(
        address=address,
        pool=known.pool if known else next(iter(given.values()), None),
        services=services,
        owner=known.owner if known else None,
        links=known.links if known else (),
        sent=told,
        refused=refused,
        peers=peers,
    )


def _holding(address: Address, snapshot: Snapshot, plan: Plan) -> list[HoldingPool]:
    found = []
    for key, entry in sorted(snapshot.pools.items()):
        pool = entry.spec
        if pool is None or not any(address in block for block in pool.ranges):
            continue
        verdict = plan.verdicts[key]
        gives, reason, detail = verdict.accepted, verdict.reason, verdict.message
        if gives and pool.avoid_buggy_ips and is_buggy(address):
            gives, detail = False, "avoidBuggyIPs: the pool never gives addresses of .0 and .255"
        elif gives:
            detail = _who(pool)
        found.append(
            HoldingPool(pool=PoolName(key.name), gives=gives, reason=reason, detail=detail)
        )
    return found


def _who(pool: Pool) -> str:
    if not pool.auto_assign:
        return "given to Services that ask for the pool or the address (autoAssign: false)"
    if pool.allocation is not None:
        return "given to Services that serviceAllocation selects"
    return "given to any Service"


def _asking(address: Address, snapshot: Snapshot, plan: Plan) -> list[Asking]:
    found = []
    for key, service in snapshot.services.items():
        outcome = plan.outcomes.get(key)
        if address not in service.request.addresses or not isinstance(outcome, Outcome):
            continue
        if address not in outcome.addresses and outcome.refused is not None:
            found.append(
                Asking(service=key, reason=outcome.refused.reason, detail=outcome.refused.detail)
            )
    return found


def _verdict(
    address: Address,
    use: AddressUse | None,
    pools: tuple[HoldingPool, ...],
    elsewhere: tuple[ServiceKey, ...],
) -> str:
    if use is not None:
        names = ", ".join(map(str, use.services))
        if use.refused is None:
            ways = [f"node {use.owner}"] if use.owner is not None and use.sent else []
            ways += [f"BGP to {some(use.peers)}"] if use.peers else []
            return f"in use by {names}, announced by {' and by '.join(ways)}"
        by = "not reported" if use.owner is not None else "announced by nobody"
        return f"in use by {names}, {by}: {use.refused.reason}: {use.refused.detail}"
    if elsewhere:
        return f"the status of {', '.join(map(str, elsewhere))} shows it, and lbctl did not give it"
    giving = next((one for one in pools if one.gives), None)
    if giving is not None:
        return f"free: pool {giving.pool} holds it"
    if pools:
        return f"never given: {pools[0].pool} holds it, {pools[0].reason}: {pools[0].detail}"
    return f"{Reason.ADDRESS_NOT_IN_ANY_POOL}: no pool holds {address}; lbctl never gives it"
