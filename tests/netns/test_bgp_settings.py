"""FRR agrees with settings of a peer that one router is enough for: ASNs, limits, addresses."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from speaker.protocols.bgp_peer import DynamicAsn
from speaker.protocols.bgp_report import Cause
from tests.support.bgp import THEIRS, routes
from tests.support.router_lines import frr_lines
from tests.support.routers import Frr, holds, router
from tests.support.speaking import FOUR, TABLE, on, peer_on, speaking, until

pytestmark = pytest.mark.netns


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
