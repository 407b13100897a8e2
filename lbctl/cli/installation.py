"""Learn from the running controller what it serves, so that nobody has to repeat its flags.

The API group and the load balancer class decide what a Service is to lbctl; a command that guessed
them would contradict the conditions. They stand in the environment of the controller's container,
where the chart writes them. An option wins; where there is no Deployment, or it may not be read,
the defaults hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lbctl.api.errors import ApiRefused
from lbctl.api.session import ApiSession
from lbctl.kube.groups import OWN_GROUP, Groups, groups
from lbctl.kube.loose import mapping, objects, text
from lbctl.model.outcome import Problem
from lbctl.plan.places import Place
from lbctl.run.flags import variable_of

_CONTROLLERS = {"labelSelector": "app.kubernetes.io/component=controller"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Hold how to reach the cluster, and which of its objects are lbctl's."""

    kubeconfig: Path | None
    context: str | None
    api_group: str
    """Empty until `as_installed` has found it."""
    lbctl_namespace: str
    load_balancer_class: str | None

    @property
    def place(self) -> Place:
        """Return where its objects are, for the commands that people are told."""
        return Place(lbctl_namespace=self.lbctl_namespace, api_group=self.api_group or OWN_GROUP)

    @property
    def table(self) -> Groups:
        """Return the groups of every kind.

        Raises:
            ValueError: the group is none that lbctl knows; one sentence.

        """
        table = groups(self.api_group or OWN_GROUP)
        if isinstance(table, Problem):
            raise ValueError(str(table))  # noqa: TRY004 - the value is wrong, not its type
        return table


async def as_installed(session: ApiSession, access: Access) -> Access:
    """Return `access` with what its options leave open filled in from the controller.

    Raises:
        ApiUnreachable: the API server does not answer.

    """
    path = f"/apis/apps/v1/namespaces/{access.lbctl_namespace}/deployments"
    try:
        answer = await session.request("GET", path, params=_CONTROLLERS)
        environment = environment_of(objects(answer.body.get("items")))
    except ApiRefused:
        environment = {}
    return replace(
        access,
        api_group=access.api_group or environment.get(variable_of("--api-group")) or OWN_GROUP,
        load_balancer_class=access.load_balancer_class
        or environment.get(variable_of("--load-balancer-class")),
    )


def environment_of(workloads: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return the environment of the containers of Deployments or DaemonSets, as it is written."""
    pods = (mapping(mapping(body.get("spec")).get("template")) for body in workloads)
    return {
        text(entry.get("name")): text(entry.get("value"))
        for pod in pods
        for container in objects(mapping(pod.get("spec")).get("containers"))
        for entry in objects(container.get("env"))
    }
