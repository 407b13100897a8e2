"""Install lbctl into a lab the way users do: our image on the nodes, our chart by helm.

The image is packed from this checkout and tagged with a hash of what is in it, so that a second
installation after a change rolls the pods and one without a change does nothing.
"""

import subprocess
from pathlib import Path

from lbctl.lab import lab, records
from lbctl.lab.images import checkout
from lbctl.lab.machines import launch
from lbctl.lab.records import Progress

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "lbctl"
NAMESPACE = "lbctl-system"
RELEASE = "lbctl"


class InstallError(RuntimeError):
    """The chart could not be installed; the text has helm's or kubectl's words."""


def install(name: str, progress: Progress, *, values: tuple[str, ...] = ()) -> None:
    """Install or upgrade, and return when every pod of ours is ready. Raises InstallError."""
    image = checkout.pack(progress)
    lab.load_image(name, image.archive)
    progress(f"helm install {RELEASE} with image {image.name}")
    repository, _, tag = image.name.rpartition(":")
    _must(
        helm(
            name, "upgrade", "--install", RELEASE, str(CHART),
            "--namespace", NAMESPACE, "--create-namespace",
            "--set", f"image.repository={repository},image.tag={tag}",
            *(word for value in values for word in ("--set", value)),
        )
    )  # fmt: skip
    _must(
        lab.kubectl(
            name,
            ["label", "namespace", NAMESPACE, "--overwrite",
             "pod-security.kubernetes.io/enforce=privileged"],
            capture_output=True,
        )
    )  # fmt: skip
    for workload in (f"daemonset/{RELEASE}-speaker", f"deployment/{RELEASE}-controller"):
        _must(
            lab.kubectl(
                name,
                ["-n", NAMESPACE, "rollout", "status", workload, "--timeout=120s"],
                capture_output=True,
            )
        )
    progress("lbctl is installed")


def helm(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run helm on the host as the cluster's administrator."""
    record = records.load(name)
    return subprocess.run(
        [str(record.bin / "helm"), *arguments],
        env=launch.environment(record),
        capture_output=True,
        text=True,
        check=False,
    )


def _must(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode:
        raise InstallError(f"{' '.join(map(str, done.args))}: {done.stderr.strip()}")
