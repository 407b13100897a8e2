"""An API server on paper and replicas of a controller, for `tests/simulation`.

A replica is the product's elector, writer, allocator and patches in a loop of its own
(`tests.support.sim_world`); what is left out are its reflectors: it lists again and again. The
server keeps Leases and Services under resourceVersions, and notes every write that reaches it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbctl.api.backoff import Backoff
from lbctl.api.errors import ApiRefused, ApiUnreachable
from lbctl.api.lease import LeaseElector
from lbctl.api.session import JSON, UNACKNOWLEDGED_S, ApiResponse
from lbctl.api.writer import Writer, WriterPace, Written, patch_status
from lbctl.controller.said import CLEAR_ASSIGNMENT, sayings
from lbctl.kube.patches import service_patch
from lbctl.kube.service import WrittenService, parse_service
from lbctl.model.address import Address
from lbctl.model.allocation import Outcome
from lbctl.model.names import ServiceKey
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.allocation import EMPTY, Plan, plan
from tests.support.allocation_world import NOW, AllocationWorld, Body
from tests.support.sim_world import SimProcess, Simulation

HANDSHAKE_S = 0.03
LOOK_S = 0.4


@dataclass(frozen=True)
class Landed:
    """One write of a status that reached the server."""

    at: float
    by: str
    key: ServiceKey
    accepted: bool
    late: bool
    """Whether somebody else holds the Lease and has written under it already."""


@dataclass
class SimServer:
    """The API server; `landed` and `said` are what came, in order."""

    sim: Simulation
    world: AllocationWorld
    lease: Body | None = None
    landed: list[Landed] = field(default_factory=list)
    said: list[tuple[float, ServiceKey, str, str]] = field(default_factory=list)
    changed: Callable[[ServiceKey], None] = lambda key: None
    _version: int = 0
    _holder: str = ""
    _begun: bool = False
    """Whether the holder has written since it took the Lease."""

    def answer(self, who: str, method: str, path: str, body: Body | None) -> Body:
        """Carry a request out. Raises ApiRefused."""
        if "/leases" in path:
            return self._lease(method, path, body)
        if method == "GET":
            return {"items": list(self.world.services.values())}
        assert body is not None
        namespace, name = path.split("/")[4], path.split("/")[6]
        key = ServiceKey(namespace, name)
        there = self.world.services.get(key)
        status = 0
        if there is None:
            status = 404
        elif there["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            status = 409
        late = who != self._holder and self._begun
        self._begun = self._begun or who == self._holder
        self.landed.append(Landed(self.sim.now, who, key, accepted=not status, late=late))
        if status:
            raise _refused(method, path, status)
        self.world.patch_service(key, body)
        self.changed(key)
        return self.world.services[key]

    def _lease(self, method: str, path: str, body: Body | None) -> Body:
        if self.lease is None and method != "POST":
            raise _refused(method, path, 404)
        if self.lease is not None and method == "POST":
            raise _refused(method, path, 409)
        if method == "GET":
            assert self.lease is not None
            return self.lease
        assert body is not None
        if self.lease is not None and (
            body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]
        ):
            raise _refused(method, path, 409)
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self.lease = {**body, "metadata": metadata}
        holder = body["spec"]["holderIdentity"]
        self._holder, self._begun = holder, self._begun and holder == self._holder
        return self.lease


class SimSession:
    """The way from one process to the server, with the surface of `ApiSession.request`."""

    def __init__(self, sim: Simulation, process: SimProcess, server: SimServer) -> None:
        self._sim = sim
        self._process = process
        self._server = server
        self.before_sending: Callable[[], None] = lambda: None
        """Called between the last check of a write and its sending: the worst moment."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
        may_send: Callable[[], bool] | None = None,
    ) -> ApiResponse:
        answer: asyncio.Future[Body] = self._process.loop.create_future()
        try:
            async with asyncio.timeout(30.0 if timeout_s is None else timeout_s):
                if self._sim.rng.random() < 0.7:  # no connection stands
                    await asyncio.sleep(self._sim.rng.uniform(0.5, 1.5) * HANDSHAKE_S)
                if may_send is not None:
                    if not may_send():
                        raise ApiUnreachable("not sent", method=method, path=path)
                    self.before_sending()
                self._process.deliver_now(lambda: self._send(method, path, body, answer))
                return ApiResponse(status=200, body=await answer)
        except TimeoutError as error:
            raise ApiUnreachable("no answer in time", method=method, path=path) from error

    def _send(
        self, method: str, path: str, body: Body | None, answer: asyncio.Future[Body]
    ) -> None:
        sent = self._sim.now

        def arrive() -> None:
            if self._process.cut:
                # The kernel sends again and again, until it gives up.
                if self._sim.now - sent < UNACKNOWLEDGED_S:
                    self._sim.after(0.2, arrive)
                return
            result: Body | ApiRefused
            try:
                result = self._server.answer(self._process.name, method, path, body)
            except ApiRefused as refused:
                result = refused
            self._sim.after(self._latency(), lambda: back(result))

        def back(result: Body | ApiRefused) -> None:
            if self._process.cut:
                self._sim.after(0.5, lambda: back(result))
                return
            self._process.deliver(lambda: _settle(answer, result))

        self._sim.after(self._latency(), arrive)

    def _latency(self) -> float:
        slow = self._sim.rng.random() < 0.02
        return self._sim.rng.uniform(0.2, 1.0) if slow else self._sim.rng.uniform(0.001, 0.02)


class SimReplica:
    """One life of one controller process."""

    def __init__(self, sim: Simulation, server: SimServer, identity: str) -> None:
        self.process = sim.process(identity)
        self.session = SimSession(sim, self.process, server)
        self._sim = sim
        self._server = server
        session: Any = self.session
        self.elector = LeaseElector(
            session,
            namespace="lbctl-system",
            name="lbctl-controller",
            identity=identity,
            jitter=sim.rng.random,
            clock=self.process.boot,
            wall=self.process.wall,
        )
        pace = WriterPace(backoff=Backoff(first_s=0.1, most_s=5.0, jitter=sim.rng.random))
        self.writer = Writer(
            session, may_write=self.elector.may_write, pace=pace, clock=self.process.monotonic
        )
        for work in (self.elector.run(), self.writer.run(), self._work()):
            self.process.start(work)

    async def _work(self) -> None:
        while True:
            await self.elector.leading.wait()
            term, known, seen = self.elector.term, EMPTY, None
            while self.elector.leading.is_set() and self.elector.term == term:
                try:
                    listed = await self.session.request("GET", "/api/v1/services", timeout_s=5.0)
                except ApiUnreachable:
                    await asyncio.sleep(LOOK_S)
                    continue
                versions = [body["metadata"]["resourceVersion"] for body in listed.body["items"]]
                if versions != seen:
                    known, done = await self._pass(known, listed.body["items"])
                    seen = versions if done else None
                await asyncio.sleep(LOOK_S)

    async def _pass(self, known: Plan, bodies: list[Body]) -> tuple[Plan, bool]:
        """Plan and write once; return the plan, and whether every write was done."""
        services = {
            service.key: service for body in bodies if (service := parse_service(body)) is not None
        }
        snapshot = Snapshot(
            services=services,
            pools=self._server.world.snapshot().pools,
            namespaces={key.namespace: {} for key in services},
        )
        present = plan(known, snapshot, EVERYTHING, load_balancer_class=None)
        waiting = []
        for key, service in services.items():
            decision = present.outcomes[key]
            patch = service_patch(service, decision, NOW)
            if patch is None or not isinstance(decision, Outcome):
                continue
            if any(
                address in other.addresses and address not in addresses_of(present, other.key)
                for address in decision.addresses
                for other in services.values()
                if other.key != key
            ):
                continue  # another has to give it up first
            path = f"/api/v1/namespaces/{key.namespace}/services/{key.name}"
            write = patch_status(path, resource_version=service.resource_version, patch=patch)
            waiting.append(self._write(service, decision, self.writer.submit(write)))
        return present, all(await asyncio.gather(*waiting))

    async def _write(
        self, service: WrittenService, outcome: Outcome, written: asyncio.Future[Any]
    ) -> bool:
        if not isinstance(await written, Written):
            return False
        for saying in sayings(service, outcome, shown_reason=None, shown_message=None):
            if saying.reason == CLEAR_ASSIGNMENT:
                event = (self._sim.now, service.key, saying.reason, saying.message)
                self._server.said.append(event)
        return True


def addresses_of(present: Plan, key: ServiceKey) -> tuple[Address, ...]:
    decision = present.outcomes[key]
    return decision.addresses if isinstance(decision, Outcome) else ()


def _settle(answer: asyncio.Future[Body], result: Body | ApiRefused) -> None:
    if answer.done():
        return
    if isinstance(result, ApiRefused):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def _refused(method: str, path: str, status: int) -> ApiRefused:
    return ApiRefused(method=method, path=path, status=status, reason="", message="")
