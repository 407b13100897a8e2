"""Run kopf as the admission server, in a thread and an event loop of its own, under a supervisor.

kopf cancels every task of its loop when it ends, and several answers of an API server end it
(measured; the regression tests name them). So it shares nothing with the reconciler but one
function, `judge`, which reads an immutable value. Whatever kills it, this module starts it again
after a pause, and allocation does not notice.

What kopf must not do is switched off here: no storage on objects, no finalizer of others
touched, no peering, no Events, no lasting scan, no management of the webhook configuration
(graceful stop of one replica would empty it for all). The caller is `lbctl.controller.main`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# kopf imports `kubernetes` when it can, for 19 MiB and nothing that is used here.
_BLOCK_KUBERNETES = "kubernetes" not in sys.modules
if _BLOCK_KUBERNETES:
    sys.modules["kubernetes"] = None  # type: ignore[assignment]
import aiohttp  # noqa: E402 - in one block with the next
import kopf  # noqa: E402 - it must come after the block above

if _BLOCK_KUBERNETES:
    del sys.modules["kubernetes"]

from lbctl.api.backoff import Backoff  # noqa: E402 - as above
from lbctl.api.credentials import Credentials, TokenSource  # noqa: E402 - as above
from lbctl.controller.certificates import ServingPair  # noqa: E402 - as above

logger = logging.getLogger(__name__)

HANDLER_PATH = "ipaddresspools"
"""The webhook's URL path: kopf serves each handler under its id. The chart names it, too."""
REFUSED_CODE = 403
"""What an admission webhook answers when a rule says no (the API server's own default)."""
TLS_GOODBYE_S = 0.1
SETTLED_S = 60.0
"""After a life of this length the next failure starts the backoff from its beginning."""

Judge = Callable[[Mapping[str, Any], Mapping[str, Any] | None], str | None]
"""New and old API object of a pool -> why it is refused, or None. Called in kopf's thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Say where to listen (`host` None is every address) and which group the pools are in."""

    port: int
    group: str
    version: str
    plural: str
    host: str | None = None


class Operator:
    """The supervised kopf; every method may be called from any thread.

    `lives` counts how often kopf was started, `restarts` how often because it had failed;
    `serving` says whether it runs at present.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        *,
        credentials: Credentials,
        judge: Judge,
        backoff: Backoff | None = None,
    ) -> None:
        self.settings = settings
        self._credentials = credentials
        self._judge = judge
        self._backoff = backoff or Backoff(first_s=0.5, most_s=30.0)
        self._pair: ServingPair | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._stop: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lives = 0
        self.restarts = 0
        self.serving = False

    def serve(self, pair: ServingPair) -> None:
        """Serve with this pair from now on; starts the thread, or another life of kopf."""
        with self._lock:
            if pair == self._pair or self._closing.is_set():
                return
            self._pair = pair
            if self._thread is None:
                # A daemon: a kopf that cannot end must not keep the process from ending.
                self._thread = threading.Thread(target=self._supervise, name="kopf", daemon=True)
                self._thread.start()
                return
        self._end_life()

    def stop(self, timeout_s: float) -> bool:
        """End kopf for good; return whether its thread ended in time."""
        self._closing.set()
        self._end_life()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _end_life(self) -> None:
        with self._lock:
            loop, stop = self.loop, self._stop
            if loop is None or stop is None:
                return
            # The loop may have closed on its own a moment ago.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

    def _supervise(self) -> None:
        failures = 0
        while not self._closing.is_set():
            pair = self._pair
            if pair is None:
                return  # unreachable: the thread is started after the pair was set
            began = time.monotonic()
            try:
                with asyncio.Runner(loop_factory=_ServingLoop) as runner:
                    runner.run(self._live(pair))
                why = "it ended"
            except asyncio.CancelledError:
                why = "its tasks were cancelled"
            except Exception as error:  # noqa: BLE001 - the supervising loop that must not die
                why = repr(error)
            finally:
                self.serving = False
                with self._lock:
                    self.loop = self._stop = None
            if self._closing.is_set() or pair != self._pair:
                failures = 0
                continue
            failures = 1 if time.monotonic() - began >= SETTLED_S else failures + 1
            delay_s = self._backoff.delay_s(failures)
            logger.warning(
                "the admission server stopped (%s); starting again in %.1f s; pools are "
                "judged by their conditions meanwhile, and allocation goes on",
                why,
                delay_s,
            )
            if not self._closing.wait(delay_s):
                self.restarts += 1

    async def _live(self, pair: ServingPair) -> None:
        """Run kopf once, until it fails or is told to stop."""
        stop = asyncio.Event()
        with self._lock:
            self.loop, self._stop = asyncio.get_running_loop(), stop
            if self._closing.is_set() or pair != self._pair:
                return
        self.lives += 1
        async with self._logged_in() as client:
            with _memory_file(pair.certificate_pem.rstrip() + b"\n" + pair.key_pem) as path:
                self.serving = True
                await self._operate(client, pair, path, stop)
        # TLS connections end a moment after they were closed, and need the loop for it.
        await asyncio.sleep(TLS_GOODBYE_S)

    async def _operate(
        self, client: aiohttp.ClientSession, pair: ServingPair, path: str, stop: asyncio.Event
    ) -> None:
        await kopf.operator(
            registry=self._registry(client),
            settings=_settings(
                kopf.WebhookServer(
                    addr=self.settings.host,
                    port=self.settings.port,
                    certfile=path,
                    pkeyfile=path,
                    cadata=pair.trusted_pem,
                )
            ),
            clusterwide=True,
            standalone=True,
            stop_flag=stop,
        )

    def _logged_in(self) -> aiohttp.ClientSession:
        """Return a client that is ours to close: kopf leaves its own open when it is killed.

        kopf reads the API at the start of a life only, so the token need not be renewed.
        """
        tls = self._credentials.ssl_context()
        token = TokenSource(self._credentials, clock=time.monotonic)
        token.expired()  # reads the file again: a later life may be a year after the start
        bearer = token.current()
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=True if tls is None else tls),
            headers={} if bearer is None else {"Authorization": f"Bearer {bearer}"},
        )

    def _registry(self, client: aiohttp.ClientSession) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
        async def log_in(**_: Any) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(server=self._credentials.server, aiohttp_session=client)

        @kopf.on.validate(
            self.settings.group,
            self.settings.version,
            self.settings.plural,
            id=HANDLER_PATH,
            operations=["CREATE", "UPDATE"],
            registry=registry,
        )
        async def judge_pool(body: Mapping[str, Any], **facts: Any) -> None:
            refusal = self._judge(body, facts.get("old"))
            if refusal is not None:
                raise kopf.AdmissionError(refusal, code=REFUSED_CODE)

        return registry


class _NoDiffBase(kopf.DiffBaseStorage):
    """Store nothing on objects."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Store nothing on objects."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def _settings(server: kopf.WebhookServer) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.admission.server = server
    settings.admission.managed = None
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = "lbctl.io/unused"
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.networking.request_timeout = 30
    # kopf would end the whole process with SIGKILL; the process has a main of its own.
    settings.process.ultimate_exiting_timeout = None
    return settings


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """Yield a path that OpenSSL can open: the key touches no disk, and the root is read-only."""
    descriptor = os.memfd_create("webhook-certificate")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class _ServingLoop(asyncio.SelectorEventLoop):
    """An event loop that closes what listens in it when it is closed.

    kopf leaves its listening socket to the garbage collector when it is cut short. Until then the
    kernel goes on handing it connections that nobody accepts: the API server would wait for a
    verdict that never comes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._servers: list[asyncio.Server] = []

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.Server:
        """Return a server as every loop does, and remember it."""
        server: asyncio.Server = await super().create_server(*arguments, **options)
        self._servers.append(server)
        return server

    def close(self) -> None:
        """Close the servers, then the loop."""
        for server in self._servers:
            server.close()
        super().close()
