"""Read what the process itself costs from /proc, under the names that Prometheus clients share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lbctl.run.metrics import Sample

_SELF: Final = Path("/proc/self")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME, _STARTTIME, _RSS = 11, 12, 19, 21
"""Places in /proc/PID/stat after the name, which may hold blanks itself (proc_pid_stat(5))."""


def process_samples() -> Iterator[Sample]:
    """Yield CPU time, memory, start and open files of this process."""
    fields = (_SELF / "stat").read_text().rpartition(")")[2].split()
    spent = int(fields[_UTIME]) + int(fields[_STIME])
    yield Sample(name="process_cpu_seconds_total", value=spent / _TICKS)
    yield Sample(name="process_resident_memory_bytes", value=int(fields[_RSS]) * _PAGE)
    started = _booted() + int(fields[_STARTTIME]) / _TICKS
    yield Sample(name="process_start_time_seconds", value=started)
    yield Sample(name="process_open_fds", value=sum(1 for _ in (_SELF / "fd").iterdir()))


def _booted() -> int:
    """Return when the machine started, in seconds of the wall clock."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
