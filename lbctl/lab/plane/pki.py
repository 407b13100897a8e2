"""The keys, certificates and kubeconfigs of a lab's cluster, made with the openssl command.

Who is who follows Kubernetes' own certificate names ("PKI certificates and requirements"): the
common name is the user, the organization the group, and RBAC's built-in roles do the rest, so
nothing in the lab runs with more than it has on a real cluster. All keys are P-256: an RSA key
for service accounts would cost more time than the rest together.

One openssl process per certificate, all at once after the authority's. Certificates last a year,
the lab hardly a day.
"""

import base64
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lbctl.lab import spec as at
from lbctl.lab.spec import LabSpec

_DAYS = 365
_CURVE = ("-pkeyopt", "ec_paramgen_curve:P-256")
# Without a file of ours the system's openssl.cnf would make every certificate an authority.
_CONFIG = "[req]\ndistinguished_name = subject\n[subject]\n"


class PkiError(RuntimeError):
    """openssl refused; the text holds its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One certificate: the file's name, the subject, and the names it serves under."""

    file: str
    subject: str
    names: tuple[str, ...] = ()


def identities(spec: LabSpec) -> tuple[Identity, ...]:
    """Return everybody who has a certificate in this lab."""
    served = (
        *(f"IP:{a}" for a in (at.ipv4(at.CONTROL_PLANE).ip, at.ipv6(at.CONTROL_PLANE).ip)),
        f"IP:{at.api_service_ip()}",
        "IP:127.0.0.1",  # the host's door to the API server
        *(f"DNS:{n}" for n in ("localhost", at.CONTROL_PLANE, "kubernetes", "kubernetes.default")),
        "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local",
    )
    return (
        Identity(file="apiserver", subject="/CN=kube-apiserver", names=served),
        Identity(
            file="apiserver-kubelet", subject="/O=system:masters/CN=kube-apiserver-kubelet-client"
        ),
        Identity(file="admin", subject="/O=system:masters/CN=admin"),
        Identity(file="controller-manager", subject="/CN=system:kube-controller-manager"),
        Identity(file="scheduler", subject="/CN=system:kube-scheduler"),
        Identity(file="kube-proxy", subject="/CN=system:kube-proxy"),
        *(
            Identity(file=node, subject=f"/O=system:nodes/CN=system:node:{node}")
            for node in spec.node_names
        ),
    )


def make(spec: LabSpec, directory: Path, *, lock: int) -> None:
    """Fill the directory: ca, sa (service accounts), and each identity's .key, .crt, .kubeconfig.

    Children inherit the lab's lock. Raises PkiError.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "openssl.cnf").write_text(_CONFIG, encoding="utf-8")
    authority = _request("ca", "/CN=lbctl-lab")
    authority += ["-addext", "basicConstraints=critical,CA:TRUE"]
    authority += ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    accounts = ["openssl", "genpkey", "-algorithm", "EC", *_CURVE, "-out", "sa.key"]
    _run_all([authority, accounts], directory, lock)
    jobs = [["openssl", "pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"]]
    everybody = identities(spec)
    for who in everybody:
        job = _request(who.file, who.subject)
        job += ["-CA", "ca.crt", "-CAkey", "ca.key"]
        job += ["-addext", "extendedKeyUsage=clientAuth,serverAuth"]
        if who.names:
            job += ["-addext", f"subjectAltName={','.join(who.names)}"]
        jobs.append(job)
    _run_all(jobs, directory, lock)
    server = f"https://{at.ipv4(at.CONTROL_PLANE).ip}:{at.API_PORT}"
    for who in everybody:
        text = kubeconfig(spec.name, directory, who.file, server)
        (directory / f"{who.file}.kubeconfig").write_text(text, encoding="utf-8")


def kubeconfig(lab: str, directory: Path, who: str, server: str) -> str:
    """Return a kubeconfig that needs no other file. JSON is YAML, and needs no library."""

    def data(file: str) -> str:
        return base64.b64encode((directory / file).read_bytes()).decode()

    name = f"lbctl-{lab}"
    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    user = {
        "client-certificate-data": data(f"{who}.crt"),
        "client-key-data": data(f"{who}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": who, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": who}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1) + "\n"


def _request(file: str, subject: str) -> list[str]:
    command = ["openssl", "req", "-config", "openssl.cnf", "-x509", "-newkey", "ec", *_CURVE]
    command += ["-nodes", "-days", str(_DAYS), "-subj", subject]
    return [*command, "-keyout", f"{file}.key", "-out", f"{file}.crt"]


def _run_all(commands: Iterable[list[str]], directory: Path, lock: int) -> None:
    commands = list(commands)
    running = [
        subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(lock,),
        )
        for command in commands
    ]
    failures = []
    for command, process in zip(commands, running, strict=True):
        _, words = process.communicate()
        if process.returncode:
            failures.append(f"{subprocess.list2cmdline(command)}: {words.strip()}")
    if failures:
        raise PkiError("; ".join(failures))
