"""What lbctl tells an operator on a real cluster: the failing step first, and commands that run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab import install
from tests.cluster.conftest import say
from tests.support.cluster import PRODUCT, Cluster, advertisement, eventually, pool, service
from tests.support.commanding import LBCTL, Done, environment

pytestmark = pytest.mark.cluster

EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
WORKING, PENDING = "echo", "pending"


def shell(cluster: Cluster, command: str, *, path: str = "", **more: str) -> Done:
    """Run a command line as an operator would: kubectl and lbctl are in the PATH."""
    programs = [path, str(cluster.kubectl.parent), str(LBCTL.parent), "/usr/bin", "/bin"]
    variables = environment(cluster.kubeconfig, **more)
    variables["PATH"] = os.pathsep.join(filter(None, programs))
    return subprocess.run(
        ["bash", "-c", command],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def told(cluster: Cluster, words: str) -> tuple[int, dict[str, Any]]:
    """Return exit code and value of `lbctl explain WORDS`."""
    done = shell(cluster, f"lbctl explain {words} -o json")
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def fails_first(found: Mapping[str, Any]) -> dict[str, str]:
    steps: list[dict[str, str]] = found["checklist"]
    return next((step for step in steps if step["answer"] == "failed"), {})


def confirm_every_step(cluster: Cluster, found: Mapping[str, Any]) -> None:
    for step in found["checklist"]:
        done = shell(cluster, step["confirm"])
        assert done.returncode == 0, f"{step['name']}: {step['confirm']}: {done.stderr}"


def deployment(name: str, *, replicas: int = 1, node: str = "", ready: bool = True) -> Any:
    """Return echo pods; those that are not ready are asked at a port on which nobody listens."""
    pin = {"nodeName": node} if node else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    **pin,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "echo",
                            "image": "example.com/echo:1",
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "readinessProbe": {
                                "tcpSocket": {"port": 8080 if ready else 9},
                                "periodSeconds": 1,
                            },
                        }
                    ],
                },
            },
        },
    }


@pytest.fixture(scope="module")
def lan(product: Cluster) -> Iterator[Cluster]:
    """Make pools, advertisements and pods for every state that is told of."""
    here, there = product.nodes[0], product.nodes[1]
    only_there = [{"matchLabels": {"kubernetes.io/hostname": there}}]
    product.apply(
        pool("lan", "192.0.2.128-192.0.2.140"),
        pool("one", "192.0.2.141/32", autoAssign=False),
        pool("quiet", "192.0.2.142-192.0.2.143", autoAssign=False),
        pool("there", "192.0.2.144-192.0.2.145", autoAssign=False),
        pool("wired", "192.0.2.146-192.0.2.147", autoAssign=False),
        advertisement("lan", ipAddressPools=["lan", "one"]),
        advertisement("there", ipAddressPools=["there"], nodeSelectors=only_there),
        advertisement("wired", ipAddressPools=["wired"], interfaces=["eth9"]),
        deployment(WORKING, replicas=2, node=here),
        deployment(PENDING, ready=False),
        service("first-of-one", annotations={"lbctl.io/address-pool": "one"}),
    )
    product.kube("rollout", "status", f"deployment/{WORKING}", "--timeout=60s")
    product.wait_address("first-of-one")
    yield product
    product.kube("-n", "default", "delete", "service", "-l", "!provider", "--ignore-not-found")
    product.kube("delete", "deployment", WORKING, PENDING)
    for kind in ("ipaddresspools", "l2advertisements"):
        product.kube("-n", PRODUCT, "delete", kind, "--all")


def of_pool(name: str, **spec: Any) -> dict[str, Any]:
    return {"annotations": {"lbctl.io/address-pool": name}, **spec}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A Service that does not work, and what the checklist has to say first."""

    spec: dict[str, Any]
    step: str
    says: str


STATES = {
    "no-such-pool": State(spec=of_pool("none"), step="pool", says="UnknownPool"),
    "full-pool": State(spec=of_pool("one"), step="address", says="PoolExhausted"),
    "nobody-told": State(spec=of_pool("quiet"), step="advertisement", says="NoAdvertisement"),
    "no-interface": State(spec=of_pool("wired"), step="eligible nodes", says="InterfaceMissing"),
    "no-pods": State(
        spec={"selector": {"app": "nobody"}}, step="selector", says="app=nobody matches no Pod"
    ),
    "not-ready": State(
        spec={"selector": {"app": PENDING}}, step="endpoints ready", says="NoEndpoints"
    ),
    "no-port": State(
        spec={"ports": [{"port": 80, "targetPort": "web"}]},
        step="target ports",
        says="port 80: targetPort web is the name of no TCP port of 2 Pods, which have http",
    ),
    "not-local": State(
        spec=of_pool("there", externalTrafficPolicy="Local"),
        step="local endpoints",
        says="NoLocalEndpoints",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_the_failing_step_comes_first_and_its_command_runs(name: str, lan: Cluster) -> None:
    state = STATES[name]
    lan.apply(service(name, **state.spec))

    def failing() -> dict[str, Any] | None:
        code, found = told(lan, name)
        return found if fails_first(found).get("name") == state.step and code == 1 else None

    found = eventually(f"{name} fails at {state.step}", failing)
    first = fails_first(found)
    assert first["detail"].startswith(state.says)
    assert first["cure"]
    text = shell(lan, f"lbctl explain {name}").stdout
    assert f"fails first: {state.step}: {state.says}" in text
    assert f"confirm: {first['confirm']}" in text
    confirm_every_step(lan, found)


def test_a_service_that_works_fails_no_step_and_kube_proxy_is_asked(lan: Cluster) -> None:
    lan.apply(service("works"))

    def well() -> dict[str, Any] | None:
        code, found = told(lan, "works")
        answers = {step["name"]: step["answer"] for step in found["checklist"]}
        return found if code == 0 and answers["announced"] == "ok" else None

    found = eventually("everything is well", well)
    steps = {step["name"]: step for step in found["checklist"]}
    owner = found["addresses"][0]["owner"]
    assert steps["kube-proxy"]["detail"] == f"healthy on {owner}"
    assert steps["target ports"]["detail"] == "http: declared by 2 Pods"
    confirm_every_step(lan, found)
    with lan.stopped(owner, "kube-proxy"):
        first = eventually(
            "the dead kube-proxy is found", lambda: fails_first(told(lan, "works")[1])
        )
        assert first["name"] == "kube-proxy"
        assert first["detail"].startswith(f"{owner}: nobody answers")
        assert shell(lan, first["confirm"]).returncode == 0


@pytest.mark.parametrize(
    ("name", "spec", "step"),
    [
        ("inside", {"type": "ClusterIP"}, "type"),
        ("foreign", {"loadBalancerClass": "example.com/other"}, "class"),
    ],
)
def test_a_service_that_is_not_ours_is_fine_and_told_why(
    name: str, spec: dict[str, Any], step: str, lan: Cluster
) -> None:
    lan.apply(service(name, **spec))
    code, found = told(lan, name)
    assert (code, found["fine"], found["ours"]) == (0, True, False)
    last = found["checklist"][-1]
    assert (last["name"], last["answer"]) == (step, "note")
    assert "nothing to do, because" in last["detail"]
    confirm_every_step(lan, found)


def test_why_not_that_node_is_answered(lan: Cluster) -> None:
    lan.apply(service("elsewhere"))
    lan.wait_address("elsewhere")
    node = lan.nodes[2]
    lan.kube("label", "node", node, f"{EXCLUDE}=")
    try:
        words = f"node {node} --service elsewhere"

        def excluded() -> dict[str, Any] | None:
            code, found = told(lan, words)
            return found if code == 1 and found["reason"] == "NodeExcluded" else None

        found = eventually("the node is excluded", excluded)
        assert {one["reason"] for one in found["for_service"]} == {"NodeExcluded"}
        text = shell(lan, f"lbctl explain {words}").stdout
        assert EXCLUDE in text
        [check] = {
            line.partition("check: ")[2] for line in text.splitlines() if "    check: " in line
        }
        assert shell(lan, check).returncode == 0
    finally:
        lan.kube("label", "node", node, f"{EXCLUDE}-")
    eventually("it may announce again", lambda: told(lan, f"node {node}")[0] == 0)


# The doctor.


def findings(cluster: Cluster) -> tuple[int, dict[str, str]]:
    """Return the exit code of the doctor, and the checks that failed."""
    done = shell(cluster, "lbctl doctor -o json")
    assert done.returncode in (0, 1), done.stderr
    checks = json.loads(done.stdout)["checks"]
    return done.returncode, {
        check["name"]: check["detail"] for check in checks if check["level"] == "failed"
    }


def found_by_doctor(cluster: Cluster, name: str) -> Callable[[], str]:
    def ask() -> str:
        code, failed = findings(cluster)
        return failed.get(name, "") if code == 1 else ""

    return ask


def test_the_doctor_finds_nothing_on_a_fresh_installation(product: Cluster) -> None:
    assert eventually("the doctor is content", lambda: findings(product) == (0, {}))
    text = shell(product, "lbctl doctor").stdout
    assert text.splitlines()[0].split() == ["CHECK", "ANSWER", "DETAIL"]


def test_the_doctor_finds_a_controller_that_is_scaled_down(product: Cluster) -> None:
    product.kube("-n", PRODUCT, "scale", "deployment/lbctl-controller", "--replicas=0")
    try:
        detail = eventually("it is found", found_by_doctor(product, "controller"))
        assert "lbctl-controller: 0 of 0 Pods ready" in detail
    finally:
        product.kube("-n", PRODUCT, "scale", "deployment/lbctl-controller", "--replicas=2")
    eventually("the doctor is content again", lambda: findings(product) == (0, {}))


def test_the_doctor_finds_a_crd_that_is_missing(product: Cluster) -> None:
    product.kube("delete", "crd", "configurationstates.lbctl.io")
    try:
        detail = eventually("it is found", found_by_doctor(product, "CRDs"))
        assert detail == "configurationstates.lbctl.io is missing"
    finally:
        install.install(product.lab, say)
    eventually("the doctor is content again", lambda: findings(product) == (0, {}))


def test_the_doctor_finds_a_pool_with_the_address_of_a_node(product: Cluster) -> None:
    node = product.list("nodes")[0]
    address = node["status"]["addresses"][0]["address"]
    product.apply(pool("greedy", f"{address}/32", autoAssign=False))
    try:
        detail = eventually("it is found", found_by_doctor(product, "pools and node addresses"))
        assert detail == f"pool greedy holds {address} of node {node['metadata']['name']}"
    finally:
        product.delete("ipaddresspool", "greedy", PRODUCT)
    eventually("the doctor is content again", lambda: findings(product) == (0, {}))


def test_the_doctor_finds_a_right_that_was_taken_away(product: Cluster) -> None:
    role = f"{PRODUCT}-lbctl-speaker"
    events = {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "create", "patch"]}
    rules = product.get("clusterrole", role)["rules"]
    at = rules.index(events)

    def patch(**change: Any) -> None:
        change["path"] = f"/rules/{at}"
        product.kube("patch", "clusterrole", role, "--type=json", "-p", json.dumps([change]))

    patch(op="remove")
    try:
        detail = eventually("it is found", found_by_doctor(product, "rights"))
        assert f"{PRODUCT}/lbctl-speaker may not create events in every namespace" in detail
        assert "controller" not in detail
    finally:
        patch(op="add", value=events)
    eventually("the doctor is content again", lambda: findings(product) == (0, {}))


def test_the_doctor_finds_another_load_balancer_in_any_namespace(product: Cluster) -> None:
    rival = deployment("controller")
    rival["metadata"]["labels"] = {"app": "metallb", "component": "controller"}
    product.apply(rival)
    try:
        detail = eventually("it is found", found_by_doctor(product, "another load balancer"))
        assert detail.startswith("MetalLB runs in namespace default (controller); ")
    finally:
        product.delete("deployment", "controller")
    eventually("the doctor is content again", lambda: findings(product) == (0, {}))


def test_the_doctor_of_who_may_not_ask_knows_nothing_of_rights(
    product: Cluster, tmp_path: Path
) -> None:
    """Whoever reads what `view` lets read gets an answer to the rest."""
    product.kube("create", "serviceaccount", "asker")
    product.kube("create", "clusterrolebinding", "asker", "--clusterrole=view",
                 "--serviceaccount=default:asker")  # fmt: skip
    try:
        token = product.kube("create", "token", "asker").strip()
        config = json.loads(product.kube("config", "view", "--raw", "-o", "json"))
        config["users"][0]["user"] = {"token": token}
        own = tmp_path / "config"
        own.write_text(json.dumps(config))

        def asked() -> dict[str, Any]:
            done = shell(product, f"lbctl doctor -o json --kubeconfig {own}")
            checks = json.loads(done.stdout)["checks"]
            found: dict[str, Any] = {check["name"]: check for check in checks}
            return found if found["controller"]["level"] == "ok" else {}

        rights = eventually("what it may read is judged", asked)["rights"]
        assert rights["level"] == "unknown"
        assert "subjectaccessreviews.authorization.k8s.io" in rights["detail"]
    finally:
        product.delete("clusterrolebinding", "asker")
        product.delete("serviceaccount", "asker")


# The command among others.


def test_kubectl_finds_it_as_a_plug_in(product: Cluster, tmp_path: Path) -> None:
    (tmp_path / "kubectl-lb").symlink_to(LBCTL)
    plugin = shell(product, "kubectl lb get services", path=str(tmp_path))
    assert plugin.returncode == 0, plugin.stderr
    assert plugin.stdout == shell(product, "lbctl get services").stdout
    assert plugin.stdout.split()[:3] == ["NAMESPACE", "NAME", "ADDRESSES"]
    usage = shell(product, "kubectl lb explain --help", path=str(tmp_path)).stdout
    assert usage.startswith("Usage: kubectl lb explain ")


def test_bash_completes_its_words(product: Cluster) -> None:
    lines = (
        'eval "$(lbctl completion bash)"',
        "complete -p lbctl",
        "COMP_WORDS=(lbctl do) COMP_CWORD=1",
        '"$(complete -p lbctl | sed -E "s/.*-F ([^ ]+) .*/\\1/")" lbctl do lbctl',
        'printf "%s\\n" "${COMPREPLY[@]}"',
    )
    done = shell(product, "\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "doctor"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("lbctl get nodes", 0),
        ("lbctl explain no-such-service", 2),
        ("lbctl explain address nonsense", 2),
        ("lbctl explain address 203.0.113.200", 1),
        ("lbctl get pools --context nowhere", 2),
        ("lbctl get pools --kubeconfig dead", 3),
        ("lbctl get services | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_exit_codes_are_those_of_the_page(
    command: str, code: int, product: Cluster, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    dead.write_text(
        product.kubeconfig.read_text().replace(server_of(product), "https://127.0.0.1:9")
    )
    done = shell(product, command.replace(" dead", f" {dead}"))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code > 1:
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stdout


def server_of(cluster: Cluster) -> str:
    return cluster.kube("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
