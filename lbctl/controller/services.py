"""Write what was decided onto Services, and say what changed. Decides nothing itself.

`look` compares decisions with what the Services show and submits a write where they differ. An
address that one Service still shows and another shall have is handed over in order: the taker's
write is held back until the giver's is seen to be done, so that no watcher ever finds one address
on two Services. Who must wait while another waits for him (Services that exchange addresses)
gives up first and takes afterwards, or both would wait for ever. The caller is
`lbctl.controller.reconciler`.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.lease import wall_clock
from lbctl.api.writer import Writer, patch_status
from lbctl.controller.announcing import Announcing
from lbctl.controller.desk import Desk, DeskPace
from lbctl.controller.inputs import Inputs
from lbctl.controller.said import (
    CLEAR_ASSIGNMENT,
    Saying,
    announce_failed,
    deprecation,
    released,
    sayings,
)
from lbctl.kube.groups import SERVICES
from lbctl.kube.patches import ALLOCATED, ANNOUNCED, service_patch
from lbctl.kube.service import WrittenService
from lbctl.kube.times import rfc3339
from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import ObservedCondition, Service
from lbctl.plan.allocation import Decision
from lbctl.plan.announced import Announced

BUSY: Final = 32
"""Status writes under way above which Events wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """Hold one Service that does not show what was decided."""

    service: WrittenService
    decision: Decision
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
        announcing: Announcing,
        *,
        again: Callable[[ServiceKey], None],
        go_on: Callable[[ServiceKey], None],
        pace: DeskPace | None = None,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self._inputs = inputs
        self._recorder = recorder
        self._announcing = announcing
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
        present = self._inputs.snapshot().services
        self._deprecated = {key: said for key, said in self._deprecated.items() if key in present}
        self.desk.keep_only(present)
        self._leaving.clear()
        self._leaves.clear()
        self._waiting.clear()

    def _compare(self, service: WrittenService, decision: Decision, now: str) -> _Difference | None:
        addresses = decision.addresses if isinstance(decision, Outcome) else ()
        announced = self._announcing.word(service, addresses)
        patch = service_patch(service, decision, now, announced=announced)
        leaves = (
            frozenset(service.addresses) - frozenset(addresses)
            if patch is not None
            else frozenset()
        )
        self._note_leaving(service.key, leaves)
        if isinstance(decision, Outcome):
            self._say_deprecated(service)
        if patch is None:
            self.desk.settle(service.key)
            return None
        return _Difference(
            service=service,
            decision=decision,
            patch=patch,
            said=_said(service, decision, announced),
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
            if not any(self._waiting.get(leaving) for leaving in self._leaves.get(service.key, ())):
                return
            difference = _half_way(difference, held_back, rfc3339(self._wall()))

        def written(body: dict[str, Any]) -> None:
            self._inputs.observe(SERVICES.kind, body)
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
        self._announcing.forget(key)
        self.desk.settle(key)

    def _say_deprecated(self, service: WrittenService) -> None:
        """Warn when the use of deprecated annotations is new, not at a restart."""
        now = (service.uid, service.uses_deprecated_annotations)
        before = self._deprecated.get(service.key)
        if before == now:
            return
        # Kept for those without, too: what they take to later is then known to be new.
        self._deprecated[service.key] = now
        said_by_another_process = before is None and _shown(service, ALLOCATED) is not None
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


def _shown(service: Service, type_: str) -> ObservedCondition | None:
    """Return a condition of ours as the Service shows it."""
    return next((c for c in service.conditions if c.type == type_), None)


def _half_way(difference: _Difference, held_back: Iterable[Address], now: str) -> _Difference:
    """Return the step that gives up what must go and does not take what others still show."""
    decision, waits_for = difference.decision, frozenset(held_back)
    assert isinstance(decision, Outcome), "only an Outcome gains addresses"
    has = [
        (address, pool)
        for address, pool in zip(decision.addresses, decision.pools, strict=True)
        if address not in waits_for
    ]
    missing = ", ".join(map(str, sorted(waits_for, key=str)))
    step = decision._replace(
        addresses=tuple(address for address, _ in has),
        pools=tuple(pool for _, pool in has),
        refused=Refused(
            reason=Reason.ADDRESS_IN_USE,
            detail=f"waits until another Service has given up {missing}",
        ),
    )
    patch = service_patch(difference.service, step, now)
    assert patch is not None, "an address leaves"
    return replace(
        difference,
        patch=patch,
        said=tuple(said for said in difference.said if said.reason == CLEAR_ASSIGNMENT),
    )


def _said(service: Service, decision: Decision, announced: Announced | None) -> tuple[Saying, ...]:
    if isinstance(decision, NotOurs):
        return released(service, decision)
    shown = _shown(service, ALLOCATED)
    return (
        *sayings(
            service,
            decision,
            shown_reason=shown.reason if shown is not None else None,
            shown_message=shown.message if shown is not None else None,
        ),
        *announce_failed(announced, shown=_shown(service, ANNOUNCED)),
    )


def _age(service: Service) -> tuple[str, str, str]:
    return (service.created, service.key.namespace, service.key.name)
