"""What the chart grants, read in its templates: the claims of the compatibility page."""

from __future__ import annotations

import re
from pathlib import Path

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
