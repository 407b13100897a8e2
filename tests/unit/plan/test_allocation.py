"""Whose a Service is, what it keeps and which pool serves it, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.configuration import Configured
from lbctl.model.pool import ServiceAllocation
from lbctl.model.reason import Reason
from lbctl.model.snapshot import EVERYTHING
from lbctl.plan.allocation import EMPTY, plan
from tests.support.allocating import Cluster, one_pool
from tests.support.builders import (
    make_pool,
    make_selector,
    make_service,
    make_snapshot,
    rejected_pool,
    service_key,
)

DUAL = ("IPv4", "IPv6")


# Whose a Service is


@pytest.mark.parametrize(
    ("fields", "reason", "release"),
    [
        ({"type": "ClusterIP"}, Reason.NOT_LOAD_BALANCER, False),
        ({"type": "ClusterIP", "mark": "p"}, Reason.NOT_LOAD_BALANCER, True),
        ({"load_balancer_class": "example.com/x"}, Reason.FOREIGN_CLASS, False),
        (
            {"load_balancer_class": "example.com/x", "mark": "p", "status": ["192.0.2.1"]},
            Reason.FOREIGN_CLASS,
            True,
        ),
        (
            {"load_balancer_class": "example.com/x", "mark": "p", "status": ["203.0.113.1"]},
            Reason.FOREIGN_CLASS,
            False,
        ),
        ({"status": ["203.0.113.1"]}, Reason.FOREIGN_ADDRESS, False),
        ({"status": ["192.0.2.1", "203.0.113.1"]}, Reason.FOREIGN_ADDRESS, False),
        ({"hostnames": ("lb.example.com",)}, Reason.FOREIGN_ADDRESS, False),
    ],
)
def test_what_is_not_ours_is_not_written_to(fields, reason, release) -> None:
    cluster = one_pool()
    cluster.put("a", **fields)
    decision = cluster.go(write=False).plan.outcomes[service_key("a")]
    assert isinstance(decision, NotOurs)
    assert (decision.reason, decision.release) == (reason, release)


def test_without_a_pool_nobody_elses_status_is_cleared() -> None:
    cluster = Cluster()
    cluster.put("a", status=["203.0.113.1"])
    cluster.put("b", hostnames=("lb.example.com",))
    cluster.go(write=False)
    assert cluster.reason("a") == cluster.reason("b") == Reason.FOREIGN_ADDRESS


def test_a_marked_status_without_a_pool_is_cleared_with_a_reason() -> None:
    cluster = Cluster()
    cluster.put("a", status=["203.0.113.1"], mark="gone")
    outcome = cluster.go().decision("a")
    assert outcome.addresses == ()
    assert outcome.reason == Reason.NO_POOL_MATCHES
    assert [item.reason for item in outcome.lost] == [Reason.ADDRESS_NOT_IN_ANY_POOL]


def test_an_address_of_our_pool_is_adopted_without_a_mark() -> None:
    cluster = one_pool()
    cluster.put("a", status=["192.0.2.3"])
    assert cluster.go().has("a") == ["192.0.2.3"]


def test_a_class_of_ours_is_served_and_no_class_is_not() -> None:
    snapshot = make_snapshot(
        services=[make_service("a", load_balancer_class="example.com/x"), make_service("b")],
        pools=[make_pool()],
    )
    made = plan(EMPTY, snapshot, EVERYTHING, load_balancer_class="example.com/x")
    assert [made.outcomes[service_key(name)].reason for name in "ab"] == [
        Reason.ALLOCATED,
        Reason.FOREIGN_CLASS,
    ]


@pytest.mark.parametrize("change", ["delete", "type", "class", "headless"])
def test_release_gives_the_address_to_the_oldest_waiting(change: str) -> None:
    cluster = one_pool("192.0.2.0/32")
    for name in ("a", "never", "b", "c"):
        cluster.put(name, pool="nowhere" if name == "never" else None)
    cluster.go()
    assert [cluster.reason(name) for name in ("never", "b")] == [
        Reason.UNKNOWN_POOL,
        Reason.POOL_EXHAUSTED,
    ]
    match change:
        case "delete":
            del cluster.services["a"]
        case "type":
            cluster.put("a", type="ClusterIP")
        case "class":
            cluster.put("a", load_balancer_class="example.com/x")
        case "headless":
            cluster.put("a", cluster_ips=())
    cluster.go("a")
    assert cluster.has("b") == ["192.0.2.0"]
    assert cluster.reason("c") == Reason.POOL_EXHAUSTED
    assert service_key("c") not in cluster.plan.touched


# What a Service keeps


def test_a_status_emptied_by_somebody_gets_the_same_address_back() -> None:
    cluster = one_pool()
    for name in "abc":
        cluster.put(name)
    cluster.go()
    del cluster.services["a"]
    cluster.go("a")
    cluster.put("b", status=[])
    assert cluster.go("b").has("b") == ["192.0.2.1"]


def test_a_write_that_is_not_seen_yet_does_not_make_a_second_decision() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.put("b")
    cluster.go(write=False)
    del cluster.services["a"]
    cluster.go("a", write=False)
    assert cluster.go("b", write=False).has("b") == ["192.0.2.1"]


def test_of_two_with_one_address_the_older_keeps_it_and_the_other_learns_why() -> None:
    cluster = one_pool()
    cluster.put("young", created=9, status=["192.0.2.0"], mark="p")
    cluster.put("old", created=1, status=["192.0.2.0"], mark="p")
    cluster.go()
    assert cluster.has("old") == ["192.0.2.0"]
    assert cluster.has("young") == ["192.0.2.1"]
    (lost,) = cluster.decision("young").lost
    assert lost.reason == Reason.ADDRESS_IN_USE
    assert "default/old" in lost.detail


def test_an_old_leaders_late_write_is_repaired_for_the_older() -> None:
    cluster = one_pool()
    cluster.put("young", created=9)
    cluster.go()
    cluster.put("old", created=1, status=["192.0.2.0"], mark="p")
    cluster.go("old")
    assert cluster.has("old") == ["192.0.2.0"]
    assert cluster.has("young") == ["192.0.2.1"]


def test_a_deleted_and_created_service_is_a_new_one() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("a")
    cluster.put("waits")
    cluster.go()
    del cluster.services["a"]
    cluster.put("a")
    assert cluster.go("a").has("a") == []
    assert cluster.has("waits") == ["192.0.2.0"]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (make_pool("p", "192.0.2.0/29"), ["192.0.2.0"]),
        (make_pool("p", "192.0.2.4/30"), ["192.0.2.4"]),
        (make_pool("renamed", "192.0.2.0/30"), ["192.0.2.0"]),
        (make_pool("p", "192.0.2.0/30", auto_assign=False), ["192.0.2.0"]),
        (make_pool("p", "192.0.2.0/30", avoid_buggy_ips=True), ["192.0.2.1"]),
        (make_pool("p", "192.0.2.0/30", namespaces=["other"]), []),
        (rejected_pool("p"), ["192.0.2.0"]),
    ],
    ids=["grown", "moved", "renamed", "autoAssign off", "buggy", "restricted", "nonsense"],
)
def test_an_edited_pool_moves_only_whom_it_must(pool, expected) -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.go()
    cluster.pools = [pool if isinstance(pool, Configured) else replace(pool, generation=2)]
    assert cluster.go().has("a") == expected
    assert cluster.restart().has("a") == expected


def test_a_deleted_pool_clears_with_a_reason_or_moves() -> None:
    cluster = Cluster(make_pool("p", "192.0.2.0/30"), make_pool("q", "198.51.100.0/32"))
    cluster.put("a")
    cluster.put("b")
    cluster.go()
    cluster.pools = cluster.pools[1:]
    cluster.go()
    assert cluster.has("a") == ["198.51.100.0"]
    assert cluster.reason("b") == Reason.POOL_EXHAUSTED


def test_an_edit_that_overlaps_moves_nobody() -> None:
    old, young = (make_pool("old", "192.0.2.0/31", created=1), make_pool("q", "192.0.2.2/31"))
    cluster = Cluster(old, young)
    cluster.put("a")
    cluster.put("b")
    cluster.put("c")
    cluster.go()
    before = {name: cluster.has(name) for name in "abc"}
    cluster.pools[0] = make_pool("old", "192.0.2.0/30", created=1, generation=2)
    cluster.go()
    assert {name: cluster.has(name) for name in "abc"} == before
    assert cluster.plan.counters.keys() == {"q"}


# Which pool


def names(outcome: Outcome) -> list[tuple[str, Reason | None]]:
    return [(str(tried.pool), tried.reason) for tried in outcome.trace]


def test_the_trace_names_every_pool_tried_with_the_rule_that_refused() -> None:
    cluster = Cluster(
        make_pool("a-closed", "198.18.0.0/30", auto_assign=False),
        make_pool("b-six", "2001:db8::/64"),
        make_pool("c-full", "198.18.1.0/32"),
        make_pool("d-good", "198.18.2.0/30"),
        make_pool("e-never", "198.18.3.0/30"),
        make_pool("z-other", "198.18.4.0/30", namespaces=["other"]),
    )
    cluster.put("first")
    cluster.put("a")
    assert names(cluster.go(write=False).decision("a")) == [
        ("z-other", Reason.POOL_NOT_ALLOWED),
        ("a-closed", Reason.AUTO_ASSIGN_OFF),
        ("b-six", Reason.NO_SUCH_FAMILY),
        ("c-full", Reason.POOL_EXHAUSTED),
        ("d-good", None),
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (ServiceAllocation(), True),
        (ServiceAllocation(namespaces=frozenset({"default"})), True),
        (ServiceAllocation(namespaces=frozenset({"other"})), False),
        (ServiceAllocation(namespace_selectors=(make_selector({"team": "red"}),)), True),
        (ServiceAllocation(namespace_selectors=(make_selector({"team": "blue"}),)), False),
        (
            ServiceAllocation(
                namespaces=frozenset({"other"}),
                namespace_selectors=(make_selector({"team": "red"}),),
            ),
            True,
        ),
        (ServiceAllocation(service_selectors=(make_selector({"tier": "gold"}),)), True),
        (
            ServiceAllocation(
                service_selectors=(make_selector({"tier": "tin"}), make_selector({"tier": "gold"}))
            ),
            True,
        ),
        (ServiceAllocation(service_selectors=(make_selector({"tier": "tin"}),)), False),
        (
            ServiceAllocation(
                namespaces=frozenset({"default"}),
                service_selectors=(make_selector({"tier": "tin"}),),
            ),
            False,
        ),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"pool": "p"}, {"request": ["192.0.2.1"]}])
def test_service_allocation_holds_on_every_way_to_an_address(rule, expected, asked) -> None:
    cluster = one_pool(allocation=rule)
    cluster.namespaces = {"default": {"team": "red"}}
    cluster.put("a", labels={"tier": "gold"}, **asked)
    outcome = cluster.go().decision("a")
    assert bool(outcome.addresses) == expected
    if not expected:
        wanted = Reason.POOL_NOT_ALLOWED if asked else Reason.NO_POOL_MATCHES
        assert outcome.reason == wanted


def test_a_namespace_that_loses_its_label_loses_the_pool() -> None:
    cluster = one_pool(
        allocation=ServiceAllocation(namespace_selectors=(make_selector({"team": "red"}),))
    )
    cluster.namespaces = {"default": {"team": "red"}}
    cluster.put("a")
    assert cluster.go().has("a") == ["192.0.2.0"]
    cluster.namespaces = {"default": {}}
    assert cluster.go().decision("a").lost[0].reason == Reason.POOL_NOT_ALLOWED


# Counters and touched


def test_counters_cover_every_pool_in_effect_and_saturate() -> None:
    cluster = Cluster(
        make_pool("closed", "198.51.100.0/30", auto_assign=False),
        make_pool("p", "192.0.2.0/30", "2001:db8::/64", "2001:db8:0:1::/120"),
        rejected_pool("bad"),
    )
    cluster.put("a", families=DUAL)
    cluster.go()
    most = 2**63 - 1
    assert cluster.plan.counters == {"closed": (0, 0, 4, 0), "p": (1, 1, 3, most)}
    del cluster.services["a"]
    assert cluster.go("a").plan.counters["p"] == (0, 0, 4, most)


def test_touched_names_exactly_whose_decision_changed() -> None:
    def touched(cluster: Cluster) -> Iterable[str]:
        return sorted(key.name for key in cluster.plan.touched)

    cluster = one_pool()
    cluster.put("a")
    cluster.put("b")
    assert touched(cluster.go(write=False)) == ["a", "b"]
    cluster.put("c")
    assert touched(cluster.go("c", write=False)) == ["c"]
    del cluster.services["a"]
    assert touched(cluster.go("a", write=False)) == ["a"]


def test_a_plan_does_not_change_the_plan_before() -> None:
    cluster = one_pool()
    cluster.put("a")
    before = cluster.go().plan
    kept = (dict(before.outcomes), dict(before.counters), dict(before.ledger.holders))
    cluster.put("b")
    cluster.go("b")
    del cluster.services["a"]
    cluster.go("a")
    assert (dict(before.outcomes), dict(before.counters), dict(before.ledger.holders)) == kept
    assert [shelf.taken for shelf in before.ledger.shelves] == [1, 0]
