"""The announcement plan: who announces, why nobody does, and what is unlawful."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from lbctl.model.names import NodeName
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.snapshot import EVERYTHING, Changed
from lbctl.plan.announced import why_not
from lbctl.plan.announcement import announcement_plan, plan_announcements
from lbctl.plan.eligibility import EXCLUDE_LABEL, Eligible
from tests.support.builders import (
    make_advertisement,
    make_endpoint,
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

V4, V6 = ip_address("192.0.2.10"), ip_address("2001:db8::10")
NAMES = ("node-a", "node-b", "node-c")
# 192.0.2.10 ranks c, b, a; 2001:db8::10 is whatever the hash says.


def world(**overrides):
    values = {
        "services": [make_service(status=["192.0.2.10"], mark="pool")],
        "pools": [make_pool()],
        "advertisements": [make_advertisement()],
        "slices": [make_slice("default/shop", make_endpoint(node="node-a"))],
        "nodes": [make_node(name) for name in NAMES],
        "speakers": [make_speaker(name) for name in NAMES],
    }
    return make_snapshot(**(values | overrides))


def plan(snapshot):
    return plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)


def test_the_first_in_rendezvous_order_owns_the_address_and_the_others_know_why_not():
    one = announcement_plan(world())[V4]
    assert one.owner == "node-c"
    assert one.links == ("eth0",)
    assert one.order() == ("node-c", "node-b", "node-a")
    verdicts = one.candidates()
    assert isinstance(verdicts[NodeName("node-c")], Eligible)
    assert verdicts[NodeName("node-a")] == Refused(
        reason=Reason.NOT_ELECTED, detail="node node-c was elected"
    )


def test_the_next_node_in_the_order_follows_when_the_owner_may_not():
    nodes = [
        make_node("node-a"),
        make_node("node-b"),
        make_node("node-c", labels={EXCLUDE_LABEL: "x"}),
    ]
    one = announcement_plan(world(nodes=nodes))[V4]
    assert one.owner == "node-b"
    refused = one.candidates()[NodeName("node-c")]
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NODE_EXCLUDED


def test_a_local_service_is_announced_where_its_endpoints_are():
    shop = make_service(status=["192.0.2.10"], traffic_policy="Local")
    one = announcement_plan(world(services=[shop]))[V4]
    assert one.owner == "node-a"
    refused = one.candidates()[NodeName("node-c")]
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NO_LOCAL_ENDPOINTS


def test_a_draining_endpoint_holds_a_local_address_only_while_no_eligible_node_has_a_ready_one():
    shop = make_service(status=["192.0.2.10"], traffic_policy="Local")
    draining = make_endpoint("198.18.1.1", node="node-a", state="draining")
    ready = make_endpoint("198.18.1.2", node="node-b")
    slices = [make_slice("default/shop", draining, ready)]
    assert announcement_plan(world(services=[shop], slices=slices))[V4].owner == "node-b"
    nodes = [make_node("node-a"), make_node("node-b", ready=False), make_node("node-c")]
    there = world(services=[shop], slices=slices, nodes=nodes)
    assert announcement_plan(there)[V4].owner == "node-a"


NOBODY = {
    "no advertisement": ({"advertisements": []}, Reason.NO_ADVERTISEMENT),
    "an advertisement of another pool": (
        {"advertisements": [make_advertisement(pools=("other",))]},
        Reason.NO_ADVERTISEMENT,
    ),
    "an advertisement of other Services": (
        {"advertisements": [make_advertisement(service_selectors=(make_selector({"a": "b"}),))]},
        Reason.NO_ADVERTISEMENT,
    ),
    "no endpoints": ({"slices": []}, Reason.NO_ENDPOINTS),
    "no speakers": ({"speakers": []}, Reason.NO_SPEAKER),
    "no nodes": ({"nodes": []}, Reason.NO_SPEAKER),
    "the one node that is selected is down, the others are as they were meant": (
        {
            "nodes": [
                make_node("node-a", labels={EXCLUDE_LABEL: "", "rack": "1"}),
                make_node("node-b", ready=False, labels={"rack": "1"}),
                make_node("node-c"),
            ],
            "advertisements": [make_advertisement(node_selectors=(make_selector({"rack": "1"}),))],
        },
        Reason.NODE_NOT_READY,
    ),
    "every node that is selected is excluded": (
        {
            "nodes": [
                make_node("node-a", labels={EXCLUDE_LABEL: "", "rack": "1"}),
                make_node("node-b"),
                make_node("node-c"),
            ],
            "advertisements": [make_advertisement(node_selectors=(make_selector({"rack": "1"}),))],
        },
        Reason.NODE_EXCLUDED,
    ),
    "local without a node": (
        {
            "services": [make_service(status=["192.0.2.10"], traffic_policy="Local")],
            "slices": [make_slice("default/shop", make_endpoint(node=None))],
        },
        Reason.NO_LOCAL_ENDPOINTS,
    ),
}


@pytest.mark.parametrize(("overrides", "reason"), NOBODY.values(), ids=NOBODY.keys())
def test_when_nobody_announces_the_plan_says_why(overrides, reason):
    snapshot = world(**overrides)
    decided = plan(snapshot)
    one = decided.addresses[V4]
    assert one.owner is None
    assert one.refused is not None
    assert one.refused.reason is reason
    shop = snapshot.services[service_key("default/shop")]
    assert why_not(decided, shop, V4) == one.refused


def test_an_address_that_the_plan_does_not_know_is_not_ours():
    refused = why_not(plan(world()), make_service("default/other"), ip_address("203.0.113.1"))
    assert refused.reason is Reason.NOT_ALLOCATED


UNLAWFUL_SERVICES = {
    "another type": {"type": "ClusterIP"},
    "another class": {"load_balancer_class": "example.com/other"},
}


@pytest.mark.parametrize("fields", UNLAWFUL_SERVICES.values(), ids=UNLAWFUL_SERVICES.keys())
def test_services_that_are_not_ours_are_never_announced(fields):
    shop = make_service(status=["192.0.2.10"], mark="pool", **fields)
    assert announcement_plan(world(services=[shop])) == {}


def test_an_address_outside_every_pool_is_not_announced():
    shop = make_service(status=["203.0.113.1"])
    decided = plan(world(services=[shop]))
    assert decided.addresses == {}
    refused = why_not(decided, shop, ip_address("203.0.113.1"))
    assert refused.reason is Reason.ADDRESS_NOT_IN_ANY_POOL


def test_a_pool_edited_into_nonsense_goes_on_announcing_what_it_gave():
    one = announcement_plan(world(pools=[rejected_pool()]))[V4]
    assert one.owner == "node-c"
    unmarked = make_service(status=["192.0.2.10"])
    assert announcement_plan(world(pools=[rejected_pool()], services=[unmarked])) == {}


def test_of_two_services_with_one_address_the_younger_is_never_announced():
    older = make_service("default/old", status=["192.0.2.10"], created=1)
    younger = make_service("default/new", status=["192.0.2.10"], created=2)
    slices = [
        make_slice("default/old", make_endpoint(node="node-a")),
        make_slice("default/new", make_endpoint(node="node-b")),
    ]
    decided = plan(world(services=[younger, older], slices=slices))
    assert decided.addresses[V4].services == (older.key,)
    refused = why_not(decided, younger, V4)
    assert refused.reason is Reason.ADDRESS_IN_USE
    assert "default/old" in refused.detail


def shared(name, port, **fields):
    return make_service(name, status=["192.0.2.10"], sharing_key="k", ports=[port], **fields)


def test_services_that_share_an_address_have_one_owner_that_serves_both():
    first = shared("default/a", "tcp/80", created=1, traffic_policy="Local", selector={"x": "y"})
    second = shared("default/b", "tcp/81", created=2, traffic_policy="Local", selector={"x": "y"})
    slices = [
        make_slice("default/a", *(make_endpoint(f"198.18.1.{n}", node=NAMES[n]) for n in (0, 1))),
        make_slice("default/b", *(make_endpoint(f"198.18.1.{n}", node=NAMES[n]) for n in (1, 2))),
    ]
    one = announcement_plan(world(services=[first, second], slices=slices))[V4]
    assert one.services == (first.key, second.key)
    assert one.owner == "node-b"


def test_a_shared_address_stays_announced_while_one_of_its_services_has_endpoints():
    first, second = (
        shared("default/a", "tcp/80", created=1),
        shared("default/b", "tcp/81", created=2),
    )
    slices = [make_slice("default/b", make_endpoint(node="node-a"))]
    assert announcement_plan(world(services=[first, second], slices=slices))[V4].owner == "node-c"


SHARING_REFUSALS = {
    "another key": ({"sharing_key": "other"}, Reason.SHARING_KEY_DIFFERS),
    "the same port": ({"ports": ["tcp/80"]}, Reason.PORT_IN_USE),
    "another policy": ({"traffic_policy": "Local"}, Reason.SHARING_KEY_DIFFERS),
}


@pytest.mark.parametrize(
    ("fields", "reason"), SHARING_REFUSALS.values(), ids=SHARING_REFUSALS.keys()
)
def test_sharing_rules_hold_for_announcing_too(fields, reason):
    older = shared("default/a", "tcp/80", created=1)
    values = {"status": ["192.0.2.10"], "sharing_key": "k", "ports": ["tcp/81"], "created": 2}
    younger = make_service("default/b", **(values | fields))
    refused = why_not(plan(world(services=[older, younger])), younger, V4)
    assert refused.reason is reason


def test_the_node_with_the_subnet_is_preferred_and_a_pool_in_no_subnet_is_noted():
    speakers = [
        make_speaker("node-a", links=(make_link("eth0", "192.0.2.201/24"),)),
        make_speaker("node-b", links=(make_link("eth0", "203.0.113.2/24"),)),
        make_speaker("node-c", links=(make_link("eth0", "203.0.113.3/24"),)),
    ]
    one = announcement_plan(world(speakers=speakers))[V4]
    assert (one.owner, one.in_subnet) == ("node-a", True)
    assert announcement_plan(world())[V4].in_subnet is False


def test_weights_of_all_covering_advertisements_are_summed():
    light = make_advertisement("a", preferred_nodes=[(10, {"kubernetes.io/hostname": "node-a"})])
    more = make_advertisement("b", preferred_nodes=[(15, {"kubernetes.io/hostname": "node-b"})])
    again = make_advertisement("c", preferred_nodes=[(10, {"kubernetes.io/hostname": "node-a"})])
    assert announcement_plan(world(advertisements=[light, more]))[V4].owner == "node-b"
    assert announcement_plan(world(advertisements=[light, more, again]))[V4].owner == "node-a"


def test_both_addresses_of_a_dual_stack_service_are_planned_each_with_its_own_endpoints():
    shop = make_service(families=("IPv4", "IPv6"), status=["192.0.2.10", "2001:db8::10"])
    pools = [make_pool("pool", "192.0.2.0/24", "2001:db8::/64")]
    decided = plan(world(services=[shop], pools=pools))
    assert decided.addresses[V4].owner is not None
    assert decided.addresses[V6].refused is not None
    assert decided.addresses[V6].refused.reason is Reason.NO_ENDPOINTS
    assert why_not(decided, shop, V6) == decided.addresses[V6].refused


def test_both_addresses_of_a_dual_stack_service_go_to_one_node_where_both_can():
    slices = [
        make_slice("default/shop"),
        make_slice("default/shop", make_endpoint("2001:db8::1"), name="six", family="IPv6"),
    ]
    pools = [make_pool("pool", "192.0.2.0/24", "2001:db8::/64")]
    for number in range(1, 20):
        texts = [f"192.0.2.{number}", f"2001:db8::{number:x}"]
        shop = make_service(families=("IPv4", "IPv6"), status=texts)
        decided = announcement_plan(world(services=[shop], pools=pools, slices=slices))
        assert len({plan.owner for plan in decided.values()}) == 1
    blind = [make_link(has_link_local=False)]
    speakers = [make_speaker(name, links=tuple(blind)) for name in ("node-b", "node-c")]
    shop = make_service(families=("IPv4", "IPv6"), status=["192.0.2.10", "2001:db8::10"])
    there = world(
        services=[shop], pools=pools, slices=slices, speakers=[make_speaker("node-a"), *speakers]
    )
    decided = announcement_plan(there)
    assert (decided[V4].owner, decided[V6].owner) == ("node-c", "node-a")


def test_a_changed_service_is_replanned_alone_with_the_result_of_a_full_plan():
    old, new = make_service("default/a", status=["192.0.2.1"]), make_service("default/b")
    slices = [make_slice("default/a"), make_slice("default/b")]
    before = world(services=[old, new], slices=slices)
    moved = replace(new, addresses=old.addresses, created="2025-01-01T00:00:00Z")
    after = world(services=[old, moved], slices=slices)
    changed = Changed(services=frozenset({new.key}))
    assert plan_announcements(plan(before), after, changed, load_balancer_class=None) == plan(after)
    gone = world(services=[old], slices=slices)
    assert plan_announcements(plan(after), gone, changed, load_balancer_class=None) == plan(gone)


def test_a_node_that_is_not_ready_loses_the_address_while_another_is_ready():
    nodes = [make_node("node-a"), make_node("node-b"), make_node("node-c", ready=False)]
    one = announcement_plan(world(nodes=nodes))[V4]
    assert one.owner == "node-b"
    assert one.candidates()[NodeName("node-c")].reason is Reason.NODE_NOT_READY


def test_when_no_node_is_ready_the_address_stays_where_it_was():
    """After an API outage every node is NotReady for a moment; nobody may fall silent."""
    nodes = [make_node(name, ready=False) for name in NAMES]
    assert announcement_plan(world(nodes=nodes))[V4].owner == announcement_plan(world())[V4].owner
