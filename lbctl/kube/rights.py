"""List what the controller and the speaker may do, and no more: the one table of their rights. Pure.

The chart grants exactly this (tests/unit/docs/test_rights.py compares them), and `lbctl doctor`
asks the API server whether the accounts have it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lbctl.kube.groups import OWN_GROUP

_SET: Final = "{api_group}"
"""The group of MetalLB's kinds, as `--api-group` sets it."""
_READ: Final = ("list", "watch")


class Component(enum.StrEnum):
    CONTROLLER = "controller"
    SPEAKER = "speaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Hold one verb on one resource; an empty namespace means all of them, an empty name any."""

    verb: str
    group: str
    resource: str
    """The plural, with the subresource behind a slash if it is meant."""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        plural, _, subresource = self.resource.partition("/")
        what = f"{plural}.{self.group}" if self.group else plural
        what += f"/{subresource}" if subresource else ""
        what += f" {self.name}" if self.name else ""
        return f"{self.verb} {what} in {self.namespace or 'every namespace'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Hold what the names and groups in the table depend on."""

    namespace: str
    name: str
    api_group: str
    webhook: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Hold some rights of one component; `name` has the placeholders of `Installation`."""

    group: str
    resources: str
    """Separated by spaces."""
    verbs: tuple[str, ...]
    everywhere: bool = False
    name: str = ""
    webhook: bool = False
    """Needed only where the admission webhook is on."""


_CONFIGURATION: Final = "ipaddresspools l2advertisements bgppeers bgpadvertisements communities"
_EVENTS: Final = _Rule(
    group="", resources="events", verbs=("get", "create", "patch"), everywhere=True
)
_SLICES: Final = _Rule(
    group="discovery.k8s.io", resources="endpointslices", verbs=_READ, everywhere=True
)

_RULES: Final[dict[Component, tuple[_Rule, ...]]] = {
    Component.CONTROLLER: (
        _Rule(group="", resources="services namespaces nodes", verbs=_READ, everywhere=True),
        _SLICES,
        _Rule(group="", resources="services/status", verbs=("patch",), everywhere=True),
        _EVENTS,
        _Rule(
            group="admissionregistration.k8s.io",
            resources="validatingwebhookconfigurations",
            verbs=("get", "patch"),
            everywhere=True,
            name="{namespace}-{name}",
            webhook=True,
        ),
        _Rule(group=_SET, resources=f"{_CONFIGURATION} bfdprofiles", verbs=_READ),
        _Rule(
            group=_SET,
            resources=" ".join(f"{one}/status" for one in (*_CONFIGURATION.split(), "bfdprofiles")),
            verbs=("patch",),
        ),
        _Rule(group=_SET, resources="servicel2statuses", verbs=_READ),
        _Rule(
            group=_SET,
            resources="servicebgpstatuses",
            verbs=("get", "list", "watch", "create", "delete"),
        ),
        _Rule(group=_SET, resources="servicebgpstatuses/status", verbs=("patch",)),
        _Rule(group=OWN_GROUP, resources="speakerstatuses bgpsessionstatuses", verbs=_READ),
        _Rule(group=_SET, resources="configurationstates", verbs=("list", "watch", "create")),
        _Rule(group=_SET, resources="configurationstates/status", verbs=("patch",)),
        _Rule(group="coordination.k8s.io", resources="leases", verbs=("create",)),
        _Rule(
            group="coordination.k8s.io",
            resources="leases",
            verbs=("get", "update"),
            name="{name}-controller",
        ),
        _Rule(group="", resources="secrets", verbs=("create",), webhook=True),
        _Rule(
            group="",
            resources="secrets",
            verbs=("get", "update"),
            name="{name}-webhook",
            webhook=True,
        ),
    ),
    Component.SPEAKER: (
        _Rule(group="", resources="services nodes", verbs=_READ, everywhere=True),
        _SLICES,
        _EVENTS,
        _Rule(group=_SET, resources=_CONFIGURATION, verbs=_READ),
        _Rule(group="", resources="secrets", verbs=_READ),
        _Rule(
            group=OWN_GROUP,
            resources="speakerstatuses bgpsessionstatuses",
            verbs=("get", "list", "watch", "create", "patch", "delete"),
        ),
        _Rule(
            group=OWN_GROUP,
            resources="speakerstatuses/status bgpsessionstatuses/status",
            verbs=("patch",),
        ),
        _Rule(
            group=_SET,
            resources="servicel2statuses",
            verbs=("get", "list", "watch", "create", "delete"),
        ),
        _Rule(group=_SET, resources="servicel2statuses/status", verbs=("patch",)),
    ),
}


def rights_of(component: Component, where: Installation) -> Iterator[Right]:
    """Yield every right that the component needs in this installation."""
    for rule in _RULES[component]:
        if rule.webhook and not where.webhook:
            continue
        for resource in rule.resources.split():
            for verb in rule.verbs:
                yield Right(
                    verb=verb,
                    group=rule.group.format(api_group=where.api_group),
                    resource=resource,
                    namespace="" if rule.everywhere else where.namespace,
                    name=rule.name.format(namespace=where.namespace, name=where.name),
                )
