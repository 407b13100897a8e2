"""lb-speaker's writing of its status objects, against an API server in memory."""

from __future__ import annotations

import asyncio
import copy
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address

from lbctl.api.events import EventRecorder
from lbctl.api.reflector import Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer, WriterPace
from lbctl.kube.crds.service_l2_status import parse_service_l2_status
from lbctl.kube.fold import project_speaker
from lbctl.kube.groups import OWN_GROUP, SERVICE_L2_STATUS, SPEAKER_STATUS, groups
from lbctl.kube.status_objects import speaker_status
from lbctl.model.membership import Member
from lbctl.model.names import Incarnation, LinkName, NodeName
from lbctl.model.node import Owner
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
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually

NAMESPACE = "lbctl-system"
TABLE = groups(OWN_GROUP)
MANY = 400
WRITES = frozenset({Ask.WRITE})


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


@dataclass(frozen=True)
class Writing:
    """A publisher, the API that it writes to, and the reflectors that show it what is there."""

    api: FakeApi
    publisher: StatusPublisher
    writer: Writer
    reports: Reflector
    said: Reflector

    def report(self):
        return self.api.get("speakerstatuses", "node-a", NAMESPACE)

    def writes(self, plural):
        return [a for a in self.api.asked if a.ask is Ask.WRITE and a.resource == plural]


@asynccontextmanager
async def writing(*reports, pace=None):
    """Run a publisher over a cluster that shows `reports` already."""
    async with FakeApi() as api, ApiSession(api.credentials()) as session:
        for body in reports:
            api.put("speakerstatuses", body)
        shown = Reflector(
            session,
            TABLE[SPEAKER_STATUS].collection(NAMESPACE),
            project=project_speaker,
            on_change=lambda _: publisher.look(),
        )
        said = Reflector(
            session,
            TABLE[SERVICE_L2_STATUS].collection(NAMESPACE),
            project=lambda body: (
                None if (found := parse_service_l2_status(body)) is None else (found.name, found)
            ),
            on_change=lambda names: publisher.statements_changed(names),  # noqa: PLW0108 - made below
        )
        writer = Writer(session, may_write=lambda: True, clock=time.monotonic, pace=pace)
        publisher = StatusPublisher(
            session=session,
            writer=writer,
            recorder=EventRecorder(session, component="lb-speaker", instance="node-a"),
            table=TABLE,
            namespace=NAMESPACE,
            node=NodeName("node-a"),
            reports=shown,
            statements=said,
            on_reported=lambda: None,
        )
        async with background(shown.run()), background(said.run()), background(writer.run()):
            await eventually(lambda: said.synced.is_set() and shown.synced.is_set())
            yield Writing(api=api, publisher=publisher, writer=writer, reports=shown, said=said)
            await publisher.stop()


def published(report):
    """Return `report` as an object of the API server."""
    wanted = speaker_status(TABLE, NAMESPACE, report)
    return wanted.body() | {"status": dict(wanted.status)}


def pod(name):
    return (Owner(kind="Pod", name=name, uid=f"uid-{name}"),)


def owners(body):
    return [one["name"] for one in body["metadata"].get("ownerReferences", [])]


OWN = make_speaker("node-a", incarnation=Incarnation("2"), owners=pod("new"))


def test_many_writes_do_not_each_cost_a_look_at_everything(monkeypatch):
    looked_at = 0
    real = module.statement_changes

    def counted(wanted, *args, names, **kwargs):
        nonlocal looked_at
        looked_at += len(wanted) if names is None else len(names)
        return real(wanted, *args, names=names, **kwargs)

    monkeypatch.setattr(module, "statement_changes", counted)
    intentions, services = takeover()
    assert len(intentions.statements) == MANY
    assert intentions.statements["default.s0.ipv4"].interfaces == (LinkName("eth0"),)

    async def scenario():
        async with writing() as w:
            w.publisher.consider(intentions, services)
            await eventually(
                lambda: sum("status" in one for one in w.api.objects("servicel2statuses")) == MANY
            )
            await eventually(lambda: w.writer.depth == 0 and not w.publisher.reporting)
            w.publisher.consider(intentions, services)
            # One that somebody else changed is put right without a look at the others.
            before = looked_at
            spoiled = w.api.get("servicel2statuses", "default.s7.ipv4", NAMESPACE)
            good = copy.deepcopy(spoiled["status"])
            w.api.put("servicel2statuses", spoiled | {"status": {**good, "node": "node-x"}})

            def mended():
                # Its own report may have it look before anybody sees that it is spoiled.
                w.publisher.look()
                found = w.api.get("servicel2statuses", "default.s7.ipv4", NAMESPACE)
                return found["status"] == good

            await eventually(mended)
            assert looked_at - before < 10

    asyncio.run(scenario())
    assert looked_at < 4 * MANY, looked_at


def test_what_did_not_change_is_not_compared_again(monkeypatch):
    def never(*_, **__):
        raise AssertionError("compared without a reason")

    intentions, services = takeover()

    async def scenario():
        async with writing() as w:
            w.publisher.consider(intentions, services)
            await eventually(
                lambda: sum("status" in one for one in w.api.objects("servicel2statuses")) == MANY
            )
            await eventually(lambda: not w.publisher.busy)
            w.publisher.look()
            monkeypatch.setattr(module, "statement_changes", never)
            w.publisher.consider(replace(intentions, deadline=99.0), services)
            w.publisher.look()

    asyncio.run(scenario())


def test_leaving_is_told_ahead_of_hundreds_of_statements():
    intentions, services = takeover()
    report = replace(OWN, draining=True)

    async def scenario():
        async with writing(published(OWN), pace=WriterPace(in_flight=2)) as w:
            w.api.faults.arm(FaultKind.SLOW, asks=WRITES, times=None, seconds=0.01)
            w.publisher.consider(replace(intentions, report=OWN), services)
            await eventually(lambda: len(w.writes("servicel2statuses")) > 10)
            w.publisher.consider(replace(intentions, report=report), services)
            await eventually(lambda: w.report()["status"]["draining"])
            assert len(w.writes("servicel2statuses")) < MANY

    asyncio.run(scenario())


def test_a_report_is_born_with_its_pod():
    async def scenario():
        async with writing() as w:
            w.publisher.consider(replace(NOTHING, report=OWN), {})
            await eventually(lambda: w.report() is not None and "status" in w.report())
            assert owners(w.report()) == ["new"]

    asyncio.run(scenario())


def test_a_new_pod_takes_the_report_over_from_the_former_one():
    former = make_speaker("node-a", incarnation=Incarnation("1"), owners=pod("old"))

    async def scenario():
        async with writing(published(former)) as w:
            w.publisher.consider(replace(NOTHING, report=OWN), {})
            await eventually(lambda: w.report()["status"]["incarnation"] == "2")
            assert owners(w.report()) == ["new"]
            # The pod first: with the old one Kubernetes would delete what was just said.
            assert [a.path.endswith("/status") for a in w.writes("speakerstatuses")] == [
                False,
                True,
            ]

    asyncio.run(scenario())


def test_only_the_pod_is_rewritten_if_only_the_pod_differs():
    async def scenario():
        async with writing(published(replace(OWN, owners=pod("foreign")))) as w:
            w.publisher.consider(replace(NOTHING, report=OWN), {})
            await eventually(lambda: owners(w.report()) == ["new"])
            await eventually(lambda: not w.publisher.reporting)
            assert len(w.writes("speakerstatuses")) == 1

    asyncio.run(scenario())


def test_outside_of_a_pod_the_report_belongs_to_nobody():
    async def scenario():
        async with writing(published(OWN)) as w:
            w.publisher.consider(replace(NOTHING, report=replace(OWN, owners=())), {})
            await eventually(lambda: owners(w.report()) == [])

    asyncio.run(scenario())


def test_a_report_that_vanishes_is_published_anew():
    async def scenario():
        async with writing(published(OWN)) as w:
            w.publisher.consider(replace(NOTHING, report=OWN), {})
            w.api.delete("speakerstatuses", "node-a", NAMESPACE)
            await eventually(lambda: w.report() is not None and "status" in w.report())
            assert owners(w.report()) == ["new"]

    asyncio.run(scenario())


def test_a_report_that_is_deleted_while_it_is_taken_over_is_made_anew():
    former = make_speaker("node-a", incarnation=Incarnation("1"), owners=pod("old"))

    async def scenario():
        async with writing(published(former)) as w:
            w.api.faults.arm(FaultKind.STALLED_WATCH, resource="speakerstatuses", times=None)
            w.api.delete("speakerstatuses", "node-a", NAMESPACE)
            w.publisher.consider(replace(NOTHING, report=OWN), {})
            await eventually(lambda: w.report() is not None and "status" in w.report())
            assert owners(w.report()) == ["new"]
            w.api.faults.lift()

    asyncio.run(scenario())


def test_a_report_whose_pod_cannot_be_told_is_published_all_the_same():
    former = make_speaker("node-a", incarnation=Incarnation("1"), owners=pod("old"))

    async def scenario():
        async with writing(published(former)) as w:
            w.api.faults.arm(FaultKind.FORBIDDEN, resource="speakerstatuses", asks=WRITES)
            w.publisher.consider(replace(NOTHING, report=OWN), {})
            await eventually(lambda: w.report()["status"]["incarnation"] == "2")
            await eventually(lambda: owners(w.report()) == ["new"])

    asyncio.run(scenario())
