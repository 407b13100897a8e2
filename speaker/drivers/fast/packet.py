"""Packet sockets: one per link and ethertype, with the filter attached before it is bound.

The order matters: a bound socket without a filter queues every frame of the link until the
filter comes, and those frames would be handed over later. A socket bound to one ethertype does
not see what this machine sends itself. Called by `speaker.drivers.fast.port`.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from typing import Final

from lbctl.model.names import LinkName
from speaker.drivers.fast.error import DriverError, NotPermittedError
from speaker.fast.bpf import Program

_SO_ATTACH_FILTER: Final = 26
"""asm-generic/socket.h; the socket module does not name it."""
_RECEIVE_BUFFER: Final = 1 << 20
"""Bytes asked for, so that a burst survives a pause; net.core.rmem_max may grant less."""
_NO_RIGHT: Final = (
    "no permission to open a packet socket: give the container the capability NET_RAW and run it "
    "as uid 0 (securityContext: runAsUser 0, capabilities: drop ALL, add NET_RAW)"
)


def check_permission() -> None:
    """Open and close a packet socket.

    Raises:
        NotPermittedError: CAP_NET_RAW is missing.

    """
    _new_socket().close()


def open_packet_socket(link: LinkName, ethertype: int, program: Program) -> socket.socket:
    """Return a socket that does not block and receives what `program` accepts on `link`.

    Raises:
        NotPermittedError: CAP_NET_RAW is missing.
        DriverError: the link is not there, or not up.

    """
    opened = _new_socket()
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        attach(opened, program)
        opened.bind((link, ethertype))
    except DriverError:
        opened.close()
        raise
    except OSError as error:
        opened.close()
        raise DriverError(f"no packet socket on link {link}: {error.strerror}") from error
    return opened


def attach(opened: socket.socket, program: Program) -> None:
    """Put `program` in the place of the socket's filter, at once and without a gap.

    Raises:
        DriverError: the kernel refuses the program, for want of memory.

    """
    code = array.array(
        "B",
        b"".join(
            struct.pack("=HBBI", step.code, step.true, step.false, step.operand) for step in program
        ),
    )
    address, _ = code.buffer_info()
    # struct sock_fprog: a count and, aligned to its size, a pointer, which is read right here.
    fprog = struct.pack("@HP", len(program), address)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError as error:
        raise DriverError(
            f"the kernel refused a packet filter of {len(program)} instructions: {error.strerror} "
            f"(net.core.optmem_max limits its memory)"
        ) from error


def _new_socket() -> socket.socket:
    try:
        # Protocol 0 receives nothing until bind names the ethertype.
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise NotPermittedError(_NO_RIGHT) from error
        raise DriverError(f"no packet socket: {error.strerror}") from error
