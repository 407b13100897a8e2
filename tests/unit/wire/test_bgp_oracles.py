"""Every kind of message that we send, read by ExaBGP's and by scapy's own decoders: the values.

Golden bytes (test_bgp.py) hold what leaves; these tests hold that it means to others what it means
to us. ExaBGP also packs our OPEN and path attributes, so there scapy and the golden bytes are the
independent witnesses; lengths, prefixes and MP attributes are packed by us. ExaBGP reads UPDATEs on
the terms that it negotiates itself from our OPEN. We never send ROUTE-REFRESH: nothing is learnt.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from exabgp.bgp.message import Action, Message, Update
from exabgp.bgp.message.direction import Direction
from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.open.capability.negotiated import Negotiated
from exabgp.bgp.message.update.attribute import Attributes, NextHop
from exabgp.bgp.message.update.eor import EOR
from exabgp.bgp.message.update.nlri.cidr import CIDR
from exabgp.bgp.message.update.nlri.inet import INET
from exabgp.protocol.family import AFI, SAFI
from exabgp.protocol.ip import IP
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import bgp as scapy_bgp

from lbctl.model.address import Family
from lbctl.model.route import Prefix, prefix_of
from speaker.wire.bgp import encode_attributes, encode_open
from speaker.wire.bgp_fault import cease
from speaker.wire.bgp_frame import KEEPALIVE, FrameReader, encode_notification, end_of_rib
from speaker.wire.bgp_messages import GracefulRestart, OpenMessage, PathAttributes
from speaker.wire.bgp_update import announce, withdraw
from tests.support.bgp import cidr, make_open

BOTH = frozenset(Family)
HOP, HOP6 = IPv4Address("192.0.2.11"), IPv6Address("2001:db8::11")
ASN2, ASN4 = 64496, 65551
"""Of two bytes, and one that needs four."""
IPV4, IPV6 = (AFI.ipv4, SAFI.unicast), (AFI.ipv6, SAFI.unicast)
OPEN = OpenMessage(
    asn=ASN4,
    hold_time_s=90,
    identifier=IPv4Address("192.0.2.11"),
    families=BOTH,
    graceful=GracefulRestart(restarting=True, time_s=120, forwarding=BOTH),
)

numbers = st.integers(0, 2**32 - 1)
attribute_sets = st.builds(
    PathAttributes,
    local_preference=st.none() | numbers,
    communities=st.lists(numbers, max_size=63).map(tuple),
    # Kinds without a class of their own in ExaBGP, which would keep no bytes to compare with.
    extended_communities=st.lists(
        st.binary(min_size=6, max_size=6).map(b"\x03\x99".__add__), max_size=63
    ).map(tuple),
    large_communities=st.lists(st.tuples(numbers, numbers, numbers), max_size=63).map(tuple),
)


def prefixes(family, *, shortest=0):
    # All ones are left out: in an IPv6 prefix scapy takes them for the marker of a message.
    bits, address = (32, IPv4Address) if family is Family.IPV4 else (128, IPv6Address)

    def made(number, length):
        return prefix_of(address(number >> (bits - length) << (bits - length)), length)

    one = st.builds(made, st.integers(0, 2**bits - 2), st.integers(shortest, bits))
    return st.lists(one, min_size=1, max_size=30, unique=True)


def read_by_exabgp(data, *, ours=OPEN):
    """Return ExaBGP's reading of one message from the sender of the OPEN `ours`."""
    terms = Negotiated({"capability": {"aigp": False}})
    terms.sent(unpacked(encode_open(make_open()), terms))
    terms.received(unpacked(encode_open(ours), terms))
    return unpacked(data, terms)


def unpacked(data, terms):
    (frame,) = FrameReader().feed(data)
    return Message.unpack(int(frame.type), frame.body, Direction.IN, terms)


def announced(update):
    """Return the next hop of each prefix that ExaBGP finds announced."""
    return {
        ip_network(str(one.cidr)): str(one.nexthop)
        for one in update.nlris
        if one.action == Action.ANNOUNCE
    }


def withdrawn(update):
    return {ip_network(str(one.cidr)) for one in update.nlris if one.action == Action.WITHDRAW}


def networks(given_prefixes):
    return {ip_network(str(one)) for one in given_prefixes}


def values_of(update):
    """Return the values of the attributes that ExaBGP finds; communities have no order."""
    found = {int(code): value for code, value in update.attributes.items()}
    return {
        "origin": found[1].origin,
        "path": [asn for segment in found[2].aspath for asn in segment] if 2 in found else [],
        "preference": found[5].localpref if 5 in found else None,
        "communities": {str(one) for one in found[8].communities} if 8 in found else set(),
        "extended": {one.community for one in found[16].communities} if 16 in found else set(),
        "large": {str(one) for one in found[32].communities} if 32 in found else set(),
        "others": found.keys() - {1, 2, 3, 5, 8, 16, 32},
    }


def values_meant(attributes, asn, *, internal):
    preference = 100 if attributes.local_preference is None else attributes.local_preference
    return {
        "origin": 0,  # IGP
        "path": [] if internal else [asn],
        "preference": preference if internal else None,
        "communities": {f"{one >> 16}:{one & 0xFFFF}" for one in attributes.communities},
        "extended": set(attributes.extended_communities),
        "large": {":".join(map(str, one)) for one in attributes.large_communities},
        "others": set(),
    }


# --- ExaBGP


def test_exabgp_reads_the_values_of_each_capability():
    read = read_by_exabgp(encode_open(OPEN))
    assert (read.version, read.asn, read.hold_time) == (4, 23456, 90)
    assert str(read.router_id) == "192.0.2.11"
    found = {int(code): value for code, value in read.capabilities.items()}
    assert found.keys() == {1, 2, 5, 64, 65}
    assert found[1] == [IPV4, IPV6]
    assert found[5] == [(*IPV4, AFI.ipv6)]
    assert (found[64].restart_flag, found[64].restart_time) == (8, 120)
    assert dict(found[64]) == {IPV4: 128, IPV6: 128}
    assert found[65] == ASN4


@given(
    st.integers(1, 2**32 - 1),
    st.just(0) | st.integers(3, 0xFFFF),
    st.integers(1, 2**32 - 1).map(IPv4Address),
    st.sets(st.sampled_from(Family), min_size=1),
    st.none() | st.tuples(st.booleans(), st.integers(0, 4095)),
)
def test_exabgp_reads_any_open_of_ours(asn, hold_time_s, identifier, families, restart):
    graceful = restart and GracefulRestart(
        restarting=restart[0], time_s=restart[1], forwarding=frozenset(families)
    )
    ours = OpenMessage(
        asn=asn,
        hold_time_s=hold_time_s,
        identifier=identifier,
        families=frozenset(families),
        extended_next_hop=Family.IPV4 in families,
        graceful=graceful,
    )
    read = read_by_exabgp(encode_open(ours))
    assert (read.hold_time, str(read.router_id)) == (hold_time_s, str(identifier))
    found = {int(code): value for code, value in read.capabilities.items()}
    offered = [{Family.IPV4: IPV4, Family.IPV6: IPV6}[one] for one in sorted(families)]
    assert (found[65], found[1], 5 in found) == (asn, offered, Family.IPV4 in families)
    if restart is None:
        assert 64 not in found
    else:
        assert bool(found[64].restart_flag & 8) is restart[0]
        assert found[64].restart_time == restart[1]
        assert dict(found[64]) == dict.fromkeys(offered, 128)


@pytest.mark.parametrize(
    ("family", "hop"),
    [
        pytest.param(Family.IPV4, HOP, id="ipv4"),
        pytest.param(Family.IPV6, HOP6, id="ipv6"),
        pytest.param(Family.IPV4, HOP6, id="ipv4-over-ipv6"),
    ],
)
@given(st.data(), attribute_sets, st.sampled_from([ASN2, ASN4]))
def test_exabgp_reads_what_was_announced(family, hop, data, attributes, asn):
    told = data.draw(prefixes(family))
    internal, wide = data.draw(st.booleans()), data.draw(st.booleans())
    packed = encode_attributes(
        attributes,
        local_asn=asn,
        internal=internal,
        four_octet_asn=wide,
        next_hop=hop if isinstance(hop, IPv4Address) else None,
    )
    ours = OpenMessage(
        asn=asn,
        hold_time_s=90,
        identifier=HOP,
        families=BOTH,
        four_octet_asn=wide,
    )
    (message,) = announce(family, hop, packed, told)
    read = read_by_exabgp(message, ours=ours)
    assert announced(read) == dict.fromkeys(networks(told), str(hop))
    assert withdrawn(read) == set()
    assert values_of(read) == values_meant(attributes, asn, internal=internal)


@pytest.mark.parametrize("family", list(Family))
@given(st.data())
def test_exabgp_reads_what_was_withdrawn(family, data):
    told = data.draw(prefixes(family))
    (message,) = withdraw(family, told)
    read = read_by_exabgp(message)
    assert (withdrawn(read), announced(read), dict(read.attributes)) == (networks(told), {}, {})


def test_exabgp_reads_the_end_of_each_family_words_and_a_keepalive():
    for family, (afi, safi) in ((Family.IPV4, IPV4), (Family.IPV6, IPV6)):
        read = read_by_exabgp(end_of_rib(family))
        assert isinstance(read, EOR)
        assert [(one.afi, one.safi) for one in read.nlris] == [(afi, safi)]
    told = read_by_exabgp(encode_notification(cease(2, "node drained: café")))
    assert (told.code, told.subcode) == (6, 2)
    assert told.data.decode() == 'Shutdown Communication: "node drained: café"'
    assert read_by_exabgp(KEEPALIVE).ID == Message.CODE.KEEPALIVE


def test_exabgp_itself_writes_the_same_ipv4_update():
    negotiated = Negotiated({"capability": {"aigp": False}})
    negotiated.local_as, negotiated.peer_as, negotiated.asn4 = ASN(ASN2), ASN(ASN4), True
    negotiated.families = [IPV4]
    told = [Prefix(4, int(IPv4Address("198.18.0.0")) + n, 32) for n in range(2000)]
    theirs = []
    for prefix in told:
        one = INET(*IPV4, Action.ANNOUNCE)
        one.cidr = CIDR(prefix.address.packed, prefix.length)
        one.nexthop = IP.create(str(HOP))
        theirs.append(one)
    attributes = Attributes()
    attributes.add(NextHop(str(HOP)))
    expected = list(Update(theirs, attributes).messages(negotiated))
    packed = encode_attributes(
        PathAttributes(), local_asn=ASN2, internal=False, four_octet_asn=True, next_hop=HOP
    )
    assert list(announce(Family.IPV4, HOP, packed, told)) == expected


# --- scapy


@pytest.fixture
def four_octets(monkeypatch):
    monkeypatch.setattr(scapy_bgp.bgp_module_conf, "use_2_bytes_asn", False)


def read_by_scapy(data):
    """Return the attributes of an UPDATE by their number, and the message."""
    update = scapy_bgp.BGP(data)[scapy_bgp.BGPUpdate]
    return {one.type_code: one.attribute for one in update.path_attr}, update


def listed(found):
    return [one.prefix for one in found]


def test_scapy_reads_the_open():
    message = scapy_bgp.BGP(encode_open(OPEN))[scapy_bgp.BGPOpen]
    assert (message.version, message.my_as, message.hold_time) == (4, 23456, 90)
    assert message.bgp_id == "192.0.2.11"
    four, six, asn, refresh, hop, restart = [one.param_value for one in message.opt_params]
    assert [(one.code, one.afi, one.safi) for one in (four, six)] == [(1, 1, 1), (1, 2, 1)]
    assert (asn.code, asn.asn) == (65, ASN4)
    assert (refresh.code, refresh.length) == (2, 0)
    # scapy has no fields for the triples of RFC 8950.
    assert (hop.code, struct.unpack("!HHH", hop.cap_data)) == (5, (1, 1, 2))
    assert (restart.code, restart.restart_flags, restart.restart_time) == (64, 8, 120)
    # scapy takes what follows the first family for its payload.
    (first,) = restart.entries
    assert (first.afi, first.safi, first.flags, bytes(first.payload)) == (1, 1, 128, b"\0\2\1\x80")


def test_scapy_reads_an_announcement_of_each_kind(four_octets):
    attributes = PathAttributes(
        local_preference=250,
        communities=(ASN2 << 16 | 7, 0xFFFF0000),
        extended_communities=(bytes.fromhex("0002fbf000000064"),),
        large_communities=((ASN4, 1, 4294967295), (ASN4, 2, 0)),
    )
    told = [cidr("198.51.100.7/32"), cidr("203.0.113.0/24")]
    packed = encode_attributes(
        attributes, local_asn=ASN2, internal=True, four_octet_asn=True, next_hop=HOP
    )
    (data,) = announce(Family.IPV4, HOP, packed, told)
    found, update = read_by_scapy(data)
    assert listed(update.nlri) == [str(one) for one in told]
    assert found.keys() == {1, 2, 3, 5, 8, 16, 32}
    assert (found[1].origin, found[2].segments) == (0, [])
    assert (found[3].next_hop, found[5].local_pref) == ("192.0.2.11", 250)
    # Of a kind scapy reads the first community, and takes the others for a payload.
    assert (found[8].community, bytes(found[8].payload)) == (ASN2 << 16 | 7, b"\xff\xff\0\0")
    (target,) = found[16].extended_communities
    assert (target.type_high, target.type_low) == (0, 2)
    said = target.value
    assert (said.global_administrator, said.local_administrator) == (ASN2, 100)
    (large,) = found[32].segments
    assert (large.global_administrator, large.local_data_part1) == (ASN4, 1)
    assert large.local_data_part2 == 4294967295
    assert bytes(large.payload) == struct.pack("!LLL", ASN4, 2, 0)


def test_scapy_reads_an_announcement_in_mp_reach(four_octets):
    # An IPv6 next hop of IPv4 (RFC 8950) scapy cannot read: it expects four bytes there.
    packed = encode_attributes(
        PathAttributes(), local_asn=ASN4, internal=False, four_octet_asn=True, next_hop=None
    )
    (data,) = announce(Family.IPV6, HOP6, packed, [cidr("2001:db8:1::/48"), cidr("::/0")])
    found, update = read_by_scapy(data)
    assert (found.keys(), update.nlri) == ({1, 2, 14}, [])
    reach = found[14]
    assert (reach.afi, reach.safi, reach.nh_v6_addr) == (2, 1, "2001:db8::11")
    assert listed(reach.nlri) == ["2001:db8:1::/48", "::/0"]
    (segment,) = found[2].segments
    assert (segment.segment_type, segment.segment_value) == (2, [ASN4])


# scapy guesses at ADD-PATH where a default route is not alone.
@given(prefixes(Family.IPV4, shortest=1), prefixes(Family.IPV6, shortest=1))
def test_scapy_reads_any_prefix(told4, told6):
    (gone4,), (gone6,) = withdraw(Family.IPV4, told4), withdraw(Family.IPV6, told6)
    _, update = read_by_scapy(gone4)
    assert {ip_network(one) for one in listed(update.withdrawn_routes)} == networks(told4)
    found, update = read_by_scapy(gone6)
    unreach = found.pop(15)
    assert (found, update.withdrawn_routes, update.nlri) == ({}, [], [])
    assert (unreach.afi, unreach.safi) == (2, 1)
    left = unreach.afi_safi_specific.withdrawn_routes
    assert {ip_network(one) for one in listed(left)} == networks(told6)
    (data,) = announce(Family.IPV4, HOP, b"", told4)
    _, update = read_by_scapy(data)
    assert {ip_network(one) for one in listed(update.nlri)} == networks(told4)
    (data,) = announce(Family.IPV6, HOP6, b"", told6)
    found, _ = read_by_scapy(data)
    assert {ip_network(one) for one in listed(found[14].nlri)} == networks(told6)


def test_scapy_reads_the_end_of_each_family_words_and_a_keepalive():
    found, update = read_by_scapy(end_of_rib(Family.IPV4))
    assert (found, update.withdrawn_routes, update.nlri) == ({}, [], [])
    found, _ = read_by_scapy(end_of_rib(Family.IPV6))
    assert found.keys() == {15}
    unreach = found[15]
    assert (unreach.afi, unreach.afi_safi_specific.withdrawn_routes) == (2, [])
    told = scapy_bgp.BGP(encode_notification(cease(2, "gone")))[scapy_bgp.BGPNotification]
    # scapy does not know the length before the words (RFC 9003).
    assert (told.error_code, told.error_subcode, told.data) == (6, 2, b"\4gone")
    assert isinstance(scapy_bgp.BGP(KEEPALIVE), scapy_bgp.BGPKeepAlive)
