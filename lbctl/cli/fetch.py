"""Fetch the world once: log in, read what the question needs, and say which objects leave doubts.

The command uses the same credentials, session, paths and fold as the processes in the cluster,
so that it sees what they see. It only ever reads. An object that leaves doubts is named on
stderr. Exit codes: 2 for a kubeconfig that cannot be used, 3 when the API server cannot be
reached or refuses.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from lbctl.api.errors import ApiError, CredentialsError, problem_of
from lbctl.api.session import ApiSession
from lbctl.cli.installation import Access, as_installed
from lbctl.cli.lists import Reader
from lbctl.cli.login import login
from lbctl.cli.render import EXIT_UNREACHABLE, EXIT_USAGE, fail, warn
from lbctl.cli.scope import Scope, View, whole
from lbctl.plan.places import DEFAULT_NAMESPACE

Command = TypeVar("Command", bound=Callable[..., object])


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


def view(options: Mapping[str, Any], scope: Scope = whole) -> View:
    """Return the world as it is now; ends the command with one line if that is impossible.

    `scope` reads of it what the question needs.
    """
    access = access_of(options)
    # A million values are made and all of them are kept: the collector would look through them
    # again and again, which is a quarter of the whole time, and find nothing.
    gc.disable()
    try:
        return asyncio.run(_view(access, scope))
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


async def _view(access: Access, scope: Scope) -> View:
    async with session_of(access) as session:
        reader = Reader(session, await as_installed(session, access))
        found = await scope(reader)
        for doubt in reader.doubts():
            warn(doubt)
        return found


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
