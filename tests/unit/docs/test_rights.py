"""What the chart grants, read in its templates: the claims of the compatibility page."""

from __future__ import annotations

import re
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[3] / "deploy/helm/lbctl/templates"
RULE = re.compile(r"resources: \[([^\]]*)\].*verbs: \[([^\]]*)\]")


def roles(component: str) -> str:
    """Return the text of the component's Role and ClusterRole."""
    documents = (TEMPLATES / "rbac.yaml").read_text().split("---\n")
    found = [
        text
        for text in documents
        if re.search(r"^kind: (Cluster)?Role$", text, re.MULTILINE)
        and f"-{component}\n" in text.split("rules:")[0]
    ]
    assert len(found) == 2
    return "".join(found)


def test_a_speaker_reads_no_secret() -> None:
    assert "secrets" in roles("controller")
    assert "secrets" not in roles("speaker")


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
        r"terminationGracePeriodSeconds: (\d+)", (TEMPLATES / "speaker.yaml").read_text()
    )
    assert grace is not None
    assert int(grace.group(1)) >= 10
