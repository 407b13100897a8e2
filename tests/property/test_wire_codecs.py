"""Laws of the codecs: decode after encode is identity, bytes raise only WireError, scapy agrees."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.wire import arp, control, ndp
from speaker.wire.control import Decoder, encode
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac, decode_header, format_mac, multicast_mac, parse_mac

macs = st.binary(min_size=6, max_size=6).map(Mac)
host_macs = macs.filter(lambda mac: not mac[0] & 1)
v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)
unicast6 = v6.filter(lambda address: not address.is_multicast and int(address) > 0)

arp_frames = st.builds(
    arp.ArpFrame,
    destination=macs,
    source=macs,
    operation=st.sampled_from(arp.Operation),
    sender_mac=macs,
    sender=v4,
    target_mac=macs,
    target=v4,
)
options = st.lists(
    st.builds(
        ndp.NdpOption,
        kind=st.integers(0, 255),
        value=st.integers(1, 3).flatmap(
            lambda n: st.binary(min_size=8 * n - 2, max_size=8 * n - 2)
        ),
    ),
    max_size=3,
).map(tuple)
solicitations = st.builds(
    ndp.NeighborSolicitation,
    destination_mac=macs,
    source_mac=macs,
    source=unicast6,
    destination=v6,
    target=unicast6,
    options=options,
)
advertisements = st.builds(
    ndp.NeighborAdvertisement,
    destination_mac=macs,
    source_mac=macs,
    source=v6,
    destination=v6,
    target=unicast6,
    router=st.booleans(),
    solicited=st.booleans(),
    override=st.booleans(),
    options=options,
).filter(lambda frame: not (frame.solicited and frame.destination.is_multicast))

small = st.integers(0, 2**63)
epochs = st.builds(control.Epoch, generation=small, number=small)
links = st.text(max_size=15).map(LinkName)
addresses = st.one_of(v4, v6)
entries = st.builds(
    control.Entry,
    address=addresses,
    links=st.lists(links, max_size=3).map(tuple),
    epoch=epochs,
    mode=st.sampled_from(control.Mode),
    announce=st.booleans(),
)
removals = st.builds(control.Removal, address=addresses, epoch=epochs)
link_lists = st.lists(links, max_size=3).map(tuple)
peer_lists = st.lists(macs, max_size=3).map(tuple)
counts = st.dictionaries(st.text(max_size=8), small, max_size=3)
messages = st.one_of(
    st.builds(
        control.Hello,
        incarnation=st.text(max_size=8).map(Incarnation),
        node=st.text(max_size=8).map(NodeName),
    ),
    st.builds(control.Refused, message=st.text(max_size=20)),
    st.builds(
        control.Table,
        revision=small,
        entries=st.lists(entries, max_size=4).map(tuple),
        links=link_lists,
        peers=peer_lists,
        router_links=link_lists,
    ),
    st.builds(
        control.Delta,
        revision=small,
        upsert=st.lists(entries, max_size=3).map(tuple),
        remove=st.lists(removals, max_size=3).map(tuple),
        links=st.none() | link_lists,
        peers=st.none() | peer_lists,
        router_links=st.none() | link_lists,
    ),
    st.just(control.CountersRequest()),
    st.builds(
        control.Applied,
        revision=small,
        refused=st.lists(
            st.builds(control.StaleEpoch, address=addresses, epoch=epochs, known=epochs),
            max_size=2,
        ).map(tuple),
    ),
    st.builds(control.Heard, address=addresses, link=links, mac=macs, peer=st.booleans()),
    st.builds(control.Yielded, address=addresses, cause=st.sampled_from(control.YieldCause)),
    st.builds(control.Announced, address=addresses, link=links),
    st.builds(control.LinkFault, link=links, message=st.text(), family=st.sampled_from([0, 4, 6])),
    st.builds(control.LinkOk, link=links, family=st.sampled_from([0, 4, 6])),
    st.builds(
        control.AddressCounts,
        addresses=st.lists(
            st.builds(
                control.AddressCount,
                address=addresses,
                answered=st.integers(0, 2**64 - 1),
                failed=st.integers(0, 2**64 - 1),
                announced=st.integers(0, 2**64 - 1),
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(control.Counters, totals=counts, links=st.dictionaries(links, counts, max_size=2)),
)


@given(arp_frames)
def test_an_arp_frame_survives_encoding(frame):
    assert arp.decode_arp(frame.encode()) == frame


@given(arp_frames, st.binary(max_size=20))
def test_ethernet_padding_after_an_arp_packet_is_ignored(frame, padding):
    assert arp.decode_arp(frame.encode() + padding) == frame


@given(arp_frames)
def test_scapy_builds_the_same_arp_bytes(frame):
    built = Ether(dst=format_mac(frame.destination), src=format_mac(frame.source)) / ARP(
        op=int(frame.operation),
        hwsrc=format_mac(frame.sender_mac),
        psrc=str(frame.sender),
        hwdst=format_mac(frame.target_mac),
        pdst=str(frame.target),
    )
    assert bytes(built) == frame.encode()


@given(host_macs, host_macs, v4, v4)
def test_a_patched_arp_reply_is_the_reply_that_the_codec_builds(asker, mac, sender, target):
    question = arp.request(mac=asker, sender=sender, target=target).encode()
    assert arp.is_request(question)
    expected = arp.reply(mac=mac, address=target, to_mac=asker, to=sender)
    assert arp.ReplyPatcher(mac).patch(question) == expected.encode()


@given(st.one_of(solicitations, advertisements))
def test_an_ndp_frame_survives_encoding(frame):
    assert ndp.decode_ndp(frame.encode()) == frame


@given(host_macs, unicast6, unicast6)
def test_scapy_builds_the_same_solicitation(mac, source, target):
    frame = ndp.solicitation(mac=mac, source=source, target=target)
    built = (
        Ether(dst=format_mac(frame.destination_mac), src=format_mac(mac))
        / IPv6(src=str(source), dst=str(frame.destination), hlim=255)
        / ICMPv6ND_NS(tgt=str(target))
        / ICMPv6NDOptSrcLLAddr(lladdr=format_mac(mac))
    )
    assert bytes(built) == frame.encode()


@given(host_macs, host_macs, st.one_of(unicast6, st.just(ndp.UNSPECIFIED)), unicast6)
def test_a_patched_advertisement_is_what_scapy_builds_in_answer(asker, mac, source, target):
    question = ndp.solicitation(mac=asker, source=source, target=target).encode()
    assert ndp.is_solicitation(question)
    probe = source == ndp.UNSPECIFIED
    built = (
        Ether(dst="33:33:00:00:00:01" if probe else format_mac(asker), src=format_mac(mac))
        / IPv6(src=str(target), dst="ff02::1" if probe else str(source), hlim=255)
        / ICMPv6ND_NA(R=0, S=0 if probe else 1, O=1, tgt=str(target))
        / ICMPv6NDOptDstLLAddr(lladdr=format_mac(mac))
    )
    assert ndp.AdvertisementPatcher(mac).patch(question) == bytes(built)


@given(host_macs, unicast6)
def test_scapy_builds_the_same_unsolicited_advertisement(mac, address):
    frame = ndp.unsolicited_advertisement(mac=mac, address=address)
    built = (
        Ether(dst="33:33:00:00:00:01", src=format_mac(mac))
        / IPv6(src=str(address), dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=0, S=0, O=1, tgt=str(address))
        / ICMPv6NDOptDstLLAddr(lladdr=format_mac(mac))
    )
    assert bytes(built) == frame.encode()
    assert frame.claimed_mac == mac


@given(macs)
def test_scapy_builds_the_same_router_advertisement(mac):
    """The kernel writes the checksum; a preference of 0 is the one that every router has."""
    built = ICMPv6ND_RA(
        cksum=0, chlim=0, M=0, O=0, prf=0, routerlifetime=0, reachabletime=0, retranstimer=0
    ) / ICMPv6NDOptSrcLLAddr(lladdr=format_mac(mac))
    assert bytes(built) == ndp.router_advertisement(mac)


@given(solicitations, st.data())
def test_the_fast_check_and_the_decoder_agree_on_every_damaged_solicitation(frame, data):
    assume(not frame.source_mac[0] & 1)
    damaged = bytearray(frame.encode())
    position = data.draw(st.integers(12, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(60, len(damaged)))])
    try:
        valid = isinstance(ndp.decode_ndp(cut), ndp.NeighborSolicitation)
    except WireError:
        # Options are the one thing that the fast check leaves alone, on purpose.
        valid = ndp.is_solicitation(cut) and cut[78:] != b""
    if cut[12:14] == b"\x86\xdd" and cut[14] >> 4 == 6:
        assert ndp.is_solicitation(cut) == valid


@given(st.binary(max_size=200))
@pytest.mark.parametrize(
    "decode", [arp.decode_arp, ndp.decode_ndp, decode_header], ids=["arp", "ndp", "ethernet"]
)
def test_arbitrary_bytes_raise_only_wire_error(decode, data):
    try:
        decode(data)
    except WireError:
        return


@given(st.one_of(arp_frames, solicitations, advertisements), st.data())
def test_damaged_frames_raise_only_wire_error(frame, data):
    damaged = bytearray(frame.encode())
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    for decode in (arp.decode_arp, ndp.decode_ndp):
        try:
            decode(cut)
        except WireError:
            continue
    arp.is_request(cut)
    ndp.is_solicitation(cut)


@given(macs)
def test_a_hardware_address_survives_being_written(mac):
    assert parse_mac(format_mac(mac)) == mac


@given(v6)
def test_the_group_of_an_address_keeps_its_low_24_bits(address):
    group = ndp.solicited_node_group(address)
    assert group == IPv6Address(int(IPv6Address("ff02::1:ff00:0")) + int(address) % 2**24)
    assert multicast_mac(group) == b"\x33\x33\xff" + address.packed[13:]


@given(st.lists(messages, max_size=4), st.lists(st.integers(1, 50)))
def test_control_messages_survive_the_stream_however_it_is_cut(sent, cuts):
    stream = b"".join(encode(message) for message in sent)
    decoder = Decoder()
    received = []
    for cut in cuts:
        received += decoder.feed(stream[:cut])
        stream = stream[cut:]
    received += decoder.feed(stream)
    decoder.end()
    assert received == sent


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(messages, st.data())
def test_a_control_message_with_any_field_replaced_raises_only_wire_error(message, data):
    from speaker.wire.control_json import from_json, to_json

    value = to_json(message)
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(json_values)
    try:
        from_json(value)
    except WireError:
        return


@given(st.binary(max_size=60))
def test_arbitrary_control_bytes_raise_only_wire_error(data):
    for stream in (data, len(data).to_bytes(4, "big") + data):
        try:
            Decoder().feed(stream)
        except WireError:
            continue
