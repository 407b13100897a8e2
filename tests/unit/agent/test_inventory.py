"""Which links of a node could announce, as a table of flags and names."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from speaker.agent.inventory import (
    IFA_F_DADFAILED,
    IFA_F_TENTATIVE,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_UP,
    could_announce,
    inventory,
)
from speaker.wire.rtnetlink import KernelAddress, KernelLink

WORKING = IFF_UP | IFF_BROADCAST | IFF_LOWER_UP


def link(name="eth0", *, index=2, mac="02:00:00:00:00:02", flags=WORKING, master=0):
    return KernelLink(index=index, name=name, mac=mac, flags=flags, master=master)


def address(text, *, index=2, flags=0):
    return KernelAddress(index=index, interface=ip_interface(text), flags=flags)


ROWS = [
    (link(), True),
    (link(flags=IFF_BROADCAST), True),
    (link("br0"), True),
    (link("bond0.100"), True),
    (link("lo", flags=IFF_UP | IFF_LOOPBACK), False),
    (link(flags=WORKING | IFF_NOARP), False),
    (link(flags=IFF_UP | IFF_LOWER_UP), False),
    (link(master=7), False),
    (link("wg0", mac=""), False),
    (link("ib0", mac="00" + ":00" * 19), False),
    *((link(name), False) for name in ("cni0", "veth12", "docker0", "cali1", "kube-ipvs0")),
]


@pytest.mark.parametrize(("candidate", "announces"), ROWS, ids=lambda row: getattr(row, "name", ""))
def test_only_links_with_neighbors_of_their_own_could_announce(candidate, announces):
    assert could_announce(candidate) is announces
    assert bool(inventory([candidate], [])) is announces


def test_state_subnets_and_link_local_come_from_flags_and_addresses():
    (found,) = inventory(
        [link(mac="02:00:00:00:00:AB")],
        [address("192.0.2.1/24"), address("fe80::1/64"), address("198.51.100.1/24", index=9)],
    )
    assert (found.up, found.carrier, found.mac) == (True, True, "02:00:00:00:00:ab")
    assert found.subnets == (ip_interface("192.0.2.1/24"),)
    assert found.has_link_local


def test_a_link_without_cable_is_up_without_carrier():
    (found,) = inventory([link(flags=IFF_UP | IFF_BROADCAST)], [])
    assert (found.up, found.carrier) == (True, False)


@pytest.mark.parametrize("flags", [IFA_F_TENTATIVE, IFA_F_DADFAILED])
def test_an_address_that_cannot_be_a_source_does_not_count(flags):
    (found,) = inventory(
        [link()], [address("fe80::1/64", flags=flags), address("2001:db8::1/64", flags=flags)]
    )
    assert not found.has_link_local
    assert found.subnets == ()
