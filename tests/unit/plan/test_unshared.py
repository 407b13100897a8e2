"""A Service that means to share and cannot, while the pool is full, is told why it cannot share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lbctl.model.reason import Reason
from tests.support.allocating import Cluster, one_pool
from tests.support.builders import make_pool

KEYED: Mapping[str, Any] = {"sharing_key": "k"}
FULL = "every IPv4 address of pool p is in use"


def said(cluster: Cluster, name: str) -> tuple[Reason, str, list[Reason | None]]:
    outcome = cluster.decision(name)
    assert outcome.refused is not None
    return (
        outcome.refused.reason,
        outcome.refused.detail,
        [tried.reason for tried in outcome.trace],
    )


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"ports": ["tcp/80"]}, Reason.PORT_IN_USE, "Service default/a uses port TCP/80"),
        (
            {"ports": ["tcp/81"], "traffic_policy": "Local"},
            Reason.SHARING_KEY_DIFFERS,
            "Service default/a has the address with externalTrafficPolicy Cluster, not Local",
        ),
    ],
    ids=["port", "Local beside Cluster"],
)
def test_a_sharer_that_finds_the_pool_full_is_told_why_it_cannot_share(
    fields, reason, words
) -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", **KEYED, ports=["tcp/80"])
    cluster.put("b", **KEYED, **fields)
    found = said(cluster.go(), "b")
    assert found[0] is Reason.POOL_EXHAUSTED
    assert found[1].startswith(f"{FULL}, and the Service cannot share 192.0.2.0: {words}")
    assert found[2] == [reason, Reason.POOL_EXHAUSTED]
    assert said(cluster.restart(), "b") == found


def test_unequal_selectors_under_local_are_named() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", **KEYED, traffic_policy="Local", ports=["tcp/80"], selector={"app": "a"})
    cluster.put("b", **KEYED, traffic_policy="Local", ports=["tcp/81"], selector={"app": "b"})
    assert "Local and another selector" in said(cluster.go(), "b")[1]


@pytest.mark.parametrize(
    "fields", [{}, {"sharing_key": "other"}], ids=["no key", "a key that has no address"]
)
def test_who_has_nobody_to_share_with_is_told_of_the_full_pool_alone(fields) -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", **KEYED)
    cluster.put("b", **fields)
    assert said(cluster.go(), "b") == (
        Reason.POOL_EXHAUSTED,
        FULL,
        [Reason.POOL_EXHAUSTED],
    )


def test_each_pool_that_has_an_address_of_the_key_answers_and_the_first_is_in_the_message() -> None:
    cluster = Cluster(make_pool("p", "192.0.2.0/32"), make_pool("q", "198.51.100.0/32"))
    for name in "abc":
        cluster.put(name, **KEYED, ports=["tcp/80"])
    reason, detail, trace = said(cluster.go(), "c")
    assert reason is Reason.POOL_EXHAUSTED
    assert "of pools p, q is in use, and the Service cannot share 192.0.2.0: " in detail
    assert trace == [Reason.PORT_IN_USE, Reason.POOL_EXHAUSTED] * 2


@pytest.mark.parametrize("asked", [(), ("192.0.2.0",)], ids=["any address", "by name"])
def test_the_words_do_not_depend_on_who_came_first(asked) -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("old", ports=["tcp/443"], type="ClusterIP")
    cluster.put("young", **KEYED, ports=["tcp/80"])
    cluster.go()
    cluster.put("asking", **KEYED, ports=["tcp/80", "tcp/443"], request=asked)
    cluster.go()
    cluster.put("old", **KEYED, ports=["tcp/443"])
    lived = said(cluster.go("old"), "asking")
    assert "Service default/old uses port TCP/443" in lived[1]
    assert said(cluster.restart(), "asking") == lived


def test_the_words_follow_an_edit_of_the_sharer_that_is_in_the_way() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", **KEYED, ports=["tcp/80"])
    cluster.put("b", **KEYED, ports=["tcp/80"])
    cluster.go()
    cluster.put("a", **KEYED, ports=["tcp/80"], traffic_policy="Local")
    assert "externalTrafficPolicy Local, not Cluster" in said(cluster.go("a"), "b")[1]
    cluster.put("a", ports=["tcp/80"])
    assert said(cluster.go("a"), "b")[1] == FULL
