"""lb-fastpath's event loop: packets without detour, and everything else as asyncio has it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from speaker.drivers.fast.loop import PacketLoop, packet_loop


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def run(work):
    async def bounded():
        async with asyncio.timeout(20):
            await work

    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        runner.run(bounded())


def test_a_packet_reader_may_set_timers_and_wake_tasks(pair):
    ours, theirs = pair

    async def scenario():
        loop, soon, later = packet_loop(), asyncio.Event(), asyncio.Event()

        def on_readable():
            ours.recv(64)
            loop.call_soon(soon.set)
            loop.call_later(0.001, later.set)

        loop.read_packets(ours, on_readable)
        theirs.send(b"?")
        await soon.wait()
        await later.wait()
        loop.leave_packets(ours)

    run(scenario())


def test_a_flood_of_packets_does_not_keep_the_others_from_their_turn(pair):
    ours, theirs = pair

    async def scenario():
        loop, turns = packet_loop(), 0

        def on_readable():
            # Nothing is read: the socket stays readable, as in a flood that never ends.
            nonlocal turns
            turns += 1

        loop.read_packets(ours, on_readable)
        theirs.send(b"?")
        mine, peers = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=mine)
        _, answers = await asyncio.open_connection(sock=peers)
        answers.write(b"turn\n")
        assert await reader.readline() == b"turn\n"
        assert turns
        for each in (writer, answers):
            each.close()
            await each.wait_closed()
        loop.leave_packets(ours)

    run(scenario())


def test_a_reader_that_was_left_is_not_called(pair):
    ours, theirs = pair

    async def scenario():
        loop = packet_loop()
        loop.read_packets(ours, lambda: pytest.fail("called"))
        loop.leave_packets(ours)
        theirs.send(b"?")
        for _ in range(3):
            await asyncio.sleep(0)
        assert ours.recv(64) == b"?"

    run(scenario())


def test_a_reader_that_fails_is_reported_and_the_loop_goes_on(pair):
    ours, theirs = pair

    async def scenario():
        loop, reported = packet_loop(), []
        failed = asyncio.Event()

        def on_readable():
            ours.recv(64)
            raise AssertionError("a fault of ours")

        def handler(_loop, context):
            reported.append(str(context["exception"]))
            failed.set()

        loop.set_exception_handler(handler)
        loop.read_packets(ours, on_readable)
        for _ in range(2):
            failed.clear()
            theirs.send(b"?")
            await failed.wait()
        assert reported == ["a fault of ours"] * 2
        loop.leave_packets(ours)

    run(scenario())
