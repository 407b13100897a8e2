"""Addresses that change hands, and refusals that end, through the whole controller."""

from __future__ import annotations

from functools import partial

from tests.support.controlling import (
    MARK,
    all_served,
    controller,
    edit,
    events,
    owners,
    put_pool,
    put_service,
    shown,
)
from tests.support.fake_api import Body, FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import eventually, run

REQUEST = "lbctl.io/loadBalancerIPs"


def test_services_that_exchange_their_addresses_do_not_wait_for_each_other():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            moves = {"one": (1, 2), "two": (2, 3), "three": (3, 1)}
            for number, (name, (has, wants)) in enumerate(moves.items()):
                put_service(
                    api, name, created=number, status=[f"192.0.2.{has}"],
                    annotations={MARK: "main", REQUEST: f"192.0.2.{wants}"},
                )  # fmt: skip
            async with controller(api):
                for name, (_, wants) in moves.items():
                    await eventually(
                        partial(shows, api, name, f"192.0.2.{wants}"),
                        f"{name} shows what it asked for",
                    )
            assert owners(api).most_common(1)[0][1] == 1
            now: dict[str, list[str]] = {}
            for change in api.collection("services").history:
                assert change.after is not None
                ingress = change.after["status"].get("loadBalancer", {}).get("ingress") or []
                now[change.key[1]] = [entry["ip"] for entry in ingress]
                held = [address for addresses in now.values() for address in addresses]
                assert len(held) == len(set(held)), "no address is ever on two Services"

    run(case())


def shows(api: FakeApi, name: str, address: str) -> bool:
    return shown(api, name) == [address]


def test_a_deprecated_annotation_that_is_added_later_is_named_and_not_again_after_a_restart():
    def adopt_the_old_spelling(body: Body) -> None:
        body["metadata"]["annotations"]["metallb.universe.tf/address-pool"] = "main"

    def warnings(api: FakeApi) -> list[int]:
        found = [e for e in api.objects("events") if e["reason"] == "deprecatedAnnotation"]
        return [event["count"] for event in found]

    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api):
                put_service(api, "shop")
                await all_served(api, ["shop"])
                await eventually(lambda: events(api, "shop"), "the first Event")
                edit(api, "services", "shop", adopt_the_old_spelling)
                await eventually(lambda: warnings(api) == [1], "the warning")
            async with controller(api, identity="b"):
                put_service(api, "late", created=9)
                await all_served(api, ["late"])
                await eventually(lambda: events(api, "late"), "the Event")
                assert warnings(api) == [1]

    run(case())


def test_a_refusal_about_a_service_that_is_gone_does_not_keep_the_controller_unready():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api) as parts:
                await eventually(lambda: not list(parts.not_ready()), "ready")
                api.faults.arm(
                    FaultKind.FORBIDDEN, resource="services", asks=frozenset({Ask.WRITE}), times=1
                )
                put_service(api, "shop")
                await eventually(lambda: list(parts.not_ready()), "denied")
                api.delete("services", "shop", "web")
                await eventually(lambda: not list(parts.not_ready()), "ready again")

    run(case())
