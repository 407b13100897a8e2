"""The supervisor of a machine, with real processes, outside of any namespace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab.machines.plan import Program

DRIVER = """
import json, socket, sys
from pathlib import Path
from lbctl.lab.machines.plan import Program
from lbctl.lab.machines.supervisor import Supervisor
rows = json.loads(sys.argv[2])
programs = tuple(Program(**{**r, "argv": tuple(r["argv"]), "after": tuple(r["after"])}) for r in rows)
control = socket.socket(fileno=int(sys.argv[1]))
Supervisor(programs, control=control, handle=None, logs=Path(sys.argv[3])).run()
"""
SLEEP = ("sleep", "1000")
BAD_SIGNAL = b'{"verb": "signal", "program": "p", "signal": null}\n'


class Machine:
    """Ask a supervisor that runs in a process of its own."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self._path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(connection.makefile("rb").readline())

    def row(self, name: str) -> dict:
        return next(r for r in self.ask(verb="status")["programs"] if r["name"] == name)

    def until(self, name: str, holds: Callable[[dict], bool]) -> dict:
        give_up = time.monotonic() + 20
        while not holds(row := self.row(name)):
            assert time.monotonic() < give_up, row
            time.sleep(0.02)
        return row


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*programs: Program) -> Machine:
        path = str(tmp_path / "control")
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(path)
            control.listen()
            rows = json.dumps([asdict(p) for p in programs])
            running.append(
                subprocess.Popen(
                    [sys.executable, "-c", DRIVER, str(control.fileno()), rows, str(tmp_path)],
                    pass_fds=[control.fileno()],
                )
            )
        return Machine(path)

    yield start
    for process in running:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        for child in children:
            os.kill(int(child), signal.SIGKILL)


def test_a_program_that_ends_is_started_again(machine: Callable[..., Machine]) -> None:
    one = machine(Program(name="p", argv=SLEEP))
    first = one.until("p", lambda row: row["pid"])
    one.ask(verb="signal", program="p", signal=int(signal.SIGKILL))
    second = one.until("p", lambda row: row["pid"] and row["starts"] == 2)
    assert second["pid"] != first["pid"]


def test_a_stopped_program_stays_down_until_it_is_let_go(machine: Callable[..., Machine]) -> None:
    one = machine(Program(name="p", argv=SLEEP), Program(name="q", argv=SLEEP))
    one.until("p", lambda row: row["pid"])
    one.ask(verb="stop", program="p", signal=int(signal.SIGTERM))
    row = one.until("p", lambda row: not row["pid"])
    assert row["held"]
    assert row["exit_code"] == -signal.SIGTERM
    one.ask(verb="start", program="p")
    assert one.until("p", lambda row: row["pid"])["starts"] == 2
    assert one.row("q")["starts"] == 1


def test_a_held_program_does_not_start_by_itself(machine: Callable[..., Machine]) -> None:
    one = machine(Program(name="p", argv=SLEEP, held=True), Program(name="q", argv=SLEEP))
    one.until("q", lambda row: row["pid"])
    assert one.row("p")["starts"] == 0
    one.ask(verb="start", program="p")
    one.until("p", lambda row: row["pid"])


def test_a_program_waits_until_what_it_needs_has_succeeded(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    one = machine(
        Program(name="once", argv=("test", "-e", str(flag)), once=True),
        Program(name="p", argv=SLEEP, after=("done:once",)),
    )
    one.until("once", lambda row: row["exit_code"] == 1)
    assert one.row("p")["starts"] == 0
    flag.touch()
    one.until("p", lambda row: row["pid"])
    assert one.row("once")["done"]


def test_a_program_waits_until_a_socket_accepts(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    path = tmp_path / "daemon"
    one = machine(
        Program(name="p", argv=SLEEP, after=(f"unix:{path}",)), Program(name="q", argv=SLEEP)
    )
    one.until("q", lambda row: row["pid"])
    assert one.row("p")["starts"] == 0
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        daemon.listen()
        one.until("p", lambda row: row["pid"])


def test_a_program_that_is_not_there_says_so_in_its_log(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    one = machine(Program(name="p", argv=("no-such-program",)))
    one.until("p", lambda row: row["exit_code"] == 127)
    assert "no-such-program cannot be started" in (tmp_path / "p.log").read_text()


def test_what_is_asked_wrongly_is_refused_in_words(machine: Callable[..., Machine]) -> None:
    one = machine(Program(name="p", argv=SLEEP))
    assert "no program 'x': p" in one.ask(verb="start", program="x")["error"]
    assert "no verb 'dance'" in one.ask(verb="dance", program="p")["error"]


def test_garbage_on_the_control_socket_ends_nothing(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    one = machine(Program(name="p", argv=SLEEP))
    for garbage in (b"", b"\n", b"{", b"\xff\n", b"[1]\n", b"null\n", BAD_SIGNAL):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "control"))
            connection.sendall(garbage)
    one.until("p", lambda row: row["pid"])
