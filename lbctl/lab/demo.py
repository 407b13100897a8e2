"""The demo: Services in front of three pods, asked by a client outside the cluster.

Applies `deploy/samples` as they are, waits until every Service has its addresses, asks each of
them from the client's machine and returns the answers. Whoever calls decides what to print and
when that is a success.
"""

import json
from pathlib import Path

from lbctl.lab import lab, reach
from lbctl.lab.reach import Answer
from lbctl.lab.records import Progress

SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "samples"
SERVICES = ("echo-cluster", "echo-local", "echo-dual")
ANSWER_WITHIN_S = 20.0


class DemoError(RuntimeError):
    """A step of the demo failed; the text says which and what kubectl said."""


def run(name: str, progress: Progress) -> list[Answer]:
    """Return the client's answers, one for each address. Raises DemoError."""
    progress("creating a pool, an advertisement, three pods and three Services")
    for sample in sorted(SAMPLES.glob("*.yaml")):
        kubectl(name, "apply", "-f", str(sample))
    kubectl(name, "rollout", "status", "deployment/echo", "--timeout=60s")
    kubectl(
        name, "wait", *(f"service/{one}" for one in SERVICES),
        "--for=condition=lbctl.io/Allocated", "--timeout=30s",
    )  # fmt: skip
    progress("asking every address from the client")
    answers = []
    for service in SERVICES:
        answers += reach.ask(name, reach.find(name, f"default/{service}"), within_s=ANSWER_WITHIN_S)
    return answers


def why(name: str) -> str:
    """Return what the Services' conditions say, for a demo that failed."""
    found = json.loads(kubectl(name, "get", "services", "-o", "json"))
    lines = [
        f"{item['metadata']['name']}: {condition['reason']}: {condition['message']}"
        for item in found["items"]
        for condition in item.get("status", {}).get("conditions", ())
    ]
    return "\n".join(lines)


def kubectl(name: str, *arguments: str) -> str:
    """Return what kubectl prints. Raises DemoError, with why no Service has its address."""
    done = lab.kubectl(name, arguments, capture_output=True)
    if done.returncode:
        raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}\n{why(name)}")
    return str(done.stdout)
