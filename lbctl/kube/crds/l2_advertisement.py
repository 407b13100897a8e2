"""The kind L2Advertisement: which pools are announced by ARP and NDP, from where. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.configured import Written, configured
from lbctl.kube.crds.conditions import CONDITIONS
from lbctl.kube.crds.reading import LINK_NAME_MAX, LINK_NAME_PATTERN, LINK_NAME_WORDS
from lbctl.kube.crds.scope import SCOPE, scope
from lbctl.kube.crds.selectors import SELECTOR, SELECTORS_MAX, render_selector
from lbctl.kube.crds.table import Column, Field, Integer, Kind, ListOf, Struct, Text
from lbctl.kube.loose import Metadata
from lbctl.model.advertisement import L2Advertisement, NodePreference
from lbctl.model.outcome import Problem

INTERFACES_MAX = 256
LINK_NAME = Text(
    max_length=LINK_NAME_MAX, min_length=1, pattern=LINK_NAME_PATTERN, says=LINK_NAME_WORDS
)


def _preference(fields: Mapping[str, Any]) -> NodePreference:
    return NodePreference(weight=fields["weight"], preference=fields["preference"])


KIND = Kind(
    kind="L2Advertisement",
    plural="l2advertisements",
    singular="l2advertisement",
    description="L2Advertisement says which pools are announced on the local network by ARP and "
    "NDP, from which nodes and interfaces.",
    spec=Struct(
        fields=(
            *SCOPE,
            Field(
                name="interfaces",
                type=ListOf(
                    item=LINK_NAME,
                    max_items=INTERFACES_MAX,
                    unique=True,
                ),
                description="Exact names of the interfaces to announce on; empty: all of them.",
            ),
            Field(
                name="preferredNodeSelectors",
                type=ListOf(
                    item=Struct(
                        fields=(
                            Field(
                                name="weight",
                                type=Integer(minimum=1, maximum=100),
                                required=True,
                                description="What a matching node gains.",
                            ),
                            Field(
                                name="preference",
                                type=SELECTOR,
                                required=True,
                                description="The nodes; an empty selector matches every node.",
                            ),
                        ),
                        build=_preference,
                    ),
                    max_items=SELECTORS_MAX,
                ),
                description="Nodes to prefer among those that may announce; weights add up.",
            ),
        )
    ),
    status=Struct(
        fields=(
            Field(
                name="conditions",
                type=CONDITIONS,
                description="Accepted says whether the advertisement is in effect.",
            ),
        )
    ),
    columns=(
        Column(
            name="IPAddressPools",
            type="string",
            path=".spec.ipAddressPools",
            description="Pools by name",
        ),
        Column(
            name="IPAddressPool Selectors",
            type="string",
            path=".spec.ipAddressPoolSelectors",
            description="Pools by label",
            priority=1,
        ),
        Column(
            name="Interfaces",
            type="string",
            path=".spec.interfaces",
            description="Interfaces to announce on",
        ),
        Column(
            name="Node Selectors",
            type="string",
            path=".spec.nodeSelectors",
            description="Nodes that may announce",
            priority=1,
        ),
        Column(
            name="Accepted",
            type="string",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether the advertisement is in effect",
        ),
    ),
    beyond_schema=(
        "a key of matchLabels must be a label key",
        "a name of no pool is said in the condition Accepted, which stays True: the pool may come",
    ),
)


def parse_l2_advertisement(body: Any) -> Written[L2Advertisement] | None:
    """Return the advertisement with every problem it has, or None when it has no name."""
    return configured(KIND, body, build=_advertisement)


def _advertisement(
    metadata: Metadata, fields: Mapping[str, Any], _problems: list[Problem]
) -> L2Advertisement:
    return L2Advertisement(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        generation=metadata.generation,
        **scope(fields),
        interfaces=frozenset(fields["interfaces"] or ()),
        preferred_nodes=fields["preferredNodeSelectors"] or (),
    )


def render_l2_advertisement(advertisement: L2Advertisement) -> dict[str, Any]:
    """Return the API object that `parse_l2_advertisement` reads back (metadata, spec)."""
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": KIND.kind,
        "metadata": {
            "name": advertisement.name,
            "namespace": advertisement.namespace,
            "uid": advertisement.uid,
            "generation": advertisement.generation,
        },
        "spec": {
            "ipAddressPools": sorted(advertisement.pools),
            "ipAddressPoolSelectors": [render_selector(s) for s in advertisement.pool_selectors],
            "nodeSelectors": [render_selector(s) for s in advertisement.node_selectors],
            "serviceSelectors": [render_selector(s) for s in advertisement.service_selectors],
            "interfaces": sorted(advertisement.interfaces),
            "preferredNodeSelectors": [
                {"weight": item.weight, "preference": render_selector(item.preference)}
                for item in advertisement.preferred_nodes
            ],
        },
    }
