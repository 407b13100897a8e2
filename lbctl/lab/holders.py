"""Say which processes hold a lock file, from what the kernel shows of their descriptors.

`fuser` and `lsof` are in no minimal installation, and both also name those that only wait. The
kernel notes a flock(2) in the `fdinfo` of every descriptor that shares it, hence also in those of
children that inherited it from a process that is gone. Called by `lbctl.lab.records`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process by its number and command line."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def holders(lock: Path, processes: Path = Path("/proc")) -> tuple[Holder, ...]:
    """Return the processes that hold a lock on the file; other users' only for root."""
    wanted = str(lock.resolve())
    pids = sorted(int(folder.name) for folder in processes.iterdir() if folder.name.isdigit())
    return tuple(
        Holder(pid=pid, command=_command(processes / str(pid)))
        for pid in pids
        if _holds(processes / str(pid), wanted)
    )


def _holds(process: Path, wanted: str) -> bool:
    return any(
        "\nlock:" in _read(process / "fdinfo" / number) for number in _descriptors(process, wanted)
    )


def _descriptors(process: Path, wanted: str) -> Iterator[str]:
    try:
        links = list((process / "fd").iterdir())
    except OSError:  # gone, or somebody else's
        return
    for link in links:
        try:
            if str(link.readlink()) == wanted:
                yield link.name
        except OSError:  # closed meanwhile
            continue


def _command(process: Path) -> str:
    text = _read(process / "cmdline").replace("\0", " ").strip()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
