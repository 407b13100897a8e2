"""Say whether the addresses of a Service are announced, from what speakers report. Pure.

The plan is intent: who shall announce. A ServiceL2Status is a report: this node has put
announcements on the wire. A BGPSessionStatus is another: this peer has confirmed every route that
the node has for it (`lbctl.plan.audience`). Only reports make the condition `lbctl.io/Announced`
True, and only those of nodes whose speakers can be alive, because the word of a dead one stays
behind. One protocol is enough. Where a report is missing the plan has the reason, or the very fact
that it is missing is the reason (NotReported); where both protocols fail it is told of the one that
got further. The first address that nobody reports decides. Called by the controller for the
condition and the Event, and by `lbctl explain`.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import Incarnation, LinkName, NodeName, ObjectKey, PeerName
from lbctl.model.node import Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announcement import AddressPlan, Announcement
from lbctl.plan.eligibility import believed


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
Told = tuple[tuple[PeerName, ...], ...]
"""Beside each address of a Service: the BGP peers that have confirmed it."""

_NAMED: Final = 3
"""Peers that a message names. How many more there are changes too often to be worth a write."""


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


def lives(snapshot: Snapshot) -> Mapping[NodeName, Incarnation]:
    """Return the lives of the speakers whose reports on BGP sessions can be true now.

    A session needs no fast path. What another life of the speaker reported is not true any more.
    """
    nodes, speakers = believed(snapshot.nodes), snapshot.speakers
    return {
        name: speakers[name].incarnation
        for name, node in nodes.items()
        if node.ready and not node.out_of_service and name in speakers
    }


def reports_on(
    addresses: Iterable[Address], sent: Collection[Sent], speaking: Container[NodeName]
) -> Reports:
    """Return who reports each address; reports of nodes that are not `speaking` do not count."""
    return tuple(
        next((one for one in sent if one.node in speaking and one.tells_of(address)), None)
        for address in addresses
    )


def announced(service: Service, reports: Reports, told: Told = ()) -> Announced | None:
    """Return the condition if every address of the Service is reported, else None."""
    words = []
    for index, (address, sent) in enumerate(zip(service.addresses, reports, strict=True)):
        if sent is not None:
            on = f" on {', '.join(sent.interfaces)}" if sent.interfaces else ""
            words.append(f"node {sent.node} announces {address}{on}")
        elif told and told[index]:
            words.append(f"{_peers(told[index])} of {address} by BGP")
        else:
            return None
    text = "; ".join(words)
    return Announced(holds=True, reason=Reason.ANNOUNCED, message=f"{text[:1].upper()}{text[1:]}.")


def _peers(names: tuple[PeerName, ...]) -> str:
    if len(names) == 1:
        return f"peer {names[0]} is told"
    more = " and others" if len(names) > _NAMED else ""
    return f"peers {', '.join(names[:_NAMED])}{more} are told"


def silent_address(service: Service, reports: Reports, told: Told = ()) -> Address | None:
    """Return the first address of the Service that neither protocol reports."""
    for index, (address, sent) in enumerate(zip(service.addresses, reports, strict=True)):
        if sent is None and not (told and told[index]):
            return address
    return None


def not_announced(
    service: Service,
    address: Address,
    announcement: Announcement,
    *,
    unheard: Refused | None = None,
    advertisements: Container[ObjectKey],
    api_version: str,
) -> Announced:
    """Return the condition of a Service that has an address without a report.

    `announcement` holds the plan for the Service's addresses. `unheard` says why no BGP peer has
    been told; None where nothing is about BGP. `advertisements` (of any validity) and
    `api_version` are for the L2Advertisement that the message proposes.
    """
    refused = nearest(why_not(announcement, service, address), unheard)
    cure = EXPLANATIONS[refused.reason].cure
    plan = announcement.addresses.get(address)
    if refused.reason is Reason.NO_ADVERTISEMENT and plan is not None:
        pool = announcement.reaches.pools[plan.pool].key
        lines = advertisement_lines(pool, advertisements, api_version)
        or_bgp = "" if unheard is None else " (or a BGPAdvertisement like it, for BGP peers)"
        cure = "\n".join((f"This one would, with kubectl apply -f -{or_bgp}:", *lines))
    return Announced(
        holds=False,
        reason=refused.reason,
        message=f"No speaker reports that it announces {address}: {refused.detail}. {cure}",
    )


def nearest(unannounced: Refused, unheard: Refused | None) -> Refused:
    """Return what is to be said of an address that neither ARP and NDP nor BGP tells of.

    It is the refusal of the protocol that got further; where no advertisement of either covers
    the pool, both say so.
    """
    if unheard is None:
        return unannounced
    if unannounced.reason is unheard.reason is Reason.NO_ADVERTISEMENT:
        return replace(unannounced, detail=f"{unannounced.detail}, and {unheard.detail}")
    return further(unannounced, unheard)


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


_ORDER: Final = (
    Reason.NOT_ALLOCATED,
    Reason.NO_ADVERTISEMENT,
    Reason.MISSING_COMMUNITY,
    Reason.NODE_NOT_SELECTED,
    Reason.NODE_EXCLUDED,
    Reason.NO_SPEAKER,
    Reason.NODE_NETWORK_UNAVAILABLE,
    Reason.NODE_OUT_OF_SERVICE,
    Reason.NODE_DRAINING,
    Reason.NODE_NOT_READY,
    Reason.INTERFACE_MISSING,
    Reason.INTERFACE_DOWN,
    Reason.NO_CARRIER,
    Reason.FAMILY_MISSING_ON_INTERFACE,
    Reason.INTERFACE_UNUSABLE,
    Reason.FASTPATH_DOWN,
    Reason.NO_PEER,
    Reason.PEER_NOT_SELECTED,
    Reason.FAMILY_NOT_ON_SESSION,
    Reason.AGGREGATE_TOO_WIDE,
    Reason.NO_LOCAL_ENDPOINTS,
    Reason.NO_ENDPOINTS,
    Reason.CONFLICTING_ADVERTISEMENTS,
    Reason.SESSION_DOWN,
    Reason.NOT_REPORTED,
)
"""The way to an announcement: a later reason is nearer to it."""


def further(first: Refused, *others: Refused) -> Refused:
    """Return the refusal that is nearest to an announcement; of equal ones the first."""
    return max((first, *others), key=lambda one: _rank(one.reason))


def _rank(reason: Reason) -> int:
    return _ORDER.index(reason) if reason in _ORDER else -1


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
