"""Explain one node: may it announce at all, on which links, what does it announce, and why not. Pure.

"Why not node X" has two halves. What holds for every Service (the Node, its speaker, its links)
is said here; what one Service adds (advertisements, endpoints, election) is the verdict of that
Service's plan, which `explain_node` returns for the Service that is asked about. The rules are
those of `lbctl.plan.eligibility`. Called by `lbctl explain node`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import LinkName, NodeName, ServiceKey
from lbctl.model.node import Link, Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announced import Sent
from lbctl.plan.announcement import Announcement
from lbctl.plan.eligibility import Eligible, believed, link_verdict, node_refusal, selects_node
from lbctl.plan.explain import ServiceExplanation
from lbctl.plan.explain_peer import SessionAnswer, node_sessions
from lbctl.plan.telling import NOBODY, Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAnswer:
    """Say whether addresses of one family can be announced on one link."""

    link: LinkName
    family: Family
    able: bool
    reason: Reason | None
    """None if it can; `detail` then lists its subnets of the family."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announces:
    """Hold an address that the node is to announce, and whether its speaker says that it does."""

    address: Address
    services: tuple[ServiceKey, ...]
    sent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForService:
    """Say for one address of the Service that was asked about why the node does or does not."""

    address: Address
    announces: bool
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """Hold everything there is to say about one node."""

    node: NodeName
    eligible: bool
    """It may announce as far as the Node, its speaker and at least one link are concerned."""
    reason: Reason | None
    """None if it is eligible."""
    detail: str
    ready: bool
    ready_believed: bool
    """False readiness does not count while no node at all is ready."""
    speaker: str
    links: tuple[LinkAnswer, ...]
    advertisements: tuple[str, ...]
    """L2Advertisements that select the node."""
    left_out_by: tuple[str, ...]
    announces: tuple[Announces, ...]
    service: ServiceKey | None
    for_service: tuple[ForService, ...]
    for_service_detail: str
    """Why there is nothing to say for the Service: it has no address."""
    sessions: tuple[SessionAnswer, ...] = ()
    """With each BGPPeer."""
    bgp_advertisements: tuple[str, ...] = ()
    """BGPAdvertisements that select the node."""

    @property
    def fine(self) -> bool:
        """Return whether there is nothing to repair; that another node was elected is no fault."""
        well = (Reason.ANNOUNCED, Reason.NOT_ELECTED)
        addresses = {one.address for one in self.for_service}
        served = {one.address for one in self.for_service if one.reason in well}
        return (
            self.eligible
            and not self.for_service_detail
            and addresses == served
            and all(one.fine for one in self.sessions)
        )


def explain_node(
    name: NodeName,
    snapshot: Snapshot,
    announcement: Announcement,
    sent: Mapping[ServiceKey, tuple[Sent, ...]],
    asked: ServiceExplanation | None = None,
    *,
    telling: Telling = NOBODY,
) -> NodeFacts:
    """Return the facts on a node of the snapshot; `asked` is the Service of `--service`."""
    node = snapshot.nodes[name]
    report = snapshot.speakers.get(name)
    judged = believed(snapshot.nodes)[name]
    links = _links(report)
    refused = node_refusal(judged, report) or _no_link(name, links)
    valid = [entry.spec for _, entry in sorted(snapshot.advertisements.items()) if entry.spec]
    return NodeFacts(
        node=name,
        eligible=refused is None,
        reason=None if refused is None else refused.reason,
        detail="it may announce" if refused is None else refused.detail,
        ready=node.ready,
        ready_believed=judged.ready,
        speaker=speaker_word(node, report),
        links=links,
        advertisements=tuple(one.name for one in valid if selects_node(one, node)),
        left_out_by=tuple(one.name for one in valid if not selects_node(one, node)),
        announces=_announces(name, announcement, sent),
        service=asked.service if asked else None,
        for_service=_for_service(name, asked) if asked else (),
        for_service_detail=_without_address(asked) if asked else "",
        sessions=tuple(node_sessions(name, telling)) if telling.used else (),
        bgp_advertisements=tuple(
            entry.spec.name
            for _, entry in sorted(snapshot.bgp_advertisements.items())
            if entry.spec is not None and selects_node(entry.spec, node)
        ),
    )


def speaker_word(node: Node, report: SpeakerReport | None) -> str:
    """Return the state of a node's speaker in a word or two."""
    if report is None:
        return "none"
    if report.draining or node.drain_requested:
        return "draining"
    return "up" if report.fastpath_connected else "no fast path"


def _links(report: SpeakerReport | None) -> tuple[LinkAnswer, ...]:
    if report is None:
        return ()
    found = []
    for link in sorted(report.links, key=lambda one: one.name):
        alone = replace(report, links=(link,))
        for family in Family:
            verdict = link_verdict(alone, None, family)
            able = isinstance(verdict, Eligible)
            found.append(
                LinkAnswer(
                    link=link.name,
                    family=family,
                    able=able,
                    reason=None if isinstance(verdict, Eligible) else verdict.reason,
                    detail=_subnets(link, family)
                    if isinstance(verdict, Eligible)
                    else verdict.detail,
                )
            )
    return tuple(found)


def _subnets(link: Link, family: Family) -> str:
    own = [str(one) for one in link.subnets if family_of(one.ip) is family]
    return ", ".join(own) or f"no {family} subnet"


def _no_link(name: NodeName, links: tuple[LinkAnswer, ...]) -> Refused | None:
    if any(link.able for link in links):
        return None
    reason = next((link.reason for link in links if link.reason is not None), None)
    if reason is None:
        return Refused(
            reason=Reason.INTERFACE_MISSING,
            detail=f"node {name} has no interface that can announce",
        )
    return Refused(reason=reason, detail="; ".join(dict.fromkeys(one.detail for one in links)))


def _announces(
    name: NodeName, announcement: Announcement, sent: Mapping[ServiceKey, tuple[Sent, ...]]
) -> tuple[Announces, ...]:
    return tuple(
        Announces(
            address=address,
            services=plan.services,
            sent=any(
                one.node == name and one.tells_of(address)
                for key in plan.services
                for one in sent.get(key, ())
            ),
        )
        for address, plan in sorted(
            announcement.addresses.items(), key=lambda item: (item[0].version, int(item[0]))
        )
        if plan.owner == name
    )


def _for_service(name: NodeName, asked: ServiceExplanation) -> tuple[ForService, ...]:
    found = []
    for one in asked.addresses:
        by_bgp = any(answer.told and name in answer.nodes for answer in one.peers)
        found += [
            ForService(
                address=one.address,
                announces=candidate.announces,
                reason=candidate.reason,
                detail=candidate.detail,
            )
            for candidate in one.candidates
            if candidate.node == name
            and not (by_bgp and candidate.reason is Reason.NO_ADVERTISEMENT)
        ]
        found += [
            ForService(
                address=one.address,
                announces=answer.told,
                reason=answer.reason,
                detail=f"BGP, {f'peer {answer.peer}' if answer.peer else 'any peer'}: "
                f"{answer.detail}",
            )
            for answer in one.peers
            if name in answer.nodes
        ]
    return tuple(found)


def _without_address(asked: ServiceExplanation) -> str:
    if any(one.candidates or one.peers for one in asked.addresses):
        return ""
    return f"{asked.reason}: {asked.detail}"
