"""What the host lacks for a lab, each with the command that supplies it.

Checked before anything is made: half a cluster with a puzzling error is worth nothing.
runc and the CNI plugins are found with the other binaries (`lbctl.lab.binaries`).
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lbctl.lab.machines import cgroups
from lbctl.lab.routers.daemons import DAEMONS
from lbctl.lab.spec import Router
from lbctl.lab.wiring import lan

# Program, and the Debian package that has it.
_PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
# The kubelet refuses to start without these.
_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})
_OLDEST_LINUX = (5, 12)  # mount_setattr


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something that is missing, and its cure."""

    missing: str
    cure: str

    def __str__(self) -> str:
        return f"{self.missing}: {self.cure}"


def load_bridge_filter(settings: Path = Path("/proc/sys/net/bridge")) -> None:
    """Load br_netfilter, which no kernel loads by itself; a host without bridges lacks it.

    The host's own bridges go on as before: filtering is switched off again in its network
    namespace, and the lab's namespaces have switches of their own. What does not work is found
    by `missing`.
    """
    if settings.is_dir() or shutil.which("modprobe") is None:
        return
    subprocess.run(["modprobe", "br_netfilter"], capture_output=True, check=False)
    for switch in settings.glob("bridge-nf-call-*"):
        switch.write_text("0")


def missing(place: Path, routers: Collection[Router] = ()) -> list[Requirement]:
    """Return everything this host lacks to hold a lab in the directory `place`."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append(Requirement(missing="not root", cure="run it with sudo"))
    if place.is_relative_to("/run") or place.is_relative_to("/dev"):
        lacks.append(
            Requirement(
                missing=f"{place} is hidden from the lab's machines",
                cure="set LBCTL_LAB_DIR to a directory outside /run and /dev",
            )
        )
    version = tuple(int(n) for n in re.findall(r"\d+", platform.release())[:2])
    if version < _OLDEST_LINUX:
        lacks.append(
            Requirement(missing=f"Linux {platform.release()}", cure="5.12 or later is needed")
        )
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            cure = f"apt-get install -y {package}"
            lacks.append(Requirement(missing=f"the program {program} is not there", cure=cure))
    lacks += [_software(router) for router in routers if not _has(router)]
    if lan.missing_ipv6():
        cure = "boot without ipv6.disable=1"
        lacks.append(Requirement(missing="this kernel runs without IPv6", cure=cure))
    if not Path("/proc/sys/net/bridge").is_dir():
        # Else the answer of a pod on the same node passes its Service's translation by.
        cure = "modprobe br_netfilter"
        lacks.append(Requirement(missing="bridged packets are not filtered", cure=cure))
    lacks += _control_groups()
    return lacks


def _has(router: Router) -> bool:
    return all(shutil.which(program) is not None for program in DAEMONS[router].NEEDS)


def _software(router: Router) -> Requirement:
    programs = ", ".join(Path(program).name for program in DAEMONS[router].NEEDS)
    # The package would begin to route on this host: a lab starts its own.
    return Requirement(
        missing=f"the programs of the router {router} ({programs}) are not there",
        cure=f"apt-get install -y {DAEMONS[router].PACKAGE}, and unless this host itself is to "
        f"route: systemctl disable --now {DAEMONS[router].UNIT}",
    )


def _control_groups() -> list[Requirement]:
    hierarchies = cgroups.of_this_host()
    if not hierarchies:
        cure = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        return [Requirement(missing="no control groups are mounted", cure=cure)]
    if hierarchies[0].controllers == "":
        present = set((hierarchies[0].parent / "cgroup.controllers").read_text().split())
        cure = "enable them in cgroup.subtree_control of the group above"
    else:
        present = {c for h in hierarchies for c in h.controllers.split(",")}
        if "name=systemd" not in present:
            return [
                Requirement(
                    missing="no name=systemd cgroup v1 hierarchy, which the kubelet asks for",
                    cure="mkdir -p /sys/fs/cgroup/systemd && "
                    "mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd",
                )
            ]
        cure = "mount the cgroup v1 controllers below /sys/fs/cgroup"
    lacking = sorted(_CONTROLLERS - present)
    if not lacking:
        return []
    return [Requirement(missing=f"no cgroup controllers {', '.join(lacking)}", cure=cure)]
