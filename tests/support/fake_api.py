"""An API server in memory, over real HTTP on the loopback, with faults by name.

It keeps the promises that clients rest on: one resourceVersion for all kinds, LIST, WATCH with history, selectors and bookmarks, optimistic locks,
merge patches, the status subresource. It validates nothing.
"""

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from lbctl.api.credentials import Credentials
from tests.support.faults import (
    Ask,
    FaultKind,
    FaultSchedule,
    refusal,
    relay,
    spoil,
    strike,
)

Body = dict[str, Any]
Key = tuple[str, str]  # namespace ("" for none), name

WITHOUT_STATUS = frozenset({"leases", "events", "endpointslices", "secrets"})
"""Kinds whose status, if any, is written like every other field."""


@dataclass(frozen=True)
class Change:
    """One entry of a collection's history."""

    version: int
    key: Key
    before: Body | None
    after: Body | None


@dataclass
class Collection:
    """All objects of one resource, and what happened to them."""

    group: str
    plural: str
    objects: dict[Key, Body] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    oldest: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    watches: int = 0


@dataclass(frozen=True)
class Asked:
    """One request that arrived."""

    method: str
    ask: Ask
    resource: str
    path: str
    query: Mapping[str, str]
    body: Any


class FakeApi:
    """The double; use it with `async with`, then `url` or `credentials()`."""

    def __init__(self, *, bookmark_s: float = 60.0, host: str = "127.0.0.1") -> None:
        self.faults = FaultSchedule()
        self.asked: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.tokens: set[str] | None = None
        self.denied: set[tuple[str, str, str]] = set()
        """User, verb and resource of what a SubjectAccessReview answers with no."""
        self.reviewed: list[Body] = []
        """What SubjectAccessReviews asked for."""
        self.url = ""
        self.bookmark_s = bookmark_s
        self._host = host
        self._version = 1000
        self._collections: dict[str, Collection] = {}
        self._stale: tuple[int, dict[str, dict[Key, Body]]] | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self.faults.close()
        await self._runner.cleanup()

    def credentials(self, **changes: Any) -> Credentials:
        return Credentials(**{"server": self.url, "source": "the fake API", **changes})

    # What other clients of the cluster do.

    def put(self, plural: str, body: Mapping[str, Any]) -> Body:
        """Create or replace an object, as somebody else would; return it as stored."""
        new = copy.deepcopy(dict(body))
        return self._store(self.collection(plural), new)

    def get(self, plural: str, name: str, namespace: str = "") -> Body | None:
        return self.collection(plural).objects.get((namespace, name))

    def objects(self, plural: str) -> list[Body]:
        return list(self.collection(plural).objects.values())

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        self._remove(self.collection(plural), (namespace, name))

    def expire(self, plural: str) -> None:
        """Forget the history, as a compaction does: older positions get 410."""
        collection = self.collection(plural)
        self._version += 1
        collection.oldest = self._version
        collection.history.clear()
        self._wake(collection)

    def back_up(self) -> tuple[int, dict[str, dict[Key, Body]]]:
        """Return everything stored, as a snapshot of etcd does."""
        return self._version, {
            plural: copy.deepcopy(collection.objects)
            for plural, collection in self._collections.items()
        }

    def restore(self, backup: tuple[int, dict[str, dict[Key, Body]]]) -> None:
        """Go back to a backup, versions and all; nothing tells the watches."""
        self._version = backup[0]
        for plural, collection in self._collections.items():
            collection.objects = copy.deepcopy(backup[1].get(plural, {}))
            collection.history.clear()

    def list_once_from(self, backup: tuple[int, dict[str, dict[Key, Body]]]) -> None:
        """Let the next list tell of the past, as a server does that has fallen behind."""
        self._stale = backup

    def delete_in_gap(self, plural: str, name: str, namespace: str = "") -> None:
        """Delete an object so that no watch ever tells: history gone, streams cut."""
        self.delete(plural, name, namespace)
        self.expire(plural)

    def collection(self, plural: str) -> Collection:
        return self._collections.setdefault(plural, Collection(group="", plural=plural))

    def count(self, ask: Ask, resource: str | None = None) -> int:
        """Return how many requests of this sort have arrived."""
        return sum(1 for a in self.asked if a.ask is ask and resource in {None, a.resource})

    def methods(self) -> Counter[str]:
        return Counter(asked.method for asked in self.asked)

    # Storage.

    def _store(self, collection: Collection, body: Body) -> Body:
        metadata = body.setdefault("metadata", {})
        key = (metadata.get("namespace") or "", metadata["name"])
        before = collection.objects.get(key)
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        if before is None:
            metadata.setdefault("uid", f"00000000-0000-4000-8000-{self._version:012d}")
            metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            metadata["generation"] = 1
        else:
            metadata["uid"] = before["metadata"]["uid"]
            metadata["creationTimestamp"] = before["metadata"]["creationTimestamp"]
            changed = before.get("spec") != body.get("spec")
            metadata["generation"] = before["metadata"]["generation"] + int(changed)
        if collection.plural == "services":
            _default_ip_mode(body)
        collection.objects[key] = body
        collection.history.append(Change(self._version, key, before, body))
        self._wake(collection)
        return body

    def _remove(self, collection: Collection, key: Key) -> None:
        before = collection.objects.pop(key)
        self._version += 1
        collection.history.append(Change(self._version, key, before, None))
        self._wake(collection)

    @staticmethod
    def _wake(collection: Collection) -> None:
        event, collection.changed = collection.changed, asyncio.Event()
        event.set()

    # HTTP.

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._handle(request)
        finally:
            self.in_flight -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        place = _place(request.path)
        if place is None:
            return web.Response(status=404, text="404 page not found\n")
        ask = _ask(request, place)
        body = await request.json() if request.can_read_body else None
        self.asked.append(
            Asked(request.method, ask, place.plural, request.path, dict(request.query), body)
        )
        if self.tokens is not None:
            sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if sent not in self.tokens:
                return refusal(401, "Unauthorized", "Unauthorized")
        fault = self.faults.take(place.plural, ask)
        if fault is not None:
            struck = await strike(request, fault)
            if struck is not None:
                return struck
        collection = self.collection(place.plural)
        collection.group = place.group
        if ask is Ask.WATCH:
            return await self._watch(request, collection, place)
        answer = (
            self._list(request, collection, place)
            if ask is Ask.LIST
            else self._one(request, collection, place, body)
        )
        return await spoil(request, fault, answer)

    def _one(
        self, request: web.Request, collection: Collection, place: "Place", body: Any
    ) -> web.Response:
        if request.method == "POST" and place.plural == "subjectaccessreviews":
            return self._review(body)
        if request.method == "POST":
            return self._create(collection, place, body)
        old = collection.objects.get((place.namespace, place.name))
        if old is None:
            return refusal(404, "NotFound", f'{place.plural} "{place.name}" not found')
        version = old["metadata"]["resourceVersion"]
        if request.method == "GET":
            return web.json_response(old)
        if request.method == "DELETE":
            wanted = (body or {}).get("preconditions", {})
            if any(old["metadata"].get(name) != value for name, value in wanted.items()):
                return refusal(409, "Conflict", "the precondition does not hold")
            self._remove(collection, (place.namespace, place.name))
            return web.json_response({"kind": "Status", "status": "Success"})
        if request.method == "PATCH":
            if request.content_type != "application/merge-patch+json":
                return refusal(415, "UnsupportedMediaType", request.content_type)
            asked, new = body, merge(old, body)
        else:
            asked, new = body, copy.deepcopy(body)
        locked = (asked.get("metadata") or {}).get("resourceVersion")
        if locked is not None and locked != version:
            return refusal(
                409, "Conflict", "the object has been modified; please apply your changes"
            )
        result = _written(place, old, new)
        result["metadata"]["resourceVersion"] = version
        if result == old:
            return web.json_response(old)
        return web.json_response(self._store(collection, result))

    def _review(self, body: Body) -> web.Response:
        asked = body["spec"]["resourceAttributes"]
        self.reviewed.append(asked)
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        denied = (body["spec"]["user"], asked["verb"], resource) in self.denied
        return web.json_response({**body, "status": {"allowed": not denied}}, status=201)

    def _create(self, collection: Collection, place: "Place", body: Body) -> web.Response:
        metadata = body.setdefault("metadata", {})
        if place.namespace:
            metadata["namespace"] = place.namespace
        if (place.namespace, metadata["name"]) in collection.objects:
            return refusal(409, "AlreadyExists", f'{place.plural} "{metadata["name"]}" exists')
        if place.plural not in WITHOUT_STATUS:
            body.pop("status", None)
        return web.json_response(self._store(collection, body), status=201)

    def _list(self, request: web.Request, collection: Collection, place: "Place") -> web.Response:
        version, objects = self._version, collection.objects
        if self._stale is not None:
            version, objects = self._stale[0], self._stale[1].get(collection.plural, {})
            self._stale = None
        metadata = {"resourceVersion": str(version)}
        items = [o for o in objects.values() if _selected(request, place, o)]
        fields = {"kind": "List", "metadata": metadata, "items": items}
        if place.group:
            # Of its own kinds the real one says first of which moment the list is.
            fields = {"items": items, "kind": "List", "metadata": metadata}
        return web.json_response(fields)

    async def _watch(
        self, request: web.Request, collection: Collection, place: "Place"
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        position = int(request.query.get("resourceVersion") or self._version)
        end = loop.time() + float(request.query.get("timeoutSeconds") or 3600)
        bookmark_at = loop.time() + self.bookmark_s

        async def read() -> bytes:
            nonlocal position, bookmark_at
            while True:
                if position < collection.oldest:
                    return _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
                changed = collection.changed
                news = [c for c in collection.history if c.version > position]
                if news:
                    position = news[-1].version
                    lines = b"".join(_event(request, place, change) for change in news)
                    if lines:
                        return lines
                now = loop.time()
                if now >= end:
                    return b""
                if now >= bookmark_at and "allowWatchBookmarks" in request.query:
                    bookmark_at = now + self.bookmark_s
                    position = self._version
                    return _line("BOOKMARK", {"metadata": {"resourceVersion": str(position)}})
                try:
                    async with asyncio.timeout(min(end, bookmark_at) - now):
                        await changed.wait()
                except TimeoutError:
                    continue

        collection.watches += 1
        try:
            return await relay(request, place.plural, self.faults, read)
        finally:
            collection.watches -= 1


@dataclass(frozen=True)
class Place:
    """What a path names."""

    group: str
    namespace: str
    plural: str
    name: str
    subresource: str


def _place(path: str) -> Place | None:
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, rest = "", parts[2:]
    elif parts[0] == "apis":
        group, rest = (parts[1] if len(parts) > 1 else ""), parts[3:]
    else:
        return None
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return None
    rest += [""] * (3 - len(rest))
    return Place(group, namespace, rest[0], rest[1], rest[2])


def _ask(request: web.Request, place: Place) -> Ask:
    if request.method != "GET":
        return Ask.WRITE
    if place.name:
        return Ask.GET
    if request.query.get("watch") in {"true", "1"}:
        return Ask.WATCH
    return Ask.LIST


def merge(target: Any, patch: Any) -> Any:
    """Return RFC 7386's MergePatch(target, patch)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return copy.deepcopy(result)


def _written(place: Place, old: Body, new: Body) -> Body:
    """Return what a write through this path leaves of `new`."""
    if place.plural in WITHOUT_STATUS:
        return new
    if place.subresource == "status":
        result = copy.deepcopy(old)
        result.pop("status", None)
        if "status" in new:
            result["status"] = new["status"]
        if "." not in place.group:
            # Built-in kinds take labels and annotations along; custom resources do not.
            for name in ("labels", "annotations"):
                result["metadata"].pop(name, None)
                if name in new["metadata"]:
                    result["metadata"][name] = new["metadata"][name]
        return result
    new.pop("status", None)
    if "status" in old:
        new["status"] = copy.deepcopy(old["status"])
    for name in ("uid", "creationTimestamp", "generation"):
        new["metadata"][name] = old["metadata"][name]
    return new


def _default_ip_mode(service: Body) -> None:
    """Fill in what the API server fills in: ipMode VIP beside every ip."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    for ingress in balancer.get("ingress") or []:
        if "ip" in ingress:
            ingress.setdefault("ipMode", "VIP")


def _selected(request: web.Request, place: Place, body: Body | None) -> bool:
    if body is None or (place.namespace and body["metadata"].get("namespace") != place.namespace):
        return False
    fields = request.query.get("fieldSelector", "")
    labels = request.query.get("labelSelector", "")
    for term in filter(None, fields.split(",")):
        name, _, wanted = term.partition("=")
        value: Any = body
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value != wanted.removeprefix("="):
            return False
    for term in filter(None, labels.split(",")):
        name, equals, wanted = term.partition("=")
        label = body["metadata"].get("labels", {}).get(name)
        if label is None or (equals and label != wanted.removeprefix("=")):
            return False
    return True


def _event(request: web.Request, place: Place, change: Change) -> bytes:
    """Return a change as a watcher with these selectors sees it."""
    before = _selected(request, place, change.before)
    after = _selected(request, place, change.after)
    if after and change.after is not None:
        return _line("MODIFIED" if before else "ADDED", change.after)
    if before and change.before is not None:
        gone = copy.deepcopy(change.before)
        gone["metadata"]["resourceVersion"] = str(change.version)
        return _line("DELETED", gone)
    return b""


def _line(kind: str, body: Body) -> bytes:
    return json.dumps({"type": kind, "object": body}, separators=(",", ":")).encode() + b"\n"


__all__ = ["Ask", "FakeApi", "FaultKind", "merge"]
