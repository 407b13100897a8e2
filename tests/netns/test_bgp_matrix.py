"""FRR, BIRD and GoBGP agree with each setting of a peer, by their own tables.

What one of them cannot do is in docs/reference/bgp.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from lbctl.model.address import Family
from speaker.agent.peering import Peering
from speaker.drivers.node.bgp_peers import BgpPeers
from speaker.protocols import bgp_session
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_routes import Route
from speaker.wire.bgp_frame import MessageType
from tests.support.bgp import cidr, routes
from tests.support.router_lines import lines_of
from tests.support.routers import Bird, Carried, Frr, Gobgp, holds
from tests.support.speaking import FOUR, SIX, TABLE, Spoken, on, peer_on, speaking, until

pytestmark = pytest.mark.netns

FAR, OWN = "192.0.2.1", "192.0.2.11"
"""The router's and the node's address when a hop is between them."""
BY_FAMILY = pytest.mark.parametrize("address", ["address", "address6"], ids=["ipv4", "ipv6"])


@BY_FAMILY
def test_a_session_of_one_family_carries_that_one_alone(run_router, node, tor, address):
    each = run_router(peer=getattr(node, address))
    own = [one for one in map(str, TABLE) if (":" in one) == (address == "address6")]
    config = peer_on(
        node,
        tor,
        address=ip_address(getattr(tor, address)),
        families=frozenset({Family.IPV6 if address == "address6" else Family.IPV4}),
    )

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await until(holds(each, *own))
            await spoken.reaches(lambda: spoken.peer.observed, "acknowledged")
            assert set(each.routes()) == set(own)

    on(node, work())


def test_ipv4_over_an_ipv6_session_with_an_ipv6_next_hop(run_router, node, tor):
    each = run_router(peer=node.address6, extended_next_hop=True)
    config = peer_on(node, tor, address=ip_address(tor.address6))

    async def work() -> None:
        spoken_of = ip_address(node.address6)
        async with speaking(config, node, TABLE) as spoken:
            # Nothing but IPv6 on the link.
            spoken.peer._beside = lambda _: (spoken_of,)
            await until(holds(each, *map(str, TABLE)))
            assert spoken.peer.status.terms.extended_next_hop
            assert each.routes()[FOUR] == {node.address6}
            spoken.peer.want(routes(SIX))
            await until(holds(each, SIX))

    on(node, work())


@pytest.mark.parametrize("kind", [Bird, Gobgp], ids=["bird", "gobgp"])
def test_ipv4_over_an_ipv4_session_with_an_ipv6_next_hop(each, node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, {}) as spoken:
            await spoken.established()
            assert spoken.peer.status.terms.extended_next_hop
            spoken.peer.want({cidr(FOUR): Route(next_hop=ip_address(node.address6))})
            await until(lambda: each.routes() == {FOUR: {node.address6}})

    on(node, work())


@BY_FAMILY
def test_an_md5_password_that_fits(run_router, node, tor, address):
    each = run_router(peer=getattr(node, address), password="correct-horse")
    there = ip_address(getattr(tor, address))
    config = peer_on(node, tor, address=there, password="correct-horse")

    async def work() -> None:
        async with speaking(config, node, TABLE):
            await until(holds(each, *map(str, TABLE)))

    on(node, work())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("correct-horse", "battery-staple"), ("correct-horse", None), (None, "correct-horse")],
    ids=["wrong", "missing", "unexpected"],
)
def test_an_md5_password_that_does_not_fit_is_advised_on(run_router, node, tor, theirs, ours):
    each = run_router(password=theirs)
    config = peer_on(node, tor, password=ours, connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: "MD5" in spoken.detail, "advice")
            assert set(spoken.causes) == {Cause.CONNECT_TIMEOUT}
            assert not each.routes()

    on(node, work())


def test_an_md5_password_that_changes_on_both_ends(run_router, kind, node, tor):
    each = run_router(password="first")

    def keyed(password: str, *prefixes: str) -> dict[str, Peering]:
        config = peer_on(node, tor, password=password, connect_retry_s=1)
        return {"tor": Peering(config=config, table=routes(*prefixes))}

    async def work() -> None:
        own = (ip_address(node.address), ip_address(node.address6))
        peers = BgpPeers(beside=lambda _: own, on_change=lambda *_: None)
        peers.apply(keyed("first", FOUR, SIX))
        await until(holds(each, FOUR, SIX))
        await asyncio.to_thread(each.rewrite, lines_of(kind, node, password="second"))
        peers.apply(keyed("second", FOUR))
        await until(holds(each, FOUR))
        await peers.close(None)

    on(node, work())


def test_gtsm_on_both_ends(run_router, node, tor):
    each = run_router(gtsm=1)

    async def work() -> None:
        async with speaking(peer_on(node, tor, gtsm_hops=1), node, TABLE):
            await until(holds(each, *map(str, TABLE)))

    on(node, work())


def test_gtsm_of_the_peer_keeps_no_speaker_without_it(run_router, node, tor):
    each = run_router(gtsm=1)
    config = peer_on(node, tor, ttl=64, connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            # A router sets the limit after it has accepted: the first bytes may still come through.
            await spoken.reaches(lambda: len(spoken.causes) > 2, "three failures")
            heard = spoken.peer.counts.received[MessageType.KEEPALIVE]
            assert heard <= spoken.peer.counts.established
            assert not each.routes()

    on(node, work())


def test_our_gtsm_refuses_a_peer_without_it(each, node, tor, monkeypatch):
    monkeypatch.setattr(bgp_session, "OPEN_HOLD_S", 2.0)
    config = peer_on(node, tor, gtsm_hops=1, connect_retry_s=1)
    # FRR answers the call with TTL 255, and sends its OPEN with TTL 1: that is never heard.
    silent = {Cause.HOLD_TIMER, Cause.CONNECT_TIMEOUT}

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: silent & set(spoken.causes), "no OPEN")
            assert not spoken.peer.counts.established
            assert not each.routes()

    on(node, work())


@pytest.fixture(scope="module")
def between(lan, node, tor):
    """A host that forwards between the node's and the router's addresses FAR and OWN."""
    made = lan.host("between")
    made.sysctl("net.ipv4.ip_forward", "1")
    for scope in ("all", "eth0"):
        # On one LAN it would tell both of the shorter way.
        made.sysctl(f"net.ipv4.conf.{scope}.send_redirects", "0")
    for host, own, far in ((node, OWN, FAR), (tor, FAR, OWN)):
        host.ip("addr", "add", f"{own}/32", "dev", "lo")
        host.ip("route", "add", far, "via", made.address)
        made.ip("route", "add", own, "via", host.address)
    return made


@pytest.mark.usefixtures("between")
def test_a_session_over_a_hop_from_another_source_address(run_router, node, tor):
    each = run_router(peer=OWN, source=FAR, multihop=5)
    far = {"address": ip_address(FAR), "source": ip_address(OWN), "connect_retry_s": 1}

    async def work() -> None:
        async with speaking(peer_on(node, tor, ttl=1, **far), node, TABLE) as spoken:
            await spoken.reaches(lambda: spoken.causes, "TTL 1 does not get there")
            assert not each.routes()
        async with speaking(peer_on(node, tor, ttl=2, **far), node, TABLE):
            await until(holds(each, *map(str, TABLE)))

    on(node, work())


@pytest.mark.usefixtures("between")
def test_gtsm_over_a_hop_counts_it(run_router, node, tor, monkeypatch):
    monkeypatch.setattr(bgp_session, "OPEN_HOLD_S", 2.0)
    each = run_router(peer=OWN, source=FAR, gtsm=2)
    far = {"address": ip_address(FAR), "source": ip_address(OWN), "connect_retry_s": 1}

    async def work() -> None:
        async with speaking(peer_on(node, tor, gtsm_hops=1, **far), node, TABLE) as spoken:
            await spoken.reaches(lambda: spoken.causes, "what came over a hop is refused")
            assert not spoken.peer.counts.established
            assert not each.routes()
        async with speaking(peer_on(node, tor, gtsm_hops=2, **far), node, TABLE):
            await until(holds(each, *map(str, TABLE)))

    on(node, work())


def test_every_attribute_inside_one_as(run_router, node, tor):
    each = run_router(asn=64496)
    table = routes(
        FOUR,
        SIX,
        local_preference=250,
        communities=(64496 << 16 | 7, 0xFFFF0000),
        # A route target of an ASN of two bytes, of four, of an address; a site of origin.
        extended_communities=tuple(
            map(
                bytes.fromhex,
                ("0002fbf000000064", "02020001000f0065", "0102c63364010066", "0003fbf000000067"),
            )
        ),
        large_communities=((65551, 1, 2),),
    )

    async def work() -> None:
        async with speaking(peer_on(node, tor, peer_asn=64496), node, table):
            await until(holds(each, FOUR, SIX))
            for prefix in (FOUR, SIX):
                assert each.carried(prefix) == Carried(
                    local_preference=250,
                    standard={"64496:7", "65535:0"},
                    extended={
                        *("rt:64496:100", "rt:65551:101"),
                        *("rt:198.51.100.1:102", "soo:64496:103"),
                    },
                    large={"65551:1:2"},
                )

    on(node, work())


def test_the_path_of_an_external_session_is_our_asn_without_local_preference(each, node, tor):
    async def work() -> None:
        table = routes(FOUR, local_preference=250)
        async with speaking(peer_on(node, tor), node, table):
            await until(holds(each, FOUR))
            carried = each.carried(FOUR)
            assert carried.as_path == "64496"
            # BIRD shows its own.
            assert carried.local_preference == (100 if isinstance(each, Bird) else None)

    on(node, work())


@pytest.mark.parametrize("kind", [Frr, Bird], ids=["frr", "bird"])
def test_a_soft_reconfiguration_of_the_peer_asks_for_the_routes_and_gets_them(each, node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(each, *map(str, TABLE)))
            before = spoken.peer.counts.sent[MessageType.UPDATE]
            await asyncio.to_thread(each.ask_again, node.address)
            asked = spoken.peer.counts.received
            await spoken.reaches(lambda: asked[MessageType.ROUTE_REFRESH], "refresh")
            sent = spoken.peer.counts.sent
            await spoken.reaches(lambda: sent[MessageType.UPDATE] > before, "the routes")
            await until(holds(each, *map(str, TABLE)))
            assert spoken.peer.counts.established == 1

    on(node, work())


@contextlib.contextmanager
def watching(each: Frr | Bird | Gobgp, output: Path) -> Iterator[Callable[[str], list[str]]]:
    """Write down every change of the router's routes; tell those about one prefix."""
    with output.open("w") as file:
        process = subprocess.Popen(each.watch(), stdout=file)
    try:
        # As the kernel writes it, and GoBGP begins.
        yield lambda prefix: [
            line
            for line in output.read_text().splitlines()
            if re.search(rf"(^|\s){re.escape(prefix.removesuffix('/32'))}\b", line)
        ]
    finally:
        process.kill()
        process.wait()


async def begun(spoken: Spoken, each: Frr | Bird | Gobgp, changes: Callable[[str], object]) -> None:
    """Flap a route until the watch, which takes a while to begin, has told of it."""
    mark = "192.0.2.99/32"
    while not changes(mark):
        spoken.peer.want(routes(mark))
        await until(holds(each, mark))
        spoken.peer.want({})
        await until(holds(each))


def removed(lines: list[str]) -> bool:
    return any("Deleted" in line or "[DELROUTE]" in line for line in lines)


def test_the_route_stays_while_the_speaker_dies_and_comes_back(each, node, tor, tmp_path):
    """What is not wanted any more leaves at the end of the table, and the watch sees that."""
    unwanted = "203.0.113.128/25"

    async def work() -> None:
        config = peer_on(node, tor)
        async with speaking(config, node, {}) as spoken:
            await begun(spoken, each, changes)
            spoken.peer.want(TABLE)
            await until(lambda: changes(FOUR) and changes(unwanted), "the watched routes")
        # The block's end is a death: TCP closes without a NOTIFICATION.
        await until(lambda: not each.up(node.address))
        assert holds(each, *map(str, TABLE))()
        async with speaking(config, node, routes(FOUR, SIX)) as spoken:
            await until(holds(each, FOUR, SIX))
            assert spoken.peer.status.terms.graceful_restart
            await until(lambda: removed(changes(unwanted)), "the watch")
            assert not removed(changes(FOUR))

    with watching(each, tmp_path / "changes") as changes:
        on(node, work())


def test_the_words_of_a_peer_that_shuts_us_down_are_told(each, node, tor):
    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:
            await until(holds(each, *map(str, TABLE)))
            await asyncio.to_thread(each.disable, node.address, "maintenance until noon")
            await spoken.reaches(lambda: Cause.NOTIFIED in spoken.causes, "the message")
            told = [one.down.notification for one in spoken.changes if one.down is not None]
            assert "maintenance until noon" in [one.text for one in told if one is not None]

    on(node, work())
