"""The condition lbctl.io/Announced of a Service, as an operator waits for it and reads it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.support.cluster import (
    PRODUCT,
    Cluster,
    advertisement,
    echo,
    eventually,
    pool,
    service,
    steadily,
)

pytestmark = pytest.mark.cluster

ANNOUNCED = "lbctl.io/Announced"


@pytest.fixture
def lan(product: Cluster) -> Iterator[Cluster]:
    """Give each test a pool with an advertisement, and echo pods."""
    product.apply(
        pool("lan", "192.0.2.128-192.0.2.250"),
        advertisement("lan", ipAddressPools=["lan"]),
        echo("echo", replicas=2),
    )
    product.kube("rollout", "status", "deployment/echo", "--timeout=60s")
    yield product
    product.kube("-n", "default", "delete", "service", "-l", "!provider", "--ignore-not-found")
    product.kube("delete", "deployment", "--all")
    for kind in ("ipaddresspools.lbctl.io", "l2advertisements.lbctl.io"):
        product.kube("-n", PRODUCT, "delete", kind, "--all")


def word(cluster: Cluster, name: str = "web") -> tuple[str, str]:
    """Return status and reason of the condition, empty without it."""
    found = cluster.condition("service", name, ANNOUNCED)
    return found.get("status", ""), found.get("reason", "")


def message(cluster: Cluster, name: str = "web") -> str:
    return str(cluster.condition("service", name, ANNOUNCED).get("message", ""))


def wait(cluster: Cluster, name: str = "web") -> None:
    """Wait as an operator's script does."""
    cluster.kube(
        "-n", "default", "wait", f"--for=condition={ANNOUNCED}", f"service/{name}", "--timeout=60s"
    )


def test_kubectl_can_wait_until_a_service_is_announced(lan: Cluster) -> None:
    lan.apply(service("web"))
    wait(lan)
    [address] = lan.addresses("web")
    node = lan.announcer(address)
    assert message(lan) == f"Node {node} announces {address} on eth0."
    allocated = lan.condition("service", "web", "lbctl.io/Allocated")
    assert allocated["status"] == "True"


def test_the_condition_follows_the_node_and_shows_no_false_on_the_way(lan: Cluster) -> None:
    lan.apply(service("web"))
    wait(lan)
    [address] = lan.addresses("web")
    node = lan.announcer(address)
    with watching(lan) as seen:
        lan.kube("annotate", "node", node, "lbctl.io/drain=true")
        try:
            other = lan.wait_announcer(address, other_than=node)
            eventually("the message names it", lambda: message(lan).startswith(f"Node {other} "))
        finally:
            lan.kube("annotate", "node", node, "lbctl.io/drain-")
    assert set(seen()) == {"True"}


def test_a_pool_without_an_advertisement_is_told_and_what_is_told_cures_it(lan: Cluster) -> None:
    lan.kube("-n", PRODUCT, "delete", "l2advertisements.lbctl.io", "lan")
    lan.apply(service("web"))
    eventually("it is told", lambda: word(lan) == ("False", "NoAdvertisement"))
    [address] = lan.addresses("web")
    text = message(lan)
    assert f"{address}: no L2Advertisement covers pool lan." in text
    eventually(
        "an Event says the same",
        lambda: (
            [said for reason, said in lan.events("web") if reason == "announceFailed"] == [text]
        ),
    )
    assert "NoAdvertisement" in lan.lbctl("explain", "web", check=False)
    lines = text.partition("\n")[2]
    assert yaml.safe_load(lines)["spec"] == {"ipAddressPools": ["lan"]}
    lan.kube("apply", "-f", "-", stdin=lines)
    wait(lan)
    assert lan.announcer(address) in lan.nodes


def test_endpoints_that_are_gone_are_told_and_their_return_too(lan: Cluster) -> None:
    lan.apply(service("web"))
    wait(lan)
    lan.kube("scale", "deployment/echo", "--replicas=0")
    eventually("it is told", lambda: word(lan) == ("False", "NoEndpoints"))
    lan.kube("scale", "deployment/echo", "--replicas=1")
    wait(lan)


def test_excluded_nodes_are_told(lan: Cluster) -> None:
    exclude = "node.kubernetes.io/exclude-from-external-load-balancers"
    lan.apply(service("web"))
    wait(lan)
    lan.kube("label", "nodes", "--all", f"{exclude}=")
    try:
        eventually("it is told", lambda: word(lan) == ("False", "NodeExcluded"))
    finally:
        lan.kube("label", "nodes", "--all", f"{exclude}-")
    wait(lan)


def test_a_service_that_is_released_keeps_nothing_of_it(lan: Cluster) -> None:
    lan.apply(service("web"))
    wait(lan)
    lan.kube("patch", "service", "web", "--type=merge", "-p", '{"spec": {"type": "ClusterIP"}}')
    eventually("the condition is gone", lambda: word(lan) == ("", ""))
    steadily("it stays gone", lambda: word(lan) == ("", ""), for_s=3)


class watching:  # noqa: N801 - it reads as a verb where it is used
    """Follow the condition of the Service web; the value returns every status that was seen."""

    def __init__(self, cluster: Cluster) -> None:
        path = f'{{.status.conditions[?(@.type=="{ANNOUNCED}")].status}}{{"\\n"}}'
        self._watch = subprocess.Popen(
            [
                str(cluster.kubectl), "--kubeconfig", str(cluster.kubeconfig), "-n", "default",
                "get", "service", "web", "--watch", "-o", f"jsonpath={path}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._watch.stdout is not None
        self._seen = [self._watch.stdout.readline().strip()]

    def __enter__(self):
        return lambda: self._seen

    def __exit__(self, *_: object) -> None:
        self._watch.terminate()
        rest, _ = self._watch.communicate()
        self._seen += rest.split()
