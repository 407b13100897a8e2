"""Fixtures of the namespace tests: one LAN per module; one lb-fastpath, one router per test."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fastpath_process import FastPathProcess, SpeakerEnd
from tests.support.lan import Host, Lan
from tests.support.router_lines import LINES, frr_lines, lines_of
from tests.support.routers import Bird, Frr, Gobgp, router


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if os.geteuid():
        pytest.fail("tests of this folder need root: run them by `make netns` as root")
    made = Lan()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def node(lan: Lan) -> Host:
    return lan.host("node")


@pytest.fixture(scope="module")
def other(lan: Lan) -> Host:
    return lan.host("other")


@pytest.fixture(scope="module")
def client(lan: Lan) -> Host:
    return lan.host("client")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FastPathProcess]]:
    """Start lb-fastpath on a host; whatever is left of it is killed after the test."""
    started: list[FastPathProcess] = []

    def start_on(host: Host, **how: tuple[str, ...]) -> FastPathProcess:
        made = FastPathProcess(host.namespace, tmp_path / f"{host.number}.sock", **how)
        started.append(made)
        return made

    yield start_on
    for each in started:
        if each.running:
            each.process.kill()
        each.process.communicate()


@pytest.fixture
def fastpath(start: Callable[[Host], FastPathProcess], node: Host) -> FastPathProcess:
    return start(node)


@pytest.fixture
def speaker(fastpath: FastPathProcess) -> Iterator[SpeakerEnd]:
    made = SpeakerEnd(fastpath.path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tor(lan: Lan) -> Host:
    return lan.host("tor")


@pytest.fixture(scope="module")
def second(lan: Lan) -> Host:
    return lan.host("second")


@pytest.fixture
def frr(node: Host, tor: Host) -> Iterator[Callable[..., Frr]]:
    """Start FRR with more lines about the speaker; it ends with the test."""
    with contextlib.ExitStack() as running:

        def start(*neighbor: str, peer: str = "", **how: Any) -> Frr:
            lines = frr_lines(node, *neighbor, peer=peer, **how)
            return running.enter_context(router(Frr, tor, lines)).settled(peer or node.address)

        yield start


@pytest.fixture(params=list(LINES), ids=lambda kind: kind.__name__.lower())
def kind(request: pytest.FixtureRequest) -> type:
    chosen: type = request.param
    return chosen


@pytest.fixture
def run_router(kind: type, node: Host, tor: Host) -> Iterator[Callable[..., Frr | Bird | Gobgp]]:
    """Start each kind of router with settings of the same names; it ends with the test."""
    with contextlib.ExitStack() as running:

        def run(*, peer: str = "", **settings: Any) -> Frr | Bird | Gobgp:
            lines = lines_of(kind, node, peer=peer, **settings)
            made = running.enter_context(router(kind, tor, lines))
            if isinstance(made, Frr):
                made.settled(peer or node.address)
            return made

        yield run


@pytest.fixture
def each(run_router: Callable[..., Frr | Bird | Gobgp]) -> Frr | Bird | Gobgp:
    return run_router()
