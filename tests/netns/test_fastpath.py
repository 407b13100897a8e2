"""lb-fastpath on a real kernel: the Linux neighbor table, arping and the wire are the judges."""

from __future__ import annotations

import random
import signal
import socket
import urllib.request
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from speaker.wire import arp, ndp
from speaker.wire.control import (
    Announced,
    Counters,
    CountersRequest,
    Heard,
    LinkFault,
    LinkOk,
    Mode,
    YieldCause,
    Yielded,
)
from speaker.wire.ethernet import Mac, format_mac
from tests.support.fastpath_process import SpeakerEnd, entry, removal
from tests.support.lan import ARP, IPV6, eventually, inside

pytestmark = [pytest.mark.netns, pytest.mark.timeout(60)]

SOON_ABANDONED = """
from speaker.fast import table
from speaker.fastpath import main

table.ABANDONED_S = 1.0
main()
"""
"""The same process, except that nobody waits 20 s for it."""
V4, V6 = "198.51.100.200", "2001:db8:1::200"
FAMILIES = pytest.mark.parametrize("address", [V4, V6], ids=["ipv4", "ipv6"])
STRANGER = Mac(bytes.fromhex("02005e005399"))


@pytest.fixture(autouse=True)
def fresh_caches(client, node):
    for address in (V4, V6):
        client.forget(address)


def answered(client, address, mac):
    client.resolve(address)
    return client.neighbor(address) == format_mac(mac)


def question(host, address, mac=None):
    """Return a frame by which `host` asks for `address`."""
    mac = Mac(mac or host.mac)
    if ":" in address:
        source, target = IPv6Address(host.address6), IPv6Address(address)
        return ndp.solicitation(mac=mac, source=source, target=target).encode()
    sender, target4 = IPv4Address(host.address), IPv4Address(address)
    return arp.request(mac=mac, sender=sender, target=target4).encode()


def announcement(address, mac):
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        return [ndp.unsolicited_advertisement(mac=mac, address=parsed).encode()]
    return [
        arp.gratuitous_request(mac=mac, address=parsed).encode(),
        arp.gratuitous_reply(mac=mac, address=parsed).encode(),
    ]


def answers_to(host, address, *, tries=1):
    """Ask on the wire `tries` times and return the claimed hardware addresses that came back."""
    found = []
    with host.packets(IPV6 if ":" in address else ARP) as wire:
        for _ in range(tries):
            wire.send(question(host, address))
            try:
                while True:
                    mac = claimant(wire.recv(2048), address)
                    if mac is not None:
                        found.append(mac)
            except TimeoutError:
                continue
    return found


def claimant(frame, address):
    try:
        if ":" in address:
            message = ndp.decode_ndp(frame)
            if isinstance(message, ndp.NeighborAdvertisement) and str(message.target) == address:
                return message.claimed_mac
        else:
            packet = arp.decode_arp(frame)
            if packet.operation is arp.Operation.REPLY and str(packet.sender) == address:
                return packet.sender_mac
    except ValueError:
        pass
    return None


@FAMILIES
def test_the_kernel_of_a_client_resolves_an_owned_address(speaker, node, client, address):
    speaker.table(entry(address, announce=False))
    speaker.expect(LinkOk, link="eth0")
    eventually(lambda: answered(client, address, node.mac), what="the entry names the node")


def test_arping_gets_its_answer(speaker, client, node):
    speaker.table(entry(V4))
    speaker.expect(LinkOk, link="eth0")
    said = client.run("arping", "-c", "2", "-w", "5", "-i", "eth0", V4)
    assert format_mac(node.mac) in said


@FAMILIES
def test_a_probe_for_a_duplicate_address_is_answered(speaker, node, client, address):
    speaker.table(entry(address))
    speaker.expect(LinkOk, link="eth0")
    if ":" in address:
        target = IPv6Address(address)
        probe = ndp.solicitation(mac=STRANGER, source=ndp.UNSPECIFIED, target=target)
    else:
        probe = arp.probe(mac=STRANGER, target=IPv4Address(address))
    with client.packets(IPV6 if ":" in address else ARP) as wire:
        wire.settimeout(5)
        wire.send(probe.encode())
        while (mac := claimant(wire.recv(2048), address)) is None:
            continue
    assert mac == node.mac


@FAMILIES
def test_an_unknown_address_is_met_with_silence(speaker, client, address):
    neighbor = str(ip_address(address) + 1)
    speaker.table(entry(address))
    speaker.expect(LinkOk, link="eth0")
    assert answers_to(client, address)
    assert not answers_to(client, neighbor, tries=3)


@FAMILIES
def test_a_removed_address_falls_silent_at_once(speaker, client, address):
    speaker.table(entry(address))
    speaker.expect(LinkOk, link="eth0")
    assert answers_to(client, address)
    speaker.delta(remove=(removal(address),))
    assert not answers_to(client, address, tries=2)


@FAMILIES
def test_a_late_command_of_an_older_epoch_changes_nothing(speaker, client, address):
    speaker.table(entry(address, number=5))
    speaker.expect(LinkOk, link="eth0")
    applied = speaker.delta(remove=(removal(address, number=4),))
    assert [str(stale.address) for stale in applied.refused] == [address]
    assert answers_to(client, address)


@FAMILIES
@pytest.mark.parametrize("age", ["fresh", "aged"])
def test_an_announcement_moves_the_entry_of_a_client(speaker, node, client, address, age):
    stale = ("lladdr", format_mac(STRANGER), "dev", "eth0", "nud", "reachable")
    client.ip("neigh", "replace", address, *stale)
    if age == "aged":
        # The kernel locks an entry for one second after an update; whole seconds are told.
        eventually(lambda: client.neighbor_age_s(address) >= 2, what="the entry aged")
    speaker.table(entry(address))
    speaker.expect(Announced, link="eth0")
    eventually(lambda: client.neighbor(address) == format_mac(node.mac), what="the entry moved")


@FAMILIES
def test_all_six_rounds_are_sent_in_every_form(speaker, client, node, address):
    with client.packets(IPV6 if ":" in address else ARP) as wire:
        wire.settimeout(8)
        speaker.table(entry(address))
        wanted = announcement(address, Mac(node.mac)) * 6
        seen = []
        while len(seen) < len(wanted):
            frame = wire.recv(2048)
            if frame[6:12] == node.mac and frame in wanted:
                seen.append(frame)
    assert sorted(seen) == sorted(wanted)


@FAMILIES
def test_a_planned_move_ends_when_the_successor_is_heard(speaker, client, other, address):
    speaker.table(entry(address), peers=(other.mac,))
    speaker.expect(LinkOk, link="eth0")
    speaker.delta(entry(address, number=2, mode=Mode.YIELD))
    with other.packets(IPV6 if ":" in address else ARP) as wire:
        for frame in announcement(address, Mac(other.mac)):
            wire.send(frame)
    speaker.expect(Yielded, cause=YieldCause.SUCCESSOR_HEARD)
    assert not answers_to(client, address, tries=2)


@FAMILIES
def test_a_planned_move_without_a_successor_ends_by_itself(speaker, client, address):
    speaker.table(entry(address))
    speaker.expect(LinkOk, link="eth0")
    speaker.delta(entry(address, number=2, mode=Mode.YIELD))
    assert answers_to(client, address), "the old owner goes on answering"
    speaker.expect(Yielded, cause=YieldCause.DEADLINE)
    assert not answers_to(client, address, tries=2)


@FAMILIES
def test_a_foreign_claim_is_reported_with_its_hardware_address(speaker, client, address):
    speaker.table(entry(address))
    speaker.expect(LinkOk, link="eth0")
    with client.packets(IPV6 if ":" in address else ARP) as wire:
        for frame in announcement(address, STRANGER):
            wire.send(frame)
    heard = speaker.expect(Heard, link="eth0")
    assert (heard.mac, heard.peer, str(heard.address)) == (STRANGER, False, address)


@FAMILIES
def test_a_link_that_comes_back_is_announced_on_again(speaker, lan, node, client, address):
    speaker.table(entry(address))
    speaker.expect(Announced, link="eth0")
    lan.port(node, "down")
    speaker.expect(LinkFault, link="eth0", family=0)
    lan.port(node, "up")
    speaker.expect(LinkOk, link="eth0", family=0)
    speaker.expect(Announced, link="eth0")
    eventually(lambda: answered(client, address, node.mac), what="answered after the link's return")


@FAMILIES
def test_a_new_hardware_address_of_the_link_is_used_at_once(speaker, node, client, address):
    speaker.table(entry(address))
    speaker.expect(Announced, link="eth0")
    before = node.mac
    changed = bytes.fromhex("02005e005301")
    try:
        node.ip("link", "set", "eth0", "address", format_mac(Mac(changed)))
        speaker.expect(Announced, link="eth0")
        assert set(answers_to(client, address)) == {changed}
    finally:
        node.ip("link", "set", "eth0", "address", format_mac(Mac(before)))
    speaker.expect(Announced, link="eth0")


@FAMILIES
def test_a_link_that_appears_later_is_opened_then(speaker, lan, node, client, address):
    speaker.table(entry(address, links=("late0",)))
    fault = speaker.expect(LinkFault, link="late0")
    assert "does not exist" in fault.message
    lan.plug(node, "late0")
    try:
        speaker.expect(LinkOk, link="late0")
        speaker.expect(Announced, link="late0")
        assert answers_to(client, address)
    finally:
        node.ip("link", "del", "late0")
    while "does not exist" not in speaker.expect(LinkFault, link="late0").message:
        continue


def test_a_link_without_ipv6_still_serves_ipv4_and_ipv6_when_it_comes(speaker, node, client):
    node.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    try:
        speaker.table(entry(V4), entry(V6))
        fault = speaker.expect(LinkFault, link="eth0", family=6)
        assert "net.ipv6.conf.eth0.disable_ipv6=0" in fault.message
        assert answers_to(client, V4)
        assert not answers_to(client, V6)
    finally:
        node.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    speaker.expect(LinkOk, link="eth0", family=6)
    assert answers_to(client, V6)
    node.ip("-6", "addr", "replace", f"{node.address6}/64", "dev", "eth0", "nodad")


def test_a_fault_of_ipv6_ends_also_when_it_took_the_addresses_away(speaker, node):
    node.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    try:
        speaker.table(entry(V6))
        speaker.expect(LinkFault, link="eth0", family=6)
        speaker.table()
    finally:
        node.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    speaker.expect(LinkOk, link="eth0", family=6)
    node.ip("-6", "addr", "replace", f"{node.address6}/64", "dev", "eth0", "nodad")


def test_a_filter_that_the_kernel_refuses_is_a_fault_of_its_own_family(speaker, node, client):
    speaker.table(entry(V6))
    speaker.expect(LinkOk, link="eth0", family=6)
    before = node.run("sysctl", "-n", "net.core.optmem_max").strip()
    node.run("sysctl", "-qw", "net.core.optmem_max=256")
    try:
        speaker.delta(entry(V4))
        fault = speaker.expect(LinkFault, link="eth0")
        assert (fault.family, "optmem_max" in fault.message) == (4, True)
        assert answers_to(client, V6)
    finally:
        node.run("sysctl", "-qw", f"net.core.optmem_max={before}")
    speaker.delta(entry(str(ip_address(V4) + 1)))
    speaker.expect(LinkOk, link="eth0", family=4)
    assert answers_to(client, V4)


def test_the_first_and_the_last_ipv6_address_leave_ipv4_unannounced(speaker, client, node):
    following = str(ip_address(V4) + 1)
    ours, last = (announcement(each, Mac(node.mac)) for each in (V4, following))
    with client.packets(ARP) as wire:
        wire.settimeout(8)
        speaker.table(entry(V4))
        seen = 0
        while seen < 6 * len(ours):
            seen += wire.recv(2048) in ours
        speaker.delta(entry(V6))
        speaker.expect(Announced, address=ip_address(V6))
        speaker.delta(remove=(removal(V6),))
        speaker.delta(entry(following))
        while (frame := wire.recv(2048)) not in last:
            assert frame not in ours


def test_scattered_addresses_are_answered_with_the_option_memory_of_older_kernels(
    speaker, node, client
):
    before = node.run("sysctl", "-n", "net.core.optmem_max").strip()
    node.run("sysctl", "-qw", "net.core.optmem_max=20480")
    try:
        scattered = [f"203.0.113.{2 * number}" for number in range(100)]
        scattered += [f"2001:db8:1::2:{number:x}0" for number in range(100)]
        speaker.table(*(entry(address, announce=False) for address in scattered))
        speaker.table(*(entry(each, announce=False) for each in (*scattered, V4, V6)))
        speaker.expect(LinkOk, link="eth0", family=6)
        assert answers_to(client, V4)
        assert answers_to(client, V6)
    finally:
        node.run("sysctl", "-qw", f"net.core.optmem_max={before}")


def test_garbage_on_the_wire_never_stops_it(speaker, fastpath, client):
    speaker.table(entry(V4), entry(V6))
    speaker.expect(LinkOk, link="eth0", family=6)
    dice = random.Random(7)
    seeds = {
        ARP: [question(client, V4), *announcement(V4, STRANGER)],
        IPV6: [question(client, V6), *announcement(V6, STRANGER)],
    }
    for ethertype, frames in seeds.items():
        with client.packets(ethertype) as wire:
            for _ in range(2000):
                frame = bytearray(dice.choice(frames))
                for _ in range(dice.randrange(4)):
                    frame[dice.randrange(14, len(frame))] = dice.randrange(256)
                wire.send(bytes(frame[: dice.randrange(14, len(frame) + 1)]))
    eventually(lambda: answers_to(client, V4) and answers_to(client, V6), what="still answering")
    assert fastpath.running
    speaker.send(CountersRequest())
    assert speaker.expect(Counters).links["eth0"]["malformed"] > 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x04nope",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x40half",
        b'\x00\x00\x00\x3c{"kind":"hello","version":"2.0","incarnation":"1","node":"a"} ',
    ],
    ids=["oversize", "not-json", "no-kind", "truncated", "other-major"],
)
def test_garbage_on_the_control_socket_ends_only_that_connection(
    speaker, fastpath, client, garbage
):
    speaker.table(entry(V4))
    speaker.expect(LinkOk, link="eth0")
    bad = SpeakerEnd(fastpath.path, hello=False)
    bad.socket.sendall(garbage)
    bad.socket.shutdown(socket.SHUT_WR)
    bad.expect_close()
    bad.close()
    speaker.send(CountersRequest())
    closed = speaker.expect(Counters).totals
    assert sum(n for name, n in closed.items() if name.startswith("connections_closed_")) == 1
    assert answers_to(client, V4)


def test_the_table_outlives_the_speaker_and_is_told_to_the_next_one(speaker, fastpath, client):
    speaker.table(entry(V4), entry(V6))
    speaker.expect(Announced, address=ip_address(V4))
    speaker.expect(Announced, address=ip_address(V6))
    speaker.close()
    assert answers_to(client, V4)
    assert answers_to(client, V6)
    following = SpeakerEnd(fastpath.path)
    following.table(entry(V4), entry(V6))
    following.expect(Announced, address=ip_address(V6))
    following.table(entry(V4))
    assert not answers_to(client, V6, tries=2)
    assert answers_to(client, V4)
    following.close()


@FAMILIES
def test_an_abandoned_address_is_left_to_the_peer_that_announced_it_and_owned_again_on_command(
    start, node, client, other, address
):
    alone = start(node, program=("-c", SOON_ABANDONED))
    speaker = SpeakerEnd(alone.path)
    speaker.table(entry(address), peers=(other.mac,))
    speaker.expect(Announced, link="eth0")
    speaker.close()
    with other.packets(IPV6 if ":" in address else ARP) as wire:

        def silent_after_a_claim() -> bool:
            for frame in announcement(address, Mac(other.mac)):
                wire.send(frame)
            return not answers_to(client, address)

        eventually(silent_after_a_claim, what="silent once it was long without lb-speaker")
    # A connection commands nothing yet.
    following = SpeakerEnd(alone.path)
    following.expect(LinkOk, link="eth0")
    assert not answers_to(client, address, tries=2)
    following.table(entry(address), peers=(other.mac,))
    following.expect(Announced, link="eth0")
    assert set(answers_to(client, address)) == {node.mac}
    following.close()


@FAMILIES
def test_an_abandoned_address_that_no_peer_announces_is_answered_for_ever(
    start, node, client, other, address
):
    alone = start(node, program=("-c", SOON_ABANDONED))
    speaker = SpeakerEnd(alone.path)
    lost = str(ip_address(address) + 1)
    kept_silently = [entry(each, announce=False) for each in (address, lost)]
    speaker.table(*kept_silently, peers=(other.mac,))
    speaker.expect(LinkOk, link="eth0", family=6 if ":" in address else 0)
    speaker.close()
    # A stranger's claim of one and a peer's claim of the other: only the peer is believed.
    with other.packets(IPV6 if ":" in address else ARP) as wire:

        def lost_after_both_claims() -> bool:
            for frame in (*announcement(address, STRANGER), *announcement(lost, Mac(other.mac))):
                wire.send(frame)
            return not answers_to(client, lost)

        eventually(lost_after_both_claims, what="silent once it was long without lb-speaker")
    assert answers_to(client, address)


def test_nothing_answers_for_a_killed_fast_path(speaker, fastpath, client):
    speaker.table(entry(V4), entry(V6))
    speaker.expect(LinkOk, link="eth0", family=6)
    assert answers_to(client, V4)
    fastpath.stop(signal.SIGKILL)
    assert not answers_to(client, V4, tries=2)
    assert not answers_to(client, V6, tries=2)


@FAMILIES
def test_a_terminated_fast_path_answers_until_its_successor_is_heard(
    speaker, fastpath, client, other, address
):
    speaker.table(entry(address), peers=(other.mac,))
    speaker.expect(Announced, link="eth0")
    fastpath.process.send_signal(signal.SIGTERM)
    assert answers_to(client, address), "nothing was yielded yet"
    assert fastpath.running
    speaker.delta(entry(address, number=2, mode=Mode.YIELD))
    with other.packets(IPV6 if ":" in address else ARP) as wire:
        for frame in announcement(address, Mac(other.mac)):
            wire.send(frame)
    speaker.expect(Yielded, cause=YieldCause.SUCCESSOR_HEARD)
    eventually(lambda: not fastpath.running, what="ended after the move")
    assert fastpath.process.returncode == 0


def test_a_terminated_fast_path_without_a_speaker_ends_by_itself(speaker, fastpath, client):
    speaker.table(entry(V4))
    speaker.expect(Announced, link="eth0")
    speaker.close()
    status, log = fastpath.stop(signal.SIGTERM)
    assert status == 0, log
    assert not answers_to(client, V4)


def test_a_restart_replaces_the_socket_that_a_killed_process_left(start, node, client):
    start(node).stop(signal.SIGKILL)
    again = start(node)
    speaker = SpeakerEnd(again.path)
    speaker.table(entry(V4))
    speaker.expect(Announced)
    speaker.close()
    status, log = again.stop(signal.SIGTERM)
    assert status == 0, log
    assert not again.path.exists()


def test_it_holds_the_capability_net_raw_and_no_other(speaker, fastpath):
    speaker.table(entry(V4))
    lines = Path(f"/proc/{fastpath.process.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 1 << 13
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0


def test_healthz_is_answered(speaker, node):
    with inside(node.namespace), urllib.request.urlopen("http://127.0.0.1:9433/healthz") as reply:
        assert (reply.status, reply.read()) == (200, b"ok\n")


def test_more_groups_are_joined_than_one_socket_takes(speaker, node, client):
    addresses = [f"2001:db8:1::1:{number:x}" for number in range(3000)]
    speaker.table(*(entry(address, announce=False) for address in addresses))
    speaker.expect(LinkOk, link="eth0", family=6)
    joined = eventually(
        lambda: node.run("cat", "/proc/net/igmp6").count("ff0200000000000000000001ff01")
    )
    assert joined == 3000
    assert answers_to(client, addresses[-1])
    speaker.table()
    left = node.run("cat", "/proc/net/igmp6").count("ff0200000000000000000001ff01")
    assert left == 0
