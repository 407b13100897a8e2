"""What is said of an address, a pool and a node, by itself."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.names import NodeName
from lbctl.model.reason import Reason
from lbctl.model.selector import Operator, Requirement
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.address_uses import AddressFacts, address_uses, explain_address
from lbctl.plan.allocation import EMPTY, plan
from lbctl.plan.announced import Sent
from lbctl.plan.announcement import plan_announcements
from lbctl.plan.eligibility import EXCLUDE_LABEL
from lbctl.plan.explain import explain_service
from lbctl.plan.explain_node import NodeFacts, explain_node
from lbctl.plan.explain_pool import PoolFacts, explain_pool, pool_key, selector_text
from tests.support.builders import (
    NAMESPACE,
    addresses,
    make_advertisement,
    make_link,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
    rejected_pool,
    service_key,
)


def world(**changes) -> Snapshot:
    objects = {
        "services": [
            make_service("default/shop", status=["192.0.2.10"], mark="pool", sharing_key="k"),
            make_service(
                "default/till",
                status=["192.0.2.10"],
                mark="pool",
                sharing_key="k",
                ports=["tcp/81"],
                created=1,
            ),
        ],
        "pools": [make_pool("pool", "192.0.2.10-192.0.2.11")],
        "advertisements": [make_advertisement()],
        "slices": [make_slice("default/shop"), make_slice("default/till")],
        "nodes": [make_node("node1")],
        "speakers": [make_speaker("node1", links=(make_link("eth0", "192.0.2.1/24"),))],
    }
    return make_snapshot(**(objects | changes))


SENT = {
    service_key("default/shop"): (
        Sent(node=NodeName("node1"), interfaces=(), addresses=addresses("192.0.2.10")),
    )
}


def plans(snapshot: Snapshot):
    return (
        plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None),
        plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None),
    )


def of_address(text: str, snapshot: Snapshot) -> AddressFacts:
    return explain_address(ip_address(text), snapshot, *plans(snapshot), SENT)


def of_pool(name: str, snapshot: Snapshot) -> PoolFacts:
    key = pool_key(name, snapshot)
    assert key is not None
    return explain_pool(key, snapshot, *plans(snapshot), api_version="lbctl.io/v1beta1")


def of_node(name: str, snapshot: Snapshot, service: str = "") -> NodeFacts:
    allocation, announcement = plans(snapshot)
    asked = None
    if service:
        key = service_key(service)
        asked = explain_service(
            snapshot.services[key], allocation.outcomes[key], announcement, SENT.get(key, ())
        )
    return explain_node(NodeName(name), snapshot, announcement, SENT, asked)


# Addresses.


def test_one_row_for_an_address_whoever_shares_it():
    [use] = address_uses(*plans(world()), SENT)
    assert [str(key) for key in use.services] == ["default/shop", "default/till"]
    assert (use.pool, use.owner, use.sent, use.refused) == ("pool", "node1", ("node1",), None)


def test_an_address_that_no_status_shows_yet_is_in_use_and_says_so():
    snapshot = world(services=[make_service("default/shop")])
    [use] = address_uses(*plans(snapshot), {})
    assert (str(use.address), use.owner) == ("192.0.2.10", None)
    assert use.refused is not None
    assert use.refused.reason is Reason.NOT_ALLOCATED
    assert use.pool == "pool"


def test_rows_are_in_the_order_of_addresses_with_ipv4_first():
    snapshot = world(
        services=[
            make_service("default/six", families=["IPv6"], created=0),
            make_service("default/b", created=1),
            make_service("default/c", created=2),
        ],
        pools=[make_pool("pool", "192.0.2.9-192.0.2.10", "2001:db8::/120")],
    )
    found = [str(use.address) for use in address_uses(*plans(snapshot), {})]
    assert found == ["192.0.2.9", "192.0.2.10", found[2]]
    assert found[2].startswith("2001:db8::")


def test_a_free_address_names_the_pool_that_holds_it():
    facts = of_address("192.0.2.11", world())
    assert facts.free
    assert facts.fine
    assert facts.verdict == "free: pool pool holds it"


def test_an_address_in_use_names_its_services_its_node_and_the_verdict_on_every_node():
    facts = of_address("192.0.2.10", world())
    assert facts.fine
    assert facts.verdict == "in use by default/shop, default/till, announced by node node1"
    assert [one.node for one in facts.candidates] == ["node1"]


def test_an_address_that_nobody_announces_says_why():
    facts = of_address("192.0.2.10", world(advertisements=[]))
    assert not facts.fine
    assert "announced by nobody: NoAdvertisement" in facts.verdict


NEVER = {
    "no pool": ("203.0.113.7", {}, "AddressNotInAnyPool"),
    "an overlapping pool": (
        "192.0.2.12",
        {
            "pools": [
                make_pool("pool", "192.0.2.10-192.0.2.11"),
                make_pool("late", "192.0.2.11-192.0.2.12", created=5),
            ]
        },
        "late holds it, Overlaps",
    ),
    "a buggy address": (
        "192.0.2.255",
        {"pools": [make_pool("pool", "192.0.2.0/24", avoid_buggy_ips=True)]},
        "avoidBuggyIPs",
    ),
}


@pytest.mark.parametrize(("address", "changes", "words"), NEVER.values(), ids=NEVER)
def test_an_address_that_is_never_given_says_which_rule_keeps_it(address, changes, words):
    facts = of_address(address, world(**changes))
    assert not facts.free
    assert not facts.fine
    assert words in facts.verdict


def test_who_asks_in_vain_and_who_shows_what_we_did_not_give_are_named():
    asking = make_service("default/wish", request=["192.0.2.10"], created=7)
    foreign = make_service("default/foreign", status=["203.0.113.7"], created=8)
    snapshot = world(services=[*world().services.values(), asking, foreign])
    [one] = of_address("192.0.2.10", snapshot).asking
    assert str(one.service) == "default/wish"
    facts = of_address("203.0.113.7", snapshot)
    assert [str(key) for key in facts.elsewhere] == ["default/foreign"]
    assert not facts.fine


# Pools.


def test_a_pool_in_effect_tells_counts_members_and_who_tells_of_it():
    facts = of_pool("pool", world())
    assert facts.fine
    assert facts.ranges == ("192.0.2.10-192.0.2.11",)
    [count] = facts.families
    assert (count.family, count.assigned, count.available) == ("IPv4", 1, 1)
    assert [str(one.service) for one in facts.services] == ["default/shop", "default/till"]
    assert [(one.name, one.narrows) for one in facts.advertisements] == [("all", "")]
    assert facts.cure == ()


def test_a_pool_that_no_advertisement_covers_brings_the_one_that_does():
    facts = of_pool("pool", world(advertisements=[make_advertisement("x", pools=["other"])]))
    assert not facts.fine
    assert facts.cure == (
        "apiVersion: lbctl.io/v1beta1",
        "kind: L2Advertisement",
        f"metadata: {{name: pool, namespace: {NAMESPACE}}}",
        "spec: {ipAddressPools: [pool]}",
    )


def test_a_pool_that_cannot_be_read_tells_the_field_and_counts_nothing():
    facts = of_pool("bad", world(pools=[rejected_pool("bad")]))
    assert not facts.accepted
    assert facts.reason is Reason.INVALID
    assert "spec.addresses[0]" in facts.detail
    assert (facts.ranges, facts.families) == ((), ())
    assert facts.users.startswith("nobody")


def test_who_may_use_a_pool_and_what_an_advertisement_narrows_are_spelled_out():
    facts = of_pool(
        "pool",
        world(
            pools=[make_pool("pool", namespaces=["a", "b"], priority=5, auto_assign=False)],
            advertisements=[
                make_advertisement(
                    "some", node_selectors=(make_selector({"rack": "1"}),), interfaces=["eth1"]
                )
            ],
        ),
    )
    assert "is in a or b" in facts.users
    assert "priority 5" in facts.users
    assert "autoAssign: false" in facts.users
    [covering] = facts.advertisements
    assert covering.narrows == "nodes with rack=1; interfaces eth1"


def test_a_selector_is_spelled_as_kubectl_does():
    pairs = [
        Requirement(key="a", operator=Operator.IN, values=frozenset({"x", "y"})),
        Requirement(key="b", operator=Operator.NOT_IN, values=frozenset({"z"})),
        Requirement(key="c", operator=Operator.EXISTS),
        Requirement(key="d", operator=Operator.DOES_NOT_EXIST),
    ]
    assert selector_text(make_selector({}, *pairs)) == "a in (x,y),b notin (z),c,!d"
    assert selector_text(make_selector()) == "any labels"


# Nodes.


def test_a_node_that_announces_tells_what_and_on_which_links():
    facts = of_node("node1", world())
    assert facts.fine
    assert facts.reason is None
    assert [(str(one.address), one.sent) for one in facts.announces] == [("192.0.2.10", True)]
    assert [(one.family, one.able, one.detail) for one in facts.links] == [
        ("IPv4", True, "192.0.2.1/24"),
        ("IPv6", True, "no IPv6 subnet"),
    ]


WHY_NOT = {
    Reason.NO_SPEAKER: {"speakers": []},
    Reason.NODE_EXCLUDED: {"nodes": [make_node("node1", labels={EXCLUDE_LABEL: ""})]},
    Reason.NODE_DRAINING: {"nodes": [make_node("node1", drain_requested=True)]},
    Reason.NODE_OUT_OF_SERVICE: {"nodes": [make_node("node1", out_of_service=True)]},
    Reason.FASTPATH_DOWN: {"speakers": [make_speaker("node1", fastpath_connected=False)]},
    Reason.NO_CARRIER: {"speakers": [make_speaker("node1", links=(make_link(carrier=False),))]},
    Reason.INTERFACE_MISSING: {"speakers": [make_speaker("node1", links=())]},
}


@pytest.mark.parametrize(("reason", "changes"), WHY_NOT.items())
def test_a_node_that_may_not_announce_anything_says_why(reason, changes):
    facts = of_node("node1", world(**changes))
    assert not facts.fine
    assert facts.reason is reason
    assert facts.announces == ()


def test_readiness_does_not_count_where_no_node_is_ready():
    facts = of_node("node1", world(nodes=[make_node("node1", ready=False)]))
    assert facts.eligible
    assert (facts.ready, facts.ready_believed) == (False, True)


def test_why_not_for_one_service_is_the_verdict_of_its_plan():
    snapshot = world(
        nodes=[make_node("node1"), make_node("node2", labels={"rack": "2"})],
        speakers=[make_speaker("node1"), make_speaker("node2")],
        advertisements=[
            make_advertisement("rack2", node_selectors=(make_selector({"rack": "2"}),))
        ],
    )
    facts = of_node("node1", snapshot, "default/shop")
    assert facts.eligible, "the node by itself is well"
    assert not facts.fine
    [one] = facts.for_service
    assert one.reason is Reason.NODE_NOT_SELECTED
    assert facts.left_out_by == ("rack2",)
    silent = of_node("node2", snapshot, "default/shop")
    assert not silent.fine, "it has not said that it announces"
    [one] = silent.for_service
    assert (one.announces, one.reason) == (True, Reason.NOT_REPORTED)


def test_a_service_without_an_address_says_that_instead():
    snapshot = world(services=[make_service("default/shop")], pools=[])
    facts = of_node("node1", snapshot, "default/shop")
    assert facts.for_service == ()
    assert facts.for_service_detail.startswith("NoPoolMatches")
