"""Build the merge patches of the controller: Services, pools, advertisements. Pure.

Each function compares what is wanted with what the object shows and returns the patch for the
status subresource, or None when nothing differs, so that nothing is written when nothing changed.
Every patch carries the resourceVersion it was judged by (a 409 means: look again). A merge patch
replaces lists, therefore conditions are rewritten as a whole with those of others kept.

The mark on a Service is an annotation and rides on the same patch: the status subresource of a
Service takes metadata along (held by tests/cluster/test_crds.py), so `services/status` is the
only verb that RBAC has to grant, and address and mark cannot be told apart by a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.annotations import METALLB_MARK, OWN_MARK, OWN_PREFIX
from lbctl.kube.configured import ACCEPTED, Written
from lbctl.kube.crds.conditions import Condition, rewrite, shortened
from lbctl.kube.crds.ip_address_pool import COUNTERS
from lbctl.kube.service import VIP, WrittenService
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.outcome import InvariantBroken
from lbctl.model.reason import EXPLANATIONS
from lbctl.model.service import Service
from lbctl.plan.announced import NOTHING_TO_ANNOUNCE, Announced

ALLOCATED = OWN_PREFIX + "Allocated"
ANNOUNCED = OWN_PREFIX + "Announced"

Patch = dict[str, Any]


def service_patch(
    service: Service,
    decision: Outcome | NotOurs,
    now_rfc3339: str,
    *,
    announced: Announced | None = None,
) -> Patch | None:
    """Return what makes `service` show the decision: addresses, mark and conditions.

    A Service that is not ours is left alone, unless it is to be released: then everything of
    ours is taken off it. `announced` is what is known of the addresses that it shows; None leaves
    the condition as it is, and takes it off where the addresses change, because it spoke of others.

    Raises:
        InvariantBroken: `service` was not read by `lbctl.kube.service`, so its foreign
            conditions are unknown and would be lost.

    """
    shown = _shown(service)
    if isinstance(decision, NotOurs):
        return _release_patch(shown, now_rfc3339) if decision.release else None
    return _outcome_patch(shown, decision, announced, now_rfc3339)


def _outcome_patch(
    shown: WrittenService, outcome: Outcome, announced: Announced | None, now_rfc3339: str
) -> Patch | None:
    status: Patch = {}
    addresses_differ = shown.addresses != outcome.addresses or bool(shown.hostnames)
    if addresses_differ or not shown.vip_mode:
        status["loadBalancer"] = {
            "ingress": [{"ip": str(address), "ipMode": VIP} for address in outcome.addresses]
            or None
        }
    wanted = [
        Condition(
            type=ALLOCATED,
            status=bool(outcome.addresses),
            reason=outcome.reason,
            message=allocated_message(outcome),
            observed_generation=shown.generation,
        )
    ]
    if not outcome.addresses:
        announced = NOTHING_TO_ANNOUNCE
    if announced is not None:
        wanted.append(
            Condition(
                type=ANNOUNCED,
                status=announced.holds,
                reason=announced.reason,
                message=announced.message,
                observed_generation=shown.generation,
            )
        )
    unknown = announced is None and shown.addresses != outcome.addresses
    # The plain case first: a new leader compares every Service, and almost all say it already.
    if unknown or not all(_says(shown, condition) for condition in wanted):
        conditions = rewrite(
            shown.written_conditions,
            wanted=wanted,
            dropped=(ANNOUNCED,) if unknown else (),
            now_rfc3339=now_rfc3339,
        )
        if conditions is not None:
            status["conditions"] = conditions
    return _service_patch(shown, _marks(shown, ",".join(dict.fromkeys(outcome.pools))), status)


def _says(shown: Service, wanted: Condition) -> bool:
    """Return whether the Service has the very condition."""
    status = "True" if wanted.status else "False"
    return any(
        found.type == wanted.type
        and found.status == status
        and found.reason == wanted.reason
        and found.observed_generation == wanted.observed_generation
        and found.message == shortened(wanted.message)
        for found in shown.conditions
    )


def _release_patch(shown: WrittenService, now_rfc3339: str) -> Patch | None:
    status: Patch = {}
    if shown.addresses or shown.hostnames:
        status["loadBalancer"] = {"ingress": None}
    conditions = rewrite(
        shown.written_conditions,
        wanted=(),
        dropped=(ALLOCATED, ANNOUNCED),
        now_rfc3339=now_rfc3339,
    )
    if conditions is not None:
        status["conditions"] = conditions or None
    return _service_patch(shown, _marks(shown, ""), status)


def allocated_message(outcome: Outcome) -> str:
    """Return the message of the condition: what the Service has, what it lacks, and the cure."""
    parts = []
    if outcome.addresses:
        has = ", ".join(
            f"{address} from pool {pool}"
            for address, pool in zip(outcome.addresses, outcome.pools, strict=True)
        )
        parts.append(f"Has {has}")
    if outcome.refused is not None:
        parts += [outcome.refused.detail, EXPLANATIONS[outcome.refused.reason].cure]
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)


def _shown(service: Service) -> WrittenService:
    if not isinstance(service, WrittenService):
        raise InvariantBroken(f"{service.key} was not read from the API, so it cannot be written")
    return service


def _marks(shown: WrittenService, wanted: str) -> dict[str, str | None]:
    """Return the annotations to change.

    MetalLB's mark is left where it says the same and taken off where it would contradict ours.
    """
    marks: dict[str, str | None] = {}
    if shown.own_mark != (wanted or None):
        marks[OWN_MARK] = wanted or None
    if shown.metallb_mark is not None and shown.metallb_mark != (wanted or None):
        marks[METALLB_MARK] = None
    return marks


def _service_patch(
    shown: WrittenService, marks: Mapping[str, str | None], status: Patch
) -> Patch | None:
    if not marks and not status:
        return None
    metadata: Patch = {"resourceVersion": shown.resource_version}
    if marks:
        metadata["annotations"] = dict(marks)
    return {"metadata": metadata, "status": status}


def pool_patch(
    pool: Configured[Any],
    verdict: Verdict,
    counters: tuple[int, int, int, int] | None,
    now_rfc3339: str,
    *,
    own_schema: bool = True,
) -> Patch | None:
    """Return what makes the pool show its four counters and the condition Accepted.

    A pool shows counters when it is in effect, so `counters` of None takes them off. Without our
    schema (MetalLB's group) there are no conditions, and counters cannot be taken off because
    they are required; the verdict then goes to ConfigurationState.

    Raises:
        InvariantBroken: as `accepted_patch`.

    """
    status: Patch = {}
    if counters is not None and counters != pool.counters:
        status.update(zip(COUNTERS, counters, strict=True))
    if counters is None and pool.counters is not None and own_schema:
        status.update(dict.fromkeys(COUNTERS))
    if own_schema:
        status.update(_accepted(pool, verdict, now_rfc3339))
    return _configuration_patch(pool, status)


def accepted_patch(
    found: Configured[Any], verdict: Verdict, now_rfc3339: str, *, own_schema: bool = True
) -> Patch | None:
    """Return what makes a configuration object show the condition Accepted.

    Raises:
        InvariantBroken: the object was not read from the API, so its foreign conditions are
            unknown and would be lost.

    """
    return _configuration_patch(found, _accepted(found, verdict, now_rfc3339) if own_schema else {})


def _accepted(found: Configured[Any], verdict: Verdict, now_rfc3339: str) -> Patch:
    if not isinstance(found, Written):
        raise InvariantBroken(f"{found.key} was not read from the API, so it cannot be written")
    conditions = rewrite(
        found.conditions,
        wanted=[
            Condition(
                type=ACCEPTED,
                status=verdict.accepted,
                reason=verdict.reason,
                message=verdict.message,
                observed_generation=found.generation,
            )
        ],
        now_rfc3339=now_rfc3339,
    )
    return {} if conditions is None else {"conditions": conditions}


def _configuration_patch(found: Configured[Any], status: Patch) -> Patch | None:
    if not status:
        return None
    return {"metadata": {"resourceVersion": found.resource_version}, "status": status}
