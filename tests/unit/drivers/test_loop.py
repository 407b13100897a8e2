"""The loop of lb-speaker against an API server in memory: how it ends before it ever planned."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from lbctl.api.session import ApiSession
from lbctl.kube.groups import OWN_GROUP, groups
from lbctl.kube.status_objects import speaker_status
from lbctl.model.membership import Member
from lbctl.model.names import Incarnation, NodeName
from lbctl.model.node import Owner
from speaker.agent.inventory import EXCLUDED, excluding
from speaker.drivers.node.loop import SpeakerLoop
from tests.support.builders import make_speaker
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually

NAMESPACE = "lbctl-system"
TABLE = groups(OWN_GROUP)
FORMER = make_speaker("n1", incarnation=Incarnation("1"))
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}


def put_former(api: FakeApi) -> None:
    wanted = speaker_status(TABLE, NAMESPACE, FORMER)
    api.put("speakerstatuses", wanted.body() | {"status": dict(wanted.status)})


@asynccontextmanager
async def speaking(api: FakeApi, tmp_path):
    """Run a loop whose fast path never answers, so that it cannot plan."""
    async with ApiSession(api.credentials()) as session:
        loop = SpeakerLoop(
            session=session,
            table=TABLE,
            namespace=NAMESPACE,
            me=Member(node=NodeName("n1"), incarnation=Incarnation("2")),
            socket=tmp_path / "nobody.sock",
            load_balancer_class=None,
            owners=(Owner(kind="Pod", name="speaker-x", uid="u1"),),
            excluded_links=excluding(EXCLUDED),
            ignore_exclude_label=False,
            shutdown_wait_s=0.0,
            clock=asyncio.get_running_loop().time,
        )
        async with background(loop.run()):
            yield loop


def report(api: FakeApi):
    return api.get("speakerstatuses", "n1", NAMESPACE)


@pytest.mark.parametrize("synced", [False, True], ids=["at once", "after the first lists"])
def test_a_speaker_stopped_before_its_first_plan_says_that_it_leaves(tmp_path, synced):
    async def scenario():
        async with FakeApi() as api:
            put_former(api)
            if not synced:
                slow = frozenset({Ask.LIST})
                api.faults.arm(FaultKind.SLOW, asks=slow, times=None, seconds=0.05)
            async with speaking(api, tmp_path) as loop:
                if synced:
                    await eventually(lambda: not [p for p in loop.problems() if "/apis" in p])
                loop.stop()
                await asyncio.wait_for(loop.done.wait(), 20)
            assert report(api)["status"]["draining"] is True
            assert report(api)["status"]["incarnation"] == "1"

    asyncio.run(scenario())


def test_without_the_kinds_of_bgp_a_speaker_is_ready_and_knows_when_it_was_in_contact(tmp_path):
    async def scenario():
        async with FakeApi() as api:
            for kind in ("bgppeers", "bgpadvertisements", "communities"):
                api.faults.arm(FaultKind.CRD_MISSING, resource=kind, times=None)
            async with speaking(api, tmp_path) as loop:
                await eventually(lambda: not [p for p in loop.problems() if "/api" in p])
                assert loop.inputs_contact > 0

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["ipaddresspools", "communities"])
def test_a_speaker_without_some_kind_says_which(tmp_path, kind):
    async def scenario():
        async with FakeApi() as api:
            api.faults.arm(FaultKind.CRD_MISSING, resource=kind, times=None)
            async with speaking(api, tmp_path) as loop:
                await eventually(
                    lambda: [kind in p for p in loop.problems() if "fastpath" not in p] == [True]
                )

    asyncio.run(scenario())


def test_a_speaker_stopped_before_its_first_report_leaves_none_behind(tmp_path):
    async def scenario():
        async with FakeApi() as api:
            async with speaking(api, tmp_path) as loop:
                await eventually(lambda: not [p for p in loop.problems() if "/apis" in p])
                loop.stop()
                await asyncio.wait_for(loop.done.wait(), 20)
            assert report(api) is None

    asyncio.run(scenario())


def test_a_speaker_ends_although_the_api_server_does_not_answer(tmp_path):
    async def scenario():
        async with FakeApi() as api:
            put_former(api)
            api.faults.arm(FaultKind.NO_ANSWER, times=None)
            async with speaking(api, tmp_path) as loop:
                loop.stop()
                await asyncio.wait_for(loop.done.wait(), 20)

    asyncio.run(scenario())


def test_statements_of_others_are_no_reason_to_plan(tmp_path):
    async def scenario():
        async with FakeApi() as api:
            api.put("nodes", NODE)
            async with speaking(api, tmp_path) as loop:
                await eventually(lambda: not [p for p in loop.problems() if "/ap" in p])
                await eventually(lambda: loop.links.current is not None and loop.plans > 0)
                plans = loop.plans
                for number in range(1, 51):
                    api.put(
                        "servicel2statuses",
                        {
                            "metadata": {"name": f"default.s{number}.ipv4", "namespace": NAMESPACE},
                            "status": {
                                "node": "n2",
                                "serviceName": f"s{number}",
                                "serviceNamespace": "default",
                            },
                        },
                    )
                    await eventually(lambda number=number: len(loop.statements.items) == number)
                # The fast path's absence is reported once meanwhile, after its grace.
                assert loop.plans - plans < 10

    asyncio.run(scenario())
