"""Give a bench a lab of its own with lbctl in it, and take it down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lbctl.lab import install, lab, records
from lbctl.lab.records import Progress
from lbctl.lab.spec import LabSpec
from tests.support.cluster import Cluster

LAB = "lbctl-bench"


@contextmanager
def installed(progress: Progress) -> Iterator[Cluster]:
    """Yield a fresh lab of three nodes; what an earlier bench left of it is removed first."""
    try:
        lab.down(LAB, progress)
        lab.up(LabSpec(name=LAB, directory=records.directory(LAB)), progress)
        install.install(LAB, progress)
        record = records.load(LAB)
        yield Cluster(
            lab=LAB,
            kubeconfig=record.kubeconfig,
            kubectl=record.bin / "kubectl",
            nodes=record.spec.node_names,
        )
    finally:
        progress(f"taking lab {LAB} down")
        lab.down(LAB, progress)
