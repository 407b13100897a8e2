"""Allocate addresses the dumb way: loops over every address of small pools, from nothing each time.

It knows the rules and none of the cleverness: no ledger, no cursor, no lines, no incremental plan.
The property test asks it the same question as the allocator and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import ServiceKey
from lbctl.model.pool import Pool
from lbctl.model.service import FamilyPolicy, Service
from lbctl.model.snapshot import Snapshot


@dataclass(kw_only=True)
class World:
    """Hold what the oracle is asked about; `freed` has the longest free address first."""

    snapshot: Snapshot
    pools: list[Pool]
    """Those in effect."""
    limbo: Mapping[str, Pool | None]
    freed: list[Address]
    in_use: set[Address]
    """What the plan before had given."""
    waiting: set[ServiceKey]
    holders: dict[Address, list[Service]] = field(default_factory=dict)


def allocate(world: World) -> dict[ServiceKey, dict[Family, Address]]:
    """Return the addresses of every Service that is ours."""
    ours = [
        service for service in by_age(world.snapshot.services.values()) if is_ours(world, service)
    ]
    kept = {service.key: adopt(world, service) for service in ours}
    let_go = [address for address in world.in_use if address not in world.holders]
    world.freed.extend(sorted(let_go, key=lambda item: (item.version, int(item))))
    named_now = [
        service
        for service in ours
        if service.request.addresses and wish(world, service, kept[service.key])
    ]
    wanted_by_name = {
        service.key: set(wish(world, service, kept[service.key]).values()) for service in named_now
    }
    waiting = [service for service in ours if service.key in world.waiting]
    fresh = [service for service in ours if service.key not in world.waiting]
    named = [service for service in fresh if service.request.addresses]
    others = [service for service in fresh if not service.request.addresses]
    for service in (*waiting, *named, *others):
        wanted_by_name.pop(service.key, None)
        avoid: set[Address] = set().union(*wanted_by_name.values())
        got = wish(world, service, kept[service.key], avoid)
        for family, address in got.items():
            world.holders.setdefault(address, []).append(service)
            kept[service.key][family] = address
    return kept


def by_age(services: Iterable[Service]) -> list[Service]:
    return sorted(services, key=lambda item: (item.created, item.key.namespace, item.key.name))


def is_ours(world: World, service: Service) -> bool:
    if service.type != "LoadBalancer" or service.load_balancer_class is not None:
        return False
    known = all(
        owner(world, address) or any(pool and address in pool for pool in world.limbo.values())
        for address in service.addresses
    )
    return bool(service.mark) or (known and not service.hostnames)


def owner(world: World, address: Address) -> Pool | None:
    return next((pool for pool in world.pools if address in pool), None)


def serves(world: World, pool: Pool, service: Service) -> bool:
    rule = pool.allocation
    if rule is None:
        return True
    namespace = service.key.namespace
    labels = world.snapshot.namespaces.get(namespace, {})
    if rule.namespaces or rule.namespace_selectors:
        chosen = namespace in rule.namespaces or any(
            selector.matches(labels) for selector in rule.namespace_selectors
        )
        if not chosen:
            return False
    return not rule.service_selectors or any(
        selector.matches(service.labels) for selector in rule.service_selectors
    )


def may_share(service: Service, other: Service) -> bool:
    if service.key == other.key:
        return True
    if not service.sharing_key or service.sharing_key != other.sharing_key:
        return False
    if service.traffic_policy != other.traffic_policy:
        return False
    if service.traffic_policy == "Local" and service.selector != other.selector:
        return False
    ports = {(port.protocol, port.port) for port in service.ports}
    return not any((port.protocol, port.port) in ports for port in other.ports)


def fits(world: World, service: Service, address: Address) -> bool:
    return all(may_share(service, other) for other in world.holders.get(address, []))


def adopt(world: World, service: Service) -> dict[Family, Address]:
    kept: dict[Family, Address] = {}
    readable = service.request.problem is None
    for address in service.addresses:
        family = family_of(address)
        pool = owner(world, address)
        names: list[str] = []
        if pool is not None and serves(world, pool, service):
            names.append(pool.name)
        marked = service.mark.split(",")[-1 if family is Family.IPV6 else 0]
        marks = [marked] if marked in world.limbo else []
        inside = [name for name, spec in world.limbo.items() if spec and address in spec]
        names.extend((marks or inside)[:1])
        if readable and service.request.pool:
            names = [name for name in names if name == service.request.pool]
        if readable and service.request.addresses and address not in service.request.addresses:
            continue
        if not service.cluster_ips or family not in service.families or family in kept or not names:
            continue
        if fits(world, service, address):
            kept[family] = address
            world.holders.setdefault(address, []).append(service)
    return kept


def wish(
    world: World, service: Service, kept: dict[Family, Address], avoid: Iterable[Address] = ()
) -> dict[Family, Address]:
    """Return what the Service would get now for the families that it lacks."""
    request = service.request
    if request.problem or not service.cluster_ips:
        return {}
    if request.addresses and {family_of(item) for item in request.addresses} != set(
        service.families
    ):
        return {}
    got: dict[Family, Address] = {}
    missing = [family for family in Family if family in service.families and family not in kept]
    for family in missing:
        address = (
            by_name(world, service, family)
            if request.addresses
            else first_free(world, service, family, set(avoid))
            or first_free(world, service, family, set())
        )
        if address is not None:
            got[family] = address
    strict = service.family_policy is not FamilyPolicy.PREFER_DUAL_STACK and not kept
    return {} if strict and len(got) < len(missing) else got


def by_name(world: World, service: Service, family: Family) -> Address | None:
    address = next(item for item in service.request.addresses if family_of(item) is family)
    pool = owner(world, address)
    if pool is None or not serves(world, pool, service) or not fits(world, service, address):
        return None
    return address if service.request.pool in (None, pool.name) else None


def first_free(
    world: World, service: Service, family: Family, avoid: set[Address]
) -> Address | None:
    for pool in ranked(world.pools):
        if service.request.pool not in (None, pool.name):
            continue
        if not serves(world, pool, service) or not (pool.auto_assign or service.request.pool):
            continue
        everything = [item for item in every_address(pool) if family_of(item) is family]
        shared = [
            item for item in everything if world.holders.get(item) and fits(world, service, item)
        ]
        free = [item for item in everything if not world.holders.get(item) and item not in avoid]
        never = [item for item in free if item not in world.freed]
        again = sorted((item for item in free if item in world.freed), key=world.freed.index)
        for choice in (shared, never, again):
            if choice:
                return choice[0]
    return None


def ranked(pools: Iterable[Pool]) -> list[Pool]:
    pinned = [pool for pool in pools if pool.allocation is not None]
    general = [pool for pool in pools if pool.allocation is None]

    def priority(pool: Pool) -> float:
        assert pool.allocation is not None
        return pool.allocation.priority or float("inf")

    return sorted(pinned, key=lambda pool: (priority(pool), pool.name)) + sorted(
        general, key=lambda pool: pool.name
    )


def every_address(pool: Pool) -> list[Address]:
    return [
        address
        for block in pool.ranges
        for number in range(int(block.first), int(block.last) + 1)
        if (address := ip_address(number) if block.family is Family.IPV4 else _ipv6(number)) in pool
    ]


def _ipv6(number: int) -> Address:
    return ip_address(number.to_bytes(16, "big"))
