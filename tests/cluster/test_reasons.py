"""One state of a real cluster for each reason, and what is then printed for it, as transcripts.

`--rewrite` writes what is printed now into tests/cluster/reasons; the diff is the review.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from lbctl.kube.groups import OWN_GROUP
from lbctl.model.names import NodeName, PoolName, ServiceKey
from lbctl.model.reason import Reason
from lbctl.plan.explain import advice
from lbctl.plan.places import Place
from tests.cluster import scenes, scenes_bgp
from tests.cluster.breaking import LAST
from tests.cluster.scenes import Scene
from tests.cluster.test_telling import shell
from tests.support.cluster import DEADLINE_S, PRODUCT, Cluster, echo, eventually, service

pytestmark = pytest.mark.cluster

TRANSCRIPTS = Path(__file__).parent / "reasons"
IMPOSSIBLE = {Reason.NO_CLUSTER_IP}
"""The API server itself refuses what would lead to them: see the last test."""
SCENES = sorted(
    (*scenes.SCENES, *scenes_bgp.SCENES), key=lambda scene: list(Reason).index(scene.reason)
)
MISSING = "(none)"
"""Stands where nothing is written yet."""


@pytest.fixture(scope="module")
def stage(product: Cluster) -> Iterator[Cluster]:
    """Run echo Pods, and none on the last node."""
    product.apply(echo("echo", replicas=2, node=product.nodes[0]))
    product.kube("rollout", "status", "deployment/echo", "--timeout=60s")
    yield product
    product.kube("delete", "deployment", "echo")


@pytest.fixture
def played(stage: Cluster, scene: Scene) -> Iterator[Cluster]:
    """Make the scene's state, and unmake it."""
    try:
        if scene.objects:
            stage.apply(*scene.objects)
        with scene.state(stage):
            yield stage
    finally:
        stage.kube("-n", "default", "delete", "service", "-l", "!provider", "--ignore-not-found")
        for kind in ("ipaddresspools", "l2advertisements", *scenes_bgp.KINDS):
            stage.kube("-n", PRODUCT, "delete", kind, "--all")
        if scene.state is not nullcontext:
            words = f"lbctl explain node {LAST}"
            eventually(f"{LAST} may announce", lambda: shell(stage, words).returncode == 0)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_what_is_printed_for_a_reason_is_what_its_transcript_says(
    scene: Scene, played: Cluster, request: pytest.FixtureRequest
) -> None:
    path = TRANSCRIPTS / f"{scene.reason}.txt"
    if request.config.getoption("--rewrite"):
        text = settled(scene, played)
        path.write_text(text)
    else:
        text = path.read_text()
        agrees(scene, played, text)
    assert tells(scene, text)
    for command in checks(scene, text):
        done = shell(played, command)
        # What explains may also find that there is something to repair.
        fine = (0, 1) if command.startswith(("lbctl explain ", "lbctl doctor")) else (0,)
        assert done.returncode in fine, f"{command}: {done.stderr}"
        assert done.stdout + done.stderr, command


def agrees(scene: Scene, cluster: Cluster, expected: str) -> None:
    """Wait until what is printed is what is expected."""
    seen = ""

    def same() -> bool:
        nonlocal seen
        seen = written(scene, cluster)
        if expected.startswith(seen):
            seen += explained(scene, cluster)
        return seen == expected

    try:
        eventually("it says the same", same, within_s=2 * DEADLINE_S)
    except AssertionError:
        assert seen == expected


def settled(scene: Scene, cluster: Cluster) -> str:
    """Return what is printed once it speaks of the reason and changes no more."""
    before = ""

    def found() -> str:
        nonlocal before
        text = written(scene, cluster)
        if MISSING not in text:
            text += explained(scene, cluster)
        before, known = text, text == before
        return text if known and tells(scene, text) else ""

    return eventually(f"{scene.reason} is said", found, within_s=2 * DEADLINE_S)


def tells(scene: Scene, text: str) -> bool:
    """Return whether the reason is in the text, and is the condition's."""
    head = text.partition("\n")[0]
    return scene.reason in text and (not scene.condition or head.endswith(f", {scene.reason}"))


def written(scene: Scene, cluster: Cluster) -> str:
    """Return what stands on the object itself: condition and latest Event."""
    if not (scene.condition or scene.event):
        return ""
    namespace = "default" if scene.kind == "service" else PRODUCT
    text = ""
    if scene.condition:
        found = cluster.condition(scene.kind, scene.name, scene.condition, namespace)
        text += (
            f"{scene.kind} {scene.name}, condition {scene.condition}: "
            f"{found.get('status', MISSING)}, {found.get('reason', MISSING)}\n"
            f"{found.get('message', MISSING)}\n\n"
        )
    if scene.event:
        uid = cluster.get(scene.kind, scene.name, namespace).get("metadata", {}).get("uid", "")
        events = cluster.list("events.v1.", "--field-selector", f"involvedObject.uid={uid}")
        events.sort(key=lambda one: int(one["metadata"]["resourceVersion"]))
        said = [one["message"] for one in events if one["reason"] == scene.event]
        told = said[-1] if said else MISSING
        text += f"{scene.kind} {scene.name}, Event {scene.event}:\n{told}\n\n"
    return text


def explained(scene: Scene, cluster: Cluster) -> str:
    """Return what the command says."""
    if not scene.explain:
        return ""
    command = f"lbctl explain {scene.explain}"
    done = shell(cluster, command)
    return f"$ {command}\n{done.stdout}{done.stderr}(exit code {done.returncode})\n"


def checks(scene: Scene, text: str) -> list[str]:
    """Return the reason's check, and every other command that the explanation proposes."""
    _, check, _ = advice(
        scene.reason,
        place=Place(lbctl_namespace=PRODUCT, api_group=OWN_GROUP),
        service=ServiceKey("default", scene.name),
        pool=PoolName(scene.name),
        node=NodeName(LAST),
    )
    proposed = re.findall(r"^ +(?:check|confirm): +(.*)$", text, re.MULTILINE)
    return list(dict.fromkeys((check, *proposed)))


def test_every_reason_has_its_transcript() -> None:
    assert [scene.reason for scene in SCENES] == [one for one in Reason if one not in IMPOSSIBLE]
    assert {path.stem for path in TRANSCRIPTS.iterdir()} == {scene.reason for scene in SCENES}


def test_no_cluster_ip_is_refused_by_the_api_server_itself(stage: Cluster) -> None:
    """Kept for API servers that allow it: whoever has no cluster IP gets no address."""
    body = json.dumps(service("headless", clusterIP="None"))
    said = stage.kube("apply", "--dry-run=server", "-f", "-", stdin=body, check=False)
    assert "may not be set to 'None' for LoadBalancer services" in said
