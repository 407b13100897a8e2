"""Whether a Service is announced, as its condition and its Events tell it; over HTTP."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import yaml

from tests.support import commanding
from tests.support.commanding import ADVERTISEMENT, node, speaker
from tests.support.controlling import (
    all_served,
    allocated,
    announced,
    condition,
    controller,
    edit,
    events,
    put_pool,
    put_service,
)
from tests.support.fake_api import Body, FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import eventually, run

ANNOUNCED = "lbctl.io/Announced"
SETTLE_S = 0.3
YES = ("True", "Announced")
NODES = ("node1", "node2")


def put(api: FakeApi, *objects: tuple[str, dict[str, Any]]) -> None:
    for plural, body in objects:
        api.put(plural, copy.deepcopy(body))


def cluster(api: FakeApi) -> None:
    """Put a pool, an advertisement of it, and two nodes whose speakers are well."""
    put_pool(api, "main", "192.0.2.0/24")
    put(api, ADVERTISEMENT, *map(node, NODES), *map(speaker, NODES))


def backed(api: FakeApi, name: str, *nodes: str) -> None:
    put(api, commanding.endpoints(name, *nodes, namespace="web"))


def report(api: FakeApi, name: str, node_name: str, *addresses: str) -> None:
    """Say as a speaker would that the node announces the Service."""
    put(api, commanding.sent(name, node_name, *addresses, namespace="web"))


def message(api: FakeApi, name: str) -> str:
    return str(condition(api, "services", name, ANNOUNCED).get("message", ""))


def failures(api: FakeApi, name: str) -> list[tuple[str, str]]:
    return [(kind, text) for kind, reason, text in events(api, name) if reason == "announceFailed"]


def writes(api: FakeApi) -> int:
    return sum(asked.ask is Ask.WRITE and asked.resource != "leases" for asked in api.asked)


def history(api: FakeApi, name: str) -> list[str]:
    """Return every status that the condition of a Service has had, "" for none."""
    bodies: Iterable[Body | None] = (
        change.after for change in api.collection("services").history if change.key[1] == name
    )
    found = []
    for body in bodies:
        conditions = ((body or {}).get("status") or {}).get("conditions") or []
        mine = [one["status"] for one in conditions if one["type"] == ANNOUNCED]
        found.append(mine[0] if mine else "")
    return list(dict.fromkeys(found))


def test_it_is_true_once_a_speaker_says_so_and_not_before():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            backed(api, "shop", "node1")
            async with controller(api):
                await all_served(api, ["shop"])
                assert announced(api, "shop") == ("", "")
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                assert message(api, "shop") == "Node node1 announces 192.0.2.0 on eth0."
                assert allocated(api, "shop") == "Allocated"
                report(api, "shop", "node2", "192.0.2.0")
                await eventually(lambda: "Node node2" in message(api, "shop"), "the other node")
            assert history(api, "shop") == ["", "True"]
            assert not failures(api, "shop")

    run(case())


def test_a_pool_without_an_advertisement_is_named_with_its_cure_and_the_cure_cures():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            api.delete("l2advertisements", "all", "lbctl-system")
            put_service(api, "shop")
            backed(api, "shop", "node1")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(
                    lambda: announced(api, "shop") == ("False", "NoAdvertisement"), "the reason"
                )
                text = message(api, "shop")
                assert "192.0.2.0: no L2Advertisement covers pool main." in text
                await eventually(lambda: failures(api, "shop"), "the Event")
                assert failures(api, "shop") == [("Warning", text)]
                put(api, ("l2advertisements", yaml.safe_load(text.partition("\n")[2])))
                await eventually(lambda: announced(api, "shop")[1] == "NotReported", "the plan")
                assert "but its speaker has not reported" in message(api, "shop")
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
            assert history(api, "shop") == ["", "False", "True"]

    run(case())


def test_endpoints_that_go_are_the_reason_and_each_reason_is_one_event():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop", externalTrafficPolicy="Local")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: announced(api, "shop")[1] == "NoEndpoints", "none")
                backed(api, "shop", "elsewhere")
                await eventually(lambda: announced(api, "shop")[1] == "NoLocalEndpoints", "far")
                api.delete("endpointslices", "shop-1", "web")
                await eventually(lambda: announced(api, "shop")[1] == "NoEndpoints", "again")
                await eventually(lambda: len(failures(api, "shop")) == 2, "the Events")

    run(case())


def test_a_hand_over_shows_no_false():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            backed(api, "shop", "node1")
            async with controller(api, settle_s=30.0):
                await all_served(api, ["shop"])
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                # As in MetalLB's group, where a new owner needs a new object.
                api.delete("servicel2statuses", "web.shop.ipv4", "lbctl-system")
                put_service(api, "later")
                await all_served(api, ["later"])
                report(api, "shop", "node2", "192.0.2.0")
                await eventually(lambda: "Node node2" in message(api, "shop"), "the other node")
            assert history(api, "shop") == ["", "True"]

    run(case())


def test_the_word_of_a_dead_node_does_not_last():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop", externalTrafficPolicy="Local")
            backed(api, "shop", "node1")
            async with controller(api, settle_s=SETTLE_S):
                await all_served(api, ["shop"])
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                dead = node("node1")
                dead[1]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
                put(api, dead)
                await eventually(
                    lambda: announced(api, "shop") == ("False", "NoLocalEndpoints"), "no successor"
                )
                put(api, node("node1"))
                await eventually(lambda: announced(api, "shop") == YES, "it is back")

    run(case())


def test_a_service_without_an_address_says_so_in_the_same_write():
    async def case() -> None:
        async with FakeApi() as api:
            put_service(api, "shop")
            async with controller(api):
                await eventually(lambda: allocated(api, "shop") == "NoPoolMatches", "the reason")
                assert announced(api, "shop") == ("False", "NotAllocated")
                put_pool(api, "main", "192.0.2.0/24")
                await all_served(api, ["shop"])
                assert announced(api, "shop") == ("", ""), "it spoke of no address"
                assert not failures(api, "shop")

    run(case())


def test_a_released_service_loses_the_condition_and_another_address_takes_it_off():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            async with controller(api):
                await all_served(api, ["shop"])
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                wish = {"lbctl.io/loadBalancerIPs": "192.0.2.9"}
                edit(api, "services", "shop", lambda one: one["metadata"].update(annotations=wish))
                await eventually(lambda: announced(api, "shop") == ("", ""), "not known yet")
                report(api, "shop", "node1", "192.0.2.9")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                edit(api, "services", "shop", lambda one: one["spec"].update(type="ClusterIP"))
                await eventually(lambda: announced(api, "shop") == ("", ""), "it is released")

    run(case())


def test_without_the_right_to_read_endpoints_addresses_are_given_all_the_same():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            api.faults.arm(FaultKind.FORBIDDEN, resource="endpointslices", times=None)
            put_service(api, "shop")
            async with controller(api, settle_s=SETTLE_S) as parts:
                await all_served(api, ["shop"])
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(
                    lambda: any(
                        part == "announcing" and "endpointslices" in text
                        for part, text in parts.problems()
                    ),
                    "the problem",
                )
                put_service(api, "later")
                await all_served(api, ["later"])
                assert announced(api, "shop") == ("", ""), "nothing is claimed"
                await eventually(lambda: not list(parts.not_ready()), "ready")
                api.faults.lift(FaultKind.FORBIDDEN)
                await eventually(lambda: announced(api, "shop") == YES, "the condition")

    run(case())


def test_events_of_nodes_and_endpoints_neither_plan_nor_write_where_all_is_announced():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            names = [f"shop-{number}" for number in range(20)]
            for number, name in enumerate(names):
                put_service(api, name, created=number)
                backed(api, name, "node1")
                report(api, name, "node1", f"192.0.2.{number}")
            async with controller(api) as parts:
                await eventually(
                    lambda: all(announced(api, name) == YES for name in names), "every condition"
                )
                await eventually(lambda: len(events(api, names[-1])) == 1, "the Events")
                plans, before = parts.reconciler.plans, writes(api)
                seen = parts.inputs.witnesses["EndpointSlice"].counters
                heard = seen.events
                labelled = node("node2")
                labelled[1]["metadata"]["labels"] = {"rack": "7"}
                put(api, labelled)
                for name in names:
                    backed(api, name, "node1", "node2")
                await eventually(lambda: seen.events == heard + len(names), "they were read")
                report(api, names[0], "node2", "192.0.2.0")
                await eventually(lambda: "Node node2" in message(api, names[0]), "the other node")
                assert writes(api) - before == 1
                assert parts.reconciler.plans - plans <= 2, "for the report and for its echo"

    run(case())


def test_a_restart_writes_no_condition_and_says_no_event_again():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            for number, name in enumerate(("told", "silent")):
                put_service(api, name, created=number)
            async with controller(api, settle_s=SETTLE_S):
                await all_served(api, ["told", "silent"])
                report(api, "told", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "told") == YES, "the condition")
                await eventually(lambda: announced(api, "silent")[0] == "False", "the other")
                await eventually(lambda: failures(api, "silent"), "the Event")
            before = copy.deepcopy(
                [api.get("services", name, "web") for name in ("told", "silent")]
            )
            said = len(api.objects("events"))
            async with controller(api, identity="b", settle_s=SETTLE_S):
                put_service(api, "late", created=9)
                await eventually(lambda: announced(api, "late")[0] == "False", "judged as well")
                await eventually(lambda: len(failures(api, "late")) == 1, "its Event")
            after = [api.get("services", name, "web") for name in ("told", "silent")]
            assert after == before
            assert len(api.objects("events")) == said + 2

    run(case())


def test_a_service_of_another_class_is_not_written_to_whatever_is_reported_of_it():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "other", loadBalancerClass="example.com/other", status=["192.0.2.200"])
            report(api, "other", "node1", "192.0.2.200")
            async with controller(api, settle_s=SETTLE_S):
                put_service(api, "silent", created=1)
                await eventually(lambda: announced(api, "silent")[0] == "False", "judged")
                await eventually(lambda: failures(api, "silent"), "the Event")
                assert announced(api, "other") == ("", "")
                assert not failures(api, "other")

    run(case())


def test_services_that_share_an_address_are_told_of_their_common_owner():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            key = {"lbctl.io/allow-shared-ip": "k"}
            for number, name in enumerate(("web", "dns")):
                ports = [{"port": 80 + number, "protocol": "TCP"}]
                put_service(api, name, annotations=key, created=number, ports=ports)
            backed(api, "web", "node1")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(
                    lambda: announced(api, "dns")[1] == "NotReported", "with its sharer"
                )
                api.delete("endpointslices", "web-1", "web")
                await eventually(
                    lambda: {announced(api, name)[1] for name in ("web", "dns")} == {"NoEndpoints"},
                    "neither has any",
                )

    run(case())


def test_reports_in_metallbs_group_have_no_addresses_and_count_for_their_family():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            async with controller(api, "--api-group", "metallb.io", settle_s=SETTLE_S):
                await all_served(api, ["shop"])
                report(api, "shop", "node1")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                foreign = commanding.sent("other", "node1", namespace="web")
                foreign[1]["metadata"]["name"] = "l2-abcde"
                put(api, foreign)
                put_service(api, "other", created=1)
                await eventually(lambda: announced(api, "other")[0] == "False", "not ours")

    run(case())
