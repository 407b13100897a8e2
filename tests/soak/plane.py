"""A control plane without machines: the lab's etcd and API server beside lb-controllers.

All of it runs in a network and process namespace of its own (`enter`), so that nothing collides
with a lab on the same host and nothing survives the run. Certificates and command lines are the
lab's, rights and CRDs the chart's; lb-controller logs in as the chart's service account.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from lbctl.lab import binaries
from lbctl.lab import spec as at
from lbctl.lab.install import CHART, NAMESPACE, RELEASE
from lbctl.lab.plane import control_plane, pki
from lbctl.lab.plane.client import Client, wait_until
from lbctl.lab.spec import LabSpec

INSIDE = "LBCTL_SOAK_INSIDE"
KINDS = {
    "CustomResourceDefinition", "ServiceAccount", "Role", "ClusterRole", "RoleBinding",
    "ClusterRoleBinding",
}  # fmt: skip
CONTROLLER = (sys.executable, "-m", "lbctl.controller.main")


def enter(module: str, arguments: Sequence[str]) -> None:
    """Run the same program inside namespaces of its own and end with its status.

    Inside, make the network ready and return. Whatever ends the program ends all that it started.
    """
    if os.environ.get(INSIDE):
        for command in (
            ("ip", "link", "set", "lo", "up"),
            # The API server wants to advertise an address that the machine has.
            ("ip", "address", "add", f"{at.ipv4(at.CONTROL_PLANE).ip}/32", "dev", "lo"),
        ):
            subprocess.run(command, check=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    apart = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--kill-child",
         "--mount-proc", sys.executable, "-m", module, *arguments],
        env={**os.environ, INSIDE: "1"},
    )  # fmt: skip
    try:
        sys.exit(apart.wait())
    finally:
        apart.kill()


class Plane:
    """A running API server; `login` is lb-controller's kubeconfig, `admin` the judge's."""

    def __init__(self, directory: Path, program: Path) -> None:
        self.directory = directory
        self.admin = directory / "admin.kubeconfig"
        self.login = directory / "controller.kubeconfig"
        self._bin = program

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        command = [self._bin / "kubectl", "--kubeconfig", self.admin, *arguments]
        done = subprocess.run(command, input=stdin, text=True, check=True, stdout=subprocess.PIPE)
        return done.stdout

    def install(self) -> None:
        """Create what the chart creates for lb-controller, and its login."""
        chart = subprocess.run(
            [self._bin / "helm", "template", RELEASE, str(CHART), "--namespace", NAMESPACE,
             "--set", "webhook.enabled=false"],
            check=True, text=True, stdout=subprocess.PIPE,
        ).stdout  # fmt: skip
        objects = [item for item in yaml.safe_load_all(chart) if item and item["kind"] in KINDS]
        self.kubectl("create", "namespace", NAMESPACE)
        text = yaml.safe_dump_all(objects)
        self.kubectl("apply", "--server-side", "-n", NAMESPACE, "-f", "-", stdin=text)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        # Established is not served yet: kubectl waits while the storage is being made.
        self.kubectl("get", "ipaddresspools.lbctl.io", "-A")
        account = f"{RELEASE}-controller"
        token = self.kubectl("-n", NAMESPACE, "create", "token", account, "--duration=24h")
        config = yaml.safe_load(self.admin.read_text())
        config["users"][0]["user"] = {"token": token.strip()}
        self.login.write_text(yaml.safe_dump(config))


@contextmanager
def plane(directory: Path) -> Iterator[Plane]:
    """Run etcd and the API server in `directory` with the product's objects, until the end."""
    programs = binaries.ensure(lambda line: print(line, file=sys.stderr))
    spec = LabSpec(name="soak", directory=directory, nodes=1)
    secrets = directory / "pki"
    with Path(os.devnull).open() as nothing:
        pki.make(spec, secrets, lock=nothing.fileno())
    made = Plane(directory, programs.bin)
    server = f"https://127.0.0.1:{at.API_PORT}"
    made.admin.write_text(pki.kubeconfig(spec.name, secrets, "admin", server))
    running = []
    try:
        for program in control_plane.programs(spec, secrets):
            if program.name not in {"etcd", "kube-apiserver"}:
                continue
            command = [word.replace("/var/lib/etcd", str(directory)) for word in program.argv]
            command[0] = str(programs.bin / command[0])
            running.append(_start(command, directory / f"{program.name}.log"))
        client = Client(pki=secrets, port=at.API_PORT)
        wait_until("the API server is ready", client.ready, deadline_s=120)
        made.install()
        yield made
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


class Replica:
    """One lb-controller process after the other under one name."""

    def __init__(self, plane: Plane, name: str, port: int) -> None:
        self.identity = name
        self.lives = 0
        self._name = name
        self._plane = plane
        self._port = port
        self._process: subprocess.Popen[Any] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, anew: bool = False) -> None:
        """Start it; `anew` gives it an identity that nobody had, as a new pod has."""
        assert not self.alive
        self.lives += 1
        if anew:
            self.identity = f"{self._name}-{self.lives}"
        flags = ["--namespace", NAMESPACE, "--kubeconfig", str(self._plane.login)]
        flags += ["--identity", self.identity, "--webhook-port", "0"]
        flags += ["--listen", f"127.0.0.1:{self._port}"]
        self._process = _start([*CONTROLLER, *flags], self._plane.directory / f"{self._name}.log")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ended(self) -> str:
        """Return how the process ended although nobody killed it, or ""."""
        code = self._process.poll() if self._process is not None else None
        return "" if code is None else f"{self.identity} ended by itself with {code}"


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[Any]:
    output: IO[bytes]
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
