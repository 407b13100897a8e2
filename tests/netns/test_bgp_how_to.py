"""The how-to's configurations are run: each router takes a node's routes with the text as it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address
from pathlib import Path

import pytest

from speaker.protocols.bgp_routes import Route, Table
from speaker.wire.bgp_messages import PathAttributes
from tests.support.bgp import cidr
from tests.support.cluster import steadily
from tests.support.lan import Host
from tests.support.routers import Bird, Frr, Gobgp, holds, router
from tests.support.speaking import FOUR, SIX, TABLE, Spoken, on, peer_on, speaking, until

pytestmark = pytest.mark.netns

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/bgp-routers.md"
NODES, ROUTER = "192.0.2.0/24", "192.0.2.1"
ASN, PEER_ASN = 64500, 64501
KINDS = {"frr": Frr, "bird": Bird, "toml": Gobgp}


def block(language: str, host: Host, nodes: str) -> str:
    """Return the page's one block in a language, with the addresses of the test's LAN."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert NODES in found
    lines = found.replace(NODES, nodes).replace(ROUTER, host.address).splitlines()
    # The test's BIRD begins with these two already, and may have each once.
    return "\n".join(one for one in lines if not one.startswith(("router id", "protocol device")))


@pytest.mark.parametrize("language", list(KINDS))
def test_a_router_that_is_configured_as_the_how_to_says_learns_the_routes(
    language: str, node: Host, tor: Host
) -> None:
    text = block(language, tor, f"{node.address}/32")

    async def work() -> None:
        config = peer_on(node, tor, asn=ASN, peer_asn=PEER_ASN)
        with router(KINDS[language], tor, text) as running:
            async with speaking(config, node, TABLE) as spoken:
                await until(holds(running, *map(str, TABLE)))
                assert running.routes()[next(iter(map(str, TABLE)))] == {node.address}
                assert spoken.peer.status.terms.graceful_restart
            # The block's end is a death: TCP closes without a NOTIFICATION.
            kept = holds(running, *map(str, TABLE))
            await asyncio.to_thread(steadily, "it may restart", kept, for_s=3)

    on(node, work())


A, B = ("198.51.100.71", "2001:db8:1::71"), ("198.51.100.72", "2001:db8:1::72")
"""Two nodes, to the router: two sessions, and next hops of their own."""
GRACEFUL_SHUTDOWN = 0xFFFF0000


@pytest.fixture
def two_nodes(node: Host) -> Iterator[Host]:
    for address, _ in (A, B):
        node.ip("addr", "add", f"{address}/24", "dev", "eth0")
    yield node
    for address, _ in (A, B):
        node.ip("addr", "del", f"{address}/24", "dev", "eth0")


def table_of(hops: tuple[str, str], *communities: int) -> Table:
    attributes = PathAttributes(communities=communities)
    return {
        cidr(prefix): Route(next_hop=ip_address(hop), attributes=attributes)
        for prefix, hop in zip((FOUR, SIX), hops, strict=True)
    }


def used(running: Frr | Bird | Gobgp, prefix: str) -> set[str]:
    """Return the next hops that packets take: in the kernel, or GoBGP's choice for it."""
    if isinstance(running, Gobgp):
        return running.best(prefix)
    family = "-6" if ":" in prefix else "-4"
    return set(re.findall(r"via (\S+)", running.host.ip(family, "route", "show", prefix)))


@pytest.mark.parametrize("language", list(KINDS))
def test_a_route_that_is_marked_with_graceful_shutdown_is_the_last_choice(
    language: str, two_nodes: Host, tor: Host
) -> None:
    """RFC 8326 4.2; marked is now one and now the other, so that nothing else breaks the tie."""

    def speaking_as(hops: tuple[str, str]) -> AbstractAsyncContextManager[Spoken]:
        own = ip_address(hops[0])
        config = peer_on(two_nodes, tor, asn=ASN, peer_asn=PEER_ASN, source=own, identifier=own)
        return speaking(config, two_nodes, table_of(hops))

    async def work() -> None:
        async with speaking_as(A) as a, speaking_as(B) as b:

            async def takes(*nodes: tuple[str, str]) -> None:
                wanted = [set(hops) for hops in zip(*nodes, strict=True)]
                await until(lambda: [used(running, one) for one in (FOUR, SIX)] == wanted)

            await until(lambda: a.up and b.up)
            if language != "toml":
                await takes(A, B)
            for _ in range(2):
                a.peer.want(table_of(A, GRACEFUL_SHUTDOWN))
                await takes(B)
                a.peer.want(table_of(A))
                b.peer.want(table_of(B, GRACEFUL_SHUTDOWN))
                await takes(A)
                b.peer.want(table_of(B))

    with router(KINDS[language], tor, block(language, tor, "198.51.100.0/24")) as running:
        on(two_nodes, work())
