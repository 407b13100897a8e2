"""Build the objects that exist for the sake of their status: who speaks, who announces. Pure.

`Wanted` is compared with what the API server shows by its status, so that nothing is written
when nothing changed; the shell creates the object, then patches its status (two writes the first
time, because creation drops the status).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lbctl.kube.crds.bgp_session_status import render_session_status, session_status_name
from lbctl.kube.crds.conditions import NO_CONDITIONS, Condition, rewrite, shortened
from lbctl.kube.crds.configuration_state import (
    CONTROLLER_NAME,
    ConfigurationState,
    Result,
)
from lbctl.kube.crds.reading import is_label_value
from lbctl.kube.crds.service_bgp_status import (
    ServiceBGPStatus,
    render_service_bgp_status,
    service_status_name,
)
from lbctl.kube.crds.service_l2_status import (
    ServiceL2Status,
    render_service_l2_status,
    status_name,
)
from lbctl.kube.crds.speaker_status import render_owner_references, render_speaker_status
from lbctl.kube.groups import (
    BGP_SESSION_STATUS,
    CONFIGURATION_STATE,
    SERVICE_BGP_STATUS,
    SERVICE_L2_STATUS,
    SPEAKER_STATUS,
    Groups,
    Resource,
)
from lbctl.model.address import family_of
from lbctl.model.node import Owner, SpeakerReport
from lbctl.model.outcome import InvariantBroken, Problem
from lbctl.model.session import SessionReport

POOLS_CONDITION = "poolReconcilerValid"
RECONCILED = "Reconciled"
CONFIGURATION_ERROR = "ConfigurationError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Hold one status object as it should be: where it lives, its metadata and its status."""

    resource: Resource
    metadata: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def collection(self) -> str:
        """Return the request path of the objects beside it."""
        return self.resource.collection(str(self.metadata["namespace"]))

    @property
    def path(self) -> str:
        """Return the object's own request path."""
        return f"{self.collection}/{self.name}"

    def body(self) -> dict[str, Any]:
        """Return what creates the object; the status follows in a second write."""
        return {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": dict(self.metadata),
        }

    def patch(self, resource_version: str) -> dict[str, Any]:
        """Return the merge patch of the status subresource."""
        return {"metadata": {"resourceVersion": resource_version}, "status": dict(self.status)}


def speaker_status(table: Groups, namespace: str, report: SpeakerReport) -> Wanted:
    """Return the SpeakerStatus of one node; equal reports mean that nothing is to be written."""
    return Wanted(
        resource=table[SPEAKER_STATUS],
        metadata={
            "name": report.node,
            "namespace": namespace,
            "ownerReferences": render_owner_references(report.owners),
        },
        status=render_speaker_status(report),
    )


def service_l2_status(table: Groups, namespace: str, wanted: ServiceL2Status) -> Wanted:
    """Return the ServiceL2Status of one Service and family (that of its addresses).

    The labels name the Service; they cannot name the node, because a status write does not
    change labels and the owner changes. Find those of a node with
    `--field-selector status.node=NODE`.

    Raises:
        InvariantBroken: `wanted` has no address, or addresses of two families.

    """
    families = {family_of(address) for address in wanted.addresses}
    if len(families) != 1:
        raise InvariantBroken(f"a ServiceL2Status of {wanted.service} needs one address family")
    resource = table[SERVICE_L2_STATUS]
    named = {
        "service-name": wanted.service.name,
        "service-namespace": wanted.service.namespace,
    }
    return Wanted(
        resource=resource,
        metadata={
            "name": status_name(wanted.service, families.pop()),
            "namespace": namespace,
            "labels": _labels(resource, named),
        },
        status=render_service_l2_status(wanted, own_schema=resource.own_schema),
    )


def service_bgp_status(table: Groups, namespace: str, wanted: ServiceBGPStatus) -> Wanted:
    """Return the ServiceBGPStatus of one Service, of all nodes together."""
    resource = table[SERVICE_BGP_STATUS]
    return Wanted(
        resource=resource,
        metadata={
            "name": service_status_name(wanted.service),
            "namespace": namespace,
            "labels": _labels(
                resource,
                {
                    "service-name": wanted.service.name,
                    "service-namespace": wanted.service.namespace,
                },
            ),
        },
        status=render_service_bgp_status(wanted, own_schema=resource.own_schema),
    )


def bgp_session_status(
    table: Groups, namespace: str, owners: tuple[Owner, ...], session: SessionReport
) -> Wanted:
    """Return the BGPSessionStatus of one session; it goes with the owners, the speaker's Pod."""
    resource = table[BGP_SESSION_STATUS]
    return Wanted(
        resource=resource,
        metadata={
            "name": session_status_name(session.node, session.peer),
            "namespace": namespace,
            "labels": _labels(resource, {"node": session.node, "peer": session.peer}),
            "ownerReferences": render_owner_references(owners),
        },
        status=render_session_status(session),
    )


def _labels(resource: Resource, named: Mapping[str, str]) -> dict[str, str]:
    """Return labels of the group; a name may be longer than the value of a label."""
    return {
        f"{resource.group}/{key}": value for key, value in named.items() if is_label_value(value)
    }


def says_the_same(found: ServiceL2Status, wanted: ServiceL2Status, *, own_schema: bool) -> bool:
    """Return whether the object found says already what is wanted."""
    return render_service_l2_status(found, own_schema=own_schema) == render_service_l2_status(
        wanted, own_schema=own_schema
    )


def must_be_replaced(found: ServiceL2Status, wanted: ServiceL2Status, resource: Resource) -> bool:
    """Return whether the object must be deleted first: MetalLB's schema fixes the node."""
    return not resource.own_schema and found.node != wanted.node


def controller_state(
    table: Groups,
    namespace: str,
    *,
    problems: Iterable[tuple[str, Problem]],
    found: ConfigurationState | None,
    now_rfc3339: str,
) -> Wanted | None:
    """Return the controller's ConfigurationState, or None when `found` says it already.

    `problems` pairs each with its object as a message names it, in a stable order.
    """
    resource = table[CONFIGURATION_STATE]
    lines = "\n".join(f"{name}: {problem}" for name, problem in problems)
    summary = shortened(lines)
    result = Result.INVALID if summary else Result.VALID
    observed = found.conditions if found is not None else NO_CONDITIONS
    conditions = rewrite(
        observed,
        wanted=[
            Condition(
                type=POOLS_CONDITION,
                status=not summary,
                reason=CONFIGURATION_ERROR if summary else RECONCILED,
                message=summary,
                observed_generation=0,
            )
        ],
        now_rfc3339=now_rfc3339,
    )
    status: dict[str, Any] = {}
    if found is None or (found.result, found.error_summary) != (result, summary):
        status |= {"result": result.value, "errorSummary": summary}
    if conditions is not None:
        status["conditions"] = conditions
    if not status:
        return None
    return Wanted(
        resource=resource,
        metadata={
            "name": CONTROLLER_NAME,
            "namespace": namespace,
            "labels": {f"{resource.group}/component-type": "controller"},
        },
        status=status,
    )
