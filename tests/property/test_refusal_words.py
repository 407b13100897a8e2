"""The words of a refusal are the same however the plan was reached, also where Services share.

The histories are drawn by a plain generator from a seed: only long ones, of values that are all
alike likely, make sharers come in another order than that of their age.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.model.snapshot import EVERYTHING
from lbctl.plan.allocation import plan
from tests.support.allocating import Cluster
from tests.support.allocation_laws import without_words
from tests.support.builders import make_pool

PORTS = ["tcp/80", "tcp/81", "tcp/82", "udp/80"]


def fields(random: Random) -> dict[str, Any]:
    return {
        "sharing_key": random.choice(["k", "k", "l", ""]),
        "ports": random.sample(PORTS, random.randint(1, 2)),
        "traffic_policy": random.choice(["Cluster", "Cluster", "Local"]),
        "selector": {"app": random.choice("xy")},
        "families": random.choice([("IPv4",), ("IPv4",), ("IPv4", "IPv6")]),
        "family_policy": random.choice(["PreferDualStack", "RequireDualStack"]),
        "pool": random.choice([None, None, "p"]),
        "request": random.choice([(), ("192.0.2.0",)]),
    }


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 64))
def test_a_refusal_has_the_same_words_in_every_plan(seed: int) -> None:
    random = Random(seed)
    cluster = Cluster(
        make_pool("p", "192.0.2.0/31"), make_pool("q", "198.51.100.0/32", "2001:db8::/127")
    )
    for _ in range(25):
        name = random.choice("abcdefgh")
        if name in cluster.services and random.random() < 0.25:
            del cluster.services[name]
        else:
            cluster.put(name, **fields(random))
        cluster.go(name)
        whole = plan(cluster.plan, cluster.snapshot(), EVERYTHING, load_balancer_class=None)
        assert without_words(cluster.plan) == without_words(whole)
