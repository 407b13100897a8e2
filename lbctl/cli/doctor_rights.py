"""Ask the API server whether the accounts of controller and speaker have their rights.

By SubjectAccessReview (authorization.k8s.io/v1), which changes nothing and asks every authorizer,
so that it does not matter by which Role a right is given. Called by `lbctl.cli.doctor_facts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from lbctl.api.session import ApiSession
from lbctl.cli.installation import Access, environment_of
from lbctl.cli.learning import learn
from lbctl.kube.loose import mapping, text
from lbctl.kube.rights import Component, Installation, Right, rights_of
from lbctl.model.learned import Learned, Unknown
from lbctl.plan.doctor_rights import Rights
from lbctl.run.flags import variable_of

_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_AT_ONCE: Final = 16
"""Reviews under way at the same time."""


async def rights(
    session: ApiSession, access: Access, workloads: Mapping[Component, Learned[list[Any]]]
) -> Learned[Rights]:
    """Return what the accounts of these Deployments and DaemonSets lack, or why nobody knows.

    Raises:
        ApiUnreachable: the API server does not answer.

    """
    denied: dict[str, tuple[str, ...]] = {}
    unasked: list[str] = []
    where = _installation(access, workloads[Component.CONTROLLER])
    for component, found in workloads.items():
        if isinstance(found, Unknown):
            return found
        if not found:
            unasked.append(component.value)
        for account in sorted({_account(body) for body in found}):
            lacking = await _lacking(session, account, component, where)
            if isinstance(lacking, Unknown):
                return lacking
            # Both components may have the same account.
            name = f"{where.namespace}/{account}"
            denied[name] = tuple(dict.fromkeys((*denied.get(name, ()), *lacking)))
    return Rights(denied=denied, unasked=tuple(unasked))


def _installation(access: Access, controllers: Learned[list[Any]]) -> Installation:
    """Return what names depend on, as the chart has written it for the controller."""
    bodies = [] if isinstance(controllers, Unknown) else controllers
    environment = environment_of(bodies)
    return Installation(
        namespace=access.lbctl_namespace,
        name=environment.get(variable_of("--installation")) or "lbctl",
        api_group=access.place.api_group,
        webhook=environment.get(variable_of("--webhook-port"), "0") != "0",
    )


def _account(workload: Mapping[str, Any]) -> str:
    pod = mapping(mapping(mapping(workload.get("spec")).get("template")).get("spec"))
    return text(pod.get("serviceAccountName")) or "default"


async def _lacking(
    session: ApiSession, account: str, component: Component, where: Installation
) -> Learned[tuple[str, ...]]:
    """Return the rights that the account lacks, in the order of the table."""
    wanted = list(rights_of(component, where))
    # One alone first: who may not ask is told so once.
    first = await learn(_allowed(session, account, where.namespace, wanted[0]), "create")
    if isinstance(first, Unknown):
        return first
    limit = asyncio.Semaphore(_AT_ONCE)

    async def ask(right: Right) -> Learned[bool]:
        async with limit:
            return await learn(_allowed(session, account, where.namespace, right), "create")

    answers = [first, *await asyncio.gather(*map(ask, wanted[1:]))]
    lacking = []
    for right, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, Unknown):
            return answer
        if not answer:
            lacking.append(str(right))
    return tuple(lacking)


async def _allowed(
    session: ApiSession, account: str, namespace: str, right: Right
) -> Learned[bool]:
    """Return the answer on one right; an authorizer that failed has not said no."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{namespace}",
                "system:authenticated",
            ],
            "resourceAttributes": _attributes(right),
        },
    }
    status = mapping((await session.request("POST", _REVIEWS, body=body)).body.get("status"))
    if status.get("allowed") is True:
        return True
    error = text(status.get("evaluationError"))
    if error:
        return Unknown(why=f"the API server cannot tell whether {account} may {right}: {error}")
    return False


def _attributes(right: Right) -> dict[str, str]:
    plural, _, subresource = right.resource.partition("/")
    said = {
        "verb": right.verb,
        "group": right.group,
        "resource": plural,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    return {field: value for field, value in said.items() if value}
