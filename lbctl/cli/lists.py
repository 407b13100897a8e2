"""Read collections of one cluster as they are now, each object as soon as it has arrived.

The API server makes the list of 10,000 Services for as long as the command needs to read it, and
on another core: so an object is parsed and becomes its small value while the next ones are on
their way, which also spares the memory of all of them together. Doubts about objects are kept
until somebody says them, in the order of the requests, whichever answer comes first.
Called by `lbctl.cli.scope` and `lbctl doctor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from lbctl.api.errors import ApiRefused, ApiUnreachable
from lbctl.api.listing import PIECE, ListReader
from lbctl.api.session import ApiSession
from lbctl.api.watch import StreamBroken
from lbctl.cli.doubts import readable
from lbctl.cli.installation import Access
from lbctl.kube.crds.service_l2_status import ServiceL2Status, parse_service_l2_status
from lbctl.kube.fold import Input, Projected, Source, inputs, project_session
from lbctl.kube.groups import BGP_SESSION_STATUS, SERVICE_L2_STATUS
from lbctl.kube.objects import SERVICE_NAME_LABEL
from lbctl.model.names import ServiceKey
from lbctl.plan.tally import Sessions

_LATER: Final = frozenset({"bgppeers", "bgpadvertisements", "communities", "bgpsessionstatuses"})
"""Kinds that came with BGP."""
_SILENCE_S: Final = 30.0
"""How long an answer may pause."""

T = TypeVar("T")


class Reader:
    """Read from a cluster whose installation is known. Used for one view, then thrown away."""

    def __init__(self, session: ApiSession, access: Access) -> None:
        self.access = access
        self._session = session
        self._doubts: dict[str, list[str]] = {}

    def doubts(self) -> Iterator[str]:
        """Yield a sentence on every object that was read in part or not at all."""
        for found in self._doubts.values():
            yield from found

    def forget_doubts(self) -> None:
        """Begin anew: everything is going to be read once more."""
        self._doubts.clear()

    async def world(
        self, sources: Collection[Source] = tuple(Source), near: ServiceKey | None = None
    ) -> dict[Source, list[Projected]]:
        """Return the objects of these inputs; with `near`, of some only those of the Service."""
        wanted = [one for one in self._inputs() if one.source in sources]
        lists = await asyncio.gather(*(self._input(one, near) for one in wanted))
        return {one.source: found for one, found in zip(wanted, lists, strict=True)}

    async def slices(self, keys: Iterable[ServiceKey]) -> list[Projected]:
        """Return the EndpointSlices of these Services."""
        found = await asyncio.gather(*(self.world({Source.SLICES}, key) for key in keys))
        return [pair for one in found for pair in one[Source.SLICES]]

    async def reports(
        self, keys: Iterable[ServiceKey] | None = None
    ) -> dict[ServiceKey, tuple[ServiceL2Status, ...]]:
        """Return what speakers say they announce, of these Services or of all."""
        resource = self.access.table[SERVICE_L2_STATUS]
        path, group = resource.collection(self.access.lbctl_namespace), resource.group
        selectors = (
            [{}]
            if keys is None
            else [
                {
                    "labelSelector": f"{group}/service-name={key.name},"
                    f"{group}/service-namespace={key.namespace}"
                }
                for key in keys
            ]
        )
        lists = await asyncio.gather(
            *(self._list(resource.kind, path, parse_service_l2_status, one) for one in selectors)
        )
        sent: dict[ServiceKey, tuple[ServiceL2Status, ...]] = {}
        for status in (status for found in lists for status in found if status is not None):
            sent[status.service] = (*sent.get(status.service, ()), status)
        return sent

    async def sessions(self) -> Sessions:
        """Return what speakers say of their BGP sessions."""
        resource = self.access.table[BGP_SESSION_STATUS]
        path = resource.collection(self.access.lbctl_namespace)
        found = await self._list(resource.kind, path, project_session, {})
        return dict(pair for pair in found if pair is not None)

    def _inputs(self) -> tuple[Input, ...]:
        return inputs(self.access.table, self.access.lbctl_namespace)

    async def _input(self, item: Input, near: ServiceKey | None) -> list[Projected]:
        path, selectors = (item.path, {}) if near is None else _nearby(item, near)
        return await self._list(item.kind, path, item.project, selectors)

    async def _list(
        self, kind: str, path: str, parse: Callable[[Any], T], selectors: Mapping[str, str]
    ) -> list[T]:
        """Return what the objects of a collection say.

        There are none where an older installation lacks BGP's kinds.
        """
        doubts = self._doubts.setdefault(path, [])
        found: list[T] = []
        try:
            await read_list(
                self._session,
                path,
                lambda items: found.extend(readable(kind, items, parse, doubts.append)),
                selectors,
            )
        except ApiRefused as error:
            if error.status != 404 or path.rpartition("/")[2] not in _LATER:
                raise
        return found


async def read_list(
    session: ApiSession,
    path: str,
    take: Callable[[list[Any]], None],
    selectors: Mapping[str, str],
) -> None:
    """Hand every object of a collection that the selectors let pass to `take`, some at a time.

    In one answer: the API server makes it from its cache, pages from etcd, in three times the time.

    Raises:
        ApiUnreachable: the answer is cut, or no list.
        ApiRefused: any status outside 2xx.

    """
    reader = ListReader()
    try:
        async with session.stream(path, params=selectors, inactivity_s=_SILENCE_S) as stream:
            while piece := await stream.read():
                for begin in range(0, len(piece), PIECE):
                    take(reader.feed(piece[begin : begin + PIECE]))
        take(reader.end()[0])
    except StreamBroken as error:
        raise ApiUnreachable(str(error), method="GET", path=path) from error


async def list_all(
    session: ApiSession, path: str, selectors: Mapping[str, str] = MappingProxyType({})
) -> list[Any]:
    """Return every object of a collection that the selectors let pass, as it came."""
    found: list[Any] = []
    await read_list(session, path, found.extend, selectors)
    return found


def _nearby(item: Input, service: ServiceKey) -> tuple[str, dict[str, str]]:
    """Return where the objects of an input are that the Service touches, and their selectors."""
    inside = f"/namespaces/{service.namespace}"
    head, _, plural = item.path.rpartition("/")
    match item.source:
        case Source.SERVICES:
            return f"{head}{inside}/{plural}", {"fieldSelector": f"metadata.name={service.name}"}
        case Source.SLICES:
            label = f"{SERVICE_NAME_LABEL}={service.name}"
            return f"{head}{inside}/{plural}", {"labelSelector": label}
        case Source.NAMESPACES:
            return item.path, {"fieldSelector": f"metadata.name={service.namespace}"}
        case _:
            return item.path, {}
