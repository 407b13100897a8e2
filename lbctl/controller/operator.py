"""Run kopf as the admission server, in a thread and an event loop of its own, under a supervisor.

kopf cancels every task of its loop when it ends, and several answers of an API server end it
(measured; the regression tests name them). So it shares nothing with the reconciler but the
doors' `judge`, which reads an immutable value. Whatever kills it, this module starts it again
after a pause, and allocation does not notice. A new certificate needs no new life: it is loaded
into the TLS context that is in use, so no question goes unanswered meanwhile.

What kopf must not do is switched off here: no storage on objects, no finalizer of others
touched, no peering, no Events, no lasting scan, no management of the webhook configuration
(graceful stop of one replica would empty it for all). The caller is `lbctl.controller.main`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

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
from lbctl.controller.admission import Admitted, Answer, Denied  # noqa: E402 - as above
from lbctl.controller.certificates import ServingPair  # noqa: E402 - as above
from lbctl.kube.groups import Resource  # noqa: E402 - as above

logger = logging.getLogger(__name__)

REFUSED_CODE = 403
"""What an admission webhook answers when a rule says no (the API server's own default)."""
TLS_GOODBYE_S = 0.1
SETTLED_S = 60.0
"""After a life of this length the next failure starts the backoff from its beginning."""

Judge = Callable[[Mapping[str, Any], Mapping[str, Any] | None], Answer]
"""New and old API object -> the answer; old is None for a creation. Called in kopf's thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Name a kind and who judges it. The URL path is the kind's plural, which the chart names, too."""

    resource: Resource
    judge: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Say where to listen (`host` None is every address) and what is judged."""

    port: int
    doors: tuple[Door, ...]
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
        backoff: Backoff | None = None,
    ) -> None:
        self.settings = settings
        self._credentials = credentials
        self._backoff = backoff or Backoff(first_s=0.5, most_s=30.0)
        self._pair: ServingPair | None = None
        self._tls = _server_context()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._stop: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lives = 0
        self.restarts = 0
        self.serving = False

    def serve(self, pair: ServingPair) -> None:
        """Serve with this pair from now on; the first one starts the thread.

        A pair that TLS cannot use changes nothing: what was served before is served on.
        """
        try:
            _load(_server_context(), pair)
        except ssl.SSLError as error:
            logger.warning("the webhook certificate cannot be used: %s", error)
            return
        with self._lock:
            if pair == self._pair or self._closing.is_set():
                return
            self._pair = pair
            if self._thread is None:
                # A daemon: a kopf that cannot end must not keep the process from ending.
                self._thread = threading.Thread(target=self._supervise, name="kopf", daemon=True)
                self._thread.start()
            elif self.loop is not None:
                # OpenSSL wants a context changed by the thread that makes connections of it. The
                # loop may have closed a moment ago: the next life loads the pair by itself.
                with contextlib.suppress(RuntimeError):
                    self.loop.call_soon_threadsafe(_load, self._tls, pair)

    def stop(self, timeout_s: float) -> bool:
        """End kopf for good; return whether its thread ended in time."""
        self._closing.set()
        with self._lock:
            if self.loop is not None and self._stop is not None:
                # The loop may have closed on its own a moment ago.
                with contextlib.suppress(RuntimeError):
                    self.loop.call_soon_threadsafe(self._stop.set)
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _supervise(self) -> None:
        failures = 0
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(self._live())
                why = "it ended"
            except asyncio.CancelledError:
                why = "its tasks were cancelled"
            except Exception as error:  # noqa: BLE001 - the supervising loop that must not die
                why = repr(error)
            finally:
                self.serving = False
                with self._lock:
                    self.loop = self._stop = None
            # Cut short, kopf leaves its sockets to the garbage collector: the one that listens, and
            # connections that were accepted while it closed. The kernel would go on answering for
            # them, and the API server would wait for a verdict that never comes.
            gc.collect()
            if self._closing.is_set():
                return
            failures = 1 if time.monotonic() - began >= SETTLED_S else failures + 1
            delay_s = self._backoff.delay_s(failures)
            logger.warning(
                "the admission server stopped (%s); starting again in %.1f s; objects are "
                "judged by their conditions meanwhile, and allocation goes on",
                why,
                delay_s,
            )
            if not self._closing.wait(delay_s):
                self.restarts += 1

    async def _live(self) -> None:
        """Run kopf once, until it fails or is told to stop."""
        stop = asyncio.Event()
        with self._lock:
            if self._closing.is_set() or self._pair is None:
                return
            self.loop, self._stop = asyncio.get_running_loop(), stop
            _load(self._tls, self._pair)
        self.lives += 1
        server = _Server(addr=self.settings.host, port=self.settings.port, context=self._tls)
        async with self._logged_in() as client:
            self.serving = True
            await kopf.operator(
                registry=self._registry(client),
                settings=_settings(server),
                clusterwide=True,
                standalone=True,
                stop_flag=stop,
            )
        # TLS connections end a moment after they were closed, and need the loop for it.
        await asyncio.sleep(TLS_GOODBYE_S)

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

        for door in self.settings.doors:
            kopf.on.validate(
                door.resource.group,
                door.resource.version,
                door.resource.plural,
                id=door.resource.plural,
                operations=["CREATE", "UPDATE"],
                registry=registry,
            )(_handler(door.judge))
        return registry


def _handler(judge: Judge) -> Callable[..., Awaitable[None]]:
    async def handle(body: Mapping[str, Any], warnings: list[str], **facts: Any) -> None:
        try:
            answer = judge(body, facts.get("old"))
        except Exception:  # our own fault must refuse nobody's object, and kopf would refuse it
            logger.exception("cannot judge an object: it is let through, its condition will tell")
            return
        match answer:
            case Admitted():
                warnings.extend(answer.warnings)
            case Denied():
                raise kopf.AdmissionError(answer.message, code=REFUSED_CODE)
            case _:
                assert_never(answer)

    return handle


class _Server(kopf.WebhookServer):
    """Take the TLS context as it is: kopf would load files into it, or a certificate of its own."""

    def _build_ssl(self) -> tuple[bytes | None, ssl.SSLContext | None]:
        return None, self.context


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


def _server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(purpose=ssl.Purpose.CLIENT_AUTH)
    # Every API server that we support speaks it, and nobody else is to ask.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _load(context: ssl.SSLContext, pair: ServingPair) -> None:
    """Use the pair for every handshake from now on; connections that stand keep theirs."""
    with _memory_file(pair) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def _memory_file(pair: ServingPair) -> Iterator[str]:
    """Yield a path that OpenSSL can open: the key touches no disk, and the root is read-only."""
    descriptor = os.memfd_create("webhook-certificate")
    try:
        os.write(descriptor, pair.certificate_pem.rstrip() + b"\n" + pair.key_pem)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
