"""What `explain` and `get` say of BGP: an answer for every peer and node, and advice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lbctl.model.names import NodeName
from lbctl.model.pods import Backing
from lbctl.model.reason import Reason
from lbctl.model.session import Asked, Direction, NotificationReport, SessionReport, SessionState
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.address_uses import address_uses, explain_address
from lbctl.plan.allocation import EMPTY, plan
from lbctl.plan.announcement import plan_announcements
from lbctl.plan.checklist import Checklist, checklist
from lbctl.plan.checklist_steps import Answer
from lbctl.plan.eligibility import EXCLUDE_LABEL
from lbctl.plan.explain import ServiceExplanation, explain_service
from lbctl.plan.explain_node import NodeFacts, explain_node
from lbctl.plan.explain_peer import PeerFacts, explain_peer, peer_key, session_advice
from lbctl.plan.explain_pool import explain_pool, pool_key
from lbctl.plan.places import Place
from lbctl.plan.telling import NOBODY, Telling, telling_of
from tests.support.bgp_builders import make_bgp_advertisement, make_peer
from tests.support.builders import (
    NAMESPACE,
    addresses,
    configured_advertisement,
    make_advertisement,
    make_endpoint,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_speaker,
)
from tests.unit.plan.test_audience import FOUR, SHOP, of_rack, reports, world
from tests.unit.plan.test_checklist import PODS

(ADDRESS,) = addresses(FOUR)
Sessions = dict[Any, SessionReport]


def telling(snapshot: Snapshot, sessions: Sessions | None = None) -> Telling:
    announcement = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    return telling_of(snapshot, sessions or {}, announcement.claimants)


def explained(
    snapshot: Snapshot, sessions: Sessions | None = None, *, brief: bool = False
) -> ServiceExplanation:
    announcement = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    return explain_service(
        snapshot.services[SHOP],
        plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None).outcomes[SHOP],
        announcement,
        (),
        telling(snapshot, sessions),
        brief=brief,
    )


def rows(snapshot: Snapshot, sessions: Sessions | None = None) -> list[tuple[Any, ...]]:
    return [
        (one.peer, one.told, one.reason, one.nodes)
        for one in telling(snapshot, sessions).answers(ADDRESS)
    ]


ALL = ("n1", "n2", "n3", "n4")


def test_every_peer_has_an_answer_and_nodes_that_answer_alike_are_one_row():
    snapshot = world(
        peers=[
            make_peer("tor"),
            make_peer("six", "2001:db8::1"),
            make_peer("near", "192.0.2.2", node_selectors=of_rack("1")),
            make_peer("red", "192.0.2.3", vrf="red"),
        ],
        advertisements=[make_bgp_advertisement("a", peers=["tor", "six", "red"])],
        nodes=[
            *(make_node(name, labels={"rack": "1"}) for name in ("n1", "n2")),
            make_node("n3", labels={"rack": "2"}),
            make_node("n4", labels={EXCLUDE_LABEL: ""}),
        ],
    )
    sessions = reports(("n1", "tor", "Established"), ("n2", "tor", "Connect"))
    assert rows(snapshot, sessions) == [
        (None, False, Reason.NODE_EXCLUDED, ("n4",)),
        ("near", False, Reason.NODE_NOT_SELECTED, ("n3",)),
        ("near", False, Reason.PEER_NOT_SELECTED, ("n1", "n2")),
        ("red", False, Reason.VRF_UNSUPPORTED, ("n1", "n2", "n3")),
        ("six", False, Reason.FAMILY_NOT_ON_SESSION, ("n1", "n2", "n3")),
        ("tor", True, Reason.ANNOUNCED, ("n1",)),
        ("tor", True, Reason.NOT_REPORTED, ("n3",)),
        ("tor", True, Reason.SESSION_DOWN, ("n2",)),
    ]


def test_a_peer_that_is_told_is_told_by_these_routes():
    snapshot = world(
        advertisements=[
            make_bgp_advertisement("a", communities=["64500:1"], local_preference=150),
            make_bgp_advertisement("b", aggregation_length=24, local_preference=150),
        ]
    )
    [answer] = telling(snapshot).answers(ADDRESS)
    assert [
        (one.prefix, one.local_preference, one.communities, one.advertisements)
        for one in answer.routes
    ] == [
        ("192.0.2.0/24", 150, (), ("b",)),
        ("192.0.2.10/32", 150, ("64500:1",), ("a",)),
    ]


def test_an_aggregate_says_what_the_advertisements_of_other_services_in_it_say():
    """As the speaker has it: the route is one, whoever asks for it."""
    other = make_service(
        "default/other", status=["192.0.2.11"], mark="pool", labels={"tier": "gold"}
    )
    endpoints = [
        make_slice(name, make_endpoint(node="n1")) for name in ("default/shop", "default/other")
    ]

    def said(preference: int) -> list[Any]:
        gold = make_bgp_advertisement(
            "gold",
            aggregation_length=24,
            local_preference=preference,
            communities=["64500:9"],
            service_selectors=(make_selector({"tier": "gold"}),),
        )
        snapshot = world(
            services=[make_service(status=[FOUR], mark="pool"), other],
            slices=endpoints,
            advertisements=[make_bgp_advertisement("a", aggregation_length=24), gold],
        )
        [answer] = telling(snapshot).answers(ADDRESS)
        return [
            answer.reason,
            *((one.prefix, one.communities, one.advertisements) for one in answer.routes),
        ]

    assert said(0) == [
        Reason.NOT_REPORTED,
        ("192.0.2.0/24", ("64500:9",), ("a", "gold")),
    ]
    assert said(200) == [Reason.CONFLICTING_ADVERTISEMENTS]


def test_an_aggregate_of_one_family_holds_no_address_of_the_other():
    both = make_service(status=[FOUR, "2001:db8::10"], mark="pool")
    snapshot = world(
        services=[both],
        pools=[make_pool("pool", "192.0.2.0/24", "2001:db8::/64")],
        advertisements=[make_bgp_advertisement("a", aggregation_length_v6=64)],
    )
    for address in both.addresses:
        assert telling(snapshot).answers(address)


def test_a_service_that_a_peer_has_confirmed_has_nothing_to_repair():
    sessions = reports(("n1", "tor", "Established"))
    found = explained(world(), sessions)
    [address] = found.addresses
    assert (found.fine, address.refused, address.told) == (True, None, ("tor",))
    assert address.owner is None
    assert explained(world(), sessions, brief=True).addresses[0].peers == ()
    snapshot = world()
    allocation = plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None)
    announcement = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    [use] = address_uses(allocation, announcement, {}, telling(snapshot, sessions))
    assert (use.refused, use.peers) == (None, ("tor",))
    facts = explain_address(
        ADDRESS, snapshot, allocation, announcement, {}, telling=telling(snapshot, sessions)
    )
    assert facts.verdict == "in use by default/shop, announced by BGP to tor"


@pytest.mark.parametrize(
    ("sessions", "reason"),
    [
        ({}, Reason.NOT_REPORTED),
        (reports(("n1", "tor", "Connect")), Reason.SESSION_DOWN),
        (reports(("n1", "tor", "Established"), acknowledged=1), Reason.NOT_REPORTED),
    ],
    ids=["no report", "down", "not confirmed"],
)
def test_until_a_peer_has_confirmed_the_session_has_the_reason(sessions, reason):
    found = explained(world(), sessions)
    assert not found.fine
    [address] = found.addresses
    assert address.refused is not None
    assert address.refused.reason is reason


def test_without_bgp_nothing_is_said_of_it():
    assert telling(world(peers=[], advertisements=[])) is NOBODY
    [address] = explained(world(peers=[], advertisements=[])).addresses
    assert address.peers == ()
    assert address.refused is not None
    assert address.refused.reason is Reason.NO_ADVERTISEMENT


# Pools, peers and nodes.


def of_peer(name: str, snapshot: Snapshot, sessions: Sessions | None = None) -> PeerFacts:
    key = peer_key(name, snapshot)
    assert key is not None
    return explain_peer(key, telling(snapshot, sessions))


def test_a_pool_that_a_bgp_advertisement_covers_needs_no_cure():
    snapshot = world(
        advertisements=[
            make_bgp_advertisement("a", peers=["tor"]),
            make_bgp_advertisement("b", communities=["blue"]),
        ]
    )
    key = pool_key("pool", snapshot)
    assert key is not None
    facts = explain_pool(
        key,
        snapshot,
        plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None),
        plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None),
        api_version="lbctl.io/v1beta1",
    )
    assert facts.fine
    assert facts.cure == ()
    told = [(one.name, one.narrows, bool(one.waits)) for one in facts.bgp_advertisements]
    assert told == [("a", "peers tor", False), ("b", "", True)]


def test_a_peer_shows_its_sessions_node_by_node():
    snapshot = world(
        peers=[make_peer("tor", node_selectors=of_rack("1"), peer_asn=64511)],
        advertisements=[make_bgp_advertisement("a"), make_bgp_advertisement("b", peers=["rot"])],
    )
    facts = of_peer("tor", snapshot, reports(("n1", "tor", "Established")))
    assert (facts.accepted, facts.peer_asn, facts.families) == (True, "64511", ("IPv4",))
    assert [(one.node, one.wanted, one.reason) for one in facts.sessions] == [
        ("n1", True, Reason.ANNOUNCED),
        ("n2", True, Reason.NOT_REPORTED),
        ("n3", False, Reason.NODE_NOT_SELECTED),
        ("n4", False, Reason.NODE_NOT_SELECTED),
    ]
    assert [one.name for one in facts.advertisements] == ["a"]
    assert facts.left_out_by == ("b",)
    assert not facts.fine
    whole = reports(("n1", "tor", "Established"), ("n2", "tor", "Established"))
    assert of_peer("tor", snapshot, whole).fine


def test_a_peer_that_is_refused_or_that_no_node_selects_is_to_be_repaired():
    assert not of_peer("tor", world(peers=[make_peer("tor", vrf="red")])).fine
    lonely = of_peer("tor", world(peers=[make_peer("tor", node_selectors=of_rack("9"))]))
    assert lonely.accepted
    assert not lonely.fine


def down(message: str, code: int = 0, subcode: int = 0, text: str = "") -> SessionReport:
    notification = NotificationReport(
        direction=Direction.RECEIVED, code=code, subcode=subcode, text=text, at="then"
    )
    [report] = reports(
        ("n1", "tor", "Connect"),
        message=message,
        last_notification=notification if text else None,
    ).values()
    return report


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (down("the peer says Bad Peer AS", 2, 2, "Bad Peer AS"), "The AS numbers disagree"),
        (down("the peer says Hold Timer", 4, 0, "Hold Timer"), "Nothing was heard"),
        (down("the peer says Max", 6, 1, "Max"), "The router takes fewer prefixes"),
        (down("the peer says Collision", 6, 7, "Collision"), "Something else on this node"),
        (down("connection refused"), "Look whether the router is up"),
        (down("connection refused", 6, 1, "Max"), "Look whether the router is up"),
        (down("the peer says Odd", 2, 99, "Odd"), "The router refuses our OPEN"),
        (down("the peer says Odd", 99, 1, "Odd"), "Look whether the router is up"),
    ],
    ids=[
        "wrong AS",
        "hold timer",
        "maximum",
        "another BGP on the node",
        "silence",
        "an earlier end",
        "an unknown subcode",
        "an unknown code",
    ],
)
def test_advice_follows_what_ended_the_session(report, words):
    assert session_advice(report).startswith(words)


@pytest.mark.parametrize(
    ("asked", "cure"),
    [
        (Asked.PEER_ADDRESS, "set spec.peerAddress of the BGPPeer"),
        (Asked.SOURCE_ADDRESS, "correct spec.sourceAddress of the BGPPeer"),
        (Asked.INTERFACE, "correct spec.interface of the BGPPeer"),
        (Asked.GTSM, "drop spec.ttlSecurityHops of the BGPPeer"),
        (Asked.PASSWORD, "1 to 80 bytes"),
    ],
)
def test_what_the_nodes_own_kernel_refuses_is_not_looked_for_on_the_router(asked, cure):
    assert cure in session_advice(down(f"{asked} of ours: no"))
    assert "router is up" in session_advice(down(f"the peer says: {asked}"))


def test_everything_that_a_kernel_may_refuse_has_advice():
    odd = [asked for asked in Asked if "router is up" in session_advice(down(f"{asked}: no"))]
    assert odd == []


def test_a_session_that_stands_or_is_not_called_needs_no_advice_of_ours():
    [up] = reports(("n1", "tor", "Established")).values()
    assert session_advice(up) == ""
    [idle] = reports(("n1", "tor", SessionState.IDLE), message="there is no Secret").values()
    assert session_advice(idle) == ""


def of_node(name: str, snapshot: Snapshot, sessions: Sessions | None = None) -> NodeFacts:
    announcement = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    return explain_node(
        NodeName(name),
        snapshot,
        announcement,
        {},
        explained(snapshot, sessions),
        telling=telling(snapshot, sessions),
    )


def test_a_node_shows_its_sessions_and_what_its_peers_hear_of_a_service():
    sessions = reports(("n1", "tor", "Established"), ("n2", "tor", "Connect"))
    well, ill = (of_node(name, world(), sessions) for name in ("n1", "n2"))
    assert well.fine
    assert [(one.peer, one.reason) for one in well.sessions] == [("tor", Reason.ANNOUNCED)]
    [one] = well.for_service
    assert (one.announces, one.detail) == (
        True,
        "BGP, peer tor: the peer has confirmed all 2 IPv4 routes",
    )
    assert not ill.fine
    assert [one.reason for one in ill.for_service] == [Reason.SESSION_DOWN]


def test_a_drained_node_keeps_its_sessions_and_tells_nothing():
    draining = [make_speaker(name, draining=name == "n1") for name in ALL]
    snapshot = world(speakers=draining)
    facts = of_node("n1", snapshot, reports(("n1", "tor", "Established")))
    [one] = facts.sessions
    assert (one.reason, one.fine) == (Reason.NODE_DRAINING, True)
    assert telling(snapshot).able(snapshot.services[SHOP], ADDRESS) == {"n2", "n3", "n4"}


# The checklist.


def walk(snapshot: Snapshot, sessions: Sessions | None = None) -> Checklist:
    announcement = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    return checklist(
        snapshot.services[SHOP],
        explained(snapshot, sessions),
        announcement,
        snapshot.slices.get(SHOP, {}),
        Backing(pods=PODS, proxies={}),
        telling=telling(snapshot, sessions),
        place=Place(lbctl_namespace=NAMESPACE, api_group="lbctl.io"),
    )


def test_a_service_that_bgp_alone_announces_passes_every_step():
    found = walk(world(), reports(*((name, "tor", "Established") for name in ALL)))
    assert found.fails_first is None
    steps = {step.name: step.detail for step in found.steps}
    assert steps["advertisement"] == "all (BGP)"
    assert steps["BGP sessions"] == "4 of 4 established, 4 have confirmed every route"
    assert steps["announced"] == f"{FOUR} by BGP to tor"


FAILS: list[tuple[dict[str, Any], Sessions, str, str]] = [
    ({"advertisements": []}, {}, "advertisement", "and no BGPAdvertisement covers pool pool"),
    (
        {"advertisements": [make_bgp_advertisement(communities=["blue"])]},
        {},
        "advertisement",
        "MissingCommunity",
    ),
    (
        {"nodes": [make_node(name, labels={EXCLUDE_LABEL: ""}) for name in ALL]},
        {},
        "eligible nodes",
        "NodeExcluded",
    ),
    (
        {"advertisements": [make_bgp_advertisement(peers=["rot"])]},
        {},
        "BGP sessions",
        "PeerNotSelected",
    ),
    ({"slices": []}, {}, "endpoints ready", "NoEndpoints"),
    (
        {"advertisements": [make_bgp_advertisement(aggregation_length=20)]},
        {},
        "BGP sessions",
        "AggregateTooWide",
    ),
    ({}, {}, "BGP sessions", "NotReported"),
    ({}, reports(("n1", "tor", "Connect")), "BGP sessions", "SessionDown"),
]


@pytest.mark.parametrize(
    ("changes", "sessions", "step", "words"), FAILS, ids=lambda one: str(one)[:30]
)
def test_the_step_that_fails_first_is_the_one_to_repair(changes, sessions, step, words):
    first = walk(world(**changes), sessions).fails_first
    assert first is not None
    assert first.name == step
    assert words in first.detail


def test_local_endpoints_on_nodes_that_tell_their_peers_are_enough():
    snapshot = world(services=[make_service(status=[FOUR], traffic_policy="Local", mark="pool")])
    found = walk(snapshot, reports(("n1", "tor", "Established")))
    assert found.fails_first is None
    assert {step.name: step.detail for step in found.steps}["local endpoints"] == "on n1"


def test_what_bgp_lacks_is_a_note_where_arp_and_ndp_announce():
    entry = configured_advertisement(make_advertisement("lan"))
    both = replace(world(), advertisements={entry.key: entry})
    found = {step.name: step.answer for step in walk(both).steps}
    assert found["BGP sessions"] is Answer.NOTE
    nobody = replace(world(slices=[]), advertisements={entry.key: entry})
    assert {s.name: s.answer for s in walk(nobody).steps}["BGP sessions"] is Answer.NOT_REACHED
