"""The routes that a daemon put into a machine's kernel: read, and the commands that change them.

Pure: `ip`'s output to values, values to lines for `ip -batch`.
"""

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_network

QUESTIONS = (("ip", "-j", "-4", "route", "show"), ("ip", "-j", "-6", "route", "show"))

Table = Mapping[str, tuple[str, ...]]
"""Next hops, sorted, by prefix."""

_LEARNT = frozenset({"bgp", "bird"})
"""The names of protocols (rt_protos) under which the daemons install what they learn."""


def parse(answers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return what the daemons installed, from the answers to QUESTIONS.

    IPv6 routes of several next hops come as one row or as a row for each. Raises ValueError for
    what is not `ip`'s JSON.
    """
    found: dict[str, set[str]] = {}
    for answer in answers:
        for row in json.loads(answer or "[]"):
            if row.get("protocol") not in _LEARNT or row["dst"] == "default":
                continue
            hops = row.get("nexthops", (row,))
            prefix = str(ip_network(row["dst"]))
            found.setdefault(prefix, set()).update(filter(None, map(_gateway, hops)))
    return {prefix: tuple(sorted(hops)) for prefix, hops in found.items()}


def _gateway(hop: Mapping[str, object]) -> str:
    via = hop.get("via")  # an IPv4 route by an IPv6 next hop (RFC 8950)
    return str(via["host"] if isinstance(via, dict) else hop.get("gateway", ""))


def changes(present: Table, wanted: Table) -> dict[str, tuple[str, ...]]:
    """Return the lines of `ip -batch` for each family's option that make `present` `wanted`."""
    lines: dict[str, list[str]] = {"-4": [], "-6": []}
    for prefix in sorted(present.keys() | wanted.keys()):
        option = "-6" if ":" in prefix else "-4"
        hops = wanted.get(prefix, ())
        if present.get(prefix, ()) == hops:
            continue
        if not hops:
            lines[option].append(f"route del {prefix} proto bgp")
        else:
            each = "".join(f" nexthop via {hop}" for hop in hops)
            lines[option].append(f"route replace {prefix} proto bgp{each}")
    return {option: tuple(some) for option, some in lines.items() if some}
