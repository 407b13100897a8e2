"""Enumerate what a CRD's schema can refuse, and make an object that breaks exactly one bound.

The list comes from the generated CRDs, so a new field, limit or CEL rule is in it by itself; only
values that a pattern, a format or a rule asks for must be told here, and a bound without them is
an error. A keyword that this module does not know is an error, too: it would go untested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbctl.kube.crds import bgp_advertisement, bgp_peer_rules
from lbctl.kube.crds.addresses import NEIGHBOR, RANGE, ROUTER_ID
from lbctl.kube.crds.bgp_peer import KIND as BGP_PEER
from lbctl.kube.crds.communities import COMMUNITY, COMMUNITY_OR_ALIAS
from lbctl.kube.crds.durations import DURATION_PATTERN
from lbctl.kube.crds.kinds import KINDS
from lbctl.kube.crds.reading import LABEL_KEY_PATTERN, LABEL_VALUE_PATTERN, LINK_NAME_PATTERN
from lbctl.kube.crds.schema import definition
from lbctl.kube.crds.selectors import EXPRESSION
from lbctl.kube.crds.table import Kind

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
GONE = object()
"""In the place of a required field."""

SAMPLES: Mapping[str, str] = {
    LABEL_KEY_PATTERN: "app",
    LABEL_VALUE_PATTERN: "a",
    LINK_NAME_PATTERN: "eth0",
    "^[^:]*$": "no-export",
    "date-time": "2026-01-01T00:00:00Z",
}
"""A good value for each pattern and format."""

OFFENDERS: Mapping[str, str] = {
    LABEL_KEY_PATTERN: "-app",
    LABEL_VALUE_PATTERN: "a b",
    LINK_NAME_PATTERN: "eth/0",
    "^[^:]*$": "no:export",
    DURATION_PATTERN: "soon",
    "date-time": "yesterday",
}
"""A value of lawful length that each pattern and format refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCase:
    """Hold a value that a CEL rule lets pass and one that it refuses; `before` is an old value."""

    good: Any
    bad: Any
    before: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Hold one thing that a schema can refuse: `keyword` at `steps` below the object."""

    kind: Kind
    steps: tuple[str, ...]
    keyword: str
    limit: Any = None
    schema: Mapping[str, Any] = field(repr=False, hash=False)

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.path} {self.keyword}"

    @property
    def path(self) -> str:
        """Return the field as the API server names it."""
        text = ""
        for step in self.steps:
            text += "[0]" if step == "[]" else f".{'k' if step == '{}' else step}"
        return text[1:]


PEER: Mapping[str, Any] = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}


def _peers(**wrong: Any) -> RuleCase:
    """Return a good peer and the same with these fields; None takes one away."""
    bad = {name: value for name, value in {**PEER, **wrong}.items() if value is not None}
    return RuleCase(good=PEER, bad=bad)


_PEER_CASES = (
    _peers(dynamicASN="external"),
    _peers(peerAddress=None),
    _peers(localASN=64501),
    _peers(peerASN=64500, ebgpMultiHop=True),
    _peers(ebgpMultiHop=True, ttlSecurityHops=1),
    _peers(peerAddress=None, interface="eth0", sourceAddress="192.0.2.9"),
    _peers(sourceAddress="2001:db8::1"),
    _peers(holdTime="9s", keepaliveTime="10s"),
    _peers(password="x", passwordSecret={"name": "x"}),
    _peers(disableMP=True, dualStackAddressFamily=True),
)


def _spans() -> Mapping[str, RuleCase]:
    assert BGP_PEER.spec is not None
    types = {one.name: one.type for one in BGP_PEER.spec.fields}
    bad = {"holdTime": "2s", "keepaliveTime": "21846s", "connectTime": "1500ms"}
    return {
        types[name].rules[0].cel: RuleCase(good="9s", bad=text)  # type: ignore[union-attr]
        for name, text in bad.items()
    }


RULES: Mapping[str, RuleCase] = {
    **{rule.cel: case for rule, case in zip(bgp_peer_rules.RULES, _PEER_CASES, strict=True)},
    **_spans(),
    bgp_peer_rules.SECRET_RULES[0].cel: RuleCase(good="x", bad="\u00e4" * 41),
    NEIGHBOR.rules[0].cel: RuleCase(good="192.0.2.1", bad="224.0.0.1"),
    NEIGHBOR.rules[1].cel: RuleCase(good="192.0.2.1", bad="fe80::1"),
    ROUTER_ID.rules[0].cel: RuleCase(good="192.0.2.1", bad="2001:db8::1"),
    COMMUNITY.rules[0].cel: RuleCase(good="64500:1", bad="64500:65536"),
    COMMUNITY_OR_ALIAS.rules[0].cel: RuleCase(good="64500:1", bad="large:64500:1"),
    bgp_advertisement.RULES[0].cel: RuleCase(
        good={}, bad={"serviceSelectors": [{}], "aggregationLength": 24}
    ),
    RANGE.rules[0].cel: RuleCase(good="192.0.2.0/24", bad="192.0.2.1"),
    RANGE.rules[1].cel: RuleCase(good="192.0.2.0/24", bad="192.0.2.9-192.0.2.1"),
    EXPRESSION.rules[0].cel: RuleCase(
        good={"key": "app", "operator": "Exists"}, bad={"key": "app", "operator": "In"}
    ),
    "self == oldSelf": RuleCase(good="x", bad="y", before="x"),
}
"""Every CEL rule; one that is not here fails the enumeration."""


def all_bounds() -> tuple[Bound, ...]:
    """Return every bound of spec and status of every kind of ours."""
    return tuple(
        bound
        for kind in KINDS
        for part in ("spec", "status")
        if part in _properties(kind)
        for bound in _bounds(kind, _properties(kind)[part], (part,))
    )


def _properties(kind: Kind) -> Mapping[str, Any]:
    (version,) = definition(kind)["spec"]["versions"]
    found: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]
    return found


_SILENT = {
    "type", "description", "default", "properties", "items", "additionalProperties",
    "x-kubernetes-map-type", "x-kubernetes-list-map-keys",
}  # fmt: skip
"""What refuses nothing by itself, or is looked into."""


def _bounds(kind: Kind, schema: Mapping[str, Any], steps: tuple[str, ...]) -> Iterator[Bound]:
    def bound(keyword: str, limit: Any = None, at: tuple[str, ...] = ()) -> Bound:
        return Bound(kind=kind, steps=steps + at, keyword=keyword, limit=limit, schema=schema)

    # A date that is no string is refused in the words of its format.
    yield bound("type", "date-time" if schema.get("format") == "date-time" else schema["type"])
    for keyword, limit in schema.items():
        match keyword, limit:
            case "x-kubernetes-validations", rules:
                for rule in rules:
                    yield bound("rule", (rule["rule"], rule["message"]))
            case ("required", names):
                yield from (bound("required", name, (name,)) for name in names)
            case ("x-kubernetes-list-type", "atomic"):
                pass
            case (
                "enum" | "maxLength" | "minLength" | "pattern" | "format" | "minimum" | "maximum"
                | "maxItems" | "minItems" | "maxProperties" | "x-kubernetes-list-type",
                _,
            ):  # fmt: skip
                yield bound(keyword, limit)
            case _:
                assert keyword in _SILENT, f"nobody tests {keyword} of {kind.kind} {steps}"
    for name, inner in schema.get("properties", {}).items():
        yield from _bounds(kind, inner, (*steps, name))
    if "items" in schema:
        yield from _bounds(kind, schema["items"], (*steps, "[]"))
    if "additionalProperties" in schema:
        yield from _bounds(kind, schema["additionalProperties"], (*steps, "{}"))


def breaking(bound: Bound) -> dict[str, Any]:
    """Return the parts of an object (spec or status) that break this bound and are good beside."""
    part = bound.steps[0]
    schema = _properties(bound.kind)[part]
    return {part: _placed(schema, bound.steps[1:], _bad(bound))}


def sample(schema: Mapping[str, Any]) -> Any:
    """Return a good value with nothing in it that is not required."""
    for rule in schema.get("x-kubernetes-validations", ()):
        return RULES[rule["rule"]].good
    match schema["type"]:
        case "string":
            asked = schema.get("pattern") or schema.get("format")
            return schema["enum"][0] if "enum" in schema else SAMPLES[asked] if asked else "x"
        case "integer":
            return max(schema.get("minimum", 0), 1)
        case "boolean":
            return True
        case "array":
            return [sample(schema["items"])] * schema.get("minItems", 0)
    return {name: sample(schema["properties"][name]) for name in schema.get("required", ())}


def _placed(schema: Mapping[str, Any], steps: tuple[str, ...], value: Any) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step == "[]":
        return [_placed(schema["items"], rest, value)]
    if step == "{}":
        return {"k": _placed(schema["additionalProperties"], rest, value)}
    around = dict(sample(schema))
    inner = _placed(schema["properties"][step], rest, value)
    if inner is GONE:
        around.pop(step)
    else:
        around[step] = inner
    return around


def _bad(bound: Bound) -> Any:
    limit, schema = bound.limit, bound.schema
    match bound.keyword:
        case "type":
            return 7 if limit != "integer" else "seven"
        case "rule":
            return RULES[limit[0]].bad
        case "before":
            return RULES[limit[0]].before
        case "required":
            return GONE
        case "enum":
            return "nonsense"
        case "maxLength":
            return "x" * (limit + 1)
        case "minLength":
            return "x" * (limit - 1)
        case "format" if limit in ("int32", "int64"):
            return (INT32_MAX if limit == "int32" else INT64_MAX) + 1
        case "pattern" | "format":
            return OFFENDERS[limit]
        case "minimum":
            return limit - 1
        case "maximum":
            return limit + 1
        case "maxItems":
            return [sample(schema["items"])] * (limit + 1)
        case "minItems":
            return [sample(schema["items"])] * (limit - 1)
        case "x-kubernetes-list-type":
            return [sample(schema["items"])] * 2
        case "maxProperties":
            inner = sample(schema["additionalProperties"])
            return {f"k{index}": inner for index in range(limit + 1)}
    raise AssertionError(bound)
