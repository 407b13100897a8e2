"""What goes on while something else ends: judged by routers' uptimes and a client's packets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from speaker.agent.peering import Peering
from speaker.drivers.node.bgp_peers import BgpPeers
from tests.support.bgp import THEIRS, routes
from tests.support.lan import Host, eventually
from tests.support.router_lines import lines_of
from tests.support.routers import Bird, Frr, Gobgp, holds, router
from tests.support.speaking import FOUR, SIX, TABLE, on, peer_on, speaking, until

pytestmark = pytest.mark.netns

PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def third(lan):
    return lan.host("third")


@contextlib.contextmanager
def running(kind: type, node: Host, host: Host) -> Iterator[Frr | Bird | Gobgp]:
    with router(kind, host, lines_of(kind, node)) as made:
        if isinstance(made, Frr):
            made.settled(node.address)
        yield made


def test_a_peer_that_dies_and_begins_anew_gets_the_table(each, node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(each, *map(str, TABLE)))
            await asyncio.to_thread(each.restart)
            spoken.peer.want(routes(SIX))
            await until(holds(each, SIX))
            assert spoken.peer.counts.established >= 2

    on(node, work())


def test_a_change_of_one_peer_leaves_every_other_uptime_unbroken(node, tor, second, third):
    """Password, timers and communities of FRR's peer change; BIRD and GoBGP count the time."""

    async def work() -> None:
        own = (ip_address(node.address), ip_address(node.address6))
        peers = BgpPeers(beside=lambda _: own, on_change=lambda *_: None)
        others = {
            "bird": Peering(config=peer_on(node, second), table=TABLE),
            "gobgp": Peering(config=peer_on(node, third), table=TABLE),
        }
        changed = Peering(config=peer_on(node, tor), table=TABLE)
        peers.apply({"frr": changed, **others})
        for each in (frr, bird, gobgp):
            await until(holds(each, *map(str, TABLE)))

        def since() -> list[float]:
            return [bird.since_s(node.address), gobgp.since_s(node.address)]

        # A session that ends comes up again 0.75 s later at the soonest.
        unbroken = pytest.approx(await asyncio.to_thread(since), abs=0.5)
        sessions = [await asyncio.to_thread(frr.sessions, node.address)]

        async def change(**how: object) -> None:
            nonlocal changed
            changed = replace(changed, **how)
            peers.apply({"frr": changed, **others})
            await until(holds(frr, *map(str, changed.table)))
            sessions.append(await asyncio.to_thread(frr.sessions, node.address))
            assert await asyncio.to_thread(since) == unbroken

        await change(table=routes(FOUR, SIX, communities=(64496 << 16 | 7,)))
        path = await asyncio.to_thread(frr.path, FOUR)
        assert path["community"]["string"] == "64496:7"
        assert sessions[1] == sessions[0], "communities are told in the session that there is"
        await change(config=peer_on(node, tor, hold_time_s=30, keepalive_s=2), table=routes(SIX))
        words = f"neighbor {node.address} password {PASSWORD}"
        lines = ("configure terminal", f"router bgp {THEIRS}", words)
        await asyncio.to_thread(frr.tell, *lines)
        await change(config=peer_on(node, tor, password=PASSWORD), table=routes(FOUR))
        assert sessions[1] < sessions[2] < sessions[3], "timers and password begin anew"
        await peers.close(None)

    with (
        running(Frr, node, tor) as frr,
        running(Bird, node, second) as bird,
        running(Gobgp, node, third) as gobgp,
    ):
        on(node, work())


class Speaker:
    """A speaker's BGP in a process on the node."""

    def __init__(self, node: Host, tor: Host, restart: str) -> None:
        self._command = [
            *("ip", "netns", "exec", node.namespace),
            *(sys.executable, "-m", "tests.support.bgp_process"),
            *(tor.address, node.address, node.address6, restart, FOUR),
        ]
        self.begin()

    def begin(self) -> None:
        """Start it and wait for the session."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def pinging(client: Host, address: str) -> Iterator[list[int]]:
    """Send a packet every 5 ms; the list has what was sent and what was answered at the end."""
    command = ["ip", "netns", "exec", client.namespace, "ping", "-q", "-n", "-i", "0.005", address]
    counts: list[int] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield counts
    finally:
        process.send_signal(signal.SIGINT)
        text = process.communicate()[0]
    counts += map(int, re.findall(r"(\d+) (?:packets transmitted|received)", text))


@pytest.fixture
def routed(node, tor, client):
    """A client that reaches the node's external IP by whatever route the router has."""
    tor.sysctl("net.ipv4.ip_forward", "1")
    for scope in ("all", "eth0"):
        # On one LAN the router would tell the client a shorter way, past what is measured.
        tor.sysctl(f"net.ipv4.conf.{scope}.send_redirects", "0")
    node.ip("addr", "replace", FOUR, "dev", "lo")
    client.ip("route", "replace", FOUR, "via", tor.address)
    yield client
    node.ip("addr", "del", FOUR, "dev", "lo")
    client.ip("route", "del", FOUR)


@pytest.mark.parametrize("restart", ["graceful", "plain"])
def test_a_client_loses_no_packet_while_the_speaker_is_killed_and_comes_back(
    frr, node, tor, routed, restart
):
    """Without graceful restart packets are lost: the measure can tell the difference."""
    made, address = frr(), FOUR.partition("/")[0]

    def established() -> bool:
        return made.neighbor(node.address).get("bgpState") == "Established"

    speaker = Speaker(node, tor, restart)
    try:
        eventually(lambda: address in tor.ip("route"), what="the kernel's route")
        with pinging(routed, address) as counts:
            speaker.kill()
            eventually(lambda: not established(), what="FRR saw the end")
            speaker.begin()
            eventually(lambda: address in tor.ip("route"), what="the kernel's route")
            ends = "rcvd End-of-RIB for IPv4"
            eventually(lambda: made.said().count(ends) == 2, what="the end of the new table")
    finally:
        speaker.kill()
    sent, answered = counts
    assert sent > 10, "the client has hardly asked"
    assert (sent == answered) == (restart == "graceful"), counts
