"""One step of the operator's checklist, and the commands that confirm it. Pure.

Every command can be typed as it stands, ends with 0 whatever it shows, and shows the object that
the step speaks of. Used by `lbctl.plan.checklist` and `lbctl.plan.checklist_backends`.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from lbctl.model.names import NodeName
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import Service
from lbctl.plan.places import Place

_NAMED: Final = 5
"""How many things one step names; the explanation of each address lists all nodes."""


class Answer(enum.StrEnum):
    OK = "ok"
    FAILED = "failed"
    NOTE = "note"
    """Nothing to repair, but good to know."""
    NOT_REACHED = "not reached"
    """An earlier step leaves nothing to judge here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Hold one step: what was found, the command that confirms it, and what repairs it."""

    name: str
    answer: Answer
    detail: str
    confirm: str
    cure: str = ""
    """Only of a step that failed."""


def ok(name: str, detail: str, confirm: str) -> Step:
    return Step(name=name, answer=Answer.OK, detail=detail, confirm=confirm)


def note(name: str, detail: str, confirm: str) -> Step:
    return Step(name=name, answer=Answer.NOTE, detail=detail, confirm=confirm)


def not_reached(name: str, detail: str, confirm: str) -> Step:
    return Step(name=name, answer=Answer.NOT_REACHED, detail=detail, confirm=confirm)


def failed(name: str, detail: str, confirm: str, cure: str) -> Step:
    return Step(name=name, answer=Answer.FAILED, detail=detail, confirm=confirm, cure=cure)


def refused(name: str, reason: Reason, detail: str, confirm: str) -> Step:
    """Return a step that failed for a reason of the product; the reason has its cure."""
    return failed(name, f"{reason}: {detail}", confirm, EXPLANATIONS[reason].cure)


def nothing_shown(name: str, confirm: str) -> Step:
    return not_reached(name, "the Service has no address yet", confirm)


def some(names: Collection[NodeName] | Collection[str]) -> str:
    """Return the names in order; of a thousand the first ones and how many there are."""
    ordered = sorted(names)
    more = len(ordered) - _NAMED
    return ", ".join(ordered[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class Commands:
    """Spell the commands that confirm, for one Service."""

    def __init__(self, service: Service, place: Place) -> None:
        key = service.key
        inside = f"kubectl -n {key.namespace}"
        own = f"kubectl -n {place.lbctl_namespace}"
        api_group = place.api_group
        labels = ",".join(f"{name}={value}" for name, value in sorted(service.selector.items()))
        pods = f"{inside} get pods -l {shlex.quote(labels)}"
        self.service = f"{inside} get service {key.name} -o yaml"
        self.type = _fields(
            f"{inside} get service {key.name}", ".spec.type", ".spec.loadBalancerClass"
        )
        self.status = f"{inside} get service {key.name}"
        self.policy = _fields(f"{inside} get service {key.name}", ".spec.externalTrafficPolicy")
        self.pools = f"lbctl get pools{place.elsewhere}"
        self.nodes = f"lbctl get nodes{place.elsewhere}"
        self.advertisements = f"{own} get l2advertisements.{api_group} -o yaml"
        self.slices = f"{inside} get endpointslices -l kubernetes.io/service-name={key.name}"
        self.selected = f"{pods} -o wide"
        self.container_ports = (
            f"{pods} -o jsonpath='{{range .items[*]}}{{.metadata.name}} "
            '{.spec.containers[*].ports}{"\\n"}{end}\''
        )
        self.target_ports = _fields(f"{inside} get service {key.name}", ".spec.ports")
        self.bgp_advertisements = f"{own} get bgpadvertisements.{api_group} -o yaml"
        self.sent = f"{own} get servicel2statuses.{api_group}"
        self.peers = f"lbctl get peers{place.elsewhere}"
        self.sessions = f"lbctl get sessions{place.elsewhere}"
        self.proxies = "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide"


def _fields(command: str, *paths: str) -> str:
    wanted = " ".join(f"{{{path}}}" for path in paths)
    return f"{command} -o jsonpath='{wanted}{{\"\\n\"}}'"
