"""Read from /proc what processes of the product use, those in a lab's pods too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def running(program: str) -> Iterator[int]:
    """Yield the processes that run a program of ours, as a script of an interpreter or by itself."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_text(errors="replace").split("\0")
        except OSError:  # the process ended meanwhile
            continue
        if program in {Path(word).name for word in words[:2]}:
            yield int(entry.name)


def variable(pid: int, name: str) -> str:
    """Return an environment variable of a process, or "" if it has none or has ended."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    before = f"{name}=".encode()
    return next((e[len(before) :].decode() for e in entries if e.startswith(before)), "")


def network(pid: int) -> int | None:
    """Return the network namespace of a process, or None if it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def cpu_s(pids: Iterable[int]) -> float:
    """Return the seconds of CPU that the processes have used, user and system, all threads."""
    return sum(sum(map(int, _stat(pid)[11:13])) for pid in pids) * _TICK_S


def age_s(pid: int) -> float:
    """Return for how long the process has run."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(_stat(pid)[19]) * _TICK_S


def resident_mib(pid: int, row: str = "VmRSS") -> float:
    """Return the resident memory; row VmHWM is its highest mark."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{row}:"))


def _stat(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the third on: a program's name may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
