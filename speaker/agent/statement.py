"""Who announces what: the ServiceL2Status objects that this node writes, and those it removes. Pure.

One object per Service and family, rewritten by each new owner in turn. It is removed by the node
that it names once nobody announces the Service in that family. If that node has no speaker any
more, one of the others does it, chosen by rendezvous, so that none is left for ever. Objects with
names of another form (MetalLB's own, beside which we may run) are never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lbctl.kube.crds.service_l2_status import ServiceL2Status, status_name
from lbctl.kube.status_objects import says_the_same
from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import NodeName, ServiceKey
from lbctl.plan.announcement import Announcement
from speaker.wire.control import Entry, Mode

Statements = Mapping[str, ServiceL2Status]
"""Wanted objects by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementChanges:
    """Hold what has to be written, each beside the object that the API server shows now."""

    write: tuple[tuple[ServiceL2Status, ServiceL2Status | None], ...]
    remove: tuple[ServiceL2Status, ...]


def statements(
    me: NodeName, entries: Mapping[Address, Entry], announcement: Announcement
) -> dict[str, ServiceL2Status]:
    """Return what this node has to say about the addresses that it answers for."""
    mine: dict[tuple[ServiceKey, Family], list[Entry]] = {}
    for address, entry in entries.items():
        if entry.mode is Mode.OWN and address in announcement.addresses:
            for service in announcement.addresses[address].services:
                mine.setdefault((service, family_of(address)), []).append(entry)
    return {
        status_name(service, family): ServiceL2Status(
            service=service,
            node=me,
            interfaces=tuple(sorted({link for entry in owned for link in entry.links})),
            addresses=tuple(sorted((entry.address for entry in owned), key=int)),
            epoch=max(entry.epoch for entry in owned),
            name=status_name(service, family),
        )
        for (service, family), owned in mine.items()
    }


def statement_changes(
    wanted: Statements,
    observed: Mapping[str, ServiceL2Status],
    *,
    me: NodeName,
    announcement: Announcement,
    speakers: Iterable[NodeName],
    own_schema: bool = True,
    names: Collection[str] | None = None,
) -> StatementChanges:
    """Return the difference between what this node wants to say and what objects there are.

    `speakers` are the nodes whose speakers are at work, this one among them. `names` limits the
    look to these objects, for a caller that knows that all others are as they should be.
    """
    if names is not None:
        wanted = {name: wanted[name] for name in names if name in wanted}
        observed = {name: observed[name] for name in names if name in observed}
    write = tuple(
        (statement, observed.get(name))
        for name, statement in sorted(wanted.items())
        if name not in observed
        or not says_the_same(observed[name], statement, own_schema=own_schema)
    )
    living = frozenset(speakers)
    remove = tuple(
        found
        for name, found in observed.items()
        if name not in wanted
        # In this order: nearly all objects name another living node, which is quick to see.
        and (found.node == me or (found.node not in living and _chosen(name, living) == me))
        and _is_void(found, announcement)
    )
    by_name = sorted(remove, key=lambda found: found.name)
    return StatementChanges(write=write, remove=tuple(by_name))


def _is_void(found: ServiceL2Status, announcement: Announcement) -> bool:
    """Return whether nobody announces what the object speaks of; else its owner rewrites it."""
    for family in Family:
        if status_name(found.service, family) == found.name:
            plans = (
                announcement.addresses.get(address)
                for address in announcement.shown.get(found.service, ())
                if family_of(address) is family
            )
            return not any(
                plan.owner is not None and found.service in plan.services
                for plan in plans
                if plan is not None
            )
    return False


def _chosen(name: str, living: frozenset[NodeName]) -> NodeName | None:
    return min(
        living, key=lambda node: hashlib.sha256(f"{node}#{name}".encode()).digest(), default=None
    )
