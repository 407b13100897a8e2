"""What a machine is to be: everything its first process needs to know, as one JSON file.

The control plane and the nodes describe their machines as these values, pure and testable; the
first process carries the description out without knowing what a kubelet is. The file is written
before the machine is started and stays beside its disk, where a person can read it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process that a machine keeps running, as systemd's Restart=always does.

    `after` are conditions that must hold before it starts: `tcp:HOST:PORT` or `unix:PATH`
    accept a connection, `done:NAME` the program of that name has succeeded. `once` programs
    are repeated only until they succeed. `held` ones wait until somebody lets them go.
    `gets_handle` programs find what the machine was given of the host (a listening socket, a
    namespace) as descriptor 3.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    once: bool = False
    held: bool = False
    gets_handle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """A machine: namespaces, disks, files, programs.

    `directory` is the machine's own on the host; `disks` are directories of /var/lib that live
    under its `disk/`; `files` are written under /run/lbctl, path to text; `cgroups` are pairs of
    mount option and the group's directory on the host; `path` is searched for programs before
    the host's own PATH; `hosts` and `resolver` are the texts of /etc/hosts and /etc/resolv.conf.
    """

    name: str
    directory: str
    network: str
    cgroups: tuple[tuple[str, str], ...]
    path: str
    hosts: str
    resolver: str = ""
    disks: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[Program, ...] = ()


def to_json(plan: MachinePlan) -> str:
    return json.dumps(asdict(plan), indent=1)


def from_json(text: str) -> MachinePlan:
    """Read back what `to_json` wrote. Raises KeyError or ValueError for anything else."""
    data: dict[str, Any] = json.loads(text)
    data["cgroups"] = tuple((kind, group) for kind, group in data["cgroups"])
    data["disks"] = tuple(data["disks"])
    data["programs"] = tuple(
        Program(**{**item, "argv": tuple(item["argv"]), "after": tuple(item["after"])})
        for item in data["programs"]
    )
    return MachinePlan(**data)
