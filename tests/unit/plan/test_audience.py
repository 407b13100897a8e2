"""Who hears of an address by BGP, over all nodes, and how its sessions are counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from lbctl.model.names import Incarnation, NodeName, PeerName
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.session import RouteCounts, SessionReport, SessionState
from lbctl.plan.announced import lives
from lbctl.plan.audience import Audience, hear, stage_of, united
from lbctl.plan.eligibility import EXCLUDE_LABEL
from lbctl.plan.tally import SessionKey, tally, untold
from tests.support.bgp_builders import make_bgp_advertisement, make_bgp_snapshot, make_peer
from tests.support.builders import (
    addresses,
    make_endpoint,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_speaker,
    service_key,
)

FOUR, SIX = "192.0.2.10", "2001:db8::10"
NAMES = ("n1", "n2", "n3", "n4")
RACK = {"n1": "1", "n2": "1", "n3": "2", "n4": "2"}
SHOP = service_key("default/shop")


def world(**overrides: Any):
    values: dict[str, Any] = {
        "services": [make_service(status=[FOUR], mark="pool")],
        "pools": [make_pool("pool", "192.0.2.0/24", "2001:db8::/64")],
        "advertisements": [make_bgp_advertisement()],
        "peers": [make_peer("tor")],
        "slices": [make_slice("default/shop", make_endpoint(node="n1"))],
        "nodes": [make_node(name, labels={"rack": RACK[name]}) for name in NAMES],
        "speakers": [make_speaker(name) for name in NAMES],
    }
    return make_bgp_snapshot(**(values | overrides))


def of_rack(rack: str):
    return (make_selector({"rack": rack}),)


def heard(snapshot, text: str = FOUR):
    (address,) = addresses(text)
    return hear(stage_of(snapshot), snapshot, SHOP, address, snapshot.services)


def pairs(snapshot, audience: Audience) -> set[tuple[str, str]]:
    stage = stage_of(snapshot)
    return {
        (str(node), str(peer))
        for hearers in audience
        for node in stage.nodes(hearers)
        for peer in hearers.peers
    }


def reports(
    *states: tuple[str, str, Any], sent: int = 2, acknowledged: int = 2, **fields: Any
) -> dict[SessionKey, SessionReport]:
    """Return reports of sessions that are to tell of 2 routes of IPv4."""
    return {
        (NodeName(node), PeerName(peer)): SessionReport(
            node=NodeName(node),
            peer=PeerName(peer),
            incarnation=Incarnation(f"{node}-1"),
            since="2026-01-01T00:00:00Z",
            state=SessionState(state),
            ipv4=RouteCounts(wanted=2, sent=sent, acknowledged=acknowledged),
            **fields,
        )
        for node, peer, state in states
    }


def test_nodes_with_the_same_sessions_and_advertisements_stand_together():
    snapshot = world(
        peers=[
            make_peer("tor-1", node_selectors=of_rack("1")),
            make_peer("tor-2", "192.0.2.2", node_selectors=of_rack("2")),
        ]
    )
    stage = stage_of(snapshot)
    assert {standing.nodes for standing in stage.standings.values()} == {
        frozenset({"n1", "n2"}),
        frozenset({"n3", "n4"}),
    }
    found = heard(snapshot)
    assert pairs(snapshot, found) == {
        ("n1", "tor-1"), ("n2", "tor-1"), ("n3", "tor-2"), ("n4", "tor-2"),
    }  # fmt: skip


def test_services_of_one_kind_share_one_audience():
    services = [
        make_service(f"default/s{number}", status=[f"192.0.2.{number}"], mark="pool")
        for number in range(1, 4)
    ]
    slices = [make_slice(service.key) for service in services]
    snapshot = world(services=services, slices=slices)
    stage = stage_of(snapshot)
    found = {hear(stage, snapshot, one.key, one.addresses[0], (one.key,)) for one in services}
    assert len(found) == 1


def test_local_endpoints_single_out_their_nodes():
    snapshot = world(
        services=[make_service(status=[FOUR], traffic_policy="Local")],
        slices=[
            make_slice(
                "default/shop",
                make_endpoint("198.18.1.1", node="n1"),
                make_endpoint("198.18.1.2", node="n3", state="draining"),
            )
        ],
    )
    assert pairs(snapshot, heard(snapshot)) == {("n1", "tor")}


NOBODY = {
    "no advertisement": ({"advertisements": []}, Reason.NO_ADVERTISEMENT),
    "an unknown community": (
        {"advertisements": [make_bgp_advertisement(communities=["blue"])]},
        Reason.MISSING_COMMUNITY,
    ),
    "no peer": ({"peers": []}, Reason.NO_PEER),
    "another peer": (
        {"advertisements": [make_bgp_advertisement(peers=["rot"])]},
        Reason.PEER_NOT_SELECTED,
    ),
    "no node is selected": (
        {"advertisements": [make_bgp_advertisement(node_selectors=of_rack("9"))]},
        Reason.NODE_NOT_SELECTED,
    ),
    "all nodes are excluded": (
        {"nodes": [make_node(name, labels={EXCLUDE_LABEL: ""}) for name in NAMES]},
        Reason.NODE_EXCLUDED,
    ),
    "no speaker": ({"speakers": []}, Reason.NO_SPEAKER),
    "no node": ({"nodes": []}, Reason.NO_SPEAKER),
    "no endpoints": ({"slices": []}, Reason.NO_ENDPOINTS),
    "an aggregate that is too wide": (
        {"advertisements": [make_bgp_advertisement(aggregation_length=20)]},
        Reason.AGGREGATE_TOO_WIDE,
    ),
    "two preferences": (
        {
            "advertisements": [
                make_bgp_advertisement("a", local_preference=100),
                make_bgp_advertisement("b", local_preference=200),
            ]
        },
        Reason.CONFLICTING_ADVERTISEMENTS,
    ),
    "an address of no pool": (
        {"services": [make_service(status=["203.0.113.9"])]},
        Reason.ADDRESS_NOT_IN_ANY_POOL,
    ),
}


@pytest.mark.parametrize(("changes", "reason"), NOBODY.values(), ids=NOBODY.keys())
def test_an_address_that_nobody_hears_of_has_the_reason(changes, reason):
    snapshot = world(**changes)
    (address,) = next(iter(snapshot.services.values())).addresses
    found = heard(snapshot, str(address))
    assert isinstance(found, Refused)
    assert found.reason is reason


def test_the_reason_is_that_of_the_nodes_that_got_furthest():
    mixed = world(
        nodes=[
            make_node("n1", labels={EXCLUDE_LABEL: ""}),
            make_node("n2", labels={"rack": "2"}),
            make_node("n3", labels={"rack": "1"}),
        ],
        peers=[make_peer("tor", node_selectors=of_rack("1"))],
        advertisements=[make_bgp_advertisement(peers=["rot"])],
    )
    found = heard(mixed)
    assert isinstance(found, Refused)
    assert found.reason is Reason.PEER_NOT_SELECTED


def test_a_session_without_the_family_is_a_reason_of_its_own():
    snapshot = world(services=[make_service(families=("IPv6",), status=[SIX], mark="pool")])
    found = heard(snapshot, SIX)
    assert isinstance(found, Refused)
    assert found.reason is Reason.FAMILY_NOT_ON_SESSION


def test_sessions_are_counted_from_intent_to_what_was_observed():
    snapshot = world()
    stage, audience = stage_of(snapshot), heard(snapshot)
    speaking = lives(snapshot)
    sessions = (
        reports(("n1", "tor", "Established"))
        | reports(("n2", "tor", "Established"), acknowledged=1)
        | reports(("n3", "tor", "Established"), sent=1, acknowledged=1)
        | reports(("n4", "tor", "Connect"))
    )
    count = tally(stage, audience, sessions, speaking)
    assert (count.nodes, count.peers) == (4, ("tor",))
    assert (count.wanted, count.established, count.sent, count.acknowledged) == (4, 3, 2, 1)
    assert count.told == ("tor",)


def test_the_word_of_a_dead_speaker_and_of_an_earlier_life_does_not_count():
    snapshot = world(
        nodes=[make_node("n1", ready=False), make_node("n2"), make_node("n3")],
        speakers=[
            make_speaker("n1"),
            make_speaker("n2", incarnation="n2-2"),
            make_speaker("n3"),
        ],
    )
    sessions = reports(*((name, "tor", "Established") for name in NAMES))
    count = tally(stage_of(snapshot), heard(snapshot), sessions, lives(snapshot))
    assert (count.wanted, count.established) == (3, 1)


UNTOLD: Iterable[tuple[str, dict[SessionKey, SessionReport], Reason, str]] = [
    ("no report", {}, Reason.NOT_REPORTED, "node n1 is to tell peer tor of it"),
    (
        "down",
        reports(("n3", "tor", "Connect"), message="connection refused"),
        Reason.SESSION_DOWN,
        "that of node n3 with peer tor is Connect: connection refused",
    ),
    (
        "not confirmed",
        reports(("n1", "tor", "Connect"))
        | reports(("n2", "tor", "Established"), acknowledged=1, message="1 routes are not sent"),
        Reason.NOT_REPORTED,
        "confirmed only 1 of 2 IPv4 routes (1 routes are not sent)",
    ),
]


@pytest.mark.parametrize(
    ("sessions", "reason", "words"), [row[1:] for row in UNTOLD], ids=[row[0] for row in UNTOLD]
)
def test_the_session_that_is_nearest_to_it_says_why_no_peer_has_been_told(sessions, reason, words):
    snapshot = world()
    refused = untold(stage_of(snapshot), heard(snapshot), sessions, lives(snapshot))
    assert refused.reason is reason
    assert words in refused.detail


def test_a_session_that_does_not_take_one_family_has_told_of_the_other():
    snapshot = world(
        services=[make_service(families=("IPv4", "IPv6"), status=[FOUR, SIX], mark="pool")],
        nodes=[make_node("n1")],
        peers=[make_peer("tor", dual_stack=True)],
        slices=[
            make_slice("default/shop", make_endpoint(node="n1")),
            make_slice(
                "default/shop",
                make_endpoint("2001:db8:1::1", node="n1"),
                name="six",
                family="IPv6",
            ),
        ],
    )
    stage = stage_of(snapshot)
    four, six = heard(snapshot, FOUR), heard(snapshot, SIX)
    sessions = reports(("n1", "tor", "Established"), ipv6=RouteCounts(wanted=1))
    told, untold_six, both = (
        tally(stage, one, sessions, lives(snapshot))
        for one in (four, six, united(stage, [four, six]))
    )
    assert (told.told, told.acknowledged) == (("tor",), 1)
    assert (untold_six.told, untold_six.established, untold_six.acknowledged) == ((), 1, 0)
    assert (both.wanted, both.established, both.acknowledged, both.told) == (1, 1, 0, ())
    refused = untold(stage, six, sessions, lives(snapshot))
    assert "confirmed only 0 of 1 IPv6 routes" in refused.detail
    # None of none is not all: the speaker has not planned it yet, or is of before the counts.
    none = reports(("n1", "tor", "Established"))
    assert tally(stage, six, none, lives(snapshot)).told == ()
    assert "has no IPv6 routes for the peer yet" in untold(stage, six, none, lives(snapshot)).detail


def test_the_sessions_of_two_addresses_are_counted_once():
    snapshot = world(
        services=[
            make_service(
                families=("IPv4", "IPv6"), status=[FOUR, SIX], traffic_policy="Local", mark="pool"
            )
        ],
        peers=[make_peer("tor", dual_stack=True), make_peer("v6", "2001:db8::1")],
        slices=[
            make_slice("default/shop", make_endpoint(node="n1"), make_endpoint(node="n1")),
            make_slice(
                "default/shop",
                make_endpoint("2001:db8:1::1", node="n1"),
                make_endpoint("2001:db8:1::2", node="n2"),
                name="six",
                family="IPv6",
            ),
        ],
    )
    four, six = heard(snapshot, FOUR), heard(snapshot, SIX)
    assert pairs(snapshot, four) == {("n1", "tor")}
    stage = stage_of(snapshot)
    both = united(stage, [four, six, four])
    assert pairs(snapshot, both) == {("n1", "tor"), ("n1", "v6"), ("n2", "tor"), ("n2", "v6")}
    count = tally(stage, both, {}, lives(snapshot))
    assert (count.nodes, count.wanted, count.peers) == (2, 4, ("tor", "v6"))
