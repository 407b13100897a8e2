"""The table for the fast path: which addresses to answer, on which links, or to hand over. Pure.

An address that leaves this node for another one is not dropped but yielded: the fast path goes
on answering until it hears the successor, or for a second, so that no client asks in vain. One
that nobody announces any more is dropped at once. Called by `speaker.agent.conductor`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lbctl.model.address import Address
from lbctl.model.membership import Instant, Membership, ViewNumber
from lbctl.model.names import LinkName
from lbctl.model.node import Link
from lbctl.plan.announcement import AddressPlan
from speaker.wire.control import Delta, Entry, Mode, Removal, Table
from speaker.wire.ethernet import Mac

YIELD_KEPT_S: Final = 2.0
"""A yield entry leaves the table after this even if its end was never reported; the fast path
itself stops after 1 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Hold the wanted table; `yields` says until when each yield entry stays in it."""

    entries: Mapping[Address, Entry] = field(default_factory=dict)
    yields: Mapping[Address, Instant] = field(default_factory=dict)


def desired_table(
    previous: Desired,
    *,
    now: Instant,
    memberships: Mapping[LinkName, Membership],
    addresses: Mapping[Address, AddressPlan],
    links: Iterable[Link],
    released: frozenset[Address],
    yielded: frozenset[Address],
) -> Desired:
    """Return the table that the memberships mean.

    `links` is this node's own inventory, newer than its published report: a link that went
    down carries nothing, whatever the others know by now. `yielded` are the addresses whose
    handing over the fast path reported as done.
    """
    usable = {link.name for link in links if link.up and link.carrier}
    entries = _owned(previous, memberships, usable)
    yields: dict[Address, Instant] = {}
    for address, entry in previous.entries.items():
        plan = addresses.get(address)
        if address in entries or address in released or address in yielded:
            continue
        if plan is None or plan.owner is None:
            continue
        until = previous.yields.get(address, now + YIELD_KEPT_S)
        kept = tuple(name for name in entry.links if name in usable)
        if until <= now or not kept:
            continue
        yields[address] = until
        entries[address] = Entry(
            address=address,
            links=kept,
            epoch=max(entry.epoch, _epoch(address, memberships, entry.epoch)),
            mode=Mode.YIELD,
        )
    return Desired(entries=entries, yields=yields)


def _owned(
    previous: Desired, memberships: Mapping[LinkName, Membership], usable: set[LinkName]
) -> dict[Address, Entry]:
    found: dict[Address, list[LinkName]] = {}
    epochs: dict[Address, ViewNumber] = {}
    for name in sorted(memberships):
        if name not in usable:
            continue
        for address, epoch in memberships[name].mine().items():
            found.setdefault(address, []).append(name)
            epochs[address] = max(epoch, epochs.get(address, epoch))
    entries: dict[Address, Entry] = {}
    for address, names in found.items():
        before = previous.entries.get(address)
        epoch = epochs[address] if before is None else max(epochs[address], before.epoch)
        entry = Entry(address=address, links=tuple(names), epoch=epoch)
        entries[address] = before if before == entry else entry
    return entries


def _epoch(
    address: Address, memberships: Mapping[LinkName, Membership], least: ViewNumber
) -> ViewNumber:
    """Return the newest epoch known of the address: its successor's."""
    epochs = (
        membership.owners[address].epoch
        for membership in memberships.values()
        if address in membership.owners
    )
    return max(epochs, default=least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commanded:
    """Hold what the fast path should have, in the words of the control protocol."""

    entries: Mapping[Address, Entry] = field(default_factory=dict)
    links: tuple[LinkName, ...] = ()
    peers: tuple[Mac, ...] = ()
    router_links: tuple[LinkName, ...] = ()

    def whole(self, revision: int) -> Table:
        """Return the message for a connection that has just been made."""
        return Table(
            revision=revision,
            entries=tuple(self.entries.values()),
            links=self.links,
            peers=self.peers,
            router_links=self.router_links,
        )

    def since(self, before: Commanded, revision: int) -> Delta | None:
        """Return the message for a connection that has `before`, or None if nothing differs."""
        delta = Delta(
            revision=revision,
            upsert=tuple(
                entry
                for address, entry in self.entries.items()
                if before.entries.get(address) != entry
            ),
            remove=tuple(
                Removal(address=address, epoch=entry.epoch)
                for address, entry in before.entries.items()
                if address not in self.entries
            ),
            links=self.links if self.links != before.links else None,
            peers=self.peers if self.peers != before.peers else None,
            router_links=self.router_links if self.router_links != before.router_links else None,
        )
        return None if delta == Delta(revision=revision) else delta
