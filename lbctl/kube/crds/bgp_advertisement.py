"""The kind BGPAdvertisement: which pools are announced by BGP, how and to whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.configured import Written, configured
from lbctl.kube.crds.communities import COMMUNITY_OR_ALIAS
from lbctl.kube.crds.conditions import CONDITIONS
from lbctl.kube.crds.scope import NAMES, SCOPE, scope
from lbctl.kube.crds.table import Column, Field, Integer, Kind, ListOf, Rule, Struct
from lbctl.kube.loose import Metadata
from lbctl.model.advertisement import BGPAdvertisement
from lbctl.model.community import UINT32_MAX
from lbctl.model.outcome import Problem

COMMUNITIES_MAX = 63
"""As MetalLB has it; the communities of a route must leave room in a message of 4,096 octets."""

LENGTH, LENGTH_V6 = 32, 128


def _whole_addresses(spec: Mapping[str, Any]) -> bool:
    lengths = (spec.get("aggregationLength"), spec.get("aggregationLengthV6"))
    return not spec.get("serviceSelectors") or (
        lengths[0] in (None, LENGTH) and lengths[1] in (None, LENGTH_V6)
    )


RULES = (
    Rule(
        cel="!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || "
        f"((!has(self.aggregationLength) || self.aggregationLength == {LENGTH}) && "
        f"(!has(self.aggregationLengthV6) || self.aggregationLengthV6 == {LENGTH_V6}))",
        message="serviceSelectors cannot stand beside an aggregation, because a shorter prefix "
        "also holds addresses of Services that are not selected; drop one of the two",
        holds=_whole_addresses,
    ),
)

KIND = Kind(
    kind="BGPAdvertisement",
    plural="bgpadvertisements",
    singular="bgpadvertisement",
    description="BGPAdvertisement says which pools are announced to BGP peers, with which "
    "attributes, from which nodes.",
    spec=Struct(
        fields=(
            Field(
                name="aggregationLength",
                type=Integer(minimum=1, maximum=LENGTH),
                default=LENGTH,
                description="The prefix length under which an IPv4 address is announced. It must "
                "not be shorter than that of the CIDR in the pool.",
            ),
            Field(
                name="aggregationLengthV6",
                type=Integer(minimum=1, maximum=LENGTH_V6),
                default=LENGTH_V6,
                description="The same for IPv6.",
            ),
            Field(
                name="localPref",
                type=Integer(minimum=0, maximum=UINT32_MAX, wide=True),
                default=0,
                description="The route's LOCAL_PREF, told to peers of our own AS only; the higher "
                "one wins there. 0: unset, which counts as 100.",
            ),
            Field(
                name="communities",
                type=ListOf(item=COMMUNITY_OR_ALIAS, max_items=COMMUNITIES_MAX, unique=True),
                description="The route's communities: numbers as in a Community object, or names "
                "that such an object defines. While a name is unknown the advertisement is not in "
                "effect.",
            ),
            *SCOPE,
            Field(
                name="peers",
                type=NAMES,
                description="BGPPeers by name; names of no peer are ignored; empty: every peer.",
            ),
        ),
        rules=RULES,
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
            name="Peers",
            type="string",
            path=".spec.peers",
            description="Peers by name",
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
        "a community by name must be defined by a Community object",
        (
            "a name of no pool or of no peer is said in the condition Accepted, which stays True: it "
            "may come"
        ),
    ),
)


def parse_bgp_advertisement(body: Any) -> Written[BGPAdvertisement] | None:
    """Return the advertisement with every problem it has, or None when it has no name."""
    return configured(KIND, body, build=_advertisement)


def _advertisement(
    metadata: Metadata, fields: Mapping[str, Any], _problems: list[Problem]
) -> BGPAdvertisement:
    return BGPAdvertisement(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        generation=metadata.generation,
        aggregation_length=fields["aggregationLength"],
        aggregation_length_v6=fields["aggregationLengthV6"],
        local_preference=fields["localPref"],
        communities=fields["communities"] or (),
        peers=frozenset(fields["peers"] or ()),
        **scope(fields),
    )
