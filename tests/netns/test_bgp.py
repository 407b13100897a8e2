"""Real routers hold what we announce: FRR, BIRD and GoBGP, asked for their own tables."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from speaker.drivers.node.bgp_peers import BgpPeers, Peering
from speaker.protocols import bgp_session
from speaker.protocols.bgp_peer import DynamicAsn
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_routes import Route
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_fault import SHUTDOWN, cease
from speaker.wire.bgp_frame import MessageType
from tests.support.bgp import OURS, THEIRS, routes
from tests.support.lan import Host, Lan
from tests.support.routers import Bird, Frr, Gobgp, router
from tests.support.speaking import on, peer_on, speaking, until

pytestmark = pytest.mark.netns

FOUR, SIX = "203.0.113.7/32", "2001:db8:2::7/128"
TABLE = routes(FOUR, SIX, "203.0.113.128/25")


@pytest.fixture(scope="module")
def tor(lan: Lan) -> Host:
    return lan.host("tor")


@pytest.fixture(scope="module")
def second(lan: Lan) -> Host:
    return lan.host("second")


def frr_lines(node: Host, *neighbor: str, asn: int = THEIRS, remote: object = OURS, peer: str = ""):
    """FRR's configuration for one passive neighbor in both families; `neighbor` adds to it."""
    address = peer or node.address
    about = "\n".join(f" neighbor {address} {words}" for words in neighbor)
    families = "\n".join(
        f" address-family {family} unicast\n  neighbor {address} activate\n exit-address-family"
        for family in ("ipv4", "ipv6")
    )
    return f"""
router bgp {asn}
 bgp router-id 198.51.100.200
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp log-neighbor-changes
 neighbor {address} remote-as {remote}
 neighbor {address} passive
 neighbor {address} timers 1 3
{about}
{families}
"""


def bird_lines(node: Host, *words: str) -> str:
    about = "".join(f"{each}; " for each in words)
    return f"""
protocol bgp speaker {{
  local as {THEIRS}; neighbor {node.address} as {OURS}; passive; hold time 3;
  error wait time 1, 2; {about}
  ipv4 {{ import all; export none; extended next hop; }};
  ipv6 {{ import all; export none; }};
}}
"""


def gobgp_lines(node: Host) -> str:
    families = "".join(
        f'[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = "{name}-unicast"\n'
        for name in ("ipv4", "ipv6")
    )
    return f"""
[global.config]
as = {THEIRS}
router-id = "198.51.100.200"
[[neighbors]]
[neighbors.config]
neighbor-address = "{node.address}"
peer-as = {OURS}
[neighbors.timers.config]
hold-time = 3
keepalive-interval = 1
[neighbors.transport.config]
passive-mode = true
{families}
"""


LINES: dict[type, Callable[[Host], str]] = {Frr: frr_lines, Bird: bird_lines, Gobgp: gobgp_lines}


@pytest.fixture(params=list(LINES), ids=["frr", "bird", "gobgp"])
def each(request: pytest.FixtureRequest, node: Host, tor: Host) -> Iterator[Frr | Bird | Gobgp]:
    with router(request.param, tor, LINES[request.param](node)) as running:
        if isinstance(running, Frr):
            running.settled(node.address)
        yield running


def named(*prefixes: str) -> Callable[[dict[str, set[str]]], bool]:
    return lambda table: set(table) == set(prefixes)


def holds(running, *prefixes: str) -> Callable[[], bool]:
    return lambda: set(running.routes()) == set(prefixes)


# --- Any router


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
    if isinstance(each, Frr):
        assert "drained for an upgrade" in each.said()


def test_ten_thousand_routes_arrive_whole_and_leave_whole(each, node, tor):
    first = int(IPv4Address("198.18.0.0"))
    table = {IPv4Network((first + n, 32)): Route() for n in range(10_000)}

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, table) as spoken:
            await until(holds(each, *map(str, table)))
            assert spoken.peer.counts.sent[MessageType.UPDATE] == 13 + 2
            spoken.peer.want(routes(FOUR))
            await until(holds(each, FOUR))

    on(node, work())


# --- FRR: everything else that it knows


@pytest.fixture
def frr(node: Host, tor: Host) -> Iterator[Callable[..., Frr]]:
    """Start FRR with more lines about the speaker; it ends with the test."""
    with contextlib.ExitStack() as running:

        def start(*neighbor: str, peer: str = "", **how: Any) -> Frr:
            lines = frr_lines(node, *neighbor, peer=peer, **how)
            return running.enter_context(router(Frr, tor, lines)).settled(peer or node.address)

        yield start


def test_ipv4_over_an_ipv6_session_with_an_ipv6_next_hop(frr, node, tor):
    running = frr("capability extended-nexthop", peer=node.address6)
    config = peer_on(node, tor, address=ip_address(tor.address6))

    async def work() -> None:
        spoken_of = ip_address(node.address6)
        async with speaking(config, node, TABLE) as spoken:
            # Nothing but IPv6 on the link.
            spoken.peer._beside = lambda _: (spoken_of,)
            await until(holds(running, *map(str, TABLE)))
            assert spoken.peer.status.terms.extended_next_hop
            assert running.routes()[FOUR] == {node.address6}
            spoken.peer.want(routes(SIX))
            await until(holds(running, SIX))

    on(node, work())


def test_bird_takes_ipv4_with_an_ipv6_next_hop(node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, {}) as spoken:
            await spoken.established()
            assert spoken.peer.status.terms.extended_next_hop
            table = {ip_network(FOUR): Route(next_hop=ip_address(node.address6))}
            spoken.peer.want(table)
            await until(lambda: running.routes() == {FOUR: {node.address6}})

    with router(Bird, tor, bird_lines(node)) as running:
        on(node, work())


def test_an_md5_password_that_fits(frr, node, tor):
    running = frr("password correct-horse")

    async def work() -> None:
        async with speaking(peer_on(node, tor, password="correct-horse"), node, TABLE):
            await until(holds(running, *map(str, TABLE)))

    on(node, work())


def test_an_md5_password_over_ipv6(frr, node, tor):
    running = frr("password correct-horse", peer=node.address6)
    config = peer_on(node, tor, address=ip_address(tor.address6), password="correct-horse")

    async def work() -> None:
        async with speaking(config, node, TABLE):
            await until(holds(running, *map(str, TABLE)))

    on(node, work())


@pytest.mark.parametrize("ours", ["battery-staple", None], ids=["wrong", "missing"])
def test_an_md5_password_that_does_not_fit_is_advised_on(frr, node, tor, ours):
    frr("password correct-horse")
    config = peer_on(node, tor, password=ours, connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: "MD5" in spoken.detail, "advice")
            assert set(spoken.causes) == {Cause.CONNECT_TIMEOUT}

    on(node, work())


def test_a_password_that_the_peer_does_not_have_is_never_answered(frr, node, tor):
    frr()
    config = peer_on(node, tor, password="correct-horse", connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: "MD5" in spoken.detail, "advice")

    on(node, work())


def test_gtsm_on_both_ends(frr, node, tor):
    running = frr("ttl-security hops 1")

    async def work() -> None:
        async with speaking(peer_on(node, tor, gtsm_hops=1), node, TABLE):
            await until(holds(running, *map(str, TABLE)))

    on(node, work())


def test_gtsm_of_the_peer_keeps_no_speaker_without_it(frr, node, tor):
    frr("ttl-security hops 1")
    config = peer_on(node, tor, ttl=64, connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            # FRR sets the limit after it has accepted: the first bytes may still come through.
            await spoken.reaches(lambda: len(spoken.causes) > 2, "three failures")
            heard = spoken.peer.counts.received[MessageType.KEEPALIVE]
            assert heard <= spoken.peer.counts.established

    on(node, work())


def test_our_gtsm_refuses_a_peer_without_it(frr, node, tor, monkeypatch):
    monkeypatch.setattr(bgp_session, "OPEN_HOLD_S", 2.0)
    # FRR answers the call with TTL 255, and sends its OPEN with TTL 1: that is never heard.
    frr()
    config = peer_on(node, tor, gtsm_hops=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.HOLD_TIMER in spoken.causes, "no OPEN")
            assert not spoken.peer.counts.established

    on(node, work())


def test_every_attribute_inside_one_as(frr, node, tor):
    running = frr(asn=64496)
    table = routes(
        FOUR,
        SIX,
        local_preference=250,
        communities=(64496 << 16 | 7, 0xFFFF0000),
        extended_communities=(bytes.fromhex("0002fbf000000064"),),
        large_communities=((65551, 1, 2),),
    )

    async def work() -> None:
        async with speaking(peer_on(node, tor, peer_asn=64496), node, table):
            await until(holds(running, FOUR, SIX))
            for prefix in (FOUR, SIX):
                path = running.path(prefix)
                assert path["locPrf"] == 250
                assert path["aspath"]["string"] == "Local"
                assert set(path["community"]["list"]) == {"64496:7", "gracefulShutdown"}
                assert path["largeCommunity"]["list"] == ["65551:1:2"]
                assert path["extendedCommunity"]["string"] == "RT:64496:100"

    on(node, work())


def test_the_path_of_an_external_session_is_our_asn_without_local_preference(frr, node, tor):
    running = frr()

    async def work() -> None:
        table = routes(FOUR, local_preference=250)
        async with speaking(peer_on(node, tor), node, table):
            await until(holds(running, FOUR))
            path = running.path(FOUR)
            assert path["aspath"]["string"] == "64496"
            assert "locPrf" not in path

    on(node, work())


def test_the_peer_sees_the_local_asn_alone(frr, node, tor):
    running = frr(remote=64500)

    async def work() -> None:
        async with speaking(peer_on(node, tor, local_asn=64500), node, TABLE):
            await until(holds(running, *map(str, TABLE)))
            assert running.path(FOUR)["aspath"]["string"] == "64500"

    on(node, work())


def test_a_peer_of_any_other_asn(frr, node, tor):
    running = frr(remote="external")

    async def work() -> None:
        config = peer_on(node, tor, peer_asn=DynamicAsn.EXTERNAL)
        async with speaking(config, node, TABLE) as spoken:
            await until(holds(running, *map(str, TABLE)))
            assert spoken.peer.status.terms.peer.asn == THEIRS

    on(node, work())


def test_an_asn_that_the_peer_does_not_expect_is_told_by_the_peer(frr, node, tor):
    frr(remote=64501)

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.NOTIFIED in spoken.causes, "refusal")
            assert "2/2 Bad Peer AS" in spoken.detail

    on(node, work())


def test_an_asn_that_we_do_not_expect_is_refused_in_words_of_the_standard(frr, node, tor):
    running = frr()

    async def work() -> None:
        async with speaking(peer_on(node, tor, peer_asn=64510), node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.REFUSED in spoken.causes, "refusal")
            assert "AS 65551; configured is 64510" in spoken.detail
            await until(lambda: "OPEN Message Error/Bad Peer AS" in running.said())

    on(node, work())


def test_a_soft_reconfiguration_of_the_peer_asks_for_the_routes_and_gets_them(frr, node, tor):
    running = frr()

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(running, *map(str, TABLE)))
            before = spoken.peer.counts.sent[MessageType.UPDATE]
            await asyncio.to_thread(running.tell, f"clear bgp ipv4 unicast {node.address} soft in")
            await spoken.reaches(
                lambda: spoken.peer.counts.received[MessageType.ROUTE_REFRESH] == 1, "refresh"
            )
            await spoken.reaches(
                lambda: spoken.peer.counts.sent[MessageType.UPDATE] == before + 1, "the routes"
            )
            assert holds(running, *map(str, TABLE))()
            assert spoken.peer.counts.established == 1

    on(node, work())


def test_a_peer_that_dies_and_begins_anew_gets_the_table(frr, node, tor):
    running = frr()

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(running, *map(str, TABLE)))
            await asyncio.to_thread(running.restart)
            await until(holds(running, *map(str, TABLE)))
            assert spoken.peer.counts.established == 2

    on(node, work())


def test_the_words_of_a_peer_that_shuts_us_down_are_told(frr, node, tor):
    running = frr()

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await spoken.established()
            words = f"neighbor {node.address} shutdown message maintenance until noon"
            lines = ("configure terminal", f"router bgp {THEIRS}", words)
            await asyncio.to_thread(running.tell, *lines)
            await spoken.reaches(lambda: Cause.NOTIFIED in spoken.causes, "the message")
            told = [one.down.notification for one in spoken.changes if one.down is not None]
            assert "maintenance until noon" in [one.text for one in told if one is not None]

    on(node, work())


def test_a_peer_with_a_limit_of_prefixes_is_held_off(node, tor):
    lines = frr_lines(node).replace(
        "activate", f"activate\n  neighbor {node.address} maximum-prefix 1"
    )

    table = routes(*(f"203.0.113.{n}/32" for n in range(9)))

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, table) as spoken:
            limit = "6/1 Maximum Number of Prefixes"
            await spoken.reaches(lambda: limit in spoken.detail, "refusal")
            down = spoken.peer.status.down
            # 60 s with jitter: nothing that this test waits for.
            assert down.again - spoken.peer.status.since >= 45

    with router(Frr, tor, lines):
        on(node, work())


def test_a_session_from_another_source_address_over_several_hops(frr, node, tor):
    tor.ip("addr", "replace", "192.0.2.1/32", "dev", "lo")
    node.ip("route", "replace", "192.0.2.1/32", "via", tor.address)
    node.ip("addr", "replace", "192.0.2.11/32", "dev", "lo")
    tor.ip("route", "replace", "192.0.2.11/32", "via", node.address)
    running = frr("ebgp-multihop 5", "update-source 192.0.2.1", peer="192.0.2.11")
    source = ip_address("192.0.2.11")
    config = peer_on(node, tor, address=ip_address("192.0.2.1"), source=source, ttl=5)

    async def work() -> None:
        async with speaking(config, node, TABLE):
            await until(holds(running, *map(str, TABLE)))

    on(node, work())


def test_a_source_address_that_is_not_here_is_named(frr, node, tor):
    frr()
    config = peer_on(node, tor, source=ip_address("203.0.113.99"))

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.CONNECT_FAILED in spoken.causes, "failure")
            assert "source address 203.0.113.99: Cannot assign" in spoken.detail

    on(node, work())


def test_a_link_local_peer_is_reached_through_its_link(frr, node, tor):
    def link_local(host: Host) -> str:
        shown = host.ip("-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
        return shown.split("inet6 ")[1].split("/")[0]

    running = frr("interface eth0", "capability extended-nexthop", peer=link_local(node))
    config = peer_on(node, tor, address=ip_address(link_local(tor)), interface="eth0")

    async def work() -> None:
        async with speaking(config, node, TABLE):
            await until(holds(running, *map(str, TABLE)))

    on(node, work())


# --- What does not go by the book


def test_the_route_stays_while_the_speaker_dies_and_comes_back(frr, node, tor):
    running = frr()
    seen = subprocess.Popen(
        ["ip", "-n", tor.namespace, "monitor", "route"], stdout=subprocess.PIPE, text=True
    )

    async def work() -> None:
        config = peer_on(node, tor)
        async with speaking(config, node, TABLE):
            await until(lambda: "203.0.113.7" in tor.ip("route"), "the kernel's route")
        # The block's end is a death: TCP closes without a NOTIFICATION.
        await until(lambda: running.neighbor(node.address).get("bgpState") != "Established")
        assert holds(running, *map(str, TABLE))()
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: spoken.peer.observed, "acknowledged")
            assert spoken.peer.status.terms.graceful_restart
            await until(lambda: running.said().count("rcvd End-of-RIB for IPv4") == 2)
            assert "203.0.113.7" in tor.ip("route")

    try:
        on(node, work())
    finally:
        seen.terminate()
    output = seen.communicate()[0]
    assert "203.0.113.7" in output
    assert not [line for line in output.splitlines() if "Deleted 203.0.113" in line]


def test_a_route_that_is_not_wanted_after_a_restart_leaves_at_the_end_of_the_table(frr, node, tor):
    running = frr()

    async def work() -> None:
        config = peer_on(node, tor)
        async with speaking(config, node, TABLE):
            await until(holds(running, *map(str, TABLE)))
        async with speaking(config, node, routes(FOUR)):
            await until(holds(running, FOUR))

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
