"""What is generated from the tables: no drift, and CRDs that survive Helm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate.manifests import CHECKOUT, generated, template
from lbctl.kube.crds.kinds import KINDS
from lbctl.kube.crds.schema import definition
from lbctl.kube.crds.table import Field, Kind, Rule, Struct, Text
from lbctl.model.reason import Reason


@pytest.mark.parametrize("path", sorted(generated()), ids=str)
def test_a_generated_file_is_what_its_table_says(path: Path) -> None:
    assert (CHECKOUT / path).read_text(encoding="utf-8") == generated()[path]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_template_is_its_crd_between_the_guard(kind: Kind) -> None:
    lines = template(kind).splitlines()
    assert lines[1].startswith("{{- if ")
    assert lines[-1] == "{{- end }}"
    manifest = yaml.safe_load("\n".join(lines[2:-1]))
    assert manifest["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert manifest == definition(kind)


def test_braces_of_a_rule_are_escaped_for_helm() -> None:
    rule = Rule(cel="self != '{{x}}'", message="no {{x}}", holds=lambda _: True)
    kind = Kind(
        kind="K",
        plural="ks",
        singular="k",
        description="d",
        status=Struct(
            fields=(Field(name="f", type=Text(max_length=9, rules=(rule,)), description="d"),)
        ),
    )
    body = template(kind).split("\n", 2)[2]
    assert "'{{ \"{{\" }}x}}'" in body


def test_every_bound_in_a_schema_is_set() -> None:
    def walk(schema: dict[str, Any], path: str) -> None:
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
            walk(schema["items"], f"{path}[]")
        if schema.get("type") == "string" and path.count(".") > 1:
            assert {"maxLength", "enum"} & set(schema), path
        for name, inner in schema.get("properties", {}).items():
            walk(inner, f"{path}.{name}")

    for kind in KINDS:
        version = definition(kind)["spec"]["versions"][0]
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        for part in ("spec", "status"):
            walk(properties.get(part, {}), f"{kind.kind}.{part}.")


def test_every_reason_has_a_section() -> None:
    text = generated()[Path("docs/reference/reasons.md")]
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## {reason.value}" for reason in Reason
    ]
