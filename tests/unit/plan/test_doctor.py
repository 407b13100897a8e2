"""The doctor's judgement: each fact that is wrong fails its own check, and a missing one is unknown."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from lbctl.model.learned import Unknown
from lbctl.model.names import NodeName, ObjectKey
from lbctl.plan.doctor import (
    Definition,
    Facts,
    KubeProxy,
    LeaseFacts,
    NodeNetwork,
    Workload,
    diagnose,
    unreachable,
)
from lbctl.plan.doctor_checks import Check, Level
from lbctl.plan.doctor_neighbors import K3S, KUBE_VIP, LBCTL, METALLB, Neighbor
from lbctl.plan.doctor_rights import Rights
from tests.support.builders import NAMESPACE, addresses, make_pool, make_ranges, service_key

CRD = Definition(
    name="ipaddresspools.lbctl.io", group="lbctl.io", versions=("v1beta1",), established=True
)
LEASE = LeaseFacts(
    name="lbctl-controller", holder="a", age_s=1.0, duration_s=15.0, seen_moving=False
)
NODE = NodeNetwork(
    node=NodeName("node1"),
    addresses=addresses("192.0.2.1", "2001:db8::1"),
    pod_ranges=make_ranges("198.18.0.0/24"),
)
WELL = Facts(
    version="v1.35.0",
    definitions=(CRD,),
    wanted_definitions=((CRD.name, "v1beta1"),),
    controllers=(Workload(name="lbctl-controller", wanted=2, ready=2),),
    leases=(LEASE,),
    speakers=(Workload(name="lbctl-speaker", wanted=1, ready=1),),
    reports={NodeName("node1"): make_ranges("192.0.2.0/24")},
    nodes=(NODE,),
    kube_proxy=KubeProxy(mode="nftables", strict_arp=False),
    pools=(make_pool("first", "192.0.2.128-192.0.2.250"),),
    service_ranges=make_ranges("198.19.0.0/16"),
    cluster_ips={service_key("default/web"): addresses("198.19.0.9")},
    rights=Rights(denied={"lbctl-system/lbctl-controller": ()}, unasked=()),
    neighbors=(),
    foreign={},
    strays=(),
    lbctl_namespace=NAMESPACE,
    api_group="lbctl.io",
    load_balancer_class=None,
)


def check(name: str, **changes) -> Check:
    return {one.name: one for one in diagnose(replace(WELL, **changes)).checks}[name]


def test_a_cluster_that_is_well_passes_every_check():
    diagnosis = diagnose(WELL)
    assert {one.level for one in diagnosis.checks} == {Level.OK}
    assert diagnosis.fine


def test_objects_that_nobody_reads_are_named():
    strays = (ObjectKey("IPAddressPool", "web", "b"), ObjectKey("IPAddressPool", "web", "a"))
    found = check("pools and advertisements", strays=strays)
    assert found.level is Level.WARNING
    assert found.detail.endswith("IPAddressPool web/a; IPAddressPool web/b")
    assert f"Move them to namespace {NAMESPACE}" in found.cure


def neighbor(product: str, load_balancer_class: str | None = None) -> Neighbor:
    return Neighbor(
        product=product,
        namespace="far",
        workload="controller",
        load_balancer_class=load_balancer_class,
    )


FINDINGS = {
    "a CRD is missing": ("CRDs", {"definitions": ()}, Level.FAILED, "is missing"),
    "a CRD of another version": (
        "CRDs",
        {"definitions": (replace(CRD, versions=("v1",)),)},
        Level.FAILED,
        "serves v1, not v1beta1",
    ),
    "a CRD that is not established": (
        "CRDs",
        {"definitions": (replace(CRD, established=False),)},
        Level.FAILED,
        "not established",
    ),
    "no controller": ("controller", {"controllers": ()}, Level.FAILED, "has no Deployment"),
    "no controller ready": (
        "controller",
        {"controllers": (Workload(name="c", wanted=2, ready=0),)},
        Level.FAILED,
        "0 of 2",
    ),
    "one controller of two": (
        "controller",
        {"controllers": (Workload(name="c", wanted=2, ready=1),)},
        Level.WARNING,
        "1 of 2",
    ),
    "a Lease that nobody renews": (
        "controller's Lease",
        {"leases": (replace(LEASE, age_s=60.0),)},
        Level.FAILED,
        "has not renewed lbctl-controller for 60 s",
    ),
    "a Lease that looks old and moves": (
        "controller's Lease",
        {"leases": (replace(LEASE, age_s=600.0, seen_moving=True),)},
        Level.OK,
        "renews it",
    ),
    "a Lease without a holder": (
        "controller's Lease",
        {"leases": (replace(LEASE, holder=""),)},
        Level.FAILED,
        "held by nobody",
    ),
    "no Lease": ("controller's Lease", {"leases": ()}, Level.UNKNOWN, "--leader-elect=false"),
    "no speakers": ("speakers", {"speakers": ()}, Level.FAILED, "has no DaemonSet"),
    "no node reports": ("SpeakerStatus of each node", {"reports": {}}, Level.FAILED, "no node"),
    "one node does not report": (
        "SpeakerStatus of each node",
        {"nodes": (NODE, replace(NODE, node=NodeName("node2")))},
        Level.WARNING,
        "none from node2",
    ),
    "IPVS without strictARP": (
        "kube-proxy",
        {"kube_proxy": KubeProxy(mode="ipvs", strict_arp=False)},
        Level.FAILED,
        "strictARP",
    ),
    "IPVS with strictARP": (
        "kube-proxy",
        {"kube_proxy": KubeProxy(mode="ipvs", strict_arp=True)},
        Level.OK,
        "ipvs with strictARP",
    ),
    "a pool over a node's address": (
        "pools and node addresses",
        {"pools": (make_pool("wide", "192.0.2.0/24"),)},
        Level.FAILED,
        "pool wide holds 192.0.2.1 of node node1",
    ),
    "a pool over the Pods": (
        "pools and pod CIDRs",
        {"pools": (make_pool("pods", "198.18.0.0/28"),)},
        Level.FAILED,
        "of node node1",
    ),
    "no podCIDRs": (
        "pools and pod CIDRs",
        {"nodes": (replace(NODE, pod_ranges=()),)},
        Level.UNKNOWN,
        "network plugin",
    ),
    "a pool over the cluster IPs": (
        "pools and Service CIDRs",
        {"pools": (make_pool("ips", "198.19.0.0/28"),)},
        Level.FAILED,
        "overlaps",
    ),
    "a pool over a cluster IP where ServiceCIDRs are not served": (
        "pools and Service CIDRs",
        {"pools": (make_pool("ips", "198.19.0.0/28"),), "service_ranges": Unknown(why="no")},
        Level.FAILED,
        "the cluster IP of default/web",
    ),
    "a pool in no subnet": (
        "pools and node subnets",
        {"pools": (make_pool("far", "203.0.113.0/24"),)},
        Level.WARNING,
        "lies not wholly in a subnet",
    ),
    "a speaker without a subnet": (
        "pools and node subnets",
        {"reports": {NodeName("node1"): ()}},
        Level.UNKNOWN,
        "no speaker has reported",
    ),
    "a right that is missing": (
        "rights",
        {
            "rights": Rights(
                denied={"there/speaker": ("list nodes in every namespace",)}, unasked=()
            )
        },
        Level.FAILED,
        "there/speaker may not list nodes in every namespace",
    ),
    "an account that nobody names": (
        "rights",
        {"rights": Rights(denied={"there/speaker": ()}, unasked=("controller",))},
        Level.UNKNOWN,
        "names the account of controller",
    ),
    "a right that is missing beside an account that nobody names": (
        "rights",
        {"rights": Rights(denied={"there/speaker": ("list nodes",)}, unasked=("controller",))},
        Level.FAILED,
        "may not list nodes",
    ),
    **{
        f"{product} that serves the same class": (
            "another load balancer",
            {"neighbors": (neighbor(product),)},
            Level.FAILED,
            f"{product} runs in namespace far (controller); it and this lbctl serve the same",
        )
        for product in (METALLB, KUBE_VIP, K3S, LBCTL)
    },
    **{
        f"{product} beside a class of our own": (
            "another load balancer",
            {"neighbors": (neighbor(product),), "load_balancer_class": "lbctl.io/own"},
            Level.WARNING,
            "lbctl.io/own",
        )
        for product in (METALLB, KUBE_VIP, K3S)
    },
    "an lbctl of the same class": (
        "another load balancer",
        {"neighbors": (neighbor(LBCTL, "lbctl.io/own"),), "load_balancer_class": "lbctl.io/own"},
        Level.FAILED,
        "for class lbctl.io/own",
    ),
    "an lbctl of another class": (
        "another load balancer",
        {"neighbors": (neighbor(LBCTL, "lbctl.io/other"),)},
        Level.OK,
        "lbctl runs in namespace far (controller) for class lbctl.io/other; its class keeps it apart",
    ),
    "an lbctl without a class beside a class of our own": (
        "another load balancer",
        {"neighbors": (neighbor(LBCTL),), "load_balancer_class": "lbctl.io/own"},
        Level.OK,
        "keeps it apart",
    ),
    "an address of somebody else": (
        "addresses of others",
        {"foreign": {service_key("default/web"): "the status holds 203.0.113.7"}},
        Level.WARNING,
        "1 not served by lbctl: default/web (the status holds 203.0.113.7)",
    ),
    "what a MetalLB left": (
        "another load balancer",
        {"definitions": (CRD, replace(CRD, name="bgppeers.metallb.io", group="metallb.io"))},
        Level.WARNING,
        "bgppeers.metallb.io",
    ),
}


@pytest.mark.parametrize(("name", "changes", "level", "words"), FINDINGS.values(), ids=FINDINGS)
def test_one_wrong_fact_is_one_finding_with_a_cure(name, changes, level, words):
    found = check(name, **changes)
    assert (found.level, words in found.detail) == (level, True), found
    assert bool(found.cure) == (level in (Level.FAILED, Level.WARNING))


LEARNED = [
    field.name
    for field in fields(Facts)
    if field.name
    not in ("wanted_definitions", "lbctl_namespace", "api_group", "load_balancer_class")
]


@pytest.mark.parametrize("name", [name for name in LEARNED if name != "cluster_ips"])
def test_a_fact_that_could_not_be_learned_is_unknown_and_never_ok(name):
    diagnosis = diagnose(replace(WELL, **{name: Unknown(why="RBAC refuses")}))
    unknown = [one for one in diagnosis.checks if one.level is Level.UNKNOWN]
    assert unknown
    assert all(one.detail == "RBAC refuses" for one in unknown)
    assert diagnosis.fine, "what is not known is not a fault"


def test_a_long_list_of_findings_is_cut_and_counted():
    pools = tuple(make_pool(f"p{index}", f"203.0.113.{index}/32") for index in range(9))
    assert "and 6 more" in check("pools and node subnets", pools=pools).detail


def test_without_an_api_server_there_is_one_check_and_it_failed():
    [only] = unreachable("no answer").checks
    assert only.level is Level.FAILED
    assert not unreachable("no answer").fine
