"""What the chart grants, read in its templates: the table of rights, and what pages claim."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbctl.kube.groups import METALLB_GROUP, OWN_GROUP
from lbctl.kube.rights import Component, Installation, Right, rights_of
from speaker.main import GOODBYE_S, HANDOVER_S

TEMPLATES = Path(__file__).resolve().parents[3] / "deploy/helm/lbctl/templates"
RULE = re.compile(r"resources: \[([^\]]*)\].*verbs: \[([^\]]*)\]")


def roles(component: str) -> str:
    """Return the text of the component's Role and ClusterRole."""
    return "".join(parts(component))


def parts(component: str) -> list[str]:
    """Return the component's ClusterRole and its Role."""
    documents = (TEMPLATES / "rbac.yaml").read_text().split("---\n")
    found = [
        text
        for text in documents
        if re.search(r"^kind: (Cluster)?Role$", text, re.MULTILINE)
        and f"-{component}\n" in text.split("rules:")[0]
    ]
    assert ["kind: ClusterRole\n" in text for text in found] == [True, False]
    return found


def test_a_speaker_reads_secrets_of_its_own_namespace_and_writes_none() -> None:
    of_the_cluster, of_the_namespace = (
        [verbs for resources, verbs in RULE.findall(text) if resources == "secrets"]
        for text in parts("speaker")
    )
    assert of_the_cluster == []
    assert of_the_namespace == ["list, watch"]


def test_services_are_only_patched_in_their_status() -> None:
    for component in ("controller", "speaker"):
        for resources, verbs in RULE.findall(roles(component)):
            if "services/status" in resources:
                assert verbs == "patch"
            elif "services" in resources.split(", "):
                assert verbs == "list, watch"
    assert "services/status" not in roles("speaker")


def test_the_controller_reads_what_it_tells_from_and_writes_none_of_it() -> None:
    told_from = {"nodes", "endpointslices", "servicel2statuses", "speakerstatuses"}
    granted = {
        resource: verbs
        for resources, verbs in RULE.findall(roles("controller"))
        for resource in resources.split(", ")
        if resource.partition("/")[0] in told_from
    }
    assert granted == dict.fromkeys(told_from, "list, watch")


def test_a_speaker_has_time_to_hand_over() -> None:
    grace = re.search(
        r"terminationGracePeriodSeconds: {{ add (\d+) \(ceil .Values.speaker.gracefulShutdownWait\) }}",
        (TEMPLATES / "speaker.yaml").read_text(),
    )
    assert grace is not None
    assert int(grace.group(1)) >= HANDOVER_S + GOODBYE_S


def rendered(where: Installation) -> list[dict[str, Any]]:
    """Return the Roles and ClusterRoles of the chart, as Helm would make them for `where`."""
    text = (TEMPLATES / "rbac.yaml").read_text().partition("\n---\n{{- end }}\n")[2]
    webhook = re.compile(r" *{{- if .Values.webhook.enabled }}\n(.*?) *{{- end }}\n", re.DOTALL)
    text = webhook.sub(r"\1" if where.webhook else "", text).removesuffix("{{- end }}\n")
    for action, value in {
        r'{{- include "lbctl.labels" . \| nindent 4 }}': "{}",
        r"{{ .Release.Namespace }}": where.namespace,
        r"{{ \$name }}": where.name,
        r"{{ .Values.apiGroup }}": where.api_group,
    }.items():
        text = re.sub(action, value, text)
    assert "{{" not in text
    return list(yaml.safe_load_all(text))


def granted(component: Component, where: Installation) -> list[Right]:
    return sorted(
        (
            Right(
                verb=verb,
                group=group,
                resource=resource,
                namespace="" if role["kind"] == "ClusterRole" else where.namespace,
                name=name,
            )
            for role in rendered(where)
            if role["metadata"]["name"].endswith(f"-{component}")
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        ),
        key=str,
    )


@pytest.mark.parametrize("webhook", [True, False], ids=["webhook", "no-webhook"])
@pytest.mark.parametrize("api_group", [OWN_GROUP, METALLB_GROUP])
@pytest.mark.parametrize("component", Component)
def test_the_chart_grants_what_the_table_says_and_no_more(
    component: Component, api_group: str, webhook: bool
) -> None:
    where = Installation(namespace="there", name="mine", api_group=api_group, webhook=webhook)
    assert granted(component, where) == sorted(rights_of(component, where), key=str)
