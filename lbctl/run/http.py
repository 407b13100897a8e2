"""Serve /healthz, /readyz and /metrics of a process.

`/healthz` says whether restarting would help, `/readyz` whether the process does its job; each
answers 200 `ok`, or 503 with one line per problem, so that `kubectl describe pod` shows the
cause. An API outage is no reason to restart anything: it belongs to readiness only.

Used by `lbctl.controller.main` and `speaker.main` (lb-fastpath has a few lines of its own, for
its memory's sake).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from lbctl.run.flags import Endpoint
from lbctl.run.metrics import CONTENT_TYPE

Problems = Callable[[], Iterable[str]]
"""Return one sentence per problem; nothing means fine."""

SHUTDOWN_S: Final = 1.0
"""How long a stopping server waits for open connections."""


class ListenError(Exception):
    """The address cannot be listened on; the text is one sentence for the operator."""


class StatusServer:
    """Serve the three pages on one endpoint between `start` and `stop`."""

    def __init__(
        self, endpoint: Endpoint, *, live: Problems, ready: Problems, metrics: Callable[[], bytes]
    ) -> None:
        self._endpoint = endpoint
        self._live = live
        self._ready = ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: the port is taken, or the address is not ours.

        """
        app = web.Application()
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/readyz", self._show_readiness)
        app.router.add_get("/metrics", self._show_metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        site = web.TCPSite(runner, self._endpoint.host or None, self._endpoint.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ListenError(
                f"cannot listen on {self._endpoint}: {error.strerror or error}; "
                f"choose another address or port with --listen"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def port(self) -> int | None:
        """Return the port listened on, for an endpoint that asked for port 0."""
        addresses = self._runner.addresses if self._runner is not None else []
        return addresses[0][1] if addresses else None

    async def _show_health(self, _: web.Request) -> web.Response:
        return _answer(self._live())

    async def _show_readiness(self, _: web.Request) -> web.Response:
        return _answer(self._ready())

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})


def _answer(problems: Iterable[str]) -> web.Response:
    lines = list(problems)
    if lines:
        return web.Response(status=503, text="\n".join(lines) + "\n")
    return web.Response(text="ok\n")
