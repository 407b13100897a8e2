"""The way out to real registries, for `--images pull`: an HTTP proxy with a foot in both networks.

`python -m lbctl.lab.wiring.egress HOST PORT`, with the host's network namespace as descriptor 3.

It listens on the LAN's gateway, then steps into the host's network namespace: a socket stays in
the namespace that it was made in, so connections come from the lab and go out from the host. That
needs no link, no address translation and no firewall rule on the host. containerd speaks to it
by HTTPS_PROXY (CONNECT) and HTTP_PROXY (absolute URLs, RFC 9112 3.2.2). Only the lab's machines
reach it. Limit: it goes out directly, not through a further proxy of the host's.
"""

import asyncio
import contextlib
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from lbctl.lab.machines import kernel
from lbctl.lab.plane.forwarder import carry

_HOST_NETWORK = Path("/proc/self/fd/3")
_HEAD_LIMIT = 64 * 1024


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one client: read its first request, connect, and carry bytes until both ends are done."""
    with contextlib.closing(writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            host, port, greeting, first = _route(head)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError as error:
            print(f"{host}:{port}: {error}", file=sys.stderr, flush=True)
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with contextlib.closing(far_writer):
            writer.write(greeting)
            far_writer.write(first)
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))


def _route(head: bytes) -> tuple[str, int, bytes, bytes]:
    """Return host and port of a request, what to tell the client at once, and what to send on.

    Raises ValueError for what is no proxy request.
    """
    line, _, fields = head.partition(b"\r\n")
    method, target, version = line.decode("ascii").split(" ")
    if method == "CONNECT":
        parts = urlsplit(f"//{target}")
        if parts.hostname is None or parts.port is None:
            raise ValueError(target)
        return parts.hostname, parts.port, b"HTTP/1.1 200 Connected\r\n\r\n", b""
    parts = urlsplit(target)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # One request per connection: the next one may be for another host.
    kept = [
        f for f in fields.split(b"\r\n") if not f.lower().startswith((b"connection:", b"proxy-"))
    ]
    start = f"{method} {path} {version}\r\nConnection: close\r\n".encode()
    return parts.hostname, parts.port or 80, b"", start + b"\r\n".join(kept)


async def _run(host: str, port: int) -> None:
    listening = socket.create_server((host, port))
    kernel.setns(_HOST_NETWORK, kernel.CLONE_NEWNET)
    server = await asyncio.start_server(serve, sock=listening, limit=_HEAD_LIMIT)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2])))
