"""A LAN of network namespaces on one bridge, for tests that need a real kernel at both ends.

Names begin with `lbctl-t-<pid>-`, so that runs do not meet and left-overs of a killed run can be
told apart; `close` removes everything, also processes that still hold a namespace's socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path

ARP, IPV6 = 0x0806, 0x86DD
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode} {done.stdout}{done.stderr}")
    return done.stdout


def eventually(question: Callable[[], object], *, within_s: float = 10.0, what: str = "") -> object:
    """Ask until the answer is true and return it; fail with the last answer after `within_s`."""
    end = time.monotonic() + within_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what or question} (last: {answer!r})")
        time.sleep(0.01)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the block's thread in a namespace; sockets made there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    away = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(away, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        os.close(away)


class Host:
    """One namespace with `eth0` on the bridge."""

    def __init__(self, name: str, number: int) -> None:
        self.namespace = name
        self.number = number
        self.address = f"198.51.100.{number}"
        self.address6 = f"2001:db8:1::{number}"

    def ip(self, *words: str, check: bool = True) -> str:
        return run("ip", "-n", self.namespace, *words, check=check)

    def run(self, *command: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, check=check)

    def sysctl(self, key: str, value: str) -> None:
        with inside(self.namespace):
            Path("/proc/thread-self/root/proc/sys", key.replace(".", "/")).write_text(value)

    @property
    def mac(self) -> bytes:
        link = json.loads(self.ip("-j", "link", "show", "eth0"))[0]
        return bytes.fromhex(link["address"].replace(":", ""))

    def neighbor(self, address: str) -> str | None:
        """Return the hardware address in this kernel's neighbor table, or None."""
        for entry in json.loads(self.ip("-j", "neigh", "show", "to", address) or "[]"):
            if "lladdr" in entry and "FAILED" not in entry["state"]:
                return str(entry["lladdr"])
        return None

    def neighbor_age_s(self, address: str) -> int:
        """Return how long ago the entry of `address` was last updated, in whole seconds."""
        return int(json.loads(self.ip("-s", "-j", "neigh", "show", "to", address))[0]["updated"])

    def resolve(self, address: str) -> None:
        """Make the kernel ask for `address`, by a datagram that nobody needs to read."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with (
            inside(self.namespace),
            socket.socket(family, socket.SOCK_DGRAM) as asker,
            contextlib.suppress(OSError),
        ):
            asker.sendto(b"?", (address, 9))

    @property
    def link_local(self) -> IPv6Address:
        """The address of eth0 that the kernel made of its hardware address."""
        shown = self.ip("-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
        return IPv6Address(shown.split("inet6 ")[1].split("/")[0])

    def advertise_as_router(self, lifetime_s: int = 0) -> None:
        """Send one router advertisement on eth0; with a lifetime it offers the default route.

        RFC 4861 4.2.
        """
        lifetime = lifetime_s.to_bytes(2, "big")
        message = b"\x86" + b"\0" * 5 + lifetime + b"\0" * 8 + b"\1\1" + self.mac
        with (
            inside(self.namespace),
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender,
        ):
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            index = socket.if_nametoindex("eth0")
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sender.sendto(message, ("ff02::1", 0, 0, index))

    def forget(self, address: str) -> None:
        self.ip("neigh", "del", address, "dev", "eth0", check=False)

    def packets(self, ethertype: int) -> socket.socket:
        """Return a raw socket on eth0 with a short timeout."""
        with inside(self.namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
        opened.bind(("eth0", ethertype))
        opened.settimeout(0.2)
        return opened


class Lan:
    """A bridge and hosts on it."""

    def __init__(self) -> None:
        self._prefix = f"lbctl-t-{os.getpid()}-"
        self._hosts: list[Host] = []
        self.switch = self._prefix + "switch"
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")

    def host(self, name: str) -> Host:
        host = Host(self._prefix + name, len(self._hosts) + 1)
        run("ip", "netns", "add", host.namespace)
        self._hosts.append(host)
        host.ip("link", "set", "lo", "up")
        with inside(host.namespace):
            # Addresses of a test must be usable at once; DAD would take a second. And there are no
            # others: FRR advertises prefixes, and calls would come from what a host makes of them.
            for key in ("accept_dad", "autoconf"):
                for scope in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{scope}/{key}").write_text("0")
        self.plug(host, "eth0")
        host.ip("addr", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("-6", "addr", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
        return host

    def plug(self, host: Host, link: str) -> None:
        """Give `host` a new link to the bridge."""
        port = f"{link}-{host.number}"
        words = f"link add {link} netns {host.namespace} type veth peer name {port}".split()
        run("ip", "-n", self.switch, *words)
        run("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        host.ip("link", "set", link, "up")

    def port(self, host: Host, state: str, link: str = "eth0") -> None:
        """Set the bridge's end of a cable `up` or `down`: the host's end loses its carrier."""
        run("ip", "-n", self.switch, "link", "set", f"{link}-{host.number}", state)

    @contextlib.contextmanager
    def lossy(self, host: Host, link: str = "eth0") -> Iterator[None]:
        """Drop every frame of a cable for the length of a block; no end loses its carrier."""
        # Off the bridge: a port that is only set `disabled` forwards again at the next change of it.
        port = f"{link}-{host.number}"
        run("ip", "-n", self.switch, "link", "set", port, "nomaster")
        try:
            yield
        finally:
            run("ip", "-n", self.switch, "link", "set", port, "master", "br0")

    def close(self) -> None:
        for name in [*(host.namespace for host in self._hosts), self.switch]:
            run("ip", "netns", "del", name, check=False)
