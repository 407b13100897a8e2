"""Two controllers and what befalls the one that leads: killed, frozen, cut off.

A watch records every version of every Service meanwhile: no address is ever on two of them, and
none that a Service had before changes. Clocks are not tried here: all machines of a lab have one.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab import lab
from tests.support.cluster import PRODUCT, Cluster, eventually, pool, service, steadily

pytestmark = pytest.mark.cluster

LEASE_S = 15.0
KEPT = 20
"""Services that have an address before anything happens."""


@pytest.fixture
def served(product: Cluster) -> Iterator[Cluster]:
    """Give each test two ready controllers and Services with addresses."""
    product.kube("-n", PRODUCT, "rollout", "status", "deployment/lbctl-controller")
    product.apply(
        pool("wide", "198.18.128.0/25"), *(service(f"kept-{number}") for number in range(KEPT))
    )
    for number in range(KEPT):
        product.wait_address(f"kept-{number}")
    yield product
    product.kube("-n", "default", "delete", "service", "-l", "!provider", "--ignore-not-found")
    product.kube("-n", PRODUCT, "delete", "ipaddresspools", "--all")


def leader(cluster: Cluster) -> str:
    lease = cluster.get("lease", "lbctl-controller", PRODUCT)
    return str(lease.get("spec", {}).get("holderIdentity", ""))


def node_of(cluster: Cluster, pod: str) -> str:
    return str(cluster.get("pod", pod, PRODUCT)["spec"]["nodeName"])


def signal(cluster: Cluster, node: str, pod: str, name: str) -> None:
    """Send a signal to the lb-controller of one pod; two of them may be on the node."""
    script = (
        "for p in $(pgrep -f '/lb-controller( |$)'); do "
        f"tr '\\0' '\\n' < /proc/$p/environ | grep -qx LBCTL_IDENTITY={pod} && kill -{name} $p; "
        "done; true"
    )
    cluster.inside(node, "sh", "-c", script, check=False)


def metrics(cluster: Cluster, pod: str) -> dict[str, float]:
    path = f"/api/v1/namespaces/{PRODUCT}/pods/{pod}/proxy/metrics"
    lines = cluster.kube("get", "--raw", path, check=False).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("lbctl_"))
    return {name: float(value) for name, _, value in pairs}


@contextmanager
def watched(cluster: Cluster) -> Iterator[None]:
    """Record all Services, and judge every version in the end."""
    with tempfile.TemporaryFile() as record:
        command = [cluster.kubectl, "--kubeconfig", cluster.kubeconfig, "get", "services"]
        command += ["-A", "--watch", "--output-watch-events", "-o", "json"]
        watching = subprocess.Popen(command, stdout=record, stderr=subprocess.DEVNULL)
        try:
            eventually(
                "the watch has begun", lambda: Path(f"/proc/{watching.pid}/fd/1").stat().st_size
            )
            yield
            assert watching.poll() is None, "the watch ended before the test"
        finally:
            watching.terminate()
            watching.wait()
        record.seek(0)
        judge(record.read().decode())


def judge(text: str) -> None:
    """Fail if an address was on two Services at a time, or one that was kept has changed."""
    decoder, at, shown = json.JSONDecoder(), 0, dict[str, list[str]]()
    kept: dict[str, list[str]] = {}
    while at < len(text.rstrip()):
        event, end = decoder.raw_decode(text, at)
        at = end + len(text[end:]) - len(text[end:].lstrip())
        body: dict[str, Any] = event["object"]
        name = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        ingress = body["status"].get("loadBalancer", {}).get("ingress", ())
        shown[name] = [] if event["type"] == "DELETED" else [entry["ip"] for entry in ingress]
        everywhere = [address for addresses in shown.values() for address in addresses]
        assert len(everywhere) == len(set(everywhere)), f"twice at {name}: {shown}"
        if "/kept-" in name:
            assert shown[name] == kept.setdefault(name, shown[name]), f"{name} has changed"
    assert len(kept) == KEPT


def serves(cluster: Cluster, *names: str) -> None:
    cluster.apply(*(service(name) for name in names))
    for name in names:
        cluster.wait_address(name)


def test_a_leader_that_is_killed_again_and_again_is_replaced(served: Cluster) -> None:
    first = leader(served)
    node = node_of(served, first)
    with watched(served):
        served.apply(*(service(f"late-{number}") for number in range(10)))

        def replaced() -> bool:
            # The kubelet brings it back under its own name: it may take its Lease back.
            signal(served, node, first, "KILL")
            return leader(served) != first

        eventually("the other one leads", replaced, within_s=90)
        serves(served, *(f"late-{number}" for number in range(10)), "after")
    eventually("both are ready", lambda: ready(served) == 2, within_s=120)


def test_a_leader_frozen_beyond_its_lease_steps_down_when_it_wakes(served: Cluster) -> None:
    first = leader(served)
    node = node_of(served, first)
    with watched(served):
        before = at_rest(served, first)
        assert before["lbctl_controller_leading"] == 1
        signal(served, node, first, "STOP")
        try:
            served.apply(*(service(f"late-{number}") for number in range(10)))
            # Before the kubelet's third failed probe, which would kill it.
            eventually("the other one leads", lambda: leader(served) != first, within_s=25)
        finally:
            signal(served, node, first, "CONT")
        serves(served, *(f"late-{number}" for number in range(10)))
        eventually(
            "the first one knows",
            lambda: metrics(served, first).get("lbctl_controller_leading") == 0,
        )
        woken = metrics(served, first)
        serves(served, "after-1", "after-2", "after-3")
        assert written(metrics(served, first)) == written(woken)
        assert written(woken) <= written(before) + 1, "one write in flight at most"
    assert leader(served) != first


def test_a_leader_whose_node_is_cut_off_is_replaced_and_writes_nothing_when_it_is_back(
    served: Cluster,
) -> None:
    first = leader(served)
    node = node_of(served, first)
    with watched(served):
        before = written(at_rest(served, first))
        lab.cable(served.lab, node, connected=False)
        try:
            served.apply(*(service(f"late-{number}") for number in range(10)))
            cut = time.monotonic()
            eventually("the other one leads", lambda: leader(served) != first, within_s=40)
            assert time.monotonic() - cut < LEASE_S + 10
            serves(served, *(f"late-{number}" for number in range(10)))
        finally:
            lab.cable(served.lab, node, connected=True)
        eventually(
            "the first one is back and knows",
            lambda: metrics(served, first).get("lbctl_controller_leading") == 0,
            within_s=90,
        )
        serves(served, "after-1", "after-2")
        assert written(metrics(served, first)) == before
        steadily("the other one goes on leading", lambda: leader(served) != first, for_s=4)
    eventually("both are ready", lambda: ready(served) == 2, within_s=120)


def ready(cluster: Cluster) -> int:
    status = cluster.get("deployment", "lbctl-controller", PRODUCT)["status"]
    return int(status.get("readyReplicas", 0))


def written(found: dict[str, float]) -> float:
    """Return how many writes a controller's metrics count as done."""
    return found['lbctl_writes_total{outcome="written"}']


def at_rest(cluster: Cluster, pod: str) -> dict[str, float]:
    """Return the metrics of the leader once it has nothing to write."""
    looks: list[dict[str, float]] = []

    def quiet() -> dict[str, float]:
        looks.append(metrics(cluster, pod))
        return looks[-1] if [written(one) for one in looks[-5:]] == [written(looks[-1])] * 5 else {}

    return eventually("the leader is at rest", quiet)
