"""The driver against peers that do not go by the book, over TCP on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from ipaddress import ip_address
from typing import Self

import pytest

from speaker.drivers.node.bgp import BgpPeer
from speaker.drivers.node.bgp_peers import BgpPeers, Peering
from speaker.drivers.node.bgp_socket import PeerSocketError, peer_socket, socket_address
from speaker.protocols import bgp_session
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_routes import Route
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_fault import SHUTDOWN, cease
from speaker.wire.bgp_frame import KEEPALIVE, MessageType, encode_message
from speaker.wire.bgp_messages import PathAttributes
from tests.support.bgp import TABLE, Router, make_open, make_peer, prefixes_of, routes
from tests.support.loop import background, eventually, run

HERE = ip_address("127.0.0.1")
HELLO = encode_open(make_open()) + KEEPALIVE


PAUSE_S = 0.1


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Shorten the first pause between two calls: these tests fail many sessions."""
    monkeypatch.setattr(bgp_session, "FIRST_PAUSE_S", PAUSE_S)


class Peer:
    """A peer of ours on this machine that sends what a test tells it to."""

    def __init__(self) -> None:
        self.router = Router()
        self.calls = 0
        self.ended = 0
        """Connections that our end has closed."""
        self.writer: asyncio.StreamWriter | None = None
        self.greeting = HELLO
        self.deaf = False
        self._resume = asyncio.Event()

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        if self.deaf:
            # A small window: what is sent soon waits in our memory.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=2048)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self.writer is not None:
            self.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self.writer = writer
        self.router = Router(self.router)
        writer.write(self.greeting)
        with contextlib.suppress(OSError):
            while not self.deaf and (data := await reader.read(65536)):
                self.router.read(data)
        if self.deaf:
            writer.transport.pause_reading()
            await self._resume.wait()
        self.ended += 1
        writer.close()

    def send(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)


@contextlib.asynccontextmanager
async def spoken_to(peer: Peer, table=TABLE, **changes):
    spoken = BgpPeer(
        make_peer(**{"address": HERE, "port": peer.port, "connect_retry_s": 1} | changes),
        restarting=True,
        beside=lambda own: (own, ip_address("2001:db8::11")),
        on_change=lambda _: None,
    )
    spoken.want(table)
    async with background(spoken.run()) as (task,):
        yield spoken
        assert not task.done() or task.exception() is None


def up(spoken):
    return lambda: spoken.status.state is State.ESTABLISHED


def test_a_session_over_tcp_tells_the_table_and_each_change():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(lambda: prefixes_of(peer.router.table) == prefixes_of(TABLE))
            await eventually(lambda: spoken.observed)
            spoken.want(routes("203.0.113.1/32"))
            await eventually(lambda: prefixes_of(peer.router.table) == ["203.0.113.1/32"])
            assert peer.calls == 1

    run(work())


def test_messages_that_arrive_byte_by_byte_are_read():
    async def work():
        async with Peer() as peer:
            peer.greeting = b""
            async with spoken_to(peer) as spoken:
                await eventually(lambda: peer.writer is not None)
                peer.writer.get_extra_info("socket").setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )
                for byte in HELLO:
                    peer.send(bytes([byte]))
                    await asyncio.sleep(0)
                await eventually(up(spoken))

    run(work())


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_end_the_session_and_only_that(seed):
    async def work():
        noise = random.Random(seed)
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            before = peer.router
            peer.send(noise.randbytes(noise.randrange(19, 5000)))
            await eventually(lambda: spoken.status.down is not None)
            assert spoken.status.down.cause is Cause.REFUSED
            await eventually(lambda: before.notified is not None, "our NOTIFICATION")
            assert (before.notified.code, before.notified.subcode) == (1, 1)
            await eventually(up(spoken), "the next session")

    run(work())


def test_our_last_words_arrive_although_the_peer_goes_on_sending():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            before = peer.router
            peer.send(b"\0" * 19 + KEEPALIVE * 20_000)
            await eventually(lambda: before.notified is not None, "our NOTIFICATION")
            assert spoken.status.down.notification == before.notified

    run(work())


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        pytest.param(b"\xff" * 16 + struct.pack("!HB", 4097, 2), (1, 2), id="4097-bytes"),
        pytest.param(b"\xff" * 16 + struct.pack("!HB", 19, 9), (1, 3), id="type-9"),
        pytest.param(encode_message(MessageType.UPDATE, b"\xff\xff\0\0"), (3, 1), id="update"),
        pytest.param(HELLO, (5, 3), id="open-again"),
    ],
)
def test_each_fault_is_answered_on_the_wire(sent, fault):
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            before = peer.router
            peer.send(sent)
            await eventually(lambda: before.notified is not None)
            assert (before.notified.code, before.notified.subcode) == fault

    run(work())


@pytest.mark.parametrize(
    ("greeting", "fault"),
    [
        pytest.param(encode_open(make_open(hold_time_s=1)), (2, 6), id="hold-time-1"),
        pytest.param(encode_open(make_open(asn=64510)), (2, 2), id="asn"),
        pytest.param(
            encode_message(MessageType.OPEN, b"\3" + HELLO[20:29]), (2, 1), id="version-3"
        ),
        pytest.param(KEEPALIVE, (5, 1), id="keepalive-first"),
    ],
)
def test_a_peer_that_begins_wrongly_is_refused_and_called_again_with_a_pause(greeting, fault):
    async def work():
        async with Peer() as peer:
            peer.greeting = greeting
            async with spoken_to(peer) as spoken:
                await eventually(lambda: peer.router.notified is not None)
                told = peer.router.notified
                assert (told.code, told.subcode) == fault
                assert spoken.status.down.again > spoken.status.since + PAUSE_S * 0.7
                peer.greeting = HELLO
                await eventually(up(spoken))
                assert peer.calls <= 3

    run(work())


def test_a_flood_of_updates_is_drained_while_our_routes_leave():
    flood = encode_message(MessageType.UPDATE, b"\0\0\0\0" + b"\x20\xc6\x33\x64\x01" * 100)

    async def work():
        async with Peer() as peer, spoken_to(peer, table={}) as spoken:
            await eventually(up(spoken))
            for _ in range(20):
                peer.send(flood * 500)
                await peer.writer.drain()
            spoken.want(TABLE)
            await eventually(lambda: prefixes_of(peer.router.table) == prefixes_of(TABLE))
            await eventually(lambda: spoken.counts.received[MessageType.UPDATE] == 10_000)
            assert spoken.counts.established == 1

    run(work())


def big_table(kind):
    """Enough bytes to fill every buffer between: a distinct attribute for each route."""
    return {
        prefix: Route(
            attributes=PathAttributes(large_communities=tuple((kind, n, m) for m in range(60)))
        )
        for n, prefix in enumerate(routes(*(f"198.18.{n >> 8}.{n & 255}/32" for n in range(2000))))
    }


def test_a_peer_that_stops_reading_costs_one_batch_and_is_given_up(monkeypatch):
    monkeypatch.setattr(bgp_session, "SEND_HOLD_S", 1.0)

    async def work():
        deaf = Peer()
        deaf.greeting, deaf.deaf = b"", True
        settings = {"table": {}, "hold_time_s": 0, "connect_retry_s": 60}
        async with deaf as peer, spoken_to(peer, **settings) as spoken:
            await eventually(lambda: peer.writer is not None)
            peer.send(HELLO)
            await eventually(up(spoken))
            tables = [big_table(kind) for kind in (1, 2)]
            sent = 0
            while up(spoken)():
                sent += 1
                spoken.want(tables[sent % 2])
                await asyncio.sleep(0.01)
                waiting = spoken._connection and spoken._connection._transport
                if waiting is not None:
                    assert waiting.get_write_buffer_size() < 16 << 20
            assert spoken.status.down.cause is Cause.SEND_HOLD_TIMER

    run(work())


def test_a_peer_that_closes_at_once_is_not_called_in_a_tight_circle():
    async def work():
        calls = 0

        async def serve(_reader, writer):
            nonlocal calls
            calls += 1
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            peer = Peer()
            peer.port = server.sockets[0].getsockname()[1]
            async with spoken_to(peer) as spoken:
                begun = asyncio.get_running_loop().time()
                await eventually(lambda: calls == 3)
                assert asyncio.get_running_loop().time() - begun > (1 + 2) * PAUSE_S * 0.75
                assert spoken.status.down.cause is Cause.CONNECTION_LOST

    run(work())


def test_a_stop_tells_the_peer_and_ends_the_task():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            spoken.stop(cease(SHUTDOWN, "the node is drained"))
            await eventually(lambda: peer.router.notified is not None)
            assert peer.router.notified.text == "the node is drained"
            await eventually(lambda: peer.ended == 1)

    run(work())


def test_a_stop_during_a_call_ends_at_once():
    async def work():
        async with Peer() as peer:
            async with spoken_to(peer, address=ip_address("127.0.0.2"), port=9) as spoken:
                spoken.stop(None)
                await eventually(lambda: spoken.status.state is State.IDLE)
            assert peer.calls == 0

    run(work())


def test_a_peer_that_refuses_the_call_is_named_with_the_kernels_words():
    async def work():
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            peer = Peer()
            peer.port = unused.getsockname()[1]
            async with spoken_to(peer) as spoken:
                await eventually(lambda: spoken.status.down is not None)
                assert spoken.status.down.detail == "Connection refused"

    run(work())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interface": "no-such-link"}, "interface 'no-such-link'"),
        ({"source": ip_address("203.0.113.99")}, "source address 203.0.113.99"),
        ({"password": "x" * 81}, "the MD5 password"),
    ],
)
def test_what_the_kernel_refuses_is_named_by_its_field(changes, words):
    with pytest.raises(PeerSocketError, match=words):
        peer_socket(make_peer(**changes))


def test_the_socket_has_what_the_configuration_asks_for():
    with peer_socket(make_peer(gtsm_hops=2)) as opened:
        assert opened.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 255
        assert opened.getsockopt(socket.IPPROTO_IP, 21) == 254
        assert opened.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xC0
    six = make_peer(address=ip_address("2001:db8::1"), ttl=7, password="secret")
    with peer_socket(six) as opened:
        assert opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 7
    assert socket_address(six) == ("2001:db8::1", 179, 0, 0)
    local = make_peer(address=ip_address("fe80::1"), interface="lo")
    assert socket_address(local) == ("fe80::1", 179, 0, 1)


def test_a_password_is_not_in_what_is_printed():
    assert "secret" not in repr(make_peer(password="secret"))


# --- Several peers


def peerings(**ports):
    return {
        name: Peering(config=make_peer(address=HERE, port=port), table=table)
        for name, (port, table) in ports.items()
    }


def test_peers_come_and_go_and_change_without_touching_each_other():
    async def work():
        changes = []
        peers = BgpPeers(
            beside=lambda own: (own,), on_change=lambda name, change: changes.append((name, change))
        )
        async with Peer() as red, Peer() as blue:
            wanted = peerings(red=(red.port, TABLE), blue=(blue.port, routes("203.0.113.1/32")))
            peers.apply(wanted)
            await eventually(lambda: len(red.router.table) == 2)
            await eventually(lambda: len(blue.router.table) == 1)
            other = Peering(config=make_peer(address=HERE, port=red.port, hold_time_s=7), table={})
            peers.apply({**wanted, "red": other})
            await eventually(lambda: red.calls == 2)
            first = red.router.before
            assert (first.notified.code, first.notified.subcode) == (6, 6)
            peers.apply({"blue": wanted["blue"]})
            await eventually(lambda: red.router.notified is not None)
            assert (red.router.notified.code, red.router.notified.subcode) == (6, 3)
            await eventually(lambda: list(peers.peers) == ["blue"])
            peers.apply(wanted)
            await eventually(lambda: red.calls == 3)
            assert blue.calls == 1
            assert peers.peers["blue"].counts.established == 1
            await peers.close(None)
            assert blue.router.notified is None
            assert not peers.peers

    run(work())


def test_only_the_first_session_with_a_peer_says_that_the_process_restarted():
    from speaker.wire.bgp import decode_open

    async def work():
        peers = BgpPeers(beside=lambda own: (own,), on_change=lambda *_: None)
        async with Peer() as peer:
            bits = []
            for hold in (30, 60):
                config = make_peer(address=HERE, port=peer.port, hold_time_s=hold)
                peers.apply({"tor": Peering(config=config, table=TABLE)})
                await eventually(lambda bits=bits: peer.calls == len(bits) + 1)
                await eventually(lambda: len(peer.router.table) == 2, str(hold))
                opened = decode_open(peer.router.frames[0].body)
                bits.append((opened.hold_time_s, opened.graceful.restarting))
            assert bits == [(30, True), (60, False)]
            await peers.close(None)

    run(work())


def test_a_session_that_fails_by_a_mistake_of_ours_is_begun_anew(monkeypatch, caplog):
    monkeypatch.setattr("speaker.drivers.node.bgp_peers.AGAIN_S", 0.01)
    failures = iter([RuntimeError("a mistake")])

    def beside(own):
        for failure in failures:
            raise failure
        return (own,)

    async def work():
        peers = BgpPeers(beside=beside, on_change=lambda *_: None)
        async with Peer() as peer:
            peers.apply(peerings(tor=(peer.port, TABLE)))
            await eventually(lambda: len(peer.router.table) == 2)
            await peers.close(None)

    run(work())
    assert "a mistake" in caplog.text


def test_stopping_is_idempotent():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            spoken.stop(None)
            spoken.stop(cease(SHUTDOWN))
            await eventually(lambda: spoken.status.state is State.IDLE)
            assert spoken.status.down.notification is None

    run(work())
