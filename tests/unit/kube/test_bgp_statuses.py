"""The status kinds of BGP: names, labels, what reads back, and what MetalLB's schema would prune."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from lbctl.kube.crds.bgp_session_status import (
    parse_session_status,
    render_session_status,
    session_status_name,
)
from lbctl.kube.crds.service_bgp_status import (
    ServiceBGPStatus,
    parse_service_bgp_status,
    render_service_bgp_status,
    service_status_name,
)
from lbctl.kube.groups import METALLB_GROUP, Groups, groups, own_groups
from lbctl.kube.naming import NAME_MAX
from lbctl.kube.status_objects import bgp_session_status, service_bgp_status
from lbctl.model.names import Incarnation, NodeName, PeerName, ServiceKey
from lbctl.model.node import Owner
from lbctl.model.session import (
    Direction,
    NotificationReport,
    RouteCounts,
    SessionReport,
    SessionState,
)
from tests.support.builders import make_speaker

NOW = "2026-01-01T00:00:00Z"

UP = SessionReport(
    node=NodeName("node1"),
    peer=PeerName("tor"),
    incarnation=Incarnation("node1-1"),
    state=SessionState.ESTABLISHED,
    since=NOW,
    local_address=ip_address("192.0.2.9"),
    peer_address=ip_address("192.0.2.1"),
    my_asn=64500,
    peer_asn=4_294_967_295,
    peer_router_id=IPv4Address("203.0.113.1"),
    hold_time_s=9,
    keepalive_time_s=3,
    capabilities=("IPv4 unicast", "route refresh"),
    resets=2,
    last_notification=NotificationReport(
        direction=Direction.RECEIVED, code=6, subcode=2, text="maintenance", at=NOW
    ),
    ipv4=RouteCounts(wanted=7, sent=6, acknowledged=5),
    ipv6=RouteCounts(wanted=3, sent=2, acknowledged=1),
)
DOWN = SessionReport(
    node=NodeName("node1"),
    peer=PeerName("tor"),
    incarnation=Incarnation("node1-1"),
    state=SessionState.IDLE,
    since=NOW,
    message="connection refused",
    interface="eth0",
)


@pytest.mark.parametrize("report", [UP, DOWN], ids=["up", "down"])
def test_a_rendered_session_reads_back(report: SessionReport) -> None:
    status = {k: v for k, v in render_session_status(report).items() if v is not None}
    body = {"metadata": {"name": "x", "resourceVersion": "5"}, "status": status}
    assert parse_session_status(body) == replace(report, resource_version="5")


def test_the_routes_of_both_families_are_summed_up_for_people() -> None:
    found = render_session_status(UP)["routes"]
    assert {name: found[name] for name in ("wanted", "sent", "acknowledged")} == {
        "wanted": 10,
        "sent": 8,
        "acknowledged": 6,
    }


def test_what_is_not_negotiated_any_more_is_taken_away() -> None:
    before, after = render_session_status(UP), render_session_status(DOWN)
    assert before.keys() == after.keys()
    gone = {name for name, value in after.items() if value is None}
    assert {"peerRouterID", "localAddress", "lastNotification"} <= gone


def test_a_session_has_an_object_of_its_own_that_goes_with_the_speakers_pod() -> None:
    speaker = make_speaker("node1", owners=(Owner(kind="Pod", name="speaker-x", uid="u1"),))
    wanted = bgp_session_status(own_groups(), "lb", speaker.owners, UP)
    assert wanted.path == "/apis/lbctl.io/v1beta1/namespaces/lb/bgpsessionstatuses/node1.tor"
    assert wanted.metadata["labels"] == {"lbctl.io/node": "node1", "lbctl.io/peer": "tor"}
    (owner,) = wanted.metadata["ownerReferences"]
    assert owner["uid"] == "u1"


def test_names_of_sessions_are_valid_and_never_alike() -> None:
    pairs = [
        ("node1", "tor"),
        ("a.b", "c"),
        ("a", "b.c"),
        ("n" * 253, "tor"),
        ("n" * 253, "spine"),
    ]
    names = {session_status_name(NodeName(node), PeerName(peer)) for node, peer in pairs}
    assert len(names) == len(pairs)
    assert max(map(len, names)) <= NAME_MAX


@pytest.mark.parametrize("status", [{}, {"node": "n"}, {"node": "n", "peer": "p", "state": "x"}])
def test_a_session_status_just_created_says_nothing_yet(status: dict[str, Any]) -> None:
    assert parse_session_status({"metadata": {"name": "x"}, "status": status}) is None


SERVICE = ServiceBGPStatus(
    service=ServiceKey("web", "shop"),
    peers=(PeerName("a"), PeerName("b")),
    addresses=(ip_address("192.0.2.10"),),
    nodes=3,
    wanted=6,
    established=5,
    sent=4,
    acknowledged=2,
)


def test_a_rendered_service_status_reads_back() -> None:
    body = {
        "metadata": {"name": "web.shop", "resourceVersion": "9"},
        "status": render_service_bgp_status(SERVICE),
    }
    found = parse_service_bgp_status(body)
    assert found == replace(SERVICE, name="web.shop", resource_version="9")


def test_a_service_has_one_object_for_all_nodes() -> None:
    wanted = service_bgp_status(own_groups(), "lb", SERVICE)
    assert wanted.path == "/apis/lbctl.io/v1beta1/namespaces/lb/servicebgpstatuses/web.shop"
    assert wanted.metadata["labels"] == {
        "lbctl.io/service-name": "shop",
        "lbctl.io/service-namespace": "web",
    }
    assert len(service_status_name(ServiceKey("n" * 63, "s" * 253))) <= NAME_MAX


def test_metallbs_schema_has_the_peers_of_a_service_only() -> None:
    table = groups(METALLB_GROUP)
    assert isinstance(table, Groups)
    assert service_bgp_status(table, "lb", SERVICE).status == {
        "serviceName": "shop",
        "serviceNamespace": "web",
        "peers": ["a", "b"],
    }
    assert bgp_session_status(table, "lb", (), UP).resource.group == "lbctl.io"
