"""Declare what both kinds of advertisements are about: pools, nodes and Services. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.crds.selectors import SELECTORS
from lbctl.kube.crds.table import Field, ListOf, Text

POOLS_MAX = 1_000
OBJECT_NAME_MAX = 253

NAMES = ListOf(
    item=Text(max_length=OBJECT_NAME_MAX, min_length=1), max_items=POOLS_MAX, unique=True
)

SCOPE = (
    Field(
        name="ipAddressPools",
        type=NAMES,
        description="Pools by name; names of no pool are ignored. With "
        "ipAddressPoolSelectors also empty: every pool.",
    ),
    Field(
        name="ipAddressPoolSelectors",
        type=SELECTORS,
        description="Pools by label, united with ipAddressPools.",
    ),
    Field(
        name="nodeSelectors",
        type=SELECTORS,
        description="Nodes that may announce, one of which must match; empty: every node.",
    ),
    Field(
        name="serviceSelectors",
        type=SELECTORS,
        description="Services that are announced, one of which must match; empty: every Service.",
    ),
)


def scope(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an advertisement's model value that these fields mean."""
    return {
        "pools": frozenset(fields["ipAddressPools"] or ()),
        "pool_selectors": fields["ipAddressPoolSelectors"] or (),
        "node_selectors": fields["nodeSelectors"] or (),
        "service_selectors": fields["serviceSelectors"] or (),
    }
