"""Which links of a node could announce, as a table of flags and names."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from speaker.agent.inventory import (
    EXCLUDED,
    IFA_F_DADFAILED,
    IFA_F_TENTATIVE,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_UP,
    could_announce,
    excluding,
    inventory,
)
from speaker.wire.rtnetlink import KernelAddress, KernelLink

DEFAULT = excluding(EXCLUDED)
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
    assert could_announce(candidate, DEFAULT) is announces
    assert bool(inventory([candidate], [], DEFAULT)) is announces


def test_state_subnets_and_link_local_come_from_flags_and_addresses():
    (found,) = inventory(
        [link(mac="02:00:00:00:00:AB")],
        [address("192.0.2.1/24"), address("fe80::1/64"), address("198.51.100.1/24", index=9)],
        DEFAULT,
    )
    assert (found.up, found.carrier, found.mac) == (True, True, "02:00:00:00:00:ab")
    assert found.subnets == (ip_interface("192.0.2.1/24"),)
    assert found.has_link_local


def test_a_link_without_cable_is_up_without_carrier():
    (found,) = inventory([link(flags=IFF_UP | IFF_BROADCAST)], [], DEFAULT)
    assert (found.up, found.carrier) == (True, False)


@pytest.mark.parametrize("flags", [IFA_F_TENTATIVE, IFA_F_DADFAILED])
def test_an_address_that_cannot_be_a_source_does_not_count(flags):
    (found,) = inventory(
        [link()],
        [address("fe80::1/64", flags=flags), address("2001:db8::1/64", flags=flags)],
        DEFAULT,
    )
    assert not found.has_link_local
    assert found.subnets == ()


def test_the_excluded_interfaces_are_those_of_the_patterns_and_no_others():
    lan = excluding(["^eth1$", "lan"])
    names = ["eth0", "eth1", "eth10", "wlan0", "docker0"]
    assert [name for name in names if could_announce(link(name), lan)] == [
        "eth0",
        "eth10",
        "docker0",
    ]
    for none in ((), ("^$",)):
        assert could_announce(link("docker0"), excluding(none))


def test_the_default_leaves_out_what_metallb_leaves_out():
    of_metallb = "docker0 cbr0 dummy0 virbr0 lxcbr0 veth1 lo cali1 tunl0 flannel.1 kube-ipvs0 cni0"
    for name in [*of_metallb.split(), "nodelocaldns", "lxc9"]:
        assert DEFAULT.search(name), name
    for name in ("eth0", "ens3", "bond0", "lo1", "br0", "vlan7"):
        assert not DEFAULT.search(name), name
