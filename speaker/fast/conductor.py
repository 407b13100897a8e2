"""The conductor of lb-fastpath: commands, claims and link events in, frames and reports out. Pure.

It joins the table (what may be answered), the announcer (what is announced when) and the router's
advertisements, and keeps per link which addresses live there, from which the driver derives
sockets, filters and groups.
The responder does not pass through here: it asks the table itself at every frame.

The machine shape of HOUSE 4; the driver is `speaker.fastpath`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from lbctl.model.address import Address
from lbctl.model.names import LinkName
from speaker.fast.announce import FRAMES_PER_ROUND, Announcer, Round, Start, Stop
from speaker.fast.instant import Instant, earliest
from speaker.fast.router import Advertise, Advertised, AdvertiseOn, RouterAdvertiser
from speaker.fast.table import AddressTable, Change, Claim, Held
from speaker.wire.control import Announced, Applied, Delta, Heard, Report, Table, Yielded


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReady:
    """`link` is open for these families (4, 6); others are closed."""

    link: LinkName
    families: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLost:
    """Nothing can be sent on `link` now: gone, down, or without carrier."""

    link: LinkName


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerGone:
    """The lb-speaker that commanded is not connected any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """This process is about to end: yield everything, whatever lb-speaker said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """All frames of this round were handed to the kernel."""

    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Announce now; the driver knows the hardware address."""

    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Report to lb-speaker, if it is there."""

    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewire:
    """What these links are needed for has changed: `Conductor.addresses_on` says to what."""

    links: frozenset[LinkName]


Input = Table | Delta | Claim | LinkReady | LinkLost | SpeakerGone | HandOver | Sent | Advertised
Output = Send | Tell | Rewire | Advertise

_NOBODY: Mapping[bytes, Address] = {}


class Conductor:
    """Decide everything but single answers."""

    def __init__(self, table: AddressTable, announcer: Announcer, router: RouterAdvertiser) -> None:
        self.table = table
        self.withheld = 0
        """Rounds that were due and that the table did not allow any more."""
        self._announcer = announcer
        self._router = router
        self._router_links: frozenset[LinkName] = frozenset()
        self._on_link: dict[LinkName, dict[bytes, Address]] = {}
        self._ready: dict[LinkName, frozenset[int]] = {}
        self._announced: set[tuple[bytes, LinkName]] = set()

    @property
    def links(self) -> frozenset[LinkName]:
        """Links to hold open."""
        return self.table.links | self._on_link.keys() | self._router_links

    def addresses_on(self, link: LinkName) -> Mapping[bytes, Address]:
        """Return the addresses that `link` is needed for, by their packed form."""
        return self._on_link.get(link, _NOBODY)

    def receive(self, now: Instant, arrived: Input) -> tuple[Output, ...]:
        """Take in what happened at `now`. Network input never raises."""
        match arrived:
            case Table() | Delta():
                return self._command(now, arrived)
            case Claim():
                return self._reported(now, self.table.heard(now, arrived))
            case LinkReady():
                self._link_ready(now, arrived)
            case LinkLost():
                self._ready.pop(arrived.link, None)
                self._stop(now, self.addresses_on(arrived.link).values(), (arrived.link,))
                self._advertise(now)
            case SpeakerGone():
                self.table.abandoned(now)
            case HandOver():
                for before, after in self.table.hand_over(now).changed:
                    self._announcements_of(now, before, after)
            case Sent():
                return self._sent(arrived.round)
            case Advertised():
                self._router.receive(now, arrived)
            case _:
                assert_never(arrived)
        return self._due(now)

    def expire(self, now: Instant) -> tuple[Output, ...]:
        """End planned moves and send what is due."""
        return self._reported(now, self.table.expire(now)) + self._due(now)

    @property
    def deadline(self) -> Instant | None:
        return earliest(self.table.deadline, self._announcer.deadline, self._router.deadline)

    def _command(self, now: Instant, command: Table | Delta) -> tuple[Output, ...]:
        links_before = self.links
        change = self.table.apply(now, command)
        if command.router_links is not None:
            self._router_links = frozenset(command.router_links)
            self._advertise(now)
        touched = self._file(change)
        touched |= links_before ^ self.links
        for before, after in change.changed:
            self._announcements_of(now, before, after)
        for held in change.removed:
            self._forget(now, held)
        outputs: list[Output] = []
        if touched:
            outputs.append(Rewire(links=frozenset(touched)))
        outputs.append(Tell(report=Applied(revision=command.revision, refused=change.refused)))
        if isinstance(command, Table):
            outputs += self._retell()
        return (*outputs, *self._due(now))

    def _reported(self, now: Instant, reports: Iterable[Heard | Yielded]) -> tuple[Tell, ...]:
        tells = []
        for report in reports:
            if isinstance(report, Yielded):
                # Silence ends the rounds too, also where no command did: an abandoned address.
                self._stop_and_forget(now, report.address, self._on_link)
            tells.append(Tell(report=report))
        return tuple(tells)

    def _file(self, change: Change) -> set[LinkName]:
        """Keep the index of addresses by link, and return the links that gained or lost one."""
        touched: set[LinkName] = set()
        for before, after in change.changed:
            address = after.entry.address
            old = before.links if before else frozenset()
            for link in old - after.links:
                self._unfile(link, address.packed)
            for link in after.links - old:
                self._on_link.setdefault(link, {})[address.packed] = address
            touched |= old ^ after.links
        for held in change.removed:
            for link in held.links:
                self._unfile(link, held.entry.address.packed)
            touched |= held.links
        return touched

    def _unfile(self, link: LinkName, packed: bytes) -> None:
        addresses = self._on_link[link]
        del addresses[packed]
        if not addresses:
            del self._on_link[link]

    def _announcements_of(self, now: Instant, before: Held | None, after: Held) -> None:
        """Start the rounds where a claim is new: an epoch, a link, or being owner at all."""
        address = after.entry.address
        if before is not None:
            self._stop_and_forget(now, address, before.links - after.links)
        if not after.announces:
            self._stop_and_forget(now, address, after.links)
            return
        renewed = before is None or not before.announces or after.entry.epoch > before.entry.epoch
        known = frozenset() if renewed or before is None else before.links
        self._start(now, address, after.links - known)

    def _forget(self, now: Instant, held: Held) -> None:
        self._stop_and_forget(now, held.entry.address, held.links)

    def _stop_and_forget(self, now: Instant, address: Address, links: Iterable[LinkName]) -> None:
        links = tuple(links)
        self._stop(now, (address,), links)
        for link in links:
            self._announced.discard((address.packed, link))

    def _link_ready(self, now: Instant, ready: LinkReady) -> None:
        """Announce all over again: while the link was away, nobody heard us.

        That concerns the families that were away: the first IPv6 address on a link opens its
        IPv6 half, and tells nothing new about the IPv4 addresses.
        """
        before = self._ready.get(ready.link, frozenset())
        self._ready[ready.link] = ready.families
        self._advertise(now)
        for address in self.addresses_on(ready.link).values():
            if address.version in before - ready.families:
                self._stop(now, (address,), (ready.link,))
        for held in self.table.held():
            address = held.entry.address
            if address.version in before or not held.announces or ready.link not in held.links:
                continue
            self._start(now, address, (ready.link,))

    def _start(self, now: Instant, address: Address, links: Iterable[LinkName]) -> None:
        for link in links:
            if address.version in self._ready.get(link, frozenset()):
                self._announcer.receive(now, Start(address=address, link=link))

    def _stop(self, now: Instant, addresses: Iterable[Address], links: Iterable[LinkName]) -> None:
        for address in addresses:
            for link in links:
                self._announcer.receive(now, Stop(address=address, link=link))

    def _advertise(self, now: Instant) -> None:
        """Be a router where that is wanted and the link is open, whatever it is open for."""
        self._router.receive(now, AdvertiseOn(links=self._router_links & self._ready.keys()))

    def _due(self, now: Instant) -> tuple[Send | Advertise, ...]:
        sends = []
        for each in self._announcer.expire(now):
            verdict = self.table.may_answer(now, each.link, each.address.packed)
            if isinstance(verdict, Held):
                sends.append(Send(round=each))
            else:
                self.withheld += 1
        return (*sends, *self._router.expire(now))

    def _sent(self, sent: Round) -> tuple[Tell, ...]:
        self.table.announced(sent.address.packed, FRAMES_PER_ROUND[sent.address.version])
        if sent.number:
            return ()
        self._announced.add((sent.address.packed, sent.link))
        return (Tell(report=Announced(address=sent.address, link=sent.link)),)

    def _retell(self) -> tuple[Tell, ...]:
        """Say again what was announced before: a restarted lb-speaker knows nothing of it."""
        return tuple(
            Tell(report=Announced(address=held.entry.address, link=link))
            for held in self.table.held()
            for link in sorted(held.links)
            if (held.entry.address.packed, link) in self._announced
        )
