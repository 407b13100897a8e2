"""Peerings: whom a node speaks to, and how long a route that it gives up stands."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from lbctl.model.names import LinkName, NodeName
from lbctl.model.outcome import Problem
from lbctl.model.peer import DynamicASN
from lbctl.model.snapshot import EVERYTHING, Changed
from lbctl.plan.ground import COMMUNITIES_MAX
from speaker.agent.peering import (
    MULTIHOP,
    NOBODY,
    SINGLE_HOP,
    Ground,
    peer_config,
    router_id,
    speak,
)
from speaker.protocols.bgp_peer import DynamicAsn
from tests.support.bgp import cidr
from tests.support.bgp_builders import make_bgp_advertisement, make_bgp_snapshot, make_peer
from tests.support.builders import (
    make_endpoint,
    make_node,
    make_pool,
    make_service,
    make_slice,
    make_speaker,
    service_key,
)

NODE = NodeName("node1")
FOUR, OTHER = cidr("192.0.2.10/32"), cidr("192.0.2.11/32")
GRACEFUL_SHUTDOWN = 0xFFFF0000


def world(**changed):
    values = {
        "peers": [make_peer()],
        "advertisements": [make_bgp_advertisement(communities=["64500:7"])],
        "services": [make_service(status=["192.0.2.10"], mark="pool")],
        "pools": [make_pool()],
        "slices": [make_slice("default/shop", make_endpoint(node="node1"))],
        "nodes": [make_node("node1"), make_node("node2")],
        "speakers": [make_speaker("node1"), make_speaker("node2")],
    }
    return make_bgp_snapshot(**values | changed)


def spoken(before, snapshot, *, now=100.0, changed=EVERYTHING, **fields):
    values = {
        "node": NODE,
        "ground": Ground(wait_s=5.0),
        "load_balancer_class": None,
        "stopping": False,
    }
    return speak(before, now=now, snapshot=snapshot, changed=changed, **values | fields)


def table(speaking, peer="tor"):
    return speaking.peerings[peer].table


def test_without_peers_nothing_is_planned():
    assert spoken(NOBODY, world(peers=[])) is NOBODY


def test_the_last_peer_that_goes_ends_the_plan():
    up = spoken(NOBODY, world())
    assert spoken(up, world(peers=[])) is NOBODY


def test_a_peer_is_told_of_an_address_with_the_attributes_of_its_advertisement():
    route = table(spoken(NOBODY, world()))[FOUR]
    assert route.attributes.communities == (64500 << 16 | 7,)
    assert route.next_hop is None


def test_peers_that_are_to_be_told_the_same_share_one_table():
    speaking = spoken(NOBODY, world(peers=[make_peer("a"), make_peer("b", "192.0.2.2")]))
    assert table(speaking, "a") is table(speaking, "b")


def test_what_does_not_change_is_the_very_same_object():
    snapshot = world()
    up = spoken(NOBODY, snapshot)
    again = spoken(up, snapshot, changed=Changed(services=frozenset({service_key("default/shop")})))
    assert again.peerings["tor"] is up.peerings["tor"]


def test_one_change_touches_only_its_route():
    up = spoken(NOBODY, world())
    two = [
        make_service(status=["192.0.2.10"], mark="pool"),
        make_service("default/two", status=["192.0.2.11"], mark="pool"),
    ]
    slices = [
        make_slice(f"default/{name}", make_endpoint(node="node1")) for name in ("shop", "two")
    ]
    changed = Changed(services=frozenset({service_key("default/two")}))
    after = spoken(up, world(services=two, slices=slices), changed=changed)
    assert set(table(after)) == {FOUR, OTHER}
    assert table(after)[FOUR] is table(up)[FOUR]


# --- Routes that are given up


def draining():
    return world(nodes=[make_node("node1", drain_requested=True), make_node("node2")])


def test_a_drained_node_says_that_its_routes_end_before_it_withdraws_them():
    up = spoken(NOBODY, world())
    parting = spoken(up, draining())
    route = table(parting)[FOUR]
    assert GRACEFUL_SHUTDOWN in route.attributes.communities
    assert route.attributes.local_preference == 0
    assert parting.deadline == 105.0
    assert FOUR in table(spoken(parting, draining(), now=104.9))
    gone = spoken(parting, draining(), now=105.0)
    assert not table(gone)
    assert gone.deadline is None


def test_a_parting_route_is_withdrawn_in_time_though_nothing_else_changes():
    parting = spoken(spoken(NOBODY, world()), draining())
    gone = spoken(parting, draining(), now=105.0, changed=Changed())
    assert not table(gone)


def test_the_wait_begins_once():
    parting = spoken(spoken(NOBODY, world()), draining())
    later = spoken(parting, draining(), now=103.0)
    assert later.deadline == 105.0


def test_a_node_that_begins_while_it_is_drained_announces_nothing():
    assert not table(spoken(NOBODY, draining()))


def test_a_drain_that_is_taken_back_leaves_no_mark():
    parting = spoken(spoken(NOBODY, world()), draining())
    back = spoken(parting, world(), now=102.0)
    assert GRACEFUL_SHUTDOWN not in table(back)[FOUR].attributes.communities
    assert back.deadline is None


def test_a_stopping_speaker_gives_every_route_up_in_the_same_way():
    up = spoken(NOBODY, world())
    stopping = spoken(up, world(), stopping=True)
    assert GRACEFUL_SHUTDOWN in table(stopping)[FOUR].attributes.communities
    assert not table(spoken(stopping, world(), now=105.0, stopping=True))


def test_without_a_wait_a_route_goes_at_once():
    up = spoken(NOBODY, world())
    assert not table(spoken(up, draining(), ground=Ground(wait_s=0.0)))


def test_a_route_that_leads_nowhere_is_withdrawn_at_once():
    up = spoken(NOBODY, world())
    gone = spoken(up, world(slices=[]))
    assert not table(gone)
    assert gone.deadline is None


# --- Sessions


def config(peer, node=None, **ground):
    return peer_config(peer, node or make_node("node1"), Ground(**ground))


def with_addresses(*addresses):
    return replace(make_node("node1"), addresses=tuple(map(ip_address, addresses)))


@pytest.mark.parametrize(
    ("fields", "ttl"),
    [
        ({}, SINGLE_HOP),
        ({"multihop": True}, MULTIHOP),
        ({"peer_asn": 64500}, None),
        ({"ttl_security_hops": 2}, None),
    ],
)
def test_the_ttl_keeps_an_external_session_to_its_link(fields, ttl):
    assert config(make_peer(**fields)).ttl == ttl


def test_the_identifier_is_the_nodes_address_or_made_of_its_name():
    assert router_id(with_addresses("2001:db8::1", "192.0.2.11")) == ip_address("192.0.2.11")
    six = router_id(with_addresses("2001:db8::1"))
    assert six == router_id(with_addresses())
    assert six != router_id(make_node("node2"))
    chosen = make_peer(router_id=ip_address("203.0.113.9"))
    assert config(chosen).identifier == ip_address("203.0.113.9")


def test_a_session_outlives_other_addresses_of_its_node():
    """Who writes Node.status.addresses adds to them and changes their order."""
    before = config(make_peer(), with_addresses("192.0.2.11"))
    for others in (("2001:db8::1", "192.0.2.11"), ("203.0.113.1", "192.0.2.11")):
        after = peer_config(make_peer(), with_addresses(*others), Ground(), before)
        assert after.keeps_session_of(before)
        assert after.next_hops == tuple(map(ip_address, others))
    named = config(make_peer(), with_addresses("2001:db8::1"))
    after = peer_config(make_peer(), with_addresses("2001:db8::1", "192.0.2.11"), Ground(), named)
    assert after.keeps_session_of(named)
    moved = peer_config(make_peer(), with_addresses("203.0.113.1"), Ground(), before)
    assert not moved.keeps_session_of(before), "its router ID is another node's now, perhaps"


def test_a_router_id_that_is_no_longer_configured_is_given_up():
    chosen = config(make_peer(router_id=ip_address("203.0.113.9")), with_addresses("192.0.2.11"))
    after = peer_config(make_peer(), with_addresses("192.0.2.11"), Ground(), chosen)
    assert after.identifier == ip_address("192.0.2.11")


def test_a_route_with_all_the_communities_that_it_may_have_can_be_marked():
    most = [f"64500:{number}" for number in range(COMMUNITIES_MAX)]
    full = world(advertisements=[make_bgp_advertisement(communities=most)])
    stopping = spoken(spoken(NOBODY, full), full, stopping=True)
    marked = table(stopping)[FOUR].attributes.communities
    assert GRACEFUL_SHUTDOWN in marked
    assert len(marked) == COMMUNITIES_MAX + 1


def test_a_dynamic_asn_is_handed_over():
    peer = make_peer(peer_asn=None, dynamic_asn=DynamicASN.EXTERNAL)
    assert config(peer).peer_asn is DynamicAsn.EXTERNAL


def test_a_password_comes_from_its_secret():
    peer = make_peer(password_secret="tor-password")
    assert config(peer, passwords={"tor-password": "secret"}).password == "secret"


@pytest.mark.parametrize(
    ("passwords", "words"),
    [
        (None, "have not been read"),
        ({}, "there is no Secret tor-password"),
        ({"tor-password": Problem(path="spec.passwordSecret", message="has no key")}, "has no key"),
    ],
)
def test_a_session_waits_for_its_password_and_says_so(passwords, words):
    peer = make_peer(password_secret="tor-password")
    why = config(peer, passwords=passwords)
    assert why.startswith("spec.passwordSecret: ")
    assert words in why


def test_a_peer_without_a_password_does_not_wait_for_that_of_another():
    peers = [make_peer("a"), make_peer("b", "192.0.2.2", password_secret="missing")]
    speaking = spoken(NOBODY, world(peers=peers))
    assert set(speaking.peerings) == {"a"}
    assert set(speaking.absent) == {"b"}


def test_an_unnumbered_session_is_with_the_one_router_of_the_link():
    peer = make_peer(address=None, interface=LinkName("eth1"))
    router = ip_address("fe80::1")
    found = config(peer, with_addresses("192.0.2.11"), routers={LinkName("eth1"): (router,)})
    assert (found.address, found.interface, found.next_hops) == (router, "eth1", ())


def test_an_unnumbered_session_stays_with_its_router_when_another_advertises_itself():
    peer = make_peer(address=None, interface=LinkName("eth1"))
    first, second = ip_address("fe80::9"), ip_address("fe80::1")

    def after(before, *routers):
        ground = Ground(routers={LinkName("eth1"): routers})
        return spoken(before, world(peers=[peer]), ground=ground)

    one = after(NOBODY, first)
    both = after(one, first, second)
    assert both.peerings["tor"] is one.peerings["tor"]
    assert after(both, second).peerings["tor"].config.address == second
    assert "2 routers" in after(NOBODY, first, second).absent["tor"]


@pytest.mark.parametrize(
    ("found", "words"),
    [((), "no router has advertised itself on eth1"), (("fe80::1", "fe80::2"), "2 routers")],
)
def test_an_unnumbered_session_without_one_router_says_why(found, words):
    peer = make_peer(address=None, interface=LinkName("eth1"))
    routers = {LinkName("eth1"): tuple(map(ip_address, found))}
    assert words in config(peer, routers=routers)
