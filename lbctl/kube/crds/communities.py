"""The kind Community, and how a field spells a community or the name of one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.configured import Written, configured
from lbctl.kube.crds.conditions import CONDITIONS
from lbctl.kube.crds.table import Column, Field, Kind, ListOf, Rule, Struct, Text
from lbctl.kube.loose import Metadata
from lbctl.model.community import Alias, Community, CommunityAliases, parse_community
from lbctl.model.outcome import Problem

ALIASES_MAX = 500
SPELLING_MAX = 64
ALIAS_MAX = 253

_NUMBERS = "[self.findAll('[0-9]+')].all(r, "
_CEL = (
    # Every pattern guards the numbers that follow it: the rules are judged from left to right.
    f"(self.matches('^[0-9]{{1,5}}:[0-9]{{1,5}}$') && {_NUMBERS}"
    "int(r[0]) <= 65535 && int(r[1]) <= 65535)) || "
    f"(self.matches('^large(:[0-9]{{1,10}}){{3}}$') && {_NUMBERS}"
    "r.all(n, int(n) <= 4294967295))) || "
    f"(self.matches('^extended:(rt|soo)(:[0-9]{{1,10}}){{2}}$') && {_NUMBERS}"
    "int(r[0]) <= 4294967295 && int(r[1]) <= (int(r[0]) <= 65535 ? 4294967295 : 65535))) || "
    "self.matches('^extended:0x[0-9a-fA-F]{16}$')"
)
_WORDS = (
    "a community such as 64500:1, large:64500:1:2, extended:rt:64500:1 or "
    "extended:0x0002fbf400000001"
)


def _community_or_alias(text: str, path: str) -> Community | Alias | Problem:
    return parse_community(text, path) if ":" in text else Alias(text)


COMMUNITY = Text(
    max_length=SPELLING_MAX,
    rules=(
        Rule(
            cel=_CEL,
            message=f"must be {_WORDS}",
            holds=lambda value: not isinstance(parse_community(value, ""), Problem),
        ),
    ),
    parse=parse_community,
)

COMMUNITY_OR_ALIAS = Text(
    max_length=ALIAS_MAX,
    min_length=1,
    rules=(
        Rule(
            cel=f"!self.contains(':') || {_CEL}",
            message=f"must be {_WORDS}, or the name of one in a Community object",
            holds=lambda value: not isinstance(_community_or_alias(value, ""), Problem),
        ),
    ),
    parse=_community_or_alias,
)


KIND = Kind(
    kind="Community",
    plural="communities",
    singular="community",
    description="Community gives names to BGP communities, which BGPAdvertisements may use in "
    "place of the numbers.",
    spec=Struct(
        fields=(
            Field(
                name="communities",
                type=ListOf(
                    item=Struct(
                        fields=(
                            Field(
                                name="name",
                                type=Text(
                                    max_length=ALIAS_MAX,
                                    min_length=1,
                                    pattern="^[^:]*$",
                                    says="a name without a colon, which is for numbers",
                                ),
                                required=True,
                                description="The name; of two objects that define one name the "
                                "older counts.",
                            ),
                            Field(
                                name="value",
                                type=COMMUNITY,
                                required=True,
                                description="The community: two numbers of 16 bits (RFC 1997), "
                                "`large:` and three of 32 bits (RFC 8092), `extended:rt:` or "
                                "`extended:soo:` with an AS and a number (RFC 4360), or "
                                "`extended:0x` and eight octets.",
                            ),
                        ),
                        build=lambda fields: (fields["name"], fields["value"]),
                    ),
                    max_items=ALIASES_MAX,
                    keys=("name",),
                ),
                description="The names that the object defines.",
            ),
        )
    ),
    status=Struct(
        fields=(
            Field(
                name="conditions",
                type=CONDITIONS,
                description="Accepted says whether the names are in effect.",
            ),
        )
    ),
    columns=(
        Column(
            name="Accepted",
            type="string",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether the names are in effect",
        ),
    ),
    beyond_schema=(
        (
            "a name that two objects define has the value of the older one, which the condition "
            "Accepted of the younger one says"
        ),
    ),
)


def parse_communities(body: Any) -> Written[CommunityAliases] | None:
    """Return the object with every problem it has, or None when it has no name."""
    return configured(KIND, body, build=_aliases)


def _aliases(
    metadata: Metadata, fields: Mapping[str, Any], _problems: list[Problem]
) -> CommunityAliases:
    return CommunityAliases(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        created=metadata.created,
        generation=metadata.generation,
        values=fields["communities"] or (),
    )
