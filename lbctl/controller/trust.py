"""Keep the webhook's certificate in a Secret, and its CA where the API server looks for it.

Both replicas serve the same pair, read from the Secret; only the leader makes or renews it and
writes the CA into the ValidatingWebhookConfiguration, which belongs to the chart. The product
works without the webhook, so nothing here is worth more than a retry: a problem is said once,
stands on the readiness page, and is tried again less and less often; a chart without the webhook
configuration is no problem at all.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbctl.api.backoff import Backoff
from lbctl.api.errors import ApiError, ApiRefused, ApiUnreachable, problem_of
from lbctl.api.lease import Leadership, wall_clock
from lbctl.api.paths import object_path
from lbctl.api.session import ApiSession
from lbctl.api.writer import (
    GaveUp,
    Refused,
    Write,
    Writer,
    Written,
    create,
    patch_object,
    update,
)
from lbctl.controller.certificates import ServingPair, make_serving_pair, why_unfit

logger = logging.getLogger(__name__)

CERTIFICATE, KEY, TRUSTED = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret of type kubernetes.io/tls, and cert-manager's name for the CA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustNames:
    """Name what the chart made: the Service and the Secret share one name."""

    namespace: str
    service: str
    configuration: str

    @property
    def dns_names(self) -> tuple[str, ...]:
        """Return the names that the API server may call the webhook by."""
        short = f"{self.service}.{self.namespace}.svc"
        return (short, f"{short}.cluster.local")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPace:
    """Seconds between two looks: while there is no pair yet, afterwards, and after failures.

    A refusal for good (RBAC) is not asked about every 2 s for ever: the wait grows to a minute.
    """

    eager_s: float = 2.0
    settled_s: float = 15.0
    failing: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, most_s=60.0))


class Trust:
    """The loop that keeps both; `run` is its life, `on_pair` gets every pair to serve."""

    def __init__(
        self,
        session: ApiSession,
        writer: Writer,
        leadership: Leadership,
        names: TrustNames,
        *,
        on_pair: Callable[[ServingPair], None],
        pace: TrustPace | None = None,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self.problem: str | None = None
        self._session = session
        self._writer = writer
        self._leadership = leadership
        self._names = names
        self._on_pair = on_pair
        self._pace = pace or TrustPace()
        self._wall = wall
        self._served: ServingPair | None = None
        self._coming: ServingPair | None = None
        self._configured = False
        self._failures = 0
        self._unfit: str | None = None
        self._secret_path = object_path(
            group="", version="v1", plural="secrets",
            namespace=names.namespace, name=names.service,
        )  # fmt: skip
        self._configuration_path = object_path(
            group="admissionregistration.k8s.io", version="v1",
            plural="validatingwebhookconfigurations", name=names.configuration,
        )  # fmt: skip

    async def run(self) -> None:
        """Look after the pair until cancelled."""
        while True:
            problem: str | None = None
            try:
                await self._look()
            except ApiError as error:
                problem = problem_of(error, verb=_verb(error), path=error.path)
            except Exception as error:  # noqa: BLE001 - an odd Secret must not end the controller
                problem = f"cannot look after it: {error!r}"
            if problem is not None:
                problem = f"webhook certificate: {problem}"
                if problem != self.problem:
                    logger.warning("%s", problem)
            self.problem = problem
            self._failures = 0 if problem is None else self._failures + 1
            await self._pause()

    async def _look(self) -> None:
        secret = await self._get(self._secret_path)
        pair = _pair_of(secret)
        now = self._wall()
        unfit = "there is none" if pair is None else why_unfit(
            pair, dns_names=self._names.dns_names, now=now
        )  # fmt: skip
        if unfit is not None and self._leadership.may_write():
            if unfit != self._unfit:
                logger.info("making a new webhook certificate: %s", unfit)
            self._unfit = unfit
            try:
                # A Secret that was deleted leaves what every replica still serves: that must be
                # trusted until the new pair has reached them.
                pair = await self._renew(secret, self._served or pair, now)
            except ApiError:
                # One that ends soon, or has ended, serves better than none.
                self._serve(pair)
                raise
        if unfit is None:
            self._unfit = None
        self._serve(pair)
        if pair is not None and self._leadership.may_write():
            await self._trust(pair)

    def _serve(self, pair: ServingPair | None) -> None:
        """Serve the pair; one that follows another, at the second look at it.

        The next look comes soon, and by then API servers have learned whom to trust.
        """
        if pair is None:
            return
        if pair == self._served:
            self._coming = None
        elif self._served is None or pair == self._coming:
            self._served, self._coming = pair, None
            self._on_pair(pair)
        else:
            self._coming = pair

    async def _renew(
        self, secret: dict[str, Any] | None, former: ServingPair | None, now: dt.datetime
    ) -> ServingPair | None:
        """Write a new pair; None means that somebody else was quicker: look again."""
        pair = make_serving_pair(
            dns_names=self._names.dns_names,
            now=now,
            previous_trusted_pem=former.trusted_pem if former is not None else b"",
        )
        data = {CERTIFICATE: pair.certificate_pem, KEY: pair.key_pem, TRUSTED: pair.trusted_pem}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._names.service},
            "type": "kubernetes.io/tls",
            **(secret or {}),
            "data": {name: base64.b64encode(pem).decode() for name, pem in data.items()},
        }
        write = (
            create(self._secret_path.rpartition("/")[0], body)
            if secret is None
            else update(self._secret_path, body)
        )
        return pair if await self._write(write) else None

    async def _trust(self, pair: ServingPair) -> None:
        """Let the API server trust the CA of the pair."""
        configuration = await self._get(self._configuration_path)
        if configuration is None:
            # Not installed: nobody asks us, and there is no hurry to look again.
            self._configured = True
            return
        wanted = base64.b64encode(pair.trusted_pem).decode()
        webhooks = [dict(webhook) for webhook in configuration.get("webhooks") or []]
        stale = [webhook for webhook in webhooks if self._is_stale(webhook, wanted)]
        for webhook in stale:
            webhook["clientConfig"] = {**webhook["clientConfig"], "caBundle": wanted}
        if not stale or await self._write(
            patch_object(
                self._configuration_path,
                resource_version=configuration["metadata"]["resourceVersion"],
                patch={"webhooks": webhooks},
            )
        ):
            self._configured = True

    def _is_stale(self, webhook: Mapping[str, Any], wanted: str) -> bool:
        client = webhook.get("clientConfig") or {}
        service = client.get("service") or {}
        ours = (service.get("namespace"), service.get("name")) == (
            self._names.namespace,
            self._names.service,
        )
        return ours and client.get("caBundle") != wanted

    async def _write(self, write: Write) -> bool:
        """Return whether it is written; False means: somebody else was quicker, or we do not lead.

        Raises:
            ApiRefused: the server will not do this.
            ApiUnreachable: it stayed silent or busy.

        """
        method = write.verb.value
        match await self._writer.submit(write):
            case Written():
                return True
            case Refused(status=status, message=message):
                raise ApiRefused(
                    method=method, path=write.path, status=status, reason="", message=message
                )
            case GaveUp(message=message):
                raise ApiUnreachable(message, method=method, path=write.path)
            case _:
                return False

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return (await self._session.request("GET", path)).body
        except ApiRefused as error:
            if error.status == 404:
                return None
            raise

    async def _pause(self) -> None:
        """Wait for the next look; the one who gains the Lease looks at once."""
        settled = (
            self._served is not None
            and self._coming is None
            and (self._configured or not self._leadership.may_write())
        )
        seconds = self._pace.settled_s if settled else self._pace.eager_s
        if self._failures:
            seconds = self._pace.failing.delay_s(self._failures)
        event = self._leadership.lost if self._leadership.may_write() else self._leadership.leading
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        # A Lease that is held but not to be written under (its margin) must not spin here.
        await asyncio.sleep(min(seconds, 0.2))


def _pair_of(secret: Mapping[str, Any] | None) -> ServingPair | None:
    data = (secret or {}).get("data") or {}
    try:
        return ServingPair(
            certificate_pem=base64.b64decode(data[CERTIFICATE]),
            key_pem=base64.b64decode(data[KEY]),
            trusted_pem=base64.b64decode(data[TRUSTED]),
        )
    except (KeyError, TypeError, binascii.Error, ValueError):
        return None


def _verb(error: ApiError) -> str:
    return {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}.get(
        error.method, error.method.lower()
    )
