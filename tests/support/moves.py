"""A cluster of conductors on paper, for transcripts: commands in, what each speaker does out.

Every speaker plans alone from the one world; a report that a speaker wants to publish is in the
world at the next step, as the API server would have it. Time stands still unless `wait` says so.
"""

from __future__ import annotations

from dataclasses import replace

from lbctl.model.address import Address, parse_address
from lbctl.model.endpoints import EndpointState
from lbctl.model.membership import Member
from lbctl.model.names import NodeName
from lbctl.model.node import Link, Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announcement import announcement_plan
from lbctl.plan.eligibility import EXCLUDE_LABEL
from speaker.agent.conductor import NOTHING, Intentions, Situation, conduct
from speaker.agent.report import FastpathState
from speaker.wire.control import Entry, Mode
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

_STEPS = 6


class Moves:
    """Obey commands and tell what changed."""

    def __init__(self) -> None:
        self._now = 100.0
        self._nodes: dict[str, Node] = {}
        self._links: dict[str, tuple[Link, ...]] = {}
        self._reports: dict[str, SpeakerReport] = {}
        self._alive: set[str] = set()
        self._stopping: set[str] = set()
        self._services: dict[str, Service] = {}
        self._endpoints: dict[str, list[tuple[str, EndpointState]]] = {}
        self._intentions: dict[str, Intentions] = {}
        self._told: dict[Address, str] = {}
        self._version = 1

    def obey(self, line: str) -> list[str]:
        """Carry out one command and return what the speakers did about it."""
        verb, *words = line.split()
        if verb == "explain":
            return self._explain(words[0])
        getattr(self, f"_do_{verb}")(*words)
        return self._settle()

    def _do_nodes(self, *names: str) -> None:
        for index, name in enumerate(names, 2):
            self._nodes[name] = make_node(name)
            self._links[name] = (make_link("eth0", f"192.0.2.{200 + index}/24", index=index),)
            self._do_start(name)

    def _do_service(self, key: str, addresses: str, *options: str) -> None:
        fields = dict(option.split("=", 1) for option in options)
        self._services[key] = make_service(
            key,
            status=addresses.split(","),
            traffic_policy=fields.get("policy", "Cluster"),
            sharing_key=fields.get("share", ""),
            ports=[fields.get("port", "tcp/80")],
            created=len(self._services),
        )
        self._do_endpoints(key, fields.get("endpoints", ""))

    def _do_delete(self, key: str) -> None:
        del self._services[key]

    def _do_endpoints(self, key: str, spelled: str = "") -> None:
        pairs = (word.partition(":") for word in spelled.split(",") if word)
        self._endpoints[key] = [(node, EndpointState(state or "ready")) for node, _, state in pairs]

    def _do_exclude(self, name: str) -> None:
        self._nodes[name] = make_node(name, labels={EXCLUDE_LABEL: ""})

    def _do_include(self, name: str) -> None:
        self._nodes[name] = make_node(name)

    def _do_lose(self, name: str) -> None:
        """Power a node off: its speaker is gone, its report stays, its Node is not ready."""
        self._nodes[name] = replace(self._nodes[name], ready=False)
        self._do_kill(name)

    def _do_drain(self, name: str) -> None:
        self._nodes[name] = replace(self._nodes[name], drain_requested=True)

    def _do_stop(self, name: str) -> None:
        self._stopping.add(name)

    def _do_kill(self, name: str) -> None:
        self._alive.discard(name)
        self._intentions.pop(name, None)

    def _do_forget(self, name: str) -> None:
        """Remove the report of a speaker that is gone."""
        del self._reports[name]

    def _do_start(self, name: str) -> None:
        self._nodes[name] = replace(self._nodes[name], ready=True)
        self._alive.add(name)
        self._stopping.discard(name)
        self._intentions[name] = NOTHING

    def _do_link(self, name: str, state: str) -> None:
        up, carrier = state != "down", state == "up"
        self._links[name] = tuple(
            replace(link, up=up, carrier=carrier) for link in self._links[name]
        )

    def _do_wait(self, seconds: str) -> None:
        self._now += float(seconds)

    def _settle(self) -> list[str]:
        told: list[str] = []
        for _ in range(_STEPS):
            snapshot = self._snapshot()
            for name in sorted(self._alive):
                told += self._step(name, snapshot)
        return told + self._nobody()

    def _step(self, name: str, snapshot: Snapshot) -> list[str]:
        before = self._intentions[name]
        after = conduct(before, self._situation(name, snapshot))
        self._intentions[name] = after
        told: list[str] = []
        published = self._reports.get(name)
        if after.report is not None and (
            published is None or replace(published, resource_version="") != after.report
        ):
            self._version += 1
            self._reports[name] = replace(after.report, resource_version=str(self._version))
            if after.report.draining:
                told.append(f"{name}: publish draining")
        old = before.table.entries if before.table else {}
        new = after.table.entries if after.table else {}
        for address in sorted({*old, *new}, key=lambda one: (one.version, one)):
            told += _said(name, address, old.get(address), new.get(address))
        if after.handed_over and not before.handed_over:
            told.append(f"{name}: handed over")
        return told

    def _situation(self, name: str, snapshot: Snapshot) -> Situation:
        return Situation(
            now=self._now,
            me=Member(node=NodeName(name), incarnation=make_speaker(name).incarnation),
            snapshot=snapshot,
            synced=True,
            links=self._links[name],
            fastpath=FastpathState(connected=True, since=0.0, faults={}),
            stopping=name in self._stopping,
        )

    def _snapshot(self) -> Snapshot:
        slices = [
            make_slice(
                key,
                *(
                    make_endpoint(
                        f"{'198.18.1.' if family == 'IPv4' else '2001:db8:1::'}{number}",
                        node=node,
                        state=state,
                    )
                    for number, (node, state) in enumerate(pairs, 1)
                ),
                name=f"{key}-{family}",
                family=family,
            )
            for key, pairs in self._endpoints.items()
            for family in ("IPv4", "IPv6")
            if pairs
        ]
        return make_snapshot(
            services=self._services.values(),
            pools=[make_pool("pool", "192.0.2.0/25", "2001:db8::/64")],
            advertisements=[make_advertisement()],
            slices=slices,
            nodes=self._nodes.values(),
            speakers=self._reports.values(),
        )

    def _nobody(self) -> list[str]:
        silent = {
            address: f"nobody: {address}  {plan.refused.reason}: {plan.refused.detail}"
            for address, plan in announcement_plan(self._snapshot()).items()
            if plan.refused is not None
        }
        told = [line for address, line in silent.items() if self._told.get(address) != line]
        self._told = silent
        return told

    def _explain(self, text: str) -> list[str]:
        address = parse_address(text)
        assert address is not None
        plan = announcement_plan(self._snapshot())[address]
        return [
            f"{node}: no   {verdict.reason}: {verdict.detail}"
            if isinstance(verdict, Refused)
            else f"{node}: yes  {', '.join(verdict.links)}"
            for node, verdict in plan.candidates().items()
        ]


def _said(name: str, address: Address, old: Entry | None, new: Entry | None) -> list[str]:
    if new is None:
        return [f"{name}: silent {address}"]
    if old is not None and (old.mode, old.links) == (new.mode, new.links):
        return []
    if new.mode is Mode.YIELD:
        return [f"{name}: yield {address}"]
    return [f"{name}: announce {address} on {', '.join(new.links)}"]
