"""BGP without a network: a session on a clock that a test moves, and a router that reads its bytes.

`Router` decodes UPDATEs by itself, dumbly and by the RFCs, so that it can disagree with our codec.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from lbctl.model.address import Address, Family
from lbctl.model.route import Prefix, prefix_of
from speaker.protocols.bgp_inputs import (
    Changed,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    Disconnect,
    Drained,
    Input,
    Output,
    Received,
    Send,
    Wanted,
)
from speaker.protocols.bgp_peer import PeerConfig
from speaker.protocols.bgp_routes import Route, Table
from speaker.protocols.bgp_session import BgpSession
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_fault import Notification
from speaker.wire.bgp_frame import (
    KEEPALIVE,
    Frame,
    FrameReader,
    MessageType,
    decode_notification,
    encode_message,
    encode_notification,
)
from speaker.wire.bgp_messages import GracefulRestart, OpenMessage, PathAttributes

OURS, THEIRS = 64496, 65551
"""Unequal, and the peer's needs four bytes."""
LINK = (IPv4Address("192.0.2.11"), IPv6Address("2001:db8::11"))
PEER = IPv4Address("192.0.2.1")
BOTH = frozenset(Family)


def make_peer(**changes: Any) -> PeerConfig:
    """Return a lawful configuration whose timers differ from the peer's."""
    given: dict[str, Any] = {
        "address": PEER,
        "asn": OURS,
        "peer_asn": THEIRS,
        "identifier": IPv4Address("192.0.2.11"),
        "hold_time_s": 90,
        "graceful_restart_s": 120,
    }
    return PeerConfig(**given | changes)


def make_open(**changes: Any) -> OpenMessage:
    """Return the OPEN of a router that `make_peer` accepts."""
    message = OpenMessage(
        asn=THEIRS,
        hold_time_s=30,
        identifier=PEER,
        families=BOTH,
        graceful=GracefulRestart(restarting=False, time_s=7, forwarding=frozenset()),
    )
    return replace(message, **changes)


def cidr(text: str) -> Prefix:
    """Return the prefix that `text` spells, as in 198.51.100.0/24."""
    network = ip_network(text)
    return prefix_of(network.network_address, network.prefixlen)


def routes(*prefixes: str, **attributes: Any) -> dict[Prefix, Route]:
    """Return a table of `prefixes` with the same attributes; next hop self."""
    plain = PathAttributes(**attributes)
    return {cidr(one): Route(attributes=plain) for one in prefixes}


TABLE = routes("198.51.100.1/32", "198.51.100.2/32", "2001:db8:1::1/128")


class Bench:
    """Hold a session, the time, and what it has put out."""

    def __init__(self, config: PeerConfig | None = None, *, jitter: float = 1.0) -> None:
        self.now = 1000.0
        self.config = config or make_peer()
        self.session = BgpSession(self.config, now=self.now, jitter=lambda: jitter)
        self.router = Router()
        self.on_link: tuple[Address, ...] = LINK
        self.stalled = False
        """TCP takes nothing: `Drained` is not told."""

    @property
    def state(self) -> State:
        return self.session.status.state

    def tell(self, *happened: Input) -> list[Output]:
        """Tell the session and return what it did; the router reads what was sent."""
        outputs: list[Output] = []
        for one in happened:
            outputs += self._carry(self.session.receive(self.now, one))
        return outputs

    def hear(self, *messages: bytes) -> list[Output]:
        return self.tell(Received(data=b"".join(messages)))

    def advance(self, seconds: float) -> list[Output]:
        """Let time pass, with `expire` at every deadline on the way."""
        outputs: list[Output] = []
        end = self.now + seconds
        while (due := self.session.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            outputs += self._carry(self.session.expire(self.now))
        self.now = end
        return outputs

    def drain(self) -> list[Output]:
        """Take everything at last."""
        self.stalled = False
        return self.tell(Drained())

    def reach(self, state: State, table: Table = TABLE, **opened: Any) -> Bench:
        """Bring the session from where it is into `state`."""
        steps: dict[State, Input] = {
            State.IDLE: Wanted(table=table),
            State.CONNECT: Connected(on_link=self.on_link),
            State.OPEN_SENT: Received(data=encode_open(make_open(**opened))),
            State.OPEN_CONFIRM: Received(data=KEEPALIVE),
        }
        while self.state is not state:
            before = self.state
            self.tell(steps[before])
            assert self.state is not before, self.session.status.down
        return self

    def _carry(self, outputs: Iterable[Output]) -> list[Output]:
        done = list(outputs)
        sent = [one for one in done if isinstance(one, Send)]
        for one in done:
            match one:
                case Send(data=data):
                    self.router.read(data)
                case Disconnect():
                    self.router = Router(self.router)
                case Connect() | Changed():
                    pass
        if sent and not self.stalled:
            done += self._carry(self.session.receive(self.now, Drained()))
        due = self.session.deadline
        assert due is None or due > self.now, "a deadline in the past"
        return done


class Router:
    """Hold what a peer has been told on one connection."""

    def __init__(self, before: Router | None = None) -> None:
        self.table: dict[Prefix, tuple[Address, bytes]] = {}
        """Next hop and the other attributes, packed, by prefix."""
        self.ended: list[Family] = []
        self.frames: list[Frame] = []
        self.updates = 0
        self.before = before
        """What was told on the connection before this one."""
        self._reader = FrameReader()

    def read(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self.frames.append(frame)
            if frame.type is MessageType.UPDATE:
                self._update(frame.body)

    def types(self) -> list[str]:
        return [frame.type.name for frame in self.frames]

    @property
    def notified(self) -> Notification | None:
        told = [frame for frame in self.frames if frame.type is MessageType.NOTIFICATION]
        return decode_notification(told[-1].body) if told else None

    def _update(self, body: bytes) -> None:
        withdrawn, rest = _counted(body)
        packed, announced = _counted(rest)
        attributes = dict(_attributes(packed))
        if not (withdrawn or packed or announced):
            self.ended.append(Family.IPV4)
            return
        self.updates += 1
        for prefix in _prefixes(withdrawn, 4):
            del self.table[prefix]
        unreach = attributes.pop(15, None)
        if unreach is not None:
            assert struct.unpack("!HB", unreach[:3]) == (2, 1)
            if len(unreach) == 3:
                self.ended.append(Family.IPV6)
                self.updates -= 1
            for prefix in _prefixes(unreach[3:], 6):
                del self.table[prefix]
        reach = attributes.pop(14, None)
        hop = attributes.pop(3, None)
        others = b"".join(bytes([number]) + value for number, value in sorted(attributes.items()))
        if reach is not None:
            afi, safi, length = struct.unpack("!HBB", reach[:4])
            assert safi == 1
            next_hop = ip_address(reach[4 : 4 + length])
            for prefix in _prefixes(reach[5 + length :], {1: 4, 2: 6}[afi]):
                self.table[prefix] = (next_hop, others)
        for prefix in _prefixes(announced, 4):
            assert hop is not None, "NEXT_HOP is missing"
            self.table[prefix] = (ip_address(hop), others)


def _counted(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:2], "big")
    assert len(data) >= 2 + length
    return data[2 : 2 + length], data[2 + length :]


def _attributes(packed: bytes) -> Iterable[tuple[int, bytes]]:
    while packed:
        flags, number = packed[:2]
        size = 2 if flags & 0x10 else 1
        length = int.from_bytes(packed[2 : 2 + size], "big")
        yield number, packed[2 + size : 2 + size + length]
        packed = packed[2 + size + length :]


def _prefixes(packed: bytes, version: int) -> Iterable[Prefix]:
    while packed:
        length, size = packed[0], (packed[0] + 7) // 8
        network = packed[1 : 1 + size].ljust(4 if version == 4 else 16, b"\0")
        yield Prefix(version, int.from_bytes(network, "big"), length)
        packed = packed[1 + size :]


def prefixes_of(table: Mapping[Any, Any]) -> list[str]:
    return sorted(map(str, table))


MESSAGES = {
    "OPEN": encode_open(make_open()),
    "KEEPALIVE": KEEPALIVE,
    "UPDATE": encode_message(MessageType.UPDATE, b"\0\0\0\0"),
    "REFRESH": encode_message(MessageType.ROUTE_REFRESH, b"\0\1\0\1"),
    "NOTIFICATION": encode_notification(Notification(code=6, subcode=4)),
}

FAILED = ConnectFailed(why="Connection refused")
CLOSED = Closed(why="the peer closed")
