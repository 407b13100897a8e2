"""lb-speaker's BGP in a process of its own, as its rivals are: python -m tests.bench.bgp_speaker.

Arguments: the peer's address and port, our address and ASN, the ASN of the peer, the number of
routes. Each line on stdin is one change of one
route; the wall clock's nanoseconds at which the desired table was another are the answer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from ipaddress import IPv4Address, ip_address

from lbctl.model.names import PeerName
from lbctl.model.route import Prefix, prefix_of
from lbctl.run.memory import settle
from speaker.agent.peering import Peering
from speaker.drivers.node.bgp_peers import BgpPeers
from speaker.protocols.bgp_routes import Route
from speaker.wire.bgp_messages import PathAttributes
from tests.support.bgp import make_peer

FIRST = IPv4Address("198.18.0.0")
TOR = PeerName("tor")


def prefix(number: int) -> Prefix:
    return prefix_of(FIRST + number, 32)


async def work(*words: str) -> None:
    peer, port, own, asn, theirs, count = words
    addresses = (ip_address(own),)
    config = make_peer(
        address=ip_address(peer),
        port=int(port),
        identifier=addresses[0],
        asn=int(asn),
        peer_asn=int(theirs),
        graceful_restart_s=None,
        connect_retry_s=1,
    )
    peers = BgpPeers(beside=lambda _: addresses, on_change=lambda *_: None)
    table = dict.fromkeys(map(prefix, range(int(count))), Route())
    peers.apply({TOR: Peering(config=config, table=table)})
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    settle()  # as lb-speaker does after its first plan
    changes = 0
    while await lines.readline():
        changes += 1
        attributes = PathAttributes(communities=(64496 << 16 | changes,))
        table = table | {prefix(changes): Route(attributes=attributes)}
        changed = time.time_ns()
        peers.apply({TOR: Peering(config=config, table=table)})
        print(changed, flush=True)


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
