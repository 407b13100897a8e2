"""The how-to's configurations are run: each router takes a node's routes with the text as it is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.cluster import steadily
from tests.support.lan import Host
from tests.support.routers import Bird, Frr, Gobgp, holds, router
from tests.support.speaking import TABLE, on, peer_on, speaking, until

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
