"""Look for other load balancers in the whole cluster, by the labels that they give their workloads.

Only what is certain: a label of the product on a workload that wants Pods. MetalLB's namespace is
also searched by name, because its workloads are old enough to be there without labels.
Called by `lbctl.cli.doctor_facts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lbctl.api.session import ApiSession
from lbctl.cli.installation import environment_of
from lbctl.cli.learning import learn_list
from lbctl.kube.loose import Metadata, mapping, metadata_of, number
from lbctl.model.learned import Learned, Unknown
from lbctl.plan.doctor_neighbors import K3S, KUBE_VIP, LBCTL, METALLB, Neighbor
from lbctl.run.flags import variable_of

_NAME: Final = "app.kubernetes.io/name"
_COMPONENT: Final = "app.kubernetes.io/component"
_LABELS: Final = (
    (METALLB, "deployments", f"{_NAME}=metallb"),
    (METALLB, "deployments", "app=metallb"),
    (METALLB, "daemonsets", f"{_NAME}=metallb"),
    (METALLB, "daemonsets", "app=metallb"),
    (KUBE_VIP, "daemonsets", f"{_NAME}=kube-vip"),
    (KUBE_VIP, "daemonsets", f"{_NAME}=kube-vip-ds"),
    (K3S, "daemonsets", "svccontroller.k3s.cattle.io/svcname"),
    (LBCTL, "deployments", f"{_NAME}=lbctl"),
)
_APPS: Final = "/apis/apps/v1"
_OLD: Final = "metallb-system"


async def neighbors(session: ApiSession, lbctl_namespace: str) -> Learned[tuple[Neighbor, ...]]:
    """Return the workloads of other load balancers, or why they are not known.

    Raises:
        ApiUnreachable: the API server does not answer.

    """
    asked = [
        (METALLB, f"{_APPS}/namespaces/{_OLD}/deployments", {}),
        (METALLB, f"{_APPS}/namespaces/{_OLD}/daemonsets", {}),
        *((product, f"{_APPS}/{plural}", {"labelSelector": s}) for product, plural, s in _LABELS),
    ]
    answers = await asyncio.gather(*(learn_list(session, path, s) for _, path, s in asked))
    found: dict[tuple[str, str], Neighbor] = {}
    for (product, _, _), items in zip(asked, answers, strict=True):
        if isinstance(items, Unknown):
            return items
        for one in _those(product, items, lbctl_namespace):
            found.setdefault((one.namespace, one.workload), one)
    return tuple(found.values())


def _those(product: str, items: list[Any], lbctl_namespace: str) -> Iterator[Neighbor]:
    for body in items:
        metadata = metadata_of(body)
        if metadata is None or not _wanted(body):
            continue
        environment = environment_of([body])
        component = metadata.labels.get(_COMPONENT)
        serves = {
            METALLB: metadata.labels.get(_NAME) != "lbctl" and _of_metallb(metadata),
            KUBE_VIP: environment.get("svc_enable") == "true",
            K3S: True,
            LBCTL: component == "controller" and metadata.namespace != lbctl_namespace,
        }
        if serves[product]:
            yield Neighbor(
                product=product,
                namespace=metadata.namespace,
                workload=metadata.name,
                load_balancer_class=environment.get(variable_of("--load-balancer-class")) or None,
            )


def _of_metallb(metadata: Metadata) -> bool:
    """Return whether it allocates or announces; the chart labels more than that."""
    label = metadata.labels.get(_COMPONENT) or metadata.labels.get("component")
    part = label or metadata.name
    return any(word in part for word in ("controller", "speaker"))


def _wanted(body: Mapping[str, Any]) -> bool:
    """Return whether a Deployment or DaemonSet wants a Pod."""
    status, spec = mapping(body.get("status")), mapping(body.get("spec"))
    if "desiredNumberScheduled" in status:
        return number(status.get("desiredNumberScheduled")) > 0
    replicas = spec.get("replicas")
    return replicas is None or number(replicas) > 0
