"""Measure what clients behind a router lose when one of the nodes that it uses ends, in eight ways.

A lab of three nodes with FRR, which spreads the connections over all of them, and the sample
`Local` Service with one Pod on each. The client opens a connection every 20 ms. Two times are told:
from the first connection that fails to the last, and the longest without any answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from lbctl.lab import lab, records, routes, trouble
from lbctl.lab.demo import SAMPLES, kubectl
from lbctl.lab.demo_bgp import SERVICE
from lbctl.lab.install import install
from lbctl.lab.records import Progress
from lbctl.lab.spec import CONTROL_PLANE, LabSpec, Router
from tests.bench.figures import Figure, median, p99
from tests.support.cluster import PRODUCT, eventually

NAME: Final = "bench-ends"
NODES: Final = 3
NODE: Final = "node1"
RUNS: Final = 3
QUIET_S: Final = 12.0
"""How long nothing may fail before an ending counts as one without loss."""
AWAY_S: Final = 10.0
NODE_GRACE_S: Final = 40
"""Kubernetes' own default. A node that cannot reach the API server for longer is NotReady when
that is back, and so are its Pods."""
LINGER_S: Final = 8
"""How long a Pod that is told to end serves on: longer than a route takes to leave."""
ON_EACH_NODE: Final = {
    "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    "template": {
        "spec": {
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": {"app": "echo"}},
                        }
                    ]
                }
            },
            "containers": [
                {"name": "echo", "lifecycle": {"preStop": {"sleep": {"seconds": LINGER_S}}}}
            ],
        }
    },
}
"""One Pod of the sample on each node, which does not end before it is left."""


def _nothing(_progress: Progress) -> None:
    """Nothing is to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Hold what happens to the node; `prepare` comes before all runs, `undo` after each."""

    name: str
    act: Callable[[Progress], None]
    prepare: Callable[[Progress], None] = _nothing
    undo: Callable[[Progress], None] = _nothing
    settle_s: float = QUIET_S


def figures(progress: Progress) -> list[Figure]:
    spec = LabSpec(
        name=NAME,
        directory=records.directory(NAME),
        nodes=NODES,
        routers=(Router.FRR,),
        ecmp=True,
        node_grace_s=NODE_GRACE_S,
    )
    try:
        lab.up(spec, progress)
        install(NAME, progress)
        kubectl(NAME, "apply", "-f", str(SAMPLES / "echo.yaml"))
        kubectl(NAME, "patch", "deployment", "echo", "-p", json.dumps({"spec": ON_EACH_NODE}))
        kubectl(NAME, "rollout", "status", "deployment/echo", "--timeout=120s")
        kubectl(NAME, "apply", "-f", str(records.load(NAME).peers))
        kubectl(NAME, "apply", "-f", str(SAMPLES / "bgp"))
        return [one for ending in _endings() for one in _measured(ending, progress)]
    finally:
        lab.down(NAME, progress)


def _endings() -> tuple[Ending, ...]:
    heal = partial(trouble.heal, NAME, NODE)
    return (
        Ending(name="it is drained", act=partial(trouble.drain, NAME, NODE), undo=heal),
        Ending(name="its lb-speaker is stopped", act=_stop_speaker),
        Ending(name="its last Pod ends", act=_end_pod, undo=_uncordon),
        Ending(name="its lb-speaker is killed", act=_kill_speaker, undo=_new_speaker),
        Ending(
            name="its lb-speaker is killed, without graceful restart",
            prepare=partial(_graceful_restart, agreed=False),
            act=_kill_speaker,
            undo=_new_speaker,
        ),
        Ending(name=f"the API server is gone for {AWAY_S:.0f} s", act=_api_away),
        Ending(
            name="its cable is pulled",
            prepare=partial(_graceful_restart, agreed=True),
            act=partial(trouble.cut, NAME, NODE),
            undo=heal,
            settle_s=trouble.SETTLE_S,
        ),
        Ending(
            name="its power is cut",
            act=partial(trouble.power_cut, NAME, NODE),
            undo=heal,
            settle_s=trouble.SETTLE_S,
        ),
    )


def _measured(ending: Ending, progress: Progress) -> Iterator[Figure]:
    ending.prepare(progress)
    gaps = []
    for _ in range(RUNS):
        _await_ways()
        gap = trouble.measured(
            NAME,
            SERVICE,
            lambda: ending.act(progress),
            progress,
            via=Router.FRR,
            settle_s=ending.settle_s,
        )
        progress(f"{ending.name}: {gap}")
        gaps.append(gap)
        ending.undo(progress)
    for what, times in (
        ("from the first connection that fails to the last", [gap.failing_ms for gap in gaps]),
        ("longest time without any answer", [gap.longest_gap_ms for gap in gaps]),
    ):
        yield Figure(
            name=f"BGP, {ending.name}: {what}",
            unit="ms",
            runs=RUNS,
            median=median(times),
            p99=p99(times),
        )


def _await_ways() -> None:
    """Wait until FRR uses every node for every address."""

    def all_used() -> bool:
        (frr,) = routes.read(NAME)
        hops = [len(frr.next_hops(one.prefix)) for one in frr.routes]
        return len(hops) > 0 and min(hops) == NODES

    eventually("FRR uses every node for every address", all_used, within_s=120)


def _stop_speaker(_progress: Progress) -> None:
    kubectl(
        NAME, "-n", PRODUCT, "delete", "pods", "--wait",
        "--field-selector", f"spec.nodeName={NODE}",
        "--selector", "app.kubernetes.io/component=speaker",
    )  # fmt: skip


def _kill_speaker(_progress: Progress) -> None:
    lab.run(NAME, NODE, ["pkill", "-KILL", "-f", "/lb-speaker( |$)"], check=True)


def _new_speaker(progress: Progress) -> None:
    """Have another Pod: one that is killed often is started later and later."""
    _stop_speaker(progress)
    kubectl(NAME, "-n", PRODUCT, "rollout", "status", "daemonset/lbctl-speaker", "--timeout=120s")


def _graceful_restart(progress: Progress, *, agreed: bool) -> None:
    progress(f"graceful restart: {agreed}")
    wanted = json.dumps({"spec": {"enableGracefulRestart": agreed}})
    kubectl(NAME, "-n", PRODUCT, "patch", "bgppeer", Router.FRR, "--type=merge", "-p", wanted)


def _end_pod(_progress: Progress) -> None:
    kubectl(NAME, "cordon", NODE)
    kubectl(
        NAME, "delete", "pods", "--wait",
        "--field-selector", f"spec.nodeName={NODE}", "--selector", "app=echo",
    )  # fmt: skip


def _uncordon(_progress: Progress) -> None:
    kubectl(NAME, "uncordon", NODE)
    kubectl(NAME, "rollout", "status", "deployment/echo", "--timeout=120s")


def _api_away(_progress: Progress) -> None:
    lab.stop_process(NAME, CONTROL_PLANE, "kube-apiserver")
    time.sleep(AWAY_S)
    lab.start_process(NAME, CONTROL_PLANE, "kube-apiserver")
