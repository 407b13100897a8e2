"""The faults of an API server, by name, for the double and for the proxy.

A schedule holds what is armed; whoever answers a request takes from it. A fault of a
stream also strikes the streams that are open when it is armed.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiohttp import web


class Ask(Enum):
    """What a request is for, as far as faults tell them apart."""

    LIST = "list"
    WATCH = "watch"
    GET = "get"
    WRITE = "write"


class FaultKind(Enum):
    """Each fault once; the value is what test ids show."""

    TOKEN_EXPIRED = "401 expired token"
    FORBIDDEN = "403 forbidden"
    CRD_MISSING = "404 CRD missing"
    CONFLICT = "409 conflict"
    GONE_ON_WATCH = "410 on watch"
    THROTTLED = "429 with Retry-After"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    NO_ANSWER = "connection refused"
    HALF_BODY = "half body"
    GARBAGE = "body is not JSON"
    SLOW = "slow answer"
    SLOW_BODY = "second half comes late"
    GONE_IN_STREAM = "410 in stream"
    ERROR_500_IN_STREAM = "500 in stream"
    ERROR_504_IN_STREAM = "504 in stream"
    ERROR_429_IN_STREAM = "429 in stream"
    DROPPED_WATCH = "dropped watch"
    ENDED_WATCH = "watch ends politely"
    STALLED_WATCH = "stalled watch"
    TRUNCATED_LINE = "truncated line"


REFUSALS: dict[FaultKind, tuple[int, str, str]] = {
    FaultKind.TOKEN_EXPIRED: (401, "Unauthorized", "Unauthorized"),
    FaultKind.FORBIDDEN: (403, "Forbidden", 'it is forbidden: User "test" cannot do this'),
    FaultKind.CONFLICT: (409, "Conflict", "the object has been modified"),
    FaultKind.GONE_ON_WATCH: (410, "Expired", "too old resource version"),
    FaultKind.THROTTLED: (429, "TooManyRequests", "too many requests"),
    FaultKind.SERVER_ERROR: (500, "InternalError", "etcdserver: leader changed"),
    FaultKind.UNAVAILABLE: (503, "ServiceUnavailable", "apiserver is shutting down"),
}

STREAM_ERRORS: dict[FaultKind, tuple[int, str]] = {
    FaultKind.GONE_IN_STREAM: (410, "Expired"),
    FaultKind.ERROR_500_IN_STREAM: (500, "InternalError"),
    FaultKind.ERROR_504_IN_STREAM: (504, "Timeout"),
    FaultKind.ERROR_429_IN_STREAM: (429, "TooManyRequests"),
}

STREAM_FAULTS = frozenset(
    {
        *STREAM_ERRORS,
        FaultKind.DROPPED_WATCH,
        FaultKind.ENDED_WATCH,
        FaultKind.STALLED_WATCH,
    }
)

ASKS: dict[FaultKind, frozenset[Ask]] = {
    FaultKind.CONFLICT: frozenset({Ask.WRITE}),
    FaultKind.GONE_ON_WATCH: frozenset({Ask.WATCH}),
    FaultKind.HALF_BODY: frozenset({Ask.LIST, Ask.GET, Ask.WRITE}),
    FaultKind.GARBAGE: frozenset({Ask.LIST, Ask.GET, Ask.WRITE}),
    FaultKind.SLOW: frozenset({Ask.LIST}),
    FaultKind.SLOW_BODY: frozenset({Ask.LIST}),
}


@dataclass(eq=False)
class Fault:
    """One armed fault; `times` None means until it is lifted."""

    kind: FaultKind
    resource: str | None
    asks: frozenset[Ask]
    times: int | None
    seconds: float


class FaultSchedule:
    """What is armed now, and how often each fault has struck."""

    def __init__(self) -> None:
        self.struck: dict[FaultKind, int] = {}
        self._armed: list[Fault] = []
        self.changed = asyncio.Event()
        self.closing = False

    def close(self) -> None:
        """End every stream: the server stops."""
        self.closing = True
        self._wake()

    def arm(
        self,
        kind: FaultKind,
        *,
        resource: str | None = None,
        asks: frozenset[Ask] | None = None,
        times: int | None = 1,
        seconds: float = 0.0,
    ) -> None:
        """Let `kind` strike the next `times` fitting requests (or open streams).

        `resource` is a plural name; `seconds` the Retry-After or the slowness.
        """
        chosen = ASKS.get(kind, frozenset(Ask)) if asks is None else asks
        self._armed.append(Fault(kind, resource, chosen, times, seconds))
        self._wake()

    def lift(self, kind: FaultKind | None = None) -> None:
        """Disarm one kind, or all."""
        self._armed = [f for f in self._armed if kind is not None and f.kind is not kind]
        self._wake()

    def keep_one(self, kind: FaultKind, resource: str) -> None:
        """Drop all but one armed fault of this kind and resource."""
        same = [f for f in self._armed if f.kind is kind and f.resource == resource]
        self._armed = [f for f in self._armed if f not in same] + same[:1]

    def take(self, resource: str, ask: Ask) -> Fault | None:
        """Return the fault for one request before it is answered."""
        return self._take(
            lambda f: (
                f.kind not in STREAM_FAULTS
                and f.kind is not FaultKind.TRUNCATED_LINE
                and ask in f.asks
            ),
            resource,
        )

    def take_in_stream(self, resource: str) -> FaultKind | None:
        """Return the fault for an open stream."""
        fault = self._take(lambda f: f.kind in STREAM_FAULTS, resource)
        return None if fault is None else fault.kind

    def take_truncation(self, resource: str) -> bool:
        """Return whether the event that is about to be sent is to be cut in half."""
        return self._take(lambda f: f.kind is FaultKind.TRUNCATED_LINE, resource) is not None

    def _take(self, fits: Callable[[Fault], bool], resource: str) -> Fault | None:
        for fault in self._armed:
            if fault.resource in {None, resource} and fits(fault):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._armed.remove(fault)
                self.struck[fault.kind] = self.struck.get(fault.kind, 0) + 1
                return fault
        return None

    def _wake(self) -> None:
        event, self.changed = self.changed, asyncio.Event()
        event.set()


def status_body(code: int, reason: str, message: str) -> dict[str, object]:
    """Return a Status object as the API server sends it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }


def refusal(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(status_body(code, reason, message), status=code)


async def strike(request: web.Request, fault: Fault) -> web.Response | None:
    """Answer a request with a fault, or return None when it only delays or spoils."""
    if fault.kind is FaultKind.CRD_MISSING:
        return web.Response(status=404, text="404 page not found\n")
    if fault.kind is FaultKind.NO_ANSWER:
        abort(request)
        return web.Response(status=500)
    if fault.kind is FaultKind.SLOW:
        await asyncio.sleep(fault.seconds)
        return None
    if fault.kind in REFUSALS:
        answer = refusal(*REFUSALS[fault.kind])
        if fault.kind is FaultKind.THROTTLED:
            answer.headers["Retry-After"] = f"{fault.seconds:.0f}"
        return answer
    return None


async def spoil(
    request: web.Request, fault: Fault | None, answer: web.Response
) -> web.StreamResponse:
    """Send a complete answer, or half of it, or nonsense."""
    if fault is not None and fault.kind is FaultKind.GARBAGE:
        return web.Response(text="<html>a proxy's error page</html>", content_type="text/html")
    if fault is None or fault.kind not in {FaultKind.HALF_BODY, FaultKind.SLOW_BODY}:
        return answer
    body = answer.body if isinstance(answer.body, bytes) else b"{}"
    half = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if fault.kind is FaultKind.HALF_BODY:
        abort(request)
        return half
    await asyncio.sleep(fault.seconds)
    with contextlib.suppress(ConnectionError):  # the reader may have left
        await half.write(body[len(body) // 2 :])
    return half


def abort(request: web.Request) -> None:
    """Cut the connection without a word."""
    if request.transport is not None:
        request.transport.abort()


async def relay(
    request: web.Request,
    resource: str,
    faults: FaultSchedule,
    read: Callable[[], Awaitable[bytes]],
) -> web.StreamResponse:
    """Stream what `read` returns (b"" is the end), and let stream faults strike."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    reading: asyncio.Future[bytes] | None = None
    try:
        while True:
            changed = asyncio.ensure_future(faults.changed.wait())
            try:
                kind = faults.take_in_stream(resource)
                if kind is FaultKind.STALLED_WATCH:
                    await _stall(request)
                    return response
                if kind is FaultKind.ENDED_WATCH:
                    break
                if kind is not None:
                    await _end_badly(request, response, kind)
                    break
                reading = reading or asyncio.ensure_future(read())
                both: set[asyncio.Future[Any]] = {reading, changed}
                await asyncio.wait(both, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if _left(request) or faults.closing:
                break
            if not reading.done():
                continue
            data, reading = reading.result(), None
            if not data:
                break
            if faults.take_truncation(resource):
                await response.write(data[: (data.find(b"\n") + 1 or len(data)) // 2])
                break
            await response.write(data)
    except ConnectionError:
        # The client has gone, which is its right.
        pass
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
    return response


async def _end_badly(request: web.Request, response: web.StreamResponse, kind: FaultKind) -> None:
    if kind is FaultKind.DROPPED_WATCH:
        abort(request)
        return
    code, reason = STREAM_ERRORS[kind]
    event = {"type": "ERROR", "object": status_body(code, reason, f"injected {code}")}
    await response.write(json.dumps(event).encode() + b"\n")


async def _stall(request: web.Request) -> None:
    """Keep the connection open and silent for as long as the client bears it."""
    while not _left(request):  # noqa: ASYNC110 - a transport has no event for its end
        await asyncio.sleep(0.02)


def _left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
