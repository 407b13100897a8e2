"""The proxy passes everything on, and strikes as told: the double is its real server."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lbctl.api.backoff import Backoff
from lbctl.api.credentials import Credentials
from lbctl.api.errors import ApiRefused, ApiUnreachable
from lbctl.api.pace import Pace
from lbctl.api.reflector import Reflector
from lbctl.api.session import MERGE_PATCH, ApiSession
from tests.support.fake_api import FakeApi
from tests.support.fault_proxy import FaultProxy, obey
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run

NODES = "/api/v1/nodes"
QUICK = Pace(
    inactivity_s=0.3,
    useful_watch_s=0.1,
    backoff=Backoff(first_s=0.01, most_s=0.05, jitter=lambda: 0.5),
)


class Case:
    def __init__(self, api: FakeApi, proxy: FaultProxy, session: ApiSession) -> None:
        self.api, self.proxy, self.session = api, proxy, session
        self.seen: Reflector[str, str] = Reflector(
            session,
            NODES,
            project=lambda body: (body["metadata"]["name"], str(body.get("spec"))),
            on_change=lambda _: None,
            pace=QUICK,
        )

    def truth(self) -> dict[str, str]:
        return {
            body["metadata"]["name"]: str(body.get("spec")) for body in self.api.objects("nodes")
        }

    async def agrees(self) -> None:
        await eventually(lambda: self.seen.items == self.truth())


def node(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


@asynccontextmanager
async def proxied() -> AsyncIterator[Case]:
    async with FakeApi() as api:
        for number in range(5):
            api.put("nodes", node(f"n{number}"))
        async with FaultProxy.before(api.credentials(token="upstream")) as proxy:
            api.tokens = {"upstream"}
            credentials = Credentials(server=proxy.url, source="the proxy")
            async with ApiSession(credentials) as session:
                yield Case(api, proxy, session)


def test_requests_bodies_and_refusals_pass_through() -> None:
    async def case() -> None:
        async with proxied() as p:
            body = {"metadata": {"name": "new"}, "spec": {"podCIDR": "198.18.0.0/24"}}
            made = await p.session.request("POST", NODES, body=body)
            assert made.status == 201
            patched = await p.session.request(
                "PATCH",
                f"{NODES}/new/status",
                body={"status": {"phase": "x"}},
                content_type=MERGE_PATCH,
            )
            assert patched.body["status"] == {"phase": "x"}
            with pytest.raises(ApiRefused) as refused:
                await p.session.request("POST", NODES, body=body)
            assert refused.value.reason == "AlreadyExists"

    run(case())


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
def test_each_fault_strikes_through_the_proxy_and_is_survived(kind: FaultKind) -> None:
    async def case() -> None:
        async with proxied() as p:
            if kind is FaultKind.CONFLICT:
                p.proxy.faults.arm(kind)
                with pytest.raises(ApiRefused, match="409"):
                    await p.session.request("PATCH", f"{NODES}/n0", body={})
                return
            async with background(p.seen.run()):
                if kind in {FaultKind.HALF_BODY, FaultKind.GARBAGE}:
                    p.proxy.faults.arm(kind)
                await p.agrees()
                await eventually(lambda: p.proxy.watches == 1)
                p.proxy.faults.arm(kind, resource="nodes")
                if kind in {FaultKind.GONE_ON_WATCH, FaultKind.NO_ANSWER, FaultKind.THROTTLED}:
                    p.proxy.cut()
                p.api.put("nodes", node("n0", changed=True))
                p.api.delete("nodes", "n1")
                await p.agrees()
                await eventually(lambda: p.api.collection("nodes").watches >= 1)

    run(case())


def test_a_deletion_in_a_gap_is_found_by_the_next_list() -> None:
    async def case() -> None:
        async with proxied() as p, background(p.seen.run()):
            await p.agrees()
            await eventually(lambda: p.proxy.watches == 1)
            p.proxy.open_gap()
            await eventually(lambda: p.proxy.watches == 0)
            p.api.delete("nodes", "n3")
            await eventually(lambda: p.seen.counters.failures >= 2)
            assert "n3" in p.seen.items
            p.proxy.close_gap()
            await p.agrees()
            assert p.seen.counters.gone == 1

    run(case())


def test_a_real_server_that_is_away_is_away_behind_the_proxy_too() -> None:
    async def case() -> None:
        async with (
            FaultProxy("http://127.0.0.1:1") as proxy,
            ApiSession(Credentials(server=proxy.url, source="the proxy")) as session,
        ):
            with pytest.raises(ApiUnreachable):
                await session.request("GET", NODES)

    run(case())


def test_commands_arm_and_lift_faults() -> None:
    async def case() -> None:
        async with FaultProxy("http://127.0.0.1:1") as proxy:
            assert obey(proxy, "arm THROTTLED resource=nodes times=always seconds=2\n") == "ok"
            fault = proxy.faults.take("nodes", Ask.LIST)
            assert fault is not None
            assert (fault.kind, fault.times, fault.seconds) == (FaultKind.THROTTLED, None, 2.0)
            assert obey(proxy, "lift THROTTLED\n") == "ok"
            assert proxy.faults.take("nodes", Ask.LIST) is None
            assert json.loads(obey(proxy, "struck\n")) == {"THROTTLED": 1}
            assert obey(proxy, "gap on\n") == "ok"
            assert proxy.in_gap
            assert obey(proxy, "gap off\n") == "ok"
            assert obey(proxy, "cut\n") == "ok"
            assert "unknown" in obey(proxy, "dance\n")
            with pytest.raises(KeyError):
                obey(proxy, "arm NOTHING\n")

    run(case())
