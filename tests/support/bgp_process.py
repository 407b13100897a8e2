"""A speaker's BGP in a process of its own, to be killed: `python -m tests.support.bgp_process`.

Arguments: the peer's address, the node's IPv4 and IPv6 addresses, whether to ask for graceful
restart ("graceful" or "plain"), and prefixes. It says "up" on stdout with each new session.
"""

from __future__ import annotations

import asyncio
import sys
from ipaddress import ip_address

from lbctl.model.names import PeerName
from speaker.agent.peering import Peering
from speaker.drivers.node.bgp_peers import BgpPeers
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_transitions import State
from tests.support.bgp import make_peer, routes


async def work(peer: str, four: str, six: str, restart: str, *prefixes: str) -> None:
    def tell(_name: PeerName, changed: Changed) -> None:
        if changed.state is State.ESTABLISHED:
            print("up", flush=True)

    own = ip_address(four), ip_address(six)
    config = make_peer(
        address=ip_address(peer),
        identifier=own[0],
        graceful_restart_s=60 if restart == "graceful" else None,
    )
    peers = BgpPeers(beside=lambda _: own, on_change=tell)
    peers.apply({PeerName("tor"): Peering(config=config, table=routes(*prefixes))})
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
