"""Who lost an address gets that very one again: which address, never whether or before whom."""

from __future__ import annotations

import pytest

from lbctl.model.snapshot import EVERYTHING
from lbctl.plan import ledger
from lbctl.plan.allocation import plan
from tests.support.allocating import Cluster, one_pool
from tests.support.builders import make_pool, service_key

DUAL = ("IPv4", "IPv6")


def all_of(cluster: Cluster) -> dict[str, list[str]]:
    return {name: cluster.has(name) for name in cluster.services}


def lose_the_pool(cluster: Cluster) -> Cluster:
    """Delete every pool and clear all Services, as a step of its own."""
    cluster.pools = []
    cluster.go()
    assert not any(all_of(cluster).values())
    return cluster


@pytest.mark.parametrize("name", ["p", "renamed"])
def test_a_pool_deleted_and_created_in_two_steps_moves_nobody(name: str) -> None:
    cluster = one_pool("192.0.2.0/29", "2001:db8::/64")
    for service in "abc":
        cluster.put(service, families=DUAL if service == "b" else ("IPv4",))
    cluster.go()
    del cluster.services["a"]
    cluster.put("d", families=("IPv6", "IPv4"), family_policy="RequireDualStack")
    before = all_of(cluster.go("a", "d"))
    assert before["d"] == ["192.0.2.3", "2001:db8::1"]
    lose_the_pool(cluster)
    cluster.pools = [make_pool(name, "192.0.2.0/29", "2001:db8::/64", uid="anew", created=9)]
    assert all_of(cluster.go()) == before
    assert (
        cluster.decision("b").trace[-1].detail == "gave the IPv6 address that the Service had last"
    )


def test_sharers_come_back_to_the_address_that_each_had() -> None:
    cluster = one_pool("192.0.2.0/29")
    cluster.put("first", sharing_key="k", ports=["80"])
    cluster.put("second", sharing_key="k", ports=["80"])
    cluster.go()
    # It would fit beside the first, too.
    cluster.put("third", sharing_key="k", ports=["443"], request=["192.0.2.1"])
    cluster.go("third")
    cluster.put("third", sharing_key="k", ports=["443"])
    before = all_of(cluster.go("third"))
    assert before["second"] == before["third"] == ["192.0.2.1"]
    lose_the_pool(cluster)
    cluster.pools = [make_pool("p", "192.0.2.0/29", uid="anew")]
    assert all_of(cluster.go()) == before


def test_a_service_that_changed_its_type_and_back_has_its_address_again() -> None:
    cluster = one_pool()
    for name in "ab":
        cluster.put(name)
    cluster.go()
    cluster.put("a", type="ClusterIP")
    cluster.go("a")
    cluster.put("a", status=[])
    assert cluster.go("a").has("a") == ["192.0.2.0"]


def test_it_has_its_address_again_although_the_pool_just_gave_a_fresh_one() -> None:
    cluster = one_pool()
    cluster.put("a", created=2)
    cluster.go()
    cluster.put("a", type="ClusterIP")
    cluster.go("a")
    cluster.put("a", status=[])
    cluster.put("older", created=1)
    cluster.go("a", "older")
    assert all_of(cluster) == {"a": ["192.0.2.0"], "older": ["192.0.2.1"]}


def test_a_service_created_again_under_its_name_has_its_address_again_if_it_is_free() -> None:
    cluster = one_pool()
    for name in "ab":
        cluster.put(name)
    cluster.go()
    del cluster.services["a"]
    cluster.go("a")
    cluster.put("a")
    assert cluster.go("a").has("a") == ["192.0.2.0"]


def test_who_waits_longer_is_served_before_who_had_the_address() -> None:
    cluster = one_pool("192.0.2.0/32")
    cluster.put("older", pool="nowhere")
    cluster.put("a")
    cluster.go()
    lose_the_pool(cluster)
    cluster.put("older")
    cluster.go("older")
    cluster.pools = [make_pool("new", "192.0.2.0/32")]
    cluster.go()
    assert (cluster.has("older"), cluster.has("a")) == (["192.0.2.0"], [])


def test_a_waiting_service_that_asks_for_the_address_goes_before_who_had_it() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.go()
    lose_the_pool(cluster)
    cluster.put("asking", request=["192.0.2.0"])
    cluster.go("asking")
    cluster.pools = [make_pool("new", "192.0.2.0/30")]
    cluster.go()
    assert (cluster.has("asking"), cluster.has("a")) == (["192.0.2.0"], ["192.0.2.1"])


def test_the_rank_of_pools_goes_before_the_address_that_a_service_had() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.go()
    cluster.put("a", type="ClusterIP")
    cluster.go("a")
    cluster.pools.append(make_pool("pinned", "198.51.100.0/30", priority=1))
    cluster.put("a", status=[])
    assert cluster.go().has("a") == ["198.51.100.0"]


def test_the_address_that_it_had_last_counts_not_one_before() -> None:
    cluster = one_pool()
    cluster.put("a")
    cluster.go()
    cluster.put("a", request=["192.0.2.3"])
    assert cluster.go("a").has("a") == ["192.0.2.3"]
    cluster.put("a", type="ClusterIP")
    cluster.go("a")
    cluster.put("a", status=[])
    assert cluster.go("a").has("a") == ["192.0.2.3"]


def test_an_address_that_it_may_not_have_any_more_is_not_given() -> None:
    cluster = one_pool("192.0.2.0/29")
    cluster.put("a")
    cluster.go()
    lose_the_pool(cluster)
    cluster.pools = [make_pool("p", "192.0.2.0/29", uid="anew", avoid_buggy_ips=True)]
    assert cluster.go().has("a") == ["192.0.2.1"]


def test_who_leads_again_remembers_and_a_new_process_does_not() -> None:
    cluster = one_pool("192.0.2.0/29")
    for name in "abc":
        cluster.put(name)
    before = all_of(cluster.go())
    snapshot = lose_the_pool(cluster).snapshot()
    cluster.plan = plan(cluster.plan.memory(), snapshot, EVERYTHING, load_balancer_class=None)
    cluster.pools = [make_pool("new", "192.0.2.0/29")]
    assert all_of(cluster.go()) == before
    del cluster.services["a"]
    cluster.go("a")
    lose_the_pool(cluster).restart()
    cluster.pools = [make_pool("new", "192.0.2.0/29")]
    assert all_of(cluster.go()) == {"b": ["192.0.2.0"], "c": ["192.0.2.1"]}


def test_what_leads_again_remembers_includes_who_has_an_address_now() -> None:
    cluster = one_pool()
    for name in "ab":
        cluster.put(name)
    cluster.go()
    cluster.plan = cluster.plan.memory()
    for name in "ab":
        cluster.put(name, status=[])
    assert all_of(cluster.go()) == {"a": ["192.0.2.0"], "b": ["192.0.2.1"]}


def test_the_memory_of_who_had_what_is_bounded_and_forgets_the_first(monkeypatch) -> None:
    monkeypatch.setattr(ledger, "MEMORY", 2)
    cluster = one_pool("192.0.2.0/28")
    for name in "abcde":
        cluster.put(name)
        cluster.go(name)
        del cluster.services[name]
        cluster.go(name)
    remembered = cluster.plan.ledger.former
    assert list(remembered) == [service_key("d"), service_key("e")]


def test_the_memory_of_addresses_without_a_pool_is_bounded_and_keeps_the_last(monkeypatch) -> None:
    monkeypatch.setattr(ledger, "MEMORY", 2)
    cluster = one_pool("192.0.2.0/29")
    for name in "abcde":
        cluster.put(name)
    cluster.go()
    attic = lose_the_pool(cluster).plan.ledger.attic
    assert [slot & 0xFF for slot in attic] == [3, 4]
