"""Which Services lawfully hold an address, so that it may be announced for them. Pure.

The status is written by the controller, but a paused leader or a person may leave nonsense in it;
a speaker believes an entry only if the Service is ours, the address lies in a pool, and nobody
older holds the same address without sharing it (never announce the younger). A pool that was
edited into nonsense has no ranges any more, but its Services keep their addresses: then the mark
on the Service counts. Called by `lbctl.plan.announcement`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from lbctl.model.address import Address
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.plan.sharing import sharing_refusal

LOAD_BALANCER: Final = "LoadBalancer"

PoolsByName = Mapping[PoolName, Configured[Pool]]


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
    holders: list[Service] = []
    refused: dict[ServiceKey, Refused] = {}
    for service in sorted(claimants, key=seniority):
        refusal = sharing_refusal(service, holders)
        if refusal is None:
            holders.append(service)
        else:
            refused[service.key] = refusal
    return tuple(holders), refused


def seniority(service: Service) -> tuple[str, str, str]:
    """Order Services by age; names decide within one second."""
    return (service.created, service.key.namespace, service.key.name)


def _marks(service: Service) -> Iterable[str]:
    return (name.strip() for name in service.mark.split(",") if name.strip())
