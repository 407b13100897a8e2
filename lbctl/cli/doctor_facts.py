"""Gather what `lbctl doctor` judges: every fact by itself, so that one refusal hides no other.

Only reads, and asks what accounts may do. What RBAC refuses, what is not served and what cannot be
parsed become `Unknown` with a sentence; only an API server that does not answer at all ends the
gathering, by `ApiUnreachable`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import yaml

from lbctl.api.errors import ApiRefused
from lbctl.api.session import ApiSession
from lbctl.cli.doctor_neighbors import neighbors
from lbctl.cli.doctor_rights import rights
from lbctl.cli.installation import Access
from lbctl.cli.learning import learn, learn_list
from lbctl.kube.fold import Source, fold, inputs
from lbctl.kube.groups import IP_ADDRESS_POOL, L2_ADVERTISEMENT, Groups
from lbctl.kube.loose import flag, mapping, metadata_of, number, objects, text, texts
from lbctl.kube.rights import Component
from lbctl.model.address import Address, Range, parse_address, parse_range
from lbctl.model.learned import Learned, Unknown
from lbctl.model.names import NodeName, ObjectKey, ServiceKey
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.plan.adoption import not_ours
from lbctl.plan.doctor import (
    SLACK_S,
    Definition,
    Facts,
    KubeProxy,
    LeaseFacts,
    NodeNetwork,
    Workload,
)
from lbctl.plan.pools import judge_pools

WATCHED_S: Final = 3.0
"""A Lease that looks old is read again after this time; the holder renews it each 2 s."""

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
_KUBE_PROXY = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"

Fact = TypeVar("Fact")


async def gather(session: ApiSession, access: Access, table: Groups) -> Facts:
    """Return the facts.

    Raises:
        ApiUnreachable: the API server does not answer.
        ApiRefused: it does not know us (401).

    """
    version = await _version(session)
    collections = {item.source: item.path for item in inputs(table, access.lbctl_namespace)}
    paths = {
        "crds": _CRDS,
        "deployments": _apps(access.lbctl_namespace, "deployments"),
        "daemonsets": _apps(access.lbctl_namespace, "daemonsets"),
        "cidrs": _SERVICE_CIDRS,
        **{source.value: collections[source] for source in _SOURCES},
        **{kind: table[kind].collection() for kind in _CONFIGURATION},
    }
    answers = await asyncio.gather(*(learn_list(session, path) for path in paths.values()))
    lists = dict(zip(paths, answers, strict=True))
    return Facts(
        version=version,
        definitions=_each(lists["crds"], _definition),
        wanted_definitions=tuple(
            (f"{one.plural}.{one.group}", one.version) for one in table.resources.values()
        ),
        controllers=_each(_ours(lists["deployments"], Component.CONTROLLER), _deployment),
        leases=await _leases(session, access.lbctl_namespace),
        speakers=_each(_ours(lists["daemonsets"], Component.SPEAKER), _daemon_set),
        reports=_reports(lists[Source.SPEAKERS.value]),
        nodes=_each(lists[Source.NODES.value], _node),
        kube_proxy=await learn(_kube_proxy(session), "get"),
        pools=_pools(lists[Source.POOLS.value]),
        service_ranges=_service_ranges(lists["cidrs"]),
        cluster_ips=_cluster_ips(lists[Source.SERVICES.value]),
        rights=await rights(
            session,
            access,
            {
                Component.CONTROLLER: _ours(lists["deployments"], Component.CONTROLLER),
                Component.SPEAKER: _ours(lists["daemonsets"], Component.SPEAKER),
            },
        ),
        neighbors=await neighbors(session, access.lbctl_namespace),
        foreign=_foreign(
            lists[Source.SERVICES.value], lists[Source.POOLS.value], access.load_balancer_class
        ),
        strays=_strays({kind: lists[kind] for kind in _CONFIGURATION}, access.lbctl_namespace),
        lbctl_namespace=access.lbctl_namespace,
        api_group=access.api_group,
        load_balancer_class=access.load_balancer_class,
    )


_SOURCES = (Source.SPEAKERS, Source.NODES, Source.POOLS, Source.SERVICES)
_CONFIGURATION = (IP_ADDRESS_POOL, L2_ADVERTISEMENT)


async def _version(session: ApiSession) -> Learned[str]:
    try:
        body = (await session.request("GET", "/version")).body
    except ApiRefused as error:
        if error.status == 401:
            raise
        return Unknown(why=f"it answers, but does not tell its version ({error.status})")
    return text(body.get("gitVersion")) or "of a version that it does not tell"


def _apps(namespace: str, plural: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/{plural}"


def _each(
    items: Learned[list[Any]], parse: Callable[[Mapping[str, Any]], Fact | None]
) -> Learned[tuple[Fact, ...]]:
    if isinstance(items, Unknown):
        return items
    parsed = (parse(item) for item in items if metadata_of(item) is not None)
    return tuple(one for one in parsed if one is not None)


def _definition(body: Mapping[str, Any]) -> Definition | None:
    spec = mapping(body.get("spec"))
    return Definition(
        name=_name(body),
        group=text(spec.get("group")),
        versions=tuple(
            text(one.get("name")) for one in objects(spec.get("versions")) if one.get("served")
        ),
        established=any(
            one.get("type") == "Established" and one.get("status") == "True"
            for one in objects(mapping(body.get("status")).get("conditions"))
        ),
    )


def _ours(items: Learned[list[Any]], component: Component) -> Learned[list[Any]]:
    """Return our own workloads of one component: by the labels that the chart gives them."""
    if isinstance(items, Unknown):
        return items
    labelled = ((metadata_of(body), body) for body in items)
    return [
        body
        for metadata, body in labelled
        if metadata is not None
        and metadata.labels.get("app.kubernetes.io/component") == component.value
    ]


def _deployment(body: Mapping[str, Any]) -> Workload:
    wanted = mapping(body.get("spec")).get("replicas")
    return Workload(
        name=_name(body),
        wanted=1 if wanted is None else number(wanted),
        ready=number(mapping(body.get("status")).get("readyReplicas")),
    )


def _daemon_set(body: Mapping[str, Any]) -> Workload:
    status = mapping(body.get("status"))
    return Workload(
        name=_name(body),
        wanted=number(status.get("desiredNumberScheduled")),
        ready=number(status.get("numberReady")),
    )


async def _leases(session: ApiSession, namespace: str) -> Learned[tuple[LeaseFacts, ...]]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    first = await learn_list(session, path)
    found = _each(first, lambda body: _lease(body, {}))
    if isinstance(found, Unknown) or not any(_old(one) for one in found):
        return found
    before = {_name(body): _renewed(body) for body in first} if isinstance(first, list) else {}
    await asyncio.sleep(WATCHED_S)
    return _each(await learn_list(session, path), lambda body: _lease(body, before))


def _old(lease: LeaseFacts) -> bool:
    return bool(lease.holder) and lease.age_s > lease.duration_s + SLACK_S


def _lease(body: Mapping[str, Any], before: Mapping[str, str]) -> LeaseFacts | None:
    name = _name(body)
    if not name.endswith("-controller"):
        return None
    spec = mapping(body.get("spec"))
    renewed = _renewed(body)
    return LeaseFacts(
        name=name,
        holder=text(spec.get("holderIdentity")),
        age_s=_age_s(renewed),
        duration_s=float(number(spec.get("leaseDurationSeconds")) or 15),
        seen_moving=name in before and before[name] != renewed,
    )


def _renewed(body: Mapping[str, Any]) -> str:
    return text(mapping(body.get("spec")).get("renewTime"))


def _age_s(stamp: str) -> float:
    """Return how long ago a timestamp was; one that cannot be read is very old."""
    try:
        return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(stamp)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")


def _reports(items: Learned[list[Any]]) -> Learned[Mapping[NodeName, tuple[Range, ...]]]:
    if isinstance(items, Unknown):
        return items
    speakers = fold({Source.SPEAKERS: items}).speakers
    return {
        name: tuple(
            Range(first=one.network[0], last=one.network[-1])
            for link in report.links
            for one in link.subnets
            if not one.ip.is_link_local
        )
        for name, report in speakers.items()
    }


def _node(body: Mapping[str, Any]) -> NodeNetwork | None:
    addresses = (
        parse_address(text(one.get("address")))
        for one in objects(mapping(body.get("status")).get("addresses"))
        if one.get("type") in ("InternalIP", "ExternalIP")
    )
    return NodeNetwork(
        node=NodeName(_name(body)),
        addresses=tuple(one for one in addresses if one is not None),
        pod_ranges=_ranges(texts(mapping(body.get("spec")).get("podCIDRs"))),
    )


def _pools(items: Learned[list[Any]]) -> Learned[tuple[Pool, ...]]:
    if isinstance(items, Unknown):
        return items
    return judge_pools(fold({Source.POOLS: items})).ranked


def _strays(
    lists: Mapping[str, Learned[list[Any]]], namespace: str
) -> Learned[tuple[ObjectKey, ...]]:
    found: list[ObjectKey] = []
    for kind, items in lists.items():
        if isinstance(items, Unknown):
            return items
        metadata = (metadata_of(item) for item in items)
        found += [
            ObjectKey(kind, one.namespace, one.name)
            for one in metadata
            if one is not None and one.namespace != namespace
        ]
    return tuple(found)


def _service_ranges(items: Learned[list[Any]]) -> Learned[tuple[Range, ...]]:
    if isinstance(items, Unknown):
        return items
    cidrs = [one for item in items for one in texts(mapping(item.get("spec")).get("cidrs"))]
    return _ranges(cidrs) or Unknown(why="there is no ServiceCIDR object with a range")


def _ranges(cidrs: list[str]) -> tuple[Range, ...]:
    parsed = (parse_range(one, "spec") for one in cidrs)
    return tuple(one for one in parsed if isinstance(one, Range))


def _cluster_ips(
    items: Learned[list[Any]],
) -> Learned[Mapping[ServiceKey, tuple[Address, ...]]]:
    if isinstance(items, Unknown):
        return items
    services = fold({Source.SERVICES: items}).services
    return {key: service.cluster_ips for key, service in sorted(services.items())}


def _foreign(
    services: Learned[list[Any]], pools: Learned[list[Any]], load_balancer_class: str | None
) -> Learned[Mapping[ServiceKey, str]]:
    """Return the Services that we would serve, had they not an address of somebody else."""
    if isinstance(services, Unknown):
        return services
    if isinstance(pools, Unknown):
        return pools
    snapshot = fold({Source.SERVICES: services, Source.POOLS: pools})
    book = judge_pools(snapshot)
    verdicts = {
        key: not_ours(service, book, load_balancer_class=load_balancer_class, before=())
        for key, service in snapshot.services.items()
    }
    return {
        key: verdict.detail
        for key, verdict in verdicts.items()
        if verdict is not None and verdict.reason is Reason.FOREIGN_ADDRESS
    }


async def _kube_proxy(session: ApiSession) -> Learned[KubeProxy]:
    try:
        body = (await session.request("GET", _KUBE_PROXY)).body
    except ApiRefused as error:
        if error.status != 404:
            raise
        return Unknown(
            why="there is no ConfigMap kube-system/kube-proxy: its mode is the node's own affair"
        )
    try:
        parsed = mapping(yaml.safe_load(text(mapping(body.get("data")).get("config.conf"))))
    except yaml.YAMLError:
        parsed = {}
    if not parsed:
        return Unknown(why="ConfigMap kube-system/kube-proxy has no config.conf that can be read")
    strict = flag(mapping(parsed.get("ipvs")).get("strictARP"))
    return KubeProxy(mode=text(parsed.get("mode")), strict_arp=bool(strict))


def _name(body: Mapping[str, Any]) -> str:
    return text(mapping(body.get("metadata")).get("name"))
