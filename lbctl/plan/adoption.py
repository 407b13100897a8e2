"""Decide whose a Service is, and which addresses it keeps. Pure.

Adopting comes before everything else: an address that a Service has and may have stays, at a
start, at a restart and at every plan after. What it has is what the plan before gave it, else
what its status shows, so a status that somebody emptied or edited gets the same address back.
Called by `lbctl.plan.allocation`, in order of age: of two Services that cannot have one address
together the older keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from lbctl.model.address import Address, Family, family_of
from lbctl.model.allocation import NotOurs, Outcome, Tried
from lbctl.model.names import PoolName
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import ObservedCondition, Service
from lbctl.plan.ledger import Draft, Ledger
from lbctl.plan.pending import Pending, Pick
from lbctl.plan.pools import PoolBook
from lbctl.plan.serving import Slates, asked_pool
from lbctl.plan.sharing import holder_of, sharing_refusal
from lbctl.plan.slots import FAMILIES, slot_of

LOAD_BALANCER = "LoadBalancer"
ALLOCATED_CONDITION = "lbctl.io/Allocated"

Claim = tuple[Address, tuple[str, ...]]
"""An address that a Service has, and the pools that it is said to be from."""


_NO_POOL = Refused(reason=Reason.ADDRESS_NOT_IN_ANY_POOL, detail="no pool in effect holds it")


def not_ours(
    service: Service,
    book: PoolBook,
    *,
    load_balancer_class: str | None,
    before: Sequence[Claim],
) -> NotOurs | None:
    """Return why the Service is none of our business, or None if it is ours.

    `before` is what the plan before gave it: ours, though its mark may be on its way. A Service of a
    foreign class is released only if nothing but our addresses would be cleared, because a mark in
    MetalLB's spelling may be MetalLB's own.
    """
    if service.type != LOAD_BALANCER:
        return NotOurs(
            service=service.key,
            reason=Reason.NOT_LOAD_BALANCER,
            detail=f"spec.type is {service.type}",
            release=bool(service.mark),
        )
    if service.load_balancer_class != load_balancer_class:
        return NotOurs(
            service=service.key,
            reason=Reason.FOREIGN_CLASS,
            detail=f"spec.loadBalancerClass is {service.load_balancer_class or 'not set'}, this "
            f"installation serves {load_balancer_class or 'Services without a class'}",
            release=bool(service.mark) and _foreign_entry(service, book, ()) is None,
        )
    if service.mark or not (service.addresses or service.hostnames):
        return None
    foreign = _foreign_entry(service, book, [address for address, _ in before])
    if foreign is None:
        return None
    return NotOurs(
        service=service.key,
        reason=Reason.FOREIGN_ADDRESS,
        detail=f"the status holds {foreign}, which is in none of our pools",
        release=False,
    )


def _foreign_entry(
    service: Service, book: PoolBook, before: Collection[Address]
) -> str | Address | None:
    if service.hostnames:
        return service.hostnames[0]
    for address in service.addresses:
        slot = slot_of(address)
        if address not in before and book.locate(slot) is None and book.keeper(slot) is None:
            return address
    return None


def held_before(service: Service, outcome: Outcome | NotOurs | None, ledger: Ledger) -> list[Claim]:
    """Return what the plan before gave this very Service (not one of its name that is gone)."""
    if not isinstance(outcome, Outcome):
        return []
    found: list[Claim] = []
    for address, pool in zip(outcome.addresses, outcome.pools, strict=True):
        holder = holder_of(ledger.holders.get(slot_of(address), ()), service.key)
        if holder is not None and holder.uid == service.uid:
            found.append((address, (pool, _marked_pool(service.mark, address))))
    return found


def claims(service: Service, before: list[Claim]) -> list[Claim]:
    """Return the addresses that the Service has: for each family from `before`, else as shown."""
    shown: list[Claim] = [
        (address, (_marked_pool(service.mark, address),)) for address in service.addresses
    ]
    if not before:
        return shown
    families = {family_of(address) for address, _ in before}
    return [*before, *(claim for claim in shown if family_of(claim[0]) not in families)]


def _marked_pool(mark: str, address: Address) -> str:
    """Return the pool that the mark names for the address: of two, the first is IPv4's."""
    first, comma, second = mark.partition(",")
    return (second if comma and address.version == 6 else first).strip()


def wanted_families(service: Service) -> tuple[Family, ...]:
    """Return the families that the Service needs an address of, IPv4 first."""
    families = service.families
    if len(families) == 1:
        return families
    present = set(families) or {family_of(address) for address in service.cluster_ips}
    return tuple(family for family in FAMILIES if family in present)


def adopt(service: Service, held: Iterable[Claim], draft: Draft, slates: Slates) -> Pending:
    """Keep every address that the Service has and may have; say why it loses the others."""
    pending = Pending(service, wanted_families(service))
    for address, hints in held:
        family = family_of(address)
        if family not in pending.wanted or pending.has(family):
            refused: Pick | Refused = Refused(
                reason=Reason.FAMILY_MISMATCH,
                detail=f"the Service has an {family} address already"
                if pending.has(family)
                else f"the Service's ipFamilies have no {family}",
            )
        else:
            refused = _keep(service, address, hints, draft, slates)
        if isinstance(refused, Refused):
            text = f"{address} is not kept: {refused.detail}"
            pending.lost = (*pending.lost, Refused(reason=refused.reason, detail=text))
        else:
            pending.add(refused)
            draft.hold(service, refused.slot, refused.shelf)
    return pending


def kept(slot: int, pool: PoolName, draft: Draft) -> Pick:
    """Return the pick for a slot that a Service goes on having from the pool."""
    number = draft.shelf_of(slot)
    if number is not None and draft.shelves[number].label.pool == pool:
        return Pick(slot, pool, number, (draft.shelves[number].label.kept,))
    detail = "keeps its address although the pool is not in effect at present"
    return Pick(slot, pool, number, (Tried(pool=pool, reason=None, detail=detail),))


def _keep(
    service: Service, address: Address, hints: tuple[str, ...], draft: Draft, slates: Slates
) -> Pick | Refused:
    slot = slot_of(address)
    request = service.request
    if request.problem is None and request.addresses and address not in request.addresses:
        wanted = ", ".join(map(str, request.addresses))
        return Refused(reason=Reason.REQUEST_CHANGED, detail=f"the Service asks for {wanted}")
    owner = _owner(service, slot, hints, draft, slates)
    if isinstance(owner, Refused):
        return owner
    holders = draft.holders.get(slot)
    refused = sharing_refusal(service, holders) if holders else None
    return refused if refused is not None else owner


def _owner(
    service: Service, slot: int, hints: tuple[str, ...], draft: Draft, slates: Slates
) -> Pick | Refused:
    """Return the pool from which the Service may keep the slot: one in effect, else in limbo."""
    asked = asked_pool(service)
    refused = _NO_POOL
    number = draft.shelf_of(slot)
    if number is not None:
        label = draft.shelves[number].label
        refusal = slates.refusal(number // 2, service)
        if refusal is None and asked is not None and asked != label.pool:
            refusal = _other_pool(label.pool, asked)
        if refusal is None:
            return Pick(slot, label.pool, number, (label.kept,))
        refused = refusal
    keeper = draft.book.keeper(slot, hints)
    if keeper is None:
        return refused
    if asked not in (None, keeper):
        return _other_pool(keeper, asked)
    return kept(slot, keeper, draft)


def _other_pool(pool: PoolName, asked: PoolName | None) -> Refused:
    return Refused(
        reason=Reason.ADDRESS_NOT_IN_REQUESTED_POOL,
        detail=f"it is from pool {pool} and the Service asks for pool {asked}",
    )


def says_wait(service: Service) -> bool:
    """Return whether the Service's condition says that it has to wait.

    Whoever waits goes before whoever is new, and after a start nothing else remembers it.
    """
    return any(_says_wait(condition) for condition in service.conditions)


def _says_wait(condition: ObservedCondition) -> bool:
    return condition.type == ALLOCATED_CONDITION and (
        condition.status == "False" or condition.reason == Reason.PARTIALLY_ALLOCATED
    )
