"""Laws of covering prefixes and filters, against plain set membership."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from speaker.fast.bpf import (
    MAX_INSTRUCTIONS,
    MAX_PREFIXES,
    arp_program,
    covering_prefixes,
    ndp_program,
)
from speaker.wire import arp, ndp
from speaker.wire.ethernet import Mac
from tests.support.bpf_interpreter import run_program

MAC = Mac(bytes.fromhex("02005e005301"))


def pools(width):
    """Addresses in clumps, as pools give them, and single ones."""
    whole = st.integers(0, 2**width - 1)
    clump = st.tuples(whole, st.integers(1, 40)).map(
        lambda drawn: {min(drawn[0] + step, 2**width - 1) for step in range(drawn[1])}
    )
    return st.lists(clump, max_size=12).map(lambda clumps: set().union(*clumps))


@given(pools(32), pools(128))
def test_prefixes_cover_every_address_and_are_few_and_disjoint(v4, v6):
    for addresses, width in ((v4, 32), (v6, 128)):
        prefixes = covering_prefixes(addresses, width=width)
        assert len(prefixes) <= min(MAX_PREFIXES, len(addresses))
        assert all(sum(each in prefix for prefix in prefixes) == 1 for each in addresses)
        ends = [
            (prefix.network, prefix.network + 2 ** (width - prefix.length)) for prefix in prefixes
        ]
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))


@given(pools(32).filter(bool), st.data())
def test_the_arp_filter_decides_as_the_prefixes_do(addresses, data):
    prefixes = covering_prefixes(addresses, width=32)
    anyone = st.one_of(st.sampled_from(sorted(addresses)), st.integers(0, 2**32 - 1)).map(
        IPv4Address
    )
    frame = arp.ArpFrame(
        destination=MAC,
        source=MAC,
        operation=data.draw(st.sampled_from(arp.Operation)),
        sender_mac=MAC,
        sender=data.draw(anyone),
        target_mac=MAC,
        target=data.draw(anyone),
    )
    covered = {
        address
        for address in (frame.sender, frame.target)
        if any(int(address) in prefix for prefix in prefixes)
    }
    asks = frame.operation is arp.Operation.REQUEST and frame.target in covered
    program = arp_program(prefixes)
    assert len(program) <= MAX_INSTRUCTIONS
    assert bool(run_program(program, frame.encode())) == (asks or frame.sender in covered)


@given(pools(128).filter(bool), st.data())
def test_the_ndp_filter_decides_as_the_prefixes_do(addresses, data):
    prefixes = covering_prefixes(addresses, width=128)
    near = st.sampled_from(sorted(addresses)).flatmap(
        lambda address: st.integers(0, 127).map(lambda bit: address ^ 1 << bit)
    )
    target = data.draw(st.one_of(st.sampled_from(sorted(addresses)), near))
    source = IPv6Address("2001:db8::1")
    frame = ndp.solicitation(mac=MAC, source=source, target=IPv6Address(target)).encode()
    program = ndp_program(prefixes)
    assert len(program) <= MAX_INSTRUCTIONS
    assert bool(run_program(program, frame)) == any(target in prefix for prefix in prefixes)


@given(pools(32), st.binary(max_size=100))
def test_arbitrary_frames_end_in_a_verdict(addresses, frame):
    prefixes4 = covering_prefixes(addresses, width=32)
    prefixes6 = covering_prefixes(addresses, width=128)
    run_program(arp_program(prefixes4), frame)
    run_program(ndp_program(prefixes6), frame)
