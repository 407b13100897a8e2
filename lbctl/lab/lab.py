"""A whole lab: up, down, status, and everything that is done to a running one.

The public face of `lbctl.lab`: the command line and the tests call these functions and nothing
else here. A lab is named; whatever it has follows from its record (`lbctl.lab.records`), which is
written before anything is made. Who changes a lab holds its lock. Progress goes to a function
that takes one line of text.

Limits: one kernel under all machines, one host; see docs/explanation/lab-limits.md.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from lbctl.lab import assembly, binaries, records, remains, requirements
from lbctl.lab import spec as at
from lbctl.lab.golang import BuildError
from lbctl.lab.images import standins
from lbctl.lab.machines import cgroups, kernel, launch
from lbctl.lab.machines.launch import MachineError
from lbctl.lab.nodes.node import CONTAINERD
from lbctl.lab.plane import pki
from lbctl.lab.plane.client import ApiError, Client, wait_until
from lbctl.lab.plane.pki import PkiError
from lbctl.lab.records import BrokenRecordError, BusyError, NoLabError, Progress, Record
from lbctl.lab.routers import peers
from lbctl.lab.spec import ImageMode, LabSpec
from lbctl.lab.status import LabStatus, look
from lbctl.lab.wiring import lan
from lbctl.lab.wiring.lan import WiringError

_READY_S = 120.0


class RequirementsError(RuntimeError):
    """This host cannot hold a lab; the text lists what is missing and the cures."""


# What the functions here raise when the world refuses: each text is for a person.
FAILURES = (
    RequirementsError, BuildError, BusyError, BrokenRecordError, PkiError, WiringError, MachineError, ApiError,
    OSError, subprocess.SubprocessError,
)  # fmt: skip


def up(spec: LabSpec, progress: Progress) -> None:
    """Make the lab and return when all of its nodes are Ready. A lab that is up stays as it is.

    Raises RequirementsError, SpecError (the lab runs with other settings), BusyError, and the
    errors of the parts: BuildError, PkiError, WiringError, MachineError, ApiError.
    """
    requirements.load_bridge_filter()
    lacks = requirements.missing(spec.directory, spec.routers)
    if lacks:
        raise RequirementsError("this host cannot hold a lab:\n" + "\n".join(map(str, lacks)))
    programs = binaries.ensure(progress)
    begun = time.monotonic()
    with records.locked(spec.name, progress) as lock:
        if _stands(spec, progress):
            return
        record = Record(
            spec=spec, hierarchies=cgroups.of_this_host(),
            bin=programs.bin, runc=programs.runc, cni_bin=programs.cni_bin,
        )  # fmt: skip
        records.save(record)
        record = _make(record, lock, progress)
        records.completed(record)
    progress(f"lab {spec.name} is up after {time.monotonic() - begun:.1f} s")


def down(name: str, progress: Progress) -> None:
    """Remove everything a lab has, or what an interrupted `up` made of it; none is fine too.

    Without a readable record everything on this host that is called after the lab goes.
    """
    if not records.directory(name).exists():
        return
    with records.locked(name, progress):
        _clear(name, progress)


def status(name: str) -> LabStatus:
    """Return how the lab is. Raises NoLabError."""
    return look(records.load(name))


def kubectl(
    name: str, arguments: Sequence[str], *, check: bool = False, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run kubectl on the host as the cluster's administrator. Options are subprocess.run's."""
    record = records.load(name)
    command = [str(record.bin / "kubectl"), *arguments]
    return subprocess.run(
        command, env=launch.environment(record), text=True, check=check, **options
    )


def run(
    name: str, machine: str, argv: Sequence[str], *, check: bool = False, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command inside a machine; for the client, in its network. Options: subprocess.run's.

    Raises MachineError when the machine is off.
    """
    command, environment = command_inside(name, machine, argv)
    return subprocess.run(command, env=environment, text=True, check=check, **options)


def command_inside(
    name: str, machine: str, argv: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return command line and environment of `run`, for who wants a process of his own."""
    record = _with_machine(name, machine)
    return launch.inside(record, machine, argv), launch.environment(record)


def cable(name: str, machine: str, *, connected: bool) -> None:
    """Plug a machine's cable in or pull it out; the machine sees its carrier come and go."""
    _with_machine(name, machine)
    lan.plug(name, machine, connected=connected)


def poweroff(name: str, machine: str, progress: Progress) -> None:
    """Cut a machine's power: its network is dead at once, its disk stays."""
    record = _with_machine(name, machine)
    with records.locked(name, progress):
        lan.unplug_for_good(name, machine)
        launch.halt(record, [machine])
        lan.remove(name, [machine])


def boot(name: str, machine: str, progress: Progress) -> None:
    """Start a machine that is off, from its disk. Returns when it runs, not when it is Ready."""
    record = _with_machine(name, machine)
    if machine not in record.spec.booted[1:]:
        raise MachineError(f"{machine} cannot be booted; only cp, nodes and routers can")
    with records.locked(name, progress) as lock, contextlib.ExitStack() as stack:
        if launch.first_process(record, machine) is not None:
            return
        lan.lay(record.spec, [machine], lock=lock)
        handles = {}
        if machine == at.CONTROL_PLANE:
            door = stack.enter_context(_door(record.api_port))
            handles[machine] = door.fileno()
        launch.start(record, [assembly.plan(record, machine)], lock=lock, handles=handles)


def stop_process(name: str, machine: str, process: str, *, sig: int = signal.SIGKILL) -> None:
    """End one program of a machine and keep it from being started again: kubelet, etcd, ..."""
    _order(name, machine, {"verb": "stop", "program": process, "signal": int(sig)})


def start_process(name: str, machine: str, process: str) -> None:
    """Let a program that was stopped run again."""
    _order(name, machine, {"verb": "start", "program": process})


def signal_process(name: str, machine: str, process: str, sig: int) -> None:
    """Send a signal to one program of a machine; if it ends, it is started again after a second."""
    _order(name, machine, {"verb": "signal", "program": process, "signal": int(sig)})


def load_image(name: str, archive: Path) -> None:
    """Import an OCI archive on every node that is on. Raises MachineError with ctr's words."""
    record = records.load(name)
    command = ["ctr", "-a", CONTAINERD, "-n", "k8s.io", "images", "import", "--local", "-"]
    for node in record.spec.node_names:
        if launch.first_process(record, node) is None:
            continue
        # Through a pipe: the node's own mounts may hide the archive's path.
        with archive.open("rb") as data:
            done = run(name, node, command, stdin=data, capture_output=True)
        if done.returncode:
            raise MachineError(f"{node} refuses {archive}: {done.stderr.strip()}")


def _order(name: str, machine: str, request: dict[str, Any]) -> None:
    launch.ask(_with_machine(name, machine), machine, request)


def _with_machine(name: str, machine: str) -> Record:
    record = records.load(name)
    if machine not in record.spec.machines:
        raise MachineError(f"lab {name} has no {machine}; it has {', '.join(record.spec.machines)}")
    return record


def _stands(spec: LabSpec, progress: Progress) -> bool:
    """Say whether the lab is up; clear what is left of one that is not."""
    try:
        record = records.load(spec.name)
    except NoLabError:
        return False
    on = [m for m in (at.LAN, at.CONTROL_PLANE) if launch.first_process(record, m) is not None]
    if record.complete and len(on) == 2:
        if record.spec != spec:
            raise at.SpecError(
                f"lab {spec.name} runs with other settings ({record.spec}): "
                f"`lbctl lab down --name {spec.name}` first"
            )
        progress(f"lab {spec.name} is up already")
        return True
    progress(f"clearing what is left of an earlier lab {spec.name}")
    _empty(record)
    return False


def _make(record: Record, lock: int, progress: Progress) -> Record:
    spec = record.spec
    progress(f"wiring {len(spec.machines)} machines and writing certificates")
    with ThreadPoolExecutor(max_workers=1) as aside:
        certificates = aside.submit(pki.make, spec, record.pki, lock=lock)
        lan.lay(spec, spec.machines, lock=lock)
        images = standins.pack(record.bin / "echo", record.images)
        certificates.result()
    with _door(0) as door:
        port = door.getsockname()[1]
        record = replace(record, api_port=port)
        records.save(record)
        text = pki.kubeconfig(spec.name, record.pki, "admin", f"https://127.0.0.1:{port}")
        record.kubeconfig.touch(mode=0o600)
        record.kubeconfig.write_text(text, encoding="utf-8")
        progress("starting the control plane")
        plane = assembly.plan(record, at.CONTROL_PLANE)
        launch.start(record, [plane], lock=lock, handles={at.CONTROL_PLANE: door.fileno()})
    progress(", ".join((f"starting {spec.nodes} nodes", *spec.routers)))
    if spec.routers:
        record.peers.write_text(peers.manifest(spec), encoding="utf-8")
    plans = [assembly.plan(record, machine) for machine in (at.LAN, *spec.routers)]
    plans += [
        assembly.plan(record, node, archives=(images.pause, images.echo), held=True)
        for node in spec.node_names
    ]
    # The gateway may need the host's network: see lbctl.lab.wiring.egress.
    with Path("/proc/self/ns/net").open("rb") as network:
        launch.start(record, plans, lock=lock, handles={at.LAN: network.fileno()})
    _introduce_nodes(record, progress)
    return record


def _introduce_nodes(record: Record, progress: Progress) -> None:
    """Wait for the API server, make the Node objects, let the kubelets go, wait for them."""
    api = Client(pki=record.pki, port=record.api_port)
    wait_until("the API server is ready", api.ready, deadline_s=_READY_S)
    progress("the API server is ready")
    if record.spec.images is ImageMode.ECHO:
        api.create_all(standins.admission_policy())
    for node in record.spec.node_names:
        api.register(node)
        for program in ("kubelet", "kube-proxy"):
            launch.ask(record, node, {"verb": "start", "program": program})

    def all_ready() -> bool:
        try:
            ready = api.nodes()
        except (ApiError, OSError):
            return False
        return all(ready.get(node) for node in record.spec.node_names)

    wait_until("all nodes are Ready", all_ready, deadline_s=_READY_S)


@contextlib.contextmanager
def _door(port: int) -> Iterator[socket.socket]:
    """Open the host's listening socket for the API server; port 0 chooses one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", port))
        door.listen(128)
        yield door


def _clear(name: str, progress: Progress) -> None:
    place = records.directory(name)
    try:
        _empty(records.load(name))
    except NoLabError:  # mostly: killed before it had recorded, hence made, anything
        if records.lost(name):
            progress(f"{place} has no record: clearing everything that is called after the lab")
            _empty_by_name(place)
    except BrokenRecordError:
        progress(
            f"{place} has no readable record: clearing everything that is called after the lab"
        )
        _empty_by_name(place)
    records.erase(name)


def _empty(record: Record) -> None:
    """Remove all that a lab has except its record and lock; repeatable, in any state."""
    name, machines = record.spec.name, record.spec.machines
    launch.halt(record, machines)
    lan.remove(name, machines)
    _empty_directory(record.spec.directory)


def _empty_by_name(place: Path) -> None:
    """Do what `_empty` does without a record."""
    remains.clear(place)
    _empty_directory(place)


def _empty_directory(place: Path) -> None:
    for point in reversed(kernel.mount_points()):
        if point.is_relative_to(place):
            kernel.unmount(point)
    for part in ("machines", "pki", "images"):
        shutil.rmtree(place / part, ignore_errors=True)
