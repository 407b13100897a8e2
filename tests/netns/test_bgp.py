"""Real routers hold what we announce: FRR, BIRD and GoBGP, asked for their own tables."""

from __future__ import annotations

import asyncio
import random
from ipaddress import IPv4Address, ip_address

import pytest

from lbctl.model.route import Prefix
from speaker.drivers.node.bgp_peers import BgpPeers, Peering
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_routes import Route
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_fault import SHUTDOWN, cease
from speaker.wire.bgp_frame import MessageType
from tests.support.bgp import THEIRS, routes
from tests.support.router_lines import bird_lines
from tests.support.routers import Bird, holds, router
from tests.support.speaking import FOUR, SIX, TABLE, on, peer_on, speaking, until

pytestmark = pytest.mark.netns


def test_a_router_learns_both_families_and_every_change(each, node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(each, *map(str, TABLE)))
            assert each.routes() == {
                FOUR: {node.address},
                SIX: {node.address6},
                "203.0.113.128/25": {node.address},
            }
            await spoken.reaches(lambda: spoken.peer.observed, "acknowledged")
            spoken.peer.want(routes(SIX))
            await until(holds(each, SIX))
            spoken.peer.want(routes(FOUR, "203.0.113.9/32"))
            await until(holds(each, FOUR, "203.0.113.9/32"))
            spoken.peer.want({})
            await until(holds(each))
            assert spoken.peer.counts.established == 1

    on(node, work())


def test_a_router_that_is_frozen_is_given_up_at_the_hold_time_and_gets_the_table_again(
    each, node, tor
):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(each, *map(str, TABLE)))
            assert spoken.peer.status.terms.hold_time_s == 3
            each.freeze()
            await spoken.reaches(lambda: Cause.HOLD_TIMER in spoken.causes, "hold timer")
            spoken.peer.want(routes(FOUR))
            each.thaw()
            await spoken.established()
            await until(holds(each, FOUR))

    on(node, work())


def test_a_shutdown_with_words_flushes_the_routes_in_spite_of_graceful_restart(each, node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(each, *map(str, TABLE)))
            spoken.peer.stop(cease(SHUTDOWN, "drained for an upgrade"))
            await until(holds(each))
            assert spoken.causes == [Cause.STOPPED]

    on(node, work())
    assert "drained for an upgrade" in each.said()


def test_ten_thousand_routes_arrive_whole_and_leave_whole(each, node, tor):
    first = int(IPv4Address("198.18.0.0"))
    table = {Prefix(4, first + n, 32): Route() for n in range(10_000)}

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, table) as spoken:
            await until(holds(each, *map(str, table)))
            assert spoken.peer.counts.sent[MessageType.UPDATE] == 13 + 2
            spoken.peer.want(routes(FOUR))
            await until(holds(each, FOUR))

    on(node, work())


@pytest.mark.parametrize("seed", range(3))
def test_after_hundreds_of_changes_at_full_speed_the_router_holds_the_last_table(
    each, node, tor, seed
):
    chance = random.Random(seed)
    prefixes = [
        *(f"203.0.113.{n}/32" for n in range(20)),
        *(f"2001:db8:2::{n}/128" for n in range(20)),
    ]

    def some_table():
        table = {}
        for prefix in prefixes:
            if chance.random() < 0.5:
                table |= routes(prefix, communities=(64496 << 16 | chance.randrange(3),))
        return table

    def communities(table):
        return {prefix: each.carried(str(prefix)).standard for prefix in table}

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, some_table()) as spoken:
            await spoken.established()
            for _ in range(500):
                last = some_table()
                spoken.peer.want(last)
                await asyncio.sleep(chance.choice((0, 0, 0.001)))
            await spoken.reaches(lambda: spoken.peer.observed, "acknowledged")
            await until(holds(each, *map(str, last)))
            assert spoken.peer.counts.established == 1
            # In a thread: forty questions take longer than the hold time.
            assert await asyncio.to_thread(communities, last) == {
                prefix: {f"64496:{route.attributes.communities[0] & 0xFFFF}"}
                for prefix, route in last.items()
            }

    on(node, work())


def test_a_link_that_dies_is_noticed_by_the_hold_timer_and_heals(frr, lan, node, tor):
    running = frr()

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(running, *map(str, TABLE)))
            # The bridge's port, not ours: no carrier is lost here, TCP is half open.
            await asyncio.to_thread(lan.port, tor, "down")
            await spoken.reaches(lambda: Cause.HOLD_TIMER in spoken.causes, "hold timer")
            spoken.peer.want(routes(SIX))
            await asyncio.to_thread(lan.port, tor, "up")
            await spoken.established()
            await until(holds(running, SIX))

    on(node, work())


def test_a_change_of_one_peer_leaves_the_other_session_alone(frr, node, tor, second):
    running = frr("password first")
    other = bird_lines(node)

    async def work() -> None:
        def beside(_address):
            return ip_address(node.address), ip_address(node.address6)

        changes = []
        peers = BgpPeers(beside=beside, on_change=lambda *change: changes.append(change))
        tor_peer = Peering(config=peer_on(node, tor, password="first"), table=TABLE)
        second_peer = Peering(config=peer_on(node, second), table=routes(SIX))
        peers.apply({"tor": tor_peer, "second": second_peer})
        await until(holds(running, *map(str, TABLE)))
        await until(holds(bird, SIX))
        lines = (f"router bgp {THEIRS}", f"neighbor {node.address} password second")
        await asyncio.to_thread(running.tell, "configure terminal", *lines)
        changed = Peering(config=peer_on(node, tor, password="second"), table=routes(FOUR))
        peers.apply({"tor": changed, "second": second_peer})
        await until(holds(running, FOUR))
        await until(lambda: "6/6 (Cease/Other Configuration Change)" in running.said())
        peers.apply({"second": second_peer})
        await until(holds(running))
        await until(lambda: "6/3 (Cease/" in running.said())
        assert list(peers.peers) == ["second"]
        assert [change.state for name, change in changes if name == "second"] == [
            State.CONNECT,
            State.OPEN_SENT,
            State.OPEN_CONFIRM,
            State.ESTABLISHED,
        ]
        assert holds(bird, SIX)()
        await peers.close(cease(SHUTDOWN, "the node goes"))
        await until(holds(bird))

    with router(Bird, second, other) as bird:
        on(node, work())
