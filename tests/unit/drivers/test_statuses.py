"""lb-speaker's writing of its status objects, against an API server in memory."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address

from lbctl.api.events import EventRecorder
from lbctl.api.reflector import Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer
from lbctl.kube.crds.service_l2_status import parse_service_l2_status
from lbctl.kube.fold import project_speaker
from lbctl.kube.groups import OWN_GROUP, SERVICE_L2_STATUS, SPEAKER_STATUS, groups
from lbctl.model.membership import Member
from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.agent.conductor import NOTHING, Situation, conduct
from speaker.agent.report import FastpathState
from speaker.drivers.node import statuses as module
from speaker.drivers.node.statuses import StatusPublisher
from tests.support.builders import (
    make_advertisement,
    make_endpoint,
    make_link,
    make_node,
    make_pool,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
)
from tests.support.fake_api import FakeApi
from tests.support.loop import background, eventually

NAMESPACE = "lbctl-system"
TABLE = groups(OWN_GROUP)
MANY = 400


def takeover():
    """Return what a node wants that owns `MANY` addresses, and the Services."""
    first = int(ip_address("198.18.0.0"))
    snapshot = make_snapshot(
        services=[
            make_service(f"default/s{i}", status=[str(ip_address(first + i))], mark="pool")
            for i in range(MANY)
        ],
        pools=[make_pool("pool", "198.18.0.0/15")],
        advertisements=[make_advertisement()],
        slices=[make_slice(f"default/s{i}", make_endpoint(node="node-a")) for i in range(MANY)],
        nodes=[make_node("node-a")],
        speakers=[make_speaker("node-a", incarnation=Incarnation("1"), resource_version="7")],
    )
    situation = Situation(
        now=50.0,
        me=Member(node=NodeName("node-a"), incarnation=Incarnation("1")),
        snapshot=snapshot,
        synced=True,
        links=(make_link(),),
        fastpath=FastpathState(connected=True, since=0.0, faults={}),
    )
    return conduct(NOTHING, situation), snapshot.services


def test_many_writes_do_not_each_cost_a_look_at_everything(monkeypatch):
    looks = 0
    real = module.statement_changes

    def counted(*args, **kwargs):
        nonlocal looks
        looks += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "statement_changes", counted)
    intentions, services = takeover()
    assert len(intentions.statements) == MANY
    assert intentions.statements["default.s0.ipv4"].interfaces == (LinkName("eth0"),)

    async def scenario():
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            reports = Reflector(
                session,
                TABLE[SPEAKER_STATUS].collection(NAMESPACE),
                project=project_speaker,
                on_change=lambda _: None,
            )
            said = Reflector(
                session,
                TABLE[SERVICE_L2_STATUS].collection(NAMESPACE),
                project=lambda body: (
                    None
                    if (found := parse_service_l2_status(body)) is None
                    else (found.name, found)
                ),
                on_change=lambda _: None,
            )
            writer = Writer(session, may_write=lambda: True, clock=time.monotonic)
            publisher = StatusPublisher(
                session=session,
                writer=writer,
                recorder=EventRecorder(session, component="lb-speaker", instance="node-a"),
                table=TABLE,
                namespace=NAMESPACE,
                node=NodeName("node-a"),
                reports=reports,
                statements=said,
            )
            async with background(reports.run()), background(said.run()), background(writer.run()):
                await eventually(lambda: said.synced.is_set() and reports.synced.is_set())
                publisher.consider(intentions, services)
                await eventually(
                    lambda: sum("status" in one for one in api.objects("servicel2statuses")) == MANY
                )
                await publisher.stop()

    asyncio.run(scenario())
    assert looks < MANY / 2, looks
