"""Allocation through the whole controller, over HTTP: what Services, pools and Events show."""

from __future__ import annotations

from tests.support.controlling import (
    MARK,
    NAMESPACE,
    accepted,
    all_served,
    allocated,
    condition,
    controller,
    counters,
    edit,
    events,
    owners,
    put_pool,
    put_service,
    shown,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import eventually, run


def test_a_service_gets_an_address_with_mark_condition_and_event():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/30")
            async with controller(api):
                await eventually(lambda: counters(api, "main") == (0, 0, 4, 0), "counters")
                put_service(api, "shop")
                await all_served(api, ["shop"])
                assert shown(api, "shop") == ["192.0.2.0"]
                body = api.get("services", "shop", "web")
                assert body is not None
                assert body["metadata"]["annotations"][MARK] == "main"
                assert body["status"]["loadBalancer"]["ingress"][0]["ipMode"] == "VIP"
                found = condition(api, "services", "shop", "lbctl.io/Allocated")
                assert (found["status"], found["reason"]) == ("True", "Allocated")
                await eventually(lambda: counters(api, "main") == (1, 0, 3, 0), "counters")
                await eventually(lambda: events(api, "shop"), "the Event")
                assert events(api, "shop") == [
                    ("Normal", "IPAllocated", "Assigned 192.0.2.0 from pool main")
                ]
                assert accepted(api, "main") == "Accepted"

    run(case())


def test_a_restart_with_five_hundred_services_changes_and_writes_nothing():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "198.18.4.0/22")
            names = [f"shop-{number}" for number in range(500)]
            for number, name in enumerate(names):
                put_service(api, name, created=number)
            async with controller(api):
                await all_served(api, names)
                await eventually(lambda: counters(api, "main")[0] == 500, "counters")
            before = {name: shown(api, name) for name in names}
            assert owners(api).most_common(1)[0][1] == 1
            quiet = writes(api)
            async with controller(api, identity="b") as parts:
                await eventually(lambda: parts.reconciler.plans >= 1, "a first plan")
                put_service(api, "late", created=999)
                await all_served(api, ["late"])
                assert {name: shown(api, name) for name in names} == before
                await eventually(lambda: counters(api, "main")[0] == 501, "counters")
                await eventually(lambda: events(api, "late"), "the Event")
            assert writes(api) - quiet == 3, "the late Service, its Event and the pool's counters"

    run(case())


def writes(api: FakeApi) -> int:
    return sum(asked.ask is Ask.WRITE and asked.resource != "leases" for asked in api.asked)


def test_a_controller_that_starts_alone_reads_everything_once():
    """The list that begins after the Lease was gained is the one that its first plan needs."""

    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            put_service(api, "shop")
            async with controller(api):
                await all_served(api, ["shop"])
            lists = [
                asked
                for asked in api.asked
                if asked.ask is Ask.LIST and asked.path == "/api/v1/services"
            ]
            assert len(lists) == 1

    run(case())


def test_a_status_that_somebody_emptied_gets_the_same_address_back():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api):
                for number, name in enumerate(("one", "two", "three")):
                    put_service(api, name, created=number)
                await all_served(api, ["one", "two", "three"])
                before = shown(api, "two")
                edit(api, "services", "two", lambda body: body.update(status={}))
                assert shown(api, "two") == []
                await all_served(api, ["two"])
                assert shown(api, "two") == before

    run(case())


def test_services_of_others_are_never_written_to():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            put_service(api, "class", loadBalancerClass="example.com/other")
            put_service(api, "address", status=["203.0.113.7"])
            put_service(api, "internal", type="ClusterIP")
            async with controller(api):
                put_service(api, "ours", created=5)
                await all_served(api, ["ours"])
            touched = {asked.path for asked in api.asked if asked.ask is Ask.WRITE}
            assert not [path for path in touched if "services/" in path and "ours" not in path]
            assert shown(api, "address") == ["203.0.113.7"]

    run(case())


def test_deleting_a_service_frees_its_address_and_a_type_change_clears_it():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.8/31")
            async with controller(api):
                put_service(api, "one", created=1)
                put_service(api, "two", created=2)
                await all_served(api, ["one", "two"])
                api.delete("services", "one", "web")
                await eventually(lambda: counters(api, "main") == (1, 0, 1, 0), "one is free")
                edit(api, "services", "two", lambda body: body["spec"].update(type="ClusterIP"))
                await eventually(lambda: shown(api, "two") == [], "the address is cleared")
                body = api.get("services", "two", "web")
                assert body is not None
                assert MARK not in body["metadata"]["annotations"]
                assert body["status"]["conditions"] == [] if "conditions" in body["status"] else 1
                await eventually(lambda: counters(api, "main") == (0, 0, 2, 0), "all is free")

    run(case())


def test_a_full_pool_refuses_with_reason_and_event_and_serves_when_one_is_freed():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.8/32")
            async with controller(api):
                put_service(api, "one", created=1)
                await all_served(api, ["one"])
                put_service(api, "two", created=2)
                await eventually(lambda: allocated(api, "two") == "PoolExhausted", "the reason")
                assert condition(api, "services", "two", "lbctl.io/Allocated")["status"] == "False"
                await eventually(lambda: events(api, "two"), "the Event")
                kind, reason, message = events(api, "two")[0]
                assert (kind, reason) == ("Warning", "AllocationFailed")
                assert '"web/two"' in message
                api.delete("services", "one", "web")
                await all_served(api, ["two"])
                assert shown(api, "two") == ["192.0.2.8"]
                assert allocated(api, "two") == "Allocated"

    run(case())


def test_an_address_is_never_on_two_services_while_it_is_handed_over():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.8/32")
            async with controller(api):
                put_service(api, "one", created=1)
                await all_served(api, ["one"])
                put_service(api, "two", created=2)
                await eventually(lambda: allocated(api, "two") == "PoolExhausted", "two waits")
                edit(api, "services", "one", lambda body: body["spec"].update(type="ClusterIP"))
                await all_served(api, ["two"])
            history = [
                change for change in api.collection("services").history if change.after is not None
            ]
            now: dict[str, list[str]] = {}
            for change in history:
                assert change.after is not None
                ingress = change.after["status"].get("loadBalancer", {}).get("ingress") or []
                now[change.key[1]] = [entry["ip"] for entry in ingress]
                held = [address for addresses in now.values() for address in addresses]
                assert len(held) == len(set(held))

    run(case())


def test_an_invalid_pool_is_reported_on_itself_and_the_others_go_on():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "bad", "192.0.2.9-192.0.2.1")
            put_pool(api, "good", "198.51.100.0/24", created=1)
            async with controller(api):
                put_service(api, "shop")
                await all_served(api, ["shop"])
                assert shown(api, "shop") == ["198.51.100.0"]
                await eventually(lambda: accepted(api, "bad") == "Invalid", "the condition")
                message = condition(api, "ipaddresspools", "bad", "Accepted")["message"]
                assert "spec.addresses[0]" in message
                assert counters(api, "bad") == (None,) * 4
                await eventually(lambda: summary(api).get("result") == "Invalid", "the summary")
                assert "bad" in summary(api)["errorSummary"]
                await eventually(lambda: events(api, "bad"), "the Event")
                edit(
                    api, "ipaddresspools", "bad",
                    lambda body: body["spec"].update(addresses=["192.0.2.1-192.0.2.9"]),
                )  # fmt: skip
                await eventually(lambda: accepted(api, "bad") == "Accepted", "it is repaired")
                await eventually(lambda: summary(api)["result"] == "Valid", "the summary")

    run(case())


def test_a_summary_that_somebody_deletes_or_changes_is_back_at_once():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "bad", "nonsense")
            async with controller(api):
                await eventually(lambda: summary(api).get("result") == "Invalid", "the summary")
                right = summary(api)["errorSummary"]
                api.delete("configurationstates", "controller", NAMESPACE)
                await eventually(lambda: summary(api).get("result") == "Invalid", "it is back")
                edit(
                    api, "configurationstates", "controller",
                    lambda body: body["status"].update(result="Valid", errorSummary=""),
                )  # fmt: skip
                await eventually(lambda: summary(api).get("errorSummary") == right, "repaired")

    run(case())


def test_a_summary_that_rbac_denies_is_a_problem_and_comes_later():
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(
                FaultKind.FORBIDDEN,
                resource="configurationstates",
                asks=frozenset({Ask.WRITE}),
                times=1,
            )
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api) as parts:
                await eventually(
                    lambda: any(
                        "RBAC refuses to create configurationstates" in p for p in parts.not_ready()
                    ),
                    "the problem",
                )
                await eventually(lambda: summary(api).get("result") == "Valid", "the summary")
                await eventually(lambda: not list(parts.not_ready()), "ready")

    run(case())


def summary(api: FakeApi) -> dict[str, str]:
    return (api.get("configurationstates", "controller", NAMESPACE) or {}).get("status") or {}


def test_overlapping_pools_the_older_works_and_the_younger_says_why():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "old", "192.0.2.0/30")
            async with controller(api):
                await eventually(lambda: accepted(api, "old") == "Accepted", "the older")
                put_pool(api, "young", "192.0.2.0/24", created=9)
                await eventually(lambda: accepted(api, "young") == "Overlaps", "the younger")
                names = [f"shop-{number}" for number in range(5)]
                for number, name in enumerate(names):
                    put_service(api, name, created=number)
                await all_served(api, names[:4])
                await eventually(lambda: allocated(api, names[4]) == "PoolExhausted", "full")
                assert owners(api).most_common(1)[0][1] == 1

    run(case())


def test_a_bad_advertisement_is_reported_and_a_good_one_accepted():
    async def case() -> None:
        async with FakeApi() as api:
            for name, spec in (("good", {}), ("bad", {"interfaces": "eth0"})):
                api.put(
                    "l2advertisements",
                    {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec},
                )
            async with controller(api):
                await eventually(
                    lambda: (
                        accepted(api, "good", "l2advertisements") == "Accepted"
                        and accepted(api, "bad", "l2advertisements") == "Invalid"
                    ),
                    "both verdicts",
                )

    run(case())


def test_contradictory_annotations_are_refused_with_the_field_and_the_deprecated_are_named():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api):
                put_service(
                    api, "torn",
                    annotations={"lbctl.io/loadBalancerIPs": "192.0.2.1"},
                    loadBalancerIP="192.0.2.2",
                )  # fmt: skip
                put_service(
                    api, "old",
                    annotations={"metallb.universe.tf/loadBalancerIPs": "192.0.2.77"},
                )  # fmt: skip
                await eventually(lambda: allocated(api, "torn") == "InvalidRequest", "the reason")
                await all_served(api, ["old"])
                assert shown(api, "old") == ["192.0.2.77"]
                await eventually(
                    lambda: "deprecatedAnnotation" in {event[1] for event in events(api, "old")},
                    "the warning",
                )

    run(case())


def test_conditions_of_others_survive():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            body = put_service(api, "shop")
            theirs = {
                "type": "example.com/Checked", "status": "True", "reason": "Fine",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }  # fmt: skip
            api.put("services", body | {"status": {"loadBalancer": {}, "conditions": [theirs]}})
            async with controller(api):
                await all_served(api, ["shop"])
                assert condition(api, "services", "shop", "example.com/Checked") == theirs

    run(case())
