"""One lab state for each reason: what to make, what to break, and whom to ask about it.

A scene's objects bear its own name, and its pool has one address (192.0.2.150), so that what is
said is the same in every run. Where only one node may announce it is the last one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from lbctl.model.reason import Reason
from tests.cluster.breaking import (
    LAST,
    PLUGGED,
    UP,
    State,
    draining,
    labelled,
    second_link,
    stopped,
    tainted,
    without_kubelet,
    without_network,
    without_speaker,
)
from tests.support.cluster import (
    Cluster,
    advertisement,
    pool,
    service,
    without_webhook,
)

ADDRESS, OTHER, IPV6 = "192.0.2.150", "192.0.2.151", "2001:db8:0:1::150"
ALLOCATED, ANNOUNCED, ACCEPTED = "lbctl.io/Allocated", "lbctl.io/Announced", "Accepted"

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Hold a state that has the reason, and what prints it.

    `explain` are the words after `lbctl explain`; `condition` is the type of the condition that
    has the reason, on the object of this kind and of the scene's name; `event` is the reason of
    the Event about it. Each is empty if there is none.
    """

    reason: Reason
    objects: tuple[Body, ...] = ()
    state: State = nullcontext
    explain: str = ""
    kind: str = "service"
    condition: str = ""
    event: str = ""

    @property
    def name(self) -> str:
        return slug(self.reason)


def slug(reason: Reason) -> str:
    """Return the reason as a name of objects: PoolExhausted is pool-exhausted."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in reason).lstrip("-")


# What scenes are made of


def asking(name: str, **spec: Any) -> Body:
    """Return the Service of a scene: it asks for the scene's pool, unless it says otherwise."""
    annotations = spec.pop("annotations", {"address-pool": name})
    prefixed = {f"lbctl.io/{key}": value for key, value in annotations.items()}
    return service(name, annotations=prefixed, **spec)


def lan(name: str, *addresses: str, **spec: Any) -> tuple[Body, ...]:
    """Return a pool and the advertisement that covers it."""
    return (
        pool(name, *(addresses or (f"{ADDRESS}/32",)), autoAssign=False, **spec),
        advertisement(name, ipAddressPools=[name]),
    )


def on_last(name: str, *addresses: str, **spec: Any) -> tuple[Body, ...]:
    """Return a pool that the last node alone may announce."""
    nodes = [{"matchLabels": {"kubernetes.io/hostname": LAST}}]
    found = pool(name, *(addresses or (f"{ADDRESS}/32",)), autoAssign=False)
    return found, advertisement(name, ipAddressPools=[name], nodeSelectors=nodes, **spec)


def family(version: str) -> Body:
    return {"ipFamilyPolicy": "SingleStack", "ipFamilies": [version]}


# Tables of scenes of one form


def of_allocation(reason: Reason, *objects: Body, event: str = "AllocationFailed") -> Scene:
    name = slug(reason)
    return Scene(
        reason=reason,
        objects=objects,
        explain=name,
        condition=ALLOCATED,
        event=event,
    )


def of_allocation_after(reason: Reason, annotations: dict[str, str]) -> Scene:
    """Return a scene in which the Service `first` has the one address that there is."""
    name = slug(reason)
    first = asking("first", annotations={"address-pool": "taken", "allow-shared-ip": "one"})
    return replace(
        of_allocation(reason, *lan("taken"), first),
        state=after("first", asking(name, annotations=annotations)),
    )


def of_announcing(
    reason: Reason, *objects: Body, state: State = nullcontext, event: str = "announceFailed"
) -> Scene:
    name = slug(reason)
    return Scene(
        reason=reason,
        objects=objects,
        state=state,
        explain=name,
        condition=ANNOUNCED,
        event=event,
    )


def of_last(reason: Reason, state: State, *objects: Body) -> Scene:
    """Return a scene in which something about the last node keeps it from announcing."""
    name = slug(reason)
    return of_announcing(reason, *(objects or (*on_last(name), asking(name))), state=state)


def of_link(reason: Reason, state: State, *addresses: str, **spec: Any) -> Scene:
    """Return a scene in which the last node's second cable is asked for."""
    name = slug(reason)
    objects = (*on_last(name, *addresses, interfaces=["eth9"]), asking(name, **spec))
    return of_last(reason, state, *objects)


# States of one scene only; see `breaking` for the others


@contextmanager
def silent_speaker(cluster: Cluster) -> Iterator[None]:
    """Elect a node whose lb-speaker is frozen, for a Service that it has never seen."""
    with stopped("lb-speaker")(cluster):
        cluster.apply(asking(slug(Reason.NOT_REPORTED)))
        yield


@contextmanager
def asked_otherwise(cluster: Cluster) -> Iterator[None]:
    """Let a Service that has an address ask for another one."""
    name = slug(Reason.REQUEST_CHANGED)
    cluster.wait_address(name)
    cluster.apply(asking(name, annotations={"loadBalancerIPs": OTHER}))
    yield


@contextmanager
def served_by_another(cluster: Cluster) -> Iterator[None]:
    """Write what another load balancer would: an address of its own, and no mark of ours."""
    patch = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.77"}]}}})
    name = slug(Reason.FOREIGN_ADDRESS)
    cluster.kube("patch", "service", name, "--subresource=status", "--type=merge", "-p", patch)
    yield


def past_the_door(*objects: Body) -> State:
    """Return what stores objects that the webhook would refuse."""

    @contextmanager
    def state(cluster: Cluster) -> Iterator[None]:
        with without_webhook(cluster):
            cluster.apply(*objects)
        yield

    return state


def after(name: str, *objects: Body) -> State:
    """Return what makes objects once the Service `name` has its address."""

    @contextmanager
    def state(cluster: Cluster) -> Iterator[None]:
        cluster.wait_address(name)
        cluster.apply(*objects)
        yield

    return state


R = Reason
ELSEWHERE = {"serviceAllocation": {"namespaces": ["elsewhere"]}}

SCENES: tuple[Scene, ...] = (
    of_allocation(R.ALLOCATED, *lan("allocated"), asking("allocated"), event="IPAllocated"),
    of_allocation(
        R.PARTIALLY_ALLOCATED,
        *lan("partially-allocated"),
        asking("partially-allocated", ipFamilyPolicy="PreferDualStack"),
        event="AdditionalAssignFailed",
    ),
    of_allocation_after(R.POOL_EXHAUSTED, {"address-pool": "taken"}),
    of_allocation(
        R.NO_POOL_MATCHES,
        *lan("no-pool-matches", **ELSEWHERE),
        asking("no-pool-matches", annotations={}),
    ),
    of_allocation(R.UNKNOWN_POOL, asking("unknown-pool")),
    of_allocation(
        R.POOL_NOT_ALLOWED, *lan("pool-not-allowed", **ELSEWHERE), asking("pool-not-allowed")
    ),
    of_allocation_after(R.ADDRESS_IN_USE, {"loadBalancerIPs": ADDRESS}),
    of_allocation(
        R.ADDRESS_NOT_IN_ANY_POOL,
        *lan("address-not-in-any-pool"),
        asking("address-not-in-any-pool", annotations={"loadBalancerIPs": "203.0.113.9"}),
    ),
    of_allocation(
        R.ADDRESS_NOT_IN_REQUESTED_POOL,
        *lan("address-not-in-requested-pool"),
        *lan("other", f"{OTHER}/32"),
        asking(
            "address-not-in-requested-pool",
            annotations={"address-pool": "address-not-in-requested-pool", "loadBalancerIPs": OTHER},
        ),
    ),
    of_allocation_after(
        R.SHARING_KEY_DIFFERS, {"loadBalancerIPs": ADDRESS, "allow-shared-ip": "another"}
    ),
    of_allocation_after(R.PORT_IN_USE, {"loadBalancerIPs": ADDRESS, "allow-shared-ip": "one"}),
    of_allocation(
        R.FAMILY_MISMATCH,
        *lan("family-mismatch", f"{IPV6}/128"),
        asking("family-mismatch", annotations={"loadBalancerIPs": IPV6}, **family("IPv4")),
    ),
    of_allocation(
        R.INVALID_REQUEST,
        *lan("invalid-request"),
        asking("invalid-request", annotations={"loadBalancerIPs": "192.0.2.1x0"}),
    ),
    Scene(
        reason=R.REQUEST_CHANGED,
        objects=(
            *lan("request-changed", f"{ADDRESS}-{OTHER}"),
            asking("request-changed", annotations={"loadBalancerIPs": ADDRESS}),
        ),
        state=asked_otherwise,
        event="ClearAssignment",
    ),
    # Somebody else's Services: nothing is written to them.
    Scene(
        reason=R.NOT_LOAD_BALANCER,
        objects=(asking("not-load-balancer", type="ClusterIP"),),
        explain="not-load-balancer",
    ),
    Scene(
        reason=R.FOREIGN_CLASS,
        objects=(asking("foreign-class", loadBalancerClass="example.com/other"),),
        explain="foreign-class",
    ),
    Scene(
        reason=R.FOREIGN_ADDRESS,
        objects=(asking("foreign-address"),),
        state=served_by_another,
        explain="foreign-address",
    ),
    # Why a pool did not serve.
    Scene(
        reason=R.AUTO_ASSIGN_OFF,
        objects=(*lan("auto-assign-off"), asking("auto-assign-off", annotations={})),
        explain="auto-assign-off",
    ),
    Scene(
        reason=R.NO_SUCH_FAMILY,
        objects=(*lan("no-such-family"), asking("no-such-family", **family("IPv6"))),
        explain="no-such-family",
    ),
    # Configuration.
    Scene(
        reason=R.ACCEPTED,
        objects=lan("accepted"),
        explain="pool accepted",
        kind="ipaddresspool",
        condition=ACCEPTED,
    ),
    Scene(
        reason=R.INVALID,
        state=past_the_door(*lan("invalid", "2001:db8::9-2001:db8::1")),
        explain="pool invalid",
        kind="ipaddresspool",
        condition=ACCEPTED,
        event="Invalid",
    ),
    Scene(
        reason=R.OVERLAPS,
        objects=lan("older"),
        state=past_the_door(*lan("overlaps", f"{ADDRESS}/31")),
        explain="pool overlaps",
        kind="ipaddresspool",
        condition=ACCEPTED,
        event="Overlaps",
    ),
    Scene(
        reason=R.MISSING_POOL,
        objects=(advertisement("missing-pool", ipAddressPools=["nowhere"]),),
        kind="l2advertisement",
        condition=ACCEPTED,
        event="MissingPool",
    ),
    # Announcing.
    of_announcing(R.ANNOUNCED, *on_last("announced"), asking("announced"), event="nodeAssigned"),
    of_announcing(R.NOT_ALLOCATED, asking("not-allocated"), event=""),
    of_announcing(R.NO_ADVERTISEMENT, lan("no-advertisement")[0], asking("no-advertisement")),
    of_announcing(
        R.NODE_NOT_SELECTED,
        lan("node-not-selected")[0],
        advertisement("node-not-selected", nodeSelectors=[{"matchLabels": {"rack": "seven"}}]),
        asking("node-not-selected"),
    ),
    of_last(R.NODE_EXCLUDED, labelled),
    of_last(R.NODE_NETWORK_UNAVAILABLE, without_network),
    of_last(R.NODE_NOT_READY, without_kubelet),
    of_last(R.NODE_OUT_OF_SERVICE, tainted),
    of_last(R.NO_SPEAKER, without_speaker),
    of_last(R.NODE_DRAINING, draining),
    of_last(
        R.INTERFACE_MISSING,
        nullcontext,
        *on_last("interface-missing", interfaces=["eth9"]),
        asking("interface-missing"),
    ),
    of_link(R.INTERFACE_DOWN, second_link()),
    of_link(R.NO_CARRIER, second_link(UP)),
    of_link(
        R.FAMILY_MISSING_ON_INTERFACE,
        second_link("sysctl -q -w net.ipv6.conf.eth9.disable_ipv6=1", UP, PLUGGED),
        f"{IPV6}/128",
        **family("IPv6"),
    ),
    of_link(R.INTERFACE_UNUSABLE, second_link(UP, PLUGGED, memory="64")),
    of_last(R.FASTPATH_DOWN, stopped("lb-fastpath")),
    of_announcing(
        R.NO_ENDPOINTS, *lan("no-endpoints"), asking("no-endpoints", selector={"app": "nobody"})
    ),
    of_last(
        R.NO_LOCAL_ENDPOINTS,
        nullcontext,
        *on_last("no-local-endpoints"),
        asking("no-local-endpoints", externalTrafficPolicy="Local"),
    ),
    of_last(R.NOT_REPORTED, silent_speaker, *on_last("not-reported")),
    Scene(
        reason=R.NOT_ELECTED,
        objects=(*lan("not-elected"), asking("not-elected")),
        explain="node node1 --service not-elected",
    ),
)
