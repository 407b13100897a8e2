"""What configuration objects say of themselves, with a schema for it and without; over HTTP."""

from __future__ import annotations

from typing import Any

from tests.support.controlling import (
    NAMESPACE,
    accepted,
    all_served,
    condition,
    controller,
    edit,
    events,
    put_pool,
    put_service,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import FaultKind
from tests.support.loop import eventually, run

METALLB = ("--api-group", "metallb.io")


def put_advertisement(api: FakeApi, name: str, **spec: Any) -> None:
    api.put(
        "l2advertisements",
        {
            "apiVersion": "lbctl.io/v1beta1",
            "kind": "L2Advertisement",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        },
    )


def summary(api: FakeApi) -> str:
    body = api.get("configurationstates", "controller", NAMESPACE) or {}
    return str((body.get("status") or {}).get("errorSummary", ""))


def count(api: FakeApi, name: str) -> int:
    return sum(
        event["count"] for event in api.objects("events") if event["involvedObject"]["name"] == name
    )


def test_an_advertisement_of_a_missing_pool_is_accepted_and_names_it_once():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            put_advertisement(api, "lan", ipAddressPools=["main", "mian"])
            async with controller(api):
                await eventually(
                    lambda: accepted(api, "lan", "l2advertisements") == "MissingPool", "the reason"
                )
                found = condition(api, "l2advertisements", "lan", "Accepted")
                assert found["status"] == "True"
                text = found["message"]
                assert "there is no pool mian at present" in text
                await eventually(lambda: events(api, "lan"), "the Event")
                assert events(api, "lan") == [("Warning", "MissingPool", text)]
            async with controller(api, identity="b"):
                put_service(api, "shop")
                await all_served(api, ["shop"])
                put_pool(api, "mian", "198.51.100.0/24")
                await eventually(
                    lambda: accepted(api, "lan", "l2advertisements") == "Accepted", "the pool came"
                )
            assert count(api, "lan") == 1

    run(case())


def test_in_metallbs_group_a_refusal_is_told_by_an_event_once():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "bad", "nonsense")
            put_advertisement(api, "odd", ipAddressPools="main")
            put_advertisement(api, "lan", ipAddressPools=["missing"])
            async with controller(api, *METALLB):
                told = {"bad": "Invalid", "odd": "Invalid", "lan": "MissingPool"}
                await eventually(lambda: all(events(api, name) for name in told), "the Events")
                assert {name: events(api, name)[0][:2] for name in told} == {
                    name: ("Warning", reason) for name, reason in told.items()
                }
                await eventually(lambda: "odd" in summary(api), "the summary")
                assert "status" not in (api.get("ipaddresspools", "bad", NAMESPACE) or {})
                edit(
                    api, "ipaddresspools", "bad",
                    lambda body: body["spec"].update(addresses=["203.0.113.0/33"]),
                )  # fmt: skip
                await eventually(lambda: len(events(api, "bad")) == 2, "another mistake")
                await eventually(lambda: "/33" in summary(api), "the summary")
            async with controller(api, *METALLB, identity="b") as parts:
                put_pool(api, "main", "192.0.2.0/24", created=1)
                put_service(api, "shop")
                await all_served(api, ["shop"])
                assert parts.reconciler.verdicts
                await eventually(lambda: events(api, "shop"), "an Event that was said after it")
            assert count(api, "bad") == 2
            assert count(api, "odd") == 1

    run(case())


def test_without_the_kind_configuration_state_the_event_is_said_all_the_same():
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.CRD_MISSING, resource="configurationstates", times=None)
            put_pool(api, "bad", "nonsense")
            async with controller(api, *METALLB):
                await eventually(lambda: events(api, "bad"), "the Event")

    run(case())
