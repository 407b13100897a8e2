"""The table of addresses that this node answers for, and the question asked at every frame. Pure.

`may_answer` is the only way to an answer or an announcement, and it looks at the clock each time:
a process that was stopped and goes on must not answer queued frames out of an old right. It takes
packed bytes, because it is asked for every frame that the kernel's filter lets through.

Commands carry epochs; one that is older than what is known for its address is not applied, also
when the address has been removed meanwhile. While nobody commands at all, a peer's announcement
is believed after 20 s: see `abandoned`. Held by lb-fastpath's conductor, read by the responder.
The machine shape of HOUSE 4: `apply`, `abandoned`, `heard`, `expire`, `deadline`.
"""

from __future__ import annotations

import enum
import functools
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from lbctl.model.address import Address
from lbctl.model.names import LinkName
from speaker.fast.instant import Instant
from speaker.wire.control import (
    AddressCount,
    Delta,
    Entry,
    Epoch,
    Heard,
    Mode,
    Removal,
    StaleEpoch,
    Table,
    YieldCause,
    Yielded,
)
from speaker.wire.ethernet import Mac

YIELD_S: Final = 1.0
"""How long a planned move keeps the old owner answering when no successor is heard."""
HEARD_INTERVAL_S: Final = 1.0
"""One report per claimed address and claiming hardware address in this time."""
HEARD_CAP: Final = 1024
"""Pairs remembered for that limit; a host that forges hardware addresses would fill it."""
ABANDONED_S: Final = 20.0
"""How long nobody may command before peers are believed: longer than a container takes to start
again, shorter than Kubernetes takes by default to call a node not ready (30 s at least)."""
REMOVED_CAP: Final = 16384
"""Epochs remembered of removed addresses; only lb-speaker can fill it, by churning addresses."""


class Silence(enum.StrEnum):
    """Why an address is not answered for."""

    UNKNOWN_ADDRESS = "unknown_address"
    OTHER_LINK = "other_link"
    YIELDED = "yielded"
    RIGHT_ENDED = "right_ended"


@dataclass(frozen=True, slots=True)
class No:
    """Stay silent, for `reason`."""

    reason: Silence


UNKNOWN: Final = No(Silence.UNKNOWN_ADDRESS)
OTHER_LINK: Final = No(Silence.OTHER_LINK)
YIELDED: Final = No(Silence.YIELDED)
RIGHT_ENDED: Final = No(Silence.RIGHT_ENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Somebody on `link` says that `mac` holds `address`."""

    address: Address
    link: LinkName
    mac: Mac
    announced: bool
    """Said unasked and to all, not in passing: a host that has the address without owning it
    (kube-proxy's IPVS mode) names it as the sender of its questions."""


@dataclass(slots=True)
class Tally:
    """Count what happened for one address while it is here. Mutable: it is the hot path's."""

    answered: int = 0
    failed: int = 0
    """Answers that the kernel did not take."""
    announced: int = 0
    """Frames of announcements."""
    told: int = 0
    """The sum of the others when lb-speaker was told last."""

    @property
    def is_news(self) -> bool:
        return self.answered + self.failed + self.announced != self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Hold an entry and, while it is being handed over, until when it is answered."""

    entry: Entry
    links: frozenset[LinkName]
    until: Instant | None = None
    yielded: YieldCause | None = None
    tally: Tally = field(default_factory=Tally, compare=False)

    @property
    def owned(self) -> bool:
        """Whether it is answered for without an end in sight."""
        return self.entry.mode is Mode.OWN and self.yielded is None

    @property
    def announces(self) -> bool:
        return self.entry.announce and self.owned


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Tell what a command did: entries now in force, addresses gone, commands too old."""

    changed: tuple[tuple[Held | None, Held], ...] = ()
    """Before and after; before is None for a new address."""
    removed: tuple[Held, ...] = ()
    refused: tuple[StaleEpoch, ...] = ()


@dataclass(slots=True)
class AddressTable:
    """Hold what lb-speaker commanded last; it stays as it is while lb-speaker is away.

    Mutable on purpose: a table of thousands of addresses changes by one at a time.
    """

    own_macs: frozenset[Mac] = frozenset()
    """Hardware addresses of this node's links: their frames claim nothing."""
    answering_until: Instant | None = None
    """When the right to answer for anything ends; None: no end (the ownership lease sets it)."""
    links: frozenset[LinkName] = frozenset()
    """Links to hold open, whether an entry names them or not."""
    heard_limited: int = 0
    """Claims not reported because of `HEARD_INTERVAL_S` or `HEARD_CAP`."""
    _held: dict[bytes, Held] = field(default_factory=dict)
    _yielding: OrderedDict[bytes, Instant] = field(default_factory=OrderedDict)
    """When planned moves end, the first one first: each began after those before it."""
    _abandoned_at: Instant | None = None
    _removed: dict[bytes, Epoch] = field(default_factory=dict)
    _peers: frozenset[Mac] = frozenset()
    _heard: dict[tuple[bytes, Mac], Instant] = field(default_factory=dict)

    def may_answer(self, now: Instant, link: LinkName, packed: bytes) -> Held | No:
        """Decide whether `packed` (4 or 16 bytes) is answered for on `link` at `now`.

        Yes is the entry that allows it, so that the asker counts there without another search.
        """
        held = self._held.get(packed)
        if held is None:
            return UNKNOWN
        if link not in held.links:
            return OTHER_LINK
        if held.yielded is not None or (held.until is not None and now >= held.until):
            return YIELDED
        if self.answering_until is not None and now >= self.answering_until:
            return RIGHT_ENDED
        return held

    def knows(self, packed: bytes) -> bool:
        """Return whether a claim of `packed` concerns this table, also after yielding it."""
        return packed in self._held

    def held(self) -> tuple[Held, ...]:
        return tuple(self._held.values())

    def announced(self, packed: bytes, frames: int) -> None:
        """Count frames that announced an address."""
        held = self._held.get(packed)
        if held is not None:
            held.tally.announced += frames

    def counts(self, *, at_most: int) -> tuple[AddressCount, ...]:
        """Return the counters of addresses for which something happened since they were told last.

        At most so many, because frames wait meanwhile: what is left comes with the next call.
        """
        news = (held for held in self._held.values() if held.tally.is_news)
        return tuple(_told(held) for held in islice(news, at_most))

    def apply(self, now: Instant, command: Table | Delta) -> Change:
        """Put a command in force, all of it but what is older than its address's known epoch."""
        if command.links is not None:
            self.links = frozenset(command.links)
        if command.peers is not None:
            self._peers = frozenset(command.peers)
        if isinstance(command, Delta):
            upsert, remove = command.upsert, command.remove
        else:
            kept = {entry.address.packed for entry in command.entries}
            self._abandoned_at = None
            for held in self._held.values():
                # An lb-speaker that says everything has just connected: it knows no counter.
                held.tally.told = 0
            upsert = command.entries
            remove = tuple(
                Removal(address=held.entry.address, epoch=held.entry.epoch)
                for packed, held in self._held.items()
                if packed not in kept
            )
        removed, too_old = self._remove(remove)
        changed, refused = self._upsert(now, upsert)
        return Change(changed=changed, removed=removed, refused=too_old + refused)

    def abandoned(self, now: Instant) -> None:
        """Note that the lb-speaker which commanded has gone; the next `Table` ends this.

        The table stays in force, but if the whole node was taken for dead, others own its
        addresses now and nobody is left here to say so. Therefore, once this has lasted
        `ABANDONED_S`, an owned address that a published peer announces is yielded. What was
        announced before that counts for nothing: the address may have come back since, and
        nobody would announce that.
        A connection alone does not end this: an lb-speaker that has not heard from the API
        server commands nothing.
        """
        if self._abandoned_at is None:
            self._abandoned_at = now

    def hand_over(self, now: Instant) -> Change:
        """Yield everything that is owned, in its own epoch: this process is about to end."""
        owned = tuple(
            replace(held.entry, mode=Mode.YIELD) for held in self._held.values() if held.owned
        )
        changed, refused = self._upsert(now, owned)
        return Change(changed=changed, refused=refused)

    @property
    def answering(self) -> bool:
        """Whether anything is still answered for."""
        return any(held.yielded is None for held in self._held.values())

    def heard(self, now: Instant, claim: Claim) -> tuple[Heard | Yielded, ...]:
        """Take note of a claim of another host: it may end a planned move, and is reported."""
        packed = claim.address.packed
        held = self._held.get(packed)
        if held is None or claim.mac in self.own_macs or claim.link not in held.links:
            return ()
        peer = claim.mac in self._peers
        outputs: list[Heard | Yielded] = []
        if peer and packed in self._yielding:
            outputs.append(self._end_yield(packed, YieldCause.SUCCESSOR_HEARD))
        if peer and claim.announced and held.owned and self._is_abandoned(now):
            outputs.append(self._end(packed, YieldCause.SUCCESSOR_HEARD))
        expected = peer and held.entry.mode is Mode.YIELD
        if not expected and self._may_report(now, (packed, claim.mac)):
            outputs.append(Heard(address=claim.address, link=claim.link, mac=claim.mac, peer=peer))
        return tuple(outputs)

    def expire(self, now: Instant) -> tuple[Yielded, ...]:
        """End the planned moves whose time is over."""
        ended: list[Yielded] = []
        while self._yielding and next(iter(self._yielding.values())) <= now:
            ended.append(self._end_yield(next(iter(self._yielding)), YieldCause.DEADLINE))
        return tuple(ended)

    @property
    def deadline(self) -> Instant | None:
        """When `expire` has something to do; costs the same for any number of addresses."""
        return next(iter(self._yielding.values()), None)

    def _is_abandoned(self, now: Instant) -> bool:
        return self._abandoned_at is not None and now >= self._abandoned_at + ABANDONED_S

    def _upsert(
        self, now: Instant, entries: tuple[Entry, ...]
    ) -> tuple[tuple[tuple[Held | None, Held], ...], tuple[StaleEpoch, ...]]:
        changed: list[tuple[Held | None, Held]] = []
        refused: list[StaleEpoch] = []
        for entry in entries:
            packed = entry.address.packed
            before = self._held.get(packed)
            known = before.entry.epoch if before else self._removed.get(packed)
            if known is not None and entry.epoch < known:
                refused.append(StaleEpoch(address=entry.address, epoch=entry.epoch, known=known))
                continue
            lost = before is not None and before.entry.mode is Mode.OWN and not before.owned
            if before is not None and before.entry == entry and not lost:
                # The same command again, as after a reconnect: a yield that runs goes on running.
                continue
            after = self._enter(now, packed, entry, before)
            changed.append((before, after))
        return tuple(changed), tuple(refused)

    def _enter(self, now: Instant, packed: bytes, entry: Entry, before: Held | None) -> Held:
        links = _shared_set(entry.links)
        after = Held(entry=entry, links=links, tally=before.tally if before else Tally())
        if entry.mode is Mode.YIELD:
            if before is not None and not before.owned:
                # A yield that is repeated with other details does not get more time.
                after = replace(before, entry=entry, links=links)
            else:
                after = replace(after, until=now + YIELD_S)
                self._yielding[packed] = now + YIELD_S
        else:
            self._yielding.pop(packed, None)
        self._held[packed] = after
        self._removed.pop(packed, None)
        return after

    def _remove(
        self, removals: tuple[Removal, ...]
    ) -> tuple[tuple[Held, ...], tuple[StaleEpoch, ...]]:
        removed: list[Held] = []
        refused: list[StaleEpoch] = []
        for removal in removals:
            packed = removal.address.packed
            held = self._held.get(packed)
            if held is None:
                continue
            if removal.epoch < held.entry.epoch:
                known = held.entry.epoch
                refused.append(
                    StaleEpoch(address=removal.address, epoch=removal.epoch, known=known)
                )
                continue
            del self._held[packed]
            self._yielding.pop(packed, None)
            self._removed[packed] = removal.epoch
            if len(self._removed) > REMOVED_CAP:
                del self._removed[next(iter(self._removed))]
            removed.append(held)
        return tuple(removed), tuple(refused)

    def _end_yield(self, packed: bytes, cause: YieldCause) -> Yielded:
        del self._yielding[packed]
        return self._end(packed, cause)

    def _end(self, packed: bytes, cause: YieldCause) -> Yielded:
        held = self._held[packed]
        self._held[packed] = replace(held, yielded=cause)
        return Yielded(address=held.entry.address, cause=cause)

    def _may_report(self, now: Instant, pair: tuple[bytes, Mac]) -> bool:
        last = self._heard.get(pair)
        if last is not None and now - last < HEARD_INTERVAL_S:
            self.heard_limited += 1
            return False
        self._heard.pop(pair, None)
        if len(self._heard) >= HEARD_CAP:
            # Pairs stand in the order of their last report, so the first one is the oldest.
            oldest = next(iter(self._heard))
            if now - self._heard[oldest] < HEARD_INTERVAL_S:
                self.heard_limited += 1
                return False
            del self._heard[oldest]
        self._heard[pair] = now
        return True


def _told(held: Held) -> AddressCount:
    tally = held.tally
    tally.told = tally.answered + tally.failed + tally.announced
    return AddressCount(
        address=held.entry.address,
        answered=tally.answered,
        failed=tally.failed,
        announced=tally.announced,
    )


@functools.lru_cache(maxsize=256)
def _shared_set(links: tuple[LinkName, ...]) -> frozenset[LinkName]:
    """Return one set for all entries with these links: each would cost more than its entry."""
    return frozenset(links)
