"""What configuration objects say of themselves, with a schema for it and without; over HTTP."""

from __future__ import annotations

from typing import Any

from tests.support.commanding import node, sent, speaker
from tests.support.controlling import (
    NAMESPACE,
    accepted,
    all_served,
    announced,
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


# BGP's kinds


def put_bgp(api: FakeApi, plural: str, name: str, created: int = 0, **spec: Any) -> None:
    kinds = {
        "bgppeers": "BGPPeer",
        "bgpadvertisements": "BGPAdvertisement",
        "communities": "Community",
        "bfdprofiles": "BFDProfile",
    }
    body: dict[str, Any] = {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": kinds[plural],
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
        },
        "spec": spec,
    }
    api.put(plural, body)


def put_peer(api: FakeApi, name: str, created: int = 0, **spec: Any) -> None:
    values = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", **spec}
    put_bgp(api, "bgppeers", name, created, **values)


def put_node(api: FakeApi, name: str, ready: str = "True", **labels: str) -> None:
    body = node(name)[1]
    body["metadata"]["labels"] = labels
    body["status"]["conditions"] = [{"type": "Ready", "status": ready}]
    api.put("nodes", body)


def state(api: FakeApi, plural: str, name: str) -> tuple[str, str]:
    found = condition(api, plural, name, "Accepted")
    return str(found.get("status", "")), str(found.get("reason", ""))


def put_every_kind(api: FakeApi) -> dict[tuple[str, str], tuple[str, str]]:
    """Put objects of BGP's kinds, good ones and bad ones; return what each should show."""
    put_node(api, "node1", rack="1")
    put_peer(api, "tor")
    put_peer(api, "twin", created=1)
    put_peer(api, "red", peerAddress="192.0.2.2", vrf="red")
    put_peer(api, "watched", peerAddress="192.0.2.3", bfdProfile="fast")
    put_peer(api, "odd", peerAddress="nonsense")
    put_bgp(api, "bgpadvertisements", "plain", ipAddressPools=["main"])
    put_bgp(api, "bgpadvertisements", "nobody", peers=["rot"])
    put_bgp(api, "bgpadvertisements", "marked", communities=["no-such-name"])
    put_bgp(api, "bgpadvertisements", "wide", aggregationLength=20)
    mark = [{"name": "mark", "value": "64500:1"}]
    put_bgp(api, "communities", "first", communities=mark)
    put_bgp(api, "communities", "second", created=1, communities=mark)
    put_bgp(api, "bfdprofiles", "fast", receiveInterval=300)
    put_bgp(api, "bfdprofiles", "hasty", receiveInterval=1)
    return {
        ("bgppeers", "tor"): ("True", "Accepted"),
        ("bgppeers", "twin"): ("True", "DuplicatePeer"),
        ("bgppeers", "red"): ("False", "VrfUnsupported"),
        ("bgppeers", "watched"): ("False", "BfdUnsupported"),
        ("bgppeers", "odd"): ("False", "Invalid"),
        ("bgpadvertisements", "plain"): ("True", "Accepted"),
        ("bgpadvertisements", "nobody"): ("True", "MissingPeer"),
        ("bgpadvertisements", "marked"): ("False", "MissingCommunity"),
        ("bgpadvertisements", "wide"): ("True", "AggregateTooWide"),
        ("communities", "first"): ("True", "Accepted"),
        ("communities", "second"): ("True", "DuplicateCommunity"),
        ("bfdprofiles", "fast"): ("True", "Accepted"),
        ("bfdprofiles", "hasty"): ("False", "Invalid"),
    }


def test_every_object_of_bgp_shows_its_verdict_and_the_summary_names_the_refused():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            wanted = put_every_kind(api)
            async with controller(api):
                await eventually(
                    lambda: {key: state(api, *key) for key in wanted} == wanted, "every verdict"
                )
                refused = [name for (_, name), shown in wanted.items() if shown[0] == "False"]
                await eventually(
                    lambda: all(f"/{name}: " in summary(api) for name in refused), "the summary"
                )
                assert "rot" not in summary(api), "it is in effect"
                told = {name: shown[1] for (_, name), shown in wanted.items()}
                doubtful = {name for name, reason in told.items() if reason != "Accepted"}
                await eventually(lambda: all(events(api, name) for name in doubtful), "the Events")
                assert {name: [one[1] for one in events(api, name)] for name in told} == {
                    name: [reason] if name in doubtful else [] for name, reason in told.items()
                }
                put_peer(api, "rot", peerAddress="192.0.2.4")
                put_bgp(
                    api, "communities", "third", created=2,
                    communities=[{"name": "no-such-name", "value": "64500:2"}],
                )  # fmt: skip
                await eventually(
                    lambda: (
                        {accepted(api, name, "bgpadvertisements") for name in ("nobody", "marked")}
                        == {"Accepted"}
                    ),
                    "what they name came",
                )

    run(case())


def test_a_restart_writes_no_verdict_again_and_the_summary_stands_meanwhile():
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            wanted = put_every_kind(api)
            async with controller(api):
                await eventually(
                    lambda: {key: state(api, *key) for key in wanted} == wanted, "every verdict"
                )
                await eventually(lambda: "/red: " in summary(api), "the summary")
                await eventually(lambda: len(api.objects("events")) >= 8, "the Events")
            kinds = ("configurationstates", *{plural for plural, _ in wanted})
            written = {kind: len(api.collection(kind).history) for kind in kinds}
            said = len(api.objects("events"))
            async with controller(api, identity="b") as parts:
                key = "BGPPeer lbctl-system/red"
                await eventually(
                    lambda: any(str(one) == key for one in parts.reconciler.verdicts), "judged"
                )
                put_service(api, "shop")
                await all_served(api, ["shop"])
                await eventually(lambda: events(api, "shop"), "an Event that was said after it")
            assert {kind: len(api.collection(kind).history) for kind in kinds} == written
            assert len(api.objects("events")) == said + 1

    run(case())


def test_what_peers_do_not_select_by_is_no_news_of_a_node():
    async def case() -> None:
        async with FakeApi() as api:
            put_node(api, "node1", rack="1")
            put_peer(api, "tor", nodeSelectors=[{"matchLabels": {"rack": "1"}}])
            put_peer(api, "twin", created=1)
            async with controller(api):
                await eventually(
                    lambda: accepted(api, "twin", "bgppeers") == "DuplicatePeer", "the verdict"
                )
                written = len(api.collection("bgppeers").history)
                put_node(api, "node1", rack="1", color="red")
                put_node(api, "node1", rack="1", ready="Unknown")
                put_node(api, "node2", rack="2")
                put_node(api, "node3", rack="1")
                await eventually(
                    lambda: (
                        "node1, node3" in condition(api, "bgppeers", "twin", "Accepted")["message"]
                    ),
                    "the node that is selected",
                )
                assert len(api.collection("bgppeers").history) == written + 1
                put_node(api, "node1", rack="2")
                put_node(api, "node3", rack="2")
                await eventually(
                    lambda: accepted(api, "twin", "bgppeers") == "Accepted", "no rival is left"
                )

    run(case())


def test_a_cluster_without_bgps_kinds_allocates_and_reports_all_the_same():
    async def case() -> None:
        async with FakeApi() as api:
            for plural in ("bgppeers", "bgpadvertisements", "communities", "bfdprofiles"):
                api.faults.arm(FaultKind.CRD_MISSING, resource=plural, times=None)
            put_pool(api, "main", "192.0.2.0/24")
            put_pool(api, "bad", "nonsense", created=1)
            put_node(api, "node1")
            api.put(*speaker("node1"))
            put_service(api, "shop")
            async with controller(api) as parts:
                await all_served(api, ["shop"])
                api.put(*sent("shop", "node1", "192.0.2.0", namespace="web"))
                await eventually(lambda: announced(api, "shop") == ("True", "Announced"), "told")
                await eventually(lambda: "/bad: " in summary(api), "the summary")
                assert not list(parts.not_ready())

    run(case())


def test_without_the_right_to_read_peers_pools_are_judged_and_peers_are_not():
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.FORBIDDEN, resource="bgppeers", times=None)
            put_pool(api, "bad", "nonsense")
            put_bgp(api, "bgpadvertisements", "nobody", peers=["rot"])
            async with controller(api) as parts:
                await eventually(lambda: "/bad: " in summary(api), "the summary")
                await eventually(lambda: not list(parts.not_ready()), "ready")
                assert state(api, "bgpadvertisements", "nobody") == ("", ""), "nothing is claimed"
                api.faults.lift(FaultKind.FORBIDDEN)
                await eventually(
                    lambda: accepted(api, "nobody", "bgpadvertisements") == "MissingPeer", "judged"
                )

    run(case())


def test_in_metallbs_group_a_refused_peer_is_told_by_an_event_and_the_summary():
    async def case() -> None:
        async with FakeApi() as api:
            put_peer(api, "red", vrf="red")
            put_peer(api, "tor", peerAddress="192.0.2.9")
            async with controller(api, *METALLB):
                await eventually(lambda: events(api, "red"), "the Event")
                assert events(api, "red")[0][:2] == ("Warning", "VrfUnsupported")
                await eventually(lambda: "/red: " in summary(api), "the summary")
                assert "status" not in (api.get("bgppeers", "red", NAMESPACE) or {})
            async with controller(api, *METALLB, identity="b") as parts:
                await eventually(lambda: parts.reconciler.verdicts, "judged")
                put_pool(api, "main", "192.0.2.0/24")
                put_service(api, "shop")
                await all_served(api, ["shop"])
                await eventually(lambda: events(api, "shop"), "an Event that was said after it")
            assert count(api, "red") == 1

    run(case())
