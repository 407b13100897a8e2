"""Whether a Service is told by BGP, as its condition says it; over HTTP."""

from __future__ import annotations

import yaml

from lbctl.plan.eligibility import EXCLUDE_LABEL
from tests.support.commanding import bgp_advertisement, bgp_session, node, peer, speaker
from tests.support.controlling import (
    NAMESPACE,
    all_served,
    announced,
    controller,
    events,
    put_pool,
    put_service,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask
from tests.support.loop import eventually, run
from tests.unit.controller.test_announced_end_to_end import (
    SETTLE_S,
    YES,
    backed,
    failures,
    history,
    message,
    put,
    report,
)

NODES = ("node1", "node2")


def cluster(api: FakeApi) -> None:
    """Put a pool, a peer, an advertisement to it, and two nodes whose speakers are well."""
    put_pool(api, "main", "192.0.2.0/24")
    put(api, peer(), bgp_advertisement(), *map(node, NODES), *map(speaker, NODES))


def test_it_is_true_when_one_peer_has_confirmed_the_whole_table():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            backed(api, "shop", "node1")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: announced(api, "shop")[1] == "NotReported", "no report")
                assert "node node1 is to tell peer tor of it" in message(api, "shop")
                put(api, bgp_session("node1", "tor", "Connect", message="connection refused"))
                await eventually(lambda: announced(api, "shop")[1] == "SessionDown", "it is down")
                assert "with peer tor is Connect: connection refused" in message(api, "shop")
                put(api, bgp_session("node1", routes=(1, 1, 0)))
                await eventually(lambda: announced(api, "shop")[1] == "NotReported", "not yet")
                assert "confirmed only 0 of 1 IPv4 routes" in message(api, "shop")
                put(api, bgp_session("node1"))
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                assert message(api, "shop") == "Peer tor is told of 192.0.2.0 by BGP."
                await eventually(lambda: len(failures(api, "shop")) == 3, "an Event per reason")

    run(case())


def test_while_one_session_stands_others_that_go_cost_no_write():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            names = [f"shop-{number}" for number in range(20)]
            for number, name in enumerate(names):
                put_service(api, name, created=number)
                backed(api, name, "node1")
            put(api, *(bgp_session(name) for name in NODES))
            async with controller(api, settle_s=SETTLE_S) as parts:
                await eventually(
                    lambda: all(announced(api, name) == YES for name in names), "every condition"
                )
                await eventually(lambda: len(events(api, names[-1])) == 1, "the Events")
                before = writes_to_services(api)
                seen = parts.inputs.witnesses["BGPSessionStatus"].counters
                heard = seen.events
                put(api, bgp_session("node2", state="Connect", routes=(20, 0, 0)))
                put(api, bgp_session("node1", routes=(21, 20, 20)))
                put(api, bgp_session("node1", routes=(21, 21, 21)))
                for name in names:
                    backed(api, name, "node1", "node2")
                await eventually(lambda: seen.events == heard + 3, "they were read")
                put_service(api, "late", created=60)
                backed(api, "late", "node1")
                await eventually(lambda: announced(api, "late") == YES, "judged after them")
                assert writes_to_services(api) - before == 2, "address and condition of the new one"
                put(api, bgp_session("node1", state="Idle", routes=(21, 0, 0)))
                await eventually(
                    lambda: {announced(api, name)[1] for name in names} == {"SessionDown"},
                    "nobody is left",
                )

    run(case())


def writes_to_services(api: FakeApi) -> int:
    return sum(asked.ask is Ask.WRITE and asked.resource == "services" for asked in api.asked)


def test_a_session_that_flaps_for_a_moment_shows_no_false():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            backed(api, "shop", "node1")
            put(api, bgp_session("node1"))
            async with controller(api, settle_s=1.0):
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                put(api, bgp_session("node1", state="Connect"))
                put(api, bgp_session("node1"))
                put_service(api, "later")
                backed(api, "later", "node1")
                await eventually(lambda: announced(api, "later") == YES, "judged after it")
            assert history(api, "shop") == ["", "True"]

    run(case())


def test_local_endpoints_decide_whose_session_counts():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop", externalTrafficPolicy="Local")
            backed(api, "shop", "node2")
            put(api, bgp_session("node1"))
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: announced(api, "shop")[1] == "NotReported", "not node1's")
                assert "node node2 is to tell" in message(api, "shop")
                backed(api, "shop", "node1")
                await eventually(lambda: announced(api, "shop") == YES, "the endpoint moved")
                api.delete("endpointslices", "shop-1", "web")
                await eventually(lambda: announced(api, "shop")[1] == "NoEndpoints", "it went")

    run(case())


def test_nodes_and_policies_that_change_change_the_reason():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            backed(api, "shop", "node1")
            put(api, bgp_session("node1"))
            async with controller(api, settle_s=SETTLE_S):
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                for name in NODES:
                    excluded = node(name)
                    excluded[1]["metadata"]["labels"] = {EXCLUDE_LABEL: ""}
                    put(api, excluded)
                await eventually(lambda: announced(api, "shop")[1] == "NodeExcluded", "excluded")
                put(api, *map(node, NODES))
                await eventually(lambda: announced(api, "shop") == YES, "they are back")
                restarted = speaker("node1")
                restarted[1]["status"]["incarnation"] = "2"
                put(api, restarted)
                await eventually(lambda: announced(api, "shop")[1] == "NotReported", "its word")
                put(api, bgp_session("node1", incarnation="2"))
                await eventually(lambda: announced(api, "shop") == YES, "it spoke again")
                put(api, bgp_advertisement(peers=["rot"]))
                await eventually(lambda: announced(api, "shop")[1] == "PeerNotSelected", "no peer")
                put(api, bgp_advertisement(communities=["blue"]))
                await eventually(
                    lambda: announced(api, "shop")[1] == "MissingCommunity", "no community"
                )
                put(api, bgp_advertisement())
                api.delete("bgppeers", "tor", NAMESPACE)
                await eventually(lambda: announced(api, "shop")[1] == "NoPeer", "no peer at all")

    run(case())


def test_without_any_advertisement_both_protocols_are_named_and_either_cures():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            api.delete("bgpadvertisements", "bgp", NAMESPACE)
            put(api, bgp_session("node1"))
            for name in ("shop", "store"):
                put_service(api, name)
                backed(api, name, "node1")
            async with controller(api, settle_s=SETTLE_S):
                await eventually(
                    lambda: announced(api, "shop") == ("False", "NoAdvertisement"), "the reason"
                )
                text = message(api, "shop")
                assert "no L2Advertisement covers pool main, and no BGPAdvertisement" in text
                assert "(or a BGPAdvertisement like it, for BGP peers)" in text
                cure = yaml.safe_load(text.partition("\n")[2])
                assert cure["kind"] == "L2Advertisement"
                put(api, ("bgpadvertisements", {**cure, "kind": "BGPAdvertisement"}))
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                api.delete("bgppeers", "tor", NAMESPACE)
                api.delete("bgpadvertisements", "main", NAMESPACE)
                await eventually(lambda: announced(api, "shop")[1] == "NoAdvertisement", "again")
                assert "BGP" not in message(api, "shop"), "nothing here is about BGP any more"

    run(case())


def test_a_report_of_layer_2_is_enough_and_comes_at_once():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_service(api, "shop")
            async with controller(api, settle_s=30.0):
                await all_served(api, ["shop"])
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                assert message(api, "shop") == "Node node1 announces 192.0.2.0 on eth0."

    run(case())


def test_a_dual_stack_service_may_be_told_of_by_one_protocol_each():
    async def case() -> None:
        async with FakeApi() as api:
            cluster(api)
            put_pool(api, "six", "2001:db8::/64", created=1)
            put(api, peer(dualStackAddressFamily=True), bgp_advertisement(ipAddressPools=["six"]))
            put_service(
                api, "shop", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack",
                clusterIPs=["198.18.0.10", "2001:db8:1::10"],
            )  # fmt: skip
            backed(api, "shop", "node1")
            six = {
                "metadata": {
                    "name": "shop-six",
                    "namespace": "web",
                    "labels": {"kubernetes.io/service-name": "shop"},
                },
                "addressType": "IPv6",
                "endpoints": [{"addresses": ["2001:db8:1::99"], "nodeName": "node1"}],
            }
            put(api, ("endpointslices", six), bgp_session("node1", six=(1, 1, 1)))
            async with controller(api, settle_s=SETTLE_S):
                await all_served(api, ["shop"])
                report(api, "shop", "node1", "192.0.2.0")
                await eventually(lambda: announced(api, "shop") == YES, "the condition")
                assert message(api, "shop") == (
                    "Node node1 announces 192.0.2.0 on eth0; peer tor is told of 2001:db8:: by BGP."
                )

    run(case())
