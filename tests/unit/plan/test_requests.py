"""What a Service asks for, in one family or two, alone or shared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.model.reason import Reason
from lbctl.model.service import ObservedCondition
from lbctl.plan.allocation import EMPTY
from tests.support.allocating import Cluster, one_pool
from tests.support.builders import (
    make_pool,
    rejected_pool,
)

DUAL = ("IPv4", "IPv6")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"request": ["192.0.2.0"]}, Reason.ADDRESS_IN_USE),
        ({"request": ["203.0.113.1"]}, Reason.ADDRESS_NOT_IN_ANY_POOL),
        ({"request": ["2001:db8::1"]}, Reason.FAMILY_MISMATCH),
        ({"request": ["192.0.2.3"], "families": DUAL}, Reason.FAMILY_MISMATCH),
        ({"request": ["192.0.2.2", "192.0.2.3"], "families": DUAL}, Reason.FAMILY_MISMATCH),
        ({"request": ["192.0.2.3"], "pool": "q"}, Reason.ADDRESS_NOT_IN_REQUESTED_POOL),
        ({"pool": "nowhere"}, Reason.UNKNOWN_POOL),
        ({"pool": "bad"}, Reason.UNKNOWN_POOL),
        ({"pool": "q"}, Reason.POOL_NOT_ALLOWED),
        ({"request": ["198.51.100.0"]}, Reason.POOL_NOT_ALLOWED),
        ({"pool": "p", "families": ["IPv6"]}, Reason.NO_POOL_MATCHES),
        ({"problem": "'x' is not an address"}, Reason.INVALID_REQUEST),
        ({"cluster_ips": ()}, Reason.NO_CLUSTER_IP),
        (
            {"request": ["192.0.2.0"], "sharing_key": "l", "ports": ["tcp/1"]},
            Reason.SHARING_KEY_DIFFERS,
        ),
        ({"request": ["192.0.2.0"], "sharing_key": "k"}, Reason.PORT_IN_USE),
    ],
)
def test_what_cannot_be_given_is_refused_by_name(fields, reason) -> None:
    cluster = Cluster(
        make_pool("p", "192.0.2.0/30"),
        make_pool("q", "198.51.100.0/30", namespaces=["other"]),
        rejected_pool("bad"),
    )
    keyed = {"sharing_key": "k"} if fields.get("sharing_key") else {}
    cluster.put("holder", **keyed)
    cluster.go()
    cluster.put("a", **fields)
    cluster.put("bystander")
    outcome = cluster.go().decision("a")
    assert outcome.addresses == ()
    assert outcome.reason == reason
    assert outcome.refused is not None
    assert outcome.refused.detail
    assert cluster.has("holder") == ["192.0.2.0"]
    assert cluster.has("bystander") == ["192.0.2.1"]
    assert cluster.restart().reason("a") == reason


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ("203.0.113.1", "in no pool"),
        ("192.0.2.255", "in pool p, which never gives addresses of .0 and .255 (avoidBuggyIPs)"),
        ("192.0.2.0", "in pool p, which never gives addresses of .0 and .255 (avoidBuggyIPs)"),
        ("192.0.3.0", "in pool younger, which is not in effect"),
    ],
)
def test_an_address_that_no_pool_gives_is_said_to_be_where_it_is(asked, where) -> None:
    cluster = Cluster(
        make_pool("p", "192.0.2.0/24", avoid_buggy_ips=True),
        make_pool("younger", "192.0.2.128-192.0.3.7", created=50),
    )
    cluster.put("a", request=[asked])
    refused = cluster.go().decision("a").refused
    assert refused is not None
    assert (refused.reason, refused.detail) == (
        Reason.ADDRESS_NOT_IN_ANY_POOL,
        f"{asked} is {where}",
    )


@pytest.mark.parametrize(
    ("edit", "expected", "reason"),
    [
        ({"request": ["192.0.2.3"]}, ["192.0.2.3"], Reason.ALLOCATED),
        ({"request": ["192.0.2.1"]}, [], Reason.ADDRESS_IN_USE),
        ({"problem": "'x' is not an address"}, ["192.0.2.0"], Reason.ALLOCATED),
        ({"pool": "q"}, ["198.51.100.0"], Reason.ALLOCATED),
        ({"pool": "nowhere"}, [], Reason.UNKNOWN_POOL),
        ({"request": ["192.0.2.0"]}, ["192.0.2.0"], Reason.ALLOCATED),
        ({}, ["192.0.2.0"], Reason.ALLOCATED),
    ],
    ids=["free", "taken", "unreadable", "pool", "unknown pool", "what it has", "nothing"],
)
def test_a_changed_request(edit, expected, reason) -> None:
    cluster = Cluster(make_pool("p", "192.0.2.0/30"), make_pool("q", "198.51.100.0/30"))
    cluster.put("a")
    cluster.put("b")
    cluster.go()
    cluster.put("a", **edit)
    cluster.go("a")
    assert cluster.has("a") == expected
    assert cluster.reason("a") == reason
    assert cluster.has("b") == ["192.0.2.1"]


def test_an_unreadable_request_warns_on_a_service_that_keeps_its_address() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.go()
    cluster.put("a", problem="'x' is not an address")
    refused = cluster.go("a").decision("a").refused
    assert refused is not None
    assert refused.reason == Reason.INVALID_REQUEST


def test_who_asks_by_name_goes_before_the_rest_of_the_new() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.put("b", request=["192.0.2.0"])
    cluster.go()
    assert cluster.has("b") == ["192.0.2.0"]
    assert cluster.has("a") == ["192.0.2.1"]


def test_who_waits_leaves_an_address_asked_for_by_name_while_there_are_others() -> None:
    cluster = Cluster()
    cluster.put("a")
    cluster.put("b", request=["192.0.2.0"])
    cluster.go()
    cluster.pools = [make_pool("p", "192.0.2.0/31")]
    cluster.go()
    assert (cluster.has("a"), cluster.has("b")) == (["192.0.2.1"], ["192.0.2.0"])


@pytest.mark.parametrize("restarted", [False, True])
def test_the_oldest_waiting_gets_the_last_address_even_if_a_younger_names_it(restarted) -> None:
    cluster = one_pool("192.0.2.0/32")
    for name in "abc":
        cluster.put(name, request=["192.0.2.0"] if name == "c" else ())
    cluster.put("a", request=["192.0.2.0"])
    cluster.go()
    del cluster.services["a"]
    if restarted:
        for name in "bc":
            waits = ObservedCondition(
                type="lbctl.io/Allocated",
                status="False",
                reason="PoolExhausted",
                message="",
                observed_generation=1,
            )
            cluster.services[name] = replace(cluster.services[name], conditions=(waits,))
        cluster.plan = EMPTY
        cluster.go()
    else:
        cluster.go("a")
    assert cluster.has("b") == ["192.0.2.0"]
    assert cluster.reason("c") == Reason.ADDRESS_IN_USE


# Pools that do not serve


def test_with_several_pools_the_refusal_names_the_rule_that_keeps_each_away() -> None:
    cluster = Cluster(
        make_pool("e", "192.0.2.0/24", namespaces=["x"]),
        make_pool("f", "198.51.100.0/24", auto_assign=False),
        make_pool("g", "2001:db8::/64"),
    )
    cluster.put("a")
    refused = cluster.go().decision("a").refused
    assert refused is not None
    assert refused.reason is Reason.NO_POOL_MATCHES
    assert refused.detail == (
        "no pool in effect gives the Service an IPv4 address: serviceAllocation does not select "
        "it (e); autoAssign is false (f); no IPv4 range (g)"
    )


def test_of_many_pools_the_refusal_names_the_first_and_one_more_does_not_change_it() -> None:
    cluster = Cluster(*(make_pool(f"p{n}", f"192.0.2.{n}/32", auto_assign=False) for n in range(5)))
    cluster.put("a")
    refused = cluster.go().decision("a").refused
    assert refused is not None
    assert refused.detail.endswith(": autoAssign is false (p0, p1, p2 and others)")
    cluster.pools.append(make_pool("p9", "192.0.2.9/32", auto_assign=False, created=9))
    assert cluster.go().decision("a").refused == refused


# Two families


def test_each_family_may_come_from_its_own_pool_and_ipv4_is_first() -> None:
    cluster = Cluster(make_pool("six", "2001:db8::/64"), make_pool("v4", "192.0.2.0/30"))
    cluster.put("a", families=("IPv6", "IPv4"))
    cluster.put("b", families=DUAL, request=["2001:db8::9", "192.0.2.3"])
    cluster.go()
    assert cluster.has("a") == ["192.0.2.0", "2001:db8::"]
    assert cluster.decision("a").pools == ("v4", "six")
    assert cluster.has("b") == ["192.0.2.3", "2001:db8::9"]
    assert cluster.restart().has("b") == ["192.0.2.3", "2001:db8::9"]


@pytest.mark.parametrize(
    ("policy", "expected", "reason"),
    [
        ("PreferDualStack", ["192.0.2.0"], Reason.PARTIALLY_ALLOCATED),
        ("RequireDualStack", [], Reason.NO_POOL_MATCHES),
    ],
)
def test_one_family_only(policy, expected, reason) -> None:
    cluster = one_pool()
    cluster.put("a", families=DUAL, family_policy=policy)
    cluster.go()
    assert (cluster.has("a"), cluster.reason("a")) == (expected, reason)
    cluster.pools.append(make_pool("six", "2001:db8::/64", created=5))
    assert cluster.go().has("a") == ["192.0.2.0", "2001:db8::"]


def test_require_dual_stack_takes_nothing_while_it_waits() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", families=DUAL)
    cluster.put("b")
    assert cluster.go().has("b") == ["192.0.2.0"]


@pytest.mark.parametrize("policy", ["PreferDualStack", "RequireDualStack"])
def test_families_change_on_a_living_service(policy) -> None:
    cluster = Cluster(make_pool("p", "192.0.2.0/30", "2001:db8::/126"))
    cluster.put("a")
    cluster.put("b")
    cluster.go()
    cluster.put("a", families=DUAL, family_policy=policy)
    assert cluster.go("a").has("a") == ["192.0.2.0", "2001:db8::"]
    cluster.put("a", families=("IPv6",))
    assert cluster.go("a").has("a") == ["2001:db8::"]
    assert cluster.decision("a").lost[0].reason == Reason.FAMILY_MISMATCH


def test_a_second_family_that_is_not_to_be_had_does_not_cost_the_first() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.go()
    cluster.put("a", families=DUAL, family_policy="RequireDualStack")
    cluster.go("a")
    assert cluster.has("a") == ["192.0.2.0"]
    assert cluster.reason("a") == Reason.PARTIALLY_ALLOCATED


# Sharing


def test_sharers_gather_on_one_address_until_ports_collide() -> None:
    cluster = one_pool()
    for name, port in (("a", "tcp/80"), ("b", "tcp/443"), ("c", "tcp/80"), ("d", "udp/80")):
        cluster.put(name, sharing_key="k", ports=[port])
    cluster.go()
    assert [cluster.has(name) for name in "abcd"] == [
        ["192.0.2.0"], ["192.0.2.0"], ["192.0.2.1"], ["192.0.2.0"],
    ]  # fmt: skip
    assert cluster.plan.counters["p"][0] == 2


def test_a_sharer_whose_terms_no_longer_fit_moves_if_it_is_the_younger() -> None:
    cluster = one_pool()
    cluster.put("a", sharing_key="k", ports=["tcp/80"])
    cluster.put("b", sharing_key="k", ports=["tcp/443"])
    cluster.go()
    cluster.put("a", sharing_key="k", ports=["tcp/443"])
    cluster.go("a")
    assert (cluster.has("a"), cluster.has("b")) == (["192.0.2.0"], ["192.0.2.1"])
    assert cluster.decision("b").lost[0].reason == Reason.PORT_IN_USE


def test_who_waits_for_a_port_is_served_when_a_sharer_leaves() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a", sharing_key="k", ports=["tcp/80"])
    cluster.put("b", sharing_key="k", ports=["tcp/443"])
    cluster.put("c", sharing_key="k", ports=["tcp/80"])
    cluster.go()
    assert cluster.reason("c") == Reason.POOL_EXHAUSTED
    del cluster.services["a"]
    assert cluster.go("a").has("c") == ["192.0.2.0"]


def test_a_pool_that_is_not_in_effect_is_said_to_be_judged_where_either_group_shows_it() -> None:
    """MetalLB's schema prunes our conditions; there the ConfigurationState has the verdict."""
    cluster = Cluster(rejected_pool("bad"))
    cluster.put("a", pool="bad")
    refused = cluster.go().decision("a").refused
    assert refused is not None
    assert "its condition Accepted" in refused.detail
    assert "ConfigurationState" in refused.detail
