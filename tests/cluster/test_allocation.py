"""Addresses on a real API server: given, refused with a reason, freed, kept."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster import (
    PRODUCT,
    Cluster,
    eventually,
    pool,
    service,
    steadily,
    without_webhook,
)

pytestmark = pytest.mark.cluster

ALLOCATED = "lbctl.io/Allocated"


@pytest.fixture
def pools(product: Cluster) -> Iterator[Cluster]:
    """Give each test a cluster without pools and Services, and leave none behind."""
    yield product
    product.kube("-n", "default", "delete", "service", "-l", "!provider", "--ignore-not-found")
    for kind in ("ipaddresspools", "l2advertisements"):
        product.kube("-n", PRODUCT, "delete", kind, "--all")


def test_a_full_pool_refuses_with_reason_and_event_and_serves_when_one_is_freed(
    pools: Cluster,
) -> None:
    pools.apply(pool("tiny", "192.0.2.130-192.0.2.131"), service("a"), service("b"))
    pools.wait_address("a")
    pools.wait_address("b")
    pools.apply(service("c"))
    refused = eventually("c has a condition", lambda: pools.condition("service", "c", ALLOCATED))
    assert (refused["status"], refused["reason"]) == ("False", "PoolExhausted")
    eventually(
        "an Event says so",
        lambda: [text for reason, text in pools.events("c") if reason == "AllocationFailed"],
    )
    freed = pools.addresses("a")
    pools.delete("service", "a")
    assert pools.wait_address("c") == freed
    assert pools.condition("service", "c", ALLOCATED)["status"] == "True"


def test_an_invalid_pool_is_reported_on_itself_and_the_others_go_on(pools: Cluster) -> None:
    pools.apply(pool("good", "192.0.2.140/32"))
    eventually(
        "the good pool is accepted",
        lambda: (
            pools.condition("ipaddresspool", "good", "Accepted", PRODUCT).get("status") == "True"
        ),
    )
    # The schema knows no IPv6 numbers: with a dead webhook such a range gets in.
    bad = pool("bad", "2001:db8:0:1:ffff::9-2001:db8:0:1:ffff::1")
    with without_webhook(pools):
        eventually("it gets in", lambda: not _refusal(pools, bad))
        verdict = eventually(
            "the bad pool is reported",
            lambda: pools.condition("ipaddresspool", "bad", "Accepted", PRODUCT),
        )
    assert verdict["status"] == "False"
    assert "spec.addresses[0]" in verdict["message"]
    pools.apply(service("served"))
    assert pools.wait_address("served") == ["192.0.2.140"]
    good = pools.condition("ipaddresspool", "good", "Accepted", PRODUCT)
    assert good["status"] == "True"


def test_overlapping_pools_are_refused_at_the_door_with_the_words_of_the_condition(
    pools: Cluster,
) -> None:
    pools.apply(pool("older", "192.0.2.144/29"))
    eventually(
        "the older pool is accepted",
        lambda: (
            pools.condition("ipaddresspool", "older", "Accepted", PRODUCT).get("status") == "True"
        ),
    )
    younger = pool("younger", "192.0.2.150/32")
    said = eventually(
        "the webhook refuses it",
        lambda: _refusal(pools, younger),
    )
    assert "older" in said
    assert "192.0.2.150" in said


def test_overlapping_pools_never_give_one_address_twice(pools: Cluster) -> None:
    # The door is held open: this is what a dead webhook, or two writers at once, may leave.
    with without_webhook(pools):
        pools.apply(pool("older", "192.0.2.160/32"))
        eventually(
            "the older pool is accepted",
            lambda: (
                pools.condition("ipaddresspool", "older", "Accepted", PRODUCT).get("status")
                == "True"
            ),
        )
        pools.apply(pool("younger", "192.0.2.160-192.0.2.161"))
        verdict = eventually(
            "the younger pool is reported",
            lambda: pools.condition("ipaddresspool", "younger", "Accepted", PRODUCT),
        )
        assert (verdict["status"], verdict["reason"]) == ("False", "Overlaps")
        pools.apply(service("first"), service("second"))
        eventually(
            "one of the two is refused",
            lambda: (
                {
                    pools.condition("service", name, ALLOCATED).get("status")
                    for name in ("first", "second")
                }
                == {"True", "False"}
            ),
        )
    given = pools.addresses("first") + pools.addresses("second")
    assert given == ["192.0.2.160"]


def test_dual_stack_classes_requests_and_type_flips(pools: Cluster) -> None:
    pools.apply(
        pool("both", "192.0.2.170-192.0.2.179", "2001:db8:0:1:ffff::/120"),
        service("dual", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6", "IPv4"]),
        service("wish", annotations={"lbctl.io/loadBalancerIPs": "192.0.2.175"}),
        service("foreign", loadBalancerClass="example.com/other"),
    )
    four, six = pools.wait_address("dual", 2)
    assert four.startswith("192.0.2.17")
    assert six.startswith("2001:db8:0:1:ffff::")
    assert pools.wait_address("wish") == ["192.0.2.175"]
    marks = pools.get("service", "wish")["metadata"]["annotations"]
    assert marks["lbctl.io/ip-allocated-from-pool"] == "both"
    steadily("a foreign Service is left alone", lambda: not pools.addresses("foreign"), for_s=1)
    assert not pools.condition("service", "foreign", ALLOCATED)
    pools.kube("patch", "service", "wish", "-p", '{"spec":{"type":"ClusterIP"}}')
    eventually("a type flip releases", lambda: not pools.addresses("wish"))
    eventually(
        "and takes the mark away",
        lambda: (
            "lbctl.io/ip-allocated-from-pool"
            not in pools.get("service", "wish")["metadata"]["annotations"]
        ),
    )


def test_a_pool_of_more_addresses_than_can_be_counted_works(pools: Cluster) -> None:
    pools.apply(pool("endless", "2001:db8:8000::/33"), service("vast", ipFamilies=["IPv6"]))
    assert pools.wait_address("vast") == ["2001:db8:8000::"]
    status = eventually(
        "the pool is counted",
        lambda: pools.get("ipaddresspool", "endless", PRODUCT).get("status", {}),
    )
    assert status["availableIPv6"] == 2**63 - 1


def test_a_pool_with_1001_entries_is_refused_with_the_limit(pools: Cluster) -> None:
    entries = [f"198.18.{number // 250}.{number % 250}/32" for number in range(1001)]
    said = pools.kube("apply", "-f", "-", stdin=json.dumps(pool("long", *entries)), check=False)
    assert "spec.addresses" in said
    assert "1000" in said


def test_contradictory_annotations_are_explained_on_the_service(pools: Cluster) -> None:
    pools.apply(
        pool("small", "192.0.2.180/30"),
        pool("other", "192.0.2.250/32"),
        service(
            "torn",
            annotations={
                "lbctl.io/loadBalancerIPs": "192.0.2.250",
                "lbctl.io/address-pool": "small",
            },
        ),
        service("garbage", annotations={"lbctl.io/loadBalancerIPs": "not-an-address"}),
    )
    torn = eventually("torn is judged", lambda: pools.condition("service", "torn", ALLOCATED))
    assert torn["reason"] == "AddressNotInRequestedPool"
    garbage = eventually(
        "garbage is judged", lambda: pools.condition("service", "garbage", ALLOCATED)
    )
    assert garbage["reason"] == "InvalidRequest"
    assert "lbctl.io/loadBalancerIPs" in garbage["message"]


def test_a_controller_restart_with_500_services_changes_nothing_and_writes_nothing(
    pools: Cluster,
) -> None:
    pools.apply(pool("wide", "198.18.128.0/22"))
    with pools.namespace("many"):
        pools.apply(
            *(
                service(f"s{number}", namespace="many", allocateLoadBalancerNodePorts=False)
                for number in range(500)
            )
        )
        before = eventually("all is said", lambda: _settled(pools, 500), within_s=180)
        pools.kube("-n", PRODUCT, "delete", "pod", "-l", "app.kubernetes.io/component=controller")
        pools.kube(
            "-n", PRODUCT, "rollout", "status", "deployment/lbctl-controller", "--timeout=90s"
        )
        pools.apply(service("after"))
        pools.wait_address("after")
        assert _settled(pools, 500) == before


def _settled(cluster: Cluster, count: int) -> dict[str, tuple[str, str]]:
    """Return address and resourceVersion by name, once `count` Services show all there is to say."""
    items = json.loads(cluster.kube("-n", "many", "get", "services", "-o", "json"))["items"]
    found = {
        item["metadata"]["name"]: (
            item["status"]["loadBalancer"]["ingress"][0]["ip"],
            item["metadata"]["resourceVersion"],
        )
        for item in items
        if item["status"]["loadBalancer"].get("ingress")
        and any(one["type"] == "lbctl.io/Announced" for one in item["status"]["conditions"])
    }
    assert len({address for address, _ in found.values()}) == len(found)
    return found if len(found) == count else {}


def _refusal(cluster: Cluster, body: dict[str, object]) -> str:
    """Return what the webhook says to a pool; an accepted one is taken back for the next try."""
    said = cluster.kube("apply", "-f", "-", stdin=json.dumps(body), check=False)
    if "denied the request" in said:
        return said
    cluster.delete("ipaddresspool", "younger", PRODUCT)
    return ""
