"""Follow the kernel's links by netlink and keep a port open on each link that is wanted.

Events, no polling: a link that goes down, comes up, appears, vanishes, is renamed or changes its
hardware address is known within about a millisecond. What is said outwards is only whether a link
can be used (`LinkReady`, `LinkLost` inwards; `LinkOk`, `LinkFault` as reports), each once per
change. A lost event (ENOBUFS) is repaired by asking for all links again.
Called by `speaker.fastpath`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from lbctl.model.names import LinkName
from speaker.drivers.fast.error import DriverError
from speaker.drivers.fast.port import Port
from speaker.drivers.fast.responder import LinkCounters
from speaker.fast.conductor import Conductor, LinkLost, LinkReady
from speaker.fast.table import Claim
from speaker.wire.control import LinkFault, LinkOk
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac
from speaker.wire.rtnetlink import (
    GROUPS,
    DumpDone,
    Ipv6Changed,
    Link,
    LinkEvent,
    LinkGone,
    decode_events,
    dump_request,
)

_DATAGRAM: Final = 1 << 16
log = logging.getLogger(__name__)


class Links:
    """Hold the inventory of links and the open ports."""

    def __init__(
        self,
        conductor: Conductor,
        *,
        on_link: Callable[[LinkReady | LinkLost], None],
        on_report: Callable[[LinkFault | LinkOk], None],
        on_claim: Callable[[Claim], None],
    ) -> None:
        self.counters: dict[LinkName, LinkCounters] = {}
        self._conductor = conductor
        self._on_link = on_link
        self._on_report = on_report
        self._on_claim = on_claim
        self._known: dict[int, Link] = {}
        self._told: set[int] = set()
        self._inventory_complete = False
        self._asking = False
        self._ask_again = False
        self._ports: dict[LinkName, Port] = {}
        self._state: dict[tuple[LinkName, int], LinkFault | LinkOk] = {}
        self._netlink = _open_netlink()

    def start(self) -> None:
        """Ask for all links and follow what happens to them."""
        asyncio.get_running_loop().add_reader(self._netlink, self._on_readable)
        self._ask_for_all()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._netlink)
        self._netlink.close()
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    def port(self, link: LinkName) -> Port | None:
        return self._ports.get(link)

    def states(self) -> tuple[LinkFault | LinkOk, ...]:
        """Return the last report about each link, for an lb-speaker that just connected."""
        return tuple(self._state.values())

    def rewire(self, links: Iterable[LinkName]) -> None:
        """Bring these links in line with what the conductor wants of them now."""
        if not self._inventory_complete:
            return
        for link in sorted(links):
            self._settle(link)

    def _on_readable(self) -> None:
        while True:
            try:
                datagram = self._netlink.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                log.warning("netlink lost events; asking for all links again")
                self._ask_for_all()
                continue
            try:
                events = decode_events(datagram)
            except WireError:
                self._ask_for_all()
                continue
            for event in events:
                self._on_event(event)

    def _ask_for_all(self) -> None:
        """Begin a dump, or note that one must follow the one under way.

        The kernel refuses a second dump while one runs (EBUSY); to forget what the first one
        has told already would then take those links for gone.
        """
        if self._asking:
            self._ask_again = True
            return
        self._told.clear()
        self._netlink.send(dump_request())
        self._asking = True

    def _on_event(self, event: LinkEvent) -> None:
        match event:
            case Link():
                self._told.add(event.index)
                before = self._known.get(event.index)
                self._known[event.index] = event
                if before is not None and before.name != event.name:
                    self.rewire([before.name])
                if before != event:
                    self.rewire([event.name])
            case LinkGone():
                self._told.discard(event.index)
                gone = self._known.pop(event.index, None)
                if gone is not None:
                    self.rewire([gone.name])
            case Ipv6Changed():
                changed = self._known.get(event.index)
                if changed is not None and (changed.name, 6) in self._state:
                    self.rewire([changed.name])
            case DumpDone():
                self._asking = False
                if self._ask_again:
                    # Events were lost meanwhile, perhaps of links that this dump told before.
                    self._ask_again = False
                    self._ask_for_all()
                    return
                self._known = {index: self._known[index] for index in self._told}
                self._inventory_complete = True
                self.rewire(self._conductor.links | self._ports.keys())

    def _settle(self, name: LinkName) -> None:
        if name not in self._conductor.links:
            self._drop(name)
            for key in [key for key in self._state if key[0] == name]:
                # lb-speaker must not keep a fault of a link that nobody looks at any more.
                if isinstance(self._state.pop(key), LinkFault):
                    self._on_report(LinkOk(link=name, family=key[1]))
            return
        link = next((each for each in self._known.values() if each.name == name), None)
        problem = _problem_of(name, link)
        port = self._ports.get(name)
        if port is not None and (link is None or _moved(port, link) or problem is not None):
            self._drop(name)
        if problem is not None or link is None or link.mac is None:
            self._tell(LinkFault(link=name, message=problem or f"link {name} is unusable"))
            return
        try:
            self._serve(link, link.mac)
        except DriverError as error:
            self._drop(name)
            self._tell(LinkFault(link=name, message=str(error)))

    def _serve(self, link: Link, mac: Mac) -> None:
        port = self._ports.get(link.name)
        families_before = port.families if port else None
        if port is None:
            counters = self.counters.setdefault(link.name, LinkCounters())
            port = Port(
                link=link,
                mac=mac,
                table=self._conductor.table,
                counters=counters,
                on_claim=self._on_claim,
            )
            self._ports[link.name] = port
            self._own_macs_changed()
        self._tell(LinkOk(link=link.name))
        wanted = self._conductor.addresses_on(link.name).values()
        v4 = [address for address in wanted if isinstance(address, IPv4Address)]
        v6 = [address for address in wanted if isinstance(address, IPv6Address)]
        self._tell_family(link.name, 4, _refusal(lambda: port.set_ipv4(v4)), served=False)
        problem = _refusal(lambda: port.set_ipv6(v6))
        if isinstance(self._state.get((link.name, 6)), LinkFault):
            # The fault itself took the IPv6 addresses away from here: it is asked for again
            # without them, or it would stand for ever.
            problem = problem or _refusal(port.require_ipv6)
        self._tell_family(link.name, 6, problem, served=bool(v6))
        if port.families != families_before:
            self._on_link(LinkReady(link=link.name, families=port.families))

    def _tell_family(
        self, link: LinkName, family: int, problem: str | None, *, served: bool
    ) -> None:
        """Report a fault of one family, that it is over, or that a family is `served` at all."""
        if problem is not None:
            self._tell(LinkFault(link=link, message=problem, family=family))
        elif served or (link, family) in self._state:
            self._tell(LinkOk(link=link, family=family))

    def _drop(self, name: LinkName) -> None:
        port = self._ports.pop(name, None)
        if port is not None:
            port.close()
            self._own_macs_changed()
            self._on_link(LinkLost(link=name))

    def _own_macs_changed(self) -> None:
        self._conductor.table.own_macs = frozenset(port.mac for port in self._ports.values())

    def _tell(self, state: LinkFault | LinkOk) -> None:
        """Report a state that is not the one reported last."""
        key = (state.link, state.family)
        if self._state.get(key) == state:
            return
        self._state[key] = state
        if isinstance(state, LinkFault):
            log.warning("%s", state.message, extra={"link": state.link})
        else:
            log.info("link is served", extra={"link": state.link, "family": state.family})
        self._on_report(state)


def _refusal(attempt: Callable[[], None]) -> str | None:
    """Return the sentence with which the kernel refuses `attempt`, or None."""
    try:
        attempt()
    except DriverError as error:
        return str(error)
    return None


def _problem_of(name: LinkName, link: Link | None) -> str | None:
    """Return the sentence that says why `link` cannot be served, or None."""
    if link is None:
        return f"link {name} does not exist on this node: it is opened when it appears"
    if link.mac is None:
        return f"link {name} is not Ethernet: ARP, NDP and router advertisements need hardware addresses"
    if not link.up:
        return f"link {name} is down: set it up"
    if not link.carrier:
        return f"link {name} has no carrier: look at cable, switch port or bond"
    return None


def _moved(port: Port, link: Link) -> bool:
    return port.link.index != link.index or port.mac != link.mac


def _open_netlink() -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    opened.setblocking(False)
    opened.bind((0, GROUPS))
    return opened
