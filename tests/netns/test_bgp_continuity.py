"""What goes on while something else ends, judged by routers and their uptimes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from speaker.agent.peering import Peering
from speaker.drivers.node.bgp_peers import BgpPeers
from tests.support.bgp import THEIRS, routes
from tests.support.lan import Host
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
