"""Two replicas and a bad API server: never two writers, no address lost, work goes on."""

from __future__ import annotations

from functools import partial

import pytest

from lbctl.api.lease import LeaseTimes
from lbctl.model.names import ServiceKey
from tests.support.controlling import (
    Running,
    all_served,
    allocated,
    controller,
    counters,
    edit,
    owners,
    put_pool,
    put_service,
    shown,
    start,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import eventually, run

SHORT = LeaseTimes(duration_s=2.5, renew_deadline_s=2.0, retry_s=0.05, margin_s=0.1)


def leading(replicas: dict[str, Running]) -> list[str]:
    return [name for name, one in replicas.items() if one.parts.leadership.may_write()]


def test_one_replica_killed_the_other_goes_on_and_never_two_lead():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            replicas = {name: await start(api, identity=name, times=SHORT) for name in "ab"}
            most = 0
            await eventually(lambda: leading(replicas), "a leader")
            first = leading(replicas)[0]
            for number in range(20):
                put_service(api, f"shop-{number}", created=number)
            await all_served(api, [f"shop-{number}" for number in range(20)])
            before = owners(api)
            await replicas.pop(first).kill()
            put_service(api, "late", created=99)

            def served() -> bool:
                nonlocal most
                most = max(most, len(leading(replicas)))
                return bool(shown(api, "late"))

            await eventually(served, "the other replica serves")
            assert most <= 1
            assert all(owners(api)[address] == 1 for address in before)
            assert len(owners(api)) == 21
            for one in replicas.values():
                await one.stop()

    run(case())


def decided(replica: Running, name: str) -> bool:
    return replica.parts.reconciler.decides(ServiceKey("web", name))


def test_writes_withheld_because_the_lease_is_late_are_made_up_for_without_a_new_term():
    async def case() -> None:
        # Of each tenth of a second it may write in the most; it never loses the Lease.
        late = LeaseTimes(duration_s=9.0, renew_deadline_s=8.0, retry_s=0.1, margin_s=7.92)
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24", "bad")
            put_pool(api, "good", "198.51.100.0/24")
            one = await start(api, times=late)
            names: list[str] = []
            while not one.parts.writer.counters.withheld:
                names.append(f"shop-{len(names)}")
                put_service(api, names[-1], created=len(names))
                await eventually(partial(decided, one, names[-1]), "a decision")
            await all_served(api, names)
            await eventually(lambda: api.objects("configurationstates"), "the summary")
            assert one.parts.leadership.term == 1
            await one.stop()

    run(case())


def test_a_stopped_replica_gives_the_lease_up_at_once():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            first = await start(api, identity="a")
            await eventually(first.parts.leadership.may_write, "a leads")
            second = await start(api, identity="b")
            await first.stop()
            lease = api.objects("leases")[0]["spec"]
            assert lease["holderIdentity"] in {"", "b"}
            put_service(api, "shop")
            await all_served(api, ["shop"])
            await second.stop()
            assert api.objects("leases")[0]["spec"]["holderIdentity"] == ""

    run(case())


def test_a_new_leader_lists_again_before_it_allocates():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            first = await start(api, identity="a")
            await eventually(first.parts.leadership.may_write, "a leads")
            second = await start(api, identity="b")
            await eventually(lambda: second.parts.inputs.synced, "b has listed")
            # From here on the watch of the second replica tells nothing about Services.
            api.faults.arm(FaultKind.STALLED_WATCH, resource="services", times=None)
            for number in range(10):
                put_service(api, f"lost-{number}", created=number, status=[f"192.0.2.{number}"])
            await first.stop()
            put_service(api, "new", created=50)
            api.faults.lift()
            await all_served(api, ["new"])
            assert owners(api).most_common(1)[0][1] == 1
            await second.stop()

    run(case())


def test_a_follower_that_has_just_started_leaves_the_api_server_to_the_leader():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            first = await start(api, identity="a")
            await eventually(first.parts.leadership.may_write, "a leads")
            second = await start(api, identity="b")
            read = second.parts.inputs.reflectors
            await eventually(read["IPAddressPool"].synced.is_set, "b has listed the pools")
            assert not read["Service"].synced.is_set()
            await first.stop()
            put_service(api, "shop")
            await all_served(api, ["shop"])
            assert second.parts.leadership.may_write()
            await second.stop()

    run(case())


def test_followers_write_nothing():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api, identity="a") as leader:
                await eventually(leader.leadership.may_write, "a leads")
                async with controller(api, identity="b") as follower:
                    put_service(api, "shop")
                    await all_served(api, ["shop"])
                    await eventually(lambda: follower.inputs.synced, "b has listed")
                    assert follower.writer.counters.sent == 0
                    assert follower.reconciler.plans == 0
                    assert list(follower.not_ready()) == []

    run(case())


WRITE_FAULTS = [
    FaultKind.CONFLICT,
    FaultKind.THROTTLED,
    FaultKind.SERVER_ERROR,
    FaultKind.UNAVAILABLE,
    FaultKind.NO_ANSWER,
    FaultKind.HALF_BODY,
    FaultKind.GARBAGE,
]


@pytest.mark.parametrize("kind", WRITE_FAULTS, ids=lambda kind: kind.value)
def test_a_fault_of_status_writes_delays_and_never_doubles_an_address(kind):
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api) as parts:
                await eventually(lambda: parts.reconciler.plans, "a first plan")
                api.faults.arm(
                    kind, resource="services", asks=frozenset({Ask.WRITE}), times=8, seconds=0.05
                )
                names = [f"shop-{number}" for number in range(20)]
                for number, name in enumerate(names):
                    put_service(api, name, created=number)
                await all_served(api, names)
                assert len(owners(api)) == 20
                await eventually(lambda: counters(api, "main")[0] == 20, "counters")

    run(case())


READ_FAULTS = [
    FaultKind.GONE_IN_STREAM,
    FaultKind.ERROR_500_IN_STREAM,
    FaultKind.DROPPED_WATCH,
    FaultKind.ENDED_WATCH,
    FaultKind.GONE_ON_WATCH,
    FaultKind.UNAVAILABLE,
]


@pytest.mark.parametrize("kind", READ_FAULTS, ids=lambda kind: kind.value)
def test_a_fault_of_watches_changes_no_address_and_work_goes_on(kind):
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api):
                names = [f"shop-{number}" for number in range(10)]
                for number, name in enumerate(names):
                    put_service(api, name, created=number)
                await all_served(api, names)
                before = {name: shown(api, name) for name in names}
                for resource in ("services", "ipaddresspools", "namespaces"):
                    api.faults.arm(
                        kind, resource=resource, asks=frozenset({Ask.WATCH, Ask.LIST}), times=3
                    )
                api.delete_in_gap("services", "shop-0", "web")
                put_service(api, "late", created=99)
                await all_served(api, ["late"])
                await eventually(lambda: counters(api, "main")[0] == 10, "the gone one is free")
                assert {name: shown(api, name) for name in names[1:]} == {
                    name: before[name] for name in names[1:]
                }

    run(case())


def test_somebody_elses_write_in_between_is_looked_at_again():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api) as parts:
                await eventually(lambda: parts.reconciler.plans, "a first plan")
                for round_ in range(5):
                    put_service(api, f"shop-{round_}", created=round_)
                    edit(
                        api, "services", f"shop-{round_}",
                        lambda body: body["metadata"].update(labels={"touched": "yes"}),
                    )  # fmt: skip
                await all_served(api, [f"shop-{round_}" for round_ in range(5)])
                body = api.get("services", "shop-0", "web")
                assert body is not None
                assert body["metadata"]["labels"] == {"touched": "yes"}

    run(case())


def test_crds_that_are_missing_and_rbac_that_is_denied_are_named_and_waited_for():
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.CRD_MISSING, resource="ipaddresspools", times=None)
            api.faults.arm(FaultKind.FORBIDDEN, resource="services", times=None)
            put_pool(api, "main", "192.0.2.0/24")
            put_service(api, "shop")
            async with controller(api) as parts:
                await eventually(
                    lambda: (
                        {"install the CRDs", "RBAC refuses to list services"}
                        <= {
                            phrase
                            for phrase in ("install the CRDs", "RBAC refuses to list services")
                            for problem in parts.not_ready()
                            if phrase in problem
                        }
                    ),
                    "both problems",
                )
                assert shown(api, "shop") == []
                api.faults.lift()
                await all_served(api, ["shop"])
                await eventually(lambda: not list(parts.not_ready()), "ready")

    run(case())


def test_status_writes_that_are_denied_show_on_readyz_and_are_tried_again():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api) as parts:
                await eventually(lambda: not list(parts.not_ready()), "ready")
                api.faults.arm(
                    FaultKind.FORBIDDEN, resource="services", asks=frozenset({Ask.WRITE}), times=1
                )
                put_service(api, "shop")
                await eventually(
                    lambda: any("RBAC refuses to patch" in p for p in parts.not_ready()), "denied"
                )
                edit(
                    api, "services", "shop",
                    lambda body: body["metadata"].update(labels={"touched": "yes"}),
                )  # fmt: skip
                await all_served(api, ["shop"])
                assert allocated(api, "shop") == "Allocated"
                await eventually(lambda: not list(parts.not_ready()), "ready again")

    run(case())


def test_metrics_show_pools_and_services():
    async def case() -> None:
        from lbctl.run.metrics import Exposition

        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/30")
            put_pool(api, "bad", "nonsense")
            put_service(api, "shop")
            async with controller(api, settle_s=0.05) as parts:
                await all_served(api, ["shop"])
                await eventually(lambda: counters(api, "main") == (1, 0, 3, 0), "counters")
                pages = Exposition([parts.samples])
                told = b'lbctl_services_announced{reason="NoAdvertisement"} 1.0'
                await eventually(lambda: told in pages.render(), "the Service shows it")
                text = pages.render().decode()
        for line in (
            'metallb_allocator_addresses_total{pool="main"} 4.0',
            'metallb_allocator_addresses_in_use_total{pool="main"} 1.0',
            'metallb_allocator_ipv4_addresses_total{pool="main"} 4.0',
            'metallb_allocator_ipv4_addresses_in_use_total{pool="main"} 1.0',
            'metallb_allocator_ipv6_addresses_total{pool="main"} 0.0',
            "metallb_k8s_client_config_stale_bool 1.0",
            'lbctl_services{reason="Allocated"} 1.0',
            'lbctl_config_accepted{kind="IPAddressPool",name="bad"} 0.0',
            "lbctl_controller_leading 1.0",
            'lbctl_reflector_synced{kind="Service"} 1.0',
        ):
            assert line in text

    run(case())
