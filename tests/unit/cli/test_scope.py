"""Each question reads what can matter to its answer; tests/property/test_scope.py: it is enough."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.commanding import (
    ADVERTISEMENT,
    Done,
    World,
    bgp_advertisement,
    endpoints,
    kubeconfig,
    node,
    peer,
    pool,
    run,
    sent,
    service,
    speaker,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import FaultKind

WORLD: World = [
    pool("first", "192.0.2.10-192.0.2.19"),
    ADVERTISEMENT,
    node("node1", "192.0.2.1"),
    node("node2", "192.0.2.2"),
    speaker("node1"),
    *(endpoints(name, "node1") for name in ("web", "other")),
    service("web", ingress=[{"ip": "192.0.2.10"}]),
    service("other", ingress=[{"ip": "192.0.2.11"}]),
    sent("web", "node1", "192.0.2.10"),
    sent("other", "node1", "192.0.2.11"),
]
ONLY = "kubernetes.io/service-name=web"
ALL = ""
ABSENT = None


def asked(world: World, directory: Path, *words: str) -> dict[str, str]:
    """Return the label selector of each collection that was read."""

    async def serve() -> dict[str, str]:
        async with FakeApi() as api:
            for plural, body in world:
                api.put(plural, body)
            config = kubeconfig(directory / "config", api.url)
            done = await asyncio.to_thread(run, ("explain", *words), config)
            assert done.returncode in (0, 1), done.stderr
            return {one.resource: one.query.get("labelSelector", ALL) for one in api.asked}

    return asyncio.run(serve())


@pytest.mark.parametrize(
    ("words", "services", "slices", "nodes"),
    [
        pytest.param("address 192.0.2.10", ALL, ONLY, ALL, id="an address that one has"),
        pytest.param("address 192.0.2.19", ALL, ABSENT, ALL, id="an address that nobody has"),
        pytest.param("pool first", ALL, ABSENT, ABSENT, id="a pool"),
        pytest.param("node node1", ALL, ALL, ALL, id="a node that may announce"),
        pytest.param("node node2", ABSENT, ABSENT, ALL, id="a node without a speaker"),
        pytest.param("node node2 --service web", ALL, ALL, ALL, id="why not this node"),
    ],
)
def test_a_question_reads_what_can_matter(
    words: str, services: str | None, slices: str | None, nodes: str | None, tmp_path: Path
) -> None:
    found = asked(WORLD, tmp_path, *words.split())
    read = [found.get(one) for one in ("services", "endpointslices", "nodes")]
    assert read == [services, slices, nodes]
    assert ("servicel2statuses" in found) == (slices is not None)


def test_of_an_aggregate_the_endpoints_of_all_are_read(tmp_path: Path) -> None:
    world = [*WORLD, peer(), bgp_advertisement(aggregationLength=24)]
    assert asked(world, tmp_path, "address", "192.0.2.10")["endpointslices"] == ALL


def test_no_service_is_read_for_a_peer(tmp_path: Path) -> None:
    found = asked([*WORLD, peer(), bgp_advertisement()], tmp_path, "peer", "tor")
    assert not {"services", "endpointslices", "namespaces"} & found.keys()
    assert {"nodes", "bgpsessionstatuses"} <= found.keys()


def test_what_is_no_address_is_said_without_asking_anybody(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "http://192.0.2.1:1")
    done = run(("explain", "address", "here"), config)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'here' is not an address" in done.stderr


@pytest.mark.parametrize("fault", [FaultKind.HALF_BODY, FaultKind.GARBAGE, FaultKind.FORBIDDEN])
def test_an_answer_that_is_no_list_is_said_in_one_line(fault: FaultKind, tmp_path: Path) -> None:
    async def serve() -> Done:
        async with FakeApi() as api:
            for plural, body in WORLD:
                api.put(plural, body)
            api.faults.arm(fault, resource="nodes", times=None)
            config = kubeconfig(tmp_path / "config", api.url)
            return await asyncio.to_thread(run, ("explain", "node", "node1"), config)

    done = asyncio.run(serve())
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert "nodes" in done.stderr
