"""`/healthz` of lb-fastpath: says 200 as long as the event loop turns.

A few lines of asyncio, because an HTTP library would double the process. A link that cannot be
served does not make the process unhealthy: a restart would not cure it. Called by
`speaker.fastpath`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from lbctl.run.flags import Endpoint
from speaker.drivers.fast.error import DriverError

_REQUEST_LIMIT: Final = 4096
_PATIENCE_S: Final = 5.0
"""A client that sends nothing is cut off: open connections are all that it could pile up."""


async def serve_health(endpoint: Endpoint) -> asyncio.Server:
    """Listen on `endpoint`; port 0 lets the kernel choose.

    Raises:
        DriverError: the port is in use or the address is not here.

    """
    try:
        return await asyncio.start_server(
            _answer, endpoint.host or None, endpoint.port, limit=_REQUEST_LIMIT
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DriverError(f"--listen {endpoint}: {reason}; choose another port") from error


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, _, rest = head.partition(b" ")
            target = rest.partition(b" ")[0].partition(b"?")[0]
            found = method in {b"GET", b"HEAD"} and target == b"/healthz"
            status = b"200 OK" if found else b"404 Not Found"
            body = b"ok\n" if found else b"only /healthz is served here\n"
            writer.write(
                b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n" % (status, len(body))
            )
            if method != b"HEAD":
                writer.write(body)
            await writer.drain()
    except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
        return
    finally:
        writer.close()
