"""Which routes each peer of a node gets, with which attributes; every no has its reason."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from lbctl.model.community import GRACEFUL_SHUTDOWN
from lbctl.model.names import NodeName, PeerName
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.route import Attributes, prefix_of
from lbctl.model.snapshot import EVERYTHING
from lbctl.plan.eligibility import EXCLUDE_LABEL
from lbctl.plan.routes import RoutePlan, Told, plan_routes
from tests.support.bgp_builders import (
    make_aliases,
    make_bgp_advertisement,
    make_bgp_snapshot,
    make_community,
    make_peer,
)
from tests.support.builders import (
    make_endpoint,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_speaker,
)

V4, V6 = "192.0.2.10", "2001:db8::10"
RACK2 = (make_selector({"rack": "2"}),)


def world(**changes):
    """Return a snapshot of two nodes, one Service with an address, one peer, one advertisement."""
    names = ("node1", "node2")
    facts = {
        "services": [make_service(status=[V4])],
        "slices": [make_slice("default/shop", make_endpoint(node="node1"))],
        "pools": [make_pool("pool", "192.0.2.0/24", "2001:db8::/64")],
        "nodes": [make_node(name) for name in names],
        "speakers": [make_speaker(name) for name in names],
        "peers": [make_peer()],
        "advertisements": [make_bgp_advertisement()],
    }
    return make_bgp_snapshot(**(facts | changes))


def plan(snapshot, node="node1") -> RoutePlan:
    return plan_routes(None, snapshot, EVERYTHING, node=NodeName(node), load_balancer_class=None)


def routes(snapshot, peer="tor", node="node1") -> dict[str, Attributes]:
    table = plan(snapshot, node).tables[PeerName(peer)]
    return {str(prefix): attributes for prefix, attributes in table.routes.items()}


def why(snapshot, peer="tor", node="node1", address=V4) -> tuple[Reason, str]:
    found = plan(snapshot, node).verdict(ip_address(address), PeerName(peer))
    assert isinstance(found, Refused), found
    return found.reason, found.detail


def said(*communities: str, preference: int = 100) -> Attributes:
    return Attributes(
        local_preference=preference,
        communities=tuple(make_community(text) for text in communities),
    )


def test_every_eligible_node_announces_an_address_to_every_peer():
    snapshot = world(peers=[make_peer("a"), make_peer("b", "192.0.2.2")])
    for node in ("node1", "node2"):
        for peer in ("a", "b"):
            assert routes(snapshot, peer, node) == {"192.0.2.10/32": said()}
            told = plan(snapshot, node).verdict(ip_address(V4), PeerName(peer))
            prefix = prefix_of(ip_address(V4), 32)
            assert told == Told(routes={prefix: said()}, asked_by={prefix: ("all",)})


def test_peers_that_hear_the_same_share_one_table():
    peers = [make_peer(f"p{i}", f"192.0.2.{i}") for i in range(1, 4)]
    only = make_bgp_advertisement("more", peers={"p3"}, communities=["1:1"])
    tables = plan(world(peers=peers, advertisements=[make_bgp_advertisement(), only])).tables
    assert tables["p1"] is tables["p2"]
    assert tables["p3"] is not tables["p1"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"192.0.2.10/32": said()}),
        ({"aggregation_length": 24}, {"192.0.2.0/24": said()}),
        ({"aggregation_length_v6": 64}, {"192.0.2.10/32": said()}),
        ({"local_preference": 200}, {"192.0.2.10/32": said(preference=200)}),
        ({"communities": ["64500:2", "64500:1"]}, {"192.0.2.10/32": said("64500:1", "64500:2")}),
        (
            {"communities": ["large:1:2:3", "extended:rt:64500:1", "64500:1"]},
            {"192.0.2.10/32": said("64500:1", "extended:rt:64500:1", "large:1:2:3")},
        ),
        ({"communities": ["blue", "64500:1"]}, {"192.0.2.10/32": said("64500:1", "64500:7")}),
        ({"communities": ["blue", "64500:7"]}, {"192.0.2.10/32": said("64500:7")}),
    ],
    ids=str,
)
def test_an_advertisement_says_how_a_route_looks(fields, expected):
    snapshot = world(
        advertisements=[make_bgp_advertisement(**fields)],
        communities=[make_aliases("names", blue="64500:7")],
    )
    assert routes(snapshot) == expected


def test_both_families_travel_where_the_session_carries_them():
    service = make_service(status=[V4, V6], families=["IPv4", "IPv6"])
    slices = [
        make_slice("default/shop", name="a"),
        make_slice("default/shop", name="b", family="IPv6"),
    ]
    advertisement = make_bgp_advertisement(aggregation_length=24, aggregation_length_v6=64)
    peers = [
        make_peer("dual", dual_stack=True),
        make_peer("four", "192.0.2.2"),
        make_peer("six", "2001:db8::2"),
        make_peer("link", None, interface="eth0"),
    ]
    snapshot = world(services=[service], slices=slices, peers=peers, advertisements=[advertisement])
    assert routes(snapshot, "dual") == {"192.0.2.0/24": said(), "2001:db8::/64": said()}
    assert routes(snapshot, "link") == routes(snapshot, "dual")
    assert routes(snapshot, "four") == {"192.0.2.0/24": said()}
    assert routes(snapshot, "six") == {"2001:db8::/64": said()}
    reason, detail = why(snapshot, "six")
    assert reason is Reason.FAMILY_NOT_ON_SESSION
    assert detail == "the session with peer six carries IPv6 only, not IPv4"


def test_several_advertisements_of_one_prefix_are_united():
    snapshot = world(
        advertisements=[
            make_bgp_advertisement("a", communities=["64500:1"], local_preference=100),
            make_bgp_advertisement("b", communities=["64500:2", "64500:1"]),
            make_bgp_advertisement("c", communities=["64500:3"], aggregation_length=28),
        ]
    )
    assert routes(snapshot) == {
        "192.0.2.10/32": said("64500:1", "64500:2"),
        "192.0.2.0/28": said("64500:3"),
    }


def test_addresses_of_one_aggregate_are_one_route_that_stays_until_the_last_goes():
    services = [make_service(f"default/s{i}", status=[f"192.0.2.{i}"]) for i in (1, 2)]
    slices = [make_slice(f"default/s{i}") for i in (1, 2)]
    facts = {"advertisements": [make_bgp_advertisement(aggregation_length=24)]}
    both = world(services=services, slices=slices, **facts)
    one = world(services=services, slices=slices[:1], **facts)
    none = world(services=services, slices=[], **facts)
    assert list(routes(both)) == list(routes(one)) == ["192.0.2.0/24"]
    assert routes(none) == {}


CONFLICTS = {
    "different preferences": ({}, {}, True),
    "0 is 100": ({"local_preference": 100}, {"local_preference": 0}, False),
    "other lengths": ({"aggregation_length": 24}, {}, False),
    "other peers": ({"peers": {"tor"}}, {"peers": {"other"}}, False),
    "common peer": ({"peers": {"tor"}}, {}, True),
    "other nodes": ({"node_selectors": RACK2}, {}, False),
    "other pools": ({"pools": {"nobody"}}, {}, False),
    "other Services": ({"service_selectors": (make_selector({"a": "b"}),)}, {}, False),
}


@pytest.mark.parametrize(("one", "other", "conflict"), CONFLICTS.values(), ids=CONFLICTS)
def test_two_preferences_for_one_prefix_and_peer_are_a_conflict(one, other, conflict):
    first = {"local_preference": 200} | one
    snapshot = world(
        advertisements=[
            make_bgp_advertisement("a", **first),
            make_bgp_advertisement("b", **({"local_preference": 300} | other)),
        ]
    )
    assert bool(plan(snapshot).tables["tor"].refused) is conflict
    if conflict:
        assert routes(snapshot) == {}
        reason, detail = why(snapshot)
        assert reason is Reason.CONFLICTING_ADVERTISEMENTS
        assert detail == "the advertisements of this prefix differ in localPref (a 200, b 300)"


def test_a_conflict_stops_one_prefix_for_one_peer_and_nothing_else():
    peers = [make_peer("a"), make_peer("b", "192.0.2.2")]
    advertisements = [
        make_bgp_advertisement("all", pools={"pool"}),
        make_bgp_advertisement("a-only", pools={"pool"}, peers={"a"}, local_preference=200),
        make_bgp_advertisement("rest", pools={"rest"}),
    ]
    snapshot = world(
        peers=peers,
        advertisements=advertisements,
        pools=[make_pool("pool"), make_pool("rest", "198.51.100.0/24")],
        services=[make_service(status=[V4]), make_service("default/b", status=["198.51.100.1"])],
        slices=[make_slice("default/shop"), make_slice("default/b")],
    )
    assert list(routes(snapshot, "a")) == ["198.51.100.1/32"]
    assert sorted(routes(snapshot, "b")) == ["192.0.2.10/32", "198.51.100.1/32"]


def test_too_many_communities_together_are_a_conflict():
    snapshot = world(
        advertisements=[
            make_bgp_advertisement("a", communities=[f"64500:{i}" for i in range(40)]),
            make_bgp_advertisement("b", communities=[f"64501:{i}" for i in range(24)]),
        ]
    )
    reason, detail = why(snapshot)
    assert reason is Reason.CONFLICTING_ADVERTISEMENTS
    assert (
        detail == "the advertisements a, b give the prefix 64 communities; at most 63 are possible"
    )


AGGREGATES = [
    ("192.0.2.0/24", 24, True),
    ("192.0.2.0/24", 25, True),
    ("192.0.2.0/24", 23, False),
    ("192.0.2.0/24", 32, True),
    ("192.0.2.10/32", 32, True),
    ("192.0.2.10/32", 31, False),
    # MetalLB's rule: the shortest CIDR of the range counts (here /28 of .0 to .15).
    ("192.0.2.0-192.0.2.17", 28, True),
    ("192.0.2.0-192.0.2.17", 27, False),
]


@pytest.mark.parametrize(("block", "length", "fits"), AGGREGATES, ids=str)
def test_an_aggregate_must_not_reach_beyond_the_entry_of_the_pool(block, length, fits):
    snapshot = world(
        pools=[make_pool("pool", block)],
        advertisements=[make_bgp_advertisement(aggregation_length=length)],
    )
    if fits:
        assert list(routes(snapshot)) == [str(ip_network(f"{V4}/{length}", strict=False))]
    else:
        reason, detail = why(snapshot)
        assert reason is Reason.AGGREGATE_TOO_WIDE
        assert f"advertisement all aggregates to /{length}, which is wider than" in detail


def test_an_aggregate_that_is_too_wide_for_one_entry_serves_the_others():
    snapshot = world(
        pools=[make_pool("pool", "192.0.2.0/25", "198.51.100.0/28")],
        advertisements=[make_bgp_advertisement(aggregation_length=25)],
        services=[make_service(status=[V4]), make_service("default/b", status=["198.51.100.1"])],
        slices=[make_slice("default/shop"), make_slice("default/b")],
    )
    assert list(routes(snapshot)) == ["192.0.2.0/25"]
    assert why(snapshot, address="198.51.100.1")[0] is Reason.AGGREGATE_TOO_WIDE


REFUSALS = {
    "no advertisement": ({"advertisements": []}, Reason.NO_ADVERTISEMENT),
    "another pool": (
        {"advertisements": [make_bgp_advertisement(pools={"x"})]},
        Reason.NO_ADVERTISEMENT,
    ),
    "another Service": (
        {"advertisements": [make_bgp_advertisement(service_selectors=RACK2)]},
        Reason.NO_ADVERTISEMENT,
    ),
    "a broken advertisement": ({"advertisements": ["bad"]}, Reason.NO_ADVERTISEMENT),
    "an unknown community": (
        {"advertisements": [make_bgp_advertisement(communities=["blue"])]},
        Reason.MISSING_COMMUNITY,
    ),
    "another node": (
        {"advertisements": [make_bgp_advertisement(node_selectors=RACK2)]},
        Reason.NODE_NOT_SELECTED,
    ),
    "another peer": (
        {"advertisements": [make_bgp_advertisement(peers={"spine"})]},
        Reason.PEER_NOT_SELECTED,
    ),
    "no peer": ({"peers": []}, Reason.NO_PEER),
    "a broken peer": ({"peers": ["tor"]}, Reason.NO_PEER),
    "a peer in a VRF": ({"peers": [make_peer(vrf="red")]}, Reason.NO_PEER),
    "a peer of other nodes": ({"peers": [make_peer(node_selectors=RACK2)]}, Reason.NO_PEER),
    "the other family": (
        {"peers": [make_peer(address="2001:db8::1")]},
        Reason.FAMILY_NOT_ON_SESSION,
    ),
    "no node": ({"nodes": []}, Reason.NO_SPEAKER),
    "an excluded node": (
        {"nodes": [make_node("node1", labels={EXCLUDE_LABEL: ""})]},
        Reason.NODE_EXCLUDED,
    ),
    "no network": (
        {"nodes": [make_node("node1", network_unavailable=True)]},
        Reason.NODE_NETWORK_UNAVAILABLE,
    ),
    "out of service": (
        {"nodes": [make_node("node1", out_of_service=True)]},
        Reason.NODE_OUT_OF_SERVICE,
    ),
    "no speaker": ({"speakers": []}, Reason.NO_SPEAKER),
    "a drained node": ({"nodes": [make_node("node1", drain_requested=True)]}, Reason.NODE_DRAINING),
    "a speaker that stops": (
        {"speakers": [make_speaker("node1", draining=True)]},
        Reason.NODE_DRAINING,
    ),
    "no endpoint": ({"slices": []}, Reason.NO_ENDPOINTS),
    "no local endpoint": (
        {
            "services": [make_service(status=[V4], traffic_policy="Local")],
            "slices": [make_slice("default/shop", make_endpoint(node="node2"))],
        },
        Reason.NO_LOCAL_ENDPOINTS,
    ),
    "no pool": ({"pools": []}, Reason.NOT_ALLOCATED),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_an_address_that_is_not_announced_has_the_reason_and_no_route(changes, reason):
    snapshot = world(**changes)
    assert all(not table.routes for table in plan(snapshot).tables.values())
    found, detail = why(snapshot)
    assert found is reason
    assert detail


def test_a_peer_without_a_session_has_its_own_reason_beside_one_that_has():
    peers = [
        make_peer("good"),
        make_peer("vrf", "192.0.2.2", vrf="red"),
        make_peer("bfd", "192.0.2.3", bfd_profile="fast"),
        make_peer("far", "192.0.2.4", node_selectors=RACK2),
        make_peer("twin", created=5),
        "bad",
    ]
    snapshot = world(peers=peers)
    assert list(plan(snapshot).tables) == ["good"]
    expected = {
        "vrf": Reason.VRF_UNSUPPORTED,
        "bfd": Reason.BFD_UNSUPPORTED,
        "far": Reason.NODE_NOT_SELECTED,
        "twin": Reason.DUPLICATE_PEER,
        "bad": Reason.INVALID,
        "nobody": Reason.NO_PEER,
    }
    assert {name: why(snapshot, name)[0] for name in expected} == expected


def test_a_node_whose_kubelet_is_silent_or_whose_fast_path_is_gone_announces():
    snapshot = world(
        nodes=[make_node("node1", ready=False), make_node("node2")],
        speakers=[make_speaker("node1", fastpath_connected=False)],
    )
    assert list(routes(snapshot)) == ["192.0.2.10/32"]


def local(*endpoints, **changes):
    return world(
        services=[make_service(status=[V4], traffic_policy="Local")],
        slices=[make_slice("default/shop", *endpoints)],
        **changes,
    )


READY1 = make_endpoint("198.18.1.1", node="node1")
DRAINING1 = make_endpoint("198.18.1.1", node="node1", state="draining")
READY2 = make_endpoint("198.18.1.2", node="node2")


def test_with_local_traffic_a_node_with_a_ready_endpoint_announces():
    snapshot = local(READY1, make_endpoint("198.18.1.3", node="node2", state="unusable"))
    assert list(routes(snapshot)) == ["192.0.2.10/32"]
    assert routes(snapshot, node="node2") == {}


def test_a_draining_endpoint_announces_while_no_other_node_that_may_has_a_ready_one():
    assert list(routes(local(DRAINING1))) == ["192.0.2.10/32"]
    assert routes(local(DRAINING1, READY2)) == {}
    cannot = {
        "speakers": [make_speaker("node1")],
        "nodes": [make_node("node1"), make_node("node2", network_unavailable=True)],
        "peers": [make_peer(node_selectors=(make_selector({"kubernetes.io/hostname": "node1"}),))],
        "advertisements": [
            make_bgp_advertisement(
                node_selectors=(make_selector({"kubernetes.io/hostname": "node1"}),)
            )
        ],
    }
    for name, value in cannot.items():
        assert list(routes(local(DRAINING1, READY2, **{name: value}))) == ["192.0.2.10/32"], name


def parting(snapshot, peer="tor"):
    table = plan(snapshot).tables[PeerName(peer)]
    return {str(prefix): attributes for prefix, attributes in table.parting.items()}


def test_a_route_that_goes_while_the_node_can_serve_parts_with_graceful_shutdown():
    bye = Attributes(local_preference=0, communities=(make_community("64500:1"), GRACEFUL_SHUTDOWN))
    facts = {
        "advertisements": [make_bgp_advertisement(communities=["64500:1"], local_preference=300)]
    }
    drained = {"nodes": [make_node("node1", drain_requested=True), make_node("node2")]}
    stopping = {"speakers": [make_speaker("node1", draining=True), make_speaker("node2")]}
    for snapshot in (
        local(DRAINING1, READY2, **facts),
        local(READY1, **facts, **drained),
        world(**facts, **drained),
        world(**facts, **stopping),
    ):
        assert parting(snapshot) == {"192.0.2.10/32": bye}
        assert routes(snapshot) == {}


def test_a_route_whose_node_cannot_serve_goes_without_a_farewell():
    drained = {"nodes": [make_node("node1", drain_requested=True)]}
    for snapshot in (
        local(READY2),
        local(READY2, **drained),
        world(slices=[], **drained),
        world(services=[]),
        world(advertisements=[]),
        world(nodes=[make_node("node1", drain_requested=True, network_unavailable=True)]),
    ):
        assert parting(snapshot) == {}


def test_an_aggregate_with_one_address_that_stays_does_not_part():
    services = [
        make_service("default/s1", status=["192.0.2.1"], traffic_policy="Local"),
        make_service("default/s2", status=["192.0.2.2"]),
    ]
    slices = [make_slice("default/s1", DRAINING1, READY2), make_slice("default/s2")]
    advertisements = [make_bgp_advertisement(aggregation_length=24)]
    snapshot = world(services=services, slices=slices, advertisements=advertisements)
    assert list(routes(snapshot)) == ["192.0.2.0/24"]
    assert parting(snapshot) == {}


def test_a_shared_address_is_announced_while_one_of_its_services_can_be_served():
    sharers = [
        make_service(
            f"default/{name}", created=i, status=[V4], sharing_key="k", ports=[f"tcp/8{i}"]
        )
        for i, name in enumerate("ab")
    ]
    served = world(services=sharers, slices=[make_slice("default/b")])
    assert list(routes(served)) == ["192.0.2.10/32"]
    assert why(world(services=sharers, slices=[]))[0] is Reason.NO_ENDPOINTS


def test_an_address_that_a_younger_service_shows_unlawfully_is_announced_for_the_older_alone():
    services = [
        make_service("default/old", created=1, status=[V4], labels={"tier": "x"}),
        make_service("default/young", created=2, status=[V4]),
    ]
    snapshot = world(services=services, slices=[make_slice("default/young")])
    found = plan(snapshot)
    assert found.unlawful[services[1].key][ip_address(V4)].reason is Reason.ADDRESS_IN_USE
    assert found.addresses[ip_address(V4)].services == (services[0].key,)
    assert why(snapshot)[0] is Reason.NO_ENDPOINTS


def test_a_service_of_another_class_is_not_announced():
    snapshot = world(services=[make_service(status=[V4], load_balancer_class="example.com/x")])
    assert routes(snapshot) == {}
    assert why(snapshot)[0] is Reason.NOT_ALLOCATED
