"""The driver of BGP over TCP on this machine: sessions, stops, sockets, several peers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address

import pytest

from lbctl.model.address import Family
from speaker.drivers.node.bgp import BgpPeer
from speaker.drivers.node.bgp_peers import BgpPeers
from speaker.drivers.node.bgp_socket import PeerSocketError, peer_socket, socket_address
from speaker.protocols import bgp_session
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_fault import SHUTDOWN, cease
from tests.support.bgp import TABLE, make_peer, prefixes_of, routes
from tests.support.bgp_tcp import Peer, peering, up
from tests.support.loop import background, eventually, run


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Shorten the first pause between two calls: these tests fail many sessions."""
    monkeypatch.setattr(bgp_session, "FIRST_PAUSE_S", 0.1)


@contextlib.asynccontextmanager
async def spoken_to(peer: Peer, table=TABLE, **changes):
    spoken = BgpPeer(
        peering(peer, **changes).config,
        restarting=True,
        beside=lambda own: (own, ip_address("2001:db8::11")),
        on_change=lambda _: None,
    )
    spoken.want(table)
    async with background(spoken.run()) as (task,):
        yield spoken
        assert not task.done() or task.exception() is None


def test_a_session_over_tcp_tells_the_table_and_each_change():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(lambda: prefixes_of(peer.router.table) == prefixes_of(TABLE))
            await eventually(lambda: spoken.observed)
            spoken.want(routes("203.0.113.1/32"))
            await eventually(lambda: prefixes_of(peer.router.table) == ["203.0.113.1/32"])
            assert peer.calls == 1

    run(work())


def test_a_stop_tells_the_peer_and_ends_the_task():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            spoken.stop(cease(SHUTDOWN, "the node is drained"))
            await eventually(lambda: peer.router.notified is not None)
            assert peer.router.notified.text == "the node is drained"
            await eventually(lambda: peer.ended == 1)

    run(work())


def test_a_stop_during_a_call_ends_at_once():
    async def work():
        async with Peer() as peer:
            async with spoken_to(peer, address=ip_address("127.0.0.2"), port=9) as spoken:
                spoken.stop(None)
                await eventually(lambda: spoken.status.state is State.IDLE)
            assert peer.calls == 0

    run(work())


def test_a_peer_that_refuses_the_call_is_named_with_the_kernels_words():
    async def work():
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            peer = Peer()
            peer.port = unused.getsockname()[1]
            async with spoken_to(peer) as spoken:
                await eventually(lambda: spoken.status.down is not None)
                assert spoken.status.down.detail == "Connection refused"

    run(work())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interface": "no-such-link"}, "interface 'no-such-link'"),
        ({"source": ip_address("203.0.113.99")}, "source address 203.0.113.99"),
        ({"password": "x" * 81}, "the MD5 password"),
    ],
)
def test_what_the_kernel_refuses_is_named_by_its_field(changes, words):
    with pytest.raises(PeerSocketError, match=words):
        peer_socket(make_peer(**changes))


def test_the_socket_has_what_the_configuration_asks_for():
    with peer_socket(make_peer(gtsm_hops=2)) as opened:
        assert opened.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 255
        assert opened.getsockopt(socket.IPPROTO_IP, 21) == 254
        assert opened.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xC0
    six = make_peer(address=ip_address("2001:db8::1"), ttl=7, password="secret")
    with peer_socket(six) as opened:
        assert opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 7
    assert socket_address(six) == ("2001:db8::1", 179, 0, 0)
    local = make_peer(address=ip_address("fe80::1"), interface="lo")
    assert socket_address(local) == ("fe80::1", 179, 0, 1)


def test_a_password_is_not_in_what_is_printed():
    assert "secret" not in repr(make_peer(password="secret"))


# --- Several peers


def peerings(**ports):
    return {name: peering(peer, table) for name, (peer, table) in ports.items()}


def test_peers_come_and_go_and_change_without_touching_each_other():
    async def work():
        changes = []
        peers = BgpPeers(
            beside=lambda own: (own,), on_change=lambda name, change: changes.append((name, change))
        )
        async with Peer() as red, Peer() as blue:
            wanted = peerings(red=(red, TABLE), blue=(blue, routes("203.0.113.1/32")))
            peers.apply(wanted)
            await eventually(lambda: len(red.router.table) == 2)
            await eventually(lambda: len(blue.router.table) == 1)
            other = peering(red, {}, hold_time_s=7)
            peers.apply({**wanted, "red": other})
            await eventually(lambda: red.calls == 2)
            first = red.router.before
            assert (first.notified.code, first.notified.subcode) == (6, 6)
            peers.apply({"blue": wanted["blue"]})
            await eventually(lambda: red.router.notified is not None)
            assert (red.router.notified.code, red.router.notified.subcode) == (6, 3)
            await eventually(lambda: list(peers.peers) == ["blue"])
            peers.apply(wanted)
            await eventually(lambda: red.calls == 3)
            assert blue.calls == 1
            assert peers.peers["blue"].counts.established == 1
            await peers.close(None)
            assert blue.router.notified is None
            assert not peers.peers
            peers.apply(wanted)
            assert not peers.peers, "who has said goodbye calls nobody any more"

    run(work())


def test_what_matters_to_the_next_connection_alone_ends_no_session():
    async def work():
        peers = BgpPeers(beside=lambda own: (own,), on_change=lambda *_: None)
        async with Peer() as red:
            before = peering(red, TABLE)
            peers.apply({"red": before})
            await eventually(lambda: len(red.router.table) == 2)
            hops = (ip_address("2001:db8::11"),)
            after = peering(red, routes("203.0.113.1/32"), next_hops=hops, connect_retry_s=7)
            peers.apply({"red": after})
            await eventually(lambda: list(map(str, red.router.table)) == ["203.0.113.1/32"])
            assert red.calls == 1
            assert peers.peers["red"].config.connect_retry_s == 7
            red.writer.close()
            await eventually(lambda: red.calls == 2)
            await eventually(lambda: peers.peers["red"].status.next_hops)
            assert peers.peers["red"].status.next_hops[Family.IPV6] == hops[0]
            await peers.close(None)

    run(work())


def test_the_session_hears_of_other_addresses_of_its_link_once():
    async def work():
        here, six = ip_address("127.0.0.1"), ip_address("2001:db8::11")
        link = [here]
        peers = BgpPeers(beside=lambda _: tuple(link), on_change=lambda *_: None)
        async with Peer() as red:
            peers.apply({"red": peering(red, TABLE)})
            await eventually(lambda: len(red.router.table) == 2)
            assert peers.peers["red"].status.next_hops == {Family.IPV4: here}
            link.append(six)
            peers.look_again()
            hops = {Family.IPV4: here, Family.IPV6: six}
            await eventually(lambda: peers.peers["red"].status.next_hops == hops)
            await eventually(lambda: len(red.router.table) == 3)
            link.clear()
            peers.look_again()
            await asyncio.sleep(0)
            assert peers.peers["red"].status.next_hops == hops, (
                "a link that is unknown says nothing"
            )
            link.append(here)
            peers.look_again()
            await eventually(lambda: len(red.router.table) == 2)
            assert peers.peers["red"].status.next_hops == {Family.IPV4: here}
            assert red.calls == 1
            await peers.close(None)

    run(work())


def test_only_the_first_session_with_a_peer_says_that_the_process_restarted():
    from speaker.wire.bgp import decode_open

    async def work():
        peers = BgpPeers(beside=lambda own: (own,), on_change=lambda *_: None)
        async with Peer() as peer:
            bits = []
            for hold in (30, 60):
                peers.apply({"tor": peering(peer, hold_time_s=hold)})
                await eventually(lambda bits=bits: peer.calls == len(bits) + 1)
                await eventually(lambda: len(peer.router.table) == 2, str(hold))
                opened = decode_open(peer.router.frames[0].body)
                bits.append((opened.hold_time_s, opened.graceful.restarting))
            assert bits == [(30, True), (60, False)]
            await peers.close(None)

    run(work())


def test_a_session_that_fails_by_a_mistake_of_ours_is_begun_anew(monkeypatch, caplog):
    monkeypatch.setattr("speaker.drivers.node.bgp_peers.AGAIN_S", 0.01)
    failures = iter([RuntimeError("a mistake")])

    def beside(own):
        for failure in failures:
            raise failure
        return (own,)

    async def work():
        peers = BgpPeers(beside=beside, on_change=lambda *_: None)
        async with Peer() as peer:
            peers.apply(peerings(tor=(peer, TABLE)))
            await eventually(lambda: len(peer.router.table) == 2)
            await peers.close(None)

    run(work())
    assert "a mistake" in caplog.text


def test_stopping_is_idempotent():
    async def work():
        async with Peer() as peer, spoken_to(peer) as spoken:
            await eventually(up(spoken))
            spoken.stop(None)
            spoken.stop(cease(SHUTDOWN))
            await eventually(lambda: spoken.status.state is State.IDLE)
            assert spoken.status.down.notification is None

    run(work())
