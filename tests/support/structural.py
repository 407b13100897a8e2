"""A small judge of structural schemas, written apart from ours: the oracle for the parsers.

It knows the vocabulary that our CRDs use, and CEL rules only as names: those are proved on a real
API server (tests/cluster/test_crds.py).
"""

from __future__ import annotations

import json
import re
from typing import Any


def refusals(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Return the paths at which the API server would refuse `value`, CEL left aside."""
    match schema["type"]:
        case "object":
            return _object(schema, value, path)
        case "array":
            return _array(schema, value, path)
        case "string":
            return [] if isinstance(value, str) and _string(schema, value) else [path]
        case "integer":
            fits = (
                isinstance(value, int)
                and not isinstance(value, bool)
                and schema["minimum"] <= value <= schema.get("maximum", 2**63 - 1)
            )
            return [] if fits else [path]
        case "boolean":
            return [] if isinstance(value, bool) else [path]
    raise AssertionError(schema)


def _string(schema: dict[str, Any], value: str) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    return schema.get("minLength", 0) <= len(value) <= schema["maxLength"] and (
        "pattern" not in schema
        or re.search(schema["pattern"].replace("$", r"\Z"), value, re.ASCII) is not None
    )


def _object(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [path]
    present = {key: item for key, item in value.items() if item is not None}
    if "additionalProperties" in schema:
        if len(value) > schema["maxProperties"]:
            return [path]
        inner = schema["additionalProperties"]
        return [
            bad for key, item in value.items() for bad in refusals(inner, item, f"{path}.{key}")
        ]
    found = [f"{path}.{name}" for name in schema.get("required", ()) if name not in present]
    for name, inner in schema.get("properties", {}).items():
        if name in present:
            found += refusals(inner, present[name], f"{path}.{name}")
    return found


def _array(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [path]
    if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
        return [path]
    found = [
        bad
        for i, item in enumerate(value)
        for bad in refusals(schema["items"], item, f"{path}[{i}]")
    ]
    if schema["x-kubernetes-list-type"] == "set":
        spelled = [json.dumps(item, sort_keys=True) for item in value]
        if len(set(spelled)) < len(spelled):
            found.append(path)
    return found
