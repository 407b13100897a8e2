"""Which Services lawfully hold an address, so that it may be announced for them. Pure.

The status is written by the controller, but a paused leader or a person may leave nonsense in it;
a speaker believes an entry only if the Service is ours, the address lies in a pool, and nobody
older holds the same address without sharing it (never announce the younger). A pool that was
edited into nonsense has no ranges any more, but its Services keep their addresses: then the mark
on the Service counts. `Claims` follows who shows what from one plan to the next. Called by
`lbctl.plan.announcement` and `lbctl.plan.routes`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lbctl.model.address import Address
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.plan.sharing import Sharers

LOAD_BALANCER: Final = "LoadBalancer"

PoolsByName = Mapping[PoolName, Configured[Pool]]


Services = Mapping[ServiceKey, Service]
Unlawful = Mapping[ServiceKey, Mapping[Address, Refused]]
"""Why an address in a Service's status is not announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Hold the addresses that Services of ours show, and the same turned around."""

    shown: Mapping[ServiceKey, tuple[Address, ...]] = field(default_factory=dict)
    claimants: Mapping[Address, frozenset[ServiceKey]] = field(default_factory=dict)


def claims_of(services: Services, load_balancer_class: str | None) -> Claims:
    """Return who shows what, from nothing."""
    shown: dict[ServiceKey, tuple[Address, ...]] = {}
    claimants: dict[Address, list[ServiceKey]] = {}
    for key, service in services.items():
        found = _shown(service, load_balancer_class)
        if found:
            shown[key] = found
        for address in found:
            claimants.setdefault(address, []).append(key)
    return Claims(
        shown=shown, claimants={address: frozenset(keys) for address, keys in claimants.items()}
    )


def claims_after(
    before: Claims,
    services: Services,
    changed: Iterable[ServiceKey],
    load_balancer_class: str | None,
) -> tuple[Claims, frozenset[Address]]:
    """Return who shows what now, and the addresses that a changed Service has or had."""
    shown = dict(before.shown)
    claimants = dict(before.claimants)
    touched: dict[Address, set[ServiceKey]] = {}
    for key in changed:
        had = shown.pop(key, ())
        has = _shown(services.get(key), load_balancer_class)
        for address in {*had, *has}.difference(touched):
            touched[address] = set(claimants.pop(address, ()))
        for address in had:
            touched[address].discard(key)
        for address in has:
            touched[address].add(key)
        if has:
            shown[key] = has
    claimants |= {address: frozenset(keys) for address, keys in touched.items() if keys}
    return Claims(shown=shown, claimants=claimants), frozenset(touched)


def _shown(service: Service | None, load_balancer_class: str | None) -> tuple[Address, ...]:
    if service is None or not service.addresses or ours(service, load_balancer_class) is not None:
        return ()
    return tuple(dict.fromkeys(service.addresses))


def still_unlawful(
    unlawful: Unlawful, keys: Iterable[ServiceKey], touched: Collection[Address]
) -> dict[ServiceKey, Mapping[Address, Refused]]:
    """Return what stays of `unlawful` when these addresses of these Services are judged again."""
    stays = dict(unlawful)
    for key in keys:
        kept = {a: no for a, no in stays.pop(key, {}).items() if a not in touched}
        if kept:
            stays[key] = kept
    return stays


def holders_of(
    address: Address, claimants: Iterable[ServiceKey], services: Services, pools: PoolsByName
) -> tuple[PoolName | None, tuple[Service, ...], dict[ServiceKey, Refused]]:
    """Return the pool of an address, its lawful holders, and why not the other claimants.

    Without a pool nobody holds it.
    """
    found: list[Service] = []
    refused: dict[ServiceKey, Refused] = {}
    for key in claimants:
        service = services.get(key)
        if service is None:
            # Deleted from the live map an instant ago; its change is still on the way.
            continue
        if pool_of(address, service, pools) is None:
            refused[key] = Refused(
                reason=Reason.ADDRESS_NOT_IN_ANY_POOL, detail=f"{address} lies in no pool"
            )
        else:
            found.append(service)
    if not found:
        return None, (), refused
    holders, younger = lawful_holders(found)
    return pool_of(address, holders[0], pools), holders, refused | younger


def pools_by_name(pools: Mapping[ObjectKey, Configured[Pool]]) -> PoolsByName:
    """Return the pools, oldest first; the name decides between two of one second."""
    ordered = sorted(pools.values(), key=lambda item: (item.created, item.key.name))
    return {PoolName(item.key.name): item for item in ordered}


def ours(service: Service, load_balancer_class: str | None) -> Refused | None:
    """Return why the Service is none of our business, or None if it is ours."""
    if service.type != LOAD_BALANCER:
        return Refused(
            reason=Reason.NOT_LOAD_BALANCER, detail=f"the Service's type is {service.type}"
        )
    if service.load_balancer_class != load_balancer_class:
        return Refused(
            reason=Reason.FOREIGN_CLASS,
            detail=f"the Service's class is {service.load_balancer_class or 'the default one'}, "
            f"this installation serves {load_balancer_class or 'the default one'}",
        )
    return None


def pool_of(address: Address, service: Service, pools: PoolsByName) -> PoolName | None:
    """Return the pool that the Service has the address from.

    A pool that the mark names goes first: it is right, and quick to look up. Buggy addresses
    (`avoidBuggyIPs`) stay lawful here until the controller has moved the Service.
    """
    marked = [name for name in map(PoolName, _marks(service)) if name in pools]
    for name in (*marked, *pools):
        spec = pools[name].spec
        if spec is not None and any(address in block for block in spec.ranges):
            return name
    return next((name for name in marked if pools[name].spec is None), None)


def lawful_holders(
    claimants: Collection[Service],
) -> tuple[tuple[Service, ...], dict[ServiceKey, Refused]]:
    """Split the Services that show one address: those who may have it, and why not the others.

    The oldest holds it; each younger one only if it shares the address with all before it.
    """
    if len(claimants) == 1:
        return tuple(claimants), {}
    holders = Sharers()
    refused: dict[ServiceKey, Refused] = {}
    for service in sorted(claimants, key=seniority):
        refusal = holders.refusal(service)
        if refusal is None:
            holders.join(service)
        else:
            refused[service.key] = refusal
    return tuple(holders), refused


def seniority(service: Service) -> tuple[str, str, str]:
    """Order Services by age; names decide within one second."""
    return (service.created, service.key.namespace, service.key.name)


def _marks(service: Service) -> Iterable[str]:
    return (name.strip() for name in service.mark.split(",") if name.strip())
