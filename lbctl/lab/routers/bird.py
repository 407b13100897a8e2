"""BIRD as a router of the lab: one daemon that learns and fills the kernel's table. Pure.

After an error BIRD takes no call of that neighbor for a minute or more, unless it is told otherwise:
here a node that was cut off is back at once. A route with the community GRACEFUL_SHUTDOWN counts as the last choice (RFC 8326 4.2) by a filter.
"""

from collections.abc import Iterator, Mapping, Sequence

from lbctl.lab import spec as at
from lbctl.lab.machines.plan import Program
from lbctl.lab.routers.held import USUAL_PREF, Held
from lbctl.lab.spec import LabSpec, Router

_RUN = "/run/bird"  # where birdc looks by itself

PACKAGE = "bird2"
UNIT = "bird"
NEEDS = ("bird", "birdc")
QUESTIONS = (("birdc", "-r", "show", "route", "all"),)


def programs(spec: LabSpec) -> tuple[Program, ...]:  # noqa: ARG001 - GoBGP needs it
    ready = Program(name="bird-run", argv=("mkdir", "-p", _RUN), once=True)
    bird = Program(
        name="bird",
        argv=("bird", "-f", "-c", "/run/lbctl/bird.conf", "-s", f"{_RUN}/bird.ctl"),
        after=(f"done:{ready.name}",),
    )
    return ready, bird


def files(spec: LabSpec) -> Mapping[str, str]:
    return {"bird.conf": _settings(spec)}


def _settings(spec: LabSpec) -> str:
    merge = "on" if spec.ecmp else "off"
    kernels = "\n".join(
        f"protocol kernel {{ merge paths {merge}; "
        f"{family} {{ import none; export where source = RTS_BGP; }}; }}"
        for family in ("ipv4", "ipv6")
    )
    neighbors = "\n".join(
        f"protocol bgp {node}_{family} from nodes {{ neighbor {address} as {spec.asn}; }}"
        for node in spec.node_names
        for family, address in (("v4", at.ipv4(node).ip), ("v6", at.ipv6(node).ip))
    )
    return f"""\
log stderr all;
router id {at.ipv4(Router.BIRD).ip};
protocol device {{ }}
{kernels}
filter from_nodes {{
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}}
template bgp nodes {{
  local as {Router.BIRD.asn};
  passive;
  error wait time 1, 2;
  graceful restart aware;
  ipv4 {{ import filter from_nodes; export none; }};
  ipv6 {{ import filter from_nodes; export none; }};
}}
{neighbors}
"""


def parse(answers: Sequence[str]) -> tuple[Held, ...]:
    """Return what the answer to QUESTIONS says; what is no route is passed over."""
    return tuple(held for answer in answers for held in _routes(answer))


def _routes(answer: str) -> Iterator[Held]:
    """Read a list whose routes are a line each with lines of attributes below.

    The first route of a prefix begins with the prefix, the others with blanks.
    """
    prefix = hop = ""
    pref = USUAL_PREF
    for line in answer.splitlines():
        words = line.split()
        if "unicast" in words:
            if hop:
                yield Held(prefix=prefix, next_hop=hop, local_pref=pref)
            prefix = words[0] if words[0] != "unicast" else prefix
            hop, pref = "", USUAL_PREF
        elif words[:1] == ["via"]:
            hop = words[1]
        elif words[:1] == ["BGP.local_pref:"]:
            pref = int(words[1])
    if hop:
        yield Held(prefix=prefix, next_hop=hop, local_pref=pref)
