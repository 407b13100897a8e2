"""lb-speaker's end of the control socket, against a server that a test plays."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.agent.table import Commanded
from speaker.drivers.node.fastpath import FastpathClient
from speaker.wire.control import (
    AddressCount,
    AddressCounts,
    Applied,
    Counters,
    Decoder,
    Delta,
    Entry,
    Epoch,
    Heard,
    Hello,
    LinkFault,
    LinkOk,
    Removal,
    StaleEpoch,
    Table,
    Version,
    YieldCause,
    Yielded,
    encode,
)
from speaker.wire.ethernet import Mac
from tests.support.loop import eventually

V4 = ip_address("192.0.2.10")
ENTRY = Entry(address=V4, links=(LinkName("eth0"),), epoch=Epoch(generation=0, number=3))
FULL = Commanded(entries={V4: ENTRY}, links=(LinkName("eth0"),))


class Played:
    """The fast path's end: what it received, and a way to answer and to hang up."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[object] = asyncio.Queue()
        self.writer: asyncio.StreamWriter | None = None
        self.hello = Hello(incarnation=Incarnation("f1"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.write(encode(self.hello))
        decoder = Decoder()
        while data := await reader.read(1 << 16):
            for message in decoder.feed(data):
                self.received.put_nowait(message)
        writer.close()

    async def next(self) -> object:
        return await asyncio.wait_for(self.received.get(), 10)

    def say(self, *messages) -> None:
        assert self.writer is not None
        self.writer.write(b"".join(encode(message) for message in messages))


class Noted:
    def __init__(self, path: Path, **limits: float) -> None:
        self.heard: list[Heard] = []
        self.yielded: list[object] = []
        self.stale: list[int] = []
        self.changed = asyncio.Event()
        self.client = FastpathClient(
            path,
            hello=Hello(node=NodeName("n1"), incarnation=Incarnation("s1")),
            clock=asyncio.get_running_loop().time,
            on_change=self.changed.set,
            on_heard=self.heard.append,
            on_yielded=self.yielded.append,
            on_stale=self.stale.append,
            **limits,
        )


@asynccontextmanager
async def conversation(path: Path, played: Played, **limits: float):
    server = await asyncio.start_unix_server(played.serve, str(path))
    noted = Noted(path, **limits)
    task = asyncio.create_task(noted.client.run())
    try:
        yield noted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
        await server.wait_closed()


def test_the_whole_table_goes_first_and_then_only_differences(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            noted.client.command(FULL)
            assert isinstance(await played.next(), Hello)
            assert await played.next() == Table(
                revision=1, entries=(ENTRY,), links=(LinkName("eth0"),), peers=()
            )
            noted.client.command(FULL)
            noted.client.command(Commanded(links=(LinkName("eth0"),)))
            assert await played.next() == Delta(
                revision=2, remove=(Removal(address=V4, epoch=ENTRY.epoch),)
            )

    asyncio.run(scenario())


def test_the_links_of_routers_are_said_and_taken_back(tmp_path):
    async def scenario():
        played = Played()
        uplink = LinkName("eth1")
        async with conversation(tmp_path / "s", played) as noted:
            noted.client.command(replace(FULL, router_links=(uplink,)))
            assert isinstance(await played.next(), Hello)
            whole = await played.next()
            assert isinstance(whole, Table)
            assert whole.router_links == (uplink,)
            noted.client.command(replace(FULL, links=(uplink,), router_links=(uplink,)))
            assert await played.next() == Delta(revision=2, links=(uplink,))
            noted.client.command(replace(FULL, links=(uplink,)))
            assert await played.next() == Delta(revision=3, router_links=())

    asyncio.run(scenario())


def test_nothing_is_said_before_the_first_plan(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            assert isinstance(await played.next(), Hello)
            await eventually(lambda: noted.client.state.connected)
            assert played.received.empty()

    asyncio.run(scenario())


def test_a_new_connection_gets_the_whole_table_again(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            noted.client.command(FULL)
            for _ in range(2):
                assert isinstance(await played.next(), Hello)
                assert isinstance(await played.next(), Table)
                await eventually(lambda: noted.client.state.connected)
                played.writer.close()
                await eventually(lambda: not noted.client.state.connected)
            assert "no connection" in noted.client.problem

    asyncio.run(scenario())


def test_reports_reach_their_callbacks_and_faults_come_and_go(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            await played.next()
            eth0, mac = LinkName("eth0"), Mac(b"\x02" * 6)
            peer = Heard(address=V4, link=eth0, mac=mac, peer=True)
            counters = Counters(totals={"a": 1}, links={eth0: {"b": 2}})
            known = Epoch(generation=0, number=9)
            stale = StaleEpoch(address=V4, epoch=ENTRY.epoch, known=known)
            played.say(
                Heard(address=V4, link=eth0, mac=mac, peer=False),
                peer,
                Yielded(address=V4, cause=YieldCause.DEADLINE),
                Applied(revision=1, refused=(stale,)),
                LinkFault(link=eth0, message="no"),
                LinkFault(link=eth0, message="no IPv6", family=6),
                LinkOk(link=eth0),
                counters,
            )
            await eventually(lambda: noted.client.counters == counters)
            assert (noted.heard, noted.yielded, noted.stale) == ([peer], [V4], [9])
            assert noted.client.state.faults == {(eth0, 6): "no IPv6"}

    asyncio.run(scenario())


def test_counters_of_an_address_are_kept_while_it_is_in_the_table(tmp_path):
    other = ip_address("192.0.2.99")
    count = AddressCount(address=V4, answered=3, failed=1, announced=12)

    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            await played.next()
            noted.client.command(FULL)
            await played.next()
            # A part that was under way when its address was removed must leave no trace.
            played.say(AddressCounts(addresses=(count, replace(count, address=other))))
            await eventually(lambda: noted.client.addresses == {V4: count})
            noted.client.command(Commanded())
            assert noted.client.addresses == {}

    asyncio.run(scenario())


def test_after_a_refused_command_the_whole_table_is_said_again(tmp_path):
    known = Epoch(generation=0, number=9)
    stale = StaleEpoch(address=V4, epoch=ENTRY.epoch, known=known)

    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            noted.client.command(FULL)
            assert isinstance(await played.next(), Hello)
            assert isinstance(await played.next(), Table)
            played.say(Applied(revision=1, refused=(stale,)))
            await eventually(lambda: noted.stale == [9])
            # A delta would remove it by the epoch that was refused, and be refused in turn.
            noted.client.command(Commanded(links=(LinkName("eth0"),)))
            assert await played.next() == Table(
                revision=2, entries=(), links=(LinkName("eth0"),), peers=()
            )

    asyncio.run(scenario())


def test_another_major_version_is_a_problem_that_names_the_cure(tmp_path):
    async def scenario():
        played = Played()
        played.hello = Hello(incarnation=Incarnation("f"), version=Version(major=9, minor=0))
        async with conversation(tmp_path / "s", played) as noted:
            await eventually(lambda: "same major version" in (noted.client.problem or ""))
            assert not noted.client.state.connected

    asyncio.run(scenario())


def test_garbage_closes_the_connection_and_it_is_made_again(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played) as noted:
            await eventually(lambda: noted.client.connects == 1)
            played.writer.write(b"\x00\x00\x00\x04nope")
            await eventually(lambda: noted.client.connects == 2)

    asyncio.run(scenario())


def test_a_process_that_says_nothing_any_more_is_lost_although_its_end_is_open(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played, silence_s=0.2) as noted:
            noted.client.command(FULL)
            await eventually(lambda: noted.client.connects == 1)
            await eventually(lambda: not noted.client.state.connected)
            assert "said nothing for 0.2 s" in noted.client.problem
            # It is not given up: once it answers again it is told everything again.
            await eventually(lambda: noted.client.connects == 2)

    asyncio.run(scenario())


def test_counters_alone_keep_a_quiet_process_connected(tmp_path):
    async def scenario():
        played = Played()
        async with conversation(tmp_path / "s", played, silence_s=1.5) as noted:
            await eventually(lambda: noted.client.connects == 1)
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < began + 2:
                counters = Counters(totals={"a": int(asyncio.get_running_loop().time() * 1000)})
                played.say(counters)
                await eventually(lambda counters=counters: noted.client.counters == counters)
            assert noted.client.connects == 1

    asyncio.run(scenario())


def test_a_process_that_reads_nothing_is_lost_before_our_memory_is_full(tmp_path):
    class Deaf(Played):
        async def serve(self, reader, writer):
            del reader
            self.writer = writer
            writer.write(encode(self.hello))

    eth0 = (LinkName("eth0"),)

    async def scenario():
        played = Deaf()
        async with conversation(tmp_path / "s", played, unread_cap=1 << 16) as noted:
            client = noted.client
            await eventually(lambda: client.state.connected)
            said = 0
            while client.connects == 1 and said < 5000:
                said += 1
                epoch = Epoch(generation=0, number=said)
                entries = {
                    one: Entry(address=one, links=eth0, epoch=epoch)
                    for one in (ip_address(f"192.0.2.{number}") for number in range(100))
                }
                client.command(Commanded(entries=entries, links=eth0))
                await asyncio.sleep(0)
                if client.problem is not None:
                    break
            assert "reads nothing" in client.problem
            assert not client.state.connected
            played.writer.close()

    asyncio.run(scenario())
