"""What a lab is called, how many nodes it has, and every address and name in it.

All of it is pure: the same specification always gives the same names and addresses, so
nothing has to be looked up in a running lab, and a lab that was killed while it was being
made can be cleared from its specification alone.

Several labs run at once because each hangs on a bridge in a network namespace of its own:
equal addresses in two labs never meet. Addresses are from the documentation ranges and,
where those are too small, from 198.18.0.0/15 (RFC 2544); private ranges could be somebody's.
"""

import enum
import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path

LAN_V4 = IPv4Network("192.0.2.0/24")
LAN_V6 = IPv6Network("2001:db8:0:1::/64")
POD_V4 = IPv4Network("198.18.0.0/16")
POD_V6 = IPv6Network("2001:db8:18::/48")
SERVICE_V4 = IPv4Network("198.19.0.0/16")
# 108 is the shortest prefix the API server takes for IPv6 Services.
SERVICE_V6 = IPv6Network("2001:db8:19::/108")
# The part of the LAN that no machine uses: what pools may hand out.
POOL_V4 = (IPv4Address("192.0.2.128"), IPv4Address("192.0.2.250"))
POOL_V6 = IPv6Network("2001:db8:0:1:ffff::/112")
# The second LAN, behind the routers, and addresses of no LAN: reached by routes alone.
REMOTE_V4 = IPv4Network("198.51.100.0/24")
REMOTE_V6 = IPv6Network("2001:db8:0:2::/64")
ROUTED_V4 = IPv4Network("203.0.113.0/24")
ROUTED_V6 = IPv6Network("2001:db8:0:3::/112")

API_PORT = 6443
REGISTRY_PORT = 5000
EGRESS_PORT = 3128

LAN, CONTROL_PLANE, CLIENT, REMOTE = "lan", "cp", "client", "remote"
MAX_NODES = 9
MAX_NAME = 20

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LAST_OCTET = {
    LAN: 1, CONTROL_PLANE: 2, "frr": 21, "bird": 22, "gobgp": 23, CLIENT: 100, REMOTE: 110,
}  # fmt: skip
_VIA = 100  # what a router's last octet grows by for the client's address whose packets it carries


class SpecError(ValueError):
    """The lab that was asked for cannot exist; the text says what to change."""


class ImageMode(enum.Enum):
    """Where images other than the lab's own come from."""

    ECHO = "echo"  # every other image name is stood in for by the echo server
    PULL = "pull"  # real registries, through the host's network


class Router(enum.StrEnum):
    """A router that a lab can have: a BGP daemon of the distribution, and its machine's name."""

    FRR = "frr"
    BIRD = "bird"
    GOBGP = "gobgp"

    @property
    def asn(self) -> int:
        """The router's AS number: each has one of its own (RFC 5398 for documentation)."""
        return _ROUTER_ASN[self]


NODE_ASN = 64500
_ROUTER_ASN = {Router.FRR: 64501, Router.BIRD: 64502, Router.GOBGP: 64503}
_NO_ASN = frozenset({23456, 65535})  # RFC 6793 9 and RFC 7300: of nobody
_ASN_MAX = 2**32 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSpec:
    """A lab as it was asked for.

    `routers` have BGP sessions with every node, whose AS number is `asn`; `ecmp` lets them use
    all next hops of a prefix at once. Behind them is the machine `remote`.

    `node_grace_s` is how long the control plane waits for a silent node before it is NotReady.
    Kubernetes' default is 40 s; the lab's is 10 s so that a power cut is seen quickly, and the
    kubelets renew their leases often enough for it.

    Raises SpecError for a name or a node count that cannot work.
    """

    name: str
    directory: Path
    nodes: int = 3
    images: ImageMode = ImageMode.ECHO
    node_grace_s: int = 10
    routers: tuple[Router, ...] = ()
    ecmp: bool = False
    asn: int = NODE_ASN

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= self.nodes <= MAX_NODES:
            raise SpecError(f"lab {self.name}: nodes is {self.nodes}; choose 1 to {MAX_NODES}")
        if self.node_grace_s < 4:
            raise SpecError(
                f"lab {self.name}: node grace period is {self.node_grace_s} s; choose 4 s or more, "
                "kubelets cannot report faster"
            )
        if len(set(self.routers)) != len(self.routers):
            raise SpecError(
                f"lab {self.name}: a router is named twice in {', '.join(self.routers)}"
            )
        if not 1 <= self.asn <= _ASN_MAX or self.asn in _NO_ASN:
            raise SpecError(
                f"lab {self.name}: no AS may have the number {self.asn}; for the nodes choose one "
                "of 64496 to 64511 or 65536 to 65551"
            )
        for router in self.routers:
            if router.asn == self.asn:
                raise SpecError(
                    f"lab {self.name}: AS {self.asn} is the router {router}'s; choose another for "
                    "the nodes"
                )

    def __str__(self) -> str:
        routers = f", routers {','.join(self.routers)}" if self.routers else ""
        return (
            f"{self.nodes} nodes of AS {self.asn}, images {self.images.value}{routers}"
            f"{', ecmp' if self.ecmp else ''}"
        )

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"node{number}" for number in range(1, self.nodes + 1))

    @property
    def machines(self) -> tuple[str, ...]:
        """All machines, the switch and gateway first."""
        behind = (REMOTE,) if self.routers else ()
        return (*self.booted, CLIENT, *behind)

    @property
    def booted(self) -> tuple[str, ...]:
        """The machines that run processes; the clients are networks and nothing else."""
        return (LAN, CONTROL_PLANE, *self.node_names, *self.routers)


def check_name(name: str) -> None:
    """Raise SpecError unless the name is a DNS label of at most 20 characters."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise SpecError(
            f"lab name {name!r} is not usable: take 1 to {MAX_NAME} lower-case letters, digits "
            "and dashes, with a letter or digit at both ends"
        )


def scoped(lab: str, machine: str) -> str:
    """Return the name of everything a machine has on the host: its namespace, its cgroups.

    No machine's name contains a dash, so two labs never share one, whatever they are called.
    """
    return f"lbctl-{lab}-{machine}"


def node_number(machine: str) -> int:
    """Return N of nodeN. Raises SpecError for a machine that is no node."""
    digits = machine.removeprefix("node")
    if machine == digits or not digits.isdigit() or not 1 <= int(digits) <= MAX_NODES:
        raise SpecError(f"{machine!r} is not a node; nodes are node1 to node{MAX_NODES}")
    return int(digits)


def ipv4(machine: str) -> IPv4Interface:
    """Return the address on the nodes' LAN; `remote` has one on the second LAN instead."""
    return _in_v4(REMOTE_V4 if machine == REMOTE else LAN_V4, _last_octet(machine))


def ipv6(machine: str) -> IPv6Interface:
    """Return the IPv6 address, whose last group reads like the last octet of the IPv4 one."""
    return _in_v6(REMOTE_V6 if machine == REMOTE else LAN_V6, _last_octet(machine))


def far_v4(router: Router) -> IPv4Interface:
    """Return a router's address on the second LAN."""
    return _in_v4(REMOTE_V4, _last_octet(router))


def far_v6(router: Router) -> IPv6Interface:
    return _in_v6(REMOTE_V6, _last_octet(router))


def via_v4(router: Router) -> IPv4Interface:
    """Return the address of `remote` whose packets go through this router, and whose answers do."""
    return _in_v4(REMOTE_V4, _VIA + _last_octet(router))


def via_v6(router: Router) -> IPv6Interface:
    return _in_v6(REMOTE_V6, _VIA + _last_octet(router))


def table(router: Router) -> int:
    """Return the routing table of `remote` that leads through this router."""
    return _VIA + _last_octet(router)


def mac(machine: str) -> str:
    """Return the MAC of a machine's port: the same after a reboot, as a network card keeps its own.

    From the block for documentation, RFC 7042 2.1.2.
    """
    return _mac(_last_octet(machine))


def far_mac(router: Router) -> str:
    """Return the MAC of a router's port on the second LAN."""
    return _mac(_VIA + _last_octet(router))


def pod_v4(node: str) -> IPv4Network:
    return IPv4Network((POD_V4.network_address + (node_number(node) << 8), 24))


def pod_v6(node: str) -> IPv6Network:
    return IPv6Network((POD_V6.network_address + (node_number(node) << 64), 64))


def api_service_ip() -> IPv4Address:
    """Return the ClusterIP of `kubernetes.default`, which the API server's certificate names."""
    return SERVICE_V4.network_address + 1


def _last_octet(machine: str) -> int:
    return _LAST_OCTET[machine] if machine in _LAST_OCTET else 10 + node_number(machine)


def _in_v4(lan: IPv4Network, last: int) -> IPv4Interface:
    return IPv4Interface(f"{lan.network_address + last}/{lan.prefixlen}")


def _in_v6(lan: IPv6Network, last: int) -> IPv6Interface:
    """Return the address whose last group, read as digits, is `last`."""
    return IPv6Interface(f"{lan.network_address + int(str(last), 16)}/{lan.prefixlen}")


def _mac(last: int) -> str:
    return f"00:00:5e:00:53:{last:02x}"
