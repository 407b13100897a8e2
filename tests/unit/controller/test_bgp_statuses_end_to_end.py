"""One ServiceBGPStatus for each Service that BGP is to announce; over HTTP."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.commanding import bgp_advertisement, bgp_session, node, peer, speaker
from tests.support.controlling import (
    NAMESPACE,
    all_served,
    announced,
    controller,
    edit,
    put_pool,
    put_service,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import eventually, run
from tests.unit.controller.test_announced_end_to_end import SETTLE_S, YES, backed, put

PLURAL = "servicebgpstatuses"
NODES = ("node1", "node2")


def cluster(api: FakeApi, *services: str) -> None:
    """Put Services with endpoints, a pool, a peer that one of two nodes has told everything."""
    put_pool(api, "main", "192.0.2.0/24")
    put(api, peer(), bgp_advertisement(), *map(node, NODES), *map(speaker, NODES))
    put(api, bgp_session("node1"), bgp_session("node2", state="Connect", routes=(1, 0, 0)))
    for number, name in enumerate(services):
        put_service(api, name, created=number)
        backed(api, name, "node1")


def said(api: FakeApi, service: str) -> dict[str, Any]:
    return (api.get(PLURAL, f"web.{service}", NAMESPACE) or {}).get("status") or {}


def sessions(api: FakeApi, service: str) -> tuple[int, ...]:
    """Return how many sessions are wanted, established, sent and acknowledged."""
    counts = said(api, service).get("sessions") or {}
    return tuple(
        int(counts.get(name, -1)) for name in ("wanted", "established", "sent", "acknowledged")
    )


def writes(api: FakeApi) -> int:
    return sum(asked.ask is Ask.WRITE and asked.resource == PLURAL for asked in api.asked)


def test_it_counts_from_intent_to_what_was_observed_and_follows():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api, "shop")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: sessions(api, "shop") == (2, 1, 1, 1), "the counts")
                body = api.get(PLURAL, "web.shop", NAMESPACE)
                assert body is not None
                assert body["status"] == {
                    "serviceName": "shop",
                    "serviceNamespace": "web",
                    "peers": ["tor"],
                    "addresses": ["192.0.2.0"],
                    "nodes": 2,
                    "sessions": {"wanted": 2, "established": 1, "sent": 1, "acknowledged": 1},
                }
                assert body["metadata"]["labels"] == {
                    "lbctl.io/service-name": "shop",
                    "lbctl.io/service-namespace": "web",
                }
                put(api, bgp_session("node2", routes=(1, 1, 0)))
                await eventually(lambda: sessions(api, "shop") == (2, 2, 2, 1), "it came up")
                put(api, bgp_session("node2", routes=(1, 1, 1)))
                await eventually(lambda: sessions(api, "shop") == (2, 2, 2, 2), "it was confirmed")
                put(api, peer("rot", "192.0.2.251"))
                await eventually(
                    lambda: said(api, "shop")["peers"] == ["rot", "tor"], "a peer more"
                )
                edit(
                    api, "services", "shop",
                    lambda one: one["spec"].update(externalTrafficPolicy="Local"),
                )  # fmt: skip
                await eventually(lambda: said(api, "shop")["nodes"] == 1, "one has an endpoint")
                assert sessions(api, "shop") == (2, 1, 1, 1)

    run(case())


def test_it_goes_when_nobody_is_to_hear_of_the_service():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api, "shop", "store", "bar")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: len(api.objects(PLURAL)) == 3, "the objects")
                api.delete("services", "shop", "web")
                edit(api, "services", "store", lambda one: one["spec"].update(type="ClusterIP"))
                await eventually(lambda: len(api.objects(PLURAL)) == 1, "two went")
                api.delete("bgpadvertisements", "bgp", NAMESPACE)
                await eventually(lambda: not api.objects(PLURAL), "the last went")

    run(case())


def test_a_restart_writes_nothing_and_removes_what_is_left_over():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api, "shop", "store")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(
                    lambda: (
                        [sessions(api, name) for name in ("shop", "store")] == [(2, 1, 1, 1)] * 2
                    ),
                    "the counts",
                )
            before = copy.deepcopy(api.get(PLURAL, "web.shop", NAMESPACE))
            api.delete("services", "store", "web")
            written = writes(api)
            async with controller(api, identity="b", settle_s=SETTLE_S):
                await eventually(lambda: len(api.objects(PLURAL)) == 1, "the left-over went")
                put_service(api, "later", created=9)
                backed(api, "later", "node1")
                await eventually(lambda: sessions(api, "later") == (2, 1, 1, 1), "a new one")
            assert api.get(PLURAL, "web.shop", NAMESPACE) == before
            assert writes(api) == written + 3, "a deletion, a creation and its status"

    run(case())


def test_what_somebody_changes_is_set_right_and_a_creation_without_status_is_finished():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api, "shop")
            bare = {
                "metadata": {
                    "name": "web.shop",
                    "namespace": NAMESPACE,
                    "labels": {
                        "lbctl.io/service-name": "shop",
                        "lbctl.io/service-namespace": "web",
                    },
                }
            }
            api.put(PLURAL, bare)
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: sessions(api, "shop") == (2, 1, 1, 1), "the counts")
                edit(api, PLURAL, "web.shop", lambda one: one["status"].update(nodes=7))
                await eventually(lambda: said(api, "shop")["nodes"] == 2, "set right")
                api.delete(PLURAL, "web.shop", NAMESPACE)
                await eventually(lambda: sessions(api, "shop") == (2, 1, 1, 1), "made anew")

    run(case())


def test_in_metallbs_group_it_has_metallbs_fields_and_metallbs_own_objects_stay():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api, "shop")
            theirs = {
                "metadata": {
                    "name": "bgp-abcde",
                    "namespace": NAMESPACE,
                    "labels": {"metallb.io/service-name": "gone"},
                },
                "status": {"serviceName": "gone", "serviceNamespace": "web", "node": "node1"},
            }
            unsaid = {"metadata": {"name": "bgp-fghij", "namespace": NAMESPACE}}
            api.put(PLURAL, theirs)
            api.put(PLURAL, unsaid)
            async with controller(api, "--api-group", "metallb.io", settle_s=SETTLE_S):
                await eventually(lambda: said(api, "shop"), "the object")
                assert said(api, "shop") == {
                    "serviceName": "shop",
                    "serviceNamespace": "web",
                    "peers": ["tor"],
                }
                api.delete("bgppeers", "tor", NAMESPACE)
                api.delete("bgpadvertisements", "bgp", NAMESPACE)
                await eventually(lambda: len(api.objects(PLURAL)) == 2, "ours went")
            for name in ("bgp-abcde", "bgp-fghij"):
                body = api.get(PLURAL, name, NAMESPACE)
                assert body is not None
                assert body["metadata"]["generation"] == 1

    run(case())


def test_without_the_kind_or_the_right_to_write_it_everything_else_goes_on():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api, "shop")
            api.faults.arm(FaultKind.CRD_MISSING, resource=PLURAL, times=None)
            async with controller(api, settle_s=SETTLE_S) as parts:
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                await eventually(lambda: parts.reconciler.bgp_statuses.problem, "the problem")
                assert not list(parts.not_ready())
                api.faults.lift(FaultKind.CRD_MISSING)
                api.faults.arm(
                    FaultKind.FORBIDDEN, resource=PLURAL, asks=frozenset({Ask.WRITE}), times=None
                )
                await eventually(
                    lambda: "403" in (parts.reconciler.bgp_statuses.problem or ""), "refused"
                )
                put_service(api, "later", created=9)
                await all_served(api, ["later"])
                assert not list(parts.not_ready())

    run(case())


def test_without_bgp_nothing_is_asked_or_written():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            put(api, *map(node, NODES), *map(speaker, NODES))
            put_service(api, "shop")
            async with controller(api, settle_s=SETTLE_S) as parts:
                await eventually(lambda: announced(api, "shop")[1] == "NoAdvertisement", "judged")
                assert not parts.reconciler.bgp_statuses.waiting
            assert writes(api) == 0

    run(case())
