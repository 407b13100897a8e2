"""An independent witness: watches Services and pools, and judges every change of an address.

It shares nothing with the product: it reads bodies with `tests.support.allocation_reading` and
asks the dumb oracle. One address on two Services that may not share it is a *double*. A double
that a write made is the product's; one that an edit of a Service made, or met on its way, is
nobody's fault: it is counted, and has to be gone when the round has settled. An address that a
Service loses must have become unlawful for it within the last seconds, or is unlawful still.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lbctl.api.session import ApiSession
from tests.support.allocation_oracle import Oracle, clash, counters, marked
from tests.support.allocation_reading import (
    Address,
    ReadPool,
    ReadService,
    read_pool,
    read_service,
    selects,
)

Body = dict[str, Any]
Key = tuple[str, str]

SERVICES = "/api/v1/services"
POOLS = "/apis/lbctl.io/v1beta1/namespaces/lbctl-system/ipaddresspools"
RACE_S = 3.0
"""How long after an edit a write may have been judged by what was before it."""
COUNTERS = ("assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6")


@dataclass
class Witness:
    """Hold what is and what was a moment ago, and what was seen."""

    session: ApiSession
    services: dict[Key, Body] = field(default_factory=dict)
    pools: dict[str, Body] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    seen: Counter[str] = field(default_factory=Counter)
    doubles: list[str] = field(default_factory=list)
    """Each double that a write made although no edit was under way."""
    unjust: list[str] = field(default_factory=list)
    """Each address that was taken away without a reason."""
    last_event: float = 0.0
    _read: dict[Key, ReadService] = field(default_factory=dict)
    _showing: dict[Address, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _versions: dict[Key, deque[tuple[float, ReadService]]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    _shown: dict[Address, deque[tuple[float, ReadService]]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    _pools: deque[tuple[float, list[ReadPool]]] = field(default_factory=deque)

    async def run(self) -> None:
        """Watch until cancelled; the streams live as long as the API server."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(POOLS, self._pool))
            group.create_task(self._follow(SERVICES, self._service))

    async def _follow(self, path: str, heard: Any) -> None:
        listed = await self.session.request("GET", path)
        for body in listed.body["items"]:
            heard("ADDED", body)
        version = listed.body["metadata"]["resourceVersion"]
        params = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "36000"}
        async with self.session.stream(path, params=params, inactivity_s=36000) as stream:
            rest = b""
            while piece := await stream.read():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    heard(event["type"], event["object"])
        raise RuntimeError(f"the witness's watch of {path} ended")

    # What comes

    def _pool(self, kind: str, body: Body) -> None:
        self.last_event = time.monotonic()
        if kind == "DELETED":
            self.pools.pop(body["metadata"]["name"], None)
        else:
            self.pools[body["metadata"]["name"]] = body
        self._pools.append((self.last_event, [read_pool(item) for item in self.pools.values()]))
        _forget(self._pools, self.last_event)

    def _service(self, kind: str, body: Body) -> None:
        self.last_event = now = time.monotonic()
        for name in ("annotations", "labels"):
            body["metadata"].setdefault(name, {})
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        before = self._read.get(key)
        if before is not None and before.uid != body["metadata"]["uid"]:
            before = None
        after = read_service(body)
        versions = self._versions[key]
        versions.append((now, after))
        _forget(versions, now)
        for address in before.shown if before else ():
            self._showing[address].discard(key)
            self._shown[address].append((now, after))
            _forget(self._shown[address], now)
        if kind == "DELETED":
            self.services.pop(key, None)
            self._read.pop(key, None)
            self.seen["given up by deletion"] += len(after.shown)
            return
        self.services[key], self._read[key] = body, after
        for address in after.shown:
            self._showing[address].add(key)
        had = set(before.shown) if before else set()
        for address in set(after.shown) - had:
            self._given(after, address, now)
        for address in had - set(after.shown):
            self._taken(after, address, now)

    def _given(self, it: ReadService, address: Address, now: float) -> None:
        self.seen["given"] += 1
        for key in self._showing[address]:
            other = self._read[key]
            if clash(it, other):
                if self._edited(it.key, now) or self._edited(key, now):
                    self.seen["met an edit"] += 1
                else:
                    self.doubles.append(f"{address} given to {it.key}, and {key} shows it")

    def _taken(self, it: ReadService, address: Address, now: float) -> None:
        if it.type != "LoadBalancer":
            self.seen["given up by a type"] += 1
            return
        if any(self._reasons(it, address, now)):
            self.seen["taken for a reason"] += 1
        else:
            text = json.dumps(self.services[it.key])
            self.unjust.append(f"{address} taken from {it.key} without a reason: {text}")

    def _edited(self, key: Key, now: float) -> bool:
        """Return whether what decides about sharing changed a moment ago."""
        terms = {
            (it.sharing_key, it.ports, it.local, str(it.selector), it.type)
            for it in self._lately(key, now)
        }
        return len(terms) > 1

    def _lately(self, key: Key, now: float) -> list[ReadService]:
        _forget(self._versions[key], now)
        return [version for _, version in self._versions[key]]

    def _reasons(self, it: ReadService, address: Address, now: float) -> Iterator[bool]:
        """Yield whether the address is, or was a moment ago, unlawful for the Service."""
        _forget(self._pools, now)
        others = [other for at, other in self._shown[address] if at > now - RACE_S]
        for key in self._showing[address]:
            others += self._lately(key, now)
        for version in self._lately(it.key, now):
            yield address.version not in version.versions
            yield bool(version.asks) and address not in version.asks
            for _, pools in self._pools:
                yield not any(_serves(pool, version, address) for pool in pools)
            for other in others:
                yield bool(clash(version, other))

    # What is, once nothing happens any more

    def differences(self) -> list[str]:
        """Return everything that is not as the oracle would leave it."""
        if not self.pools:
            return ["there is no pool yet"]
        said = Oracle(None).answer(self)
        found = [
            f"{key}: shows {shown}, the oracle says {wanted}"
            for key, body in self.services.items()
            if (shown := _shown(body)) != (wanted := _wanted(said[key], body))
        ]
        showing = {address for address, keys in self._showing.items() if keys}
        for name, body in self.pools.items():
            pool = read_pool(body)
            status = body.get("status", {})
            told = tuple(status.get(counter) for counter in COUNTERS)
            verdict = (status.get("conditions") or [{}])[0].get("observedGeneration")
            if verdict != pool.generation:
                found.append(f"pool {name}: generation {pool.generation} is not judged yet")
            if pool.accepted and told != counters(pool, showing):
                found.append(f"pool {name}: counters {told} instead of {counters(pool, showing)}")
        for address, keys in self._showing.items():
            sharers = [self._read[key] for key in sorted(keys)]
            if any(clash(one, other) for one in sharers for other in sharers):
                found.append(f"{address} is on {sorted(keys)}")
        return found


def _shown(body: Body) -> tuple[Any, ...]:
    it = read_service(body)
    conditions = body["status"].get("conditions") or []
    reason = [item["reason"] for item in conditions if item["type"] == "lbctl.io/Allocated"]
    return (it.shown, it.mark, "".join(reason))


def _wanted(said: Any, body: Body) -> tuple[Any, ...]:
    if said.ours:
        return (said.addresses, ",".join(dict.fromkeys(said.pools)), said.reason)
    # What is not ours keeps whatever it has, unless it carries our mark: that must go.
    return ((), "", "") if said.release else _shown(body)


def _serves(pool: ReadPool, it: ReadService, address: Address) -> bool:
    """Return whether the Service may keep the address because of this pool."""
    if it.pool not in ("", pool.name):
        return False
    if pool.blocks is None:
        return pool.name == marked(it, address)  # edited into nonsense: what it gave stays
    wanted = (pool.rule or {}).get("serviceSelectors") or ()
    return address in pool and (
        not wanted or any(selects(selector, it.labels) for selector in wanted)
    )


def _forget(history: deque[tuple[float, Any]], now: float) -> None:
    """Drop what was over before the last seconds; what still held then stays."""
    while len(history) > 1 and history[1][0] < now - RACE_S:
        history.popleft()
