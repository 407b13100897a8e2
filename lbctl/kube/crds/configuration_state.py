"""The kind ConfigurationState: what a process makes of the configuration as a whole. Pure.

The controller writes one. It repeats in one place what the condition Accepted says on each object,
and is the only place to say it where those objects have no conditions (in MetalLB's group).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from lbctl.kube.crds.conditions import CONDITIONS, MESSAGE_MAX, NO_CONDITIONS, keep
from lbctl.kube.crds.table import Column, Field, Kind, Struct, Text
from lbctl.kube.loose import mapping, metadata_of, text

CONTROLLER_NAME = "controller"


class Result(enum.StrEnum):
    """Name what a process makes of the configuration; UNKNOWN: it has not looked yet."""

    VALID = "Valid"
    INVALID = "Invalid"
    UNKNOWN = "Unknown"


KIND = Kind(
    kind="ConfigurationState",
    plural="configurationstates",
    singular="configurationstate",
    description="ConfigurationState says whether the controller found the configuration valid.",
    status=Struct(
        fields=(
            Field(
                name="result",
                type=Text(max_length=7, enum=tuple(Result)),
                description="Valid, Invalid if an object was refused, or Unknown.",
            ),
            Field(
                name="errorSummary",
                type=Text(max_length=MESSAGE_MAX),
                description="One line for every problem found.",
            ),
            Field(
                name="conditions",
                type=CONDITIONS,
                description="poolReconcilerValid of the controller, configReconcilerValid of a "
                "speaker.",
            ),
        )
    ),
    columns=(
        Column(
            name="Result",
            type="string",
            path=".status.result",
            description="Whether the configuration is valid",
        ),
        Column(
            name="Error Summary",
            type="string",
            path=".status.errorSummary",
            description="What is wrong with it",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationState:
    """Hold one object as found."""

    name: str
    resource_version: str
    result: str
    error_summary: str
    conditions: str = NO_CONDITIONS


def parse_configuration_state(body: Any) -> ConfigurationState | None:
    """Return what the object says, or None when it has no name."""
    metadata = metadata_of(body)
    if metadata is None:
        return None
    status = mapping(body.get("status"))
    return ConfigurationState(
        name=metadata.name,
        resource_version=metadata.resource_version,
        result=text(status.get("result")),
        error_summary=text(status.get("errorSummary")),
        conditions=keep(status.get("conditions")),
    )
