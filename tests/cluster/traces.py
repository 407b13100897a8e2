"""Everything of a lab that can be found on the host, looked for in the kernel, not in records."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from lbctl.lab import records


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Hold what was found, as text for the person who reads the failure."""

    namespaces: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


NOTHING = Traces()


def traces_of(lab: str) -> Traces:
    """Return everything on this host that belongs to the lab."""
    mark = f"lbctl-{lab}-"
    place = records.directory(lab)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    netns = Path("/run/netns")
    return Traces(
        namespaces=tuple(p.name for p in netns.glob(f"{mark}*")) if netns.is_dir() else (),
        processes=tuple(_processes(mark, str(place))),
        mounts=tuple(line for line in mounts if mark in line or str(place) in line),
        cgroups=tuple(
            folder
            for folder, _, _ in os.walk("/sys/fs/cgroup")
            if Path(folder).name.startswith(mark)
        ),
        links=tuple(p.name for p in Path("/sys/class/net").iterdir() if mark in p.name),
        files=(str(place),) if place.exists() else (),
    )


def network_namespaces() -> set[str]:
    """Return every network namespace that some process is in: how a leaked one shows."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.add(str((entry / "ns/net").readlink()))
    return found


def _processes(mark: str, place: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if mark in (entry / "cgroup").read_text() or place in command:
                found.append(f"{entry.name} {command}")
    return found
