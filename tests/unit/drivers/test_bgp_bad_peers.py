"""Peers that do not go by the book, over TCP; another session beside each notices nothing.

`beside` (tests/support/bgp_tcp.py) makes the second session and looks at it at the end.
"""

from __future__ import annotations

import asyncio
import random
import struct

import pytest

from lbctl.model.address import Family
from speaker.protocols import bgp_session
from speaker.protocols.bgp_report import Cause
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_frame import KEEPALIVE, MessageType, encode_message
from tests.support.bgp import MESSAGES, TABLE, make_open, prefixes_of, routes
from tests.support.bgp_tcp import HELLO, Peer, beside, big_table, up
from tests.support.loop import eventually, run

PAUSE_S = 0.1
UNKNOWN = b"\x02\x06\xc8\x04\x01\x02\x03\x04"
"""An optional parameter with one capability: code 200, four bytes."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Shorten the pauses between two calls: these tests fail many sessions."""
    monkeypatch.setattr(bgp_session, "FIRST_PAUSE_S", PAUSE_S)
    monkeypatch.setattr(bgp_session, "HELD_OFF_S", PAUSE_S)


def test_messages_that_arrive_byte_by_byte_are_read():
    async def work():
        async with Peer(greeting=b"") as peer, beside(peer) as spoken:
            await eventually(lambda: peer.writer is not None)
            await peer.send_bytewise(HELLO)
            await eventually(up(spoken))
            await peer.send_bytewise(MESSAGES["REFRESH"] + KEEPALIVE)
            await eventually(lambda: spoken.counts.received[MessageType.ROUTE_REFRESH] == 1)
            assert spoken.counts.established == 1

    run(work())


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_end_the_session_and_only_that(seed):
    async def work():
        noise = random.Random(seed)
        async with Peer() as peer, beside(peer) as spoken:
            await eventually(up(spoken))
            before = peer.router
            peer.send(noise.randbytes(noise.randrange(19, 5000)))
            await eventually(lambda: spoken.status.down is not None)
            assert spoken.status.down.cause is Cause.REFUSED
            await eventually(lambda: before.notified is not None, "our NOTIFICATION")
            assert (before.notified.code, before.notified.subcode) == (1, 1)
            await eventually(up(spoken), "the next session")

    run(work())


@pytest.mark.parametrize("seed", range(12))
def test_messages_that_were_mutated_or_cut_end_no_more_than_their_session(seed, monkeypatch):
    monkeypatch.setattr(bgp_session, "OPEN_HOLD_S", 0.3)
    chance = random.Random(seed)
    names = ["OPEN", "KEEPALIVE", *chance.choices(sorted(MESSAGES), k=4)]
    stream = bytearray(b"".join(MESSAGES[name] for name in names))
    for _ in range(chance.randrange(1, 6)):
        stream[chance.randrange(len(stream))] = chance.randrange(256)
    mutated = bytes(stream[: chance.randrange(1, len(stream) + 1)])

    async def work():
        async with Peer(greeting=mutated) as peer, beside(peer) as spoken:
            await eventually(lambda: peer.calls > 0)
            peer.greeting = HELLO
            peer.vanish()
            await eventually(up(spoken), "the next session")
            await eventually(lambda: prefixes_of(peer.router.table) == prefixes_of(TABLE))

    run(work())


@pytest.mark.parametrize("cut", [1, 18, 19, 28, len(HELLO) - 20, len(HELLO) - 1])
def test_a_peer_that_closes_inside_a_message_is_called_again(cut):
    async def work():
        async with Peer(greeting=HELLO[:cut]) as peer, beside(peer) as spoken:
            await eventually(lambda: peer.calls > 0)
            peer.writer.write_eof()
            await eventually(lambda: spoken.status.down is not None)
            assert spoken.status.down.cause is Cause.CONNECTION_LOST
            peer.greeting = HELLO
            peer.writer.close()
            await eventually(up(spoken), "the next session")

    run(work())


def test_a_peer_that_accepts_and_says_nothing_is_given_up_and_named(monkeypatch):
    monkeypatch.setattr(bgp_session, "OPEN_HOLD_S", 0.3)

    async def work():
        async with Peer(greeting=b"") as peer, beside(peer) as spoken:
            await eventually(lambda: peer.router.notified is not None)
            assert (peer.router.notified.code, peer.router.notified.subcode) == (4, 0)
            assert spoken.status.down.cause is Cause.HOLD_TIMER
            assert "nothing heard for 0.3 s" in spoken.status.down.detail

    run(work())


def test_our_last_words_arrive_although_the_peer_goes_on_sending():
    async def work():
        async with Peer() as peer, beside(peer) as spoken:
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
        async with Peer() as peer, beside(peer) as spoken:
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
        async with Peer(greeting=greeting) as peer, beside(peer) as spoken:
            await eventually(lambda: peer.router.notified is not None)
            told = peer.router.notified
            assert (told.code, told.subcode) == fault
            assert spoken.status.down.again > spoken.status.since + PAUSE_S * 0.7
            peer.greeting = HELLO
            await eventually(up(spoken))
            assert peer.calls <= 3

    run(work())


def test_a_peer_with_a_capability_that_nobody_knows_is_spoken_to():
    opened = MESSAGES["OPEN"]
    parameters = opened[29:] + UNKNOWN
    body = opened[19:28] + bytes([len(parameters)]) + parameters

    async def work():
        greeting = encode_message(MessageType.OPEN, body) + KEEPALIVE
        async with Peer(greeting=greeting) as peer, beside(peer) as spoken:
            await eventually(lambda: prefixes_of(peer.router.table) == prefixes_of(TABLE))
            assert 200 in spoken.status.terms.peer.others

    run(work())


def test_a_flood_of_updates_is_drained_while_our_routes_leave():
    flood = encode_message(MessageType.UPDATE, b"\0\0\0\0" + b"\x20\xc6\x33\x64\x01" * 100)

    async def work():
        async with Peer() as peer, beside(peer, table={}) as spoken:
            await eventually(up(spoken))
            for _ in range(20):
                peer.send(flood * 500)
                await peer.writer.drain()
            spoken.want(TABLE)
            await eventually(lambda: prefixes_of(peer.router.table) == prefixes_of(TABLE))
            await eventually(lambda: spoken.counts.received[MessageType.UPDATE] == 10_000)
            assert spoken.counts.established == 1

    run(work())


def test_a_flood_of_refreshes_is_answered_with_a_few_tables():
    table = routes(*(f"198.18.{n >> 8}.{n & 255}/32" for n in range(3000)))

    async def work():
        async with Peer() as peer, beside(peer, table=table) as spoken:
            await eventually(lambda: len(peer.router.table) == len(table))
            one = peer.router.updates
            for _ in range(10):
                peer.send(MESSAGES["REFRESH"] * 1500)
                await peer.writer.drain()
            await eventually(lambda: spoken.counts.received[MessageType.ROUTE_REFRESH] == 15_000)
            assert one < peer.router.updates < one * 100
            assert spoken.counts.established == 1

    run(work())


def test_a_peer_that_reads_slowly_gets_the_last_of_many_tables():
    async def work():
        tables = [big_table(kind, 400) for kind in range(5)]
        async with Peer(sips=2000) as peer, beside(peer, table=tables[0]) as spoken:
            await eventually(up(spoken))
            for table in tables[1:]:
                spoken.want(table)
                await asyncio.sleep(0.01)
            spoken.want(routes("203.0.113.7/32"))
            await eventually(lambda: prefixes_of(peer.router.table) == ["203.0.113.7/32"])
            assert spoken.counts.established == 1

    run(work())


def test_a_peer_that_stops_reading_costs_one_batch_and_is_given_up(monkeypatch):
    monkeypatch.setattr(bgp_session, "SEND_HOLD_S", 1.0)

    async def work():
        settings = {"table": {}, "hold_time_s": 0, "connect_retry_s": 60}
        async with Peer(greeting=b"", deaf=True) as peer, beside(peer, **settings) as spoken:
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


def test_what_a_deaf_peer_was_sent_is_observed_when_it_hears_again():
    async def work():
        async with Peer(deaf=True) as peer, beside(peer, table=big_table(0, 400)) as spoken:
            # TCP has taken everything, and the peer's window holds a few of these 300 KiB.
            await eventually(lambda: spoken.status.table_sent)
            assert spoken.status.routes_sent == {Family.IPV4: 400}
            assert not spoken.status.routes_confirmed
            assert not spoken.observed
            peer.hear()
            await eventually(lambda: spoken.observed)
            assert spoken.status.routes_confirmed == {Family.IPV4: 400}
            assert len(peer.router.table) == 400

    run(work())


def test_a_table_that_the_session_has_not_looked_at_yet_is_not_observed():
    async def work():
        async with Peer() as peer, beside(peer) as spoken:
            await eventually(lambda: spoken.observed)
            spoken.want(routes("203.0.113.7/32"))
            assert not spoken.observed
            await eventually(lambda: spoken.observed)

    run(work())


def test_a_peer_that_resets_the_connection_while_it_is_told_the_table_gets_it_whole():
    async def work():
        async with Peer(sips=2000) as peer, beside(peer, table=big_table(0)) as spoken:
            await eventually(lambda: len(peer.router.table) > 10)
            peer.vanish()
            await eventually(lambda: spoken.status.down is not None)
            assert spoken.status.down.cause is Cause.CONNECTION_LOST
            peer.sips = 65536
            await eventually(lambda: len(peer.router.table) == 2000)
            assert spoken.counts.established == 2

    run(work())


def test_a_peer_that_closes_at_once_is_not_called_in_a_tight_circle():
    async def work():
        async with Peer(greeting=b"") as peer, beside(peer) as spoken:
            begun = asyncio.get_running_loop().time()
            for call in (1, 2, 3):
                await eventually(lambda call=call: peer.calls == call)
                peer.vanish()
            assert asyncio.get_running_loop().time() - begun > (1 + 2) * PAUSE_S * 0.75
            await eventually(lambda: spoken.status.down is not None)
            assert spoken.status.down.cause is Cause.CONNECTION_LOST

    run(work())
