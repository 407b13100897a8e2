"""Start, end and find the controller's replicas through the API server, as an operator would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from lbctl.api.session import MERGE_PATCH, ApiSession
from tests.bench import processes

_NAMESPACE: Final = "lbctl-system"
_NAME: Final = "lbctl-controller"
_DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{_NAMESPACE}/deployments/{_NAME}"
_LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{_NAMESPACE}/leases/{_NAME}"
_PODS: Final = f"/api/v1/namespaces/{_NAMESPACE}/pods"
_CHOICE: Final = {"labelSelector": "app.kubernetes.io/component=controller"}
_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.02

T = TypeVar("T")


class Replicas:
    """The Deployment of the controller; `pids` are its processes as last looked for."""

    def __init__(self, session: ApiSession) -> None:
        self._session = session
        self.pids: dict[str, int] = {}

    async def scale(self, count: int) -> None:
        """Return when so many replicas are ready, and no other is left."""
        await self._session.request(
            "PATCH",
            f"{_DEPLOYMENT}/scale",
            body={"spec": {"replicas": count}},
            content_type=MERGE_PATCH,
        )
        await self.ready(count)

    async def ready(self, count: int) -> None:
        async def all_of_them() -> bool:
            status = (await self._session.request("GET", _DEPLOYMENT)).body.get("status", {})
            pods = (await self._session.request("GET", _PODS, params=_CHOICE)).body["items"]
            return status.get("readyReplicas", 0) == len(pods) == count

        await _until(all_of_them)
        await self.processes()

    async def processes(self) -> dict[str, int]:
        """Return the process of every pod, by the pod's name, which is its identity."""
        pods = (await self._session.request("GET", _PODS, params=_CHOICE)).body["items"]
        names = {pod["metadata"]["name"] for pod in pods}
        self.pids = {
            name: pid
            for pid in processes.running("lb-controller")
            if (name := processes.variable(pid, "LBCTL_IDENTITY")) in names
        }
        return self.pids

    async def leader(self) -> str:
        """Return the holder of the Lease, as soon as there is one that runs."""

        async def found() -> str:
            holder = await self._holder()
            return holder if holder in await self.processes() else ""

        return await _until(found)

    async def delete(self, pod: str) -> None:
        await self._session.request("DELETE", f"{_PODS}/{pod}")

    async def free_of(self, pod: str) -> None:
        """Return when the pod does not hold the Lease any more."""

        async def free() -> bool:
            return await self._holder() != pod

        await _until(free)

    async def _holder(self) -> str:
        spec: dict[str, Any] = (await self._session.request("GET", _LEASE)).body["spec"]
        return spec.get("holderIdentity") or ""


async def _until(probe: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            if found := await probe():
                return found
            await asyncio.sleep(_POLL_S)
