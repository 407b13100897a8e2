"""lb-speaker is killed and comes back: a client's packets and a router's kernel are the judges."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fabric import WITHIN_S, Fabric, fabric_of
from tests.support.lan import Host, eventually
from tests.support.router_lines import LINES, lines_of
from tests.support.routers import Frr, Gobgp, router
from tests.support.speaker_lan import V4, V6

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

SALE = ("198.51.100.201", "2001:db8:1::201")
"""Of a Service that ends while nobody speaks: they leave with the last of what is stale."""
MARK = "192.0.2.99"


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    with fabric_of(tmp_path, "n1") as made:
        through_the_router(made)
        yield made


def through_the_router(fabric: Fabric) -> None:
    """Have the client reach the node's external IPs by what the router has learnt, or not at all."""
    node, tor, client = fabric.node.host, fabric.tor, fabric.cluster.client
    for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
        tor.sysctl(f"net.{key}", "1")
    for scope in ("all", "eth0"):
        # On one LAN the router would tell the client a shorter way, past what is measured.
        tor.sysctl(f"net.ipv4.conf.{scope}.send_redirects", "0")
        client.sysctl(f"net.ipv6.conf.{scope}.accept_redirects", "0")
    # Nor may the router find the addresses on its own link; IPv6 does not answer for lo.
    node.sysctl("net.ipv4.conf.all.arp_ignore", "1")
    for address, way in ((V4, tor.address), (V6, tor.address6)):
        node.ip("addr", "add", address, "dev", "lo")
        client.ip("route", "add", address, "via", way)


class Asking:
    """A client that sends an address a packet every 5 ms."""

    def __init__(self, client: Host, address: str, output: Path) -> None:
        words = ("ping", "-n", "-i", "0.005", address)
        self._output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", client.namespace, *words], stdout=file
            )

    def answered(self) -> set[int]:
        """Return the numbers of the packets that were answered; they count from 1."""
        text = self._output.read_text()
        return set(map(int, re.findall(r"bytes from .* icmp_seq=(\d+) ", text)))

    def one_more(self) -> None:
        """Wait for an answer that was not there before."""
        before = len(self.answered())
        eventually(lambda: len(self.answered()) > before, within_s=WITHIN_S, what="an answer")

    def lost(self) -> set[int]:
        """Return what was never answered of all before the last that was."""
        answered = self.answered()
        return set(range(1, max(answered))) - answered


@contextlib.contextmanager
def asking(client: Host, folder: Path) -> Iterator[list[Asking]]:
    """Ask both external IPs for the length of a block."""
    made: list[Asking] = []
    try:
        for number, address in enumerate((V4, V6)):
            made.append(Asking(client, address, folder / f"answers-{number}"))
            made[-1].one_more()
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.process.wait()


@contextlib.contextmanager
def deletions(host: Host, output: Path) -> Iterator[Callable[..., set[str]]]:
    """Return which of some routes the host's kernel has deleted since the block began."""
    with output.open("w") as file:
        command = ["ip", "-n", host.namespace, "-o", "monitor", "route"]
        process = subprocess.Popen(command, stdout=file)

    def read(*addresses: str) -> set[str]:
        lines = [line.split() for line in output.read_text().splitlines()]
        return {words[1] for words in lines if words[0] == "Deleted"} & set(addresses)

    def begun() -> set[str]:
        host.ip("route", "add", MARK, "dev", "lo")
        host.ip("route", "del", MARK, "dev", "lo")
        return read(MARK)

    try:
        eventually(begun, what="the watch has begun")
        yield read
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def forwarding(kind: type, fabric: Fabric) -> Iterator[Any]:
    """Run a router that puts what it learns into its kernel."""
    node = fabric.node.host
    with router(kind, fabric.tor, lines_of(kind, node)) as made:
        if isinstance(made, Frr):
            made.settled(node.address)
        if isinstance(made, Gobgp):
            made.forward()
        yield made


@pytest.mark.parametrize("graceful", [True, False], ids=["graceful", "plain"])
@pytest.mark.parametrize("kind", list(LINES), ids=lambda kind: kind.__name__.lower())
def test_a_client_loses_no_packet_while_the_speaker_is_killed_and_comes_back(
    fabric, tmp_path, kind, graceful
):
    """Without graceful restart routes go and packets are lost: the measure can tell.

    The routes of FRR and BIRD are their own doing, GoBGP's are copies of its table: a gap that is
    shorter than it takes to copy would not be seen here. That the table itself has none is held by
    test_the_route_stays_while_the_speaker_dies_and_comes_back.
    """
    node, tor, cluster = fabric.node.host, fabric.tor, fabric.cluster
    cluster.put_service("sale", addresses=SALE)
    cluster.put_endpoints("n1", service="sale")

    def has(*addresses: str) -> None:
        def installed() -> set[str]:
            lines = (tor.ip("-4", "route") + tor.ip("-6", "route")).splitlines()
            return {line.split()[0] for line in lines} & {V4, V6, *SALE}

        what = f"the router's kernel has {addresses}"
        eventually(lambda: installed() == set(addresses), within_s=WITHIN_S, what=what)

    with forwarding(kind, fabric) as made:
        fabric.put_peer("tor", tor, enableGracefulRestart=graceful)
        fabric.node.start_speaker()
        has(V4, V6, *SALE)
        with (
            deletions(tor, tmp_path / "deletions") as deleted,
            asking(cluster.client, tmp_path) as asked,
        ):
            speaker = fabric.node.speaker
            speaker.kill()
            speaker.wait(20)
            eventually(lambda: not made.up(node.address), within_s=WITHIN_S, what="its end is seen")
            has(*((V4, V6, *SALE) if graceful else ()))
            cluster.api.call(lambda api: api.delete("services", "sale", "default"))
            fabric.node.start_speaker()
            has(V4, V6)
            for one in asked:
                one.one_more()
                assert bool(one.lost()) is not graceful
            assert deleted(*SALE) == set(SALE), "the watch sees what goes"
            assert deleted(V4, V6) == (set() if graceful else {V4, V6})
