"""The control groups of a machine: found, made, asked for their processes, removed.

A machine is one group, with the same name in every hierarchy of the host. The group is what
makes a machine's processes findable: each process of a machine, and of every container on it,
is in the group or below it from before its namespaces exist, so `down` needs no process id that
somebody might not have got round to writing down.

Two kinds of host are known:

* cgroup v1 (also "hybrid", where v2 exists beside it without controllers): one hierarchy for
  each controller, as the prototype's host has. Tested.
* cgroup v2: one hierarchy. Processes may not live in a group that hands controllers down
  (kernel documentation, cgroup-v2, "no internal process constraint"), so the group is made at
  the top, where the rule does not hold, and the machine's own processes move to a group `init`
  inside it. Untested: it is written from the documentation, on a v1 host.

Paths are recorded before they are made; nothing here writes records.
"""

import os
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_V2_WANTED = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """One mounted cgroup hierarchy of the host.

    `controllers` is the mount option that selects it (`cpu`, `name=systemd`), empty for v2;
    `parent` is the directory in which groups of machines are made.
    """

    controllers: str
    parent: Path

    def group(self, name: str) -> Path:
        return self.parent / name

    @property
    def folder(self) -> str:
        """The directory name under /sys/fs/cgroup by which software looks for it."""
        return self.controllers.removeprefix("name=")


def hierarchies(self_cgroup: str, mountinfo: str) -> tuple[Hierarchy, ...]:
    """Return the host's hierarchies from the text of /proc/self/cgroup and /proc/self/mountinfo.

    On v1 a machine's group is made under the caller's own, so that limits that hold for the
    caller hold for the lab. Pure. Empty when nothing usable is mounted.
    """
    v1, v2 = _mounts(mountinfo)
    found = []
    for line in self_cgroup.splitlines():
        _, controllers, own = line.split(":", 2)
        for options, mount in v1:
            if controllers and set(controllers.split(",")) <= options:
                found.append(Hierarchy(controllers=controllers, parent=mount / own.lstrip("/")))
                break
    if found:
        return tuple(found)
    return (Hierarchy(controllers="", parent=v2),) if v2 is not None else ()


def of_this_host() -> tuple[Hierarchy, ...]:
    read = Path.read_text
    return hierarchies(read(Path("/proc/self/cgroup")), read(Path("/proc/self/mountinfo")))


def named(names: Collection[str], roots: Iterable[Path] | None = None) -> tuple[Path, ...]:
    """Return every group of one of these names, wherever it is, in all hierarchies of the host.

    For machines whose record is lost: it alone says below which group they were made.
    """
    if roots is None:
        v1, v2 = _mounts(Path("/proc/self/mountinfo").read_text())
        # One mount shown in two places is one hierarchy; which path it is removed by is all one.
        roots = dict.fromkeys([*(mount for _, mount in v1), *([v2] if v2 is not None else [])])
    found = []
    for root in roots:
        for folder, below, _ in os.walk(root):
            found += [Path(folder, name) for name in below if name in names]
            below[:] = [name for name in below if name not in names]
    return tuple(found)


def make(hierarchy: Hierarchy, name: str) -> None:
    """Make a machine's group in one hierarchy and give it what a group needs to take processes."""
    group = hierarchy.group(name)
    if hierarchy.controllers == "":
        _hand_down(hierarchy.parent)
    group.mkdir(exist_ok=True)
    if "cpuset" in hierarchy.controllers.split(","):
        # A v1 cpuset starts without a processor and refuses every process until it has one.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            (group / setting).write_text((hierarchy.parent / setting).read_text())


def enter(group: Path) -> None:
    """Move this process into a group."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def settle_v2(group: Path) -> None:
    """Move this process into `init` below its v2 group, so that the group may hand controllers down.

    To be called after the cgroup namespace was made: the namespace begins where the process is.
    """
    (group / "init").mkdir()
    enter(group / "init")
    _hand_down(group)


def processes(groups: Iterable[Path]) -> frozenset[int]:
    """Return every process in the groups and below, as this PID namespace numbers them."""
    found: set[int] = set()
    for group in groups:
        for folder, _, _ in os.walk(group):
            try:
                found.update(map(int, Path(folder, "cgroup.procs").read_text().split()))
            except OSError:  # removed while we walked
                continue
    return frozenset(found)


def end_processes(groups: Iterable[Path], *, deadline_s: float = 20.0) -> None:
    """Kill everything in the groups until nothing is left, as a power cut does.

    Raises TimeoutError when something outlives `deadline_s`: a process in uninterruptible sleep.
    """
    groups = tuple(groups)
    give_up = time.monotonic() + deadline_s
    while left := processes(groups):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # gone between the look and the shot
                continue
        if time.monotonic() > give_up:
            raise TimeoutError(f"processes {sorted(left)} did not die within {deadline_s:.0f} s")
        time.sleep(0.01)


def remove(groups: Iterable[Path], *, deadline_s: float = 10.0) -> None:
    """Remove groups and all below them, deepest first; what does not exist is fine.

    The kernel refuses for a moment after the last process has died. Raises OSError when it
    still refuses after `deadline_s`.
    """
    give_up = time.monotonic() + deadline_s
    for group in groups:
        while group.exists():
            try:
                for folder, _, _ in os.walk(group, topdown=False):
                    Path(folder).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)


def _hand_down(group: Path) -> None:
    """Let groups below this v2 group have the controllers that the kubelet needs."""
    present = (group / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _V2_WANTED if name in present)
    (group / "cgroup.subtree_control").write_text(wanted)


def _mounts(mountinfo: str) -> tuple[list[tuple[frozenset[str], Path]], Path | None]:
    """Return the v1 mounts with their options, and the v2 mount."""
    v1: list[tuple[frozenset[str], Path]] = []
    v2: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mount = Path(before.split(" ")[4])
        if kind == "cgroup":
            v1.append((frozenset(options.split(",")), mount))
        elif kind == "cgroup2" and v2 is None:
            v2 = mount
    return v1, v2
