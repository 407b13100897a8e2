"""Corners of MetalLB's rules that an operator's objects rely on; the compatibility page names them.

The wide roads are in the neighboring files; here is one row for each narrow one.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.endpoints import EndpointState, endpoint_state
from lbctl.model.names import NodeName
from lbctl.model.outcome import Refused
from lbctl.model.pool import ServiceAllocation
from lbctl.model.reason import Reason
from lbctl.plan.announcement import announcement_plan
from tests.support.allocating import Cluster, one_pool
from tests.support.builders import (
    make_advertisement,
    make_endpoint,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
)

VIP = ip_address("192.0.2.10")
NAMES = ("node-a", "node-b", "node-c")
GOLD, TIN = make_selector({"tier": "gold"}), make_selector({"tier": "tin"})


def owner(*advertisements, pool_labels=None, labels=None):
    snapshot = make_snapshot(
        services=[make_service(status=[str(VIP)], mark="pool", labels=labels or {})],
        pools=[make_pool(labels=pool_labels or {})],
        advertisements=advertisements,
        slices=[make_slice()],
        nodes=[make_node(name) for name in NAMES],
        speakers=[make_speaker(name) for name in NAMES],
    )
    return announcement_plan(snapshot)[VIP].owner


# Allocation


@pytest.mark.parametrize("asked", [{"pool": "p"}, {"request": ["192.0.2.0"]}])
def test_a_pool_that_is_not_given_unasked_is_given_when_asked_for(asked) -> None:
    cluster = one_pool(auto_assign=False)
    cluster.put("plain")
    cluster.put("asking", **asked)
    cluster.go()
    assert cluster.reason("plain") == Reason.NO_POOL_MATCHES
    assert cluster.has("asking") == ["192.0.2.0"]


@pytest.mark.parametrize("asked", [{"pool": "q"}, {"request": ["198.51.100.1"]}])
def test_a_request_that_is_taken_back_moves_nothing(asked) -> None:
    cluster = Cluster(make_pool("p", "192.0.2.0/30"), make_pool("q", "198.51.100.0/30"))
    cluster.put("a", **asked)
    before = cluster.go().has("a")
    cluster.put("a")
    assert cluster.go("a").has("a") == before
    assert before[0].startswith("198.51.100.")


@pytest.mark.parametrize(
    "edit",
    [
        {"ports": ["tcp/443", "udp/53"]},
        {"traffic_policy": "Local"},
        {"sharing_key": "k"},
        {"selector": {"app": "new"}},
    ],
    ids=["ports", "policy", "sharing key", "selector"],
)
def test_a_service_alone_on_its_address_keeps_it_through_every_edit(edit) -> None:
    cluster = one_pool()
    cluster.put("a", sharing_key="old")
    cluster.put("b")
    cluster.go()
    cluster.put("a", **edit)
    assert cluster.go("a").has("a") == ["192.0.2.0"]


def test_a_sharing_key_that_comes_later_lets_who_waits_in() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", ports=["tcp/80"])
    cluster.put("b", ports=["tcp/443"], sharing_key="k")
    assert cluster.go().reason("b") == Reason.POOL_EXHAUSTED
    cluster.put("a", ports=["tcp/80"], sharing_key="k")
    assert cluster.go("a").has("b") == ["192.0.2.0"]


def test_a_service_that_loses_its_label_loses_the_pool() -> None:
    cluster = Cluster(
        make_pool("p", allocation=ServiceAllocation(service_selectors=(GOLD,))),
        make_pool("q", "198.51.100.0/30"),
    )
    cluster.put("a", labels={"tier": "gold"})
    assert cluster.go().has("a") == ["192.0.2.0"]
    cluster.put("a", labels={})
    assert cluster.go("a").has("a") == ["198.51.100.0"]
    assert cluster.decision("a").lost[0].reason == Reason.POOL_NOT_ALLOWED


def test_an_address_needs_no_advertisement() -> None:
    cluster = one_pool()
    cluster.put("a")
    assert cluster.snapshot().advertisements == {}
    assert cluster.go().has("a") == ["192.0.2.0"]


# Advertisements


@pytest.mark.parametrize(
    ("fields", "covered"),
    [
        ({}, True),
        ({"pools": ("pool",)}, True),
        ({"pools": ("nowhere",)}, False),
        ({"pools": ("nowhere", "pool")}, True),
        ({"pool_selectors": (GOLD,)}, True),
        ({"pool_selectors": (TIN,)}, False),
        ({"pool_selectors": (TIN, GOLD)}, True),
        ({"pools": ("nowhere",), "pool_selectors": (GOLD,)}, True),
        ({"pools": ("pool",), "pool_selectors": (TIN,)}, True),
    ],
)
def test_a_pool_is_covered_by_name_or_label_and_by_an_advertisement_of_all(fields, covered):
    found = owner(make_advertisement(**fields), pool_labels={"tier": "gold"})
    assert (found is not None) is covered


@pytest.mark.parametrize(
    ("selectors", "covered"), [((), True), ((GOLD,), True), ((TIN,), False), ((TIN, GOLD), True)]
)
def test_one_of_several_service_selectors_is_enough(selectors, covered):
    found = owner(make_advertisement(service_selectors=selectors), labels={"tier": "gold"})
    assert (found is not None) is covered


def test_one_of_several_node_selectors_is_enough():
    def named(node):
        return make_selector({"kubernetes.io/hostname": node})

    assert owner(make_advertisement()) == "node-c"
    assert owner(make_advertisement(node_selectors=(named("node-b"),))) == "node-b"
    assert owner(make_advertisement(node_selectors=(named("node-x"), named("node-a")))) == "node-a"
    assert owner(make_advertisement(node_selectors=(named("node-x"),))) is None


def test_a_preference_on_a_node_that_is_not_selected_has_no_weight():
    nodes = (make_selector({"kubernetes.io/hostname": "node-b"}),)
    wish = make_advertisement(
        "wish",
        node_selectors=nodes,
        preferred_nodes=[(100, {"kubernetes.io/hostname": "node-a"})],
    )
    assert owner(make_advertisement(), wish) == "node-c"


def test_sharers_under_different_advertisements_have_one_owner_that_both_allow():
    def only(name, tier, *nodes):
        return make_advertisement(
            name,
            service_selectors=(make_selector({"tier": tier}),),
            node_selectors=tuple(make_selector({"kubernetes.io/hostname": node}) for node in nodes),
        )

    first, second = (
        make_service(
            f"default/{name}",
            status=[str(VIP)],
            sharing_key="k",
            ports=[port],
            labels={"tier": tier},
            created=age,
        )
        for name, port, tier, age in (("a", "tcp/80", "gold", 1), ("b", "tcp/81", "tin", 2))
    )
    snapshot = make_snapshot(
        services=[first, second],
        pools=[make_pool()],
        advertisements=[
            only("one", "gold", "node-a", "node-c"),
            only("two", "tin", "node-a", "node-b"),
        ],
        slices=[make_slice("default/a"), make_slice("default/b")],
        nodes=[make_node(name) for name in NAMES],
        speakers=[make_speaker(name) for name in NAMES],
    )
    plan = announcement_plan(snapshot)[VIP]
    assert (plan.owner, plan.services) == ("node-a", (first.key, second.key))


def test_with_cluster_policy_it_does_not_matter_where_the_endpoints_are():
    snapshot = make_snapshot(
        services=[make_service(status=[str(VIP)], mark="pool")],
        pools=[make_pool()],
        advertisements=[make_advertisement()],
        slices=[make_slice("default/shop", make_endpoint(node="elsewhere"))],
        nodes=[make_node("node-a"), make_node("node-b")],
        speakers=[make_speaker("node-a")],
    )
    plan = announcement_plan(snapshot)[VIP]
    assert plan.owner == "node-a"
    refused = plan.candidates()[NodeName("node-b")]
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NO_SPEAKER


# Endpoints

READY, DRAINING, UNUSABLE = EndpointState.READY, EndpointState.DRAINING, EndpointState.UNUSABLE


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "state"),
    [
        (True, None, None, READY),
        (None, None, None, READY),
        (None, False, None, READY),
        (True, True, True, READY),
        (False, True, True, DRAINING),
        (False, True, False, UNUSABLE),
        (False, True, None, UNUSABLE),
        (False, None, True, UNUSABLE),
        (False, False, True, UNUSABLE),
        (False, False, False, UNUSABLE),
    ],
)
def test_an_endpoint_counts_by_its_three_conditions(ready, serving, terminating, state):
    assert endpoint_state(ready=ready, serving=serving, terminating=terminating) is state
