"""Fetch the world once: log in, list every input, fold it into a snapshot.

The command uses the same credentials, session, paths and fold as the processes in the cluster,
so that it sees what they see. It only ever reads. An object that leaves doubts is named on stderr. Exit codes: 2 for a kubeconfig that cannot be
used, 3 when the API server cannot be reached or refuses.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from lbctl.api.errors import ApiError, ApiRefused, CredentialsError, problem_of
from lbctl.api.session import ApiSession
from lbctl.cli.doubts import readable
from lbctl.cli.installation import Access, as_installed
from lbctl.cli.login import login
from lbctl.cli.render import EXIT_UNREACHABLE, EXIT_USAGE, fail, warn
from lbctl.kube.crds.reading import LABEL_VALUE_PATTERN
from lbctl.kube.crds.service_l2_status import ServiceL2Status, parse_service_l2_status
from lbctl.kube.fold import Input, Source, fold_projected, inputs, project_session
from lbctl.kube.groups import BGP_SESSION_STATUS, SERVICE_L2_STATUS, Resource
from lbctl.kube.objects import SERVICE_NAME_LABEL
from lbctl.model.allocation import NotOurs
from lbctl.model.names import ServiceKey
from lbctl.model.reason import Reason
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.adoption import ALLOCATED_CONDITION
from lbctl.plan.allocation import EMPTY, Plan, plan
from lbctl.plan.announcement import Announcement, plan_announcements
from lbctl.plan.telling import Telling, telling_of

DEFAULT_NAMESPACE = "lbctl-system"
_LATER: Final = frozenset({"bgppeers", "bgpadvertisements", "communities", "bgpsessionstatuses"})
"""Kinds that came with BGP."""

Command = TypeVar("Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class View:
    """Hold everything that a verb renders: the snapshot, both plans and what speakers sent.

    Without a repr of its fields: when `asyncio.run` puts the handler of SIGINT back it has the
    result of the task spelled out (for an enum's error that is caught at once), which would take
    longer than all the rest in a cluster of 10,000 Services.
    """

    access: Access
    snapshot: Snapshot
    plan: Plan
    announcement: Announcement
    sent: Mapping[ServiceKey, tuple[ServiceL2Status, ...]]
    """What speakers say they announce: one object for each family of a Service."""
    telling: Telling
    """What BGP peers are told, with what speakers say of their sessions."""


def access_options(command: Command) -> Command:
    """Give a verb the options that say which cluster, as kubectl spells them."""
    options = (
        click.option(
            "--kubeconfig",
            envvar="KUBECONFIG",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Default: $KUBECONFIG, ~/.kube/config, or the pod's service account.",
        ),
        click.option("--context", default=None, help="A context of the kubeconfig."),
        click.option(
            "--api-group",
            default="",
            envvar="LBCTL_API_GROUP",
            help="lbctl.io or metallb.io. Default: that of the running controller.",
        ),
        click.option(
            "--lbctl-namespace",
            default=DEFAULT_NAMESPACE,
            envvar="LBCTL_NAMESPACE",
            show_default=True,
            help="Where lbctl and its objects are.",
        ),
        click.option(
            "--load-balancer-class",
            default=None,
            envvar="LBCTL_LOAD_BALANCER_CLASS",
            help="The class that is served. Default: that of the running controller.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def view(options: Mapping[str, Any], about: ServiceKey | None = None) -> View:
    """Return the world as it is now; ends the command with one line if that is impossible.

    `about` is a Service that everything is asked for: where the others cannot matter to it they
    are left out, which in a cluster of 10,000 saves nearly all of the time.
    """
    access = access_of(options)
    # A million values are made and all of them are kept: the collector would look through them
    # again and again, which is a quarter of the whole time, and find nothing.
    gc.disable()
    try:
        return asyncio.run(_view(access, about))
    except CredentialsError as error:
        fail(str(error), EXIT_USAGE)
    except ApiError as error:
        fail(problem_of(error, verb="list", path=error.path), EXIT_UNREACHABLE)
    finally:
        gc.freeze()
        gc.enable()


def access_of(options: Mapping[str, Any]) -> Access:
    """Return what the options say; ends the command with one line if they are wrong."""
    access = Access(**options)
    try:
        _ = access.table
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    return access


def session_of(access: Access) -> ApiSession:
    """Return a session that is logged in.

    Raises:
        CredentialsError: there is no usable way to log in; one sentence.

    """
    return ApiSession(login(_kubeconfig(access), access.context))


async def _view(access: Access, about: ServiceKey | None) -> View:
    async with session_of(access) as session:
        access = await as_installed(session, access)
        if about is not None and _could_be_a_name(about.namespace, about.name):
            doubts: list[str] = []
            near = await _read(session, access, about, doubts.append)
            if _is_whole(near, about):
                for doubt in doubts:
                    warn(doubt)
                return near
        return await _read(session, access, None, warn)


def _could_be_a_name(*words: str) -> bool:
    """Return whether selectors can hold the words; what cannot is the name of nothing."""
    return all(word and re.match(LABEL_VALUE_PATTERN, word) for word in words)


async def _read(
    session: ApiSession, access: Access, about: ServiceKey | None, say: Callable[[str], None]
) -> View:
    """Return the world, or the part of it that one Service touches while it has what it wants."""
    table = access.table
    wanted = inputs(table, access.lbctl_namespace)
    reported = table[SERVICE_L2_STATUS]
    sessions = table[BGP_SESSION_STATUS].collection(access.lbctl_namespace)
    lists = await asyncio.gather(
        *(_listed(session, item, about) for item in wanted),
        list_all(session, reported.collection(access.lbctl_namespace), **_reports(reported, about)),
        _known(session, sessions),
    )
    snapshot = fold_projected(
        {
            item.source: readable(item.kind, items, item.project, say)
            for item, items in zip(wanted, lists, strict=False)
        }
    )
    sent: dict[ServiceKey, tuple[ServiceL2Status, ...]] = {}
    for status in readable(SERVICE_L2_STATUS, lists[-2], parse_service_l2_status, say):
        if status is not None:
            sent[status.service] = (*sent.get(status.service, ()), status)
    standing = readable(BGP_SESSION_STATUS, lists[-1], project_session, say)
    announcement = plan_announcements(
        None, snapshot, EVERYTHING, load_balancer_class=access.load_balancer_class
    )
    return View(
        access=access,
        snapshot=snapshot,
        plan=plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=access.load_balancer_class),
        announcement=announcement,
        sent=sent,
        telling=telling_of(
            snapshot, dict(one for one in standing if one is not None), announcement.claimants
        ),
    )


def _is_whole(near: View, about: ServiceKey) -> bool:
    """Return whether nothing that was left out can matter to the Service.

    Either it is not ours; or the controller says that it has what it needs, what was read says
    the same, and it shares neither its address nor a route with anybody. Where two Services show
    one address the condition of one of them says so.
    """
    service = near.snapshot.services.get(about)
    if service is None:
        return True
    outcome = near.plan.outcomes[about]
    if isinstance(outcome, NotOurs):
        return True
    told = [
        (one.status, one.reason) for one in service.conditions if one.type == ALLOCATED_CONDITION
    ]
    return (
        not service.sharing_key
        and not any(
            one.spec is not None and one.spec.aggregates
            for one in near.snapshot.bgp_advertisements.values()
        )
        and outcome.reason is Reason.ALLOCATED
        and outcome.addresses == service.addresses
        and told == [("True", Reason.ALLOCATED)]
    )


async def _listed(session: ApiSession, item: Input, about: ServiceKey | None) -> list[Any]:
    """Return the objects of an input, or those that the Service touches."""
    if about is None:
        return await _known(session, item.path)
    inside = f"/namespaces/{about.namespace}"
    head, _, plural = item.path.rpartition("/")
    match item.source:
        case Source.SERVICES:
            path = f"{head}{inside}/{plural}"
            return await list_all(session, path, fieldSelector=f"metadata.name={about.name}")
        case Source.SLICES:
            path = f"{head}{inside}/{plural}"
            label = f"{SERVICE_NAME_LABEL}={about.name}"
            return await list_all(session, path, labelSelector=label)
        case Source.NAMESPACES:
            only = f"metadata.name={about.namespace}"
            return await list_all(session, item.path, fieldSelector=only)
        case _:
            return await _known(session, item.path)


def _reports(resource: Resource, about: ServiceKey | None) -> dict[str, str]:
    """Return the selector of the reports on the Service."""
    if about is None:
        return {}
    group = resource.group
    labels = f"{group}/service-name={about.name},{group}/service-namespace={about.namespace}"
    return {"labelSelector": labels}


async def _known(session: ApiSession, path: str) -> list[Any]:
    """Return every object of a collection; none where an older installation lacks BGP's kinds."""
    try:
        return await list_all(session, path)
    except ApiRefused as error:
        if error.status == 404 and path.rpartition("/")[2] in _LATER:
            return []
        raise


async def list_all(session: ApiSession, path: str, **only: str) -> list[Any]:
    """Return every object of a collection that the selectors let pass.

    In one answer: the API server makes it from its cache, pages from etcd, in three times the time.
    """
    found = (await session.request("GET", path, params=only)).body.get("items")
    return found if isinstance(found, list) else []


def _kubeconfig(access: Access) -> Path | None:
    """Return the file that kubectl would take; None in a pod without one."""
    home = Path.home() / ".kube" / "config"
    if access.kubeconfig is not None:
        if os.pathsep in str(access.kubeconfig):
            raise CredentialsError(
                f"KUBECONFIG={access.kubeconfig} names several files: give one with --kubeconfig"
            )
        return access.kubeconfig
    return home if home.exists() or "KUBERNETES_SERVICE_HOST" not in os.environ else None
