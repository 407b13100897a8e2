"""Keeps a machine's programs running and obeys the host over a socket.

One thread, one selector: children that end, requests of the host, and the conditions that
programs wait for. It stands where systemd stands on a real node: a program that ends is started
again after a second, unless it is held.

The host sends one JSON line per connection and gets one back:
`{"verb": "status"}`, `{"verb": "start" | "stop" | "signal", "program": NAME, "signal": N}`.
`stop` holds the program and sends the signal; `signal` only sends it; `start` lets it go.
Runs in the first process of a machine, so it is light: neither asyncio nor subprocess.
"""

import json
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbctl.lab.machines.plan import Program

RESTART_S = 1.0
_CONDITION_POLL_S = 0.03
_HANDLE_FD = 3


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One program's present state; the only thing here that changes, hence not frozen."""

    program: Program
    held: bool
    pid: int = 0
    starts: int = 0
    exit_code: int | None = None
    not_before: float = 0.0

    @property
    def done(self) -> bool:
        return self.program.once and self.exit_code == 0

    @property
    def wants_start(self) -> bool:
        return not (self.pid or self.held or self.done)


class Supervisor:
    """The programs of one machine. `run` never returns."""

    def __init__(
        self,
        programs: tuple[Program, ...],
        *,
        control: socket.socket,
        handle: int | None,
        logs: Path,
    ) -> None:
        self._entries = {p.name: _Entry(program=p, held=p.held) for p in programs}
        self._control = control
        self._handle = handle
        self._logs = logs
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        wake_up, woken = socket.socketpair()
        for end in (wake_up, woken):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
        self._selector.register(woken, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ)
        while True:
            self._reap()
            timeout = self._start_what_may_start(time.monotonic())
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._control:
                    self._serve_one()
                else:
                    woken.recv(4096)

    def _start_what_may_start(self, now: float) -> float | None:
        """Start programs whose time has come; return when to look again, in seconds."""
        timeout = None
        for entry in self._entries.values():
            if not entry.wants_start:
                continue
            wait = entry.not_before - now
            if wait <= 0 and all(self._holds(condition) for condition in entry.program.after):
                self._start(entry)
            else:
                wait = max(wait, _CONDITION_POLL_S)
                timeout = wait if timeout is None else min(timeout, wait)
        return timeout

    def _holds(self, condition: str) -> bool:
        kind, _, what = condition.partition(":")
        if kind == "done":
            return self._entries[what].done
        if kind == "unix":
            return _accepts(socket.AF_UNIX, what)
        host, _, port = what.rpartition(":")
        return _accepts(socket.AF_INET, (host, int(port)))

    def _start(self, entry: _Entry) -> None:
        program = entry.program
        log = os.open(
            self._logs / f"{program.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
        )
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        if program.gets_handle and self._handle is not None:
            actions.append((os.POSIX_SPAWN_DUP2, self._handle, _HANDLE_FD))
        entry.starts += 1
        try:
            entry.pid = os.posix_spawnp(
                program.argv[0],
                program.argv,
                os.environ,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
            )
        except OSError as error:
            os.write(log, f"lbctl lab: {program.argv[0]} cannot be started: {error}\n".encode())
            entry.exit_code = 127
            entry.not_before = time.monotonic() + RESTART_S
        finally:
            os.close(log)

    def _reap(self) -> None:
        """Collect every child that has ended, ours or a container shim's orphan."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for entry in self._entries.values():
                if entry.pid == pid:
                    entry.pid = 0
                    entry.exit_code = os.waitstatus_to_exitcode(status)
                    entry.not_before = time.monotonic() + (0.0 if entry.done else RESTART_S)

    def _serve_one(self) -> None:
        """Answer one request. The host is trusted, but it may die halfway: then it gets nothing."""
        connection, _ = self._control.accept()
        with connection:
            connection.settimeout(1.0)
            try:
                line = connection.makefile("rb").readline()
                connection.sendall(json.dumps(self._obey(json.loads(line))).encode() + b"\n")
            except (OSError, ValueError, TypeError):
                return

    def _obey(self, request: object) -> dict[str, Any]:
        """Do what was asked. Raises ValueError or TypeError for a signal that is no number."""
        if not isinstance(request, dict):
            return {"error": "a request is a JSON object"}
        verb = request.get("verb")
        if verb == "status":
            return {"programs": [_report(entry) for entry in self._entries.values()]}
        entry = self._entries.get(str(request.get("program")))
        if entry is None:
            return {"error": f"no program {request.get('program')!r}: {', '.join(self._entries)}"}
        if verb in {"stop", "signal"}:
            entry.held = entry.held or verb == "stop"
            if entry.pid:
                os.kill(entry.pid, int(request.get("signal", signal.SIGKILL)))
        elif verb == "start":
            entry.held = False
            entry.not_before = 0.0
        else:
            return {"error": f"no verb {verb!r}"}
        return _report(entry)


def _report(entry: _Entry) -> dict[str, Any]:
    return {
        "name": entry.program.name,
        "pid": entry.pid,
        "starts": entry.starts,
        "held": entry.held,
        "done": entry.done,
        "exit_code": entry.exit_code,
    }


def _accepts(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    """Say whether somebody accepts connections at a local address (immediately or not at all)."""
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(0.2)
        try:
            attempt.connect(address)
        except OSError:
            return False
        return True
