"""What is broken about the last node of a lab, and repaired: the states of scenes.

Each takes the cluster and is a context manager; `State` is their type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.support.cluster import PRODUCT, Cluster

LAST = "node3"
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

State = Callable[[Cluster], AbstractContextManager[object]]


def labelled(cluster: Cluster) -> AbstractContextManager[object]:
    return _kube(cluster, f"label node {LAST} {EXCLUDE}=", f"label node {LAST} {EXCLUDE}-")


def tainted(cluster: Cluster) -> AbstractContextManager[object]:
    taint = f"{OUT_OF_SERVICE}=nodeshutdown:NoSchedule"
    return _kube(cluster, f"taint node {LAST} {taint}", f"taint node {LAST} {OUT_OF_SERVICE}-")


def draining(cluster: Cluster) -> AbstractContextManager[object]:
    note = "lbctl.io/drain"
    return _kube(cluster, f"annotate node {LAST} {note}=true", f"annotate node {LAST} {note}-")


@contextmanager
def _kube(cluster: Cluster, breaks: str, repairs: str) -> Iterator[None]:
    cluster.kube(*breaks.split())
    try:
        yield
    finally:
        cluster.kube(*repairs.split())


@contextmanager
def without_network(cluster: Cluster) -> Iterator[None]:
    """Say what a network plugin's controller says of a node that it has not set up."""

    def say(status: str) -> None:
        found = {"type": "NetworkUnavailable", "status": status, "reason": "Tried", "message": ""}
        patch = json.dumps({"status": {"conditions": [found]}})
        cluster.kube("patch", "node", LAST, "--subresource=status", "-p", patch)

    say("True")
    try:
        yield
    finally:
        say("False")


def without_kubelet(cluster: Cluster) -> AbstractContextManager[object]:
    return cluster.stopped(LAST, "kubelet")


@contextmanager
def without_speaker(cluster: Cluster) -> Iterator[None]:
    """Keep the DaemonSet off the last node; the Pods of the others stay as they are."""
    elsewhere = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [LAST]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [elsewhere]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    before = cluster.get("daemonset", "lbctl-speaker", PRODUCT)["spec"]

    def patch(strategy: Any, wanted: Any) -> None:
        template = {"spec": {"affinity": wanted}}
        body = json.dumps({"spec": {"updateStrategy": strategy, "template": template}})
        words = ("patch", "daemonset", "lbctl-speaker", "--type=merge", "-p", body)
        cluster.kube("-n", PRODUCT, *words)

    patch({"type": "OnDelete", "rollingUpdate": None}, affinity)
    try:
        yield
    finally:
        patch(before["updateStrategy"], None)
        cluster.kube(
            "-n", PRODUCT, "rollout", "status", "daemonset/lbctl-speaker", "--timeout=120s"
        )


def stopped(program: str) -> State:
    """Return what freezes one of ours on the last node; its liveness probe ends it later."""

    @contextmanager
    def state(cluster: Cluster) -> Iterator[None]:
        def signal(name: str) -> None:
            words = ("pkill", f"-{name}", "-f", f"/{program}( |$)")
            cluster.inside(LAST, *words, check=False)

        signal("STOP")
        try:
            yield
        finally:
            signal("CONT")

    return state


def second_link(*settings: str, memory: str = "") -> State:
    """Return what gives the last node a second cable, and then does what the settings say."""

    @contextmanager
    def state(cluster: Cluster) -> Iterator[None]:
        def node(words: str) -> str:
            return cluster.in_net(LAST, *words.split())

        before = node("sysctl -n net.core.optmem_max").strip()
        if memory:
            node(f"sysctl -q -w net.core.optmem_max={memory}")
        node("ip link add eth9 type veth peer name veth9")
        try:
            for words in settings:
                node(words)
            yield
        finally:
            node("ip link del eth9")
            node(f"sysctl -q -w net.core.optmem_max={before}")

    return state


UP, PLUGGED = "ip link set eth9 up", "ip link set veth9 up"
