"""Configurations of routers with the speaker as their one passive neighbor, in both families.

A setting has one name and is said in three languages, so that one test can ask three routers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.bgp import OURS, THEIRS
from tests.support.lan import Host
from tests.support.routers import Bird, Frr, Gobgp


def frr_lines(
    node: Host, *neighbor: str, asn: int = THEIRS, remote: object = OURS, peer: str = ""
) -> str:
    """FRR's configuration; `neighbor` adds to what is said about the speaker."""
    address = peer or node.address
    about = "\n".join(f" neighbor {address} {words}" for words in neighbor)
    families = "\n".join(
        f" address-family {family} unicast\n  neighbor {address} activate\n exit-address-family"
        for family in ("ipv4", "ipv6")
    )
    return f"""
router bgp {asn}
 bgp router-id 198.51.100.200
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp log-neighbor-changes
 neighbor {address} remote-as {remote}
 neighbor {address} passive
 neighbor {address} timers 1 3
{about}
{families}
"""


def bird_lines(node: Host, *words: str, asn: int = THEIRS, peer: str = "") -> str:
    """BIRD's configuration; it puts its routes into the kernel, as FRR does."""
    about = "".join(f"{each}; " for each in words)
    kernels = "".join(
        f"protocol kernel {{ learn; {family} {{ import all; export where source = RTS_BGP; }}; }}\n"
        for family in ("ipv4", "ipv6")
    )
    return f"""
protocol direct {{ ipv4; ipv6; }}
{kernels}
protocol bgp speaker {{
  local as {asn}; neighbor {peer or node.address} as {OURS}; passive; hold time 3;
  error wait time 1, 2; {about}
  ipv4 {{ import all; export none; extended next hop; }};
  ipv6 {{ import all; export none; }};
}}
"""


def gobgp_lines(node: Host, *words: str, asn: int = THEIRS, peer: str = "") -> str:
    """GoBGP's configuration; of the three it alone keeps no routes unless it is told to."""
    about = "\n".join(words)
    families = ", ".join(
        f'{{ config.afi-safi-name = "{name}-unicast", mp-graceful-restart.config.enabled = true }}'
        for name in ("ipv4", "ipv6")
    )
    return f"""
[global.config]
as = {asn}
router-id = "198.51.100.200"
[[neighbors]]
config.neighbor-address = "{peer or node.address}"
config.peer-as = {OURS}
timers.config = {{ hold-time = 3, keepalive-interval = 1 }}
transport.config.passive-mode = true
graceful-restart.config.enabled = true
afi-safis = [{families}]
{about}
"""


LINES: dict[type, Callable[..., str]] = {Frr: frr_lines, Bird: bird_lines, Gobgp: gobgp_lines}

_SETTINGS: dict[str, Callable[[Any], tuple[str, str, str]]] = {
    "password": lambda key: (
        f"password {key}",
        f'password "{key}"',
        f'config.auth-password = "{key}"',
    ),
    "gtsm": lambda hops: (
        f"ttl-security hops {hops}",
        f"multihop {hops}; ttl security on",
        f"ttl-security.config = {{ enabled = true, ttl-min = {256 - hops} }}",
    ),
    "multihop": lambda ttl: (
        f"ebgp-multihop {ttl}",
        f"multihop {ttl}",
        f"ebgp-multihop.config = {{ enabled = true, multihop-ttl = {ttl} }}",
    ),
    "source": lambda address: (
        f"update-source {address}",
        f"source address {address}",
        f'transport.config.local-address = "{address}"',
    ),
    # The other two do it unasked.
    "extended_next_hop": lambda _: ("capability extended-nexthop", "", ""),
}


def lines_of(
    kind: type, node: Host, *, asn: int = THEIRS, peer: str = "", **settings: object
) -> str:
    """Return the configuration of a router of `kind`; a setting that is None is not said."""
    language = list(LINES).index(kind)
    words = (_SETTINGS[name](value)[language] for name, value in settings.items() if value)
    return LINES[kind](node, *filter(None, words), asn=asn, peer=peer)
