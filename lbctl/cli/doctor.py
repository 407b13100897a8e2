"""`lbctl doctor`: whether lbctl is whole, and can work in this cluster."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from lbctl.api.errors import ApiError, ApiUnreachable, CredentialsError, problem_of
from lbctl.cli.doctor_facts import gather
from lbctl.cli.fetch import access_of, access_options, session_of
from lbctl.cli.installation import as_installed
from lbctl.cli.render import (
    EXIT_FINDINGS,
    EXIT_FINE,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    fail,
    plain,
    table,
    to_json,
)
from lbctl.plan.doctor import Diagnosis, Facts, diagnose, unreachable


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "output", default="text", type=click.Choice(["text", "json"]))
@access_options
def doctor(output: str, **access: Any) -> None:
    """Check the installation and what it stands on: a sentence and a cure for each question.

    A check answers ok, warning, failed or unknown; unknown means that it could not be made.

    Exit codes: 0 no check failed, 1 one did, 2 wrong usage, 3 the API server cannot be reached.
    """
    try:
        diagnosis = diagnose(asyncio.run(_facts(access)))
        code = EXIT_FINE if diagnosis.fine else EXIT_FINDINGS
    except CredentialsError as error:
        fail(str(error), EXIT_USAGE)
    except ApiUnreachable as error:
        diagnosis = unreachable(problem_of(error, verb="get", path=error.path))
        code = EXIT_UNREACHABLE
    except ApiError as error:
        fail(problem_of(error, verb="get", path=error.path), EXIT_UNREACHABLE)
    if output == "json":
        print(to_json({**plain(diagnosis), "fine": diagnosis.fine}))
    else:
        print("\n".join(text(diagnosis)))
    sys.exit(code)


def text(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the lines for people: the table, then the cures."""
    rows = [(check.name, check.level, check.detail) for check in diagnosis.checks]
    yield table(("CHECK", "ANSWER", "DETAIL"), rows)
    cures = [check for check in diagnosis.checks if check.cure]
    if cures:
        yield ""
        yield "To repair:"
        yield from (f"  {check.name}: {check.cure}" for check in cures)


async def _facts(options: Mapping[str, Any]) -> Facts:
    access = access_of(options)
    async with session_of(access) as session:
        access = await as_installed(session, access)
        return await gather(session, access, access.table)
