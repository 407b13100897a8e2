"""Answer ARP requests and neighbor solicitations of one link, frame by frame.

This is the hot path: one receive, two slices, one lookup, one concatenation and one send per
frame, no object. The clock and the table are asked at each frame, not once per wake-up. At most
64 frames a wake-up, so that a flood cannot keep the loop from its timers and its other links.

Whatever a frame holds, these functions return; counters tell what happened. Called by the event
loop as readers of the sockets that `speaker.drivers.fast.port` opens.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from lbctl.model.names import LinkName
from speaker.drivers.fast.clock import now
from speaker.fast.bpf import ACCEPT_BYTES
from speaker.fast.table import YES, AddressTable, Claim
from speaker.wire import arp, ndp
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac

FRAMES_PER_WAKE_UP: Final = 64
_NDP_ADVERTISEMENT: Final = bytes((ndp.NEIGHBOR_ADVERTISEMENT,))
_ARP_RECEIVE: Final = 64
"""Bytes of an ARP frame that are read: padding beyond does not matter."""


@dataclass(slots=True)
class LinkCounters:
    """Count what happened on one link since the process started. Mutable: it is the hot path's."""

    frames_received: int = 0
    replies_sent: int = 0
    not_answered: int = 0
    """Requests that the kernel's filter let through and the table did not."""
    claims_heard: int = 0
    malformed: int = 0
    announcements_sent: int = 0
    receive_failed: int = 0
    send_failed: int = 0

    def values(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


class ArpResponder:
    """Answer for IPv4 addresses on one link, with one hardware address."""

    def __init__(
        self,
        *,
        link: LinkName,
        mac: Mac,
        opened: socket.socket,
        table: AddressTable,
        counters: LinkCounters,
        on_claim: Callable[[Claim], None],
    ) -> None:
        self._link = link
        self._template = arp.reply_template(mac)
        self._socket = opened
        self._table = table
        self._counters = counters
        self._on_claim = on_claim

    def on_readable(self) -> None:
        """Take what is queued, at most `FRAMES_PER_WAKE_UP` frames."""
        receive, counters = self._socket.recv, self._counters
        for _ in range(FRAMES_PER_WAKE_UP):
            try:
                frame = receive(_ARP_RECEIVE)
            except BlockingIOError:
                return
            except OSError:
                # ENETDOWN comes once when the link goes down; netlink tells the rest.
                counters.receive_failed += 1
                return
            counters.frames_received += 1
            self._on_frame(frame)

    def _on_frame(self, frame: bytes) -> None:
        sender = frame[arp.SENDER_OFFSET : arp.SENDER_OFFSET + 4]
        if self._table.knows(sender):
            # Also a request in which sender and target are the same: a claim is not answered.
            self._claimed(frame)
            return
        if not arp.is_request(frame):
            self._counters.malformed += 1
            return
        target = frame[arp.TARGET_OFFSET : arp.FRAME_LENGTH]
        if self._table.may_answer(now(), self._link, target) is not YES:
            self._counters.not_answered += 1
            return
        _send(self._socket, arp.patch_reply(frame, self._template), self._counters)

    def _claimed(self, frame: bytes) -> None:
        try:
            claim = arp.decode_arp(frame)
        except WireError:
            self._counters.malformed += 1
            return
        self._counters.claims_heard += 1
        self._on_claim(Claim(address=claim.sender, link=self._link, mac=claim.sender_mac))


class NdpResponder:
    """Answer for IPv6 addresses on one link, with one hardware address."""

    def __init__(
        self,
        *,
        link: LinkName,
        mac: Mac,
        opened: socket.socket,
        table: AddressTable,
        counters: LinkCounters,
        on_claim: Callable[[Claim], None],
    ) -> None:
        self._link = link
        self._patcher = ndp.AdvertisementPatcher(mac)
        self._socket = opened
        self._table = table
        self._counters = counters
        self._on_claim = on_claim

    def on_readable(self) -> None:
        """Take what is queued, at most `FRAMES_PER_WAKE_UP` frames."""
        receive, counters = self._socket.recv, self._counters
        for _ in range(FRAMES_PER_WAKE_UP):
            try:
                frame = receive(ACCEPT_BYTES)
            except BlockingIOError:
                return
            except OSError:
                counters.receive_failed += 1
                return
            counters.frames_received += 1
            self._on_frame(frame)

    def _on_frame(self, frame: bytes) -> None:
        if frame[ndp.TYPE_OFFSET : ndp.TYPE_OFFSET + 1] == _NDP_ADVERTISEMENT:
            self._claimed(frame)
            return
        target = frame[ndp.TARGET_OFFSET : ndp.TARGET_OFFSET + 16]
        if self._table.may_answer(now(), self._link, target) is not YES:
            self._counters.not_answered += 1
            return
        if not ndp.is_solicitation(frame):
            self._counters.malformed += 1
            return
        _send(self._socket, self._patcher.patch(frame), self._counters)

    def _claimed(self, frame: bytes) -> None:
        if not self._table.knows(frame[ndp.TARGET_OFFSET : ndp.TARGET_OFFSET + 16]):
            return
        try:
            claim = ndp.decode_ndp(frame)
        except WireError:
            self._counters.malformed += 1
            return
        if isinstance(claim, ndp.NeighborAdvertisement):
            self._counters.claims_heard += 1
            self._on_claim(Claim(address=claim.target, link=self._link, mac=claim.claimed_mac))


def _send(opened: socket.socket, frame: bytes, counters: LinkCounters) -> None:
    try:
        opened.send(frame)
    except OSError as error:
        # A full queue or a link that just went down: the asker asks again in a second.
        if error.errno not in _EXPECTED:
            raise
        counters.send_failed += 1
    else:
        counters.replies_sent += 1


_EXPECTED: Final = frozenset(
    {errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN, errno.ENXIO, errno.ENODEV, errno.ENOMEM}
)
