"""GoBGP as a router of the lab: gobgpd learns, a follower of ours fills the kernel's table. Pure.

gobgpd puts nothing into the kernel by itself, only through FRR's zebra, and the one that Debian
12 has (3.10) dies of what its zebra (8.4) says. So `lbctl.lab.routers.carry` follows gobgpd's
table and copies it.

A route with the community GRACEFUL_SHUTDOWN counts as the last choice (RFC 8326 4.2) by a policy.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbctl.lab import spec as at
from lbctl.lab.machines.plan import Program
from lbctl.lab.routers.held import USUAL_PREF, Held
from lbctl.lab.spec import LabSpec, Router

API = "127.0.0.1:50051"
FAMILIES = ("ipv4", "ipv6")
RESTART_S = 120
LAST_CHOICE = 1  # gobgpd takes 0 for a setting that is absent

PACKAGE = "gobgpd"
UNIT = "gobgpd"
NEEDS = ("gobgpd", "gobgp")
QUESTIONS = tuple(("gobgp", "global", "rib", "-a", family, "-j") for family in FAMILIES)

# Types of path attributes, RFC 4271 4.3 and RFC 4760.
_ORIGIN, _AS_PATH, _NEXT_HOP, _MED, _LOCAL_PREF, _MP_REACH = 1, 2, 3, 4, 5, 14


def programs(spec: LabSpec) -> tuple[Program, ...]:
    gobgpd = Program(
        name="gobgpd", argv=("gobgpd", "-f", "/run/lbctl/gobgp.toml", "--api-hosts", API)
    )
    carry = Program(
        name="carry",
        argv=(sys.executable, "-m", "lbctl.lab.routers.carry", *(["--ecmp"] * spec.ecmp)),
        after=(f"tcp:{API}",),
    )
    return gobgpd, carry


def files(spec: LabSpec) -> Mapping[str, str]:
    return {"gobgp.toml": _settings(spec)}


def _settings(spec: LabSpec) -> str:
    neighbors = "\n".join(
        _neighbor(str(address), spec.asn)
        for node in spec.node_names
        for address in (at.ipv4(node).ip, at.ipv6(node).ip)
    )
    return f"""\
[global.config]
as = {Router.GOBGP.asn}
router-id = "{at.ipv4(Router.GOBGP).ip}"
[global.use-multiple-paths.config]
enabled = {str(spec.ecmp).lower()}
[global.apply-policy.config]
import-policy-list = ["leaving"]
default-import-policy = "accept-route"
default-export-policy = "reject-route"
[[defined-sets.bgp-defined-sets.community-sets]]
community-set-name = "leaving"
community-list = ["65535:0"]
[[policy-definitions]]
name = "leaving"
[[policy-definitions.statements]]
name = "leaving"
[policy-definitions.statements.conditions.bgp-conditions.match-community-set]
community-set = "leaving"
match-set-options = "any"
[policy-definitions.statements.actions]
route-disposition = "accept-route"
[policy-definitions.statements.actions.bgp-actions]
set-local-pref = {LAST_CHOICE}
{neighbors}
"""


def _neighbor(address: str, asn: int) -> str:
    families = "\n".join(
        f"""[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "{family}-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true"""
        for family in FAMILIES
    )
    return f"""\
[[neighbors]]
[neighbors.config]
neighbor-address = "{address}"
peer-as = {asn}
[neighbors.transport.config]
passive-mode = true
[neighbors.graceful-restart.config]
enabled = true
restart-time = {RESTART_S}
{families}"""


def parse(answers: Sequence[str]) -> tuple[Held, ...]:
    """Return what the answers to QUESTIONS say. Raises ValueError or KeyError for others."""
    return tuple(
        Held(
            prefix=prefix,
            next_hop=_next_hop(path),
            local_pref=int(_attribute(path, _LOCAL_PREF).get("value", USUAL_PREF)),
        )
        for prefix, path in _paths(answers)
    )


def chosen(answers: Sequence[str], *, ecmp: bool) -> dict[str, tuple[str, ...]]:
    """Return the next hops that the kernel is to have for each prefix.

    With `ecmp` those of every path that is as good as the best one but for the last
    resorts, age and router id (RFC 4271 9.1.2.2).
    """
    found: dict[str, list[Any]] = {}
    for prefix, path in _paths(answers):
        found.setdefault(prefix, []).append(path)
    return {prefix: tuple(sorted(_good(paths, ecmp))) for prefix, paths in found.items()}


def _good(paths: Sequence[Any], ecmp: bool) -> Iterator[str]:
    best = next((path for path in paths if path["best"]), paths[0])
    merit = _merit(best)
    yield from {
        _next_hop(path) for path in paths if path is best or (ecmp and _merit(path) == merit)
    }


def _merit(path: Any) -> tuple[int, ...]:
    lengths = (len(segment["asns"]) for segment in _attribute(path, _AS_PATH).get("as_paths", ()))
    return (
        int(_attribute(path, _LOCAL_PREF).get("value", USUAL_PREF)),
        sum(lengths),
        int(_attribute(path, _ORIGIN).get("value", 0)),
        int(_attribute(path, _MED).get("metric", 0)),
    )


def _paths(answers: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for answer in answers:
        for prefix, paths in json.loads(answer).items():
            for path in paths:
                yield prefix, path


def _next_hop(path: Any) -> str:
    hop = _attribute(path, _NEXT_HOP) or _attribute(path, _MP_REACH)
    return str(hop["nexthop"])


def _attribute(path: Any, kind: int) -> Mapping[str, Any]:
    return next((one for one in path["attrs"] if one["type"] == kind), {})
