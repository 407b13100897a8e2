"""Events: said once, counted when they come back, never in the way."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lbctl.api.backoff import Backoff
from lbctl.api.events import EventLimits, EventRecorder, EventType, ObjectRef
from lbctl.api.session import ApiSession
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run

SHOP = ObjectRef(api_version="v1", kind="Service", name="shop", namespace="web", uid="u-1")
NODE = ObjectRef(api_version="v1", kind="Node", name="n1", uid="u-2")
QUICK = EventLimits(
    burst=5, refill_s=100, backoff=Backoff(first_s=0.005, most_s=0.02, jitter=lambda: 0.5)
)
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Case:
    def __init__(self, api: FakeApi, session: ApiSession, limits: EventLimits) -> None:
        self.api = api
        self.session = session
        self.now = 0.0
        self.recorder = self.make(limits)

    def make(self, limits: EventLimits) -> EventRecorder:
        return EventRecorder(
            self.session,
            component="lb-controller",
            instance="pod-1",
            limits=limits,
            clock=lambda: self.now,
            wall=lambda: NOON + dt.timedelta(seconds=self.now),
        )

    def refuse(self, message: str, about: ObjectRef = SHOP) -> None:
        self.recorder.record(about, EventType.WARNING, "AllocationFailed", message)

    async def written(self, count: int) -> list[dict[str, Any]]:
        await eventually(lambda: self.recorder.counters.written >= count)
        return self.api.objects("events")


@asynccontextmanager
async def recording(limits: EventLimits = QUICK, *, started: bool = True) -> AsyncIterator[Case]:
    async with FakeApi() as api, ApiSession(api.credentials()) as session:
        case = Case(api, session, limits)
        if not started:
            yield case
            return
        async with background(case.recorder.run()):
            yield case


def test_an_event_says_what_when_and_who() -> None:
    async def case() -> None:
        async with recording() as r:
            r.recorder.record(SHOP, EventType.NORMAL, "IPAllocated", "192.0.2.1")
            (event,) = await r.written(1)
            assert event["involvedObject"] == {
                "apiVersion": "v1",
                "kind": "Service",
                "name": "shop",
                "namespace": "web",
                "uid": "u-1",
            }
            assert event["metadata"]["namespace"] == "web"
            assert (event["type"], event["reason"]) == ("Normal", "IPAllocated")
            assert (event["message"], event["count"]) == ("192.0.2.1", 1)
            assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T12:00:00Z"
            assert event["source"]["component"] == "lb-controller"

    run(case())


def test_a_cluster_wide_object_has_its_events_in_default() -> None:
    async def case() -> None:
        async with recording() as r:
            r.refuse("no link", NODE)
            (event,) = await r.written(1)
            assert event["metadata"]["namespace"] == "default"
            assert "namespace" not in event["involvedObject"]

    run(case())


def test_a_refusal_that_persists_is_said_once() -> None:
    async def case() -> None:
        async with recording() as r:
            for _ in range(100):
                r.refuse("the pool is full")
            await r.written(1)
            for _ in range(100):
                r.refuse("the pool is full")
            assert r.recorder.counters.repeated == 199
            assert r.api.count(Ask.WRITE) == 1

    run(case())


def test_a_reason_that_comes_back_raises_the_count() -> None:
    async def case() -> None:
        async with recording() as r:
            for number, message in enumerate(["full", "not in the pool", "full"], 1):
                r.now = number
                r.refuse(message)
                await r.written(number)
            counts = {e["message"]: e["count"] for e in r.api.objects("events")}
            assert counts == {"full": 2, "not in the pool": 1}
            (full,) = [e for e in r.api.objects("events") if e["message"] == "full"]
            assert full["firstTimestamp"] == "2026-01-01T12:00:01Z"
            assert full["lastTimestamp"] == "2026-01-01T12:00:03Z"

    run(case())


def test_a_restarted_process_goes_on_counting_the_same_event() -> None:
    async def case() -> None:
        async with recording() as r:
            r.refuse("full")
            await r.written(1)
            r.recorder = r.make(QUICK)
            async with background(r.recorder.run()):
                r.refuse("full")
                (event,) = await r.written(1)
            assert event["count"] == 2

    run(case())


def test_an_event_that_has_expired_on_the_server_begins_anew() -> None:
    async def case() -> None:
        async with recording() as r:
            r.refuse("full")
            (event,) = await r.written(1)
            r.api.delete("events", event["metadata"]["name"], "web")
            r.refuse("other")
            r.refuse("full")
            await r.written(3)
            counts = {e["message"]: e["count"] for e in r.api.objects("events")}
            assert counts == {"other": 1, "full": 1}

    run(case())


def test_an_object_that_flaps_is_limited_and_the_others_are_not() -> None:
    async def case() -> None:
        async with recording() as r:
            for number in range(50):
                r.refuse(f"reason {number}")
            r.refuse("mine", NODE)
            await r.written(6)
            assert r.recorder.counters.limited == 45
            r.now = 100.0
            r.refuse("reason 49")
            await r.written(7)

    run(case())


def test_a_full_queue_loses_events_and_counts_them_and_never_blocks() -> None:
    async def case() -> None:
        limits = EventLimits(queue=3)
        async with recording(limits, started=False) as r:
            for number in range(10):
                r.refuse("full", ObjectRef(api_version="v1", kind="Service", name=f"s{number}"))
            assert r.recorder.counters.lost == 7
            async with background(r.recorder.run()):
                await r.written(3)
                r.refuse("full", ObjectRef(api_version="v1", kind="Service", name="s9"))
                await r.written(4)

    run(case())


@pytest.mark.parametrize(
    "kind",
    [FaultKind.THROTTLED, FaultKind.UNAVAILABLE, FaultKind.NO_ANSWER],
    ids=lambda kind: kind.value,
)
def test_a_busy_server_gets_the_event_later(kind: FaultKind) -> None:
    async def case() -> None:
        async with recording() as r:
            r.api.faults.arm(kind, times=2)
            r.refuse("full")
            (event,) = await r.written(1)
            assert event["count"] == 1

    run(case())


def test_an_event_that_is_refused_is_counted_as_lost_and_may_be_said_again() -> None:
    async def case() -> None:
        async with recording() as r:
            r.api.faults.arm(FaultKind.FORBIDDEN)
            r.refuse("full")
            await eventually(lambda: r.recorder.counters.lost == 1)
            r.refuse("full")
            await r.written(1)

    run(case())


def test_what_waits_when_the_process_stops_is_counted_as_lost() -> None:
    async def case() -> None:
        async with recording(started=False) as r:
            r.refuse("full")
            r.refuse("also", NODE)
            running = asyncio.ensure_future(r.recorder.run())
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            r.recorder.forget(SHOP)

    run(case())


def test_long_messages_and_names_are_cut_to_the_apis_limits() -> None:
    async def case() -> None:
        async with recording() as r:
            about = ObjectRef(api_version="v1", kind="Service", name="n" * 253, namespace="web")
            r.refuse("x" * 5000, about)
            (event,) = await r.written(1)
            assert len(event["message"]) == 1024
            assert len(event["metadata"]["name"]) <= 253

    run(case())
