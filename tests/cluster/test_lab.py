"""The lab itself: it comes up, it leaves nothing, it survives what machines have to survive."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lbctl.lab import lab, records
from lbctl.lab import spec as at
from lbctl.lab.spec import LabSpec
from tests.cluster.conftest import say
from tests.cluster.traces import NOTHING, Traces, traces_of
from tests.support.cluster import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ECHO_ON_EVERY_NODE = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "echo", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "echo-everywhere"}},
        "template": {
            "metadata": {"labels": {"app": "echo-everywhere"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "web",
                        "image": "nginx:1.27",
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
                    }
                ],
            },
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "echo", "namespace": "default"},
    "spec": {
        "ipFamilyPolicy": "RequireDualStack",
        "selector": {"app": "echo-everywhere"},
        "ports": [{"port": 80, "targetPort": "http"}],
    },
}


def make(name: str, nodes: int = 1) -> None:
    lab.up(LabSpec(name=name, directory=records.directory(name), nodes=nodes), say)


def kube(name: str, *arguments: str, stdin: str | None = None) -> str:
    done = lab.kubectl(name, arguments, input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ready(name: str) -> dict[str, bool | None]:
    return {m.name: m.ready for m in lab.status(name).machines if m.name.startswith("node")}


def echo_pods(name: str) -> dict[str, dict]:
    """Return the first container's status of each ready echo pod, by node."""
    items = json.loads(kube(name, "get", "pods", "-l", "app=echo-everywhere", "-o", "json"))[
        "items"
    ]
    return {
        item["spec"]["nodeName"]: item["status"]["containerStatuses"][0]
        for item in items
        if item["status"].get("containerStatuses")
        and item["status"]["containerStatuses"][0]["ready"]
        and "deletionTimestamp" not in item["metadata"]
    }


def ask(name: str, machine: str, address: str, port: int = 80) -> dict:
    host = f"[{address}]" if ":" in address else address
    done = lab.run(
        name, machine, ["curl", "-gsS", "-m", "2", f"http://{host}:{port}/"], capture_output=True
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


def kube_proxy_answers(name: str, node: str) -> bool:
    """Say whether the client gets any answer from a port of the node's own."""
    url = f"http://{at.ipv4(node).ip}:10256/healthz"
    command = ["curl", "-gsS", "-m", "1", "-o", "/dev/null", url]
    return lab.run(name, at.CLIENT, command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def echo(shared_lab: str) -> str:
    for item in (ECHO_ON_EVERY_NODE, SERVICE):
        kube(shared_lab, "apply", "-f", "-", stdin=json.dumps(item))
    eventually("an echo pod is ready on every node", lambda: len(echo_pods(shared_lab)) == 3)
    return shared_lab


def test_a_lab_leaves_no_trace(
    lab_names: Callable[[str], str], eventual_traces: Callable[[str], Traces]
) -> None:
    name = lab_names("trace")
    make(name)
    found = traces_of(name)
    assert found.namespaces
    assert found.processes
    assert found.cgroups
    assert found.files
    lab.down(name, say)
    assert eventual_traces(name) == NOTHING


@pytest.mark.parametrize(
    ("line", "delay_s"),
    [
        ("wiring", 0.0),
        ("wiring", 0.02),
        ("wiring", 0.05),
        ("wiring", 0.1),
        ("starting the control plane", 0.0),
        ("starting the control plane", 0.06),
        ("starting 2 nodes", 0.0),
        ("starting 2 nodes", 0.08),
        ("starting 2 nodes", 1.0),
        ("the API server is ready", 0.0),
        ("the API server is ready", 0.7),
    ],
)
def test_an_up_that_was_killed_is_cleared_by_down(
    line: str,
    delay_s: float,
    lbctl: str,
    lab_names: Callable[[str], str],
    eventual_traces: Callable[[str], Traces],
) -> None:
    name = lab_names("kill")
    with subprocess.Popen(
        [lbctl, "lab", "up", "--name", name, "--nodes", "2"],
        stderr=subprocess.PIPE,
        text=True,
    ) as rising:
        assert rising.stderr is not None
        for said in rising.stderr:
            if line in said:
                break
        else:
            pytest.fail(f"up never said {line!r}")
        # Not a wait for something to happen: the moment of the kill is what is varied.
        time.sleep(delay_s)
        rising.send_signal(signal.SIGKILL)
    lab.down(name, say)
    assert eventual_traces(name) == NOTHING


def test_an_up_after_a_killed_up_makes_a_lab(
    lbctl: str, lab_names: Callable[[str], str], eventual_traces: Callable[[str], Traces]
) -> None:
    name = lab_names("again")
    with subprocess.Popen(
        [lbctl, "lab", "up", "--name", name, "--nodes", "1"],
        stderr=subprocess.PIPE,
        text=True,
    ) as rising:
        assert rising.stderr is not None
        next(line for line in rising.stderr if "starting 1 nodes" in line)
        rising.kill()
    make(name)
    assert ready(name) == {"node1": True}
    lab.down(name, say)
    assert eventual_traces(name) == NOTHING


def test_two_labs_do_not_meet(lab_names: Callable[[str], str]) -> None:
    first, second = lab_names("twin-a"), lab_names("twin-b")
    make(first)
    make(second)
    kube(first, "create", "configmap", "only-here")
    assert "only-here" not in kube(second, "get", "configmaps", "-o", "name")
    lab.down(first, say)
    assert traces_of(first) == NOTHING
    assert ready(second) == {"node1": True}
    assert kube_proxy_answers(second, "node1")


def test_a_second_up_is_harmless_and_other_settings_are_refused(shared_lab: str) -> None:
    before = kube(shared_lab, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    make(shared_lab, nodes=3)
    after = kube(shared_lab, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    assert before == after
    with pytest.raises(at.SpecError, match="down"):
        make(shared_lab, nodes=2)


def test_every_node_is_dual_stack(shared_lab: str) -> None:
    nodes = json.loads(kube(shared_lab, "get", "nodes", "-o", "json"))["items"]
    assert len(nodes) == 3
    for node in nodes:
        name = node["metadata"]["name"]
        assert node["spec"]["podCIDRs"] == [str(at.pod_v4(name)), str(at.pod_v6(name))]
        addresses = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        assert addresses == [str(at.ipv4(name).ip), str(at.ipv6(name).ip)]


def test_a_cluster_ip_is_answered_from_every_node_over_both_families(echo: str) -> None:
    service = json.loads(kube(echo, "get", "service", "echo", "-o", "json"))
    first, second = service["spec"]["clusterIPs"]
    for machine in ("node1", "node2", "node3"):
        for address in (first, second):

            def everybody_answered(machine: str = machine, address: str = address) -> bool:
                asked = {ask(echo, machine, address).get("node") for _ in range(12)}
                return asked >= {"node1", "node2", "node3"}

            eventually(f"{machine} reaches every pod by {address}", everybody_answered)


def test_the_health_of_kube_proxy_is_reachable_from_the_lan(shared_lab: str) -> None:
    for address in (at.ipv4("node1").ip, f"[{at.ipv6('node1').ip}]"):
        for url in (f"http://{address}:10256/healthz", f"http://{address}:10249/metrics"):
            done = lab.run(
                shared_lab, at.CLIENT, ["curl", "-gsSf", "-m2", url], capture_output=True
            )
            assert done.returncode == 0, done.stderr


def test_a_machine_cannot_write_to_the_host(shared_lab: str) -> None:
    for path in ("/etc/lbctl-was-here", "/usr/lbctl-was-here", f"{Path.cwd()}/lbctl-was-here"):
        done = lab.run(shared_lab, "node1", ["touch", path], capture_output=True)
        assert "Read-only file system" in done.stderr


def test_a_refused_request_is_in_the_log_of_the_api_server(shared_lab: str) -> None:
    kube(shared_lab, "create", "serviceaccount", "nobody")
    who = "--as=system:serviceaccount:default:nobody"
    done = lab.kubectl(shared_lab, ["get", "secrets", who], capture_output=True)
    assert done.returncode != 0
    log = records.load(shared_lab).machine(at.CONTROL_PLANE) / "log" / "kube-apiserver.log"
    eventually("the denial is logged", lambda: "serviceaccount:default:nobody" in log.read_text())


@pytest.mark.parametrize("program", ["kubelet", "containerd", "kube-proxy"])
def test_a_killed_daemon_comes_back_and_containers_do_not_notice(echo: str, program: str) -> None:
    before = echo_pods(echo)
    lab.signal_process(echo, "node2", program, signal.SIGKILL)

    def back() -> bool:
        rows = {
            p.name: p for m in lab.status(echo).machines if m.name == "node2" for p in m.programs
        }
        return rows[program].state == "running" and rows[program].starts > 1

    eventually(f"{program} runs again", back)
    eventually("the node is Ready", lambda: ready(echo)["node2"])
    # A command through API server, kubelet, containerd and shim: all of them are back.
    pod = kube(
        echo,
        "get",
        "pods",
        "-l",
        "app=echo-everywhere",
        "--field-selector=spec.nodeName=node2",
        "-o",
        "name",
    ).strip()
    eventually(
        "exec works again",
        lambda: lab.kubectl(
            echo, ["exec", pod, "--", "hostname"], capture_output=True
        ).stdout.startswith("echo-"),
    )
    after = eventually("its pod is ready", lambda: echo_pods(echo).get("node2"))
    assert after["containerID"] == before["node2"]["containerID"]
    assert after["restartCount"] == before["node2"]["restartCount"]


def test_a_stopped_program_stays_away_until_it_is_started(echo: str) -> None:
    def state() -> str:
        rows = [p for m in lab.status(echo).machines if m.name == "cp" for p in m.programs]
        return next(p.state for p in rows if p.name == "kube-scheduler")

    lab.stop_process(echo, "cp", "kube-scheduler")
    eventually("the scheduler is gone", lambda: state() == "stopped")
    lab.start_process(echo, "cp", "kube-scheduler")
    eventually("the scheduler runs", lambda: state() == "running")


def test_a_pulled_cable_is_silence_and_a_plugged_one_is_not(shared_lab: str) -> None:
    def carrier() -> str:
        command = ["cat", "/sys/class/net/eth0/carrier"]
        return lab.run(shared_lab, "node3", command, capture_output=True).stdout.strip()

    lab.cable(shared_lab, "node3", connected=False)
    assert not kube_proxy_answers(shared_lab, "node3")
    assert carrier() == "0"
    lab.cable(shared_lab, "node3", connected=True)
    eventually("node3 answers", lambda: kube_proxy_answers(shared_lab, "node3"))
    assert carrier() == "1"


def test_a_node_without_power_is_not_ready_and_comes_back_with_its_pods(echo: str) -> None:
    before = echo_pods(echo)["node3"]
    boot_id = "jsonpath={.status.nodeInfo.bootID}"
    first_boot = kube(echo, "get", "node", "node3", "-o", boot_id)
    lab.poweroff(echo, "node3", say)
    assert not [m for m in lab.status(echo).machines if m.name == "node3" and m.running]
    eventually("node3 is not Ready", lambda: ready(echo)["node3"] is False)
    lab.boot(echo, "node3", say)
    eventually("node3 is Ready", lambda: ready(echo)["node3"])
    assert kube(echo, "get", "node", "node3", "-o", boot_id) != first_boot

    def restarted() -> bool:
        now = echo_pods(echo).get("node3")
        return bool(now) and now["restartCount"] > before["restartCount"]

    eventually("its pod was restarted and is ready", restarted)
    address = kube(echo, "get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}")
    eventually("node3 reaches the Service", lambda: ask(echo, "node3", address))


def test_the_control_plane_survives_a_reboot_with_its_past(echo: str) -> None:
    before = kube(echo, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    lab.poweroff(echo, at.CONTROL_PLANE, say)
    lab.boot(echo, at.CONTROL_PLANE, say)
    query = ["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]
    eventually(
        "the API server knows what it knew",
        lambda: lab.kubectl(echo, query, capture_output=True).stdout == before,
    )
    eventually("all nodes are Ready", lambda: all(ready(echo).values()))


def test_pull_mode_gives_nodes_a_way_out_through_the_hosts_network(
    lab_names: Callable[[str], str], tmp_path: Path
) -> None:
    name = lab_names("pull")
    spec = LabSpec(name=name, directory=records.directory(name), nodes=1, images=at.ImageMode.PULL)
    lab.up(spec, say)
    (tmp_path / "hello").write_text("from the host")
    server = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        server, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as host:
        assert host.stdout is not None
        port = host.stdout.readline().split(" port ")[1].split()[0]
        proxy = f"http://{at.ipv4(at.LAN).ip}:{at.EGRESS_PORT}"
        for tunnel in ([], ["--proxytunnel"]):
            url = f"http://127.0.0.1:{port}/hello"
            done = lab.run(
                name,
                "node1",
                ["curl", "-sS", "-m", "5", "--noproxy", "", "-x", proxy, *tunnel, url],
                capture_output=True,
            )
            assert done.stdout == "from the host", done.stderr
        host.terminate()
