"""What this node's speaker tells the cluster: SpeakerStatus and who announces what. Pure.

Both are values; `speaker.drivers.node` compares them with what the API server shows and writes
the difference, so nothing is written when nothing changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lbctl.model.address import Address
from lbctl.model.membership import Instant, Member, ViewNumber
from lbctl.model.names import LinkName, NodeName, ServiceKey
from lbctl.model.node import Link, SpeakerReport
from lbctl.plan.announcement import AddressPlan
from speaker.wire.control import Entry, Mode

FASTPATH_GRACE_S: Final = 3.0
"""A fast path that is away for less is restarting: moving its addresses would cost more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcing:
    """Say that this node announces an address for a Service: the content of ServiceL2Status.

    One per Service and address, not per Service: the addresses of a dual-stack Service may have
    different owners, and a status object has one writer.
    """

    service: ServiceKey
    address: Address
    node: NodeName
    links: tuple[LinkName, ...]
    epoch: ViewNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class FastpathState:
    """Hold whether lb-fastpath is connected, since when, and what it cannot do.

    `faults` are per link and family: 0 for the whole link, else 4 or 6.
    """

    connected: bool
    since: Instant
    faults: Mapping[tuple[LinkName, int], str]


def speaker_report(
    *,
    now: Instant,
    me: Member,
    links: Sequence[Link],
    fastpath: FastpathState,
    draining: bool,
    published: SpeakerReport | None,
) -> SpeakerReport | None:
    """Return the report that should be published, or None while it would be a guess.

    While the fast path is away for less than its grace, the published word stands; a process
    that has just started therefore says nothing before it knows.
    """
    known = published is not None and published.incarnation == me.incarnation
    away = not fastpath.connected and now - fastpath.since < FASTPATH_GRACE_S
    if away and not known:
        return None
    if away and published is not None:
        connected = published.fastpath_connected
    else:
        connected = fastpath.connected
    return SpeakerReport(
        node=me.node,
        incarnation=me.incarnation,
        draining=draining,
        links=tuple(
            _without_ndp(link) if (link.name, 6) in fastpath.faults else link
            for link in sorted(links, key=lambda link: link.index)
        ),
        faults=tuple(
            sorted(
                (name, message)
                for (name, family), message in fastpath.faults.items()
                if family != 6
            )
        ),
        fastpath_connected=connected,
    )


def announcing(
    me: NodeName, entries: Mapping[Address, Entry], addresses: Mapping[Address, AddressPlan]
) -> tuple[Announcing, ...]:
    """Return one item per Service and address that this node answers for."""
    items = [
        Announcing(
            service=service,
            address=address,
            node=me,
            links=entry.links,
            epoch=entry.epoch,
        )
        for address, entry in entries.items()
        if entry.mode is Mode.OWN and address in addresses
        for service in addresses[address].services
    ]
    return tuple(sorted(items, key=lambda item: (item.service, item.address.version)))


def _without_ndp(link: Link) -> Link:
    """Tell a link on which NDP cannot be answered like one without a link-local address."""
    return Link(
        name=link.name,
        index=link.index,
        mac=link.mac,
        up=link.up,
        carrier=link.carrier,
        subnets=link.subnets,
        has_link_local=False,
    )
