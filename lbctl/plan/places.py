"""Say where lbctl's objects are, and fill the commands that are told to people with it. Pure.

A command that cannot be typed as it stands is worse than none: MetalLB's kinds are in the API
group that is set (`lbctl.kube.groups`), and `lbctl` looks for its objects in the default namespace
unless it is told another. The option is left out where nobody needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_NAMESPACE: Final = "lbctl-system"
"""Where `lbctl` looks unless --lbctl-namespace says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Hold the namespace and the API group of one installation's objects."""

    lbctl_namespace: str
    api_group: str

    @property
    def elsewhere(self) -> str:
        """Return what an `lbctl` command needs in addition, with the space before it."""
        if self.lbctl_namespace == DEFAULT_NAMESPACE:
            return ""
        return f" --lbctl-namespace {self.lbctl_namespace}"

    def fill(self, command: str, *, namespace: str, name: str, pool: str, node: str) -> str:
        """Return the check of a reason (`Explanation.check`) without its placeholders."""
        return command.format(
            namespace=namespace,
            name=name,
            pool=pool,
            node=node,
            lbctl_namespace=self.lbctl_namespace,
            api_group=self.api_group,
            elsewhere=self.elsewhere,
        )
