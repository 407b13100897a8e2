"""Taking over from MetalLB: its kinds, objects, annotations and status; not one address changes.

The commands are those of docs/how-to/migrate-from-metallb.md, run as a reader would type them. All
Services are watched from before the installation, so that an address that changes and comes back
is seen as well.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbctl.kube.groups import METALLB_GROUP
from lbctl.lab import lab, records, routes
from lbctl.lab import spec as at
from lbctl.lab.images import checkout
from lbctl.lab.spec import LabSpec, Router
from lbctl.model.names import NodeName, PoolName, ServiceKey
from lbctl.model.reason import Reason
from lbctl.plan.explain import advice
from lbctl.plan.places import Place
from tests.cluster.conftest import say
from tests.cluster.test_announcing import echo
from tests.support import metallb
from tests.support.cluster import Cluster, eventually, service, steadily
from tests.support.raw_api import MERGE, RawApi

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "migrate-from-metallb.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE, BACK = HOW_TO.read_text().split("## Going back")

MARK = "metallb.io/ip-allocated-from-pool"
CONFIGURATION = (
    metallb.configured(
        "IPAddressPool",
        "main",
        {"addresses": ["192.0.2.150-192.0.2.199", "2001:db8:0:1:ffff::/112"]},
    ),
    # Host bits and blanks, as MetalLB takes them.
    metallb.configured(
        "IPAddressPool",
        "by-request",
        {"addresses": ["192.0.2.209/29", " 192.0.2.220 - 192.0.2.229 "], "autoAssign": False},
    ),
    metallb.configured(
        "IPAddressPool",
        "pinned",
        {
            "addresses": ["192.0.2.240/29"],
            "avoidBuggyIPs": True,
            "serviceAllocation": {
                "priority": 10,
                "serviceSelectors": [{"matchLabels": {"tier": "gold"}}],
            },
        },
    ),
    metallb.configured("L2Advertisement", "all", {}),
    metallb.configured(
        "BGPPeer",
        "tor",
        {
            "myASN": at.NODE_ASN,
            "peerASN": Router.FRR.asn,
            "peerAddress": str(at.ipv4(Router.FRR).ip),
            "connectTime": "1s",
        },
    ),
    metallb.configured(
        "Community", "ours", {"communities": [{"name": "lab", "value": f"{at.NODE_ASN}:7"}]}
    ),
    metallb.configured(
        "BGPAdvertisement",
        "requested",
        {"ipAddressPools": ["by-request"], "communities": ["lab"], "localPref": 200},
    ),
)


GIVEN: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    # Neither the first nor in order: nothing but the status says who has what.
    "plain": (service("plain"), ("192.0.2.177",), "main"),
    "low": (service("low"), ("192.0.2.151",), "main"),
    "dual": (
        service("dual", ipFamilyPolicy="RequireDualStack"),
        ("192.0.2.160", "2001:db8:0:1:ffff::42"),
        "main",
    ),
    "by-spec": (service("by-spec", loadBalancerIP="192.0.2.199"), ("192.0.2.199",), "main"),
    "by-address": (
        service("by-address", annotations={"metallb.io/loadBalancerIPs": "192.0.2.225"}),
        ("192.0.2.225",),
        "by-request",
    ),
    "by-pool": (
        service("by-pool", annotations={"metallb.universe.tf/address-pool": "by-request"}),
        ("192.0.2.212",),
        "by-request",
    ),
    "sharer-1": (
        service("sharer-1", annotations={"metallb.universe.tf/allow-shared-ip": "key"}),
        ("192.0.2.180",),
        "main",
    ),
    "sharer-2": (
        service(
            "sharer-2",
            annotations={"metallb.io/allow-shared-ip": "key"},
            ports=[{"port": 81, "targetPort": "http"}],
        ),
        ("192.0.2.180",),
        "main",
    ),
    "local": (
        service("local", externalTrafficPolicy="Local"),
        ("192.0.2.190",),
        "main",
    ),
}
"""Service, addresses and pool as MetalLB gave them."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Yield a lab of two nodes in which MetalLB seems to have worked."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    name = f"t-dropin-{os.getpid()}"
    try:
        spec = LabSpec(
            name=name, directory=records.directory(name), nodes=2, routers=(Router.FRR,), ecmp=True
        )
        lab.up(spec, say)
        record = records.load(name)
        found = Cluster(
            lab=name,
            kubeconfig=record.kubeconfig,
            kubectl=record.bin / "kubectl",
            nodes=record.spec.node_names,
        )
        leave_as_metallb_does(found)
        yield found
    finally:
        lab.down(name, say)


def leave_as_metallb_does(cluster: Cluster) -> None:
    cluster.apply(*metallb.definitions())
    cluster.kube("wait", "crds", "--all", "--for=condition=Established", "--timeout=30s")
    cluster.apply(*metallb.workloads(), *CONFIGURATION, echo("echo", replicas=2))
    cluster.apply(*(body for body, _, _ in GIVEN.values()))
    for workload in ("deployment/controller", "daemonset/speaker", "daemonset/frr-k8s"):
        cluster.kube("-n", metallb.SYSTEM, "rollout", "status", workload, "--timeout=60s")
    cluster.kube("rollout", "status", "deployment/echo", "--timeout=60s")
    speakers = json.loads(
        cluster.kube("-n", metallb.SYSTEM, "get", "pods", "-l", "component=speaker", "-o", "json")
    )["items"]
    with closing(RawApi(cluster.kubeconfig)) as api:
        for name, (_, addresses, pool) in GIVEN.items():
            body, status = metallb.announced(name, cluster.nodes[0], speakers[0])
            path = f"/apis/metallb.io/v1beta1/namespaces/{metallb.SYSTEM}/servicel2statuses"
            send(api, "POST", path, body)
            send(api, "PATCH", f"{path}/{body['metadata']['name']}/status", status, MERGE)
            send(
                api,
                "PATCH",
                f"/api/v1/namespaces/default/services/{name}/status",
                metallb.service_status(addresses, pool),
                MERGE,
            )
    cluster.apply(metallb.webhook())


def state(cluster: Cluster) -> str:
    """Return what an operator would look at when the product does not come up."""
    ours = ("-n", metallb.SYSTEM)
    label = "--selector=app.kubernetes.io/name=lbctl"
    return "\n".join(
        cluster.kube(*command, check=False)
        for command in (
            (*ours, "get", "pods", "-o", "wide"),
            (*ours, "describe", "pods", label),
            (*ours, "logs", label, "--all-containers", "--prefix", "--tail=60"),
            (*ours, "get", "events", "--sort-by=.metadata.creationTimestamp"),
        )
    )


def send(api: RawApi, *request: Any) -> dict[str, Any]:
    status, answer, _ = api.send(*request)
    assert status in (200, 201), answer
    return answer


@contextmanager
def watched(
    cluster: Cluster, file: Path
) -> Iterator[Callable[[], dict[str, set[tuple[str, ...]]]]]:
    """Watch all Services; the value returns every list of addresses that each has shown."""
    with file.open("w") as out:
        watching = subprocess.Popen(
            [str(cluster.kubectl), "--kubeconfig", str(cluster.kubeconfig), "get", "services",
             "-n", "default", "--watch", "-o", "json"],
            stdout=out,
        )  # fmt: skip

    def seen() -> dict[str, set[tuple[str, ...]]]:
        assert watching.poll() is None, "the watch ended"
        text, found, decoder = file.read_text(), {}, json.JSONDecoder()
        while text := text.lstrip():
            try:
                body, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break  # the last one is still being written
            text = text[end:]
            ingress = body.get("status", {}).get("loadBalancer", {}).get("ingress", ())
            shown = tuple(entry["ip"] for entry in ingress)
            found.setdefault(body["metadata"]["name"], set()).add(shown)
        return found

    try:
        eventually("the watch shows every Service", lambda: seen().keys() >= GIVEN.keys())
        yield seen
    finally:
        watching.terminate()
        watching.wait()


@pytest.fixture(scope="module")
def shell(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return what runs the command blocks of a text with this checkout and the lab's tools."""
    place = tmp_path_factory.mktemp("bin")
    record = records.load(cluster.lab)
    for tool in ("kubectl", "helm"):
        (place / tool).symlink_to(record.bin / tool)
    (place / "lbctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m lbctl.cli.main "$@"\n')
    (place / "lbctl").chmod(0o755)
    image = checkout.pack(say)
    lab.load_image(cluster.lab, image.archive)
    repository, _, tag = image.name.rpartition(":")
    files = tmp_path_factory.mktemp("files")

    def run(text: str) -> str:
        blocks = BLOCK.findall(text)
        assert blocks
        # Files that the page writes go elsewhere, paths into the checkout are found.
        script = "\n".join(["set -eux -o pipefail", *blocks])
        for link in ("deploy", "lbctl", "speaker"):
            if not (files / link).exists():
                (files / link).symlink_to(ROOT / link)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=files,
            env={
                **os.environ,
                "PATH": f"{place}:{os.environ['PATH']}",
                "KUBECONFIG": str(cluster.kubeconfig),
                "IMAGE": repository,
                "TAG": tag,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        if done.returncode != 0:
            pytest.fail(f"{done.stdout[-3000:]}{done.stderr[-5000:]}\n{state(cluster)}")
        return done.stdout

    return run


def test_lbctl_takes_over_and_not_one_address_changes(
    cluster: Cluster, shell: Callable[[str], str], tmp_path: Path
) -> None:
    before = {item["metadata"]["name"]: item for item in cluster.list("ipaddresspools.metallb.io")}
    expected = {name: {addresses} for name, (_, addresses, _) in GIVEN.items()}
    with watched(cluster, tmp_path / "services.json") as seen:
        said = shell(BEFORE)
        assert "failed" not in said

        def adopted() -> bool:
            return all(
                cluster.condition("service", name, "lbctl.io/Allocated").get("status") == "True"
                for name in GIVEN
            )

        eventually("every Service says that it is allocated", adopted)
        for name, (_, addresses, pool) in GIVEN.items():
            annotations = cluster.get("service", name)["metadata"]["annotations"]
            assert annotations["lbctl.io/ip-allocated-from-pool"] == pool
            assert annotations[MARK] == pool
            for address in addresses:
                assert cluster.wait_announcer(address) in cluster.nodes

        def unchanged() -> bool:
            found = seen()
            return {name: found[name] for name in GIVEN} == expected

        steadily("no address changes", unchanged, for_s=3)
        answer = cluster.ask("192.0.2.177", within_s=20)
        assert answer.get("pod", "").startswith("echo-"), answer

        both = tuple(str(at.ipv4(node).ip) for node in cluster.nodes)
        requested = {f"{GIVEN[name][1][0]}/32": both for name in ("by-address", "by-pool")}

        def routed() -> dict[str, tuple[str, ...]]:
            (tor,) = routes.read(cluster.lab)
            return {route.prefix: tor.next_hops(route.prefix) for route in tor.routes}

        eventually("FRR has the requested addresses, by both", lambda: routed() == requested)
        peer = cluster.get("bgppeers.v1beta1.metallb.io", "tor", metallb.SYSTEM)
        assert peer["apiVersion"] == "metallb.io/v1beta1", "translated without MetalLB"

    after = {item["metadata"]["name"]: item for item in cluster.list("ipaddresspools.metallb.io")}
    for name, item in after.items():
        assert item["spec"] == before[name]["spec"]
        assert item["metadata"]["generation"] == before[name]["metadata"]["generation"]
        assert "conditions" not in item["status"], "MetalLB's schema prunes them"
    # 192.0.2.177, .151, .160, .199, .190 and the shared .180
    assert after["main"]["status"]["assignedIPv4"] == 6
    assert after["main"]["status"]["assignedIPv6"] == 1
    assert "speakerstatuses.lbctl.io" in cluster.kube("get", "crds", "-o", "name")
    assert "ipaddresspools.lbctl.io" not in cluster.kube("get", "crds", "-o", "name")


def test_new_services_are_served_from_the_same_pools_and_announced(cluster: Cluster) -> None:
    gold = service("gold")
    gold["metadata"]["labels"] = {"tier": "gold"}
    cluster.apply(
        service("new"),
        gold,
        service("wants", annotations={"metallb.universe.tf/loadBalancerIPs": "192.0.2.228"}),
    )
    assert cluster.wait_address("new") == ["192.0.2.150"]
    assert cluster.wait_address("gold") == ["192.0.2.240"]
    assert cluster.wait_address("wants") == ["192.0.2.228"]
    for address in ("192.0.2.150", "192.0.2.240", "192.0.2.228"):
        cluster.wait_announcer(address)

    def told() -> dict[str, Any]:
        name = "default.new.ipv4"
        found = cluster.get("servicel2statuses.metallb.io", name, metallb.SYSTEM)
        status: dict[str, Any] = found.get("status", {})
        return status

    status = eventually("a ServiceL2Status in MetalLB's group", told)
    assert status["node"] in cluster.nodes
    assert status["serviceName"] == "new"


def test_every_check_of_a_reason_names_what_this_cluster_has(cluster: Cluster) -> None:
    place = Place(lbctl_namespace=metallb.SYSTEM, api_group=METALLB_GROUP)
    where = {"service": ServiceKey("default", "plain"), "node": NodeName(cluster.nodes[0])}
    checks = {advice(one, place=place, pool=PoolName("main"), **where)[1] for one in Reason}
    asked = [shlex.split(check) for check in sorted(checks) if check.startswith("kubectl ")]
    assert any("l2advertisements.metallb.io" in words for words in asked)
    for _, *words in asked:
        cluster.kube(*words)


def test_the_door_judges_metallbs_kinds_by_our_rules(cluster: Cluster) -> None:
    collection = f"/apis/metallb.io/v1beta1/namespaces/{metallb.SYSTEM}"

    def said(plural: str, body: dict[str, Any], namespace: str = metallb.SYSTEM) -> str:
        body["metadata"]["namespace"] = namespace
        path = f"/apis/metallb.io/v1beta1/namespaces/{namespace}/{plural}?dryRun=All"
        with closing(RawApi(cluster.kubeconfig)) as api:
            status, answer, warnings = api.send("POST", path, body)
        return "; ".join(warnings) if status == 201 else str(answer["message"])

    def pool(*addresses: str) -> dict[str, Any]:
        return metallb.configured("IPAddressPool", "tried", {"addresses": list(addresses)})

    eventually(
        "the webhook is asked",
        lambda: "write 192.0.2.1/32" in said("ipaddresspools", pool("192.0.2.1")),
    )
    assert "swap the two" in said("ipaddresspools", pool("192.0.2.9-192.0.2.1"))
    assert "of pool main; remove" in said("ipaddresspools", pool("192.0.2.150/32"))
    assert "create the object there" in said("ipaddresspools", pool("198.51.100.0/24"), "default")
    named = metallb.configured("L2Advertisement", "tried", {"ipAddressPools": ["nobody"]})
    assert "there is no pool nobody" in said("l2advertisements", named)
    with closing(RawApi(cluster.kubeconfig)) as api:
        grown = {"spec": {"addresses": ["192.0.2.240/29", "198.51.100.0/24"]}}
        path = f"{collection}/ipaddresspools/pinned?dryRun=All"
        send(api, "PATCH", path, grown, MERGE)


def test_an_object_of_before_that_is_wrong_is_in_the_configuration_state(cluster: Cluster) -> None:
    """What a laxer schema let in while nobody looked disables itself and nothing else."""
    bad = metallb.configured("IPAddressPool", "bad", {"addresses": ["nonsense"]})
    webhook = f"{metallb.SYSTEM}-lbctl"
    kept = cluster.get("validatingwebhookconfiguration", webhook)
    cluster.delete("validatingwebhookconfiguration", webhook)
    try:
        cluster.apply(bad)

        def summary() -> str:
            state = cluster.get("configurationstates.metallb.io", "controller", metallb.SYSTEM)
            return str(state.get("status", {}).get("errorSummary", ""))

        eventually("it is named", lambda: "bad: Invalid: spec.addresses[0]" in summary())
        assert cluster.addresses("plain") == ["192.0.2.177"]
        cluster.delete("ipaddresspools.metallb.io", "bad", metallb.SYSTEM)
        eventually("it is forgotten", lambda: not summary())
    finally:
        for field in ("resourceVersion", "uid", "creationTimestamp", "generation"):
            kept["metadata"].pop(field)
        cluster.apply(kept)


def test_going_back_leaves_every_address_and_metallbs_mark(
    cluster: Cluster, shell: Callable[[str], str]
) -> None:
    shell(BACK)
    for name, (_, addresses, pool) in GIVEN.items():
        found = cluster.get("service", name)
        assert tuple(cluster.addresses(name)) == addresses
        assert found["metadata"]["annotations"][MARK] == pool
    assert len(cluster.list("ipaddresspools.metallb.io")) == 3
