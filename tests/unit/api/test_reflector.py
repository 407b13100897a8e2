"""The faults of an API server, by name, and what the reflector makes of them.

Each row of reference list "kubernetes in Python" that ended or misled a client is here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from lbctl.api.backoff import Backoff
from lbctl.api.pace import Pace
from lbctl.api.reflector import ALL, Changes, Reflector
from lbctl.api.session import ApiSession
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run, stop

SERVICES = "/api/v1/services"
POOLS = "/apis/lbctl.io/v1beta1/ipaddresspools"

QUICK = Pace(
    page=3,
    list_timeout_s=5,
    watch_s=60,
    inactivity_s=5,
    useful_watch_s=1,
    backoff=Backoff(first_s=0.01, most_s=0.05, jitter=lambda: 0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A projected Service: a key and one field that matters, one that does not."""

    address: str
    resource_version: str = field(compare=False)


def project(body: dict[str, Any]) -> tuple[str, View] | None:
    if body["spec"].get("type") == "ClusterIP":
        return None
    metadata = body["metadata"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    return key, View(address=body["spec"]["address"], resource_version=metadata["resourceVersion"])


def service(name: str, address: str = "192.0.2.1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "web"},
        "spec": {"type": "LoadBalancer", "address": address, **spec},
    }


class Watched:
    """A fake API server with a reflector on its Services, and what it said."""

    def __init__(self, api: FakeApi, session: ApiSession, pace: Pace, path: str) -> None:
        self.api = api
        self.changes: list[Changes[str]] = []
        self.unreadable: list[str] = []
        self.reflector: Reflector[str, View] = Reflector(
            session,
            path,
            project=project,
            on_change=self.changes.append,
            on_unreadable=lambda name, _: self.unreadable.append(name),
            pace=pace,
            jitter=lambda: 0.5,
        )

    def addresses(self) -> dict[str, str]:
        return {key: view.address for key, view in self.reflector.items.items()}

    def truth(self) -> dict[str, str]:
        return {
            f"web/{body['metadata']['name']}": body["spec"]["address"]
            for body in self.api.objects("services")
        }

    async def agrees(self) -> None:
        await eventually(lambda: self.addresses() == self.truth(), "the copy agrees")


@asynccontextmanager
async def watched(
    *names: str, pace: Pace = QUICK, path: str = SERVICES, bookmark_s: float = 60.0
) -> AsyncIterator[Watched]:
    async with FakeApi(bookmark_s=bookmark_s) as api:
        for name in names:
            api.put("services", service(name))
        async with ApiSession(api.credentials()) as session:
            case = Watched(api, session, pace, path)
            async with background(case.reflector.run()):
                yield case


async def watching(case: Watched) -> None:
    await eventually(lambda: case.api.collection("services").watches == 1, "a watch is open")


def test_a_list_of_several_pages_is_swapped_in_at_once() -> None:
    async def case() -> None:
        async with watched(*(f"s{n}" for n in range(8))) as w:
            await asyncio.wait_for(w.reflector.synced.wait(), 10)
            assert w.addresses() == w.truth()
            assert w.changes == [ALL]
            assert w.api.count(Ask.LIST) == 1
            assert w.api.count(Ask.PAGE) == 2

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


IN_STREAM = [
    FaultKind.GONE_IN_STREAM,
    FaultKind.ERROR_500_IN_STREAM,
    FaultKind.ERROR_504_IN_STREAM,
    FaultKind.ERROR_429_IN_STREAM,
    FaultKind.DROPPED_WATCH,
    FaultKind.ENDED_WATCH,
]


@pytest.mark.parametrize("kind", IN_STREAM, ids=lambda kind: kind.value)
def test_a_fault_in_the_stream_loses_nothing(kind: FaultKind) -> None:
    async def case() -> None:
        async with watched("a", "b") as w:
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


def test_410_on_continue_lists_all_at_once_the_next_time() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            for number in range(8):
                api.put("services", service(f"s{number}"))
            api.faults.arm(FaultKind.GONE_ON_CONTINUE, times=None)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, SERVICES)
                async with background(w.reflector.run()):
                    await w.agrees()
            lists = [asked for asked in api.asked if asked.ask is Ask.LIST]
            assert ["limit" in asked.query for asked in lists] == [True, False]

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
        pace = Pace(page=3, inactivity_s=0.2, useful_watch_s=0.1, backoff=QUICK.backoff)
        async with watched("a", pace=pace) as w:
            await watching(w)
            w.api.faults.arm(FaultKind.STALLED_WATCH)
            await eventually(lambda: FaultKind.STALLED_WATCH in w.api.faults.struck)
            w.api.put("services", service("b"))
            await w.agrees()
            assert w.reflector.counters.failures >= 1

    run(case())


def test_slow_pages_delay_the_first_sync_and_nothing_else() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            for number in range(8):
                api.put("services", service(f"s{number}"))
            api.faults.arm(FaultKind.SLOW, times=3, seconds=0.05)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, QUICK, SERVICES)
                async with background(w.reflector.run()):
                    await eventually(lambda: api.count(Ask.PAGE) == 1)
                    assert not w.reflector.synced.is_set()
                    assert w.addresses() == {}, "half a list must never show"
                    await w.agrees()
            assert w.changes[0] is ALL

    run(case())


def test_a_page_that_never_comes_is_given_up() -> None:
    async def case() -> None:
        pace = Pace(page=3, list_timeout_s=0.1, backoff=QUICK.backoff)
        async with FakeApi() as api:
            api.put("services", service("a"))
            api.faults.arm(FaultKind.SLOW, seconds=3600)
            async with ApiSession(api.credentials()) as session:
                w = Watched(api, session, pace, SERVICES)
                async with background(w.reflector.run()):
                    await w.agrees()

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
        pace = Pace(page=3, inactivity_s=0.1, useful_watch_s=0.05, backoff=QUICK.backoff)
        async with watched("a", pace=pace) as w:
            await watching(w)
            w.reflector._position = "999999999"
            w.api.faults.arm(FaultKind.DROPPED_WATCH)
            await eventually(lambda: FaultKind.DROPPED_WATCH in w.api.faults.struck)
            w.api.put("services", service("b"))
            await w.agrees()
            assert w.reflector.counters.lists >= 2

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
