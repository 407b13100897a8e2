"""Real BGP routers in network namespaces: FRR, BIRD and GoBGP as Debian has them.

Each is started in a namespace with a configuration in its own language (`router_lines`) and asked
for its own table. They are run in the foreground, as children, and killed with the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.bgp import THEIRS
from tests.support.lan import Host, eventually

FRR = Path("/usr/lib/frr")
_GOBGP_ESTABLISHED = 6


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

    def watch(self) -> list[str]:
        """Return the command that tells each change of this router's routes."""
        return ["ip", "-n", self.host.namespace, "monitor", "route"]

    def said(self) -> str:
        """Return what the daemons have written."""
        return "".join(each.read_text() for each in self.folder.glob("*.out"))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a router's table has of one route, in words that are the same for all routers."""

    as_path: str = ""
    local_preference: int | None = None
    standard: Collection[str] = frozenset()
    extended: Collection[str] = frozenset()
    """As in rt:64496:100; rt is the route target, soo the site of origin."""
    large: Collection[str] = frozenset()


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

    def rewrite(self, lines: str) -> None:
        """Take other values of settings that there are, as an operator would."""
        settings = self.folder / "changes.conf"
        settings.write_text(lines)
        _ask("vtysh", "--vty_socket", str(self.folder), "-d", "bgpd", "-f", str(settings))

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

    def up(self, address: str) -> bool:
        return bool(self.neighbor(address).get("bgpState") == "Established")

    def disable(self, address: str, words: str) -> None:
        """End the session with words."""
        lines = (f"router bgp {THEIRS}", f"neighbor {address} shutdown message {words}")
        self.tell("configure terminal", *lines)

    def ask_again(self, address: str) -> None:
        """Have the neighbor send its IPv4 routes again."""
        self.tell(f"clear bgp ipv4 unicast {address} soft in")

    def carried(self, prefix: str) -> Carried:
        path = self.path(prefix)
        standard = path.get("community", {}).get("list", ())
        extended = path.get("extendedCommunity", {}).get("string", "")
        return Carried(
            as_path=path["aspath"]["string"].replace("Local", ""),
            local_preference=path.get("locPrf"),
            standard={"65535:0" if one == "gracefulShutdown" else one for one in standard},
            extended=set(extended.lower().split()),
            large=set(path.get("largeCommunity", {}).get("list", ())),
        )

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
        self._write(lines)
        self.begin()

    def _write(self, lines: str) -> None:
        words = f"router id {self.host.address};\nprotocol device {{}}\n{lines}\n"
        self._settings.write_text(words)

    def rewrite(self, lines: str) -> None:
        self._write(lines)
        self.tell("configure")

    def begin(self) -> None:
        self.start("bird", "-f", "-c", str(self._settings), "-s", str(self._control))
        eventually(lambda: self.tell("show status"), what="bird has not started")

    def since_s(self, _address: str) -> float:
        """Return the second of the day at which the session came up; BIRD's sum is 1 ms loose."""
        lines = self.tell("show protocols speaker").splitlines()
        words = next(one for one in lines if "Established" in one).split()
        hours, minutes, seconds = words[4].split(":")
        return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)

    def up(self, _address: str) -> bool:
        return "Established" in self.tell("show protocols speaker")

    def disable(self, _address: str, words: str) -> None:
        self.tell(f'disable speaker "{words}"')

    def ask_again(self, _address: str) -> None:
        self.tell("reload in speaker")

    def said(self) -> str:
        """Return what BIRD knows of the session: it keeps the last words."""
        return self.tell("show protocols all speaker")

    def tell(self, words: str) -> str:
        return _ask("birdc", "-s", str(self._control), *words.split())

    def routes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        prefix = ""
        for line in self.tell("show route where source = RTS_BGP").splitlines():
            words = line.split()
            if "unicast" in words and words[0] != "unicast":
                prefix = words[0]
            if words[:1] == ["via"]:
                found.setdefault(prefix, set()).add(words[1])
        return found

    def carried(self, prefix: str) -> Carried:
        shown = self.tell(f"show route {prefix} all where source = RTS_BGP")
        told = dict(re.findall(r"BGP\.(\w+): (.*)", shown))

        def listed(name: str) -> set[str]:
            values = re.findall(r"\((.*?)\)", told.get(name, ""))
            return {":".join(re.split(", ?", one.replace("ro,", "soo,"))) for one in values}

        return Carried(
            as_path=told["as_path"],
            local_preference=int(told["local_pref"]),
            standard=listed("community"),
            extended=listed("ext_community"),
            large=listed("large_community"),
        )


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

    def rewrite(self, lines: str) -> None:
        self._settings.write_text(lines)
        self._children[0].send_signal(signal.SIGHUP)

    def forward(self) -> None:
        """Put what it learns into the kernel from now on, as the other two do by themselves.

        Deviation: not by zebra, which its `[zebra]` is for: Debian's gobgpd panics at the first
        interface that Debian's zebra (8.4) tells of. The lab's follower copies the table instead.
        """
        self.start(sys.executable, "-m", "lbctl.lab.routers.carry")

    def watch(self) -> list[str]:
        return [*self._command, "monitor", "global", "rib"]

    def neighbor(self, address: str) -> Any:
        return _parse(self.tell("neighbor", address, "-j"))

    def up(self, address: str) -> bool:
        return bool(self.neighbor(address)["state"].get("session_state") == _GOBGP_ESTABLISHED)

    def disable(self, address: str, words: str) -> None:
        # Its `disable` leaves the words out.
        self.tell("neighbor", address, "shutdown", "--reason", words)

    def since_s(self, address: str) -> float:
        """Return the moment at which the session came up."""
        return float(self.neighbor(address)["timers"]["state"]["uptime"]["seconds"])

    @property
    def _command(self) -> list[str]:
        return ["ip", "netns", "exec", self.host.namespace, "gobgp"]

    def tell(self, *words: str) -> str:
        return _ask(*self._command, *words)

    def routes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for family in ("ipv4", "ipv6"):
            answer = _parse(self.tell("global", "rib", "-a", family, "-j"))
            for prefix, paths in answer.items():
                found[prefix] = {_gobgp_next_hop(path) for path in paths}
        return found

    def best(self, prefix: str) -> set[str]:
        """Return the next hop of the one path that it would use."""
        family = "ipv6" if ":" in prefix else "ipv4"
        paths = _parse(self.tell("global", "rib", "-a", family, "-j")).get(prefix, ())
        return {_gobgp_next_hop(path) for path in paths if path.get("best")}

    def carried(self, prefix: str) -> Carried:
        family = "ipv6" if ":" in prefix else "ipv4"
        answer = _parse(self.tell("global", "rib", prefix, "-a", family, "-j"))
        (path,) = answer[prefix] if isinstance(answer, dict) else answer[0]["paths"]
        told = {attribute["type"]: attribute for attribute in path["attrs"]}
        segments = told[2]["as_paths"]
        large = told.get(32, {}).get("value", ())
        return Carried(
            as_path=" ".join(str(asn) for each in segments for asn in each["asns"]),
            local_preference=told.get(5, {}).get("value"),
            standard={
                f"{one >> 16}:{one & 0xFFFF}" for one in told.get(8, {}).get("communities", ())
            },
            extended={_gobgp_extended(one) for one in told.get(16, {}).get("value", ())},
            large={f"{one['ASN']}:{one['LocalData1']}:{one['LocalData2']}" for one in large},
        )


def _gobgp_next_hop(path: Any) -> str:
    for attribute in path["attrs"]:
        if attribute["type"] in (3, 14):
            return str(attribute["nexthop"])
    return ""


def _gobgp_extended(community: Any) -> str:
    kind = {2: "rt", 3: "soo"}[community["subtype"]]
    administrator, number = community["value"].split(":")
    if community["type"] == 2:
        # An ASN of four bytes, in two halves.
        high, low = map(int, administrator.split("."))
        administrator = str(high << 16 | low)
    return f"{kind}:{administrator}:{number}"


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
            # The dead leave their routes in the kernel; FRR's go with their next hops.
            host.ip("nexthop", "flush", check=False)
            for family in ("-4", "-6"):
                for owner in ("bird", "bgp"):
                    host.ip(family, "route", "flush", "proto", owner, check=False)


def holds(running: Any, *prefixes: str) -> Callable[[], bool]:
    """Return the question whether a router has learnt exactly these prefixes."""
    return lambda: set(running.routes()) == set(prefixes)
