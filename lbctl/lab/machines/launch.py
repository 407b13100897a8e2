"""Starts machines, finds them, talks to their first process, and cuts their power.

A machine is found through its control groups (see `lbctl.lab.machines.cgroups`): its first
process is the one that is number 1 in a PID namespace directly below ours. Nothing depends on a
process id in a file. Called by `lbctl.lab.lab` with the lab's lock held where it changes things.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lbctl.lab.machines import cgroups
from lbctl.lab.machines.plan import MachinePlan, to_json
from lbctl.lab.records import Record

_ANSWER_S = 10.0


class MachineError(RuntimeError):
    """A machine could not be started, or does not answer."""


def start(
    record: Record, plans: Iterable[MachinePlan], *, lock: int, handles: Mapping[str, int]
) -> None:
    """Start machines, all at once. Their networks exist; their control groups are made here.

    `handles` gives a machine something of the host: a listening socket, a namespace. Raises MachineError with the last
    lines of the log of a machine that did not come up.
    """
    plans = tuple(plans)
    starting = {plan.name: _launch(record, plan, lock, handles.get(plan.name)) for plan in plans}
    failed = [name for name, process in starting.items() if process.wait() != 0]
    for name in failed:
        raise MachineError(f"{name} did not start: {_last_words(record, name)}")
    for name in starting:
        ask(record, name, {"verb": "status"})


def _launch(
    record: Record, plan: MachinePlan, lock: int, handle: int | None
) -> "subprocess.Popen[bytes]":
    directory = Path(plan.directory)
    (directory / "log").mkdir(parents=True, exist_ok=True)
    for disk in plan.disks:
        (directory / "disk" / disk).mkdir(parents=True, exist_ok=True)
    (directory / "plan.json").write_text(to_json(plan), encoding="utf-8")
    for hierarchy, group in zip(record.hierarchies, record.groups(plan.name), strict=True):
        cgroups.make(hierarchy, group.name)
    given = [] if handle is None else [handle]
    with _control_socket(directory) as control, (directory / "console").open("ab") as console:
        passed = [control.fileno(), lock, *given]
        return subprocess.Popen(
            [sys.executable, "-m", "lbctl.lab.machines.init", str(directory / "plan.json"),
             *map(str, passed)],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            pass_fds=passed, cwd="/",
        )  # fmt: skip


def ask(record: Record, machine: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send one request to a machine's first process and return its answer.

    Raises MachineError when the machine is off, or refuses.
    """
    with _socket() as connection, _reachable(record.machine(machine)) as folder:
        connection.settimeout(_ANSWER_S)
        try:
            connection.connect(f"{folder}/control")
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except OSError as error:
            raise MachineError(f"{machine} does not answer: {error}") from error
    if not line:
        raise MachineError(f"{machine} does not answer: {_last_words(record, machine)}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise MachineError(f"{machine}: {answer['error']}")
    return answer


def first_process(record: Record, machine: str) -> int | None:
    """Return the host's number of a machine's PID 1, or None when the machine is off."""
    for pid in sorted(cgroups.processes(record.groups(machine))):
        with contextlib.suppress(OSError):
            for line in Path("/proc", str(pid), "status").read_text().splitlines():
                if line.startswith("NSpid:"):
                    numbers = line.split()[1:]
                    if len(numbers) == 2 and numbers[1] == "1":
                        return pid
    return None


def halt(record: Record, machines: Iterable[str]) -> None:
    """Cut the power: no process and no control group of these machines is left afterwards.

    Raises TimeoutError or OSError when the kernel does not let go of them.
    """
    groups = [group for machine in machines for group in record.groups(machine)]
    cgroups.end_processes(groups)
    cgroups.remove(groups)


def inside(record: Record, machine: str, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs `argv` in a machine, in all of its namespaces.

    A client is a network only: a command "inside" it sees the host's files and processes.
    Raises MachineError when the machine is off.
    """
    if machine not in record.spec.booted:
        return ["nsenter", f"--net={record.network(machine)}", "--", *argv]
    pid = first_process(record, machine)
    if pid is None:
        raise MachineError(f"{machine} is off")
    kinds = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")
    # The working directory of the caller need not exist there.
    return ["nsenter", "-t", str(pid), *kinds, "--wdns=/", "--", *argv]


def environment(record: Record) -> dict[str, str]:
    """Return this process's environment with the lab's programs first in PATH."""
    search = f"{record.bin}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": search, "KUBECONFIG": str(record.kubeconfig)}


def _control_socket(directory: Path) -> socket.socket:
    (directory / "control").unlink(missing_ok=True)
    listening = _socket()
    with _reachable(directory) as folder:
        listening.bind(f"{folder}/control")
    listening.listen(16)
    return listening


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@contextlib.contextmanager
def _reachable(directory: Path) -> Iterator[str]:
    """Give a short name for a directory: a Unix socket's path ends at 107 bytes."""
    try:
        handle = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MachineError(f"there is no machine {directory.name}") from None
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _last_words(record: Record, machine: str) -> str:
    try:
        text = (record.machine(machine) / "console").read_text(encoding="utf-8")
    except OSError:
        return "it said nothing"
    return " ".join(text.strip().splitlines()[-3:]) or "it said nothing"
