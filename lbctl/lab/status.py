"""How a lab is: each machine's power, cable, programs and, for nodes, readiness."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbctl.lab import spec as at
from lbctl.lab.machines import launch
from lbctl.lab.machines.launch import MachineError
from lbctl.lab.plane.client import ApiError, Client
from lbctl.lab.records import Record
from lbctl.lab.wiring import lan


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStatus:
    """One program of a machine. `pid` is its number inside the machine, 0 when it is not running."""

    name: str
    state: str
    pid: int
    starts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """One machine. None: it has no power to switch, no cable to pull, is no node, or nobody knows."""

    name: str
    ipv4: str
    ipv6: str
    running: bool | None
    plugged: bool | None
    ready: bool | None
    programs: tuple[ProgramStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabStatus:
    """A lab; `complete` when its `up` came to its end."""

    name: str
    complete: bool
    kubeconfig: Path
    machines: tuple[MachineStatus, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that have power."""
        return tuple(m.name for m in self.machines if m.running and m.name.startswith("node"))


def look(record: Record) -> LabStatus:
    """Ask every machine and the API server, whoever answers."""
    ready: dict[str, bool] = {}
    if record.complete:
        try:
            ready = Client(pki=record.pki, port=record.api_port).nodes()
        except (ApiError, OSError):
            ready = {}
    return LabStatus(
        name=record.spec.name,
        complete=record.complete,
        kubeconfig=record.kubeconfig,
        machines=tuple(_machine(record, name, ready.get(name)) for name in record.spec.machines),
    )


def _machine(record: Record, name: str, ready: bool | None) -> MachineStatus:
    running: bool | None = None
    programs: tuple[ProgramStatus, ...] = ()
    if name in record.spec.booted:
        running = launch.first_process(record, name) is not None
        if running:
            try:
                answer = launch.ask(record, name, {"verb": "status"})
            except MachineError:
                answer = {"programs": []}
            programs = tuple(_program(row) for row in answer["programs"])
    return MachineStatus(
        name=name,
        ipv4=str(at.ipv4(name).ip),
        ipv6=str(at.ipv6(name).ip),
        running=running,
        plugged=None if name == at.LAN else lan.plugged(record.spec.name, name),
        ready=ready,
        programs=programs,
    )


def _program(row: Mapping[str, Any]) -> ProgramStatus:
    if row["pid"]:
        state = "running"
    elif row["held"]:
        state = "stopped"
    elif row["done"]:
        state = "done"
    elif row["starts"]:
        state = f"ended ({row['exit_code']})"
    else:
        state = "waiting"
    return ProgramStatus(name=row["name"], state=state, pid=row["pid"], starts=row["starts"])
