"""Which kernel links of this node could announce, and in what state they are. Pure.

The driver hands over what netlink says; the rules about names and flags
are here so that they can be read and tested as a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from lbctl.model.names import LinkName
from lbctl.model.node import Link
from speaker.wire.rtnetlink import KernelAddress, KernelLink

IFF_UP: Final = 0x1
IFF_BROADCAST: Final = 0x2
IFF_LOOPBACK: Final = 0x8
IFF_NOARP: Final = 0x80
IFF_LOWER_UP: Final = 0x10000
"""Flags of linux/if.h; LOWER_UP is carrier."""

IFA_F_DADFAILED: Final = 0x08
IFA_F_TENTATIVE: Final = 0x40
"""Flags of linux/if_addr.h: an address with either cannot be used as a source yet, or ever."""

EXCLUDED: Final = (
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo$",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    "^nodelocaldns.*",
    "^lxc.*",
    "^cilium.*",
    "^vxlan.*",
)
"""MetalLB's default and two more: links of container networks, whose other ends are Pods and never
clients outside the cluster."""


def excluding(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return what finds an excluded name: it matches anywhere, unless a pattern is anchored.

    Raises:
        ValueError: one of them is no regular expression; the text names it.

    """
    alternatives = []
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        alternatives.append(f"(?:{pattern})")
    # Without any alternative the empty pattern would match everything.
    return re.compile("|".join(alternatives) or r"(?!)")


def could_announce(link: KernelLink, excluded: re.Pattern[str]) -> bool:
    """Return whether the link is of a kind on which neighbors are resolved by broadcast.

    A link with a master (bridge port, bond slave) speaks through its master. Whether it is up
    does not matter here: a link that is down is an answer to "why not", not a stranger.
    """
    return (
        link.flags & (IFF_BROADCAST | IFF_LOOPBACK | IFF_NOARP) == IFF_BROADCAST
        and link.master == 0
        and len(link.mac) == len("00:00:00:00:00:00")
        and excluded.search(link.name) is None
    )


def inventory(
    links: Iterable[KernelLink], addresses: Iterable[KernelAddress], excluded: re.Pattern[str]
) -> tuple[Link, ...]:
    """Return the links that could announce, by index."""
    by_index: dict[int, list[KernelAddress]] = {}
    for address in addresses:
        by_index.setdefault(address.index, []).append(address)
    return tuple(
        _link(link, by_index.get(link.index, []))
        for link in sorted(links, key=lambda link: link.index)
        if could_announce(link, excluded)
    )


def is_usable(address: KernelAddress) -> bool:
    """Return whether the kernel sends from the address: nobody else has turned out to have it."""
    return not address.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)


def _link(link: KernelLink, addresses: list[KernelAddress]) -> Link:
    usable = [address for address in addresses if is_usable(address)]
    subnets = {a.interface for a in usable if not a.interface.is_link_local}
    return Link(
        name=LinkName(link.name),
        index=link.index,
        mac=link.mac.lower(),
        up=bool(link.flags & IFF_UP),
        carrier=bool(link.flags & IFF_LOWER_UP),
        subnets=tuple(sorted(subnets, key=lambda one: (one.version, one))),
        has_link_local=any(a.interface.version == 6 and a.interface.is_link_local for a in usable),
    )
