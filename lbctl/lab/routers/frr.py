"""FRR as a router of the lab: bgpd learns, zebra puts what it learnt into the kernel. Pure.

Run without `watchfrr` and its scripts: the machine's first process keeps both alive. Everything
is where `vtysh` looks by itself, so `lbctl lab run frr -- vtysh` works as on any router.

A route with the community GRACEFUL_SHUTDOWN counts as the last choice (RFC 8326 4.2): FRR leaves
that to a policy.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from lbctl.lab import spec as at
from lbctl.lab.machines.plan import Program
from lbctl.lab.routers.held import USUAL_PREF, Held
from lbctl.lab.spec import LabSpec, Router

_LIB = "/usr/lib/frr"
_RUN = "/run/frr"
_PATHS_MAX = 64

PACKAGE = "frr"
UNIT = "frr"
NEEDS = (f"{_LIB}/zebra", f"{_LIB}/bgpd", "vtysh")
QUESTIONS = tuple(
    ("vtysh", "-d", "bgpd", "-c", f"show bgp {family} unicast json") for family in ("ipv4", "ipv6")
)


def programs(spec: LabSpec) -> tuple[Program, ...]:  # noqa: ARG001 - GoBGP needs it
    """Return the daemons; they give up root for the distribution's user, who owns the sockets."""
    ready = Program(
        name="frr-run", argv=("install", "-d", "-o", "frr", "-g", "frr", _RUN), once=True
    )
    zebra = Program(name="zebra", argv=_daemon("zebra"), after=(f"done:{ready.name}",))
    bgpd = Program(name="bgpd", argv=_daemon("bgpd"), after=(f"unix:{_RUN}/zserv.api",))
    return ready, zebra, bgpd


def _daemon(name: str) -> tuple[str, ...]:
    return (
        *(f"{_LIB}/{name}", "-u", "frr", "-g", "frr", "-f", f"/run/lbctl/{name}.conf"),
        *("-P", "0", "--log", "stdout", "--log-level", "informational"),
    )


def files(spec: LabSpec) -> Mapping[str, str]:
    return {"zebra.conf": "", "bgpd.conf": _bgpd(spec)}


def _bgpd(spec: LabSpec) -> str:
    neighbors = "\n".join(
        f" neighbor {address} peer-group nodes"
        for node in spec.node_names
        for address in (at.ipv4(node).ip, at.ipv6(node).ip)
    )
    families = "\n".join(
        f""" address-family {family} unicast
  neighbor nodes activate
  neighbor nodes route-map learn in
  neighbor nodes route-map nothing out
  maximum-paths {_PATHS_MAX if spec.ecmp else 1}
 exit-address-family"""
        for family in ("ipv4", "ipv6")
    )
    return f"""\
router bgp {Router.FRR.asn}
 bgp router-id {at.ipv4(Router.FRR).ip}
 bgp log-neighbor-changes
 no bgp default ipv4-unicast
 neighbor nodes peer-group
 neighbor nodes remote-as {spec.asn}
 neighbor nodes passive
{neighbors}
{families}
!
bgp community-list standard leaving permit graceful-shutdown
route-map learn permit 10
 match community leaving
 set local-preference 0
 set ipv6 next-hop prefer-global
route-map learn permit 20
 set ipv6 next-hop prefer-global
route-map nothing deny 10
"""


def parse(answers: Sequence[str]) -> tuple[Held, ...]:
    """Return what the answers to QUESTIONS say. Raises ValueError or KeyError for others."""
    return tuple(held for answer in answers for held in _family(answer))


def _family(answer: str) -> Iterator[Held]:
    for prefix, paths in json.loads(answer)["routes"].items():
        for path in paths:
            hops = path["nexthops"]
            # Beside a global next hop FRR also lists the sender's link-local one.
            hop = next((one for one in hops if one.get("scope") != "link-local"), hops[0])
            pref = int(path.get("locPrf", USUAL_PREF))
            yield Held(prefix=prefix, next_hop=hop["ip"], local_pref=pref)
