"""The host's door to the API server: carries bytes from a port of the host into the lab.

`python -m lbctl.lab.plane.forwarder HOST PORT`, with a listening socket as descriptor 3.

The socket was opened in the host's network namespace and inherited; this process lives in the
control plane's. A socket belongs to the namespace that it was made in, so kubectl, helm and a
browser on the host reach the cluster without a route, an address or a firewall rule on the host.
TLS passes through: the API server's certificate names 127.0.0.1.
"""

import asyncio
import contextlib
import socket
import sys

_LISTENER_FD = 3
_CHUNK = 1 << 16


async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry one direction until its end, then pass the end on."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


async def _serve(host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:  # the API server is away: the caller sees a closed connection
            writer.close()
            return
        try:
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.close()

    server = await asyncio.start_server(connected, sock=socket.socket(fileno=_LISTENER_FD))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
