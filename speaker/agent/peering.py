"""With whom this node speaks BGP, and what each peer is to have. Pure.

`speak(previous, situation)` makes of the node's `RoutePlan` one `Peering` for each session: its
configuration, and the table in the words of the session. A route that the node gives up while it
could still serve (a drain, a `Local` Service whose endpoints end, lb-speaker stopping) is told
with GRACEFUL_SHUTDOWN first and withdrawn after a wait, so that routers choose another way before
this one is gone (RFC 8326 4); one that leads nowhere any more is withdrawn at once.

Sessions that are to be told the same share one table, and a change touches the prefixes that it is
about. Called by `speaker.agent.conductor`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from lbctl.model.community import ExtendedCommunity, LargeCommunity, StandardCommunity
from lbctl.model.membership import Instant
from lbctl.model.names import LinkName, NodeName, PeerName
from lbctl.model.node import Node
from lbctl.model.outcome import Problem
from lbctl.model.peer import BGPPeer
from lbctl.model.route import Attributes, Prefix
from lbctl.model.route import Table as Planned
from lbctl.model.snapshot import Changed, Snapshot
from lbctl.plan.routes import RoutePlan, plan_routes
from speaker.protocols.bgp_peer import CONNECT_RETRY_S, DynamicAsn, PeerConfig
from speaker.protocols.bgp_routes import Route, Table
from speaker.wire.bgp_messages import PathAttributes

RESTART_S: Final = 120
"""How long a peer with graceful restart keeps our routes; as FRR has it."""
SHUTDOWN_WAIT_S: Final = 5.0
"""How long GRACEFUL_SHUTDOWN stands before the withdraw, if not configured."""
SINGLE_HOP: Final = 1
MULTIHOP: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """Hold what one peer is, and what it is to be told."""

    config: PeerConfig
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Hold the table of some sessions; `until` says when each parting route is withdrawn."""

    planned: Planned
    table: Table
    until: Mapping[Prefix, Instant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Hold what sessions rest on beside the plan."""

    passwords: Mapping[str, str | Problem] | None = None
    """By Secret, of the namespace that lbctl is in; None until they were read."""
    routers: Mapping[LinkName, tuple[IPv6Address, ...]] = field(default_factory=dict)
    """Who advertises itself as a router on each link, by its link-local address."""
    wait_s: float = SHUTDOWN_WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaking:
    """Hold whom the node speaks to and about what. Without peers there is no plan."""

    plan: RoutePlan | None = None
    peerings: Mapping[PeerName, Peering] = field(default_factory=dict)
    absent: Mapping[PeerName, str] = field(default_factory=dict)
    """Why a peer of this node is not called yet: one sentence."""
    carried: Mapping[PeerName, Carried] = field(default_factory=dict)

    @property
    def deadline(self) -> Instant | None:
        """When the next parting route is to be withdrawn."""
        return min((at for one in self.carried.values() for at in one.until.values()), default=None)

    @property
    def peers(self) -> Mapping[PeerName, BGPPeer]:
        """The peers that this node is to have a session with."""
        return {} if self.plan is None else self.plan.ground.sessions.kept

    @property
    def unnumbered(self) -> frozenset[LinkName]:
        """The links whose router is the peer, whatever its address."""
        return frozenset(one.interface for one in self.peers.values() if one.interface is not None)


NOBODY: Final = Speaking()


def speak(
    previous: Speaking,
    *,
    now: Instant,
    node: NodeName,
    snapshot: Snapshot,
    changed: Changed,
    ground: Ground,
    load_balancer_class: str | None,
    stopping: bool,
) -> Speaking:
    """Return what should be so now; to be called with every change, and at the deadline."""
    if not snapshot.peers and previous.plan is None:
        return NOBODY
    plan = plan_routes(
        previous.plan, snapshot, changed, node=node, load_balancer_class=load_balancer_class
    )
    peerings: dict[PeerName, Peering] = {}
    absent: dict[PeerName, str] = {}
    carried: dict[PeerName, Carried] = {}
    made: dict[tuple[int, int], Carried] = {}
    for name, peer in plan.ground.sessions.kept.items():
        former = previous.peerings.get(name)
        held = None if former is None else former.config
        config = peer_config(peer, snapshot.nodes[node], ground, held)
        if isinstance(config, str):
            absent[name] = config
            continue
        before = previous.carried.get(name)
        planned = plan.tables[name]
        key = (id(planned), id(before))
        if key not in made:
            made[key] = carry(
                planned,
                before,
                news=plan.news,
                now=now,
                wait_s=ground.wait_s,
                stopping=stopping,
            )
        carried[name] = made[key]
        if former is not None and former.config == config and former.table is made[key].table:
            peerings[name] = former
        else:
            peerings[name] = Peering(config=config, table=made[key].table)
    if not plan.ground.sessions.kept and not snapshot.peers:
        return NOBODY
    return Speaking(plan=plan, peerings=peerings, absent=absent, carried=carried)


def carry(
    planned: Planned,
    before: Carried | None,
    *,
    news: Collection[Prefix] | None,
    now: Instant,
    wait_s: float,
    stopping: bool,
) -> Carried:
    """Return the table that the plan means now.

    `news` are the prefixes that may be planned otherwise than they were for `before`; None: any.
    A peer that does not have a parting route gets nothing of it.
    """
    if before is not None and before.planned is planned and not before.until and not stopping:
        return before
    routes, parting = planned.routes, planned.parting
    if stopping:
        ending = {prefix: attributes.at_the_end() for prefix, attributes in routes.items()}
        routes, parting = {}, {**parting, **ending}
    until: dict[Prefix, Instant] = {}
    if before is not None:
        for prefix in parting:
            at = before.until.get(prefix, now + wait_s)
            if prefix in before.table and at > now:
                until[prefix] = at
    table: dict[Prefix, Route]
    if before is None or news is None or stopping:
        table, touched = {}, routes.keys() | until.keys()
    else:
        table = dict(before.table)
        touched = {*news, *before.until, *until}
    spoken: dict[int, Route] = {}
    for prefix in touched:
        attributes = routes.get(prefix) or (parting[prefix] if prefix in until else None)
        if attributes is None:
            table.pop(prefix, None)
            continue
        # Attributes are shared by thousands of routes, and looked at once.
        if id(attributes) not in spoken:
            spoken[id(attributes)] = Route(attributes=path_attributes(attributes))
        table[prefix] = spoken[id(attributes)]
    same = before is not None and table == before.table
    return Carried(
        planned=planned,
        table=before.table if before is not None and same else table,
        until=until,
    )


def path_attributes(attributes: Attributes) -> PathAttributes:
    """Return the attributes as the wire has them, community by kind of community."""
    standard: list[int] = []
    extended: list[bytes] = []
    large: list[tuple[int, int, int]] = []
    for one in attributes.communities:
        match one:
            case StandardCommunity():
                standard.append(one.high << 16 | one.low)
            case LargeCommunity():
                large.append((one.administrator, one.first, one.second))
            case ExtendedCommunity():
                extended.append(one.octets)
    return PathAttributes(
        local_preference=attributes.local_preference,
        communities=tuple(standard),
        extended_communities=tuple(extended),
        large_communities=tuple(large),
    )


def peer_config(
    peer: BGPPeer, node: Node, ground: Ground, before: PeerConfig | None = None
) -> PeerConfig | str:
    """Return the session with a peer as this node is to hold it, or why it cannot begin yet.

    A session without an address stays with the router that it was begun with (`before`) for as
    long as that one advertises itself, whoever else does.
    """
    password = _password(peer, ground)
    if isinstance(password, Problem):
        return str(password)
    address = peer.address
    if address is None:
        assert peer.interface is not None, "a peer has an address or an interface"
        found = ground.routers.get(peer.interface, ())
        same_link = before is not None and before.interface == peer.interface
        if before is not None and same_link and before.address in found:
            address = before.address
        elif len(found) == 1:
            address = found[0]
        else:
            return _no_single_router(peer.interface, found)
    return PeerConfig(
        address=address,
        port=peer.port,
        asn=peer.my_asn,
        local_asn=peer.local_asn,
        peer_asn=_peer_asn(peer),
        identifier=peer.router_id or _identifier(node, before),
        families=peer.families,
        hold_time_s=peer.hold_time_s,
        keepalive_s=peer.keepalive_time_s or None,
        connect_retry_s=peer.connect_time_s or CONNECT_RETRY_S,
        graceful_restart_s=RESTART_S if peer.graceful_restart else None,
        # On an unnumbered link the peer knows no other address of ours than that of the link.
        next_hops=() if peer.address is None else node.addresses,
        source=peer.source,
        interface=peer.interface,
        ttl=_ttl(peer),
        gtsm_hops=peer.ttl_security_hops,
        password=password,
    )


def _identifier(node: Node, before: PeerConfig | None) -> IPv4Address:
    """Return the node's router ID; a session keeps the one it has while that is the node's.

    Who writes Node.status.addresses may add to them or change their order.
    """
    if before is not None and before.identifier in (*node.addresses, _id_of_name(node)):
        return before.identifier
    return router_id(node)


def router_id(node: Node) -> IPv4Address:
    """Return the BGP Identifier of a node: its IPv4 address, else a number made of its name.

    It has to be unique in its AS only, and need not be an address (RFC 6286 2.1).
    """
    for address in node.addresses:
        if isinstance(address, IPv4Address):
            return address
    return _id_of_name(node)


def _id_of_name(node: Node) -> IPv4Address:
    number = int.from_bytes(hashlib.sha256(node.name.encode()).digest()[:4])
    return IPv4Address(number or 1)


def _password(peer: BGPPeer, ground: Ground) -> str | Problem | None:
    if not peer.password_secret:
        return peer.password or None
    if ground.passwords is None:
        return Problem(
            path="spec.passwordSecret",
            message="the Secrets have not been read yet; may lb-speaker list them?",
        )
    found = ground.passwords.get(peer.password_secret)
    if found is None:
        return Problem(
            path="spec.passwordSecret",
            message=f"there is no Secret {peer.password_secret} of type "
            f"kubernetes.io/basic-auth in namespace {peer.namespace}; create it",
        )
    return found


def _no_single_router(interface: LinkName, found: tuple[IPv6Address, ...]) -> str:
    if not found:
        return (
            f"spec.interface: no router has advertised itself on {interface}; "
            "have it send router advertisements there, or give spec.peerAddress"
        )
    listing = ", ".join(map(str, found))
    return (
        f"spec.interface: {len(found)} routers advertise themselves on {interface} ({listing}); "
        "a session without an address needs a link with one"
    )


def _peer_asn(peer: BGPPeer) -> int | DynamicAsn:
    if peer.peer_asn is not None:
        return peer.peer_asn
    assert peer.dynamic_asn is not None, "a peer has an ASN or a rule for it"
    return DynamicAsn(peer.dynamic_asn.value)


def _ttl(peer: BGPPeer) -> int | None:
    """Return what keeps an external session to the link it belongs to, unless told otherwise."""
    if peer.ttl_security_hops is not None or peer.internal:
        return None
    return MULTIHOP if peer.multihop else SINGLE_HOP
