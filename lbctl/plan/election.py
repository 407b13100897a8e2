"""Rendezvous order: which of several nodes announces an address. Pure, standard library only.

Every process computes the same order from the same candidates, without talking. The hash is
MetalLB's, `sha256(node#address)` over the address's text, so a migrated cluster keeps its
announcing nodes. Two things rank before it: a node whose link holds the address's subnet (a
neighbor there will ask for the address) and the advertisement's preference weights.

Minimal churn is the hash's property: a node that leaves moves its own addresses only. Called by
`lbctl.plan.announcement`; later by the ownership protocol for orphans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from lbctl.model.address import Address
from lbctl.model.names import NodeName

Rank = tuple[bool, int, bytes]
"""Compare candidates: outside the subnet, weight negated, digest; the least one is elected."""


def digest(node: NodeName, address: Address) -> bytes:
    """Return the rendezvous score of a node for an address; ascending bytes rank."""
    return hashlib.sha256(f"{node}#{address}".encode()).digest()


def rank(
    node: NodeName,
    address: Address,
    *,
    weights: Mapping[NodeName, int],
    in_subnet: Collection[NodeName],
) -> Rank:
    return (node not in in_subnet, -weights.get(node, 0), digest(node, address))


def ranking(
    nodes: Iterable[NodeName],
    address: Address,
    *,
    weights: Mapping[NodeName, int] | None = None,
    in_subnet: Collection[NodeName] = frozenset(),
) -> tuple[NodeName, ...]:
    """Return the candidates, the elected one first and its successors in order after it."""
    chosen = weights or {}
    return tuple(
        sorted(nodes, key=lambda node: rank(node, address, weights=chosen, in_subnet=in_subnet))
    )


def narrowed(
    nodes: Collection[NodeName], *, weights: Mapping[NodeName, int], in_subnet: Collection[NodeName]
) -> Collection[NodeName]:
    """Return those of `nodes` that rank first before hashes are compared."""
    if in_subnet:
        nodes = [node for node in nodes if node in in_subnet] or nodes
    if weights and nodes:
        best = max(weights.get(node, 0) for node in nodes)
        nodes = [node for node in nodes if weights.get(node, 0) == best]
    return nodes


def first(nodes: Iterable[NodeName], address: Address) -> NodeName | None:
    """Return the node with the least digest, or None without nodes."""
    suffix = f"#{address}".encode()
    return min(
        nodes,
        key=lambda node: hashlib.sha256(node.encode() + suffix).digest(),
        default=None,
    )


def elect(
    nodes: Collection[NodeName],
    address: Address,
    *,
    weights: Mapping[NodeName, int] | None = None,
    in_subnet: Collection[NodeName] = frozenset(),
) -> NodeName | None:
    """Return the first of `ranking`, or None without candidates.

    Narrowing before hashing keeps a full plan of 5,000 addresses and 50 nodes cheap.
    """
    return first(narrowed(nodes, weights=weights or {}, in_subnet=in_subnet), address)


def succeed(
    owner: NodeName | None,
    nodes: frozenset[NodeName],
    came: Iterable[NodeName],
    address: Address,
) -> NodeName | None:
    """Return `first(nodes, address)`, given the first before some left and others `came`.

    Who is left was compared with the owner then, so only who came can rank before it.
    """
    if owner is None or owner not in nodes:
        return first(nodes, address)
    return first((owner, *came), address) if came else owner
