"""What a lab is made from: programs and image archives, ready on this host's disk."""

from dataclasses import dataclass
from pathlib import Path

from lbctl.lab import binaries
from lbctl.lab.records import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """Programs, and the archives that every node imports when its disk is new.

    `registry` is the command of the stand-in that answers every pull with the echo image.
    """

    bin: Path
    runc: Path
    cni_bin: Path
    archives: tuple[Path, ...]
    registry: tuple[str, ...]


def gather(progress: Progress) -> Supplies:
    """Build or find everything. Raises BuildError, whose text says what to do."""
    built = binaries.ensure(progress)
    return Supplies(bin=built.bin, runc=built.runc, cni_bin=built.cni_bin, archives=(), registry=())
