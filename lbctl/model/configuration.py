"""Configuration objects as found: valid, or refused with every problem at once. Pure.

One bad object disables itself and nothing else, so a parser never raises: it returns `Rejected`
in the object's place and the plan reports it on the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from lbctl.model.names import ObjectKey
from lbctl.model.outcome import Problem
from lbctl.model.reason import Reason

Spec = TypeVar("Spec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Hold the observed condition `Accepted` and status of a configuration object."""

    status: str
    reason: str
    message: str
    observed_generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured(Generic[Spec]):
    """Hold one configuration object: its parsed form, or the problems that reject it."""

    key: ObjectKey
    uid: str
    created: str
    generation: int
    resource_version: str
    spec: Spec | None
    problems: tuple[Problem, ...]
    accepted: Accepted | None
    """The condition that the object shows now."""
    counters: tuple[int, int, int, int] | None = None
    """IPAddressPool only: assignedIPv4, assignedIPv6, availableIPv4, availableIPv6 as shown now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Say whether an object is in effect: the condition `Accepted`, in the same words everywhere."""

    accepted: bool
    reason: Reason
    message: str
