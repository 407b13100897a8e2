"""The whole way of a routed address: pool, speaker, router, and a client behind the router."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lbctl.lab import demo, demo_bgp, lab, records, routes
from lbctl.lab import spec as at
from lbctl.lab.demo_bgp import BgpPart
from lbctl.lab.install import install
from lbctl.lab.spec import LabSpec, Router
from tests.cluster.conftest import say
from tests.cluster.traces import NOTHING, traces_of
from tests.support.cluster import VALUES

pytestmark = pytest.mark.cluster

NAME = f"t-bgp-{os.getpid()}"


@pytest.fixture(scope="module")
def shown() -> Iterator[BgpPart]:
    """Yield what the demo finds in a lab of two nodes, in an AS number of four bytes."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    spec = LabSpec(
        name=NAME,
        directory=records.directory(NAME),
        nodes=2,
        routers=tuple(Router),
        ecmp=True,
        asn=65540,
    )
    try:
        lab.up(spec, say)
        install(NAME, say, values=VALUES)
        demo.kubectl(NAME, "apply", "-f", str(demo.SAMPLES / "echo.yaml"))
        demo.kubectl(NAME, "rollout", "status", "deployment/echo", "--timeout=60s")
        yield demo_bgp.run(NAME, say)
    finally:
        lab.down(NAME, say)
        assert traces_of(NAME) == NOTHING


def test_every_router_shares_every_address_between_both_nodes(shown: BgpPart) -> None:
    assert [one.router for one in shown.routers] == list(Router)
    for one in shown.routers:
        prefixes = {route.prefix for route in one.routes}
        assert len(prefixes) == 2
        for prefix in prefixes:
            face = at.ipv6 if ":" in prefix else at.ipv4
            assert one.next_hops(prefix) == tuple(str(face(n).ip) for n in ("node1", "node2"))


def test_a_client_behind_each_router_is_answered_and_seen_by_its_own_address(
    shown: BgpPart,
) -> None:
    assert not [one.error for one in shown.answers if one.error]
    seen = {(one.via, one.client_seen.strip("[]")) for one in shown.answers}
    assert seen == {
        (router.value, str(own(router).ip)) for router in Router for own in (at.via_v4, at.via_v6)
    }
    assert {one.announcer for one in shown.answers} == {"node1,node2"}


def test_a_drain_costs_no_connection_and_a_cut_costs_only_those_of_the_node(shown: BgpPart) -> None:
    drained, cut = (one.gap for one in shown.gaps)
    assert drained.failed == 0
    assert 0 < cut.failed < cut.asked


def test_every_router_is_whole_again_after_the_demo(shown: BgpPart) -> None:
    assert demo_bgp.whole(routes.read(NAME), shown.routers)
