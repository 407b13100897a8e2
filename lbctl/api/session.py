"""Send requests to one API server and bring back answers or two kinds of errors.

One aiohttp session per process, since connections, TLS state and the token are shared.
Retries are not made here: the reflector, the writer and the elector each have their own
rule, and a retry in two places multiplies. The one exception is a 401 while the token
is a file: it is read again and the request sent once more, because rotation is normal.
Used inside one event loop only.

Two things keep a request from arriving long after its sender has lost the Lease. `may_send`
is asked when the connection stands and the next step is the kernel's: between a caller's own
check and that moment lie a TLS handshake and whatever else the loop does first. And the kernel
gives up what is not acknowledged in time: after a network cut it would deliver it otherwise
when the cut heals, although nobody waits for the answer any more.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from lbctl.api.credentials import Credentials, TokenSource
from lbctl.api.errors import ApiRefused, ApiUnreachable

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

CONNECT_TIMEOUT_S = 10.0
UNACKNOWLEDGED_S = 4.0
"""How long the kernel goes on sending what the server does not acknowledge (RFC 5482).

Shorter than the time between the last write of a leader and the first of its successor."""
REFUSAL_BODY_LIMIT = 64 * 1024
"""How much of a refusal is read; a broken proxy between us and the server would fill it."""
FULL_PIECE = 64 * 1024
"""Bytes of a piece behind which more is waiting; aiohttp stops reading at twice that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """An answer with a status in 2xx; `body` is {} when the server sent none."""

    status: int
    body: dict[str, Any]


class ApiStream:
    """The body of one streamed answer, read piece by piece."""

    def __init__(self, response: aiohttp.ClientResponse, *, path: str) -> None:
        self._response = response
        self._path = path

    async def read(self) -> bytes:
        """Return the next piece, or b"" when the server ended the stream in good order.

        Raises:
            ApiUnreachable: the connection was cut, or nothing came for `inactivity_s`.

        """
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(_detail(error), method="GET", path=self._path) from error

    async def rest(self, seconds: float) -> None:
        """Leave the connection alone for a while: the next piece brings what came meanwhile.

        Only after a piece below `FULL_PIECE`: the end of this would also end a pause of aiohttp's
        own flow control.
        """
        connection = self._response.connection
        transport = None if connection is None else connection.transport
        if transport is None:  # it has ended, which the next `read` tells
            return
        transport.pause_reading()
        try:
            await asyncio.sleep(seconds)
        finally:
            transport.resume_reading()


class ApiSession:
    """A connection pool to one API server, logged in.

    Close it (or use `async with`) inside the event loop that used it.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        timeout_s: float = 30.0,
        user_agent: str = "lbctl",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials = credentials
        self._timeout_s = timeout_s
        self._user_agent = user_agent
        self._token = TokenSource(credentials, clock=clock)
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Requests still under way end with `ApiUnreachable`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
        may_send: Callable[[], bool] | None = None,
    ) -> ApiResponse:
        """Send one request and return its answer.

        `may_send` is asked right before a body is handed to the kernel; nothing is sent if it
        says no. Then at most one request is on its way after a yes that is no longer true.

        Raises:
            ApiUnreachable: no answer within `timeout_s`, a cut connection, a body that
                is incomplete or not a JSON object, or a no from `may_send`.
            ApiRefused: any status outside 2xx, with the server's reason and message.

        """
        raw = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        data = raw if raw is None or may_send is None else _Gated(raw, may_send)
        timeout = aiohttp.ClientTimeout(
            total=self._timeout_s if timeout_s is None else timeout_s,
            sock_connect=CONNECT_TIMEOUT_S,
        )
        async with self._exchange(
            method, path, params=params, data=data, content_type=content_type, timeout=timeout
        ) as response:
            try:
                payload = await response.read()
                parsed = json.loads(payload) if payload else {}
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise ApiUnreachable(_detail(error), method=method, path=path) from error
            except ValueError as error:
                raise ApiUnreachable("the answer is not JSON", method=method, path=path) from error
        if not isinstance(parsed, dict):
            raise ApiUnreachable("the answer is not a JSON object", method=method, path=path)
        return ApiResponse(status=response.status, body=parsed)

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], inactivity_s: float
    ) -> AsyncIterator[ApiStream]:
        """Open a long answer (a list, a watch); leaving the block closes its connection.

        Raises:
            ApiUnreachable: no answer within `inactivity_s`.
            ApiRefused: any status outside 2xx.

        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=inactivity_s
        )
        async with self._exchange(
            "GET", path, params=params, data=None, content_type=JSON, timeout=timeout
        ) as response:
            yield ApiStream(response, path=path)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        data: bytes | aiohttp.BytesPayload | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own value, handed through
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send, read the token again after a first 401, and yield an answer in 2xx."""
        response = await self._send(method, path, params, data, content_type, timeout)
        try:
            if response.status == 401 and self._token.expired():
                response.close()
                response = await self._send(method, path, params, data, content_type, timeout)
            if not 200 <= response.status < 300:
                raise await _refusal(response, method=method, path=path)
            yield response
        finally:
            # After a complete body this gives the connection back; else it drops it.
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _send(  # noqa: PLR0917 - private, both calls side by side above
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        data: bytes | aiohttp.BytesPayload | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own value, handed through
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": JSON}
        if data is not None:
            headers["Content-Type"] = content_type
        token = self._token.current()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            return await self._opened().request(
                method,
                self.credentials.server + path,
                params=params,
                data=data,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self.credentials.tls_server_name,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(_detail(error), method=method, path=path) from error

    def _opened(self) -> aiohttp.ClientSession:
        """Return the client; made late because aiohttp wants the running loop."""
        if self._client is None:
            tls = self.credentials.ssl_context()
            self._client = aiohttp.ClientSession(
                # No limit: each watch holds a connection, and callers bound their own writes.
                connector=aiohttp.TCPConnector(
                    limit=0, ssl=True if tls is None else tls, socket_factory=_socket
                ),
                headers={"User-Agent": self._user_agent},
                # An environment's proxy must not stand between a speaker and its API server.
                trust_env=False,
                auto_decompress=True,
            )
        return self._client


class _Gated(aiohttp.BytesPayload):
    """A body that asks before it is written; aiohttp sends the headers together with it."""

    def __init__(self, value: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(value)
        self._may_send = may_send

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if not self._may_send():
            raise ConnectionAbortedError("not sent: it may not be sent any more")
        await super().write_with_length(writer, content_length)


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make the socket of a connection."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNACKNOWLEDGED_S * 1000))
    return made


async def _refusal(
    response: aiohttp.ClientResponse, *, method: str, path: str
) -> ApiRefused | ApiUnreachable:
    """Return the server's no as an error; the body is a Status object if all is well."""
    raw = b""
    try:
        while len(raw) < REFUSAL_BODY_LIMIT and (piece := await response.content.readany()):
            raw += piece
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The status has arrived, and it says more than a cut body would.
        pass
    reason, message = response.reason or "", ""
    try:
        status = json.loads(raw)
    except ValueError:
        message = raw[:200].decode("utf-8", "replace").strip()
    else:
        if isinstance(status, dict):
            reason = str(status.get("reason") or reason)
            message = str(status.get("message") or "")
    return ApiRefused(
        method=method,
        path=path,
        status=response.status,
        reason=reason,
        message=message,
        retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
    )


def _retry_after_s(value: str | None) -> float | None:
    """Return the header in seconds (RFC 9110 10.2.3: a number or a date)."""
    if value is None:
        return None
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _detail(error: BaseException) -> str:
    """Return a text for errors of which several have none."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"nothing heard in time ({error})" if str(error) else "nothing heard in time"
    return str(error) or type(error).__name__
