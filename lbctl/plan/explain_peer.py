"""Explain one BGP peer, and the sessions of one node: what is meant, what stands, and why not. Pure.

A session is what one node and one peer make together, so both questions are answered by the same
rows: `SessionAnswer` says whether the node is to keep it and how it stands. Advice follows the
NOTIFICATION that ended the session, where there was one (RFC 4271 4.5). Called by `lbctl explain
peer`, `lbctl explain node` and `lbctl get`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lbctl.model.advertisement import BGPAdvertisement
from lbctl.model.names import NodeName, ObjectKey, PeerName
from lbctl.model.outcome import Refused
from lbctl.model.peer import BGPPeer
from lbctl.model.reason import Reason
from lbctl.model.session import Asked, Direction, SessionReport, SessionState
from lbctl.model.snapshot import Snapshot
from lbctl.plan.advertisements import unknown_communities
from lbctl.plan.bgp_objects import judge_bgp
from lbctl.plan.communities import judge_communities
from lbctl.plan.explain_pool import Covering, narrows
from lbctl.plan.peers import endpoint, sessions
from lbctl.plan.pools import join_problems
from lbctl.plan.telling import Telling, session_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionAnswer:
    """Say of one node and one peer whether they keep a session, and how it stands."""

    node: NodeName
    peer: PeerName
    wanted: bool
    state: SessionState | None
    """None if no living speaker has reported."""
    reason: Reason
    """Announced if the peer has confirmed every route that the node has for it."""
    detail: str
    advice: str
    """What to do; empty where nothing is known to be wrong."""
    report: SessionReport | None

    @property
    def fine(self) -> bool:
        """Return whether there is nothing to repair."""
        return not self.wanted or self.state is SessionState.ESTABLISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """Hold everything there is to say about one BGPPeer."""

    peer: PeerName
    accepted: bool
    reason: Reason
    detail: str
    endpoint: str
    my_asn: int | None
    """What the peer sees; None if the object cannot be read."""
    peer_asn: str
    families: tuple[str, ...]
    sessions: tuple[SessionAnswer, ...]
    """Of every node, by name."""
    advertisements: tuple[Covering, ...]
    """BGPAdvertisements that tell it."""
    left_out_by: tuple[str, ...]
    """BGPAdvertisements whose spec.peers leaves it out."""

    @property
    def fine(self) -> bool:
        """Return whether there is nothing to repair."""
        return (
            self.accepted
            and any(one.wanted for one in self.sessions)
            and all(one.fine for one in self.sessions)
        )


def peer_key(name: str, snapshot: Snapshot) -> ObjectKey | None:
    """Return the key of the BGPPeer of this name, or None."""
    return next((key for key in sorted(snapshot.peers) if key.name == name), None)


def explain_peer(key: ObjectKey, telling: Telling) -> PeerFacts:
    """Return the facts on a BGPPeer of the snapshot."""
    snapshot = telling.snapshot
    verdict = judge_bgp(snapshot, {})[key]
    spec = snapshot.peers[key].spec
    name = PeerName(key.name)
    aliases = judge_communities(snapshot.communities).values
    valid = [one.spec for _, one in sorted(snapshot.bgp_advertisements.items()) if one.spec]
    return PeerFacts(
        peer=name,
        accepted=verdict.accepted,
        reason=verdict.reason,
        detail=verdict.message,
        endpoint="" if spec is None else endpoint(spec),
        my_asn=None if spec is None else spec.local_asn or spec.my_asn,
        peer_asn="" if spec is None else _asn(spec),
        families=() if spec is None else tuple(sorted(spec.families)),
        sessions=tuple(
            one
            for node in sorted(snapshot.nodes)
            for one in node_sessions(node, telling)
            if one.peer == name
        ),
        advertisements=tuple(
            Covering(
                name=one.name,
                narrows=narrows(one),
                waits=join_problems(unknown_communities(one, aliases)),
            )
            for one in valid
            if _tells(one, name)
        ),
        left_out_by=tuple(one.name for one in valid if not _tells(one, name)),
    )


def node_sessions(node: NodeName, telling: Telling) -> Iterator[SessionAnswer]:
    """Yield a row for every BGPPeer, as the node stands to it."""
    snapshot = telling.snapshot
    found = sessions(snapshot.peers, snapshot.nodes[node])
    silent = telling.stage.silent.get(node)
    for peer in sorted({*found.kept, *found.refused}):
        report = telling.session(node, peer)
        refused = found.refused.get(peer)
        if refused is not None:
            yield _unwanted(node, peer, refused)
            continue
        reason, detail = session_answer(report)
        if silent is not None and reason is not Reason.SESSION_DOWN:
            # The session stands, and nothing is told over it.
            reason, detail = silent.reason, silent.detail
        yield SessionAnswer(
            node=node,
            peer=peer,
            wanted=True,
            state=None if report is None else report.state,
            reason=reason,
            detail=detail,
            advice="" if report is None else session_advice(report),
            report=report,
        )


def _unwanted(node: NodeName, peer: PeerName, refused: Refused) -> SessionAnswer:
    return SessionAnswer(
        node=node,
        peer=peer,
        wanted=False,
        state=None,
        reason=refused.reason,
        detail=refused.detail,
        advice="",
        report=None,
    )


def _tells(advertisement: BGPAdvertisement, peer: PeerName) -> bool:
    return not advertisement.peers or peer in advertisement.peers


def _asn(peer: BGPPeer) -> str:
    return str(peer.peer_asn) if peer.dynamic_asn is None else f"{peer.dynamic_asn} (any)"


_UNANSWERED: Final = (
    "Look whether the router is up, has BGP enabled and knows this node as its neighbor, by address "
    "and AS; a filter between the two, or another password, gives no answer either, nor does a "
    "router behind another one while spec.ebgpMultiHop is not set."
)

_SILENT: Final = (
    "Something takes the call there and does not go on: look whether it is the router's BGP, whether "
    "that knows this node as its neighbor, by address and AS, and at its load and log."
)
_BY_STATE: Final = {
    SessionState.CONNECT: _UNANSWERED,
    SessionState.OPEN_SENT: _SILENT,
    SessionState.OPEN_CONFIRM: _SILENT,
}

_NO_BGP: Final = (
    "What answers there speaks no proper BGP: look whether spec.peerAddress and spec.peerPort are "
    "the router's, and what stands between the two."
)
_OF_THE_ROUTER: Final = "This is a fault of the router's BGP: look into its log, and update it."

_ADVICE: Final = {
    (1, 0): "The router takes what we sent for no BGP: look at what stands between the two.",
    (2, 0): "The router refuses our OPEN: its log says why.",
    (2, 1): "The router speaks another version of BGP than 4; correct its configuration.",
    (2, 2): "The AS numbers disagree: compare spec.myASN and spec.peerASN of the BGPPeer with "
    "the router's own AS and its neighbor entry for this node.",
    (2, 3): "The router identifiers clash: give the node another one with spec.routerID.",
    (2, 6): "The hold times disagree: change spec.holdTime of the BGPPeer or the router's.",
    (2, 7): "The router asks for a capability that is not there; turn it off for this neighbor.",
    (3, 0): "The router cannot read a route of ours: its log says which; report it to lbctl.",
    (4, 0): "Nothing was heard for the hold time: look at the path between the two and at the "
    "load of both ends.",
    (5, 0): "The two ends disagree about the session; it is begun anew. If that repeats, look into "
    "the router's log.",
    (6, 1): "The router takes fewer prefixes than it is told: raise its maximum for this neighbor, "
    "or aggregate.",
    (6, 2): "Somebody has shut the session down on the router; enable the neighbor there.",
    (6, 3): "The router has no configuration for this neighbor any more; add it.",
    (6, 4): "The router was told to reset the session; it comes back by itself.",
    (6, 5): "The router refuses this node: add it as a neighbor there, with its address and AS.",
    (6, 6): "The router's configuration was changed; the session comes back by itself.",
    (6, 7): "Something else on this node has a session with the router already, such as the BGP of "
    "the CNI or another load balancer: a router keeps one session with an address.",
    (6, 8): "The router is out of resources; look there.",
    (6, 9): "The router was told to end the session for good; it comes back when it is allowed to.",
    (6, 10): "The router's BFD has found the path dead; look at the link between the two.",
    (8, 0): "The router has read nothing for so long: look at its load, and at the path to it.",
}
"""By code and subcode of the NOTIFICATION (RFC 4271 4.5, RFC 4486, RFC 9384, RFC 9687); subcode 0
is for every other one of the code."""

_CEASE: Final = 6
"""Sent by this node it is no fault: somebody has changed the configuration here."""
_ADVICE_WHEN_SENT: Final = {
    (1, 0): _NO_BGP,
    (2, 0): _OF_THE_ROUTER,
    (2, 7): (
        "The router offers none of the address families: activate IPv4 or IPv6 unicast for this "
        "neighbor."
    ),
    (3, 0): _OF_THE_ROUTER,
    (5, 0): _OF_THE_ROUTER,
}
"""Where it means another thing when it is this node that sends it."""


_ADVICE_HERE: Final = {
    Asked.PEER_ADDRESS: "The node cannot call this address family: give its link an address and a "
    "route of the family, or set spec.peerAddress of the BGPPeer to an address of the router in a "
    "family that the node has; leave nodes without it out with spec.nodeSelectors.",
    Asked.SOURCE_ADDRESS: "The node does not have this address: correct spec.sourceAddress of the "
    "BGPPeer, or drop it, and the node's kernel chooses; an address of one node needs "
    "spec.nodeSelectors.",
    Asked.INTERFACE: "The node has no such link: correct spec.interface of the BGPPeer, or leave the "
    "node out with spec.nodeSelectors.",
    Asked.GTSM: "The node's kernel refuses GTSM: drop spec.ttlSecurityHops of the BGPPeer.",
    Asked.PASSWORD: "The node's kernel refuses the password: it must have 1 to 80 bytes, and the "
    "kernel TCP-MD5.",
}
"""Where the node's own kernel refuses the call, so that the router has nothing to do with it."""


def session_advice(report: SessionReport) -> str:
    """Return what to do about a session; empty if it stands."""
    if report.state is SessionState.ESTABLISHED:
        return ""
    told = report.last_notification
    # A NOTIFICATION of an earlier day says nothing of a peer that does not answer now.
    if told is not None and told.text and told.text in report.message:
        if told.direction is Direction.SENT and told.code == _CEASE:
            return ""
        tables = [_ADVICE] if told.direction is Direction.RECEIVED else [_ADVICE_WHEN_SENT, _ADVICE]
        for number in ((told.code, told.subcode), (told.code, 0)):
            for table in tables:
                if number in table:
                    return table[number]
    for asked, advice in _ADVICE_HERE.items():
        if report.message.startswith(asked):
            return advice
    return _BY_STATE.get(report.state, "")
