"""A node says that it is a router: scapy judges the bytes, a host's kernel what it makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

from lbctl.model.names import LinkName
from speaker.wire.control import Counters, CountersRequest
from speaker.wire.ethernet import format_mac
from tests.support.advertising import HURRIED, heard, silent
from tests.support.fastpath_process import FastPathProcess, SpeakerEnd
from tests.support.lan import Host, eventually

pytestmark = [pytest.mark.netns, pytest.mark.timeout(60)]

ETH0 = LinkName("eth0")


@pytest.fixture
def fastpath(start: Callable[..., FastPathProcess], node: Host) -> FastPathProcess:
    return start(node, program=HURRIED)


def test_an_advertisement_is_what_scapy_builds_and_the_kernel_completes(speaker, node, client):
    speaker.delta(router_links=(ETH0,))
    frame = eventually(lambda: heard(client, 1.0), what="an advertisement")
    built = (
        Ether(dst="33:33:00:00:00:01", src=format_mac(node.mac))
        / IPv6(src=str(node.link_local), dst="ff02::1", hlim=255)
        / ICMPv6ND_RA(chlim=0, M=0, O=0, prf=0, routerlifetime=0, reachabletime=0, retranstimer=0)
        / ICMPv6NDOptSrcLLAddr(lladdr=format_mac(node.mac))
    )
    # A kernel may label the flow, which is nobody's business.
    frame[IPv6].fl = 0
    assert bytes(frame) == bytes(built)
    assert str(node.link_local) not in node.ip("-6", "neigh"), "the node does not hear itself"
    speaker.send(CountersRequest())
    counts = speaker.expect(Counters).links[ETH0]
    assert counts["router_advertisements_sent"] > 0
    assert counts["announcements_sent"] == 0


def test_a_host_that_hears_it_makes_no_route_of_it(speaker, node, other, client):
    """The client would: it makes one of an advertisement with a lifetime."""

    def default_routes() -> str:
        return client.ip("-6", "route", "show", "default")

    def marked() -> bool:
        return "router" in client.ip("-6", "neigh", "show", "to", str(node.link_local))

    speaker.delta(router_links=(ETH0,))
    eventually(marked, what="the client has heard the node")
    eventually(
        lambda: other.advertise_as_router(lifetime_s=1800) or default_routes(),
        what="the other router's route",
    )
    assert eventually(lambda: heard(client, 1.0), what="one more")
    assert f"via {other.link_local} " in default_routes()
    assert str(node.link_local) not in client.ip("-6", "route", "show", "table", "all")


def test_it_goes_on_until_a_command_ends_it_and_begins_at_once_when_the_link_is_back(
    fastpath, speaker, lan, node, client
):
    speaker.delta(router_links=(ETH0,))
    eventually(lambda: heard(client, 1.0), what="an advertisement")
    lan.port(node, "down")
    eventually(lambda: silent(client), what="the link is dead")
    lan.port(node, "up")
    eventually(lambda: heard(client, 1.0), what="the link is back")
    speaker.close()
    assert heard(client, 5.0), "lb-speaker may be away"
    again = SpeakerEnd(fastpath.path)
    again.table()
    assert silent(client), "what the new lb-speaker does not name is over"
    again.close()


def test_without_a_link_local_address_nothing_leaves_until_there_is_one(speaker, node, client):
    before = node.link_local
    node.ip("addr", "del", f"{before}/64", "dev", "eth0")
    try:
        assert node.address6 in node.ip("-6", "addr"), "there is an address, of the wrong scope"
        speaker.delta(router_links=(ETH0,))

        def refused() -> bool:
            speaker.send(CountersRequest())
            return speaker.expect(Counters).links.get(ETH0, {}).get("send_failed", 0) > 1

        eventually(refused, what="more than one attempt")
        assert silent(client)
    finally:
        node.ip("addr", "add", f"{before}/64", "dev", "eth0", "nodad")
    frame = eventually(lambda: heard(client, 1.0), what="an advertisement")
    assert frame[IPv6].src == str(before)
