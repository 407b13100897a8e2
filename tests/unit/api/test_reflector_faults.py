"""The faults of an API server, by name, and what the reflector makes of them.

Each row of reference list "kubernetes in Python" that ended or misled a client is here.
"""

import asyncio
from dataclasses import replace

import pytest

from lbctl.api.pace import Pace
from lbctl.api.reflector import ALL
from lbctl.api.session import ApiSession
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run
from tests.support.reflecting import (
    POOLS,
    QUICK,
    SERVICES,
    Watched,
    service,
    watched,
    watching,
)

IN_STREAM = [
    FaultKind.GONE_IN_STREAM,
    FaultKind.ERROR_500_IN_STREAM,
    FaultKind.ERROR_504_IN_STREAM,
    FaultKind.ERROR_429_IN_STREAM,
    FaultKind.DROPPED_WATCH,
    FaultKind.ENDED_WATCH,
]


PATIENT = replace(QUICK, rest_s=0.02)


@pytest.mark.parametrize("pace", [QUICK, PATIENT], ids=["at once", "resting"])
@pytest.mark.parametrize("kind", IN_STREAM, ids=lambda kind: kind.value)
def test_a_fault_in_the_stream_loses_nothing(kind: FaultKind, pace: Pace) -> None:
    async def case() -> None:
        async with watched("a", "b", pace=pace) as w:
            await watching(w)
            for round_ in range(3):
                w.api.faults.arm(kind)
                w.api.put("services", service("a", f"192.0.2.{round_ + 10}"))
                w.api.put("services", service(f"new{round_}"))
                await w.agrees()
                await eventually(lambda: w.api.faults.struck[kind] == round_ + 1)  # noqa: B023 - awaited in the same turn
                await watching(w)
            await w.agrees()
            if kind is not FaultKind.GONE_IN_STREAM:
                assert w.reflector.counters.lists == 1, "resumed, not listed again"

    run(case())


HTTP_FAULTS = [
    FaultKind.TOKEN_EXPIRED,
    FaultKind.FORBIDDEN,
    FaultKind.CRD_MISSING,
    FaultKind.THROTTLED,
    FaultKind.SERVER_ERROR,
    FaultKind.UNAVAILABLE,
    FaultKind.NO_ANSWER,
    FaultKind.HALF_BODY,
    FaultKind.GARBAGE,
]


@pytest.mark.parametrize("kind", HTTP_FAULTS, ids=lambda kind: kind.value)
def test_refused_and_spoiled_answers_at_the_start_are_survived(kind: FaultKind) -> None:
    async def case() -> None:
        async with FakeApi() as api:
            for number in range(5):
                api.put("services", service(f"s{number}"))
            api.faults.arm(kind, times=5)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, SERVICES)
                async with background(w.reflector.run()):
                    await w.agrees()
                    await watching(w)
            assert api.faults.struck[kind] == 5
            # Two and not five: aiohttp itself tries a cut GET a second time.
            assert w.reflector.counters.failures >= 2
            assert w.reflector.problem is None

    run(case())


@pytest.mark.parametrize(
    "kind",
    [k for k in HTTP_FAULTS if k not in {FaultKind.HALF_BODY, FaultKind.GARBAGE}],
    ids=lambda kind: kind.value,
)
def test_refused_watches_are_survived(kind: FaultKind) -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            w.api.faults.arm(kind, asks=frozenset({Ask.WATCH}), times=5)
            w.api.faults.arm(FaultKind.DROPPED_WATCH)
            await eventually(lambda: w.api.faults.struck.get(kind) == 5)
            w.api.put("services", service("c"))
            await w.agrees()

    run(case())


def test_410_to_the_watch_request_means_a_new_list() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            w.api.faults.arm(FaultKind.GONE_ON_WATCH)
            w.api.faults.arm(FaultKind.DROPPED_WATCH)
            await eventually(lambda: w.reflector.counters.lists == 2)
            assert w.changes == [ALL, ALL]
            assert w.reflector.counters.gone == 1

    run(case())


def test_a_truncated_line_is_dropped_and_sent_again() -> None:
    async def case() -> None:
        async with watched("a") as w:
            await watching(w)
            w.api.faults.arm(FaultKind.TRUNCATED_LINE)
            w.api.put("services", service("a", "192.0.2.77"))
            await w.agrees()
            assert w.reflector.counters.truncated == 1
            assert w.reflector.counters.lists == 1

    run(case())


def test_a_stalled_watch_is_left_after_the_inactivity_time() -> None:
    async def case() -> None:
        pace = Pace(inactivity_s=0.2, useful_watch_s=0.1, backoff=QUICK.backoff)
        async with watched("a", pace=pace) as w:
            await watching(w)
            w.api.faults.arm(FaultKind.STALLED_WATCH)
            await eventually(lambda: FaultKind.STALLED_WATCH in w.api.faults.struck)
            w.api.put("services", service("b"))
            await w.agrees()
            assert w.reflector.counters.failures >= 1

    run(case())


def test_a_list_that_comes_slowly_delays_the_first_sync_and_nothing_else() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            for number in range(8):
                api.put("services", service(f"s{number}"))
            api.faults.arm(FaultKind.SLOW_BODY, seconds=0.1)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, SERVICES)
                async with background(w.reflector.run()):
                    await eventually(lambda: FaultKind.SLOW_BODY in api.faults.struck)
                    assert not w.reflector.synced.is_set()
                    assert w.addresses() == {}, "half a list must never show"
                    await w.agrees()
            assert w.changes[0] is ALL
            assert w.reflector.counters.failures == 0

    run(case())


@pytest.mark.parametrize("kind", [FaultKind.SLOW, FaultKind.SLOW_BODY], ids=lambda one: one.value)
def test_a_list_whose_rest_never_comes_is_given_up(kind: FaultKind) -> None:
    async def case() -> None:
        pace = Pace(list_silence_s=0.1, backoff=QUICK.backoff)
        async with FakeApi() as api:
            api.put("services", service("a"))
            api.faults.arm(kind, seconds=3600)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, pace, SERVICES)
                async with background(w.reflector.run()):
                    await w.agrees()

    run(case())


def test_a_missing_crd_is_named_and_awaited() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.CRD_MISSING, resource="ipaddresspools", times=None)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, POOLS)
                async with background(w.reflector.run()):
                    await eventually(lambda: w.reflector.problem is not None)
                    assert w.reflector.problem == (
                        "the API server does not know ipaddresspools.lbctl.io: install the CRDs"
                    )
                    assert not w.reflector.synced.is_set()
                    api.faults.lift()
                    await asyncio.wait_for(w.reflector.synced.wait(), 10)
                    assert w.reflector.problem is None

    run(case())


@pytest.mark.parametrize("ask", [Ask.LIST, Ask.WATCH], ids=lambda ask: ask.value)
def test_a_refusal_of_rbac_names_verb_and_resource(ask: Ask) -> None:
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.FORBIDDEN, asks=frozenset({ask}), times=None)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, POOLS)
                async with background(w.reflector.run()):
                    await eventually(lambda: w.reflector.problem)
                    said = w.reflector.problem or ""
            assert said.startswith(f"RBAC refuses to {ask.value} ipaddresspools.lbctl.io: grant")
            assert f"{ask.value!r}" in said

    run(case())


def test_an_outage_leaves_the_last_known_state_in_place() -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            known = w.addresses()
            w.api.faults.arm(FaultKind.NO_ANSWER, times=None)
            w.api.faults.arm(FaultKind.DROPPED_WATCH)
            await eventually(lambda: w.reflector.counters.failures >= 10)
            assert w.addresses() == known
            assert w.reflector.synced.is_set()
            assert w.changes == [ALL]
            assert "no answer to watch services" in (w.reflector.problem or "")
            w.api.faults.lift()
            w.api.put("services", service("c"))
            await w.agrees()
            assert w.reflector.counters.lists == 1, "an outage alone is no reason to list"

    run(case())


def test_a_watch_that_only_ever_fails_leads_to_a_new_list() -> None:
    """The position itself may be what the server cannot serve."""

    async def case() -> None:
        async with watched("a") as w:
            await watching(w)
            w.api.faults.arm(FaultKind.ERROR_504_IN_STREAM, times=4)
            await eventually(lambda: w.reflector.counters.lists == 2)

    run(case())


def test_watches_that_only_ever_stay_silent_lead_to_a_new_list() -> None:
    """After a restore of etcd our position lies in the future, and nothing ever comes."""

    async def case() -> None:
        pace = Pace(inactivity_s=0.1, useful_watch_s=0.05, backoff=QUICK.backoff)
        async with watched("a", pace=pace) as w:
            await watching(w)
            w.reflector._position = "999999999"
            w.api.faults.arm(FaultKind.DROPPED_WATCH)
            await eventually(lambda: FaultKind.DROPPED_WATCH in w.api.faults.struck)
            w.api.put("services", service("b"))
            await w.agrees()
            assert w.reflector.counters.lists >= 2

    run(case())


def test_an_error_after_events_in_one_piece_still_reports_the_events() -> None:
    async def case() -> None:
        async with watched("a") as w:
            await watching(w)
            seen = w.reflector
            piece = [
                (
                    b'{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"web",'
                    b'"resourceVersion":"5000"},"spec":{"address":"192.0.2.99"}}}'
                ),
                b'{"type":"ERROR","object":{"code":500}}',
            ]
            with pytest.raises(Exception, match="the watch ended with 500"):
                await seen._apply(piece)
            assert w.changes[-1] == frozenset({"web/a"})

    run(case())


def test_a_list_of_a_restored_server_is_believed_over_what_a_write_returned() -> None:
    """After a restore of etcd versions begin again below those that we hold."""

    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            backup = w.api.back_up()
            w.api.faults.arm(FaultKind.STALLED_WATCH)
            await eventually(lambda: FaultKind.STALLED_WATCH in w.api.faults.struck)
            w.reflector.observe(w.api.put("services", service("a", "192.0.2.51")))
            assert w.addresses()["web/a"] == "192.0.2.51"
            w.api.restore(backup)
            await w.reflector.relist()
            assert w.addresses() == w.truth()
            await watching(w)
            w.api.put("services", service("a", "192.0.2.52"))
            await w.agrees()
            w.api.delete("services", "a", "web")
            await w.agrees()

    run(case())


def test_versions_that_a_restored_server_gives_again_name_other_objects() -> None:
    """The same resourceVersion on the same object means the same only while history goes on."""

    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            backup = w.api.back_up()
            first = w.api.put("services", service("a", "192.0.2.51"))
            w.api.put("services", service("b", "192.0.2.61"))
            await w.agrees()
            w.api.faults.arm(FaultKind.STALLED_WATCH)
            await eventually(lambda: FaultKind.STALLED_WATCH in w.api.faults.struck)
            w.api.restore(backup)
            again = w.api.put("services", service("a", "192.0.2.52"))
            assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            await w.reflector.relist()
            assert w.addresses() == w.truth()

    run(case())


def test_what_a_write_returned_while_a_list_was_fetched_outlives_that_list() -> None:
    """The list may show the moment before the write."""

    async def case() -> None:
        async with watched("a", "b", "c", "d") as w:
            await watching(w)
            w.api.faults.arm(FaultKind.SLOW_BODY, seconds=0.1)
            listing = asyncio.ensure_future(w.reflector.relist())
            await eventually(lambda: FaultKind.SLOW_BODY in w.api.faults.struck)
            w.reflector.observe(w.api.put("services", service("a", "192.0.2.51")))
            await listing
            assert w.addresses()["web/a"] == "192.0.2.51"
            await watching(w)
            await w.agrees()

    run(case())


def test_a_version_lower_than_our_position_means_a_new_list() -> None:
    """No event tells what became of the objects that a restored server has lost."""

    async def case() -> None:
        async with watched("a", bookmark_s=0.05) as w:
            await watching(w)
            backup = w.api.back_up()
            w.api.put("services", service("b"))
            await w.agrees()
            w.api.restore(backup)
            await w.agrees()
            assert set(w.addresses()) == {"web/a"}
            assert w.reflector.counters.gone == 1

    run(case())


def test_a_list_older_than_what_is_known_does_not_turn_the_world_back() -> None:
    """It is asked for again; nobody is shown, or told of, what it said."""

    async def case() -> None:
        async with watched("a", "b") as w:
            await watching(w)
            past = w.api.back_up()
            w.api.put("services", service("a", "192.0.2.51"))
            w.api.delete("services", "b", "web")
            w.api.put("services", service("c", "192.0.2.61"))
            await w.agrees()
            known, lists = w.addresses(), w.api.count(Ask.LIST, "services")
            w.shown.clear()
            w.api.list_once_from(past)
            await w.reflector.relist()
            assert w.api.count(Ask.LIST, "services") == lists + 2
            assert w.reflector.counters.gone == 1
            assert w.shown
            assert all(one == known for one in w.shown)
            assert w.addresses() == known == w.truth()
            await watching(w)
            w.api.put("services", service("d", "192.0.2.71"))
            await w.agrees()

    run(case())


@pytest.mark.parametrize(
    ("kind", "absent"), [(FaultKind.CRD_MISSING, True), (FaultKind.FORBIDDEN, False)], ids=str
)
def test_a_collection_is_settled_when_the_server_will_not_list_it(
    kind: FaultKind, absent: bool
) -> None:
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(kind, resource="services", times=None)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, SERVICES)
                async with background(w.reflector.run()):
                    await eventually(w.reflector.settled.is_set)
                    assert w.reflector.absent is absent
                    assert not w.reflector.synced.is_set()
                    api.faults.lift(kind)
                    await eventually(w.reflector.synced.is_set)
                    assert not w.reflector.absent

    run(case())


def test_a_collection_is_not_settled_while_the_server_only_fails() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.SERVER_ERROR, resource="services", times=3)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, SERVICES)
                async with background(w.reflector.run()):
                    await eventually(lambda: w.reflector.problem is not None)
                    assert not w.reflector.settled.is_set()
                    await eventually(w.reflector.settled.is_set)
                    assert w.reflector.synced.is_set()

    run(case())
