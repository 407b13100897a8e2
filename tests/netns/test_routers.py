"""Routers are known by the marks of a real kernel: put there by hand, and by advertisements."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import pytest

from lbctl.model.names import LinkName
from speaker.drivers.node import routers as routers_driver
from speaker.drivers.node.routers import Routers
from speaker.protocols.bgp_peer import DynamicAsn
from speaker.wire.bgp_fault import DECONFIGURED, cease
from tests.support.bgp import THEIRS, routes
from tests.support.lan import Host, Lan
from tests.support.loop import background, eventually
from tests.support.routers import Frr, holds, router
from tests.support.speaking import FOUR, SIX, TABLE, on, peer_on, speaking, until

pytestmark = pytest.mark.netns

ETH0, ETH1 = LinkName("eth0"), LinkName("eth1")
A, B = ip_address("fe80::a"), ip_address("fe80::b")

UNNUMBERED = f"""
router bgp {THEIRS}
 bgp router-id 198.51.100.200
 no bgp ebgp-requires-policy
 neighbor eth0 interface remote-as external
 neighbor eth0 timers 1 3
 address-family ipv6 unicast
  neighbor eth0 activate
 exit-address-family
"""


def forward(host: Host, accept_ra: int = 1) -> None:
    """Make a host what a node of a cluster is to the kernel: something that forwards."""
    host.sysctl("net.ipv6.conf.all.forwarding", "1")
    host.sysctl("net.ipv6.conf.eth0.accept_ra", str(accept_ra))


@pytest.fixture(scope="module", autouse=True)
def forwarding(node: Host, tor: Host) -> None:
    for host in (node, tor):
        forward(host)


@contextlib.asynccontextmanager
async def watching(*links: LinkName) -> AsyncIterator[Routers]:
    routers = Routers(lambda: None)
    routers.watch(links)
    async with background(routers.run()):
        await eventually(lambda: routers.current is not None, "the first reading")
        yield routers


@pytest.fixture
def mark(node: Host) -> Callable[..., None]:
    """Mark a neighbor as a router, or take the mark or the entry away."""
    for kind in ("permanent", "all"):
        node.ip("-6", "neigh", "flush", "dev", "eth0", "nud", kind, check=False)

    def change(address: object, *words: str, verb: str = "replace") -> None:
        entry = ("lladdr", "02:00:5e:00:53:99") if verb == "replace" else ()
        node.ip("neigh", verb, str(address), *entry, "dev", "eth0", *words)

    return change


def test_the_last_router_of_a_link_counts_until_there_is_another(node, mark):
    async def work() -> None:
        mark(A)
        mark(B, "router")
        async with watching(ETH0, ETH1) as known:
            assert known.current == {ETH0: (B,)}
            mark(A, "router")
            await eventually(lambda: known.current == {ETH0: (A, B)}, "both")
            mark(B, verb="del")
            await eventually(lambda: known.current == {ETH0: (A,)}, "one went")
            mark(A)
            mark("2001:db8:1::77", "router")
            mark(B, "router")
            await eventually(lambda: known.current == {ETH0: (B,)}, "the other came")
            mark(B, verb="del")
            mark(B)
            mark(A)
            assert known.current == {ETH0: (B,)}

    on(node, work())


def test_another_node_is_no_router_whatever_it_says_of_itself(node, mark):
    macs = {A: "02:00:5e:00:53:0a", B: "02:00:5e:00:53:0b"}

    def tell(address: object, *words: str) -> None:
        node.ip("neigh", "replace", str(address), "lladdr", macs[address], "dev", "eth0", *words)

    async def work() -> None:
        async with watching(ETH0) as known:
            tell(B, "router")
            tell(A, "router")
            await eventually(lambda: known.current == {ETH0: (A, B)}, "both")
            known.watch([ETH0], [macs[B]])
            assert known.current == {ETH0: (A,)}
            known.watch([ETH0])
            assert known.current == {ETH0: (A,)}, "the node's speaker is gone, and not the node"
            known.watch([ETH0], macs.values())
            assert known.current == {}

    on(node, work())


def test_the_routers_stand_while_neighbors_are_read_again(node, mark, monkeypatch, caplog):
    told = routers_driver.told

    async def overrun(*words):
        async for events in told(*words):
            yield events
            raise OSError(errno.ENOBUFS, "No buffer space available")

    async def work() -> None:
        mark(A, "router")
        async with watching(ETH0) as known:
            await eventually(lambda: "reading neighbors again" in caplog.text, "the overrun")
            known.watch([ETH0])
            assert known.current == {ETH0: (A,)}
            known.watch([ETH0, ETH1])
            assert known.current == {ETH0: (A,)}, "another peer is no news of this one"

    monkeypatch.setattr(routers_driver, "told", overrun)
    monkeypatch.setattr(routers_driver, "AGAIN_S", 3600.0)
    on(node, work())


def test_only_watched_links_are_told_and_each_change_of_the_wish_is_followed(node, mark):
    async def work() -> None:
        told: list[object] = []
        known = Routers(lambda: told.append(known.current))
        async with background(known.run()):
            assert known.current == {}
            mark(A, "router")
            known.watch([ETH1])
            await eventually(lambda: known.current == {} and len(told) == 2, "nothing on eth1")
            known.watch([ETH0])
            await eventually(lambda: known.current == {ETH0: (A,)}, "eth0")
            known.watch([])
            assert known.current == {}
            mark(A, verb="del")
            mark(B, "router")
            known.watch([ETH0])
            await eventually(lambda: known.current == {ETH0: (B,)}, "eth0 again")
        assert told == [None, {}, {ETH0: (A,)}, {}, *told[4:]]

    on(node, work())


def test_a_link_that_is_made_anew_has_no_router_of_before(lan: Lan, node, mark):
    async def work() -> None:
        lan.plug(node, "eth1")
        async with watching(ETH0, ETH1) as known:
            node.ip(
                "neigh", "replace", str(A), "lladdr", "02:00:5e:00:53:98", "dev", "eth1", "router"
            )
            await eventually(lambda: known.current == {ETH1: (A,)}, "eth1")
            node.ip("link", "del", "eth1")
            await eventually(lambda: known.current == {}, "eth1 is gone")

    on(node, work())


@pytest.mark.parametrize("accept_ra", [0, 1, 2])
def test_a_router_that_advertises_itself_is_known_whatever_the_node_takes_from_it(
    node, tor, mark, accept_ra
):
    forward(node, accept_ra)

    async def work() -> None:
        async with watching(ETH0) as known:
            await until(lambda: tor.advertise_as_router() or known.current, "the router")
            assert known.current == {ETH0: (tor.link_local,)}

    on(node, work())


def test_a_node_that_advertises_itself_is_no_router_of_its_own(node, tor, mark):
    async def work() -> None:
        async with watching(ETH0) as known:
            node.advertise_as_router()
            await until(lambda: str(node.link_local) in node.ip("-6", "neigh"), "our own entry")
            await until(lambda: tor.advertise_as_router() or known.current, "the router")
            assert known.current == {ETH0: (tor.link_local,)}

    on(node, work())


def test_an_unnumbered_session_with_the_router_that_advertises_itself(node, tor, mark):
    async def work() -> None:
        async with watching(ETH0) as known:
            # FRR advertises itself where it has such a neighbor, and knows us by the same means.
            await until(lambda: node.advertise_as_router() or known.current, "the router")
            assert known.current == {ETH0: (tor.link_local,)}
            [address] = known.current[ETH0]
            assert address == tor.link_local
            config = peer_on(
                node, tor, address=address, interface="eth0", peer_asn=DynamicAsn.EXTERNAL
            )
            async with speaking(config, node, TABLE) as spoken:
                spoken.peer._beside = lambda _: (node.link_local,)
                await until(holds(running, *map(str, TABLE)))
                assert spoken.peer.status.terms.extended_next_hop
                hop = f"via inet6 {node.link_local} dev eth0"
                await until(lambda: hop in tor.ip("route", "show", FOUR), "the kernel's route")
                await asyncio.to_thread(running.restart)
                await until(
                    lambda: node.advertise_as_router() or holds(running, *map(str, TABLE))()
                )
                assert known.current == {ETH0: (address,)}
                spoken.peer.want(routes(SIX))
                await until(holds(running, SIX))
                spoken.peer.stop(cease(DECONFIGURED))
                await until(holds(running))

    with router(Frr, tor, UNNUMBERED) as running:
        on(node, work())
