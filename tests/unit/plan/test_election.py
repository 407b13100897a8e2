"""Rendezvous order: MetalLB's, with subnets and weights before the hash."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Address, ip_address

import pytest

from lbctl.plan.election import elect, ranking

# MetalLB's published vectors. Its addresses are private ones; they are written as numbers here
# because the tree holds no private addresses, and the hash is over the text either way.
VECTORS = [
    (("node-a", "node-b", "node-c"), 0x0A000001, ("node-b", "node-a", "node-c")),
    (("node-a", "node-b", "node-c"), 0x0A000002, ("node-b", "node-c", "node-a")),
    (("node-a", "node-b"), 0x0A141E01, ("node-b", "node-a")),
    (
        ("edge-a", "edge-b", "worker-a", "worker-b"),
        0x0A141E01,
        ("edge-b", "worker-a", "edge-a", "worker-b"),
    ),
]


@pytest.mark.parametrize(("nodes", "number", "order"), VECTORS)
def test_the_order_is_that_of_metallb(nodes, number, order):
    address = IPv4Address(number)
    assert ranking(nodes, address) == order
    assert ranking(reversed(nodes), address) == order
    assert elect(nodes, address) == order[0]


def test_the_order_does_not_depend_on_the_interpreters_hash_seed():
    code = (
        "from ipaddress import ip_address; from lbctl.plan.election import ranking;"
        "print(ranking({'node-a', 'node-b', 'node-c'}, ip_address('2001:db8::1')))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {"('node-b', 'node-a', 'node-c')\n"}


def test_nobody_is_elected_without_candidates():
    assert elect((), ip_address("192.0.2.1")) is None


def test_a_node_with_the_subnet_goes_before_weight_and_hash():
    address = ip_address("192.0.2.1")
    nodes = ("node-a", "node-b", "node-c")
    order = ranking(nodes, address, weights={"node-a": 50}, in_subnet=frozenset({"node-b"}))
    assert order == ("node-b", "node-a", "node-c")
    assert elect(nodes, address, weights={"node-a": 50}, in_subnet={"node-b"}) == "node-b"


def test_the_heavier_node_goes_before_the_hash():
    address = ip_address("192.0.2.1")
    assert ranking(("node-a", "node-b", "node-c"), address)[0] == "node-c"
    assert elect(("node-a", "node-b", "node-c"), address, weights={"node-b": 1}) == "node-b"


def test_a_subnet_on_a_node_that_is_no_candidate_changes_nothing():
    address = ip_address("192.0.2.1")
    assert elect(("node-a", "node-b"), address, in_subnet={"node-z"}) == elect(
        ("node-a", "node-b"), address
    )


def test_a_node_that_leaves_moves_only_its_own_addresses():
    nodes = [f"node-{n}" for n in range(10)]
    for number in range(200):
        address = ip_address("198.18.0.0") + number
        before = elect(nodes, address)
        after = elect([node for node in nodes if node != "node-3"], address)
        assert before in {after, "node-3"}
