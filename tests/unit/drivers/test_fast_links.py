"""The inventory of links in lb-fastpath, against a kernel that a test plays."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from lbctl.model.names import LinkName
from speaker.drivers.fast import links as module
from speaker.drivers.fast.links import Links
from speaker.fast.announce import Announcer
from speaker.fast.conductor import Conductor
from speaker.fast.router import RouterAdvertiser
from speaker.fast.table import AddressTable
from speaker.wire.control import LinkFault, LinkOk
from tests.support.loop import eventually

ETH0 = LinkName("eth0")
GARBAGE = struct.pack("=IHHII", 5000, 16, 0, 0, 0)
DONE = struct.pack("=IHHII", 20, 3, 0, 1, 0) + bytes(4)


def link_that_is_down(index: int, name: str) -> bytes:
    label = name.encode().ljust(8, b"\0")
    body = struct.pack("=BxHiII", 0, 1, index, 0, 0)
    body += struct.pack("=HH", 4 + len(label), 3) + label
    body += struct.pack("=HH", 10, 1) + bytes.fromhex("02005e0053010000")
    return struct.pack("=IHHII", 16 + len(body), 16, 0, 1, 0) + body


@pytest.fixture
def kernel(monkeypatch):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    monkeypatch.setattr(module, "_open_netlink", lambda: ours)
    with ours, theirs:
        yield theirs


def test_events_lost_during_a_dump_lead_to_another_dump_and_no_link_is_taken_for_gone(kernel):
    async def scenario():
        reports: list[LinkFault | LinkOk] = []
        conductor = Conductor(
            AddressTable(links=frozenset({ETH0})), Announcer(), RouterAdvertiser(lambda: 1.0)
        )
        links = Links(
            conductor, on_link=lambda _: None, on_report=reports.append, on_claim=lambda _: None
        )
        links.start()
        try:
            assert kernel.recv(4096)
            kernel.send(link_that_is_down(2, "eth0"))
            kernel.send(GARBAGE)
            kernel.send(GARBAGE)
            kernel.send(DONE)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(kernel, 4096), 10)
            assert reports == []
            kernel.send(link_that_is_down(2, "eth0"))
            kernel.send(DONE)
            await eventually(lambda: bool(reports))
            assert "is down" in reports[0].message
        finally:
            links.close()

    asyncio.run(scenario())
