"""Routers of a lab: their daemons run, learn, and carry what a client behind them asks.

BIRD stands in for our speaker on the nodes in the first part: what fails there is the lab's fault.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab import lab, records, routes
from lbctl.lab import spec as at
from lbctl.lab.spec import LabSpec, Router
from tests.cluster.conftest import say
from tests.cluster.traces import NOTHING, traces_of
from tests.support.cluster import Cluster, echo, eventually, service

pytestmark = pytest.mark.cluster

NAME = f"t-routers-{os.getpid()}"
V4, V6 = at.ROUTED_V4[7], at.ROUTED_V6[7]
PREFIXES = {f"{V4}/32": ("192.0.2.11", "192.0.2.12"),
            f"{V6}/128": ("2001:db8:0:1::11", "2001:db8:0:1::12")}  # fmt: skip


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """Yield a lab of two nodes and three routers, which leaves nothing when it is taken down."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    spec = LabSpec(
        name=NAME, directory=records.directory(NAME), nodes=2, routers=tuple(Router), ecmp=True
    )
    try:
        lab.up(spec, say)
        record = records.load(NAME)
        yield Cluster(
            lab=NAME,
            kubeconfig=record.kubeconfig,
            kubectl=record.bin / "kubectl",
            nodes=record.spec.node_names,
        )
    finally:
        lab.down(NAME, say)
        assert traces_of(NAME) == NOTHING


def used() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return what each router's kernel uses for each prefix that the router has learnt."""
    return {
        one.router: {route.prefix: one.next_hops(route.prefix) for route in one.routes}
        for one in routes.read(NAME)
    }


def both_nodes_used() -> None:
    wanted = dict.fromkeys(Router, PREFIXES)
    eventually(f"every router uses both nodes: {wanted}", lambda: used() == wanted)


def pings(address: object, via: Router) -> bool:
    """Say whether an address answers a client whose packets go through a router."""
    own = at.via_v6(via) if ":" in str(address) else at.via_v4(via)
    command = ["ping", "-c1", "-W1", "-I", str(own.ip), str(address)]
    return lab.run(NAME, at.REMOTE, command, capture_output=True).returncode == 0


@contextmanager
def bird_on(node: str, folder: Path) -> Iterator[None]:
    """Announce both prefixes from a node's network, by a BIRD that calls every router.

    A router that loses its power says nothing: that is noticed when the hold time is over.
    """
    calls = "\n".join(
        f"""protocol bgp to_{router} {{
          local {at.ipv4(node).ip} as {at.NODE_ASN}; neighbor {at.ipv4(router).ip} as {router.asn};
          connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 6;
          ipv4 {{ import none; export all; next hop self; }};
          ipv6 {{ import none; export all; next hop address {at.ipv6(node).ip}; }};
        }}"""
        for router in Router
    )
    settings = folder / f"{node}.conf"
    settings.write_text(
        f"""router id {at.ipv4(node).ip};
        protocol device {{ }}
        protocol static four {{ ipv4; route {V4}/32 blackhole; }}
        protocol static six {{ ipv6; route {V6}/128 blackhole; }}
        {calls}
        """
    )
    command = ["bird", "-f", "-c", str(settings), "-s", str(folder / f"{node}.ctl")]
    inside = ["nsenter", f"--net={records.network(NAME, node)}", *command]
    with subprocess.Popen(inside) as running:
        try:
            yield
        finally:
            running.kill()


@pytest.fixture(scope="module")
def announced(routed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield the lab while both nodes announce the prefixes."""
    folder = tmp_path_factory.mktemp("bird")
    with bird_on("node1", folder), bird_on("node2", folder):
        both_nodes_used()
        yield routed


def test_every_router_is_a_machine_whose_daemons_run(routed: Cluster) -> None:
    def states() -> dict[str, set[str]]:
        found = {one.name: one for one in lab.status(routed.lab).machines}
        return {router: {one.state for one in found[router].programs} for router in Router}

    eventually("all daemons run", lambda: all(s <= {"running", "done"} for s in states().values()))


def test_routers_that_nobody_called_hold_nothing_and_say_so(routed: Cluster) -> None:
    found = json.loads(routed.lbctl("lab", "routes", "--name", NAME, "-o", "json"))
    assert [(one["router"], one["routes"], one["error"]) for one in found] == [
        ("frr", [], ""),
        ("bird", [], ""),
        ("gobgp", [], ""),
    ]


@pytest.mark.parametrize("router", Router)
def test_the_remote_client_reaches_a_node_through_the_router_that_it_chooses(
    routed: Cluster, router: Router
) -> None:
    node = (at.ipv4("node1").ip, at.ipv6("node1").ip)
    others = [other for other in Router if other is not router]
    assert all(pings(address, router) for address in node)
    lab.cable(routed.lab, router, connected=False)
    try:
        assert not any(pings(address, router) for address in node)
        assert all(pings(address, other) for address in node for other in others)
    finally:
        lab.cable(routed.lab, router, connected=True)
    for address in node:
        eventually(f"{router} carries again", lambda address=address: pings(address, router))


def answers(address: object, via: Router, count: int = 8) -> list[dict[str, Any]]:
    """Return what a Service's port answers to a client behind a router."""
    own = at.via_v6(via) if ":" in str(address) else at.via_v4(via)
    host = f"[{address}]" if ":" in str(address) else address
    ask = [sys.executable, "-m", "lbctl.lab.meters.ask", f"http://{host}:80/",
           "--source", str(own.ip)]  # fmt: skip
    return [
        json.loads(lab.run(NAME, at.REMOTE, ask, capture_output=True).stdout) for _ in range(count)
    ]


def test_an_address_is_answered_through_every_router_by_the_nodes_that_announce_it(
    announced: Cluster,
) -> None:
    announced.apply(
        echo("there", replicas=4),
        service("there", selector={"app": "there"}, externalTrafficPolicy="Local",
                ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"]),
    )  # fmt: skip
    announced.kube("rollout", "status", "deployment/there", "--timeout=60s")
    # No lbctl is here: the test gives the address, as a controller would.
    ingress = [{"ip": str(V4)}, {"ip": str(V6)}]
    status = json.dumps({"status": {"loadBalancer": {"ingress": ingress}}})
    announced.kube("patch", "service", "there", "--subresource=status", "-p", status)
    for router in Router:
        for address, own in ((V4, at.via_v4(router)), (V6, at.via_v6(router))):

            def both_nodes(address: object = address, router: Router = router) -> set[str]:
                found = {one.get("node") for one in answers(address, router)}
                return found if found == {"node1", "node2"} else set()

            eventually(f"both nodes answer {address} through {router}", both_nodes)
            seen = {one["client"].strip("[]") for one in answers(address, router, 3)}
            assert seen == {str(own.ip)}


def test_a_router_that_lost_power_learns_its_table_again(announced: Cluster) -> None:
    for router in Router:
        lab.poweroff(announced.lab, router, say)
    assert [one.error for one in routes.read(NAME)] == [f"{router} is off" for router in Router]
    for router in Router:
        lab.boot(announced.lab, router, say)
    both_nodes_used()


def test_the_table_for_people_has_a_row_for_every_way(announced: Cluster) -> None:
    rows = [row.split() for row in announced.lbctl("lab", "routes", "--name", NAME).splitlines()]
    assert rows[0] == ["ROUTER", "PREFIX", "NEXT", "HOP", "NODE", "LOCAL", "PREF", "USED"]
    assert len(rows) == 1 + 3 * 2 * 2
    assert ["gobgp", f"{V4}/32", "192.0.2.12", "node2", "100", "yes"] in rows
