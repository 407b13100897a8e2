"""Ask for what stands behind one Service: its Pods, and kube-proxy of the nodes that announce it.

No plan looks at these, so nobody watches them; `lbctl explain` asks when it explains a Service.
Every answer is one by itself: what RBAC refuses becomes `Unknown`. kube-proxy is asked for its
health at its usual port through the API server. Where nobody answers there on any node, another
program may do its work, so that alone is no finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from lbctl.api.errors import ApiError, ApiRefused, problem_of
from lbctl.api.session import ApiSession
from lbctl.cli.fetch import session_of
from lbctl.cli.installation import Access
from lbctl.kube.loose import objects
from lbctl.kube.objects import parse_pod
from lbctl.model.learned import Learned, Unknown
from lbctl.model.names import NodeName
from lbctl.model.pods import Backing, Pod, Proxy
from lbctl.model.service import Service

HEALTH_PORT: Final = 10256
"""Of kube-proxy, `healthzBindAddress`; programs that replace it often serve it as well."""
ASK_S: Final = 2.0
"""A node that is cut off must not keep the explanation waiting."""
_OTHERS: Final = 3
"""Nodes asked beside one on which nobody answers, to tell a dead kube-proxy from none."""
_SILENT: Final = Unknown(why=f"nobody answers for kube-proxy's health at port {HEALTH_PORT}")


def backing(
    access: Access,
    service: Service,
    *,
    owners: Iterable[NodeName],
    nodes: Iterable[NodeName],
) -> Backing:
    """Return what stands behind `service`; `owners` are the nodes that are to announce it."""

    async def ask() -> Backing:
        async with session_of(access) as session:
            pods, proxies = await asyncio.gather(
                _pods(session, service), _proxies(session, sorted(set(owners)), sorted(nodes))
            )
        return Backing(pods=pods, proxies=proxies)

    return asyncio.run(ask())


async def _pods(session: ApiSession, service: Service) -> Learned[tuple[Pod, ...]]:
    if not service.selector:
        return ()
    path = f"/api/v1/namespaces/{service.key.namespace}/pods"
    labels = ",".join(f"{name}={value}" for name, value in service.selector.items())
    try:
        answer = await session.request("GET", path, params={"labelSelector": labels})
    except ApiError as error:
        return Unknown(why=problem_of(error, verb="list", path=path))
    pods = (parse_pod(item) for item in objects(answer.body.get("items")))
    return tuple(pod for pod in pods if pod is not None)


async def _proxies(
    session: ApiSession, owners: list[NodeName], nodes: list[NodeName]
) -> Mapping[NodeName, Learned[Proxy]]:
    answers = dict(
        zip(owners, await asyncio.gather(*(_proxy(session, one) for one in owners)), strict=True)
    )
    if _SILENT not in answers.values():
        return answers
    others = [one for one in nodes if one not in answers][:_OTHERS]
    elsewhere = await asyncio.gather(*(_proxy(session, one) for one in others))
    if any(isinstance(one, Proxy) for one in (*answers.values(), *elsewhere)):
        return {
            node: Proxy.MISSING if answer == _SILENT else answer for node, answer in answers.items()
        }
    return answers


async def _proxy(session: ApiSession, node: NodeName) -> Learned[Proxy]:
    path = f"/api/v1/nodes/{node}:{HEALTH_PORT}/proxy/healthz"
    try:
        await session.request("GET", path, timeout_s=ASK_S)
    except ApiRefused as error:
        if error.status == 503 and not error.message:
            return Proxy.UNHEALTHY  # its own answer: the API server would say what it could not do
        if error.status in (502, 503, 504):
            return _SILENT
        return Unknown(why=f"its health cannot be asked for ({error.status} {error.reason})")
    except ApiError:
        return _SILENT
    return Proxy.HEALTHY
