"""The real lb-speaker beside FRR and BIRD, told what to do by objects as in a cluster.

What the session layer alone can show is in test_bgp_continuity.py; here it is a whole process that
reads BGPPeers, BGPAdvertisements, Secrets, Services and Nodes, and routers that judge it. How it is
killed and comes back is in test_bgp_restart.py.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bgp import THEIRS
from tests.support.cluster import steadily
from tests.support.fabric import BOTH, WITHIN_S, Fabric, fabric_of
from tests.support.lan import eventually
from tests.support.router_lines import bird_lines, frr_lines
from tests.support.routers import Bird, Frr, holds, router

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

PASSWORD, ANOTHER = "correct-horse", "battery-staple"


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    with fabric_of(tmp_path, "n1") as made:
        yield made


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[Fabric]:
    with fabric_of(tmp_path, "n1", "n2") as made:
        yield made


@contextlib.contextmanager
def frr_of(fabric: Fabric, *neighbor: str) -> Iterator[Frr]:
    node = fabric.node.host
    with router(Frr, fabric.tor, frr_lines(node, *neighbor)) as frr:
        yield frr.settled(node.address)


def has(frr: Frr, *prefixes: str) -> None:
    eventually(holds(frr, *prefixes), within_s=WITHIN_S, what=f"FRR has {prefixes}")


def test_edits_of_objects_about_one_peer_leave_the_session_with_the_other_unbroken(fabric):
    """FRR sees communities, timers and passwords change; BIRD counts the time of its session."""
    node = fabric.node.host
    with (
        frr_of(fabric) as frr,
        router(Bird, fabric.spine, bird_lines(node)) as bird,
    ):
        fabric.put_peer("tor", fabric.tor)
        fabric.put_peer("spine", fabric.spine)
        fabric.node.start_speaker()
        has(frr, *BOTH)
        eventually(holds(bird, *BOTH), within_s=WITHIN_S, what="BIRD has both")
        since = pytest.approx(bird.since_s(node.address), abs=0.5)
        first = frr.sessions(node.address)

        fabric.put_advertisement("for-tor", peers=["tor"], communities=["64496:7"])
        eventually(
            lambda: "64496:7" in frr.path(BOTH[0]).get("community", {}).get("list", []),
            within_s=WITHIN_S,
            what="the community",
        )
        assert frr.sessions(node.address) == first, "told in the session that there is"

        fabric.put_node(also="203.0.113.99")
        fabric.put_advertisement("for-tor", peers=["tor"], communities=["64496:8"])
        eventually(
            lambda: "64496:8" in frr.path(BOTH[0]).get("community", {}).get("list", []),
            within_s=WITHIN_S,
            what="what was written after the node's other address",
        )
        assert frr.sessions(node.address) == first, "an address more is no other session"

        fabric.put_peer("tor", fabric.tor, holdTime="30s", keepaliveTime="2s")
        eventually(
            lambda: frr.sessions(node.address) > first, within_s=WITHIN_S, what="another session"
        )
        has(frr, *BOTH)
        second = frr.sessions(node.address)

        def expect(password: str) -> None:
            words = f"neighbor {node.address} password {password}"
            frr.tell("configure terminal", f"router bgp {THEIRS}", words)

        expect(PASSWORD)
        fabric.put_password(PASSWORD)
        fabric.put_peer("tor", fabric.tor, passwordSecret={"name": "tor-password"})
        eventually(
            lambda: frr.sessions(node.address) > second, within_s=WITHIN_S, what="with a password"
        )
        has(frr, *BOTH)
        third = frr.sessions(node.address)

        expect(ANOTHER)
        fabric.put_password(ANOTHER)
        eventually(
            lambda: frr.sessions(node.address) > third, within_s=WITHIN_S, what="with another one"
        )
        has(frr, *BOTH)
        assert bird.since_s(node.address) == since


def marked_then_gone(frr: Frr) -> None:
    for prefix in BOTH:
        eventually(
            lambda one=prefix: (
                "gracefulShutdown" in frr.path(one).get("community", {}).get("list", [])
            ),
            within_s=WITHIN_S,
            what=f"the mark of {prefix}",
        )
    has(frr)


def drained(fabric: Fabric) -> None:
    fabric.put_node(drain="true")


def terminated(fabric: Fabric) -> None:
    fabric.node.speaker.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("ending", [drained, terminated])
def test_a_planned_end_is_marked_first_and_withdrawn_then(fabric, ending):
    """RFC 8326 4: routers choose other ways while this one still works."""
    with frr_of(fabric) as frr:
        fabric.put_peer("tor", fabric.tor)
        fabric.node.start_speaker()
        has(frr, *BOTH)
        assert "community" not in frr.path(BOTH[0])
        ending(fabric)
        marked_then_gone(frr)
        if ending is terminated:
            assert fabric.node.speaker.wait(30) == 0
            assert "Cease/Administrative Shutdown" in frr.said()
        else:
            up = frr.neighbor(fabric.node.host.address)
            assert up["bgpState"] == "Established"


def test_a_node_whose_last_local_endpoint_ends_is_left_marked_while_another_serves(two_nodes):
    """And kept while none other is ready: a dying endpoint serves better than nobody."""
    cluster, second = two_nodes.cluster, two_nodes.cluster.nodes["n2"]
    cluster.put_service(policy="Local")
    for peer, host, name in (("tor", two_nodes.tor, "n1"), ("spine", two_nodes.spine, "n2")):
        of_node = {"matchLabels": {"kubernetes.io/hostname": name}}
        two_nodes.put_peer(peer, host, nodeSelectors=[of_node])
    with (
        frr_of(two_nodes) as frr,
        router(Bird, two_nodes.spine, bird_lines(second.host)) as bird,
    ):
        two_nodes.node.start_speaker()
        second.start_speaker()
        has(frr, *BOTH)
        assert bird.routes() == {}, "n2 has no endpoint"

        cluster.put_endpoints("n1", ending=("n1",))
        steadily("nobody else can serve", lambda: set(frr.routes()) == set(BOTH), for_s=2)
        assert "community" not in frr.path(BOTH[0])

        cluster.put_endpoints("n1", "n2", ending=("n1",))
        marked_then_gone(frr)
        eventually(holds(bird, *BOTH), within_s=WITHIN_S, what="n2 announces")


def test_nothing_announced_changes_while_the_api_server_is_gone(fabric):
    """Not even for a router that begins anew meanwhile."""

    def silent_s() -> float:
        _, page = fabric.node.get("metrics")
        age = next(line for line in page.splitlines() if line.startswith("lbctl_api_contact_age_s"))
        return float(age.split()[1])

    with frr_of(fabric) as frr, router(Bird, fabric.spine, bird_lines(fabric.node.host)) as bird:
        fabric.put_peer("tor", fabric.tor)
        fabric.put_peer("spine", fabric.spine)
        fabric.node.start_speaker()
        has(frr, *BOTH)
        eventually(holds(bird, *BOTH), within_s=WITHIN_S, what="BIRD has both")
        before = frr.sessions(fabric.node.host.address)

        fabric.cluster.cut_management("n1")
        fabric.put_advertisement("all", communities=["64496:7"])
        eventually(lambda: silent_s() > 10, within_s=60, what="lb-speaker hears nothing")
        bird.kill()
        bird.begin()
        eventually(holds(bird, *BOTH), within_s=WITHIN_S, what="BIRD has both again")
        assert frr.sessions(fabric.node.host.address) == before
        assert set(frr.routes()) == set(BOTH)
        assert "community" not in frr.path(BOTH[0])

        fabric.cluster.cut_management("n1", heal=True)
        eventually(
            lambda: "64496:7" in frr.path(BOTH[0]).get("community", {}).get("list", []),
            within_s=60,
            what="what was written meanwhile",
        )
        assert frr.sessions(fabric.node.host.address) == before


def test_an_advertisement_with_aggregation_lengths_tells_the_aggregates(fabric):
    fabric.put(
        "ipaddresspools",
        "IPAddressPool",
        "pool",
        {"addresses": ["198.51.100.192/26", "2001:db8:1::200/120"]},
    )
    with frr_of(fabric) as frr, router(Bird, fabric.spine, bird_lines(fabric.node.host)) as bird:
        fabric.put_peer("tor", fabric.tor)
        fabric.put_peer("spine", fabric.spine)
        fabric.put_advertisement("all", aggregationLength=27, aggregationLengthV6=121)
        fabric.node.start_speaker()
        has(frr, "198.51.100.192/27", "2001:db8:1::200/121")
        wide = holds(bird, "198.51.100.192/27", "2001:db8:1::200/121")
        eventually(wide, within_s=WITHIN_S, what="BIRD has the aggregates")
        fabric.put_advertisement("all", aggregationLength=28, localPref=0)
        has(frr, "198.51.100.192/28", BOTH[1])
        eventually(
            holds(bird, "198.51.100.192/28", BOTH[1]), within_s=WITHIN_S, what="BIRD as well"
        )


def test_a_node_that_is_renumbered_tells_its_next_hop_in_the_session_that_there_is(fabric):
    """IPv6 routes over an IPv4 session: TCP does not notice."""
    host = fabric.node.host
    with frr_of(fabric) as frr:
        fabric.put_peer("tor", fabric.tor)
        fabric.node.start_speaker()
        has(frr, *BOTH)
        assert frr.routes()[BOTH[1]] == {host.address6}
        first = frr.sessions(host.address)
        later = f"{host.address6}99"
        host.ip("addr", "add", f"{later}/64", "dev", "eth0", "nodad")
        host.ip("addr", "del", f"{host.address6}/64", "dev", "eth0")
        eventually(lambda: frr.routes()[BOTH[1]] == {later}, within_s=WITHIN_S, what="the next hop")
        assert frr.sessions(host.address) == first


def test_the_page_of_metrics_counts_the_session(fabric):
    with frr_of(fabric) as frr:
        fabric.put_peer("tor", fabric.tor)
        fabric.node.start_speaker()
        has(frr, *BOTH)
        there = f'peer="{fabric.tor.address}:179"'

        def counted() -> bool:
            _, page = fabric.node.get("metrics")
            lines = page.splitlines()
            return (
                f"metallb_bgp_session_up{{{there}}} 1.0" in lines
                and f"metallb_bgp_announced_prefixes_total{{{there}}} 2.0" in lines
                and 'lbctl_bgp_session_established{peer="tor"} 1.0' in lines
                and 'lbctl_bgp_acknowledged_prefixes{peer="tor"} 2.0' in lines
            )

        eventually(counted, within_s=WITHIN_S, what="the session's metrics")
