"""Say whether the addresses of a Service are announced, from what speakers report. Pure.

The plan is intent: who shall announce. A ServiceL2Status is a report: this node has put
announcements on the wire. Only reports make the condition `lbctl.io/Announced` True, and only
those of nodes whose speakers can be alive, because the word of a dead one stays behind. Where a
report is missing the plan has the reason, or the very fact that it is missing is the reason
(NotReported). The first address that nobody reports decides. Called by the controller for the
condition and the Event, and by `lbctl explain`.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import LinkName, NodeName, ObjectKey
from lbctl.model.node import Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import Service
from lbctl.plan.announcement import AddressPlan, Announcement


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Hold what a ServiceL2Status says: this node has put announcements on the wire."""

    node: NodeName
    interfaces: tuple[LinkName, ...]
    addresses: tuple[Address, ...]
    family: Family | None = None
    """The family that the object's name speaks of; None for an object that is not ours."""

    def tells_of(self, address: Address) -> bool:
        """Return whether it speaks of the address.

        MetalLB's schema has no field for addresses: then ours speaks of all of its family.
        """
        if self.addresses:
            return address in self.addresses
        return self.family is family_of(address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Hold the condition lbctl.io/Announced of one Service."""

    holds: bool
    reason: Reason
    message: str


NOTHING_TO_ANNOUNCE: Final = Announced(
    holds=False,
    reason=Reason.NOT_ALLOCATED,
    message=f"The Service has no address yet. {EXPLANATIONS[Reason.NOT_ALLOCATED].cure}",
)

Reports = tuple[Sent | None, ...]
"""Beside each address of a Service: the report that tells of it."""


def may_speak(
    name: NodeName, nodes: Mapping[NodeName, Node], speakers: Mapping[NodeName, SpeakerReport]
) -> bool:
    """Return whether the node's reports can be true now: its speaker and fast path are at work.

    `nodes` are as `lbctl.plan.eligibility.believed` has them. A node that was excluded or is
    draining still announces until it has said otherwise.
    """
    node, report = nodes.get(name), speakers.get(name)
    return (
        node is not None
        and node.ready
        and not node.out_of_service
        and report is not None
        and report.fastpath_connected
    )


def reports_on(
    addresses: Iterable[Address], sent: Collection[Sent], speaking: Container[NodeName]
) -> Reports:
    """Return who reports each address; reports of nodes that are not `speaking` do not count."""
    return tuple(
        next((one for one in sent if one.node in speaking and one.tells_of(address)), None)
        for address in addresses
    )


def announced(service: Service, reports: Reports) -> Announced | None:
    """Return the condition if every address of the Service is reported, else None."""
    told = []
    for address, sent in zip(service.addresses, reports, strict=True):
        if sent is None:
            return None
        on = f" on {', '.join(sent.interfaces)}" if sent.interfaces else ""
        told.append(f"node {sent.node} announces {address}{on}")
    text = "; ".join(told)
    return Announced(holds=True, reason=Reason.ANNOUNCED, message=f"{text[:1].upper()}{text[1:]}.")


def not_announced(
    service: Service,
    reports: Reports,
    announcement: Announcement,
    *,
    advertisements: Container[ObjectKey],
    api_version: str,
) -> Announced:
    """Return the condition of a Service that has an address without a report.

    `announcement` holds the plan for the Service's addresses; `advertisements` (of any validity)
    and `api_version` are for the L2Advertisement that the message proposes.
    """
    address = next(
        one for one, sent in zip(service.addresses, reports, strict=True) if sent is None
    )
    refused = why_not(announcement, service, address)
    cure = EXPLANATIONS[refused.reason].cure
    plan = announcement.addresses.get(address)
    if refused.reason is Reason.NO_ADVERTISEMENT and plan is not None:
        pool = announcement.reaches.pools[plan.pool].key
        lines = advertisement_lines(pool, advertisements, api_version)
        cure = "\n".join(("This one would, with kubectl apply -f -:", *lines))
    return Announced(
        holds=False,
        reason=refused.reason,
        message=f"No speaker reports that it announces {address}: {refused.detail}. {cure}",
    )


def why_not(announcement: Announcement, service: Service, address: Address) -> Refused:
    """Return why no speaker reports an address that the Service shows."""
    unlawful = announcement.unlawful.get(service.key, {}).get(address)
    if unlawful is not None:
        return unlawful
    plan = announcement.addresses.get(address)
    if plan is None:
        return Refused(reason=Reason.NOT_ALLOCATED, detail=f"{address} is not ours to announce")
    return unreported(plan)


def unreported(plan: AddressPlan) -> Refused:
    """Return why no speaker reports a planned address: nobody may, or the owner has not yet."""
    return plan.refused or Refused(
        reason=Reason.NOT_REPORTED,
        detail=f"node {plan.owner} is to announce it on {', '.join(plan.links)}, but its speaker "
        "has not reported that it does",
    )


def advertisement_lines(
    pool: ObjectKey, advertisements: Container[ObjectKey], api_version: str
) -> tuple[str, ...]:
    """Return an L2Advertisement that covers one pool, ready for `kubectl apply -f -`.

    Its name is that of none of `advertisements`, which it would replace.
    """
    name, number = pool.name, 1
    while ObjectKey("L2Advertisement", pool.namespace, name) in advertisements:
        number += 1
        name = f"{pool.name}-{number}"
    return (
        f"apiVersion: {api_version}",
        "kind: L2Advertisement",
        f"metadata: {{name: {_scalar(name)}, namespace: {_scalar(pool.namespace)}}}",
        f"spec: {{ipAddressPools: [{_scalar(pool.name)}]}}",
    )


_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _scalar(name: str) -> str:
    """Return the name as YAML reads it back: `123` and `on` are legal names, and no strings."""
    return name if name[:1].isalpha() and name not in _WORDS else f'"{name}"'
