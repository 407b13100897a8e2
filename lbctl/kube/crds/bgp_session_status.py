"""The kind BGPSessionStatus: how the session of one node with one BGP peer stands. Pure.

One object per session, with a name that follows from node and peer, written by that node's
speaker. There is no field that only tells time: nothing is written when nothing happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import IPv4Address
from typing import Any

from lbctl.kube.crds.conditions import INT64_MAX
from lbctl.kube.crds.reading import LINK_NAME_MAX
from lbctl.kube.crds.table import Column, Field, Integer, Kind, ListOf, Struct, Text
from lbctl.kube.loose import mapping, metadata_of, number, text, texts
from lbctl.kube.naming import object_name
from lbctl.model.address import parse_address
from lbctl.model.community import UINT32_MAX
from lbctl.model.names import Incarnation, NodeName, PeerName
from lbctl.model.session import (
    Direction,
    NotificationReport,
    RouteCounts,
    SessionReport,
    SessionState,
)

MESSAGE_MAX = 1_024
CAPABILITIES_MAX = 32

_NAME = Text(max_length=253)
_ADDRESS = Text(max_length=64)
_ASN = Integer(minimum=0, maximum=UINT32_MAX, wide=True)
_SECONDS = Integer(minimum=0, maximum=65_535)
_COUNT = Integer(minimum=0, maximum=INT64_MAX, wide=True)
_TIME = Text(max_length=64, format="date-time")

_NOTIFICATION = Struct(
    fields=(
        Field(
            name="direction",
            type=Text(max_length=8, enum=tuple(Direction)),
            required=True,
            description="Who ended the session.",
        ),
        Field(
            name="code",
            type=Integer(minimum=0, maximum=255),
            required=True,
            description="The error code (RFC 4271 4.5).",
        ),
        Field(
            name="subcode",
            type=Integer(minimum=0, maximum=255),
            required=True,
            description="The error subcode.",
        ),
        Field(
            name="text",
            type=Text(max_length=MESSAGE_MAX),
            description="The same in words, with the peer's own text if it gave one.",
        ),
        Field(name="at", type=_TIME, required=True, description="When."),
    )
)

_COUNTS = (
    Field(
        name="wanted",
        type=_COUNT,
        required=True,
        description="Routes that the peer is to have.",
    ),
    Field(
        name="sent",
        type=_COUNT,
        required=True,
        description="Routes that have been put on the wire.",
    ),
    Field(
        name="acknowledged",
        type=_COUNT,
        required=True,
        description="Routes that the peer's TCP has confirmed to the last byte.",
    ),
)

_ROUTES = Struct(
    fields=(
        *_COUNTS,
        Field(name="ipv4", type=Struct(fields=_COUNTS), description="The same, of IPv4 alone."),
        Field(name="ipv6", type=Struct(fields=_COUNTS), description="The same, of IPv6 alone."),
    )
)

KIND = Kind(
    kind="BGPSessionStatus",
    plural="bgpsessionstatuses",
    singular="bgpsessionstatus",
    description="BGPSessionStatus says how the session of one node with one BGPPeer stands. It is "
    "written by that node's speaker.",
    spec=Struct(fields=()),
    status=Struct(
        fields=(
            Field(name="node", type=_NAME, description="The node."),
            Field(name="peer", type=_NAME, description="The BGPPeer."),
            Field(
                name="incarnation",
                type=Text(max_length=128),
                description="The life of the speaker that wrote this.",
            ),
            Field(
                name="state",
                type=Text(max_length=16, enum=tuple(SessionState)),
                description="The state of the session (RFC 4271 8.2.2).",
            ),
            Field(
                name="since",
                type=_TIME,
                description="When the session came up or went down.",
            ),
            Field(
                name="message",
                type=Text(max_length=MESSAGE_MAX),
                description="Why it is not established, or what was noticed last.",
            ),
            Field(name="localAddress", type=_ADDRESS, description="The node's end."),
            Field(name="peerAddress", type=_ADDRESS, description="The peer's end."),
            Field(
                name="interface",
                type=Text(max_length=LINK_NAME_MAX),
                description="The interface of an unnumbered session.",
            ),
            Field(name="myASN", type=_ASN, description="The AS number that the peer sees."),
            Field(name="peerASN", type=_ASN, description="The peer's AS number."),
            Field(name="peerRouterID", type=_ADDRESS, description="The peer's BGP Identifier."),
            Field(
                name="holdTime",
                type=_SECONDS,
                description="The negotiated hold time in seconds; 0: none.",
            ),
            Field(
                name="keepaliveTime",
                type=_SECONDS,
                description="The pause between our KEEPALIVEs in seconds.",
            ),
            Field(
                name="capabilities",
                type=ListOf(item=Text(max_length=64), max_items=CAPABILITIES_MAX),
                description="What both ends can do; `peer-only-N` is one of the peer's that we do not know.",
            ),
            Field(
                name="resets",
                type=_COUNT,
                description="How often the session has ended since the speaker started.",
            ),
            Field(
                name="lastNotification",
                type=_NOTIFICATION,
                description="The last NOTIFICATION, of either end.",
            ),
            Field(name="routes", type=_ROUTES, description="How many routes."),
        )
    ),
    columns=(
        Column(name="Node", type="string", path=".status.node", description="The node"),
        Column(name="Peer", type="string", path=".status.peer", description="The BGPPeer"),
        Column(
            name="State",
            type="string",
            path=".status.state",
            description="The state of the session",
        ),
        Column(name="Since", type="date", path=".status.since", description="For how long"),
        Column(
            name="Routes",
            type="integer",
            path=".status.routes.acknowledged",
            description="Routes that the peer has received",
        ),
        Column(
            name="Message",
            type="string",
            path=".status.message",
            description="Why it is not established",
            priority=1,
        ),
    ),
    selectable=(".status.node", ".status.peer", ".status.state"),
)


def session_status_name(node: NodeName, peer: PeerName) -> str:
    """Return the name of the object that speaks of this session.

    Where a dot is in one of the names the plain name does not say where the node's ends.
    """
    exact = f"{node}/{peer}" if "." in node or "." in peer else ""
    return object_name(f"{node}.{peer}", exact=exact)


def parse_session_status(body: Any) -> SessionReport | None:
    """Return the report, or None while its speaker has not written a status yet."""
    metadata = metadata_of(body)
    status = mapping(mapping(body).get("status"))
    node, peer, state = (text(status.get(name)) for name in ("node", "peer", "state"))
    if metadata is None or not node or not peer or state not in tuple(SessionState):
        return None
    routes = mapping(status.get("routes"))
    router_id = parse_address(text(status.get("peerRouterID")))
    return SessionReport(
        node=NodeName(node),
        peer=PeerName(peer),
        incarnation=Incarnation(text(status.get("incarnation"))),
        state=SessionState(state),
        since=text(status.get("since")),
        message=text(status.get("message")),
        local_address=parse_address(text(status.get("localAddress"))),
        peer_address=parse_address(text(status.get("peerAddress"))),
        interface=text(status.get("interface")),
        my_asn=number(status.get("myASN")),
        peer_asn=number(status.get("peerASN")),
        peer_router_id=router_id if isinstance(router_id, IPv4Address) else None,
        hold_time_s=number(status.get("holdTime")),
        keepalive_time_s=number(status.get("keepaliveTime")),
        capabilities=tuple(texts(status.get("capabilities"))),
        resets=number(status.get("resets")),
        last_notification=_notification(mapping(status.get("lastNotification"))),
        ipv4=_counts(mapping(routes.get("ipv4"))),
        ipv6=_counts(mapping(routes.get("ipv6"))),
        resource_version=metadata.resource_version,
    )


def _counts(found: Mapping[str, Any]) -> RouteCounts:
    return RouteCounts(
        wanted=number(found.get("wanted")),
        sent=number(found.get("sent")),
        acknowledged=number(found.get("acknowledged")),
    )


def _notification(found: Mapping[str, Any]) -> NotificationReport | None:
    direction = text(found.get("direction"))
    if direction not in tuple(Direction):
        return None
    return NotificationReport(
        direction=Direction(direction),
        code=number(found.get("code")),
        subcode=number(found.get("subcode")),
        text=text(found.get("text")),
        at=text(found.get("at")),
    )


def render_session_status(report: SessionReport) -> dict[str, Any]:
    """Return the `status` of the object; null takes away what is not negotiated any more."""
    told = report.last_notification
    return {
        "node": report.node,
        "peer": report.peer,
        "incarnation": report.incarnation,
        "state": report.state.value,
        "since": report.since,
        "message": report.message[:MESSAGE_MAX],
        "localAddress": _spelled(report.local_address),
        "peerAddress": _spelled(report.peer_address),
        "interface": report.interface or None,
        "myASN": report.my_asn or None,
        "peerASN": report.peer_asn or None,
        "peerRouterID": _spelled(report.peer_router_id),
        "holdTime": report.hold_time_s,
        "keepaliveTime": report.keepalive_time_s,
        "capabilities": list(report.capabilities[:CAPABILITIES_MAX]),
        "resets": report.resets,
        "lastNotification": None
        if told is None
        else {
            "direction": told.direction.value,
            "code": told.code,
            "subcode": told.subcode,
            "text": told.text[:MESSAGE_MAX],
            "at": told.at,
        },
        "routes": {
            **asdict(report.routes()),
            "ipv4": asdict(report.ipv4),
            "ipv6": asdict(report.ipv6),
        },
    }


def _spelled(address: object | None) -> str | None:
    return None if address is None else str(address)
