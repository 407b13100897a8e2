"""The steps of the checklist about what stands behind an address: Pods, ports, proxies. Pure.

EndpointSlices decide; Pods are looked at for what slices do not say. A named targetPort that no
container declares is the meanest case: the Pod is a ready endpoint, the address is announced, and
every connection is refused, because the slice lists the Pod without that port. Called by
`lbctl.plan.checklist`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from lbctl.model.endpoints import EndpointSlice
from lbctl.model.learned import Unknown
from lbctl.model.names import NodeName
from lbctl.model.pods import Backing, Pod, Proxy
from lbctl.model.reason import Reason
from lbctl.model.service import Service, ServicePort, TrafficPolicy
from lbctl.plan.announcement import AddressPlan, Part
from lbctl.plan.checklist_steps import (
    Answer,
    Commands,
    Step,
    failed,
    not_reached,
    note,
    nothing_shown,
    ok,
    refused,
    some,
)
from lbctl.plan.telling import Telling

_NO_PORT: Final = (
    "Write the name of a container's port, or its number, into spec.ports[].targetPort."
)


def selector(
    service: Service, slices: Mapping[str, EndpointSlice], backing: Backing, commands: Commands
) -> Step:
    """Judge whether the Service selects anything."""
    name = "selector"
    found = any(one.endpoints for one in slices.values())
    if not service.selector:
        if found:
            return ok(name, "none: somebody else makes the EndpointSlices", commands.slices)
        detail = "none, and nobody has made an EndpointSlice with an endpoint"
        cure = "Give the Service a selector, or make an EndpointSlice with its label."
        return failed(name, detail, commands.slices, cure)
    labels = ", ".join(f"{key}={value}" for key, value in sorted(service.selector.items()))
    if isinstance(backing.pods, Unknown):
        if found:
            return ok(name, labels, commands.slices)
        detail = f"{labels}: no EndpointSlice has an endpoint, and Pods: {backing.pods.why}"
        return note(name, detail, commands.slices)
    if backing.pods or found:
        return ok(name, f"{labels}: {_count(backing.pods)}", commands.selected)
    cure = "Correct spec.selector of the Service or the labels of the Pods."
    return failed(name, f"{labels} matches no Pod", commands.selected, cure)


def ready(
    service: Service,
    slices: Mapping[str, EndpointSlice],
    plans: list[AddressPlan],
    backing: Backing,
    commands: Commands,
) -> Step:
    """Judge whether an endpoint of each address's family is usable."""
    name = "endpoints ready"
    if not any(one.endpoints for one in slices.values()):
        if isinstance(backing.pods, Unknown) or not backing.pods:
            return not_reached(name, "there are no endpoints", commands.slices)
        waiting = some([f"{pod.name} ({pod.phase})" for pod in backing.pods if not pod.addressed])
        detail = (
            f"{_count(backing.pods)} without an address: {waiting}"
            if waiting
            else f"{_count(backing.pods)}, and no EndpointSlice has one of them yet"
        )
        return refused(name, Reason.NO_ENDPOINTS, detail, commands.selected)
    if not plans:
        return nothing_shown(name, commands.slices)
    counts = {plan.address: part_of(plan, service).endpoints for plan in plans}
    for address, count in counts.items():
        if not count.usable:
            return refused(name, Reason.NO_ENDPOINTS, f"for {address}: {count}", commands.slices)
    whole = all(not count.unusable for count in counts.values())
    detail = "; ".join(dict.fromkeys(str(count) for count in counts.values()))
    answer = Answer.OK if whole else Answer.NOTE
    return Step(name=name, answer=answer, detail=detail, confirm=commands.slices)


def target_ports(service: Service, backing: Backing, commands: Commands) -> Step:
    """Judge whether the selected Pods declare what spec.ports[].targetPort names."""
    name = "target ports"
    if not service.selector:
        return ok(name, "not looked at: the Service has no selector", commands.target_ports)
    if isinstance(backing.pods, Unknown):
        return note(name, f"not looked at: {backing.pods.why}", commands.container_ports)
    if not backing.pods:
        return not_reached(name, "the selector matches no Pod", commands.container_ports)
    doubts: list[str] = []
    for port in service.ports:
        target = port.target_port or str(port.port)
        having = [pod for pod in backing.pods if _declares(pod, port, target)]
        if len(having) == len(backing.pods):
            continue
        said = f"port {port.port}: targetPort {target}"
        if target.isdigit():
            if not having:
                doubts.append(f"{said} is declared by no container, which need not declare it")
        elif having:
            doubts.append(f"{said} is declared by {len(having)} of {_count(backing.pods)} only")
        else:
            names = some({text for pod in backing.pods for text in _names(pod, port)})
            detail = (
                f"{said} is the name of no {port.protocol} port of {_count(backing.pods)}, "
                f"which have {names or 'none'}"
            )
            return failed(name, detail, commands.container_ports, _NO_PORT)
    if doubts:
        return note(name, "; ".join(doubts), commands.container_ports)
    targets = ", ".join(port.target_port or str(port.port) for port in service.ports)
    return ok(name, f"{targets}: declared by {_count(backing.pods)}", commands.container_ports)


def local(service: Service, plans: list[AddressPlan], telling: Telling, commands: Commands) -> Step:
    """Judge externalTrafficPolicy Local: a node that may announce needs an endpoint of its own."""
    name = "local endpoints"
    if service.traffic_policy is not TrafficPolicy.LOCAL:
        return ok(name, "not needed: externalTrafficPolicy is Cluster", commands.policy)
    if not plans:
        return nothing_shown(name, commands.slices)
    nodes: dict[NodeName, None] = {}
    for plan in plans:
        part = part_of(plan, service)
        telling_nodes = telling.nodes(service.key, plan.address)
        if telling_nodes:
            nodes |= dict.fromkeys((*part.nodes, *telling_nodes))
            continue
        able_nodes = {*part.reach.able, *telling.able(service, plan.address)}
        if not able_nodes or not part.endpoints.usable:
            detail = "no node may announce, or no endpoint is usable"
            return not_reached(name, detail, commands.slices)
        if not part.nodes:
            able = some(able_nodes)
            have = some(part.endpoints.ready_nodes | part.endpoints.draining_nodes)
            detail = (
                f"externalTrafficPolicy is Local, {able} may announce, and the usable endpoints "
                f"are on {have or 'no known node'}"
            )
            return refused(name, Reason.NO_LOCAL_ENDPOINTS, detail, commands.slices)
        nodes |= dict.fromkeys(part.nodes)
    return ok(name, f"on {some(nodes)}", commands.slices)


def kube_proxy(backing: Backing, commands: Commands) -> Step:
    """Judge kube-proxy of the nodes that are to announce: it carries the traffic to the Pods."""
    name = "kube-proxy"
    if not backing.proxies:
        return not_reached(name, "no node is to announce", commands.proxies)
    told = dict(_told(backing.proxies))
    detail = "; ".join(told.values())
    if any(one in (Proxy.UNHEALTHY, Proxy.MISSING) for one in backing.proxies.values()):
        cure = "Restart kube-proxy on the node; its log says what it lacks."
        return failed(name, detail, commands.proxies, cure)
    if any(isinstance(one, Unknown) for one in backing.proxies.values()):
        return note(name, detail, commands.proxies)
    return ok(name, detail, commands.proxies)


def _told(proxies: Mapping[NodeName, Proxy | Unknown]) -> Iterator[tuple[NodeName, str]]:
    for node, answer in sorted(proxies.items()):
        match answer:
            case Unknown():
                yield node, f"{node}: {answer.why}"
            case Proxy.HEALTHY:
                yield node, f"healthy on {node}"
            case Proxy.UNHEALTHY:
                yield node, f"{node}: it says that it is not healthy: its rules are old"
            case Proxy.MISSING:
                yield node, f"{node}: nobody answers for its health, as on other nodes"


def part_of(plan: AddressPlan, service: Service) -> Part:
    """Return the Service's part in a plan for an address."""
    return next((one for one in plan.parts if one.service.key == service.key), plan.parts[0])


def _declares(pod: Pod, port: ServicePort, target: str) -> bool:
    return any(
        one.protocol == port.protocol and target in (one.name, str(one.number)) for one in pod.ports
    )


def _names(pod: Pod, port: ServicePort) -> Iterator[str]:
    return (one.name for one in pod.ports if one.name and one.protocol == port.protocol)


def _count(pods: Collection[Pod]) -> str:
    return f"{len(pods)} Pod" if len(pods) == 1 else f"{len(pods)} Pods"
