"""Which machine is what: from a lab's record to the plans of its machines.

Pure but for asking which file system the lab lies on. `lbctl.lab.lab` starts what this describes.
"""

import subprocess
import sys
from pathlib import Path

from lbctl.lab import spec as at
from lbctl.lab.machines.plan import MachinePlan, Program
from lbctl.lab.nodes import node as nodes
from lbctl.lab.plane import control_plane
from lbctl.lab.records import Record
from lbctl.lab.routers.daemons import DAEMONS
from lbctl.lab.spec import ImageMode, Router


def plan(
    record: Record,
    machine: str,
    *,
    archives: tuple[Path, ...] = (),
    held: bool = False,
) -> MachinePlan:
    """Return what a machine is. `archives` and `held` matter for a node's first boot only."""
    files = {}
    disks: tuple[str, ...] = ()
    resolver = ""  # on every other machine the host's would name one that it cannot reach
    programs: tuple[Program, ...]
    if machine == at.LAN:
        programs = _gateway(record)
        if record.spec.images is ImageMode.PULL:  # it looks names up from the host's network
            resolver = Path("/etc/resolv.conf").read_text(encoding="utf-8")
    elif machine == at.CONTROL_PLANE:
        programs = control_plane.programs(record.spec, record.pki)
        disks = control_plane.DISKS
    elif machine in record.spec.routers:
        daemon = DAEMONS[Router(machine)]
        programs = daemon.programs(record.spec)
        files = dict(daemon.files(record.spec))
    else:
        programs = nodes.programs(
            record.spec, machine, pki=record.pki, archives=archives, held=held
        )
        disks = nodes.DISKS
        files = dict(
            nodes.files(
                record.spec,
                machine,
                pki=record.pki,
                runc=record.runc,
                cni_bin=record.cni_bin,
                snapshotter=_snapshotter(record.spec.directory),
            )
        )
    groups = zip(record.hierarchies, record.groups(machine), strict=True)
    return MachinePlan(
        name=machine,
        directory=str(record.machine(machine)),
        network=str(record.network(machine)),
        cgroups=tuple((hierarchy.controllers, str(group)) for hierarchy, group in groups),
        path=str(record.bin),
        hosts=_hosts(record),
        resolver=resolver,
        disks=disks,
        files=files,
        programs=programs,
    )


def _gateway(record: Record) -> tuple[Program, ...]:
    """Return what runs on the LAN's gateway: a registry that stands in for all, or the way out."""
    gateway = str(at.ipv4(at.LAN).ip)
    if record.spec.images is ImageMode.PULL:
        command = [sys.executable, "-m", "lbctl.lab.wiring.egress", gateway, str(at.EGRESS_PORT)]
        return (Program(name="egress", argv=tuple(command), gets_handle=True),)
    listen = f"{gateway}:{at.REGISTRY_PORT}"
    command = [sys.executable, "-m", "lbctl.lab.images.registry", "--listen", listen]
    return (Program(name="registry", argv=(*command, "--archive", f"{record.images}/echo.tar")),)


def _hosts(record: Record) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for machine in record.spec.machines:
        lines += [f"{at.ipv4(machine).ip} {machine}", f"{at.ipv6(machine).ip} {machine}"]
    return "\n".join(lines) + "\n"


def _snapshotter(directory: Path) -> str:
    """Return how containerd may stack image layers: overlayfs does not lie on overlayfs."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=True
    ).stdout.strip()
    return "native" if kind == "overlayfs" else "overlayfs"
