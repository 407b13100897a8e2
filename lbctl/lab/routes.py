"""What each router of a lab holds: its own table beside its kernel's, asked of the router.

The daemon's table says what was learnt, the kernel's by which of it packets go. Called by
`lbctl lab routes`, the demo and tests.
"""

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from lbctl.lab import lab, records
from lbctl.lab import spec as at
from lbctl.lab.machines.launch import MachineError
from lbctl.lab.routers import fib
from lbctl.lab.routers.daemons import DAEMONS
from lbctl.lab.routers.held import Held
from lbctl.lab.spec import LabSpec, Router

_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way to a prefix. `node` has the next hop, empty when none has; `used` by the kernel."""

    prefix: str
    next_hop: str
    node: str
    local_pref: int
    used: bool

    def holds(self, address: str) -> bool:
        """Return whether packets for an address go this way, unless a longer prefix has it."""
        return ip_address(address) in ip_network(self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterTable:
    """What one router holds; `error` says why nobody knows."""

    router: str
    asn: int
    routes: tuple[Route, ...]
    error: str = ""

    def next_hops(self, prefix: str) -> tuple[str, ...]:
        """Return the next hops by which packets for a prefix go."""
        return tuple(
            route.next_hop for route in self.routes if route.prefix == prefix and route.used
        )


def read(name: str) -> tuple[RouterTable, ...]:
    """Ask every router of a lab, all at once. Raises NoLabError."""
    spec = records.load(name).spec
    with ThreadPoolExecutor(max_workers=len(Router)) as pool:
        return tuple(pool.map(lambda router: _table(spec, router), spec.routers))


def of_router(name: str, router: Router) -> RouterTable:
    """Ask one router. Raises NoLabError."""
    return _table(records.load(name).spec, router)


def _table(spec: LabSpec, router: Router) -> RouterTable:
    daemon = DAEMONS[router]
    try:
        held = daemon.parse([_ask(spec.name, router, argv) for argv in daemon.QUESTIONS])
        installed = fib.parse([_ask(spec.name, router, argv) for argv in fib.QUESTIONS])
    except (MachineError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return RouterTable(router=router, asn=router.asn, routes=(), error=_words(error))
    return RouterTable(router=router, asn=router.asn, routes=table(spec, held, installed))


def table(spec: LabSpec, held: Sequence[Held], installed: fib.Table) -> tuple[Route, ...]:
    """Join what a daemon learnt with what its kernel has, in the order of prefixes. Pure."""
    nodes = {str(face(node).ip): node for node in spec.node_names for face in (at.ipv4, at.ipv6)}
    ordered = sorted(held, key=lambda one: (_order(one.prefix), one.next_hop))
    return tuple(
        Route(
            prefix=one.prefix,
            next_hop=one.next_hop,
            node=nodes.get(one.next_hop, ""),
            local_pref=one.local_pref,
            used=one.next_hop in installed.get(one.prefix, ()),
        )
        for one in ordered
    )


def _order(prefix: str) -> tuple[int, int, int]:
    network = ip_network(prefix)
    return network.version, int(network.network_address), network.prefixlen


def _ask(name: str, router: Router, argv: Sequence[str]) -> str:
    done = lab.run(name, router, argv, check=True, capture_output=True, timeout=_ANSWER_S)
    return str(done.stdout)


def _words(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{error.cmd[-1]}: {str(error.stderr or error.stdout).strip()}"
    return str(error)
