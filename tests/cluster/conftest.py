"""The lab that cluster tests share, and what a lab may leave on the host: nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbctl.lab import install, lab, records
from lbctl.lab.spec import LabSpec
from tests.cluster.traces import NOTHING, Traces, traces_of
from tests.support.cluster import VALUES, Cluster

SHARED = os.environ.get("LBCTL_TEST_LAB", "lbctl-test")


def say(line: str) -> None:
    print(line, file=sys.stderr)


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[str]:
    """Yield the name of a running three-node lab. LBCTL_KEEP_LAB=1 leaves it up for the next run."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    lab.up(LabSpec(name=SHARED, directory=records.directory(SHARED)), say)
    yield SHARED
    if not os.environ.get("LBCTL_KEEP_LAB"):
        lab.down(SHARED, say)
        assert traces_of(SHARED) == NOTHING


@pytest.fixture
def lab_names() -> Iterator[Callable[[str], str]]:
    """Hand out names of labs and take every one of them down, whatever the test did."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    given: list[str] = []

    def name(suffix: str) -> str:
        given.append(f"t-{suffix}-{os.getpid()}")
        return given[-1]

    yield name
    for each in given:
        lab.down(each, say)


@pytest.fixture
def eventual_traces() -> Callable[[str], Traces]:
    """Return a lab's traces once the kernel has finished what it does behind one's back."""

    def look(name: str) -> Traces:
        give_up = time.monotonic() + 10
        while (found := traces_of(name)) != NOTHING and time.monotonic() < give_up:
            time.sleep(0.05)
        return found

    return look


@pytest.fixture(scope="session")
def cluster(shared_lab: str) -> Cluster:
    """Return the shared lab as tests of Kubernetes and of the product use it."""
    record = records.load(shared_lab)
    return Cluster(
        lab=shared_lab,
        kubeconfig=record.kubeconfig,
        kubectl=record.bin / "kubectl",
        nodes=record.spec.node_names,
    )


@pytest.fixture(scope="session")
def product(cluster: Cluster) -> Cluster:
    """Return the shared lab with lbctl installed by its own chart."""
    install.install(cluster.lab, say, values=VALUES)
    return cluster


@pytest.fixture(scope="session")
def lbctl() -> str:
    return str(Path(sys.executable).parent / "lbctl")
