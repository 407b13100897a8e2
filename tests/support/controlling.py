"""Run lb-controller's parts against the API double, and say what its cluster shows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

from lbctl.api.backoff import Backoff
from lbctl.api.credentials import Credentials
from lbctl.api.lease import LeaseTimes
from lbctl.api.pace import Pace
from lbctl.api.session import ApiSession
from lbctl.controller.announcing import AnnouncingPace
from lbctl.controller.bgp_statuses import StatusPace
from lbctl.controller.main import Parts, compose, run_parts
from lbctl.controller.reconciler import ReconcilerPace
from lbctl.controller.settings import read_settings
from tests.support.fake_api import Body, FakeApi
from tests.support.loop import eventually

NAMESPACE = "lbctl-system"
TIMES = LeaseTimes(duration_s=8.0, renew_deadline_s=6.0, retry_s=0.05, margin_s=0.1)
"""A release is noticed at once; only a death takes its time."""
PACE = Pace(backoff=Backoff(first_s=0.01, most_s=0.1), unknown_s=0.1)
NEVER_S = 3600.0
MARK = "lbctl.io/ip-allocated-from-pool"


@asynccontextmanager
async def controller(
    api: FakeApi, *flags: str, identity: str = "a", settle_s: float = NEVER_S
) -> AsyncIterator[Parts]:
    """Run one replica; leaving the block stops it as SIGTERM does.

    Unless `settle_s` is given no Service is told that nobody announces it.
    """
    running = await start(api, *flags, identity=identity, settle_s=settle_s)
    try:
        yield running.parts
    finally:
        await running.stop()


class Running:
    """One replica at work."""

    def __init__(self, parts: Parts, session: ApiSession) -> None:
        self.parts = parts
        self.session = session
        self._stopping = asyncio.Event()
        self.task = asyncio.create_task(run_parts(parts, self._stopping))

    async def stop(self) -> None:
        self._stopping.set()
        await self.task
        await self.session.close()

    async def kill(self) -> None:
        """Let it die as with SIGKILL: nothing is released, nothing more is sent."""
        await self.session.close()
        self.session.credentials = Credentials(server="http://127.0.0.1:9", source="dead")
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.session.close()


async def start(
    api: FakeApi,
    *flags: str,
    identity: str = "a",
    times: LeaseTimes = TIMES,
    settle_s: float = NEVER_S,
) -> Running:
    arguments = ["--namespace", NAMESPACE, "--identity", identity, "--webhook-port", "0", *flags]
    settings = read_settings(arguments, {})
    credentials = api.credentials()
    session = ApiSession(credentials, timeout_s=5.0)
    reconciling = ReconcilerPace(
        announcing=AnnouncingPace(settle_s=settle_s), bgp_statuses=StatusPace(settle_s=settle_s)
    )
    parts = compose(settings, credentials, session, times=times, pace=PACE, reconciling=reconciling)
    return Running(parts, session)


def put_pool(api: FakeApi, name: str, *addresses: str, created: int = 0, **spec: Any) -> Body:
    return api.put(
        "ipaddresspools",
        {
            "apiVersion": "lbctl.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
            },
            "spec": {"addresses": list(addresses), **spec},
        },
    )


def put_service(
    api: FakeApi,
    name: str,
    *,
    status: Iterable[str] = (),
    annotations: dict[str, str] | None = None,
    created: int = 0,
    **spec: Any,
) -> Body:
    ingress = [{"ip": address} for address in status]
    return api.put(
        "services",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name,
                "namespace": "web",
                "creationTimestamp": f"2026-01-01T00:{created // 60:02}:{created % 60:02}Z",
                "annotations": annotations or {},
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "198.18.0.10",
                "clusterIPs": ["198.18.0.10"],
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"port": 80, "protocol": "TCP"}],
                **spec,
            },
            "status": {"loadBalancer": {"ingress": ingress} if ingress else {}},
        },
    )


def edit(api: FakeApi, plural: str, name: str, change: Callable[[Body], None]) -> None:
    """Change an object as somebody else would."""
    namespace = "web" if plural == "services" else NAMESPACE
    body = api.get(plural, name, namespace)
    assert body is not None
    copied = _copy(body)
    change(copied)
    api.put(plural, copied)


def shown(api: FakeApi, name: str) -> list[str]:
    """Return the addresses that a Service shows."""
    body = api.get("services", name, "web") or {}
    ingress = (body.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
    return [entry["ip"] for entry in ingress]


def condition(api: FakeApi, plural: str, name: str, type_: str) -> Body:
    """Return one condition of an object, {} without it."""
    body = api.get(plural, name, "web" if plural == "services" else NAMESPACE) or {}
    found = (body.get("status") or {}).get("conditions") or []
    return next((item for item in found if item["type"] == type_), {})


def allocated(api: FakeApi, name: str) -> str:
    """Return the reason of a Service's condition, "" without one."""
    return str(condition(api, "services", name, "lbctl.io/Allocated").get("reason", ""))


def announced(api: FakeApi, name: str) -> tuple[str, str]:
    """Return status and reason of a Service's condition, empty without one."""
    found = condition(api, "services", name, "lbctl.io/Announced")
    return str(found.get("status", "")), str(found.get("reason", ""))


def accepted(api: FakeApi, name: str, plural: str = "ipaddresspools") -> str:
    return str(condition(api, plural, name, "Accepted").get("reason", ""))


def counters(api: FakeApi, name: str) -> tuple[Any, ...]:
    status = (api.get("ipaddresspools", name, NAMESPACE) or {}).get("status") or {}
    names = ("assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6")
    return tuple(status.get(counter) for counter in names)


def events(api: FakeApi, name: str) -> list[tuple[str, str, str]]:
    """Return type, reason and message of the Events about an object."""
    return [
        (event["type"], event["reason"], event["message"])
        for event in api.objects("events")
        if event["involvedObject"]["name"] == name
    ]


def owners(api: FakeApi) -> Counter[str]:
    """Return how many Services show each address."""
    return Counter(
        str(ip_address(address))
        for body in api.objects("services")
        for address in shown(api, body["metadata"]["name"])
    )


async def all_served(api: FakeApi, names: Iterable[str]) -> None:
    wanted = list(names)
    await eventually(lambda: all(shown(api, name) for name in wanted), "every Service served")


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
