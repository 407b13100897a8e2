"""Who announces: one node, the right one, and another when it must be, seen from the LAN."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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

EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"


@pytest.fixture
def lan(product: Cluster) -> Iterator[Cluster]:
    """Give each test pools, an advertisement and three echo pods."""
    product.apply(
        pool("lan", "192.0.2.128-192.0.2.250", "2001:db8:0:1:ffff::/112"),
        advertisement("lan", ipAddressPools=["lan"]),
        echo("echo", replicas=3),
    )
    product.kube("rollout", "status", "deployment/echo", "--timeout=60s")
    yield product
    product.kube("-n", "default", "delete", "service", "-l", "!provider", "--ignore-not-found")
    product.kube("delete", "deployment", "--all")
    # A controller manager that saw its API server killed may have forgotten whose these are.
    product.kube("delete", "pods", "--all")
    for kind in ("ipaddresspools", "l2advertisements"):
        product.kube("-n", PRODUCT, "delete", kind, "--all")


def announced(cluster: Cluster, name: str = "web", **spec: object) -> str:
    """Make a Service and return its address once a node announces it."""
    cluster.apply(service(name, **spec))
    [address] = cluster.wait_address(name)
    cluster.wait_announcer(address)
    return address


def test_a_client_reaches_a_dual_stack_service_over_both_families(lan: Cluster) -> None:
    lan.apply(service("web", ipFamilyPolicy="RequireDualStack"))
    four, six = lan.wait_address("web", 2)
    for address in (four, six):
        lan.wait_announcer(address)
        answer = lan.ask(address, within_s=20)
        assert answer.get("pod", "").startswith("echo-"), answer
    assert len(lan.answering_macs(four)) == 1


def test_cluster_replaces_and_local_keeps_the_clients_address(lan: Cluster) -> None:
    cluster_ip = announced(lan, "cluster")
    local_ip = announced(lan, "local", externalTrafficPolicy="Local")
    seen = lan.ask(local_ip, within_s=20)
    assert seen["client"] == "192.0.2.100"
    assert seen["node"] == lan.announcer(local_ip)
    # With Cluster the pod sees a node, unless it happens to run where the packet came in.
    answers = [lan.ask(cluster_ip, within_s=20) for _ in range(6)]
    assert all("pod" in answer for answer in answers)
    assert {answer["client"] for answer in answers} != {"192.0.2.100"}


def test_a_deleted_service_falls_silent_and_frees_its_address(lan: Cluster) -> None:
    lan.apply(pool("one", "192.0.2.120/32"))
    only = {"lbctl.io/address-pool": "one"}
    lan.apply(advertisement("one", ipAddressPools=["one"]))
    address = announced(lan, "first", annotations=only)
    lan.apply(service("second", annotations=only))
    eventually(
        "the second is refused",
        lambda: lan.condition("service", "second", "lbctl.io/Allocated").get("status") == "False",
    )
    lan.delete("service", "first")
    assert lan.wait_address("second") == [address]
    lan.wait_announcer(address)
    lan.delete("service", "second")
    eventually("nobody answers", lambda: not lan.neighbor(address))


def test_status_events_and_explain_name_the_announcing_node(lan: Cluster) -> None:
    address = announced(lan)
    node = lan.announcer(address)

    def reported() -> list[dict[str, object]]:
        items = lan.list("servicel2statuses.lbctl.io")
        return [item["status"] for item in items if item.get("status", {}).get("node") == node]

    [status] = eventually("ServiceL2Status names the node", reported)
    assert status["serviceName"] == "web"
    assert status["addresses"] == [address]
    assert status["interfaces"] == [{"name": "eth0"}]
    said = f'announcing from node "{node}" with protocol "layer2": {address} on eth0'
    eventually("an Event says so", lambda: ("nodeAssigned", said) in lan.events("web"))
    text = lan.lbctl("explain", "web")
    assert f"node {node} announces it on eth0" in text
    assert text.count("NotElected") == 2
    assert "3 ready" in text


def test_local_follows_its_endpoints_and_falls_silent_without(lan: Cluster) -> None:
    lan.apply(echo("roam", replicas=1, node="node1"))
    address = announced(lan, "roam", externalTrafficPolicy="Local", selector={"app": "roam"})
    eventually("node1 announces", lambda: lan.announcer(address) == "node1")
    lan.apply(echo("roam", replicas=1, node="node3"))
    eventually("node3 announces", lambda: lan.announcer(address) == "node3")
    assert lan.ask(address, within_s=20)["node"] == "node3"
    lan.kube("scale", "deployment/roam", "--replicas=0")
    eventually("nobody announces", lambda: not lan.neighbor(address))
    assert "NoLocalEndpoints" in lan.lbctl(
        "explain", "roam", check=False
    ) or "NoEndpoints" in lan.lbctl("explain", "roam", check=False)
    lan.kube("scale", "deployment/roam", "--replicas=1")
    eventually("node3 announces again", lambda: lan.announcer(address) == "node3")


def test_the_exclude_label_moves_the_address(lan: Cluster) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    lan.kube("label", "node", node, f"{EXCLUDE}=")
    try:
        lan.wait_announcer(address, other_than=node)
        assert "NodeExcluded" in lan.lbctl("explain", "web")
        assert "pod" in lan.ask(address, within_s=20)
    finally:
        lan.kube("label", "node", node, f"{EXCLUDE}-")


def test_drain_moves_the_address(lan: Cluster) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    lan.lbctl("lab", "drain", node, "--name", lan.lab)
    lan.wait_announcer(address, other_than=node)
    lan.lbctl("lab", "heal", node, "--name", lan.lab)


def test_a_deleted_speaker_that_is_kept_away_loses_the_address(lan: Cluster) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    # The DaemonSet wants this label; without it the pod is removed and not made again.
    lan.kube("label", "node", node, "kubernetes.io/os-")
    try:
        lan.wait_announcer(address, other_than=node)
        assert "pod" in lan.ask(address, within_s=20)
    finally:
        lan.kube("label", "node", node, "kubernetes.io/os=linux")
    lan.kube("-n", PRODUCT, "rollout", "status", "daemonset/lbctl-speaker", "--timeout=90s")


def test_a_speaker_that_is_deleted_by_force_leaves_no_word_behind(lan: Cluster) -> None:
    """Nobody says draining then: Kubernetes takes the word of a Pod that is gone with it."""
    address = announced(lan)
    node = lan.announcer(address)

    def owner() -> str:
        metadata = lan.get("speakerstatuses.lbctl.io", node, PRODUCT).get("metadata", {})
        return next((one["uid"] for one in metadata.get("ownerReferences", ())), "")

    [pod] = [
        pod["metadata"]
        for pod in lan.list("pods", "-l", "app.kubernetes.io/component=speaker")
        if pod["spec"]["nodeName"] == node
    ]
    assert owner() == pod["uid"]
    lan.kube("-n", PRODUCT, "delete", "pod", pod["name"], "--force", "--grace-period=0")
    eventually("the next Pod's word is there", lambda: owner() not in ("", pod["uid"]))
    lan.wait_announcer(address)
    assert len(lan.answering_macs(address)) == 1


def test_the_owners_link_without_carrier_moves_the_address(lan: Cluster) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    lan.lbctl("lab", "cut", node, "--name", lan.lab)
    try:
        lan.wait_announcer(address, other_than=node)
        assert "pod" in lan.ask(address, within_s=20)
    finally:
        lan.lbctl("lab", "heal", node, "--name", lan.lab)
    eventually("one node answers after healing", lambda: len(lan.answering_macs(address)) == 1)


def test_a_power_cut_moves_the_address_and_a_reboot_brings_the_speaker_back(lan: Cluster) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    said = lan.lbctl("lab", "break", node, "--name", lan.lab, "--service", "default/web")
    assert "longest time without an answer" in said
    lan.wait_announcer(address, other_than=node)
    assert "NodeNotReady" in lan.lbctl("explain", "web")
    lan.lbctl("lab", "heal", node, "--name", lan.lab)
    lan.kube("-n", PRODUCT, "rollout", "status", "daemonset/lbctl-speaker", "--timeout=90s")
    eventually(
        "its speaker is up again",
        lambda: any(
            line.split()[:3] == [node, "yes", "up"]
            for line in lan.lbctl("get", "nodes").splitlines()
        ),
    )
    assert len(lan.answering_macs(address)) == 1


def test_an_advertisement_of_a_missing_interface_makes_nodes_ineligible(lan: Cluster) -> None:
    address = announced(lan)
    lan.apply(advertisement("lan", ipAddressPools=["lan"], interfaces=["eth7"]))
    eventually("nobody announces", lambda: not lan.neighbor(address))
    text = lan.lbctl("explain", "web", check=False)
    assert "InterfaceMissing" in text
    assert "eth7" in text
    lan.apply(advertisement("lan", ipAddressPools=["lan"]))
    lan.wait_announcer(address)


@pytest.mark.parametrize(
    ("machine", "program"),
    [
        ("owner", "kubelet"),
        ("owner", "containerd"),
        ("cp", "kube-apiserver"),
        ("cp", "etcd"),
    ],
)
def test_killing_a_piece_of_kubernetes_changes_nothing_announced(
    lan: Cluster, machine: str, program: str
) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    where = node if machine == "owner" else machine
    with lan.stopped(where, program):
        steadily("the same node announces", lambda: lan.announcer(address) == node, for_s=4)
        assert "pod" in lan.ask(address, within_s=5)
    eventually(
        "the API server answers", lambda: "ok" in lan.kube("get", "--raw", "/readyz", check=False)
    )
    eventually(
        "all nodes are Ready",
        lambda: (
            "False" not in lan.kube("get", "nodes", "-o", _READY, check=False)
            and "Unknown" not in lan.kube("get", "nodes", "-o", _READY, check=False)
        ),
    )
    assert lan.announcer(address) == node


_READY = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'


@pytest.mark.parametrize("process", ["lb-speaker", "lb-controller"])
def test_killing_a_process_of_ours_changes_nothing_announced(lan: Cluster, process: str) -> None:
    address = announced(lan)
    node = lan.announcer(address)
    nodes = [node] if process == "lb-speaker" else list(lan.nodes)
    for one in nodes:
        lan.inside(one, "pkill", "-9", "-f", f"/{process}( |$)", check=False)
    steadily("the same node announces", lambda: lan.announcer(address) == node, for_s=4)
    assert "pod" in lan.ask(address, within_s=5)
    lan.apply(service("later"))
    lan.wait_address("later")
    assert len(lan.answering_macs(address)) == 1


def test_one_controller_killed_the_other_goes_on(lan: Cluster) -> None:
    lease = lan.get("lease", "lbctl-controller", PRODUCT)
    leader = lease["spec"]["holderIdentity"]
    lan.kube("-n", PRODUCT, "delete", "pod", leader, "--force", "--grace-period=0")
    lan.apply(service("orphan"))
    lan.wait_address("orphan")
    eventually(
        "another leads",
        lambda: lan.get("lease", "lbctl-controller", PRODUCT)["spec"]["holderIdentity"] != leader,
    )
