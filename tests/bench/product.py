"""Give a bench a lab of its own with lbctl in it, and take it down whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lbctl.lab import install, lab, records
from lbctl.lab import spec as at
from lbctl.lab.plane import pki
from lbctl.lab.records import Progress
from lbctl.lab.spec import LabSpec
from tests.support.cluster import Cluster

LAB = "lbctl-bench"


@contextmanager
def installed(
    progress: Progress,
    *,
    nodes: int = 3,
    node_grace_s: int = 10,
    values: tuple[str, ...] = (),
) -> Iterator[Cluster]:
    """Yield a fresh lab with lbctl; what an earlier bench left of it is removed first.

    `values` are the chart's, as helm's --set takes them.
    """
    spec = LabSpec(
        name=LAB, directory=records.directory(LAB), nodes=nodes, node_grace_s=node_grace_s
    )
    try:
        lab.down(LAB, progress)
        lab.up(spec, progress)
        install.install(LAB, progress, values=values)
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


def beside_api_server(cluster: Cluster, module: str, *arguments: str, timeout_s: float) -> Any:
    """Run a measuring program in the control plane's network and return the JSON that it prints.

    A process of its own: in here it would share an interpreter with the lab's own threads. Its
    talk on stderr goes to ours.
    """
    record = records.load(cluster.lab)
    server = f"https://127.0.0.1:{at.API_PORT}"
    with tempfile.TemporaryDirectory() as directory:  # only its owner may look into it
        login = Path(directory, "kubeconfig")
        login.write_text(pki.kubeconfig(cluster.lab, record.pki, "admin", server))
        done = subprocess.run(
            [
                *("ip", "netns", "exec", at.scoped(cluster.lab, at.CONTROL_PLANE)),
                *(sys.executable, "-m", module, "--kubeconfig", str(login), *arguments),
            ],
            stdout=subprocess.PIPE,
            check=True,
            timeout=timeout_s,
        )
    return json.loads(done.stdout)
