"""A session between loopback addresses, as many fabrics have it: which next hops the router gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fabric import BOTH, WITHIN_S, Fabric, fabric_of
from tests.support.lan import eventually
from tests.support.router_lines import frr_lines
from tests.support.routers import Frr, router
from tests.support.speaker_lan import V4, V6

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

OURS = {4: "192.0.2.11", 6: "2001:db8:5::11"}
FAR = {4: "192.0.2.1", 6: "2001:db8:5::1"}


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    """A node and a router that know the way to each other's loopback addresses."""
    with fabric_of(tmp_path, "n1") as made:
        node, tor = made.node.host, made.tor
        for version, there, back in (
            (4, tor.address, node.address),
            (6, tor.address6, node.address6),
        ):
            tor.ip("addr", "add", FAR[version], "dev", "lo")
            node.ip("route", "add", FAR[version], "via", there)
            tor.ip("route", "add", OURS[version], "via", back)
        yield made


@pytest.mark.parametrize("version", [4, 6])
def test_next_hops_of_a_session_from_lo_are_addresses_that_the_router_reaches(fabric, version):
    """The source itself and, in the other family, another address of lo, else one of the Node.

    lo always has 127.0.0.1 and ::1, and the router reaches itself by them.
    """
    node, tor = fabric.node.host, fabric.tor
    source, far, other = OURS[version], FAR[version], OURS[10 - version]
    on_link = {4: node.address6, 6: node.address}[version]
    own, others = BOTH if version == 4 else reversed(BOTH)
    multihop = ("ebgp-multihop 2", f"update-source {far}")

    def told(hop: str) -> None:
        wanted = {own: {source}, others: {hop}}
        eventually(lambda: frr.routes() == wanted, within_s=WITHIN_S, what=f"next hops {wanted}")
        for address, via in ((V4, node.address), (V6, node.address6)):
            eventually(
                lambda address=address, via=via: f"via {via} " in tor.ip("route", "get", address),
                within_s=WITHIN_S,
                what=f"the router's kernel reaches {address}",
            )

    node.ip("addr", "add", source, "dev", "lo")
    with router(Frr, tor, frr_lines(node, *multihop, peer=source)) as frr:
        frr.settled(source)
        fabric.put_peer("tor", tor, peerAddress=far, sourceAddress=source, ebgpMultiHop=True)
        fabric.node.start_speaker()
        told(on_link)
        node.ip("addr", "add", other, "dev", "lo")
        told(other)
        node.ip("addr", "del", other, "dev", "lo")
        told(on_link)
        assert frr.sessions(source) == 1, "all of it in the session that there is"
