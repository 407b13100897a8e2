"""Writes that meet every answer of an API server, and order without waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lbctl.api.backoff import Backoff
from lbctl.api.publish import StatusObject, publish
from lbctl.api.session import ApiSession
from lbctl.api.writer import (
    Conflict,
    GaveUp,
    Missing,
    Refused,
    Superseded,
    Withheld,
    Writer,
    WriterPace,
    Written,
    create,
    delete,
    patch_object,
    patch_status,
    update,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run, stop

SERVICES = "/api/v1/namespaces/web/services"
STATUSES = "/apis/lbctl.io/v1beta1/namespaces/lbctl-system/speakerstatuses"
QUICK = WriterPace(
    in_flight=4,
    attempts=4,
    timeout_s=5,
    backoff=Backoff(first_s=0.005, most_s=0.02, jitter=lambda: 0.5),
)


class Case:
    def __init__(self, api: FakeApi, session: ApiSession, pace: WriterPace) -> None:
        self.api = api
        self.allowed = True
        self.writer = Writer(session, may_write=lambda: self.allowed, pace=pace)

    def service(self, name: str) -> str:
        """Put a Service; return its resourceVersion."""
        body = {"metadata": {"name": name, "namespace": "web"}, "spec": {"type": "LoadBalancer"}}
        return str(self.api.put("services", body)["metadata"]["resourceVersion"])

    def address(self, name: str) -> Any:
        service = self.api.get("services", name, "web")
        assert service is not None
        return service.get("status", {}).get("loadBalancer", {}).get("ingress")


@asynccontextmanager
async def writing(pace: WriterPace = QUICK, *, started: bool = True) -> AsyncIterator[Case]:
    async with FakeApi() as api, ApiSession(api.credentials()) as session:
        case = Case(api, session, pace)
        if not started:
            yield case
            return
        async with background(case.writer.run()):
            yield case


def ingress(name: str, version: str, address: str) -> Any:
    return patch_status(
        f"{SERVICES}/{name}",
        resource_version=version,
        patch={"status": {"loadBalancer": {"ingress": [{"ip": address}]}}},
    )


def test_a_status_is_patched_under_its_version() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            outcome = await w.writer.submit(ingress("a", version, "192.0.2.1"))
            assert isinstance(outcome, Written)
            assert outcome.body["metadata"]["resourceVersion"] != version
            assert w.address("a") == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
            sent = w.api.asked[-1]
            assert sent.method == "PATCH"
            assert sent.path == f"{SERVICES}/a/status"
            assert sent.body["metadata"]["resourceVersion"] == version

    run(case())


def test_an_old_version_is_a_conflict_and_changes_nothing() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.api.put(
                "services",
                {"metadata": {"name": "a", "namespace": "web"}, "spec": {"type": "ClusterIP"}},
            )
            outcome = await w.writer.submit(ingress("a", version, "192.0.2.1"))
            assert isinstance(outcome, Conflict)
            assert w.address("a") is None
            assert w.writer.counters.conflicts == 1

    run(case())


def test_a_deleted_object_is_missing() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.api.delete("services", "a", "web")
            assert isinstance(await w.writer.submit(ingress("a", version, "192.0.2.1")), Missing)

    run(case())


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.THROTTLED,
        FaultKind.SERVER_ERROR,
        FaultKind.UNAVAILABLE,
        FaultKind.NO_ANSWER,
        FaultKind.TOKEN_EXPIRED,
    ],
    ids=lambda kind: kind.value,
)
def test_what_passes_is_tried_again(kind: FaultKind) -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.api.faults.arm(kind, times=3)
            outcome = await w.writer.submit(ingress("a", version, "192.0.2.1"))
            assert isinstance(outcome, Written)
            assert w.writer.counters.retried == 3

    run(case())


def test_a_write_whose_answer_was_lost_ends_as_a_conflict_not_as_a_second_write() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.api.faults.arm(FaultKind.HALF_BODY)
            outcome = await w.writer.submit(ingress("a", version, "192.0.2.1"))
            assert isinstance(outcome, Conflict)
            assert w.address("a") == [{"ip": "192.0.2.1", "ipMode": "VIP"}]

    run(case())


def test_a_server_that_stays_away_is_given_up_and_the_writer_goes_on() -> None:
    async def case() -> None:
        async with writing() as w:
            versions = {name: w.service(name) for name in ("a", "b")}
            w.api.faults.arm(FaultKind.UNAVAILABLE, times=4)
            outcome = await w.writer.submit(ingress("a", versions["a"], "192.0.2.1"))
            assert isinstance(outcome, GaveUp)
            assert "503" in outcome.message
            after = await w.writer.submit(ingress("b", versions["b"], "192.0.2.2"))
            assert isinstance(after, Written)

    run(case())


def test_a_refusal_for_good_carries_the_servers_words_and_is_not_repeated() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.api.faults.arm(FaultKind.FORBIDDEN, times=None)
            outcome = await w.writer.submit(ingress("a", version, "192.0.2.1"))
            assert isinstance(outcome, Refused)
            assert outcome.status == 403
            assert "forbidden" in outcome.message
            assert w.api.count(Ask.WRITE) == 1

    run(case())


def test_the_newest_write_replaces_one_that_waits() -> None:
    async def case() -> None:
        async with writing(started=False) as w:
            version = w.service("a")
            other = w.service("b")
            futures = [
                w.writer.submit(ingress("a", version, f"192.0.2.{number}"))
                for number in range(1, 6)
            ]
            beside = w.writer.submit(ingress("b", other, "192.0.2.99"))
            assert w.writer.depth == 2
            async with background(w.writer.run()):
                outcomes = await asyncio.gather(*futures)
                await beside
            assert outcomes[:4] == [Superseded()] * 4
            assert isinstance(outcomes[4], Written)
            assert w.address("a") == [{"ip": "192.0.2.5", "ipMode": "VIP"}]
            assert w.api.count(Ask.WRITE) == 2

    run(case())


def test_the_newest_write_replaces_one_that_waits_for_its_next_try() -> None:
    async def case() -> None:
        pace = WriterPace(
            in_flight=2, attempts=9, backoff=Backoff(first_s=0.1, most_s=0.1, jitter=lambda: 0.5)
        )
        async with writing(pace) as w:
            version = w.service("a")
            w.api.faults.arm(FaultKind.UNAVAILABLE)
            first = w.writer.submit(ingress("a", version, "192.0.2.1"))
            await eventually(lambda: w.writer.counters.retried == 1)
            second = w.writer.submit(ingress("a", version, "192.0.2.2"))
            assert await first == Superseded()
            assert isinstance(await second, Written)
            assert w.address("a") == [{"ip": "192.0.2.2", "ipMode": "VIP"}]

    run(case())


def test_one_object_is_never_written_twice_at_a_time() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.api.faults.arm(FaultKind.SLOW, asks=frozenset({Ask.WRITE}), seconds=0.05)
            first = w.writer.submit(ingress("a", version, "192.0.2.1"))
            await eventually(lambda: w.writer.counters.sent == 1)
            # Judged by the same old view: it must meet the first one's new version.
            second = w.writer.submit(ingress("a", version, "192.0.2.2"))
            assert isinstance(await first, Written)
            assert isinstance(await second, Conflict)
            assert w.api.most_in_flight == 1

    run(case())


def test_many_writes_stay_within_the_bound_and_all_arrive() -> None:
    async def case() -> None:
        async with writing() as w:
            writes = [
                ingress(f"s{number}", w.service(f"s{number}"), f"198.18.0.{number}")
                for number in range(100)
            ]
            w.api.faults.arm(FaultKind.SLOW, asks=frozenset({Ask.WRITE}), times=None, seconds=0.005)
            outcomes = await asyncio.gather(*(w.writer.submit(write) for write in writes))
            assert all(isinstance(outcome, Written) for outcome in outcomes)
            assert 2 <= w.api.most_in_flight <= QUICK.in_flight

    run(case())


@pytest.mark.parametrize("waits_already", [False, True])
def test_an_urgent_write_goes_ahead_of_all_that_wait(waits_already: bool) -> None:
    async def case() -> None:
        pace = WriterPace(in_flight=1)
        async with writing(pace, started=False) as w:
            names = [f"s{number}" for number in range(300)]
            versions = {name: w.service(name) for name in [*names, "leaving"]}
            pending = [
                w.writer.submit(ingress(name, versions[name], "192.0.2.1")) for name in names
            ]
            if waits_already:
                w.writer.submit(ingress("leaving", versions["leaving"], "192.0.2.2"))
            urgent = w.writer.submit(
                ingress("leaving", versions["leaving"], "192.0.2.3"), urgent=True
            )
            async with background(w.writer.run()):
                assert isinstance(await urgent, Written)
                await asyncio.gather(*pending)
            sent = [asked for asked in w.api.asked if asked.ask is Ask.WRITE]
            assert sent[0].path == f"{SERVICES}/leaving/status"
            assert w.address("leaving") == [{"ip": "192.0.2.3", "ipMode": "VIP"}]
            assert len(sent) == len(names) + 1

    run(case())


def test_without_the_lease_nothing_is_sent_not_even_a_retry() -> None:
    async def case() -> None:
        async with writing() as w:
            version = w.service("a")
            w.allowed = False
            outcome = await w.writer.submit(ingress("a", version, "192.0.2.1"))
            assert isinstance(outcome, Withheld)
            assert w.api.count(Ask.WRITE) == 0
            w.allowed = True
            w.api.faults.arm(FaultKind.UNAVAILABLE, times=None)
            pending = w.writer.submit(ingress("a", version, "192.0.2.1"))
            await eventually(lambda: w.writer.counters.retried >= 1)
            w.allowed = False
            assert isinstance(await pending, Withheld)

    run(case())


def test_a_stopped_writer_settles_everything() -> None:
    async def case() -> None:
        async with writing(started=False) as w:
            version = w.service("a")
            w.api.faults.arm(FaultKind.UNAVAILABLE, times=None)
            running = asyncio.ensure_future(w.writer.run())
            pending = [w.writer.submit(ingress(name, version, "192.0.2.1")) for name in "abcdefgh"]
            await eventually(lambda: w.writer.counters.sent > 0)
            await stop(running)
            pending.append(w.writer.submit(ingress("late", version, "192.0.2.1")))
            outcomes = await asyncio.gather(*pending)
            assert all(isinstance(outcome, Withheld | GaveUp | Missing) for outcome in outcomes)
            await w.writer.drained()

    run(case())


def test_drained_means_that_what_frees_has_landed() -> None:
    async def case() -> None:
        async with writing() as w:
            await w.writer.drained()
            for number in range(20):
                name = f"s{number}"
                w.writer.submit(ingress(name, w.service(name), "192.0.2.1"))
            await w.writer.drained()
            assert w.writer.counters.written == 20
            assert w.writer.depth == 0

    run(case())


def test_a_429_makes_everybody_wait_for_as_long_as_the_server_says() -> None:
    async def case() -> None:
        now = 0.0
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            w = Case(api, session, QUICK)
            w.writer = Writer(session, may_write=lambda: True, pace=QUICK, clock=lambda: now)
            version = w.service("a")
            api.faults.arm(FaultKind.THROTTLED, seconds=1)
            pending = w.writer.submit(ingress("a", version, "192.0.2.1"))
            async with background(w.writer.run()):
                await eventually(lambda: w.writer.counters.retried == 1)
                assert w.writer._quiet_until == QUICK.backoff.most_s, "at most our own longest"
                assert isinstance(await pending, Written)

    run(case())


def test_objects_are_created_updated_patched_and_deleted() -> None:
    async def case() -> None:
        async with writing() as w:
            body = {"metadata": {"name": "n1"}, "spec": {"node": "n1"}}
            made = await w.writer.submit(create(STATUSES, body))
            assert isinstance(made, Written)
            again = await w.writer.submit(create(STATUSES, body))
            assert isinstance(again, Conflict)
            path = f"{STATUSES}/n1"
            changed = await w.writer.submit(update(path, made.body | {"spec": {"node": "n2"}}))
            assert isinstance(changed, Written)
            labelled = await w.writer.submit(
                patch_object(
                    path,
                    resource_version=changed.body["metadata"]["resourceVersion"],
                    patch={"metadata": {"labels": {"a": "b"}}},
                )
            )
            assert isinstance(labelled, Written)
            metadata = labelled.body["metadata"]
            assert metadata["labels"] == {"a": "b"}
            stale = await w.writer.submit(delete(path, resource_version="1"))
            assert isinstance(stale, Conflict)
            gone = await w.writer.submit(
                delete(path, resource_version=metadata["resourceVersion"], uid=metadata["uid"])
            )
            assert isinstance(gone, Written)
            assert isinstance(await w.writer.submit(delete(path)), Missing)

    run(case())


def test_an_update_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs metadata\.resourceVersion"):
        update("/api/v1/nodes/a", {"metadata": {"name": "a"}})


def test_a_status_object_takes_two_writes_at_first_and_one_later() -> None:
    async def case() -> None:
        async with writing() as w:

            def wanted(status: dict[str, Any]) -> StatusObject:
                return StatusObject(
                    collection=STATUSES,
                    api_version="lbctl.io/v1beta1",
                    kind="SpeakerStatus",
                    metadata={"name": "n1"},
                    spec={"node": "n1"},
                    status=status,
                )

            first = await publish(w.writer, wanted({"draining": False}), resource_version=None)
            assert isinstance(first, Written)
            assert first.body["status"] == {"draining": False}
            assert w.api.count(Ask.WRITE) == 2
            version = first.body["metadata"]["resourceVersion"]
            second = await publish(w.writer, wanted({"draining": True}), resource_version=version)
            assert isinstance(second, Written)
            assert second.body["status"] == {"draining": True}
            assert w.api.count(Ask.WRITE) == 3
            third = await publish(w.writer, wanted({}), resource_version=None)
            assert isinstance(third, Conflict), "somebody else has created it: look again"

    run(case())


def test_a_yes_that_is_over_when_the_connection_stands_sends_nothing() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            asked: list[int] = []

            def may_write() -> bool:
                asked.append(len(asked))
                return len(asked) <= 4

            # Four writers pass the first question; then comes what a frozen process would miss.
            writer = Writer(session, may_write=may_write, pace=QUICK)
            names = [f"shop-{number}" for number in range(4)]
            versions = {
                name: str(
                    api.put(
                        "services",
                        {"metadata": {"name": name, "namespace": "web"}, "spec": {}},
                    )["metadata"]["resourceVersion"]
                )
                for name in names
            }
            async with background(writer.run()):
                waiting = [
                    writer.submit(ingress(name, versions[name], "192.0.2.1")) for name in names
                ]
                outcomes = await asyncio.gather(*waiting)
            assert {type(outcome) for outcome in outcomes} == {Withheld}
            assert api.count(Ask.WRITE) == 0

    run(case())
