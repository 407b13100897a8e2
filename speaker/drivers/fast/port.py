"""One open link: its sockets, filters, groups and responders, and what is sent on it unasked.

A port is made for one link at one index with one hardware address; if any of them changes it is
closed and another one opened. The ARP half and the IPv6 half stand for themselves: a link without
IPv6 still answers ARP. Called by `speaker.drivers.fast.links`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from lbctl.model.address import Address
from speaker.drivers.fast.error import DriverError
from speaker.drivers.fast.groups import GroupMembership
from speaker.drivers.fast.loop import packet_loop
from speaker.drivers.fast.packet import attach, open_packet_socket
from speaker.drivers.fast.responder import Arp, LinkCounters, Ndp, Responder
from speaker.drivers.fast.router import advertise_router
from speaker.fast.bpf import (
    MAX_PREFIXES,
    Prefix,
    Program,
    arp_program,
    covering_prefixes,
    ndp_program,
)
from speaker.fast.table import AddressTable, Claim
from speaker.wire import arp, ndp
from speaker.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV6, Mac
from speaker.wire.rtnetlink import Link

_CONF: Final = Path("/proc/sys/net/ipv6/conf")
log = logging.getLogger(__name__)


class Port:
    """Hold what is open on one link. `close` it before dropping it."""

    def __init__(
        self,
        *,
        link: Link,
        mac: Mac,
        table: AddressTable,
        counters: LinkCounters,
        on_claim: Callable[[Claim], None],
    ) -> None:
        """Open the ARP half.

        Raises:
            DriverError: the socket cannot be opened or bound.

        """
        self.link = link
        self.mac = mac
        self._table = table
        self._counters = counters
        self._on_claim = on_claim
        self._prefixes: dict[int, tuple[Prefix, ...]] = {4: (), 6: ()}
        self._arp_filtered = True
        self._ndp: socket.socket | None = None
        self._no_router_because = ""
        self._groups = GroupMembership(link=link.name, index=link.index)
        self._arp = open_packet_socket(link.name, ETHERTYPE_ARP, arp_program(()))
        self._answer_on(self._arp, Arp(mac))

    @property
    def families(self) -> frozenset[int]:
        """Families (4, 6) that are answered for here."""
        served = {4: self._arp_filtered, 6: self._ndp is not None}
        return frozenset(family for family, yes in served.items() if yes)

    def set_ipv4(self, addresses: Collection[IPv4Address]) -> None:
        """Make the ARP half's filter that of `addresses`.

        Raises:
            DriverError: the kernel refuses it; the filter before stays, and IPv6 is unharmed.

        """
        self._arp_filtered = False
        self._prefixes[4] = _filter(
            self._arp,
            [int(each) for each in addresses],
            width=32,
            program=arp_program,
            before=self._prefixes[4],
        )
        self._arp_filtered = True

    def set_ipv6(self, addresses: Collection[IPv6Address]) -> None:
        """Make filter and groups those of `addresses`; without any, close the IPv6 half.

        Raises:
            DriverError: they cannot be served here, and the IPv6 half is closed; ARP is unharmed.

        """
        if not addresses:
            self._close_ndp()
            return
        try:
            self._serve_ipv6(addresses)
        except DriverError:
            self._close_ndp()
            raise

    def announce(self, address: Address) -> bool:
        """Send every form of the announcement of `address`; return whether all were taken."""
        if isinstance(address, IPv4Address):
            frames = (
                arp.gratuitous_request(mac=self.mac, address=address).encode(),
                arp.gratuitous_reply(mac=self.mac, address=address).encode(),
            )
            taken = [self._send(self._arp, frame) for frame in frames]
            return all(taken)
        if self._ndp is None:
            return False
        frame = ndp.unsolicited_advertisement(mac=self.mac, address=address).encode()
        return self._send(self._ndp, frame)

    def advertise(self) -> bool:
        """Advertise the node as a router; return whether the kernel took it.

        No fault of the link where it did not: that would speak of answering for addresses, and
        the time without a link-local address after a link has come up is part of the day.
        """
        try:
            advertise_router(self.link, self.mac)
        except DriverError as error:
            self._counters.send_failed += 1
            if str(error) != self._no_router_because:
                log.info("%s", error, extra={"link": self.link.name})
            self._no_router_because = str(error)
            return False
        self._no_router_because = ""
        self._counters.router_advertisements_sent += 1
        return True

    def close(self) -> None:
        self._close_ndp()
        packet_loop().leave_packets(self._arp)
        self._arp.close()

    def _send(self, opened: socket.socket, frame: bytes) -> bool:
        try:
            opened.send(frame)
        except OSError:
            self._counters.send_failed += 1
            return False
        self._counters.announcements_sent += 1
        return True

    def _serve_ipv6(self, addresses: Collection[IPv6Address]) -> None:
        self.require_ipv6()
        # Groups before the filter: nobody hears the filter, but everybody the groups' reports.
        self._groups.set_addresses(addresses)
        if self._ndp is None:
            self._ndp = self._open_ndp()
        self._prefixes[6] = _filter(
            self._ndp,
            [int(each) for each in addresses],
            width=128,
            program=ndp_program,
            before=self._prefixes[6],
        )

    def require_ipv6(self) -> None:
        """Refuse a link on which the kernel has IPv6 off: it would not carry the traffic either.

        Raises:
            DriverError: IPv6 is off or missing, with the cure.

        """
        name = self.link.name
        try:
            disabled = (_CONF / name / "disable_ipv6").read_text().strip() != "0"
        except OSError as error:
            raise DriverError(
                f"link {name} has no IPv6 (its MTU is below 1280, or the kernel has none): IPv6 "
                f"addresses are not answered for there"
            ) from error
        if disabled:
            raise DriverError(
                f"IPv6 is disabled on link {name}: set net.ipv6.conf.{name}.disable_ipv6=0, or "
                f"leave this link out of the L2Advertisement of IPv6 pools"
            )

    def _open_ndp(self) -> socket.socket:
        opened = open_packet_socket(self.link.name, ETHERTYPE_IPV6, ndp_program(()))
        self._answer_on(opened, Ndp(self.mac))
        return opened

    def _answer_on(self, opened: socket.socket, family: Arp | Ndp) -> None:
        responder = Responder(
            link=self.link.name,
            family=family,
            opened=opened,
            table=self._table,
            counters=self._counters,
            on_claim=self._on_claim,
        )
        packet_loop().read_packets(opened, responder.on_readable)

    def _close_ndp(self) -> None:
        self._groups.close()
        self._prefixes[6] = ()
        if self._ndp is not None:
            packet_loop().leave_packets(self._ndp)
            self._ndp.close()
            self._ndp = None


def _filter(
    opened: socket.socket,
    addresses: Collection[int],
    *,
    width: int,
    program: Callable[[tuple[Prefix, ...]], Program],
    before: tuple[Prefix, ...],
) -> tuple[Prefix, ...]:
    """Let `opened` receive what concerns `addresses`, as narrowly as the kernel's memory allows.

    net.core.optmem_max (20,480 bytes before Linux 6.8) has to hold the old program and the new
    one, each several times its classic size. Fewer and wider prefixes only cost wake-ups for
    frames that the exact match then drops; a refused filter would cost the answers.

    Raises:
        DriverError: the kernel refuses even a single prefix.

    """
    limit = MAX_PREFIXES
    while True:
        prefixes = covering_prefixes(addresses, width=width, limit=limit)
        if prefixes == before:
            return prefixes
        try:
            attach(opened, program(prefixes))
        except DriverError:
            if limit == 1:
                raise
            limit //= 2
        else:
            return prefixes
