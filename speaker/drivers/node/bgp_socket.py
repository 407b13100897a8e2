"""TCP to a BGP peer: a socket with everything that the peer's configuration asks of the kernel.

None of it needs a capability: TCP-MD5, GTSM and binding to a link work for any user (the last
since Linux 5.7). Called by `speaker.drivers.node.bgp`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from lbctl.model.session import Asked
from speaker.protocols.bgp_peer import PeerConfig

_TCP_MD5SIG: Final = 14
_IP_MINTTL: Final = 21
_IPV6_MINHOPCOUNT: Final = 73
"""linux/tcp.h, linux/in.h and linux/in6.h; Python does not name them."""
_CS6: Final = 0xC0
"""DSCP "network control", which routers give BGP among themselves."""
MAX_PASSWORD: Final = 80
_NOWHERE: Final = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a kernel says at once that has no route or no address of the peer's family."""


class PeerSocketError(Exception):
    """Say what the kernel refused, and which field of the peer asked for it."""


def peer_socket(config: PeerConfig) -> socket.socket:
    """Return a socket that is ready to be connected to `socket_address`.

    Raises:
        PeerSocketError: the kernel refused an option.

    """
    version4 = isinstance(config.address, IPv4Address)
    with towards(config):
        opened = socket.socket(socket.AF_INET if version4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        _configure(opened, config, version4=version4)
    except BaseException:
        opened.close()
        raise
    return opened


def _configure(opened: socket.socket, config: PeerConfig, *, version4: bool) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    level = socket.IPPROTO_IP if version4 else socket.IPPROTO_IPV6
    opened.setsockopt(level, socket.IP_TOS if version4 else socket.IPV6_TCLASS, _CS6)
    if config.interface is not None:
        with _asked(f"{Asked.INTERFACE} {config.interface!r}"):
            name = config.interface.encode()
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    ttl = 255 if config.gtsm_hops is not None else config.ttl
    if ttl is not None:
        opened.setsockopt(level, socket.IP_TTL if version4 else socket.IPV6_UNICAST_HOPS, ttl)
    if config.gtsm_hops is not None:
        with _asked(Asked.GTSM):
            least = _IP_MINTTL if version4 else _IPV6_MINHOPCOUNT
            opened.setsockopt(level, least, 256 - config.gtsm_hops)
    if config.password is not None:
        with _asked(Asked.PASSWORD):
            opened.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, _md5(config, version4=version4))
    if config.source is not None:
        with _asked(f"{Asked.SOURCE_ADDRESS} {config.source}"):
            opened.bind(_address(config, str(config.source), 0))


@contextlib.contextmanager
def _asked(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PeerSocketError(f"{what}: {error.strerror}") from error


@contextlib.contextmanager
def towards(config: PeerConfig) -> Iterator[None]:
    """Name the peer's address where this node has no way to it, which is no fault of the router.

    Raises:
        PeerSocketError: there is no address or route of its family here.

    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        family = f"IPv{config.address.version}"
        why = (
            f"{Asked.PEER_ADDRESS} {config.address}: {error.strerror}; this node has no {family} "
            f"address, or no {family} route to it"
        )
        raise PeerSocketError(why) from error


def socket_address(config: PeerConfig) -> tuple[str | int, ...]:
    """Return the peer's address as the socket takes it.

    Raises:
        PeerSocketError: there is no such link.

    """
    return _address(config, str(config.address), config.port)


def _address(config: PeerConfig, address: str, port: int) -> tuple[str | int, ...]:
    if isinstance(config.address, IPv4Address):
        return address, port
    bare = address.partition("%")[0]
    # Only a link-local address needs the link; the kernel refuses it for some others.
    if config.interface is None or not bare.startswith("fe80"):
        return bare, port, 0, 0
    with _asked(f"{Asked.INTERFACE} {config.interface!r}"):
        return bare, port, 0, socket.if_nametoindex(config.interface)


def _md5(config: PeerConfig, *, version4: bool) -> bytes:
    """Return `struct tcp_md5sig`: the peer's address, the length of the key, the key."""
    assert config.password is not None
    key = config.password.encode()
    if not 0 < len(key) <= MAX_PASSWORD:
        raise OSError(0, f"{len(key)} bytes; 1 to {MAX_PASSWORD} are possible")
    if version4:
        peer = struct.pack("=H2x4s", socket.AF_INET, config.address.packed)
    else:
        peer = struct.pack("=H6x16s", socket.AF_INET6, config.address.packed)
    return peer.ljust(128, b"\0") + struct.pack("=2xH4x", len(key)) + key.ljust(80, b"\0")


def unacknowledged(opened: socket.socket) -> int:
    """Return how many bytes the peer's TCP has not acknowledged yet (SIOCOUTQ)."""
    answer = fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    return int(struct.unpack("=i", answer)[0])
