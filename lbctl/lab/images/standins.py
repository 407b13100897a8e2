"""The two images that are not lbctl: the sandbox process, and the echo server for all others.

Both hold nothing but the echo binary (`deploy/lab/echo`), which acts by the name it is
called by. It lies under many usual names, so that a pod which says `command: ["nginx"]`
or an exec probe which says `sh -c` finds what it asks for. Ports and identity reach a
container by the environment, which `admission_policy()` has the API server set: a real
image knows its port, and this one must be told. Called by `lbctl lab up`.
"""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lbctl.lab.images.oci import Directory, Entry, File, Settings, Symlink, write_image, write_layer

ECHO_IMAGE = "localhost/lbctl-echo:1"
PAUSE_IMAGE = "localhost/pause:1"

SERVER = "usr/lib/lbctl/server"

COMMANDS = [
    "ash",
    "bash",
    "busybox",
    "cat",
    "curl",
    "dash",
    "date",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "mkdir",
    "nc",
    "nslookup",
    "printenv",
    "rm",
    "seq",
    "sh",
    "sleep",
    "tail",
    "touch",
    "true",
    "uname",
    "wc",
    "wget",
    "whoami",
]
"""What the echo binary does by name (`deploy/lab/echo`, the table `commands`)."""

SERVERS = [
    "usr/sbin/nginx",
    "usr/sbin/httpd",
    "usr/local/bin/httpd-foreground",
    "usr/sbin/apache2ctl",
    "usr/local/bin/python",
    "usr/local/bin/python3",
    "usr/bin/python3",
    "usr/local/bin/node",
    "usr/local/bin/npm",
    "usr/local/bin/gunicorn",
    "usr/local/bin/uvicorn",
    "usr/local/bin/flask",
    "usr/bin/java",
    "usr/local/bin/ruby",
    "usr/local/bin/php",
    "usr/local/bin/redis-server",
    "usr/local/bin/memcached",
    "usr/local/bin/mongod",
    "usr/local/bin/postgres",
    "usr/sbin/mysqld",
    "usr/bin/caddy",
    "usr/local/sbin/haproxy",
    "usr/local/bin/envoy",
    "usr/bin/traefik",
    "agnhost",
    "http-echo",
    "whoami",
    "hello-app",
    "docker-entrypoint.sh",
    "usr/local/bin/docker-entrypoint.sh",
]
"""Names of servers in well-known images; any of them serves."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """The archives: `echo` is what the registry stand-in answers, `pause` every node's sandbox."""

    echo: Path
    pause: Path


def pack(echo_binary: Path, directory: Path) -> StandIns:
    """Write both archives into `directory`, which is made. It takes some 50 ms."""
    directory.mkdir(parents=True, exist_ok=True)
    made = StandIns(echo=directory / "echo.tar", pause=directory / "pause.tar")
    _image(made.echo, ECHO_IMAGE, _echo_root(echo_binary), f"/{SERVER}", user="")
    pause: dict[str, Entry] = {"pause": File(content=echo_binary, mode=0o755)}
    _image(made.pause, PAUSE_IMAGE, pause, "/pause", user="65535:65535")
    return made


def admission_policy() -> str:
    """Return the manifests that tell each stood-in container its ports and who it is.

    A MutatingAdmissionPolicy and its binding, served as admissionregistration.k8s.io/v1
    by Kubernetes 1.36 and newer without any feature gate.
    """
    return resources.files("lbctl.lab.images").joinpath("policy.yaml").read_text()


def _echo_root(binary: Path) -> dict[str, Entry]:
    link = Symlink(target=f"/{SERVER}")
    etc = {
        "etc/passwd": b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
        "etc/nsswitch.conf": b"hosts: files dns\n",
    }
    return {
        SERVER: File(content=binary, mode=0o755),
        **{f"bin/{name}": link for name in COMMANDS},
        **{f"usr/bin/{name}": link for name in COMMANDS},
        **dict.fromkeys(SERVERS, link),
        **{name: File(content=content) for name, content in etc.items()},
        "tmp": Directory(mode=0o1777),
        "var/tmp": Directory(mode=0o1777),
        "run": Directory(),
    }


def _image(path: Path, name: str, root: dict[str, Entry], entrypoint: str, *, user: str) -> None:
    layer_path = path.with_name(f"{path.name}.layer-{os.getpid()}")
    try:
        layer = write_layer(root, layer_path)
        settings = Settings(entrypoint=(entrypoint,), user=user, env={"PATH": _PATH})
        write_image(path, name, (layer,), settings, machine=os.uname().machine)
    finally:
        layer_path.unlink(missing_ok=True)
