"""A fake API server with a reflector on its Services, and what the reflector said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lbctl.api.backoff import Backoff
from lbctl.api.pace import Pace
from lbctl.api.reflector import Changes, Reflector
from lbctl.api.session import ApiSession
from tests.support.fake_api import FakeApi
from tests.support.loop import background, eventually

SERVICES = "/api/v1/services"
POOLS = "/apis/lbctl.io/v1beta1/ipaddresspools"

QUICK = Pace(
    list_silence_s=5,
    watch_s=60,
    inactivity_s=5,
    useful_watch_s=1,
    backoff=Backoff(first_s=0.01, most_s=0.05, jitter=lambda: 0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A projected Service: a key and one field that matters, one that does not."""

    address: str
    resource_version: str = field(compare=False)


def project(body: dict[str, Any]) -> tuple[str, View] | None:
    if body["spec"].get("type") == "ClusterIP":
        return None
    metadata = body["metadata"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    return key, View(address=body["spec"]["address"], resource_version=metadata["resourceVersion"])


def service(name: str, address: str = "192.0.2.1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "web"},
        "spec": {"type": "LoadBalancer", "address": address, **spec},
    }


class Watched:
    """A fake API server with a reflector on its Services, and what it said."""

    def __init__(self, api: FakeApi, session: ApiSession, pace: Pace, path: str) -> None:
        self.api = api
        self.changes: list[Changes[str]] = []
        self.shown: list[dict[str, str]] = []
        """The addresses at the moment of each change."""
        self.unreadable: list[str] = []
        self.reflector: Reflector[str, View] = Reflector(
            session,
            path,
            project=project,
            on_change=self._heard,
            on_unreadable=lambda name, _: self.unreadable.append(name),
            pace=pace,
            jitter=lambda: 0.5,
        )

    def _heard(self, changes: Changes[str]) -> None:
        self.changes.append(changes)
        self.shown.append(self.addresses())

    def addresses(self) -> dict[str, str]:
        return {key: view.address for key, view in self.reflector.items.items()}

    def truth(self) -> dict[str, str]:
        return {
            f"web/{body['metadata']['name']}": body["spec"]["address"]
            for body in self.api.objects("services")
        }

    async def agrees(self) -> None:
        await eventually(lambda: self.addresses() == self.truth(), "the copy agrees")


@asynccontextmanager
async def watched(
    *names: str, pace: Pace = QUICK, path: str = SERVICES, bookmark_s: float = 60.0
) -> AsyncIterator[Watched]:
    async with FakeApi(bookmark_s=bookmark_s) as api:
        for name in names:
            api.put("services", service(name))
        async with ApiSession(api.credentials()) as session:
            case = Watched(api, session, pace, path)
            async with background(case.reflector.run()):
                yield case


async def watching(case: Watched) -> None:
    await eventually(lambda: case.api.collection("services").watches == 1, "a watch is open")
