"""The whole product beside FRR on a link without addresses, as in fabrics of FRR, Cumulus or SONiC.

Such a router knows its neighbor by the link alone, and lets nobody in whom it has not heard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.advertising import HURRIED, heard, silent
from tests.support.lan import Host, eventually
from tests.support.routers import Frr, holds, router
from tests.support.speaker_lan import NAMESPACE, V4, V6, SpeakerLan

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/bgp-routers.md"


def frr_lines() -> str:
    """Return the how-to's lines, with the name that the router's port has here."""
    section = PAGE.read_text().partition("## A link without addresses")[2]
    (found,) = re.findall(r"```text\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    assert "swp1" in found
    return str(found).replace("swp1", "eth0")


def put_peer(cluster: SpeakerLan, **spec: Any) -> None:
    cluster.put(
        "bgppeers",
        {
            "apiVersion": "lbctl.io/v1beta1",
            "kind": "BGPPeer",
            "metadata": {"name": "tor", "namespace": NAMESPACE},
            "spec": {"myASN": 64500, "dynamicASN": "external", "interface": "eth0", **spec},
        },
    )


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[tuple[SpeakerLan, Host]]:
    """One node and a router on a link without addresses; nothing is announced by ARP and NDP."""
    cluster = SpeakerLan(tmp_path, ("n1",))
    try:
        tor = cluster.lan.host("tor")
        for host in (cluster.nodes["n1"].host, tor):
            host.ip("addr", "flush", "dev", "eth0", "scope", "global")
            host.sysctl("net.ipv4.ip_forward", "1")
            host.sysctl("net.ipv6.conf.all.forwarding", "1")
        cluster.populate()
        cluster.api.call(lambda api: api.delete("l2advertisements", "all", NAMESPACE))
        cluster.put_service()
        cluster.put_endpoints("n1")
        cluster.put(
            "bgpadvertisements",
            {
                "apiVersion": "lbctl.io/v1beta1",
                "kind": "BGPAdvertisement",
                "metadata": {"name": "all", "namespace": NAMESPACE},
                "spec": {},
            },
        )
        yield cluster, tor
    finally:
        cluster.close()


def test_a_router_that_waits_for_the_node_learns_the_routes_over_a_link_without_addresses(fabric):
    cluster, tor = fabric
    node = cluster.nodes["n1"]
    ours = str(node.host.link_local)

    def session() -> dict[str, Any]:
        body = cluster.api.call(lambda api: api.get("bgpsessionstatuses", "n1.tor", NAMESPACE))
        return {} if body is None else body.get("status", {})

    def installed(family: str, prefix: str) -> bool:
        return f"{ours} dev eth0" in tor.ip(family, "route", "show", prefix)

    put_peer(cluster)
    with router(Frr, tor, frr_lines()) as frr:
        # Without lb-fastpath nobody advertises the node: this is the router that waits.
        node.start_speaker()
        refused = "the peer closed the connection"
        eventually(lambda: session().get("message") == refused, within_s=60, what="a refusal")
        node.start_fastpath()
        eventually(lambda: session().get("state") == "Established", within_s=60, what="a session")
        eventually(holds(frr, f"{V4}/32", f"{V6}/128"), within_s=30, what="both routes")
        assert ours in frr.routes()[f"{V4}/32"]
        assert frr.neighbor("eth0")["bgpState"] == "Established"
        for family, prefix in (("-4", V4), ("-6", V6)):
            eventually(lambda f=family, p=prefix: installed(f, p), what=f"the route of {prefix}")
        assert session()["peerAddress"] == str(tor.link_local)
        # It has forgotten us, and hears us again within the interval.
        frr.restart()
        assert not frr.routes()
        eventually(holds(frr, f"{V4}/32", f"{V6}/128"), within_s=60, what="both routes again")


def test_a_node_advertises_itself_only_while_such_a_peer_is_its_own(fabric):
    cluster, tor = fabric
    node = cluster.nodes["n1"]
    put_peer(cluster)
    node.start_fastpath(program=HURRIED)
    node.start_speaker()
    eventually(lambda: heard(tor, 1.0), within_s=60, what="an advertisement")
    put_peer(cluster, nodeSelectors=[{"matchLabels": {"kubernetes.io/hostname": "n2"}}])
    eventually(lambda: silent(tor), within_s=60, what="the peer is not this node's any more")
    put_peer(cluster)
    eventually(lambda: heard(tor, 1.0), within_s=60, what="it is again")
