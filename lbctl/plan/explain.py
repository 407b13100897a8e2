"""Explain one Service: what was decided about it, by which rule, and what the world reports. Pure.

Nothing is decided here. The allocator's outcome and the announcement plan are put side by side
with what speakers say they have sent, so that the command shows the same values, with the same
words, as the conditions, Events and the speakers themselves.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome, Tried
from lbctl.model.names import LinkName, NodeName, PeerName, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import Service
from lbctl.plan.announced import Sent, nearest, why_not
from lbctl.plan.announcement import AddressPlan, Announcement
from lbctl.plan.eligibility import Verdict
from lbctl.plan.endpoints import EndpointCount
from lbctl.plan.places import Place
from lbctl.plan.telling import NOBODY, PeerAnswer, Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Say whether a node is to announce an address (`announces`), or why not.

    A node that is to announce and has not reported that it does has the reason NotReported.
    """

    node: NodeName
    announces: bool
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressExplanation:
    """Hold intent (`owner`, `candidates`) and what was sent (`sent`) for one address.

    These are of ARP and NDP; `peers` has the answers for BGP, empty where nothing is about it.
    `refused` says why no speaker reports it by either: nobody may announce, or has said so.
    """

    address: Address
    pool: PoolName | None
    owner: NodeName | None
    links: tuple[LinkName, ...]
    refused: Refused | None
    candidates: tuple[Candidate, ...]
    endpoints: EndpointCount | None
    sent: Sent | None
    told: tuple[PeerName, ...] = ()
    """The BGP peers that have confirmed every route of a node that tells of it."""
    peers: tuple[PeerAnswer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceExplanation:
    """Hold everything there is to say about a Service; `reason` and `detail` are of allocation."""

    service: ServiceKey
    type: str
    policy: str
    ours: bool
    reason: Reason
    cause: Reason
    """The reason whose check and cure help: of a partial allocation, why an address is missing."""
    detail: str
    allocated: tuple[Address, ...]
    """What the plan gives."""
    shown: tuple[Address, ...]
    """What the status shows now; it follows the plan within milliseconds."""
    trace: tuple[Tried, ...]
    addresses: tuple[AddressExplanation, ...]

    @property
    def fine(self) -> bool:
        """Return whether there is nothing to repair."""
        if not self.ours:
            return True
        return self.reason is Reason.ALLOCATED and not any(one.refused for one in self.addresses)


def explain_service(
    service: Service,
    outcome: Outcome | NotOurs,
    announcement: Announcement,
    sent: tuple[Sent, ...],
    telling: Telling = NOBODY,
    *,
    brief: bool = False,
) -> ServiceExplanation:
    """Return the explanation of a Service; `outcome` is the allocator's word on it.

    `brief`: without the answers for every BGP peer and node, for who explains 10,000 Services.
    """
    allocated = outcome.addresses if isinstance(outcome, Outcome) else ()
    shown = service.addresses if isinstance(outcome, Outcome) else ()
    return ServiceExplanation(
        service=service.key,
        type=service.type,
        policy=str(service.traffic_policy),
        ours=isinstance(outcome, Outcome),
        reason=outcome.reason,
        cause=outcome.cause if isinstance(outcome, Outcome) else outcome.reason,
        detail=_detail(outcome),
        allocated=allocated,
        shown=service.addresses,
        trace=outcome.trace if isinstance(outcome, Outcome) else (),
        addresses=tuple(
            replace(
                _address(one, service, announcement, sent, telling),
                told=telling.told(service.key, one),
                peers=() if brief else telling.answers(one),
            )
            for one in shown
        ),
    )


def _detail(outcome: Outcome | NotOurs) -> str:
    if isinstance(outcome, NotOurs):
        return outcome.detail
    if outcome.refused is not None:
        return outcome.refused.detail
    given = zip(outcome.addresses, outcome.pools, strict=True)
    return ", ".join(f"{address} from pool {pool}" for address, pool in given)


def _address(
    address: Address,
    service: Service,
    announcement: Announcement,
    sent: tuple[Sent, ...],
    telling: Telling,
) -> AddressExplanation:
    plan = announcement.addresses.get(address)
    reported = next((one for one in sent if one.tells_of(address)), None)
    refused = unannounced(service, address, announcement, reported is not None, telling)
    if plan is None or address in announcement.unlawful.get(service.key, {}):
        return AddressExplanation(
            address=address,
            pool=None,
            owner=None,
            links=(),
            refused=refused,
            candidates=(),
            endpoints=None,
            sent=reported,
        )
    return AddressExplanation(
        address=address,
        pool=plan.pool,
        owner=plan.owner,
        links=plan.links,
        refused=refused,
        candidates=candidates_of(plan, () if reported is None else (reported.node,)),
        endpoints=plan.endpoints,
        sent=reported,
    )


def unannounced(
    service: Service,
    address: Address,
    announcement: Announcement,
    reported: bool,
    telling: Telling,
) -> Refused | None:
    """Return why nobody announces an address that the Service shows; None if somebody does.

    `reported` says that a speaker reports it for ARP and NDP.
    """
    if telling.told(service.key, address):
        return None
    plan = announcement.addresses.get(address)
    lawful = plan is not None and address not in announcement.unlawful.get(service.key, {})
    if reported and lawful and plan is not None:
        return plan.refused
    refused = why_not(announcement, service, address)
    return nearest(refused, telling.why_not(service.key, address) if lawful else None)


def candidates_of(plan: AddressPlan, senders: Container[NodeName]) -> tuple[Candidate, ...]:
    """Return yes or no with its reason for every node; `senders` say that they announce it."""
    return tuple(
        _candidate(node, verdict, plan, senders) for node, verdict in plan.candidates().items()
    )


def _candidate(
    node: NodeName, verdict: Verdict, plan: AddressPlan, senders: Container[NodeName]
) -> Candidate:
    if isinstance(verdict, Refused):
        reason, detail = verdict.reason, verdict.detail
    elif node in senders:
        reason, detail = Reason.ANNOUNCED, f"announces on {', '.join(verdict.links)}"
    else:
        reason, detail = Reason.NOT_REPORTED, f"is to announce on {', '.join(verdict.links)}"
    return Candidate(node=node, announces=node == plan.owner, reason=reason, detail=detail)


def advice(
    reason: Reason,
    *,
    place: Place,
    service: ServiceKey | None = None,
    pool: PoolName | None = None,
    node: NodeName | None = None,
) -> tuple[str, str, str]:
    """Return cause, check (a command that can be typed as it stands) and cure of a reason.

    What a case does not have stands in capitals in its command.
    """
    text = EXPLANATIONS[reason]
    check = place.fill(
        text.check,
        namespace=service.namespace if service else "NAMESPACE",
        name=service.name if service else "SERVICE",
        pool=pool or "POOL",
        node=node or "NODE",
    )
    return text.cause, check, text.cure
