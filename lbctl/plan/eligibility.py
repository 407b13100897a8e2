"""May this node announce this address of this Service? Yes with links, or no with a reason. Pure.

The rules are three groups that do not know each other: the node and its speaker, the links that
the advertisements want, and the endpoints (the table of DESIGN 7). Each group is judged once per
node or once per Service by `lbctl.plan.announcement`; `eligibility` joins them for one case.
The first rule that refuses is the one reported, in the order in which an operator would repair.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lbctl.model.address import Family
from lbctl.model.advertisement import Advertisement, L2Advertisement
from lbctl.model.names import LinkName, NodeName
from lbctl.model.node import Link, Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.selector import any_matches
from lbctl.model.service import TrafficPolicy
from lbctl.plan.endpoints import EndpointCount

EXCLUDE_LABEL: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Its presence excludes, whatever its value (Kubernetes: well-known labels)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligible:
    """Say yes: the node may announce on these links (sorted, never empty)."""

    links: tuple[LinkName, ...]


Verdict = Eligible | Refused


def eligibility(
    *,
    node: Node,
    report: SpeakerReport | None,
    advertisements: Collection[L2Advertisement],
    family: Family,
    policy: TrafficPolicy,
    endpoints: EndpointCount,
    ready_elsewhere: bool,
) -> Verdict:
    """Judge one node for one address.

    `advertisements` are those that match the Service and its pool. `ready_elsewhere` says
    whether another node that passes every other rule has a ready endpoint.
    """
    placed = placement(
        node=node, report=report, advertisements=advertisements, families=frozenset((family,))
    )[family]
    if isinstance(placed, Refused):
        return placed
    refused = endpoint_refusal(
        policy=policy, endpoints=endpoints, node=node.name, ready_elsewhere=ready_elsewhere
    )
    return refused or placed


def placement(
    *,
    node: Node,
    report: SpeakerReport | None,
    advertisements: Collection[L2Advertisement],
    families: Collection[Family],
) -> dict[Family, Verdict]:
    """Judge everything but the endpoints: the same for all Services of these advertisements."""
    selecting = [item for item in advertisements if selects_node(item, node)]
    if not advertisements:
        return dict.fromkeys(
            families,
            Refused(
                reason=Reason.NO_ADVERTISEMENT,
                detail="no L2Advertisement covers this pool and this Service",
            ),
        )
    if not selecting:
        names = ", ".join(sorted(item.name for item in advertisements))
        return dict.fromkeys(
            families,
            Refused(
                reason=Reason.NODE_NOT_SELECTED,
                detail=f"the nodeSelectors of {names} leave node {node.name} out",
            ),
        )
    refused = node_refusal(node, report)
    if refused is not None or report is None:
        return dict.fromkeys(families, refused or _no_speaker(node))
    wanted = wanted_links(selecting)
    return {family: link_verdict(report, wanted, family) for family in families}


def selects_node(advertisement: Advertisement, node: Node) -> bool:
    """Return whether the advertisement covers the node; no selectors cover every node."""
    return not advertisement.node_selectors or any_matches(
        advertisement.node_selectors, node.labels
    )


def believed(nodes: Mapping[NodeName, Node]) -> Mapping[NodeName, Node]:
    """Return the nodes with the readiness that may be acted on.

    Where no node at all is Ready, the news is about the API server (it was away, and no kubelet
    could renew its Lease), not about the nodes: then readiness counts for none of them. To fall
    silent everywhere would turn an outage of the control plane into one of the Services.
    """
    if not nodes or any(node.ready for node in nodes.values()):
        return nodes
    return {name: replace(node, ready=True) for name, node in nodes.items()}


def node_refusal(node: Node, report: SpeakerReport | None) -> Refused | None:
    """Judge the Node and its speaker for layer 2, whatever the Service."""
    refused = barred(node, report)
    if refused is not None:
        return refused
    if not node.ready:
        return _refuse(Reason.NODE_NOT_READY, f"node {node.name} is not Ready")
    refused = leaving(node, report)
    if refused is not None or report is None:
        return refused
    if not report.fastpath_connected:
        return _refuse(
            Reason.FASTPATH_DOWN, f"lb-speaker on {node.name} has no connection to lb-fastpath"
        )
    return None


def barred(node: Node, report: SpeakerReport | None) -> Refused | None:
    """Say whether the Node itself must not announce."""
    if EXCLUDE_LABEL in node.labels and not (report and report.ignores_exclude_label):
        return _refuse(Reason.NODE_EXCLUDED, f"node {node.name} has the label {EXCLUDE_LABEL}")
    if node.network_unavailable:
        return _refuse(
            Reason.NODE_NETWORK_UNAVAILABLE, f"node {node.name} has NetworkUnavailable=True"
        )
    if node.out_of_service:
        return _refuse(
            Reason.NODE_OUT_OF_SERVICE,
            f"node {node.name} has the taint node.kubernetes.io/out-of-service",
        )
    return None


def leaving(node: Node, report: SpeakerReport | None) -> Refused | None:
    """Say whether the Node's speaker is missing, or gives its addresses away."""
    if report is None:
        return _no_speaker(node)
    if node.drain_requested:
        return _refuse(Reason.NODE_DRAINING, f"node {node.name} has the annotation lbctl.io/drain")
    if report.draining:
        return _refuse(Reason.NODE_DRAINING, f"the speaker on {node.name} is shutting down")
    return None


def wanted_links(advertisements: Iterable[L2Advertisement]) -> frozenset[LinkName] | None:
    """Return the union of `spec.interfaces`; None means every link, which one empty list asks."""
    names: set[LinkName] = set()
    for advertisement in advertisements:
        if not advertisement.interfaces:
            return None
        names |= advertisement.interfaces
    return frozenset(names)


def link_verdict(
    report: SpeakerReport, wanted: frozenset[LinkName] | None, family: Family
) -> Verdict:
    """Judge the links: one that works is enough; of several failures the nearest to working."""
    faults = dict(report.faults)
    present = [link for link in report.links if wanted is None or link.name in wanted]
    verdicts = [(link.name, _link_refusal(link, faults.get(link.name), family)) for link in present]
    usable = tuple(sorted(name for name, refused in verdicts if refused is None))
    if usable:
        return Eligible(links=usable)
    refusals = [refused for _, refused in verdicts if refused is not None]
    if not refusals:
        names = "any interface that can announce" if wanted is None else " or ".join(sorted(wanted))
        return _refuse(Reason.INTERFACE_MISSING, f"node {report.node} does not have {names}")
    return max(refusals, key=lambda refused: _NEARNESS.index(refused.reason))


_NEARNESS: Final = (
    Reason.INTERFACE_DOWN,
    Reason.NO_CARRIER,
    Reason.FAMILY_MISSING_ON_INTERFACE,
    Reason.INTERFACE_UNUSABLE,
)
"""Of several links that fail, report the one that passed the most checks."""


def endpoint_refusal(
    *, policy: TrafficPolicy, endpoints: EndpointCount, node: NodeName, ready_elsewhere: bool
) -> Refused | None:
    """Judge the endpoints by the table of DESIGN 7."""
    if policy is TrafficPolicy.CLUSTER:
        if endpoints.usable:
            return None
        return _refuse(Reason.NO_ENDPOINTS, f"the Service has {endpoints}")
    if node in endpoints.ready_nodes:
        return None
    if node in endpoints.draining_nodes:
        if not ready_elsewhere:
            return None
        return _refuse(
            Reason.NO_LOCAL_ENDPOINTS,
            f"node {node} has draining endpoints only, and another node has a ready one",
        )
    return _refuse(
        Reason.NO_LOCAL_ENDPOINTS,
        f"node {node} has no usable endpoint, and externalTrafficPolicy is Local",
    )


def serving_nodes(
    *, policy: TrafficPolicy, endpoints: EndpointCount, able: Collection[NodeName]
) -> Collection[NodeName]:
    """Return those of `able` that `endpoint_refusal` lets pass, for all of them at once."""
    if policy is TrafficPolicy.CLUSTER:
        return able if endpoints.usable else ()
    ready = [node for node in endpoints.ready_nodes if node in able]
    return ready or [node for node in endpoints.draining_nodes if node in able]


def _link_refusal(link: Link, fault: str | None, family: Family) -> Refused | None:
    if not link.up:
        return _refuse(Reason.INTERFACE_DOWN, f"interface {link.name} is down")
    if not link.carrier:
        return _refuse(Reason.NO_CARRIER, f"interface {link.name} has no carrier")
    if family is Family.IPV6 and not link.has_link_local:
        return _refuse(
            Reason.FAMILY_MISSING_ON_INTERFACE,
            f"interface {link.name} has no IPv6 link-local address",
        )
    if fault is not None:
        return _refuse(Reason.INTERFACE_UNUSABLE, f"interface {link.name}: {fault}")
    return None


def _no_speaker(node: Node) -> Refused:
    return _refuse(Reason.NO_SPEAKER, f"node {node.name} has no SpeakerStatus")


def _refuse(reason: Reason, detail: str) -> Refused:
    return Refused(reason=reason, detail=detail)
