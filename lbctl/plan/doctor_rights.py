"""Judge whether the accounts of controller and speaker may do what they have to. Pure.

The table of rights is `lbctl.kube.rights`; the API server has been asked about each of them. A
component whose account is not known was not asked about, and that is not `ok`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.learned import Unknown
from lbctl.plan.doctor_checks import Check, failed, ok, some, unknown

_CURE = (
    "Let helm upgrade of the chart in this version write the Roles and bindings (rbac.create: "
    "true, the default), or grant these rights where you keep your own."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Hold the answers of the API server."""

    denied: Mapping[str, tuple[str, ...]]
    """For each account that was asked about the rights that it lacks: `patch services/status …`."""
    unasked: tuple[str, ...]
    """Components without a workload that would name their account."""


def judge_rights(name: str, rights: Rights) -> Check:
    """Return the check: what an account lacks, else what nobody could ask, else that all is well."""
    lacking = [
        f"{account} may not {right}" for account, all_ in rights.denied.items() for right in all_
    ]
    if lacking:
        return failed(name, some(lacking), _CURE)
    if rights.unasked:
        missing = " and ".join(rights.unasked)
        return unknown(
            name, Unknown(why=f"there is no workload that names the account of {missing}")
        )
    return ok(name, f"{' and '.join(rights.denied)} may do all that they have to")
