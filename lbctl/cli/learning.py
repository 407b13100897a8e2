"""Ask the API server for one fact; a refusal is an answer like any other.

Used by the doctor, whose facts must not hide each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from lbctl.api.errors import ApiRefused, problem_of
from lbctl.api.session import ApiSession
from lbctl.cli.lists import list_all
from lbctl.model.learned import Learned, Unknown

Fact = TypeVar("Fact")


async def learn(asked: Awaitable[Learned[Fact]], verb: str = "list") -> Learned[Fact]:
    """Return the fact, or why the API server keeps it; `verb` is what RBAC calls the asking.

    Raises:
        ApiUnreachable: the API server does not answer.

    """
    try:
        return await asked
    except ApiRefused as error:
        return Unknown(why=problem_of(error, verb=verb, path=error.path))


async def learn_list(
    session: ApiSession, path: str, selectors: Mapping[str, str] = MappingProxyType({})
) -> Learned[list[Any]]:
    """Return the objects of a collection that the selectors let pass, or why they are kept."""
    return await learn(list_all(session, path, selectors))
