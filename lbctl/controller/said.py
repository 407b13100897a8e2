"""Put a change of what a Service shows into Events, with the reasons that users filter on. Pure.

The reasons are MetalLB's (reference: allocation decisions), the sentences ours. An Event tells
of a change: it is derived from what the Service showed before and what was decided, so that a
restart says nothing, and a refusal that persists is said once. The caller is
`lbctl.controller.services`, when the write that shows the change has been made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import PoolName
from lbctl.model.reason import Reason
from lbctl.model.service import ObservedCondition, Service
from lbctl.plan.announced import Announced

IP_ALLOCATED = "IPAllocated"
ALLOCATION_FAILED = "AllocationFailed"
CLEAR_ASSIGNMENT = "ClearAssignment"
LOAD_BALANCER_FAILED = "LoadBalancerFailed"
ADDITIONAL_ASSIGN_FAILED = "AdditionalAssignFailed"
DEPRECATED_ANNOTATION = "deprecatedAnnotation"
ANNOUNCE_FAILED = "announceFailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """Hold one Event to be: `warning` chooses its type."""

    warning: bool
    reason: str
    message: str


def sayings(
    service: Service, outcome: Outcome, *, shown_reason: str | None, shown_message: str | None
) -> tuple[Saying, ...]:
    """Return what to say when `outcome` replaces what `service` shows.

    `shown_reason` and `shown_message` are those of the condition lbctl.io/Allocated as it is
    now, None without it.
    """
    said: list[Saying] = []
    lost = [address for address in service.addresses if address not in outcome.addresses]
    if lost:
        refusals = outcome.lost or ((outcome.refused,) if outcome.refused is not None else ())
        said.append(_given_up(lost, *(f"{one.detail} ({one.reason})" for one in refusals)))
    gained = [
        (address, pool)
        for address, pool in zip(outcome.addresses, outcome.pools, strict=True)
        if address not in service.addresses
    ]
    if gained:
        said.append(Saying(warning=False, reason=IP_ALLOCATED, message=_assigned(gained)))
    refusal = _refusal(outcome)
    if refusal is not None and (lost or _is_news(outcome, shown_reason, shown_message)):
        said.append(refusal)
    return tuple(said)


def released(service: Service, decision: NotOurs) -> tuple[Saying, ...]:
    """Return what to say when a Service that is ours no more loses its addresses."""
    if not service.addresses:
        return ()
    return (_given_up(service.addresses, f"{decision.detail} ({decision.reason})"),)


def announce_failed(
    announced: Announced | None, *, shown: ObservedCondition | None
) -> tuple[Saying, ...]:
    """Return what to say of a Service whose address nobody announces, once for each reason.

    `shown` is its condition lbctl.io/Announced as it is now, None without it.
    """
    if announced is None or announced.holds:
        return ()
    if shown is not None and (shown.status, shown.reason) == ("False", announced.reason):
        return ()
    return (Saying(warning=True, reason=ANNOUNCE_FAILED, message=announced.message),)


def deprecation(names: Iterable[str]) -> Saying:
    """Return the warning about annotations that MetalLB itself has given up."""
    return Saying(
        warning=True,
        reason=DEPRECATED_ANNOTATION,
        message=f"Uses the deprecated annotation {', '.join(names)}; write lbctl.io/ instead",
    )


def _given_up(addresses: Iterable[Address], *why: str) -> Saying:
    """Return the Event; no condition keeps these reasons, so their names stand in its message."""
    message = f"Gave up {_list(addresses)}"
    if why:
        message = f"{message}: {'; '.join(why)}"
    return Saying(warning=False, reason=CLEAR_ASSIGNMENT, message=message)


def _refusal(outcome: Outcome) -> Saying | None:
    if outcome.refused is None:
        return None
    detail = outcome.refused.detail
    if not outcome.addresses:
        return Saying(
            warning=True,
            reason=ALLOCATION_FAILED,
            message=f'Failed to allocate IP for "{outcome.service}": {detail}',
        )
    if outcome.refused.reason is Reason.INVALID_REQUEST:
        return Saying(
            warning=True,
            reason=LOAD_BALANCER_FAILED,
            message=f"Keeps {_list(outcome.addresses)}, but its request cannot be read: {detail}",
        )
    return Saying(
        warning=False,
        reason=ADDITIONAL_ASSIGN_FAILED,
        message=f"Has {_list(outcome.addresses)} only: {detail}",
    )


def _is_news(outcome: Outcome, shown_reason: str | None, shown_message: str | None) -> bool:
    """Return whether the refusal differs from the one shown.

    Without an address the condition's reason is the refusal's. With one it is the same word for
    every refusal, so the message decides.
    """
    if outcome.reason != shown_reason:
        return True
    if not outcome.addresses or outcome.refused is None:
        return False
    return outcome.refused.detail not in (shown_message or "")


def _assigned(gained: list[tuple[Address, PoolName]]) -> str:
    parts = ", ".join(f"{address} from pool {pool}" for address, pool in gained)
    return f"Assigned {parts}"


def _list(addresses: Iterable[Address]) -> str:
    return ", ".join(map(str, addresses))
