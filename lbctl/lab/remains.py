"""Find and remove what carries a lab's name, for a lab whose record is lost or unreadable.

Everything that a lab has on the host is named `lbctl-LAB-MACHINE` (`lbctl.lab.spec.scoped`) or
lies in its directory, and a lab has at most a score of machines, so the names can be tried one by
one. Only where its control groups are the record alone knows (below those of whoever started the
lab), so all of them are searched. The caller is `lbctl.lab.lab`, with the lab's lock held: no
process of the lab is outside its groups then.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from lbctl.lab import spec as at
from lbctl.lab.machines import cgroups
from lbctl.lab.records import network
from lbctl.lab.spec import LabSpec, scoped
from lbctl.lab.wiring import lan

_DEADLINE_S = 20.0


def machines(directory: Path) -> tuple[str, ...]:
    """Return every machine that the lab of this directory may have."""
    return LabSpec(
        name=directory.name, directory=directory, nodes=at.MAX_NODES, routers=tuple(at.Router)
    ).machines


def clear(directory: Path) -> None:
    """End the lab's processes and take away its control groups and networks.

    Raises TimeoutError or OSError when the kernel does not let go of them.
    """
    name, possible = directory.name, machines(directory)
    networks = [network(name, machine) for machine in possible]
    inside = visitors(networks)
    # A group of that name with processes in none of our networks belongs to a lab that somebody
    # runs in a container on this host.
    groups = tuple(
        group
        for group in cgroups.named({scoped(name, machine) for machine in possible})
        if not (members := cgroups.processes([group])) or members & inside
    )
    cgroups.end_processes(groups)
    _end_visitors(networks)
    cgroups.remove(groups)
    lan.remove(name, possible)


def visitors(networks: Iterable[Path]) -> frozenset[int]:
    """Return the processes, this one aside, in the network namespaces that the files stand for."""
    wanted = set()
    # A file without a namespace on it is of another device, and no process is in it.
    for path in networks:
        with contextlib.suppress(OSError):
            found = path.stat()
            wanted.add((found.st_dev, found.st_ino))
    inside = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                found = (process / "ns" / "net").stat()
                if (found.st_dev, found.st_ino) in wanted:
                    inside.add(int(process.name))
    return frozenset(inside)


def _end_visitors(networks: list[Path]) -> None:
    """End who works in the lab's networks from outside, as the client's commands do."""
    give_up = time.monotonic() + _DEADLINE_S
    while left := visitors(networks):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > give_up:
            raise TimeoutError(f"processes {sorted(left)} did not die within {_DEADLINE_S:.0f} s")
        time.sleep(0.01)
