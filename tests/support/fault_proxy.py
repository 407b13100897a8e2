"""A reverse proxy that injects faults between our processes and a real API server.

Requests come in by plain HTTP, or HTTPS when given a context, and go on to `upstream`
with a TLS context and headers of the test's choosing (or the client's own token).
Run it inside a test with `async with`, or beside processes of the lab with `main`:
`python -m tests.support.fault_proxy --listen 127.0.0.1:0 --kubeconfig FILE`, which
prints its URL and then takes one command a line on standard input: `arm NAME
[resource=R] [times=N|always] [seconds=S]`, `lift [NAME]`, `cut`, `gap on|off`, `struck`.
Names are those of `FaultKind`.
"""

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from lbctl.api.credentials import Credentials, load_kubeconfig
from lbctl.api.paths import resource_name
from tests.support.faults import Ask, FaultKind, FaultSchedule, abort, relay, spoil, strike

HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 7.6.1, and the two that no longer fit a body that was read and sent anew."""


class FaultProxy:
    """Stands where clients expect the API server; `url` is its address."""

    def __init__(
        self,
        upstream: str,
        *,
        upstream_tls: ssl.SSLContext | None = None,
        upstream_name: str | None = None,
        headers: Mapping[str, str] | None = None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = FaultSchedule()
        self.url = ""
        self.in_gap = False
        self.watches = 0
        self._upstream = upstream.rstrip("/")
        self._upstream_tls = upstream_tls
        self._upstream_name = upstream_name
        self._headers = dict(headers or {})
        self._listen = listen
        self._tls = tls
        self._client: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @classmethod
    def before(cls, credentials: Credentials, **settings: Any) -> Self:
        """Return a proxy that logs in upstream with `credentials` for everybody."""
        token = credentials.token
        return cls(
            credentials.server,
            upstream_tls=credentials.ssl_context(),
            upstream_name=credentials.tls_server_name,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            **settings,
        )

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._upstream_tls or True),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._listen, ssl_context=self._tls).start()
        host, port = self._runner.addresses[0][:2]
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._client is not None
        self.faults.close()
        await self._runner.cleanup()
        await self._client.close()

    def open_gap(self) -> None:
        """Cut all watches and let none through; what happens now, nobody is told."""
        self.in_gap = True
        self.cut()

    def close_gap(self) -> None:
        """Let watches through again; the first of each resource hears 410."""
        self.in_gap = False

    def cut(self) -> None:
        """Cut every watch that is open now."""
        for _ in range(self.watches):
            self.faults.arm(FaultKind.DROPPED_WATCH)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # Resource names without their group, as tests arm them: "services".
        resource = resource_name(request.path).split(".", 1)[0].split("/", 1)[0]
        ask = _ask(request)
        if ask is Ask.WATCH and self.in_gap:
            self.faults.arm(FaultKind.GONE_ON_WATCH, resource=resource)
            # One 410 per resource, however often a client knocks during the gap.
            self.faults.keep_one(FaultKind.GONE_ON_WATCH, resource)
            abort(request)
            return web.Response(status=503)
        fault = self.faults.take(resource, ask)
        if fault is not None:
            struck = await strike(request, fault)
            if struck is not None:
                return struck
        try:
            return await self._forward(request, resource, ask, fault)
        except (aiohttp.ClientError, OSError):
            # The real server is away: so are we.
            abort(request)
            return web.Response(status=503)

    async def _forward(
        self, request: web.Request, resource: str, ask: Ask, fault: Any
    ) -> web.StreamResponse:
        assert self._client is not None
        sent = {n: v for n, v in request.headers.items() if n.lower() not in HOP_BY_HOP}
        async with self._client.request(
            request.method,
            self._upstream + request.raw_path,
            headers=sent | self._headers,
            data=await request.read() or None,
            allow_redirects=False,
            server_hostname=self._upstream_name,
        ) as upstream:
            if ask is Ask.WATCH and upstream.status == 200:
                self.watches += 1
                try:
                    return await relay(request, resource, self.faults, upstream.content.readany)
                finally:
                    self.watches -= 1
                    upstream.close()
            back = {n: v for n, v in upstream.headers.items() if n.lower() not in HOP_BY_HOP}
            answer = web.Response(status=upstream.status, headers=back, body=await upstream.read())
            return await spoil(request, fault, answer)


def _ask(request: web.Request) -> Ask:
    if request.method != "GET":
        return Ask.WRITE
    if request.query.get("watch") in {"true", "1"}:
        return Ask.WATCH
    parts = request.path.strip("/").split("/")
    inside = 2 if parts[0] == "api" else 3
    if parts[inside : inside + 1] == ["namespaces"] and len(parts) > inside + 2:
        inside += 2
    return Ask.LIST if len(parts) == inside + 1 else Ask.GET


def obey(proxy: FaultProxy, line: str) -> str:
    """Carry out one line of the command protocol; return the answer."""
    word, _, rest = line.strip().partition(" ")
    if word == "arm":
        name, *options = _words(rest)
        given = dict(option.split("=", 1) for option in options)
        times = given.get("times", "1")
        proxy.faults.arm(
            FaultKind[name],
            resource=given.get("resource"),
            times=None if times == "always" else int(times),
            seconds=float(given.get("seconds", "0")),
        )
    elif word == "lift":
        proxy.faults.lift(FaultKind[rest] if rest else None)
    elif word == "cut":
        proxy.cut()
    elif word == "gap":
        proxy.open_gap() if rest == "on" else proxy.close_gap()
    elif word == "struck":
        return json.dumps({kind.name: count for kind, count in proxy.faults.struck.items()})
    else:
        return f"unknown command {word!r}"
    return "ok"


def _words(text: str) -> list[str]:
    words = text.split()
    if not words:
        raise ValueError("arm needs the name of a fault")
    return words


async def serve(credentials: Credentials, listen: tuple[str, int]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    async with FaultProxy.before(credentials, listen=listen) as proxy:
        print(proxy.url, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                answer = obey(proxy, line)
            except (KeyError, ValueError) as error:
                answer = f"cannot: {error}"
            print(answer, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    asyncio.run(serve(load_kubeconfig(given.kubeconfig), (host.strip("[]"), int(port))))


if __name__ == "__main__":
    main()
