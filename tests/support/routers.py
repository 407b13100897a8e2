"""Real BGP routers in network namespaces: FRR, BIRD and GoBGP as Debian has them.

Each is started in a namespace with a configuration in its own language and asked for its own
table. They are run in the foreground, as children, and killed with the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.bgp import OURS, THEIRS
from tests.support.lan import Host, eventually

FRR = Path("/usr/lib/frr")


class _Daemons:
    """Children in a namespace that end with it."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{Path(command[0]).name}.out").open("ab") as output:
            child = subprocess.Popen(
                ["ip", "netns", "exec", self.host.namespace, *command],
                stdout=output,
                stderr=output,
            )
        self._children.append(child)
        return child

    def begin(self) -> None:
        """Start, with nothing remembered."""
        raise NotImplementedError

    def restart(self) -> None:
        """Die without a word and begin anew."""
        self.kill()
        self.begin()

    def freeze(self) -> None:
        """Stop the processes where they are: they answer nothing, and their TCP still does."""
        for child in self._children:
            child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for child in self._children:
            child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
        self._children.clear()


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}


class Frr(_Daemons):
    """zebra and bgpd; `lines` is bgpd's configuration."""

    def __init__(self, host: Host, folder: Path, lines: str) -> None:
        super().__init__(host, folder)
        shutil.chown(folder, "frr", "frr")
        self.log = folder / "bgpd.log"
        self._lines = f"log file {self.log} debugging\n{lines}\n"
        self.begin()

    def begin(self) -> None:
        for name in ("zebra", "bgpd"):
            settings = self.folder / f"{name}.conf"
            settings.write_text(self._lines if name == "bgpd" else "")
            with contextlib.suppress(FileNotFoundError):
                (self.folder / f"{name}.vty").unlink()
            self.start(
                *(str(FRR / name), "-u", "frr", "-g", "frr", "-P", "0"),
                *("-f", str(settings), "-i", str(self.folder / f"{name}.pid")),
                *("-z", str(self.folder / "zserv"), "--vty_socket", str(self.folder)),
            )
            eventually((self.folder / f"{name}.vty").exists, what=f"{name} has not started")

    def tell(self, *lines: str) -> str:
        """Say `lines` to vtysh and return the answer."""
        words = [word for line in lines for word in ("-c", line)]
        return _ask("vtysh", "--vty_socket", str(self.folder), "-d", "bgpd", *words)

    def routes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for family in ("ipv4", "ipv6"):
            answer = _parse(self.tell(f"show bgp {family} unicast json"))
            for prefix, paths in answer.get("routes", {}).items():
                hops = {hop["ip"] for path in paths for hop in path.get("nexthops", ())}
                found[prefix] = hops
        return found

    def sessions(self, address: str) -> int:
        """Return how many sessions with `address` there have been."""
        return int(self.neighbor(address)["connectionsEstablished"])

    def ask_again(self, address: str) -> None:
        """Have the neighbor send its IPv4 routes again."""
        self.tell(f"clear bgp ipv4 unicast {address} soft in")

    def path(self, prefix: str) -> Any:
        """Return the one path of `prefix` with its attributes."""
        family = "ipv6" if ":" in prefix else "ipv4"
        answer = _parse(self.tell(f"show bgp {family} unicast {prefix} json"))
        paths = answer.get("paths", [])
        return paths[0] if paths else {}

    def settled(self, address: str) -> Frr:
        """Wait until a passive neighbor listens: in the second before, bgpd refuses it (5/0)."""
        eventually(
            lambda: self.neighbor(address).get("bgpState") == "Active", what="FRR does not listen"
        )
        return self

    def neighbor(self, address: str) -> Any:
        return _parse(self.tell(f"show bgp neighbors {address} json")).get(address, {})

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


class Bird(_Daemons):
    """BIRD 2; `lines` is its configuration without router id and device protocol."""

    def __init__(self, host: Host, folder: Path, lines: str) -> None:
        super().__init__(host, folder)
        self._control = folder / "bird.ctl"
        self._settings = folder / "bird.conf"
        self._settings.write_text(f"router id {host.address};\nprotocol device {{}}\n{lines}\n")
        self.begin()

    def begin(self) -> None:
        self.start("bird", "-f", "-c", str(self._settings), "-s", str(self._control))
        eventually(lambda: self.tell("show status"), what="bird has not started")

    def since_s(self, _address: str) -> float:
        """Return the second of the day at which the session came up; BIRD's sum is 1 ms loose."""
        lines = self.tell("show protocols speaker").splitlines()
        words = next(one for one in lines if "Established" in one).split()
        hours, minutes, seconds = words[4].split(":")
        return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)

    def ask_again(self, _address: str) -> None:
        self.tell("reload in speaker")

    def tell(self, words: str) -> str:
        return _ask("birdc", "-s", str(self._control), *words.split())

    def routes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        prefix = ""
        for line in self.tell("show route").splitlines():
            words = line.split()
            if "unicast" in words and words[0] != "unicast":
                prefix = words[0]
            if words[:1] == ["via"]:
                found.setdefault(prefix, set()).add(words[1])
        return found


class Gobgp(_Daemons):
    """GoBGP; `lines` is its configuration as TOML."""

    def __init__(self, host: Host, folder: Path, lines: str) -> None:
        super().__init__(host, folder)
        self._settings = folder / "gobgp.toml"
        self._settings.write_text(lines)
        self.begin()

    def begin(self) -> None:
        self.start("gobgpd", "-f", str(self._settings), "--api-hosts", "127.0.0.1:50051")
        eventually(lambda: self.tell("global"), what="gobgpd has not started")

    def since_s(self, address: str) -> float:
        """Return the moment at which the session came up."""
        about = _parse(self.tell("neighbor", address, "-j"))
        return float(about["timers"]["state"]["uptime"]["seconds"])

    def tell(self, *words: str) -> str:
        return _ask("ip", "netns", "exec", self.host.namespace, "gobgp", *words)

    def routes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for family in ("ipv4", "ipv6"):
            answer = _parse(self.tell("global", "rib", "-a", family, "-j"))
            for prefix, paths in answer.items():
                found[prefix] = {_gobgp_next_hop(path) for path in paths}
        return found


def _gobgp_next_hop(path: Any) -> str:
    for attribute in path["attrs"]:
        if attribute["type"] in (3, 14):
            return str(attribute["nexthop"])
    return ""


@contextlib.contextmanager
def router(kind: type[Frr | Bird | Gobgp], host: Host, lines: str) -> Iterator[Any]:
    """Run a router of `kind` on `host` for the length of a block."""
    # Not pytest's folder: FRR runs as its own user, who may not enter it.
    with tempfile.TemporaryDirectory(prefix=f"lbctl-t-{os.getpid()}-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = kind(host, folder, lines)
        try:
            yield running
        finally:
            running.kill()


def frr_lines(
    node: Host, *neighbor: str, asn: int = THEIRS, remote: object = OURS, peer: str = ""
) -> str:
    """FRR's configuration for one passive neighbor in both families; `neighbor` adds to it."""
    address = peer or node.address
    about = "\n".join(f" neighbor {address} {words}" for words in neighbor)
    families = "\n".join(
        f" address-family {family} unicast\n  neighbor {address} activate\n exit-address-family"
        for family in ("ipv4", "ipv6")
    )
    return f"""
router bgp {asn}
 bgp router-id 198.51.100.200
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp log-neighbor-changes
 neighbor {address} remote-as {remote}
 neighbor {address} passive
 neighbor {address} timers 1 3
{about}
{families}
"""


def bird_lines(node: Host, *words: str) -> str:
    about = "".join(f"{each}; " for each in words)
    return f"""
protocol bgp speaker {{
  local as {THEIRS}; neighbor {node.address} as {OURS}; passive; hold time 3;
  error wait time 1, 2; {about}
  ipv4 {{ import all; export none; extended next hop; }};
  ipv6 {{ import all; export none; }};
}}
"""


def gobgp_lines(node: Host, password: str = "") -> str:
    families = "".join(
        f'[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = "{name}-unicast"\n'
        for name in ("ipv4", "ipv6")
    )
    return f"""
[global.config]
as = {THEIRS}
router-id = "198.51.100.200"
[[neighbors]]
[neighbors.config]
neighbor-address = "{node.address}"
peer-as = {OURS}
auth-password = "{password}"
[neighbors.timers.config]
hold-time = 3
keepalive-interval = 1
[neighbors.transport.config]
passive-mode = true
{families}
"""


def holds(running: Any, *prefixes: str) -> Callable[[], bool]:
    """Return the question whether a router has learnt exactly these prefixes."""
    return lambda: set(running.routes()) == set(prefixes)
