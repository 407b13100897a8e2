"""FRR agrees with each setting of a peer: passwords, TTL, ASNs, attributes, limits, addresses."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from speaker.protocols import bgp_session
from speaker.protocols.bgp_peer import DynamicAsn
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_routes import Route
from speaker.wire.bgp_frame import MessageType
from tests.support.bgp import THEIRS, cidr, routes
from tests.support.routers import (
    Bird,
    Frr,
    bird_lines,
    frr_lines,
    holds,
    router,
)
from tests.support.speaking import FOUR, SIX, TABLE, on, peer_on, speaking, until

pytestmark = pytest.mark.netns


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
            table = {cidr(FOUR): Route(next_hop=ip_address(node.address6))}
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


def test_a_call_from_an_address_that_the_peer_does_not_know_is_named(frr, node, tor):
    frr("password correct-horse")
    config = peer_on(node, tor, password="correct-horse", connect_retry_s=1)
    node.ip("addr", "add", "198.51.100.77/24", "dev", "eth0")
    node.ip("route", "add", f"{tor.address}/32", "dev", "eth0", "src", "198.51.100.77")

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(
                lambda: "a call from 198.51.100.77;" in spoken.detail, "the source"
            )

    try:
        on(node, work())
    finally:
        node.ip("addr", "del", "198.51.100.77/24", "dev", "eth0")


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
    running = frr("interface eth0", "capability extended-nexthop", peer=str(node.link_local))
    config = peer_on(node, tor, address=tor.link_local, interface="eth0")

    async def work() -> None:
        async with speaking(config, node, TABLE):
            await until(holds(running, *map(str, TABLE)))

    on(node, work())
