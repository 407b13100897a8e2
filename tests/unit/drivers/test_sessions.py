"""Sessions as planned, against a peer over TCP, and what the API server is told of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address

from lbctl.api.events import EventRecorder
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer
from lbctl.kube.groups import groups
from lbctl.model.membership import Member
from lbctl.model.names import Incarnation, NodeName
from lbctl.model.node import Owner
from lbctl.model.snapshot import EVERYTHING
from speaker.agent.peering import NOBODY, Ground, Speaking, speak
from speaker.drivers.node.gauges import session_samples
from speaker.drivers.node.sessions import NodeSessions
from speaker.protocols import bgp_session
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_frame import KEEPALIVE
from tests.support.bgp import make_open
from tests.support.bgp_builders import make_bgp_advertisement, make_bgp_snapshot, make_peer
from tests.support.bgp_tcp import Peer, big_table
from tests.support.builders import (
    make_endpoint,
    make_node,
    make_pool,
    make_service,
    make_slice,
    make_speaker,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run

NODE = NodeName("node1")
PODS = (Owner(kind="Pod", name="speaker-1", uid="u-1"),)
STATUSES = "bgpsessionstatuses"


def speaking(*peers, services=1, passwords=None, before=NOBODY) -> Speaking:
    addresses = [f"192.0.2.{10 + number}" for number in range(services)]
    snapshot = make_bgp_snapshot(
        peers=peers,
        advertisements=[make_bgp_advertisement()],
        services=[
            make_service(f"default/shop{number}", status=[address], mark="pool")
            for number, address in enumerate(addresses)
        ],
        pools=[make_pool()],
        slices=[
            make_slice(f"default/shop{number}", make_endpoint(node=NODE))
            for number in range(services)
        ],
        nodes=[replace(make_node(NODE), addresses=(ip_address("192.0.2.1"),))],
        speakers=[make_speaker(NODE)],
    )
    return speak(
        before,
        now=0.0,
        node=NODE,
        snapshot=snapshot,
        changed=EVERYTHING,
        ground=Ground(passwords=passwords or {}),
        load_balancer_class=None,
        stopping=False,
    )


@contextlib.asynccontextmanager
async def node_sessions(api: FakeApi, incarnation: str = "7") -> AsyncIterator[NodeSessions]:
    async with ApiSession(api.credentials()) as session:
        writer = Writer(session, may_write=lambda: True)
        recorder = EventRecorder(session, component="lb-speaker", instance=NODE)
        made = NodeSessions(
            session=session,
            writer=writer,
            recorder=recorder,
            table=groups("lbctl.io"),
            namespace="lbctl-system",
            me=Member(node=NODE, incarnation=Incarnation(incarnation)),
            owners=PODS,
            beside=lambda own: (own,),
        )
        async with background(writer.run(), recorder.run(), made.run()):
            yield made


def here(peer: Peer, **fields):
    """Return a BGPPeer for the test's router."""
    return make_peer(
        address="127.0.0.1",
        port=peer.port,
        my_asn=64496,
        peer_asn=65551,
        hold_time_s=9,
        connect_time_s=1,
        **fields,
    )


def status(api: FakeApi, name: str = "node1.tor"):
    found = api.get(STATUSES, name, "lbctl-system")
    return {} if found is None else found.get("status", {})


def routes(api: FakeApi):
    return status(api).get("routes")


def counts(number: int):
    """Return the status of a session that has told of so many routes, all of IPv4."""
    names = ("wanted", "sent", "acknowledged")
    some = dict.fromkeys(names, number)
    return {**some, "ipv4": some, "ipv6": dict.fromkeys(names, 0)}


def unheard(number: int):
    """Return what differs while the peer has confirmed none of them."""
    count = {"wanted": number, "sent": number, "acknowledged": 0}
    return {**count, "ipv4": count}


def test_a_session_is_told_from_its_state_to_its_routes():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            sessions.consider(speaking(here(peer)))
            await eventually(lambda: status(api).get("state") == "Established")
            await eventually(lambda: routes(api) == counts(1))
            assert status(api)["peerAddress"] == "127.0.0.1"
            assert status(api)["localAddress"] == "127.0.0.1"
            assert status(api)["message"] == ""
            (owner,) = api.get(STATUSES, "node1.tor", "lbctl-system")["metadata"]["ownerReferences"]
            assert owner["name"] == "speaker-1"
            await eventually(lambda: [one["reason"] for one in api.objects("events")])
            assert api.objects("events")[0]["reason"] == "SessionUp"

    run(work())


def test_counts_follow_a_change_of_routes_without_any_event_of_the_session():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            first = speaking(here(peer))
            sessions.consider(first)
            await eventually(lambda: routes(api) == counts(1))
            sessions.consider(speaking(here(peer), services=3, before=first))
            await eventually(lambda: routes(api) == counts(3))
            assert peer.calls == 1

    run(work())


def test_routes_that_a_deaf_peer_was_sent_are_not_told_as_acknowledged_until_it_hears():
    # 400 routes with their own communities are 300 KiB, and the peer's window is smaller.
    table = big_table(0, 400)

    async def work():
        async with FakeApi() as api, Peer(deaf=True) as peer, node_sessions(api) as sessions:
            given = speaking(here(peer))
            (name,) = given.peerings
            peering = replace(given.peerings[name], table=table)
            sessions.consider(replace(given, peerings={name: peering}))
            await eventually(lambda: routes(api) == {**counts(400), **unheard(400)})
            peer.hear()
            await eventually(lambda: routes(api) == counts(400))

    run(work())


def test_a_peer_that_takes_the_call_and_says_nothing_is_shown_as_open_sent(monkeypatch):
    monkeypatch.setattr(bgp_session, "OPEN_HOLD_S", 3.0)

    async def work():
        async with FakeApi() as api, Peer(greeting=b"") as peer, node_sessions(api) as sessions:
            sessions.consider(speaking(here(peer)))
            await eventually(lambda: status(api).get("state") == "OpenSent")
            assert "not answered our OPEN" in status(api)["message"]
            await eventually(lambda: status(api).get("state") == "Connect")
            assert "nothing heard for 3 s" in status(api)["message"]
            peer.greeting = encode_open(make_open())
            await eventually(lambda: status(api).get("state") == "OpenConfirm")
            peer.send(KEEPALIVE)
            await eventually(lambda: status(api).get("state") == "Established")

    run(work())


def events(api: FakeApi) -> dict[str, str]:
    return {one["reason"]: one.get("note") or one["message"] for one in api.objects("events")}


def test_a_session_that_goes_down_says_why_and_counts():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            sessions.consider(speaking(here(peer)))
            await eventually(lambda: status(api).get("state") == "Established")
            peer.writer.close()
            await eventually(lambda: status(api).get("resets") == 1)
            await eventually(lambda: "SessionDown" in events(api))
            assert "closed" in events(api)["SessionDown"]
            await eventually(lambda: status(api).get("state") == "Established")
            assert status(api)["resets"] == 1

    run(work())


def test_the_metrics_of_a_session_count_what_it_did():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            sessions.consider(speaking(here(peer), services=3))
            await eventually(lambda: routes(api) == counts(3))
            samples = {(one.name, one.labels): one.value for one in session_samples(sessions)}
            there = (f"127.0.0.1:{peer.port}",)
            expected = {
                ("lbctl_bgp_session_established", ("tor",)): 1,
                ("lbctl_bgp_session_resets_total", ("tor",)): 0,
                ("lbctl_bgp_acknowledged_prefixes", ("tor",)): 3,
                ("metallb_bgp_session_up", there): 1,
                ("metallb_bgp_announced_prefixes_total", there): 3,
                ("metallb_bgp_pending_prefixes_total", there): 0,
                ("metallb_bgp_opens_sent", there): 1,
                ("metallb_bgp_opens_received", there): 1,
                ("metallb_bgp_notifications_sent", there): 0,
            }
            assert {one: samples[one] for one in expected} == expected
            assert samples["metallb_bgp_updates_total", there] >= 1
            assert samples["metallb_bgp_keepalives_sent", there] >= 1
            peer.writer.close()
            await eventually(lambda: status(api).get("resets") == 1)
            samples = {(one.name, one.labels): one.value for one in session_samples(sessions)}
            assert samples["lbctl_bgp_session_resets_total", ("tor",)] == 1

    run(work())


def test_two_peers_with_one_address_are_one_series_where_metallb_has_no_other_label():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            sessions.consider(
                speaking(
                    here(peer, source="127.0.0.1"), here(peer, name="other", source="127.0.0.2")
                )
            )
            await eventually(lambda: len(sessions.bgp.peers) == 2)
            names = [(sample.name, sample.labels) for sample in session_samples(sessions)]
            assert len(names) == len(set(names))
            assert ("lbctl_bgp_session_established", ("other",)) in names

    run(work())


def test_a_session_without_its_password_is_idle_and_names_the_secret():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            waiting = speaking(here(peer, password_secret="missing"))
            sessions.consider(waiting)
            await eventually(lambda: status(api).get("state") == "Idle")
            assert "there is no Secret missing" in status(api)["message"]
            assert peer.calls == 0

    run(work())


def test_a_status_of_another_life_is_replaced_and_one_of_a_peer_that_is_gone_deleted():
    async def work():
        async with FakeApi() as api, Peer() as peer:
            async with node_sessions(api, "6") as sessions:
                sessions.consider(speaking(here(peer)))
                await eventually(lambda: routes(api) == counts(1))
            former = api.get(STATUSES, "node1.tor", "lbctl-system")["metadata"]["uid"]
            async with node_sessions(api, "7") as sessions:
                up = speaking(here(peer))
                sessions.consider(up)
                await eventually(lambda: status(api).get("incarnation") == "7")
                await eventually(lambda: routes(api) == counts(1))
                found = api.get(STATUSES, "node1.tor", "lbctl-system")
                assert found["metadata"]["uid"] != former
                sessions.consider(speaking(before=up))
                await eventually(lambda: not api.objects(STATUSES))

    run(work())


def test_a_status_that_may_not_be_written_is_a_problem_until_its_peer_is_gone(caplog):
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            api.faults.arm(
                FaultKind.FORBIDDEN, asks=frozenset({Ask.WRITE}), resource=STATUSES, times=None
            )
            up = speaking(here(peer))
            sessions.consider(up)
            await eventually(lambda: sessions.problem)
            assert "cannot write BGPSessionStatus node1.tor: " in sessions.problem
            refused = api.count(Ask.WRITE, STATUSES)
            await eventually(lambda: api.count(Ask.WRITE, STATUSES) > refused)
            sessions.consider(speaking(before=up))
            await eventually(lambda: sessions.problem is None)

    with caplog.at_level("ERROR"):
        run(work())
    assert len([one for one in caplog.messages if "cannot write" in one]) == 1


def test_leaving_tells_the_peer_why():
    async def work():
        async with FakeApi() as api, Peer() as peer, node_sessions(api) as sessions:
            sessions.consider(speaking(here(peer)))
            await eventually(lambda: status(api).get("state") == "Established")
            await sessions.leave()
            assert peer.router.notified.text == "lb-speaker on node1 stops"

    run(work())
