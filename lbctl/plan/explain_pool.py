"""Explain one pool: is it in effect, what is left, who may use it, who has it, who tells of it. Pure.

The verdict and the counters are the allocator's own; what covers the pool is asked of the same
value that the announcement plan uses. A pool that no advertisement covers gives addresses that
nobody announces, the commonest mistake of all: the answer then holds the object that cures it.
Called by `lbctl explain pool`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lbctl.model.address import Address, Family
from lbctl.model.advertisement import Advertisement, BGPAdvertisement
from lbctl.model.allocation import Outcome
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.pool import Pool, ServiceAllocation
from lbctl.model.reason import Reason
from lbctl.model.selector import Operator, Requirement, Selector
from lbctl.model.snapshot import Snapshot
from lbctl.plan.advertisements import covers, unknown_communities
from lbctl.plan.allocation import Plan
from lbctl.plan.announced import advertisement_lines
from lbctl.plan.announcement import Announcement
from lbctl.plan.communities import judge_communities
from lbctl.plan.pools import join_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyCount:
    """Count the addresses of one family; a pool that is not in effect counts nothing."""

    family: Family
    assigned: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Hold a Service that has addresses of the pool."""

    service: ServiceKey
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Covering:
    """Hold an advertisement that covers the pool, and what it narrows."""

    name: str
    narrows: str
    """Empty if it speaks of every node, Service and interface (or BGP peer)."""
    waits: str = ""
    """Why it is not in effect; empty if it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """Hold everything there is to say about one pool object."""

    pool: PoolName
    accepted: bool
    reason: Reason
    detail: str
    ranges: tuple[str, ...]
    families: tuple[FamilyCount, ...]
    users: str
    """Who may get an address of it, in one sentence."""
    services: tuple[Member, ...]
    advertisements: tuple[Covering, ...]
    bgp_advertisements: tuple[Covering, ...]
    rejected_advertisements: tuple[str, ...]
    """Advertisements that cannot be read: one of them may be meant for this pool."""
    cure: tuple[str, ...]
    """The object that makes the pool announced, as lines of YAML; empty if one covers it."""

    @property
    def fine(self) -> bool:
        return self.accepted and self.covered

    @property
    def covered(self) -> bool:
        """Return whether some advertisement in effect, of either protocol, covers the pool."""
        return bool(self.advertisements) or any(not one.waits for one in self.bgp_advertisements)


def pool_key(name: str, snapshot: Snapshot) -> ObjectKey | None:
    """Return the key of the pool object of this name, or None."""
    return next((key for key in sorted(snapshot.pools) if key.name == name), None)


def explain_pool(
    key: ObjectKey,
    snapshot: Snapshot,
    plan: Plan,
    announcement: Announcement,
    *,
    api_version: str,
) -> PoolFacts:
    """Return the facts on the pool object `key`; `api_version` is that of the cure."""
    entry = snapshot.pools[key]
    name = PoolName(key.name)
    verdict = plan.verdicts[key]
    covering = announcement.reaches.covering(name)
    by_bgp = tuple(_bgp_covering(snapshot, entry))
    covered = bool(covering) or any(not one.waits for one in by_bgp)
    return PoolFacts(
        pool=name,
        accepted=verdict.accepted,
        reason=verdict.reason,
        detail=verdict.message,
        ranges=tuple(map(str, entry.spec.ranges)) if entry.spec else (),
        families=_families(name, entry, plan),
        users=_users(entry.spec),
        services=tuple(_members(name, plan)),
        advertisements=tuple(Covering(name=one.name, narrows=narrows(one)) for one in covering),
        bgp_advertisements=by_bgp,
        rejected_advertisements=(
            *(one.name for one, found in sorted(snapshot.advertisements.items()) if not found.spec),
            *(
                one.name
                for one, found in sorted(snapshot.bgp_advertisements.items())
                if not found.spec
            ),
        ),
        cure=() if covered else advertisement_lines(key, snapshot.advertisements, api_version),
    )


def _families(name: PoolName, entry: Configured[Pool], plan: Plan) -> tuple[FamilyCount, ...]:
    if name not in plan.counters or entry.spec is None:
        return ()
    assigned4, assigned6, available4, available6 = plan.counters[name]
    counts = (
        FamilyCount(family=Family.IPV4, assigned=assigned4, available=available4),
        FamilyCount(family=Family.IPV6, assigned=assigned6, available=available6),
    )
    return tuple(one for one in counts if one.family in entry.spec.families)


def _members(name: PoolName, plan: Plan) -> list[Member]:
    found = []
    for key, outcome in plan.outcomes.items():
        if not isinstance(outcome, Outcome):
            continue
        pairs = zip(outcome.addresses, outcome.pools, strict=True)
        own = tuple(address for address, pool in pairs if pool == name)
        if own:
            found.append(Member(service=key, addresses=own))
    return sorted(found, key=lambda one: one.service)


def _users(pool: Pool | None) -> str:
    if pool is None:
        return "nobody: the object cannot be read"
    asking = "" if pool.auto_assign else ", and asks for the pool or an address (autoAssign: false)"
    buggy = (
        "; addresses of .0 and .255 are left out (avoidBuggyIPs)" if pool.avoid_buggy_ips else ""
    )
    return f"every Service {_rule(pool.allocation)}{asking}{buggy}"


def _rule(rule: ServiceAllocation | None) -> str:
    if rule is None:
        return "of the class that this installation serves"
    namespaces = []
    if rule.namespaces:
        namespaces.append(f"is in {' or '.join(sorted(rule.namespaces))}")
    namespaces += [
        f"is in a namespace with {selector_text(one)}" for one in rule.namespace_selectors
    ]
    parts = [" or ".join(namespaces)] if namespaces else []
    if rule.service_selectors:
        parts.append("has " + " or ".join(selector_text(one) for one in rule.service_selectors))
    priority = (
        f"priority {rule.priority}" if rule.priority else "no priority, so after those with one"
    )
    who = f"that {' and '.join(parts)}" if parts else "of the class that this installation serves"
    return f"{who} (serviceAllocation, {priority})"


def _bgp_covering(snapshot: Snapshot, pool: Configured[Pool]) -> Iterator[Covering]:
    aliases = judge_communities(snapshot.communities).values
    for _, entry in sorted(snapshot.bgp_advertisements.items()):
        if entry.spec is not None and covers(entry.spec, pool):
            missing = unknown_communities(entry.spec, aliases)
            yield Covering(
                name=entry.spec.name, narrows=narrows(entry.spec), waits=join_problems(missing)
            )


def narrows(advertisement: Advertisement) -> str:
    """Return in words what an advertisement speaks of less than all; empty if of everything."""
    parts = []
    if advertisement.node_selectors:
        nodes = " or ".join(selector_text(one) for one in advertisement.node_selectors)
        parts.append(f"nodes with {nodes}")
    if advertisement.service_selectors:
        services = " or ".join(selector_text(one) for one in advertisement.service_selectors)
        parts.append(f"Services with {services}")
    if isinstance(advertisement, BGPAdvertisement):
        if advertisement.peers:
            parts.append(f"peers {', '.join(sorted(advertisement.peers))}")
    elif advertisement.interfaces:
        parts.append(f"interfaces {', '.join(sorted(advertisement.interfaces))}")
    return "; ".join(parts)


def selector_text(selector: Selector) -> str:
    """Return a label selector as kubectl's `-l` spells it."""
    return ",".join(_requirement(one) for one in selector.requirements) or "any labels"


def _requirement(one: Requirement) -> str:
    values = sorted(one.values)
    match one.operator:
        case Operator.IN:
            return f"{one.key}={values[0]}" if len(values) == 1 else f"{one.key} in {_set(values)}"
        case Operator.NOT_IN:
            return f"{one.key} notin {_set(values)}"
        case Operator.EXISTS:
            return one.key
        case Operator.DOES_NOT_EXIST:
            return f"!{one.key}"


def _set(values: list[str]) -> str:
    return f"({','.join(values)})"
