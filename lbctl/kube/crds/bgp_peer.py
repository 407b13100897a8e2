"""The kind BGPPeer: a router and the session with it. Pure.

The fields and their meaning are those of MetalLB's v1beta2, and `ttlSecurityHops` is ours. An
empty string counts as an absent field, as in every object that Go programs write. The rules that
need several fields are in `bgp_peer_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.configured import Written, configured
from lbctl.kube.crds.addresses import NEIGHBOR, ROUTER_ID
from lbctl.kube.crds.bgp_peer_rules import RULES, SECRET_RULES
from lbctl.kube.crds.conditions import CONDITIONS
from lbctl.kube.crds.durations import span
from lbctl.kube.crds.reading import LINK_NAME_MAX, LINK_NAME_PATTERN, LINK_NAME_WORDS
from lbctl.kube.crds.scope import OBJECT_NAME_MAX
from lbctl.kube.crds.selectors import SELECTORS
from lbctl.kube.crds.table import Boolean, Column, Field, Integer, Kind, Struct, Text
from lbctl.kube.loose import Metadata
from lbctl.model.community import UINT32_MAX
from lbctl.model.names import PeerName
from lbctl.model.outcome import Problem
from lbctl.model.peer import HOLD_TIME_S, PORT, BGPPeer, DynamicASN

PORT_MAX = 16_384
"""MetalLB's limit."""
HOLD_TIME_MAX_S = 65_535
"""What the OPEN's field of 16 bits holds (RFC 4271 4.2); it also forbids 1 and 2."""

_ASN = Integer(minimum=1, maximum=UINT32_MAX, wide=True)
_OBJECT_NAME = Text(max_length=OBJECT_NAME_MAX)

_SECRET = Struct(
    fields=(
        Field(name="name", type=_OBJECT_NAME, description="The Secret's name."),
        Field(
            name="namespace",
            type=_OBJECT_NAME,
            description="Absent, or the peer's own namespace: others are not read.",
        ),
    ),
    atomic=True,
)

_WHO = (
    Field(
        name="myASN",
        type=_ASN,
        required=True,
        description="Our AS number.",
    ),
    Field(
        name="peerASN",
        type=Integer(minimum=0, maximum=UINT32_MAX, wide=True),
        description="The peer's AS number; 0 counts as absent.",
    ),
    Field(
        name="dynamicASN",
        type=Text(max_length=8, enum=tuple(DynamicASN)),
        description="In place of peerASN: `internal`, whoever has our AS number; `external`, "
        "whoever has another.",
    ),
    Field(
        name="localASN",
        type=_ASN,
        description="The AS number that this peer sees in place of myASN, in the session and in "
        "the paths of routes. For peers of another AS only.",
    ),
    Field(
        name="peerAddress",
        type=NEIGHBOR,
        description="The peer's address.",
    ),
    Field(
        name="interface",
        type=Text(max_length=LINK_NAME_MAX, pattern=LINK_NAME_PATTERN, says=LINK_NAME_WORDS),
        description="In place of peerAddress: the session is with the router that advertises "
        "itself on this interface (unnumbered).",
    ),
    Field(
        name="sourceAddress",
        type=NEIGHBOR,
        description="The node's address of the session; absent: the kernel chooses.",
    ),
    Field(
        name="peerPort",
        type=Integer(minimum=1, maximum=PORT_MAX),
        default=PORT,
        description="The peer's TCP port.",
    ),
)

_HOW = (
    Field(
        name="holdTime",
        type=span(least_s=3, most_s=HOLD_TIME_MAX_S, zero=True),
        description="After this silence of the peer the session ends; the lower of both ends' "
        f"counts; 0s: never. Absent: {HOLD_TIME_S}s, or three times keepaliveTime.",
    ),
    Field(
        name="keepaliveTime",
        type=span(least_s=1, most_s=HOLD_TIME_MAX_S // 3, zero=True),
        description="The pause between our KEEPALIVEs; absent: a third of holdTime. 0s makes an "
        "absent holdTime 0s, too: a peer that dies is not noticed then.",
    ),
    Field(
        name="connectTime",
        type=span(least_s=1, most_s=65_535, whole=True),
        description="The pause between attempts to connect.",
    ),
    Field(
        name="routerID",
        type=ROUTER_ID,
        description="Our BGP Identifier; absent: the Node's first IPv4 address, or a number made of "
        "its name.",
    ),
    Field(
        name="nodeSelectors",
        type=SELECTORS,
        description="Nodes that keep a session, one of which must match; empty: every node.",
    ),
    Field(
        name="password",
        type=Text(max_length=80, rules=SECRET_RULES, secret=True),
        description="The key of TCP-MD5 (RFC 2385), at most 80 bytes. Whoever reads the object "
        "reads it: passwordSecret is better.",
    ),
    Field(
        name="passwordSecret",
        type=_SECRET,
        description="In place of password: a Secret of type kubernetes.io/basic-auth in the "
        "peer's own namespace, whose key `password` holds it.",
    ),
    Field(
        name="bfdProfile",
        type=_OBJECT_NAME,
        description="A BFDProfile. Refused: there is no BFD yet.",
    ),
    Field(
        name="enableGracefulRestart",
        type=Boolean(),
        default=False,
        description="Whether the peer keeps our routes while the speaker restarts (RFC 4724).",
    ),
    Field(
        name="ebgpMultiHop",
        type=Boolean(),
        default=False,
        description="Whether a peer of another AS may be several hops away.",
    ),
    Field(
        name="ttlSecurityHops",
        type=Integer(minimum=1, maximum=254),
        description="Ours: believe only packets of the peer that came over at most this many "
        "hops, and send ours with TTL 255 (RFC 5082).",
    ),
    Field(
        name="vrf",
        type=Text(max_length=LINK_NAME_MAX, pattern=LINK_NAME_PATTERN, says=LINK_NAME_WORDS),
        description="A VRF of the node. Refused: sessions run in the node's main table only.",
    ),
    Field(
        name="disableMP",
        type=Boolean(),
        default=False,
        description="Deprecated by MetalLB: true says that the session carries only the family of "
        "its addresses, which holds anyway unless dualStackAddressFamily is true.",
    ),
    Field(
        name="dualStackAddressFamily",
        type=Boolean(),
        default=False,
        description="Whether the session carries routes of both families, not only those of its "
        "own addresses. One by interface always does.",
    ),
)

KIND = Kind(
    kind="BGPPeer",
    plural="bgppeers",
    singular="bgppeer",
    description="BGPPeer is a router to which nodes announce addresses, and the session with it.",
    spec=Struct(fields=(*_WHO, *_HOW), rules=RULES),
    status=Struct(
        fields=(
            Field(
                name="conditions",
                type=CONDITIONS,
                description="Accepted says whether the peer is in effect.",
            ),
        )
    ),
    columns=(
        Column(
            name="Address",
            type="string",
            path=".spec.peerAddress",
            description="The peer's address",
        ),
        Column(
            name="ASN",
            type="string",
            path=".spec.peerASN",
            description="The peer's AS number",
        ),
        Column(
            name="BFD Profile",
            type="string",
            path=".spec.bfdProfile",
            description="The BFD profile",
            priority=1,
        ),
        Column(
            name="Multi Hops",
            type="boolean",
            path=".spec.ebgpMultiHop",
            description="Whether it may be several hops away",
            priority=1,
        ),
        Column(
            name="Accepted",
            type="string",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether the peer is in effect",
        ),
    ),
    beyond_schema=(
        "a key of matchLabels must be a label key",
        "passwordSecret.namespace must be the peer's own namespace",
        "vrf and bfdProfile are refused, with reasons of their own",
        (
            "two peers with one address, port and source, or one interface, exclude each other on the "
            "nodes that both select: the older one works there"
        ),
    ),
)


def parse_bgp_peer(body: Any) -> Written[BGPPeer] | None:
    """Return the peer with every problem it has, or None when it has no name."""
    return configured(KIND, body, build=_peer)


def _peer(metadata: Metadata, fields: Mapping[str, Any], problems: list[Problem]) -> BGPPeer:
    secret = fields["passwordSecret"] or {}
    elsewhere = secret.get("namespace")
    if elsewhere and metadata.namespace and elsewhere != metadata.namespace:
        problems.append(
            Problem(
                path="spec.passwordSecret.namespace",
                message=f"{elsewhere} is not the peer's own namespace; keep the Secret in "
                f"{metadata.namespace} and drop the field",
            )
        )
    dynamic = fields["dynamicASN"]
    hold_s, keepalive_s = _times(fields["holdTime"], fields["keepaliveTime"])
    return BGPPeer(
        name=PeerName(metadata.name),
        namespace=metadata.namespace,
        uid=metadata.uid,
        created=metadata.created,
        generation=metadata.generation,
        my_asn=fields["myASN"],
        peer_asn=fields["peerASN"] or None,
        dynamic_asn=None if dynamic is None else DynamicASN(dynamic),
        local_asn=fields["localASN"],
        address=fields["peerAddress"],
        interface=fields["interface"] or None,
        source=fields["sourceAddress"],
        port=fields["peerPort"],
        hold_time_s=hold_s,
        keepalive_time_s=keepalive_s,
        connect_time_s=fields["connectTime"],
        router_id=fields["routerID"],
        node_selectors=fields["nodeSelectors"] or (),
        password=fields["password"] or "",
        password_secret=secret.get("name") or "",
        bfd_profile=fields["bfdProfile"] or "",
        vrf=fields["vrf"] or "",
        graceful_restart=fields["enableGracefulRestart"],
        multihop=fields["ebgpMultiHop"],
        ttl_security_hops=fields["ttlSecurityHops"],
        dual_stack=fields["dualStackAddressFamily"],
    )


def _times(hold_s: int | None, keepalive_s: int | None) -> tuple[int, int]:
    """Return both times; one that is absent follows from the other, three to one."""
    if hold_s is None:
        hold_s = HOLD_TIME_S if keepalive_s is None else 3 * keepalive_s
    return hold_s, hold_s // 3 if keepalive_s is None else keepalive_s
