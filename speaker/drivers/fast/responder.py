"""Answer ARP requests or neighbor solicitations of one link, frame by frame.

This is the hot path: one receive, two slices, one lookup, one concatenation and one send per
frame, no object. The clock and the table are asked at each frame, not once per wake-up. At most
64 frames a wake-up, so that a flood cannot keep the loop from its timers and its other links.
What differs between the two families is in two small classes below, `Arp` and `Ndp`.

Whatever a frame holds, this returns; counters tell what happened. Called by the event loop as
reader of the sockets that `speaker.drivers.fast.port` opens.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from lbctl.model.names import LinkName
from speaker.drivers.fast.clock import now
from speaker.fast.bpf import ACCEPT_BYTES
from speaker.fast.table import AddressTable, Claim, Held
from speaker.wire import arp, ndp
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac

FRAMES_PER_WAKE_UP: Final = 64


@dataclass(slots=True)
class LinkCounters:
    """Count what happened on one link since the process started. Mutable: it is the hot path's."""

    frames_received: int = 0
    replies_sent: int = 0
    not_answered: int = 0
    """Frames that the kernel's filter let through and the table did not."""
    claims_heard: int = 0
    malformed: int = 0
    announcements_sent: int = 0
    router_advertisements_sent: int = 0
    receive_failed: int = 0
    send_failed: int = 0

    def values(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Arp:
    """Read and answer ARP as the host with one hardware address."""

    receive_bytes: Final = 64
    """Of each frame: padding beyond does not matter."""
    target: Final = arp.TARGET
    claimed_address = staticmethod(arp.claimed_address)
    is_question = staticmethod(arp.is_request)

    def __init__(self, mac: Mac) -> None:
        self.answer = arp.ReplyPatcher(mac).patch

    @staticmethod
    def claim(frame: bytes, link: LinkName) -> Claim | None:
        """Return what `frame` claims. Raises WireError if it is no whole packet."""
        heard = arp.decode_arp(frame)
        return Claim(
            address=heard.sender, link=link, mac=heard.sender_mac, announced=heard.is_gratuitous
        )


class Ndp:
    """Read and answer Neighbor Discovery as the host with one hardware address."""

    receive_bytes: Final = ACCEPT_BYTES
    target: Final = ndp.TARGET
    claimed_address = staticmethod(ndp.claimed_address)
    is_question = staticmethod(ndp.is_solicitation)

    def __init__(self, mac: Mac) -> None:
        self.answer = ndp.AdvertisementPatcher(mac).patch

    @staticmethod
    def claim(frame: bytes, link: LinkName) -> Claim | None:
        """Return what `frame` claims. Raises WireError if it is no valid advertisement."""
        heard = ndp.decode_ndp(frame)
        if not isinstance(heard, ndp.NeighborAdvertisement):
            return None
        return Claim(
            address=heard.target, link=link, mac=heard.claimed_mac, announced=heard.is_unsolicited
        )


class Responder:
    """Answer for the addresses of one family on one link."""

    def __init__(
        self,
        *,
        link: LinkName,
        family: Arp | Ndp,
        opened: socket.socket,
        table: AddressTable,
        counters: LinkCounters,
        on_claim: Callable[[Claim], None],
    ) -> None:
        self._link = link
        self._receive, self._receive_bytes = opened.recv, family.receive_bytes
        self._send = opened.send
        self._claimed_address, self._claim = family.claimed_address, family.claim
        self._target, self._is_question = family.target, family.is_question
        self._answer = family.answer
        self._table = table
        self._counters = counters
        self._on_claim = on_claim

    def on_readable(self) -> None:
        """Take what is queued, at most `FRAMES_PER_WAKE_UP` frames."""
        receive, size, counters = self._receive, self._receive_bytes, self._counters
        for _ in range(FRAMES_PER_WAKE_UP):
            try:
                frame = receive(size)
            except BlockingIOError:
                return
            except OSError:
                # ENETDOWN comes once when the link goes down; netlink tells the rest.
                counters.receive_failed += 1
                return
            counters.frames_received += 1
            self._on_frame(frame)

    def _on_frame(self, frame: bytes) -> None:
        table = self._table
        if table.knows(self._claimed_address(frame)):
            # Also an ARP request in which sender and target are the same: it asks nothing.
            self._claimed(frame)
            return
        held = table.may_answer(now(), self._link, frame[self._target])
        if not isinstance(held, Held):
            self._counters.not_answered += 1
            return
        if not self._is_question(frame):
            self._counters.malformed += 1
            return
        try:
            self._send(self._answer(frame))
        except OSError:
            # A full queue, or a link that just went down: the asker asks again in a second.
            self._counters.send_failed += 1
            held.tally.failed += 1
        else:
            self._counters.replies_sent += 1
            held.tally.answered += 1

    def _claimed(self, frame: bytes) -> None:
        try:
            claim = self._claim(frame, self._link)
        except WireError:
            self._counters.malformed += 1
            return
        if claim is not None:
            self._counters.claims_heard += 1
            self._on_claim(claim)
