"""Write what was decided onto Services, and say what changed. Decides nothing itself.

`look` compares decisions with what the Services show and submits a write where they differ. An
address that one Service still shows and another shall have is handed over in order: the taker's
write is held back until the giver's is seen to be done, so that no watcher ever finds one address
on two Services. The caller is `lbctl.controller.reconciler`.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.lease import wall_clock
from lbctl.api.writer import Writer, patch_status
from lbctl.controller.configuration import rfc3339
from lbctl.controller.desk import Desk, DeskPace
from lbctl.controller.inputs import Inputs
from lbctl.controller.said import Saying, deprecation, released, sayings
from lbctl.kube.fold import Source
from lbctl.kube.groups import SERVICES
from lbctl.kube.patches import ALLOCATED, service_patch
from lbctl.kube.service import WrittenService
from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import ServiceKey
from lbctl.model.service import ObservedCondition, Service
from lbctl.plan.allocation import Decision

BUSY: Final = 32
"""Status writes under way above which Events wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """Hold one Service that does not show what was decided."""

    service: WrittenService
    patch: Mapping[str, Any]
    said: tuple[Saying, ...]
    gains: tuple[Address, ...]


class ServiceDesk:
    """Services on their way from one status to the next.

    `again` has a Service looked at with the next plan, `go_on` at once: it waited for another.
    """

    def __init__(
        self,
        inputs: Inputs,
        writer: Writer,
        recorder: EventRecorder,
        *,
        again: Callable[[ServiceKey], None],
        go_on: Callable[[ServiceKey], None],
        pace: DeskPace | None = None,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self._inputs = inputs
        self._recorder = recorder
        self._go_on = go_on
        self._wall = wall
        self.desk: Desk[ServiceKey] = Desk(writer, again=again, pace=pace)
        # Whoever shows an address that was decided away from it, and who waits for it.
        self._leaving: dict[Address, set[ServiceKey]] = {}
        self._leaves: dict[ServiceKey, frozenset[Address]] = {}
        self._waiting: dict[Address, set[ServiceKey]] = {}
        self._deprecated: dict[ServiceKey, tuple[str, tuple[str, ...]]] = {}
        self._unsaid: deque[tuple[Service, Saying]] = deque()

    def look(self, keys: Iterable[ServiceKey], decisions: Mapping[ServiceKey, Decision]) -> None:
        """Submit what these Services lack, the older first."""
        services = self._inputs.snapshot().services
        present: list[WrittenService] = []
        for key in keys:
            service = services.get(key)
            if isinstance(service, WrittenService):
                present.append(service)
            else:
                self._gone(key)
        present.sort(key=_age)
        now = rfc3339(self._wall())
        differences = [
            difference
            for service in present
            if (decision := decisions.get(service.key)) is not None
            and (difference := self._compare(service, decision, now)) is not None
        ]
        for difference in differences:
            self._submit(difference)

    def begin_term(self) -> None:
        """Forget what only held for the term before."""
        self._leaving.clear()
        self._leaves.clear()
        self._waiting.clear()

    def _compare(self, service: WrittenService, decision: Decision, now: str) -> _Difference | None:
        addresses = decision.addresses if isinstance(decision, Outcome) else ()
        patch = service_patch(service, decision, now)
        leaves = (
            frozenset(service.addresses) - frozenset(addresses)
            if patch is not None
            else frozenset()
        )
        self._note_leaving(service.key, leaves)
        if isinstance(decision, Outcome):
            self._say_deprecated(service)
        if patch is None:
            return None
        return _Difference(
            service=service,
            patch=patch,
            said=_said(service, decision),
            gains=tuple(a for a in addresses if a not in service.addresses),
        )

    def _submit(self, difference: _Difference) -> None:
        service = difference.service
        held_back = [
            address
            for address in difference.gains
            if self._leaving.get(address, frozenset()) - {service.key}
        ]
        if held_back:
            for address in held_back:
                self._waiting.setdefault(address, set()).add(service.key)
            return

        def written(body: dict[str, Any]) -> None:
            self._inputs.observe(Source.SERVICES, body)
            self._note_leaving(service.key, frozenset())
            self._unsaid.extend((service, saying) for saying in difference.said)
            self._speak()

        path = f"{SERVICES.collection(service.key.namespace)}/{service.key.name}"
        write = patch_status(
            path, resource_version=service.resource_version, patch=difference.patch
        )
        self.desk.submit(service.key, write, written)

    def _note_leaving(self, key: ServiceKey, leaves: frozenset[Address]) -> None:
        before = self._leaves.get(key, frozenset())
        for address in leaves - before:
            self._leaving.setdefault(address, set()).add(key)
        for address in before - leaves:
            holders = self._leaving.get(address, set())
            holders.discard(key)
            if not holders:
                self._leaving.pop(address, None)
                for waiting in self._waiting.pop(address, ()):
                    self._go_on(waiting)
        if leaves:
            self._leaves[key] = leaves
        else:
            self._leaves.pop(key, None)

    def _gone(self, key: ServiceKey) -> None:
        self._note_leaving(key, frozenset())
        self._deprecated.pop(key, None)

    def _say_deprecated(self, service: WrittenService) -> None:
        """Warn when the use of deprecated annotations is new, not at a restart."""
        now = (service.uid, service.uses_deprecated_annotations)
        before = self._deprecated.get(service.key)
        if before == now:
            return
        if now[1]:
            self._deprecated[service.key] = now
        else:
            self._deprecated.pop(service.key, None)
        said_by_another_process = before is None and shown_allocated(service) is not None
        if now[1] and not said_by_another_process:
            self._unsaid.append((service, deprecation(now[1])))
            self._speak()

    def _speak(self) -> None:
        """Hand Events over, unless many Services still wait for their status.

        An Event costs the API server as much as a status does, and says nothing that the status
        does not show.
        """
        while self._unsaid and len(self.desk) <= BUSY:
            self._say(*self._unsaid.popleft())

    def _say(self, service: Service, saying: Saying) -> None:
        self._recorder.record(
            ObjectRef(
                api_version="v1",
                kind="Service",
                name=service.key.name,
                namespace=service.key.namespace,
                uid=service.uid,
            ),
            EventType.WARNING if saying.warning else EventType.NORMAL,
            saying.reason,
            saying.message,
        )


def shown_allocated(service: Service) -> ObservedCondition | None:
    """Return the condition lbctl.io/Allocated as the Service shows it."""
    return next((c for c in service.conditions if c.type == ALLOCATED), None)


def _said(service: Service, decision: Decision) -> tuple[Saying, ...]:
    if isinstance(decision, NotOurs):
        return released(service, decision.detail)
    shown = shown_allocated(service)
    return sayings(
        service,
        decision,
        shown_reason=shown.reason if shown is not None else None,
        shown_message=shown.message if shown is not None else None,
    )


def _age(service: Service) -> tuple[str, str, str]:
    return (service.created, service.key.namespace, service.key.name)
