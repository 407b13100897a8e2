"""Declare Kubernetes' LabelSelector once, for every field that holds one. Pure.

The form and its rules are those of `metav1.LabelSelector`; equal selectors in one list, and
equal values in one expression, are refused as MetalLB refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.crds.reading import (
    LABEL_KEY_MAX,
    LABEL_KEY_PATTERN,
    LABEL_KEY_WORDS,
    LABEL_VALUE_MAX,
    LABEL_VALUE_PATTERN,
    LABEL_VALUE_WORDS,
)
from lbctl.kube.crds.table import Field, Labels, ListOf, Rule, Struct, Text
from lbctl.model.selector import Operator, Requirement, Selector

SELECTORS_MAX = 100
EXPRESSIONS_MAX = 32
VALUES_MAX = 100
LABELS_MAX = 32


def _values_fit(requirement: Mapping[str, Any]) -> bool:
    has_values = bool(requirement.get("values"))
    return has_values == (requirement["operator"] in (Operator.IN, Operator.NOT_IN))


def _requirement(fields: Mapping[str, Any]) -> Requirement:
    return Requirement(
        key=fields["key"],
        operator=Operator(fields["operator"]),
        values=frozenset(fields["values"] or ()),
    )


def _selector(fields: Mapping[str, Any]) -> Selector:
    pairs = tuple(
        Requirement(key=key, operator=Operator.IN, values=frozenset({value}))
        for key, value in sorted((fields["matchLabels"] or {}).items())
    )
    return Selector(requirements=pairs + (fields["matchExpressions"] or ()))


EXPRESSION = Struct(
    fields=(
        Field(
            name="key",
            type=Text(
                max_length=LABEL_KEY_MAX,
                min_length=1,
                pattern=LABEL_KEY_PATTERN,
                says=LABEL_KEY_WORDS,
            ),
            required=True,
            description="The label's key.",
        ),
        Field(
            name="operator",
            type=Text(max_length=16, enum=tuple(Operator)),
            required=True,
            description="How the label is compared with the values.",
        ),
        Field(
            name="values",
            type=ListOf(
                item=Text(
                    max_length=LABEL_VALUE_MAX,
                    pattern=LABEL_VALUE_PATTERN,
                    says=LABEL_VALUE_WORDS,
                ),
                max_items=VALUES_MAX,
                unique=True,
            ),
            description="At least one for In and NotIn; none for Exists and DoesNotExist.",
        ),
    ),
    rules=(
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="In and NotIn need values; Exists and DoesNotExist take none",
            holds=_values_fit,
        ),
    ),
    build=_requirement,
)

SELECTOR = Struct(
    fields=(
        Field(
            name="matchLabels",
            type=Labels(max_properties=LABELS_MAX),
            description="Labels that must all be there with these values.",
        ),
        Field(
            name="matchExpressions",
            type=ListOf(item=EXPRESSION, max_items=EXPRESSIONS_MAX),
            description="Requirements that must all hold.",
        ),
    ),
    atomic=True,
    build=_selector,
)

SELECTORS = ListOf(item=SELECTOR, max_items=SELECTORS_MAX, unique=True)


def render_selector(selector: Selector) -> dict[str, Any]:
    """Return the JSON of a selector, every requirement as an expression."""
    return {
        "matchExpressions": [
            {
                "key": requirement.key,
                "operator": requirement.operator.value,
                **({"values": sorted(requirement.values)} if requirement.values else {}),
            }
            for requirement in selector.requirements
        ]
    }
