"""The inventory of links and addresses agrees with pyroute2's, now and after every change."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from speaker.agent.inventory import EXCLUDED, excluding
from speaker.drivers.node.links import NodeLinks
from tests.support.lan import inside
from tests.support.loop import background, eventually, run

pytestmark = pytest.mark.netns


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"lbctl-t-{os.getpid()}-links"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ip(name, "link add eth0 type veth peer name far0")
        ip(name, "link set eth0 address 02:00:5e:00:53:01")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def ip(namespace: str, words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words.split()], check=True)


def oracle() -> dict[str, tuple[str, frozenset[str]]]:
    """Return MAC and addresses by link, as pyroute2 reads them in the present namespace."""
    with IPRoute() as route:
        names = {one["index"]: one for one in route.link("dump")}
        found: dict[int, set[str]] = {index: set() for index in names}
        for one in route.addr("dump"):
            text = one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")
            if not text.startswith("fe80"):
                found[one["index"]].add(f"{text}/{one['prefixlen']}")
        return {
            link.get_attr("IFLA_IFNAME"): (link.get_attr("IFLA_ADDRESS"), frozenset(found[index]))
            for index, link in names.items()
        }


def test_the_inventory_agrees_with_pyroute2_after_every_change(namespace: str) -> None:
    changes = (
        "addr add 192.0.2.11/24 dev eth0",
        "link set eth0 up",
        "link set far0 up",
        "addr add 2001:db8:0:1::11/64 dev eth0 nodad",
        "addr del 192.0.2.11/24 dev eth0",
        "link set eth0 address 02:00:5e:00:53:02",
        "link set eth0 down",
    )

    async def follow() -> None:
        links = NodeLinks(lambda: None, excluding(EXCLUDED))
        async with background(links.run()):
            for change in changes:
                await asyncio.to_thread(ip, namespace, change)
                expected = (await asyncio.to_thread(oracle))["eth0"]
                await eventually(lambda expected=expected: seen(links) == expected, change)
            assert links.resyncs == 0

    def seen(links: NodeLinks) -> tuple[str, frozenset[str]] | None:
        for link in links.current or ():
            if link.name == "eth0":
                addresses = (str(one) for one in link.subnets if not one.ip.is_link_local)
                return link.mac, frozenset(addresses)
        return None

    with inside(namespace):
        run(follow())
