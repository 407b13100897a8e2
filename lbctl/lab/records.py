"""What a lab leaves on disk: its record, its lock, and where everything in it lies.

A lab is the directory `/var/lib/lbctl/lab/NAME` (environment LBCTL_LAB_DIR replaces the part
before NAME). The record is written before anything that it describes exists, so that `down` can
clear whatever an `up` that was killed got round to making:

    lab.json        the record      kubeconfig      the administrator's, for the host
    lock            who changes the lab holds it; processes on their way into their control
                    groups hold it too, so whoever has it can find them all
    pki/            keys and certificates
    images/         the archives of the stand-ins
    peers.yaml      the routers as BGPPeers, in a lab with routers
    machines/NAME/  plan.json, disk/ (what is under /var/lib there), log/, control (socket)
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lbctl.lab.holders import holders
from lbctl.lab.machines.cgroups import Hierarchy
from lbctl.lab.spec import ImageMode, LabSpec, Router, check_name, scoped

DEFAULT_LABS = "/var/lib/lbctl/lab"
NETWORKS = Path("/run/netns")  # where `ip netns` looks, so that it works on a lab's machines

Progress = Callable[[str], None]


class NoLabError(RuntimeError):
    """There is no lab of that name."""


class BrokenRecordError(RuntimeError):
    """A lab's record cannot be read; the text says which file."""


class BusyError(RuntimeError):
    """Another process is changing the lab and does not finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A lab as it was, or was about to be, made.

    `complete` says that `up` came to its end. `api_port` is the host's port of the API server,
    kept over a reboot of the control plane.
    """

    spec: LabSpec
    hierarchies: tuple[Hierarchy, ...]
    bin: Path
    runc: Path
    cni_bin: Path
    api_port: int = 0
    complete: bool = False

    @property
    def pki(self) -> Path:
        return self.spec.directory / "pki"

    @property
    def images(self) -> Path:
        return self.spec.directory / "images"

    @property
    def kubeconfig(self) -> Path:
        return self.spec.directory / "kubeconfig"

    @property
    def peers(self) -> Path:
        return self.spec.directory / "peers.yaml"

    def machine(self, name: str) -> Path:
        return self.spec.directory / "machines" / name

    def network(self, machine: str) -> Path:
        return network(self.spec.name, machine)

    def groups(self, machine: str) -> tuple[Path, ...]:
        name = scoped(self.spec.name, machine)
        return tuple(hierarchy.group(name) for hierarchy in self.hierarchies)


def labs_directory() -> Path:
    return Path(os.environ.get("LBCTL_LAB_DIR", DEFAULT_LABS)).resolve()


def directory(name: str) -> Path:
    """Return where the lab of this name lies. Raises SpecError for an unusable name."""
    check_name(name)
    return labs_directory() / name


def network(lab: str, machine: str) -> Path:
    """Return the file that stands for a machine's network namespace."""
    return NETWORKS / scoped(lab, machine)


def names() -> list[str]:
    """Return the names of all labs that left something on disk."""
    try:
        return sorted(entry.name for entry in labs_directory().iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def save(record: Record) -> None:
    """Write the record so that a reader sees the old one or the new one, never half of it."""
    text = json.dumps(
        {
            "name": record.spec.name,
            "nodes": record.spec.nodes,
            "images": record.spec.images.value,
            "node_grace_s": record.spec.node_grace_s,
            "routers": list(record.spec.routers),
            "ecmp": record.spec.ecmp,
            "asn": record.spec.asn,
            "hierarchies": [[h.controllers, str(h.parent)] for h in record.hierarchies],
            "bin": str(record.bin),
            "runc": str(record.runc),
            "cni_bin": str(record.cni_bin),
            "api_port": record.api_port,
            "complete": record.complete,
        },
        indent=1,
    )
    fresh = record.spec.directory / "lab.json.new"
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())  # or a power cut of the host leaves an empty record behind
    fresh.replace(record.spec.directory / "lab.json")


def load(name: str) -> Record:
    """Read a lab's record. Raises NoLabError when there is none, BrokenRecordError."""
    place = directory(name)
    try:
        data = json.loads((place / "lab.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoLabError(
            f"there is no lab {name!r}: `lbctl lab up --name {name}` makes it"
        ) from None
    except ValueError as error:
        raise BrokenRecordError(_broken(place, f"is not JSON ({error})")) from error
    try:
        return _parse(place, data)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenRecordError(_broken(place, f"is wrong ({error!r})")) from error


def _broken(place: Path, what: str) -> str:
    return f"{place / 'lab.json'} {what}: `lbctl lab down --name {place.name}` clears the lab"


def lost(name: str) -> bool:
    """Say whether a lab was made whose record is gone: a record comes before all else."""
    place = directory(name)
    made = [place / part for part in ("pki", "images", "machines", "kubeconfig")]
    return not (place / "lab.json").exists() and any(path.exists() for path in made)


def _parse(place: Path, data: Any) -> Record:
    spec = LabSpec(
        name=data["name"],
        directory=place,
        nodes=data["nodes"],
        images=ImageMode(data["images"]),
        node_grace_s=data["node_grace_s"],
        routers=tuple(Router(name) for name in data["routers"]),
        ecmp=data["ecmp"],
        asn=data["asn"],
    )
    return Record(
        spec=spec,
        hierarchies=tuple(
            Hierarchy(controllers=controllers, parent=Path(parent))
            for controllers, parent in data["hierarchies"]
        ),
        bin=Path(data["bin"]),
        runc=Path(data["runc"]),
        cni_bin=Path(data["cni_bin"]),
        api_port=data["api_port"],
        complete=data["complete"],
    )


def completed(record: Record) -> Record:
    done = replace(record, complete=True)
    save(done)
    return done


@contextlib.contextmanager
def locked(name: str, progress: Progress, *, patience_s: float = 300.0) -> Iterator[int]:
    """Hold the lab's lock; the value is its descriptor, which children may inherit to hold it too.

    Makes the lab's directory. Raises BusyError when another process keeps the lock too long.
    """
    lock = _lock(directory(name), progress, time.monotonic() + patience_s)
    try:
        yield lock
    finally:
        os.close(lock)


def erase(name: str) -> None:
    """Remove the lab's directory, with its lock, and the directories above it if they are empty."""
    place = directory(name)
    shutil.rmtree(place, ignore_errors=False)
    for above in (place.parent, place.parent.parent):
        if above.name in {"lab", "lbctl"}:
            with contextlib.suppress(OSError):  # not empty: another lab, or not ours
                above.rmdir()


def _lock(place: Path, progress: Progress, give_up: float) -> int:
    told = False
    while True:
        try:
            place.mkdir(parents=True, exist_ok=True)
            handle = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # a `down` of the last lab removed what we had just made
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if time.monotonic() > give_up:
                raise BusyError(_busy(place)) from None
            if not told:
                progress(f"waiting for another lbctl that is changing lab {place.name}")
                told = True
            time.sleep(0.05)
            continue
        # The holder before us may have removed the directory together with the lock.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == (place / "lock").stat().st_ino:
                return handle
        os.close(handle)


def _busy(place: Path) -> str:
    text = f"lab {place.name}: another lbctl is changing it and does not finish"
    found = holders(place / "lock")
    if not found:
        return f"{text}; whoever holds {place / 'lock'} is a process that this user cannot see"
    pids = " ".join(str(holder.pid) for holder in found)
    return f"{text}: {', '.join(map(str, found))}; wait for it, or end it: kill {pids}"
