"""What the reflector's copy shows, what it reports, and how others ask for more."""

import asyncio
from dataclasses import replace

import pytest

from lbctl.api.reflector import ALL, Reflector
from lbctl.api.session import ApiSession
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run, stop
from tests.support.reflecting import (
    QUICK,
    SERVICES,
    View,
    Watched,
    project,
    service,
    watched,
    watching,
)


def test_a_list_is_swapped_in_at_once() -> None:
    async def case() -> None:
        async with watched(*(f"s{n}" for n in range(8))) as w:
            await asyncio.wait_for(w.reflector.synced.wait(), 10)
            assert w.addresses() == w.truth()
            assert w.changes == [ALL]
            assert w.api.count(Ask.LIST) == 1

    run(case())


def test_events_report_the_keys_that_changed() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            w.api.put("services", service("a", "192.0.2.7"))
            await w.agrees()
            w.api.delete("services", "b", "web")
            await w.agrees()
            w.api.put("services", service("c", "192.0.2.9"))
            await w.agrees()
            assert w.changes == [
                ALL,
                frozenset({"web/a"}),
                frozenset({"web/b"}),
                frozenset({"web/c"}),
            ]

    run(case())


def test_only_a_watch_in_a_burst_rests_and_a_new_list_ends_that() -> None:
    async def case() -> None:
        async with watched(pace=replace(QUICK, rest_s=3600)) as w:
            await watching(w)
            await eventually(lambda: w.reflector.counters.watches == 1)
            assert w.reflector.contact_at is not None
            w.reflector.contact_at -= 7201
            w.api.put("services", service("after-quiet"))
            await w.agrees()
            w.api.put("services", service("soon-after"))
            await w.agrees()
            w.api.put("services", service("while-resting"))
            async with ApiSession(w.api.credentials()) as another:
                await another.request("GET", SERVICES)
            assert set(w.addresses()) == {"web/after-quiet", "web/soon-after"}
            w.reflector.relist()
            await w.agrees()

    run(case())


def test_an_object_that_is_no_longer_wanted_is_reported_as_gone() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            w.api.put("services", service("a", type="ClusterIP"))
            await eventually(lambda: set(w.addresses()) == {"web/b"})
            assert w.changes[-1] == frozenset({"web/a"})

    run(case())


def test_an_equal_projection_is_not_reported_but_its_version_stays_fresh() -> None:
    async def case() -> None:
        async with watched("a") as w:
            await watching(w)
            new = w.api.put("services", service("a", irrelevant="yes"))
            version = new["metadata"]["resourceVersion"]
            await eventually(lambda: w.reflector.items["web/a"].resource_version == version)
            assert w.changes == [ALL]
            assert w.reflector.counters.unchanged == 1

    run(case())


def test_an_object_deleted_in_a_gap_vanishes() -> None:
    async def case() -> None:
        async with watched("a", "b", "c") as w:
            await watching(w)
            w.api.delete_in_gap("services", "b", "web")
            await w.agrees()
            assert set(w.addresses()) == {"web/a", "web/c"}
            assert w.changes[-1] is ALL

    run(case())


def test_bookmarks_move_the_position_without_a_report() -> None:
    async def case() -> None:
        async with watched("a", bookmark_s=0.05) as w:
            await watching(w)
            w.api.put("nodes", {"metadata": {"name": "elsewhere"}})
            await eventually(lambda: w.reflector.counters.bookmarks >= 2)
            version = w.api.put("nodes", {"metadata": {"name": "elsewhere"}, "spec": {}})
            newest = int(version["metadata"]["resourceVersion"])
            await eventually(lambda: int(w.reflector._position or 0) >= newest)
            w.api.faults.arm(FaultKind.DROPPED_WATCH)
            await eventually(lambda: w.api.count(Ask.WATCH) >= 2)
            resumed = [a for a in w.api.asked if a.ask is Ask.WATCH][-1]
            assert int(resumed.query["resourceVersion"]) >= newest
            assert w.changes == [ALL]

    run(case())


def test_one_object_that_cannot_be_read_does_not_stop_the_others() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            broken = service("a")
            del broken["spec"]["address"]
            w.api.put("services", broken)
            w.api.put("services", service("b", "192.0.2.33"))
            await eventually(lambda: w.addresses().get("web/b") == "192.0.2.33")
            assert w.unreadable == ["web/a"]
            assert w.addresses()["web/a"] == "192.0.2.1", "the last readable value stays"
            assert "address" in w.reflector.unreadable["web/a"]

            await w.reflector.relist()
            assert w.addresses()["web/a"] == "192.0.2.1", "also over a list"
            assert w.unreadable == ["web/a", "web/a"]

            w.api.put("services", service("a", "192.0.2.44"))
            await w.agrees()
            assert w.reflector.unreadable == {}

            w.api.put("services", broken)
            await eventually(lambda: len(w.unreadable) == 3)
            w.api.delete("services", "a", "web")
            await eventually(lambda: set(w.addresses()) == {"web/b"})
            assert w.reflector.unreadable == {}

    run(case())


def test_relist_returns_after_a_list_that_began_later() -> None:
    async def case() -> None:
        async with watched("a") as w:
            await watching(w)
            lists = w.api.count(Ask.LIST)
            w.api.put("services", service("b"))
            await asyncio.gather(w.reflector.relist(), w.reflector.relist())
            assert w.api.count(Ask.LIST) > lists
            assert w.addresses() == w.truth()
            assert w.changes[-1] is ALL
            await watching(w)
            w.api.put("services", service("c"))
            await w.agrees()

    run(case())


def test_a_list_that_is_under_way_when_a_later_one_is_asked_for_begins_anew() -> None:
    async def case() -> None:
        async with watched(*"abcdefghij") as w:
            await watching(w)
            before, lists = w.api.count(Ask.LIST), w.reflector.counters.lists
            w.api.faults.arm(FaultKind.SLOW_BODY, seconds=0.1)
            first = w.reflector.relist()
            await eventually(lambda: FaultKind.SLOW_BODY in w.api.faults.struck)
            w.api.put("services", service("a", "192.0.2.51"))
            w.api.faults.arm(FaultKind.SLOW_BODY, seconds=0.1)
            later = w.reflector.relist()
            await eventually(lambda: w.api.faults.struck[FaultKind.SLOW_BODY] == 2)
            last = w.reflector.relist()
            await asyncio.gather(first, later, last)
            assert w.addresses() == w.truth()
            asked = w.api.count(Ask.LIST) - before
            assert asked == 1 + 1 + 1, "one that is left, one that is not left again, the last one"
            assert w.reflector.counters.lists - lists == 2, "the first was not read to its end"
            assert w.reflector.counters.failures == 0

    run(case())


def test_a_new_list_keeps_the_values_of_objects_that_did_not_change() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            before = dict(w.reflector.items)
            w.api.faults.arm(FaultKind.STALLED_WATCH)
            await eventually(lambda: FaultKind.STALLED_WATCH in w.api.faults.struck)
            w.api.put("services", service("b", "192.0.2.7"))
            await w.reflector.relist()
            assert w.addresses() == w.truth()
            assert w.reflector.items["web/a"] is before["web/a"]
            assert w.reflector.items["web/b"] != before["web/b"]

    run(case())


def test_relist_waits_through_an_outage_and_a_waiter_may_give_up() -> None:
    async def case() -> None:
        async with watched("a") as w:
            await watching(w)
            w.api.faults.arm(FaultKind.UNAVAILABLE, times=None)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(w.reflector.relist(), 0.05)
            patient = asyncio.ensure_future(w.reflector.relist())
            await eventually(lambda: w.api.faults.struck.get(FaultKind.UNAVAILABLE, 0) >= 3)
            assert not patient.done()
            w.api.faults.lift()
            await asyncio.wait_for(patient, 10)
            await watching(w)
            requests = len(w.api.asked)
            w.api.put("services", service("b"))
            await w.agrees()
            assert len(w.api.asked) == requests, "nothing spins after the waiter left"

    run(case())


def test_relist_ends_when_the_reflector_is_stopped() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            api.faults.arm(FaultKind.UNAVAILABLE, times=None)
            w = Watched(api, session, QUICK, SERVICES)
            running = asyncio.ensure_future(w.reflector.run())
            waiting = asyncio.ensure_future(w.reflector.relist())
            await eventually(lambda: w.reflector.counters.failures > 0)
            await stop(running)
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(case())


def test_an_observed_write_shows_at_once_and_older_events_do_not_undo_it() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            w.api.faults.arm(FaultKind.STALLED_WATCH)
            await eventually(lambda: FaultKind.STALLED_WATCH in w.api.faults.struck)
            older = w.api.put("services", service("a", "192.0.2.50"))
            written = w.api.put("services", service("a", "192.0.2.51"))
            w.reflector.observe(written)
            assert w.addresses()["web/a"] == "192.0.2.51"
            assert w.changes[-1] == frozenset({"web/a"})
            w.reflector.observe(older)
            assert w.addresses()["web/a"] == "192.0.2.51"
            reports = len(w.changes)
            w.api.faults.arm(FaultKind.UNAVAILABLE, asks=frozenset({Ask.WATCH}))
            await w.reflector.relist()
            await watching(w)
            w.api.put("services", service("b", "192.0.2.60"))
            await w.agrees()
            assert [c for c in w.changes[reports:] if c is not ALL] == [frozenset({"web/b"})]

    run(case())


def test_contact_age_grows_from_the_last_word_of_the_server() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            w = Watched(api, session, QUICK, SERVICES)
            assert w.reflector.contact_age_s(100.0) is None
            async with background(w.reflector.run()):
                await asyncio.wait_for(w.reflector.synced.wait(), 10)
            heard = w.reflector.contact_at
            assert heard is not None
            assert w.reflector.contact_age_s(heard + 7) == pytest.approx(7)

    run(case())


def test_a_selector_is_sent_with_lists_and_watches() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            api.put("services", service("a"))
            api.put("services", service("b", type="NodePort"))
            seen: Reflector[str, View] = Reflector(
                session,
                SERVICES,
                project=project,
                on_change=lambda _: None,
                params={"fieldSelector": "spec.type=LoadBalancer"},
                pace=QUICK,
            )
            async with background(seen.run()):
                await eventually(lambda: set(seen.items) == {"web/a"})
                await eventually(lambda: api.collection("services").watches == 1)
                api.put("services", service("b"))
                await eventually(lambda: set(seen.items) == {"web/a", "web/b"})
                api.put("services", service("a", type="NodePort"))
                await eventually(lambda: set(seen.items) == {"web/b"})

    run(case())
