"""Which prefixes go to which peer with which attributes, from what the addresses ask for. Pure.

Addresses ask for prefixes under advertisements; equal prefixes of many addresses and Services are
one route. Peers with the same families that hear of the same advertisements share one `Table`, and
a change touches the prefixes it is about. Called by `lbctl.plan.routes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from lbctl.model.address import Family
from lbctl.model.names import PeerName
from lbctl.model.outcome import Refused
from lbctl.model.peer import BGPPeer
from lbctl.model.route import Attributes, Prefix, Table
from lbctl.plan.ground import Ground

Asked: TypeAlias = tuple[Prefix, str]
"""A prefix, and the advertisement under which an address asks for it."""
Counts: TypeAlias = Mapping[Prefix, Mapping[str, int]]
Group: TypeAlias = tuple[frozenset[Family], frozenset[str]]
"""Whom a table is for: the families of a session, and the advertisements that its peer hears."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Count how many addresses ask for each prefix, by advertisement: to stay, and to part."""

    staying: Counts = field(default_factory=dict)
    parting: Counts = field(default_factory=dict)


def counted(before: Counts, gone: Iterable[Asked], come: Iterable[Asked]) -> Counts:
    """Return the counts after some were taken back and some were added."""
    counts = dict(before)
    for step, asked in ((-1, gone), (1, come)):
        for prefix, name in asked:
            # A copy: the inner map may belong to the plan before.
            inner = dict(counts.get(prefix, ()))
            count = inner.pop(name, 0) + step
            if count:
                inner[name] = count
            if inner:
                counts[prefix] = inner
            else:
                del counts[prefix]
    return counts


def tables_of(
    ground: Ground, demand: Demand, before: Mapping[PeerName, Table], touched: Iterable[Prefix]
) -> Mapping[PeerName, Table]:
    """Return the table of every session: that of before, with the touched prefixes anew."""
    prefixes = frozenset(touched)
    made: dict[Group, Table] = {}
    tables: dict[PeerName, Table] = {}
    for name, peer in ground.sessions.kept.items():
        group = _group(ground, peer)
        if group not in made:
            made[group] = _renewed(ground, demand, group, before.get(name, Table()), prefixes)
        tables[name] = made[group]
    return tables


def asking(ground: Ground, demand: Demand, peer: BGPPeer, prefix: Prefix) -> tuple[str, ...]:
    """Return the advertisements that make what the peer's route of a prefix says."""
    _, told = _group(ground, peer)
    staying = _names(demand.staying.get(prefix), told)
    return staying or _names(demand.parting.get(prefix), told)


def _group(ground: Ground, peer: BGPPeer) -> Group:
    told = (name for name in ground.selected if ground.offers[name].tells(peer.name))
    return peer.families, frozenset(told)


def _renewed(
    ground: Ground, demand: Demand, group: Group, before: Table, touched: frozenset[Prefix]
) -> Table:
    families, told = group
    routes: dict[Prefix, Attributes] = {}
    parting: dict[Prefix, Attributes] = {}
    refused: dict[Prefix, Refused] = {}
    for prefix in touched:
        if prefix.family not in families:
            continue
        staying = _names(demand.staying.get(prefix), told)
        names = staying or _names(demand.parting.get(prefix), told)
        if not names:
            continue
        found = ground.merged(names)
        if isinstance(found, Refused):
            refused[prefix] = found
        elif staying:
            routes[prefix] = found
        else:
            parting[prefix] = found.at_the_end()
    fresh = Table(
        routes=_with(before.routes, routes, touched),
        parting=_with(before.parting, parting, touched),
        refused=_with(before.refused, refused, touched),
    )
    same = (
        fresh.routes is before.routes
        and fresh.parting is before.parting
        and fresh.refused is before.refused
    )
    return before if same else fresh


def _names(counts: Mapping[str, int] | None, told: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted([name for name in counts if name in told])) if counts else ()


def _with(
    before: Mapping[Prefix, Value], found: dict[Prefix, Value], touched: frozenset[Prefix]
) -> Mapping[Prefix, Value]:
    """Return `before` with what was found of these prefixes; the very same map if nothing is new."""
    if not before:
        return found or before
    if all(before.get(prefix) == found.get(prefix) for prefix in touched):
        return before
    result = dict(before)
    for prefix in touched:
        result.pop(prefix, None)
    return result | found
