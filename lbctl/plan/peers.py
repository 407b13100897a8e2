"""Which BGP peers are in effect, and with which of them a node keeps a session. Pure.

One bad peer stops itself alone. Two peers that mean the same session (a router knows its neighbor
by the address that the connection comes from) exclude each other on the nodes that both select,
and only there: the older one works. `sessions` says it for one node, with a reason for each peer
that has no session there; `judge_peers` makes the condition Accepted of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import NodeName, ObjectKey, PeerName
from lbctl.model.node import Node
from lbctl.model.outcome import Problem, Refused
from lbctl.model.peer import BGPPeer
from lbctl.model.reason import Reason
from lbctl.model.selector import any_matches, keys_of, seen_by
from lbctl.plan.pools import join_problems

Peers = Mapping[ObjectKey, Configured[BGPPeer]]

_NAMED_NODES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Hold the peers of one node: those it keeps a session with, and why not with the others."""

    kept: Mapping[PeerName, BGPPeer] = field(default_factory=dict)
    refused: Mapping[PeerName, Refused] = field(default_factory=dict)


def judge_peer(entry: Configured[BGPPeer]) -> Verdict:
    """Return whether the peer is in effect, as far as it alone says."""
    peer = entry.spec
    if peer is None:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(entry.problems))
    if peer.vrf:
        return _unsupported(
            Reason.VRF_UNSUPPORTED,
            "spec.vrf",
            f"a session in VRF {peer.vrf} is not possible yet; drop the field if the peer can be "
            "reached from the node's main routing table",
        )
    if peer.bfd_profile:
        return _unsupported(
            Reason.BFD_UNSUPPORTED,
            "spec.bfdProfile",
            "there is no BFD yet; drop the field, and set spec.holdTime to 3s or more to notice a "
            "dead path soon",
        )
    return Verdict(accepted=True, reason=Reason.ACCEPTED, message="the peer is in effect")


def judge_peers(peers: Peers, nodes: Iterable[Node]) -> dict[ObjectKey, Verdict]:
    """Return the verdict on each peer; one that another excludes on some nodes says so."""
    verdicts = {key: judge_peer(entry) for key, entry in peers.items()}
    excluded: dict[PeerName, list[tuple[NodeName, str]]] = {}
    keys = selecting_keys(peers)
    # Nodes that the selectors cannot tell apart keep the same sessions.
    known: dict[tuple[str | None, ...], Sessions] = {}
    for node in sorted(nodes, key=lambda one: one.name):
        seen = seen_by(keys, node.labels)
        if seen not in known:
            known[seen] = sessions(peers, node)
        for name, refused in known[seen].refused.items():
            if refused.reason is Reason.DUPLICATE_PEER:
                excluded.setdefault(name, []).append((node.name, refused.detail))
    for key, verdict in verdicts.items():
        found = excluded.get(PeerName(key.name), [])
        if found and verdict.accepted:
            more = f" and {len(found) - _NAMED_NODES} more" if len(found) > _NAMED_NODES else ""
            names = ", ".join(node for node, _ in found[:_NAMED_NODES])
            verdicts[key] = Verdict(
                accepted=True,
                reason=Reason.DUPLICATE_PEER,
                message=f"the peer is in effect; but not on node {names}{more}: {found[0][1]}",
            )
    return verdicts


def selecting_keys(peers: Peers) -> tuple[str, ...]:
    """Return the keys of the labels by which peers select nodes."""
    specs = (entry.spec for entry in peers.values())
    return keys_of(one for spec in specs if spec is not None for one in spec.node_selectors)


def sessions(peers: Peers, node: Node) -> Sessions:
    """Return the sessions of one node, older peers before younger ones."""
    kept: dict[PeerName, BGPPeer] = {}
    refused: dict[PeerName, Refused] = {}
    for entry in sorted(peers.values(), key=lambda one: (one.created, one.key.name)):
        name = PeerName(entry.key.name)
        verdict = judge_peer(entry)
        peer = entry.spec
        if peer is None or not verdict.accepted:
            refused[name] = Refused(
                reason=verdict.reason,
                detail=f"peer {name} is not in effect: {verdict.message}",
            )
        elif peer.node_selectors and not any_matches(peer.node_selectors, node.labels):
            refused[name] = Refused(
                reason=Reason.NODE_NOT_SELECTED,
                detail=f"the nodeSelectors of peer {name} leave node {node.name} out",
            )
        elif rival := next((one for one in kept.values() if _same_session(one, peer)), None):
            refused[name] = Refused(
                reason=Reason.DUPLICATE_PEER,
                detail=f"the older peer {rival.name} has the session with {endpoint(peer)} there",
            )
        else:
            kept[name] = peer
    return Sessions(kept=kept, refused=refused)


def endpoint(peer: BGPPeer) -> str:
    """Return the other end of the session in words."""
    if peer.address is None:
        return f"the router on interface {peer.interface}"
    return f"{peer.address} port {peer.port}"


def _same_session(one: BGPPeer, other: BGPPeer) -> bool:
    if (one.interface, one.address, one.port) != (other.interface, other.address, other.port):
        return False
    # Without a source the kernel chooses, and may choose the one that the other peer names.
    return one.source == other.source or one.source is None or other.source is None


def _unsupported(reason: Reason, path: str, message: str) -> Verdict:
    return Verdict(accepted=False, reason=reason, message=str(Problem(path=path, message=message)))
