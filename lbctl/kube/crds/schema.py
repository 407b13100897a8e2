"""Render a kind's table as the CustomResourceDefinition that the API server gets.

The result is plain dicts in a fixed order, so that the generated chart templates differ only
when a table does. Pure; called by docs/generate/manifests.py and by tests.
"""

from __future__ import annotations

from typing import Any, assert_never

from lbctl.kube.crds.conditions import INT64_MAX
from lbctl.kube.crds.reading import LABEL_VALUE_MAX, LABEL_VALUE_PATTERN
from lbctl.kube.crds.table import (
    Boolean,
    Field,
    Integer,
    Kind,
    Labels,
    ListOf,
    Rule,
    Struct,
    Text,
    Type,
)
from lbctl.kube.groups import OWN_GROUP, OWN_VERSION


def definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of `kind` in our own group."""
    version: dict[str, Any] = {"name": OWN_VERSION, "served": True, "storage": True}
    if kind.columns:
        version["additionalPrinterColumns"] = [
            {
                "name": column.name,
                "type": column.type,
                "jsonPath": column.path,
                "description": column.description,
                **({"priority": column.priority} if column.priority else {}),
            }
            for column in kind.columns
        ]
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    version["schema"] = {"openAPIV3Schema": _root(kind)}
    version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{OWN_GROUP}"},
        "spec": {
            "group": OWN_GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _root(kind: Kind) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    required = []
    if kind.spec is not None:
        properties["spec"] = render(kind.spec)
        if any(field.required for field in kind.spec.fields):
            required = ["spec"]
    properties["status"] = render(kind.status)
    return {
        "type": "object",
        "description": kind.description,
        "properties": properties,
        **({"required": required} if required else {}),
    }


def render(declared: Type) -> dict[str, Any]:
    """Return the structural schema of one type."""
    match declared:
        case Text():
            return _text(declared)
        case Integer():
            return {
                "type": "integer",
                "format": "int64" if declared.wide else "int32",
                "minimum": declared.minimum,
                # The API server keeps bounds as floats: 2^63 - 1 becomes 2^63, which fits no
                # int64, and Kubernetes 1.36 then refuses every object. The format says it anyway.
                **({"maximum": declared.maximum} if declared.maximum < INT64_MAX else {}),
            }
        case Boolean():
            return {"type": "boolean"}
        case ListOf():
            return {
                "type": "array",
                "items": render(declared.item),
                "maxItems": declared.max_items,
                **({"minItems": declared.min_items} if declared.min_items else {}),
                **_list_type(declared),
            }
        case Labels():
            return {
                "type": "object",
                "maxProperties": declared.max_properties,
                "additionalProperties": {
                    "type": "string",
                    "maxLength": LABEL_VALUE_MAX,
                    "pattern": LABEL_VALUE_PATTERN,
                },
            }
        case Struct():
            return _struct(declared)
    assert_never(declared)


def _text(declared: Text) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if declared.format:
        schema["format"] = declared.format
    if declared.enum:
        schema["enum"] = [str(word) for word in declared.enum]
    else:
        schema["maxLength"] = declared.max_length
    if declared.min_length:
        schema["minLength"] = declared.min_length
    if declared.pattern:
        schema["pattern"] = declared.pattern
    return schema | _rules(declared.rules)


def _list_type(declared: ListOf) -> dict[str, Any]:
    if declared.keys:
        return {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(declared.keys),
        }
    return {"x-kubernetes-list-type": "set" if declared.unique else "atomic"}


def _struct(declared: Struct) -> dict[str, Any]:
    required = [field.name for field in declared.fields if field.required]
    return {
        "type": "object",
        "properties": {field.name: _field(field) for field in declared.fields},
        **({"required": required} if required else {}),
        **({"x-kubernetes-map-type": "atomic"} if declared.atomic else {}),
        **_rules(declared.rules),
    }


def _field(field: Field) -> dict[str, Any]:
    return {
        "description": field.description,
        **({} if field.default is None else {"default": field.default}),
        **render(field.type),
    }


def _rules(rules: tuple[Rule, ...]) -> dict[str, Any]:
    if not rules:
        return {}
    return {
        "x-kubernetes-validations": [{"rule": rule.cel, "message": rule.message} for rule in rules]
    }
