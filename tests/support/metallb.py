"""A cluster as MetalLB leaves it: its kinds, its workloads, its objects, its marks on Services.

The kinds come from our field tables less our extensions: no conditions on pools and
advertisements, no limits, no CEL, a ServiceL2Status whose node cannot change. Conditions that
somebody writes there are pruned by the API server, as they are with MetalLB's own CRDs. The
workloads are stand-ins that do nothing; what MetalLB would have written is written by the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.crds.ip_address_pool import COUNTERS
from lbctl.kube.crds.kinds import KINDS
from lbctl.kube.crds.schema import definition
from lbctl.kube.groups import METALLB_GROUP, OURS_ALONE, Groups, groups

SYSTEM = "metallb-system"
WEBHOOK = "metallb-webhook-configuration"

_OURS = {
    "IPAddressPool": ("conditions",),
    "L2Advertisement": ("conditions",),
    "BGPPeer": ("conditions",),
    "BGPAdvertisement": ("conditions",),
    "Community": ("conditions",),
    "BFDProfile": ("conditions",),
    "ServiceL2Status": ("addresses", "epoch"),
    "ServiceBGPStatus": ("addresses", "nodes", "sessions"),
    "ConfigurationState": (),
}
"""Fields of the status that MetalLB's kinds do not have."""

_LIMITS = {
    "maxItems", "minItems", "maxLength", "minLength", "pattern", "maxProperties",
}  # fmt: skip


def definitions() -> list[dict[str, Any]]:
    """Return MetalLB's CRDs of the kinds that we serve."""
    table = groups(METALLB_GROUP)
    assert isinstance(table, Groups)
    found = [definition(kind) for kind in KINDS if kind.kind not in OURS_ALONE]
    for one in found:
        spec = one["spec"]
        spec["versions"][0]["name"] = table[spec["names"]["kind"]].version
        spec["group"] = METALLB_GROUP
        one["metadata"]["name"] = f"{spec['names']['plural']}.{METALLB_GROUP}"
        (version,) = spec["versions"]
        version.pop("selectableFields", None)
        version.pop("additionalPrinterColumns", None)
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        status = properties["status"]
        for name in _OURS[spec["names"]["kind"]]:
            del status["properties"][name]
        if spec["names"]["kind"] == "IPAddressPool":
            status["required"] = list(COUNTERS)
        for part in ("spec", "status"):
            if part in properties:
                _relax(properties[part])
        if spec["names"]["kind"] == "BGPPeer":
            spec["versions"].insert(0, {**version, "name": "v1beta1", "storage": False})
            spec["conversion"] = {
                "strategy": "Webhook",
                "webhook": {
                    "clientConfig": {"service": _service("/convert")},
                    "conversionReviewVersions": ["v1beta1", "v1beta2"],
                },
            }
        if spec["names"]["kind"] in {"ServiceL2Status", "ServiceBGPStatus"}:
            for name in ("node", "serviceName", "serviceNamespace"):
                status["properties"].setdefault(name, {"type": "string"})
                status["properties"][name]["x-kubernetes-validations"] = [
                    {"rule": "self == oldSelf", "message": "Value is immutable"}
                ]
    return found


def _service(path: str) -> dict[str, str]:
    return {"namespace": SYSTEM, "name": "metallb-webhook-service", "path": path}


def _relax(schema: dict[str, Any]) -> None:
    for limit in (*_LIMITS, "x-kubernetes-validations"):
        schema.pop(limit, None)
    if schema.get("x-kubernetes-list-type") == "set":
        schema["x-kubernetes-list-type"] = "atomic"
    for inner in schema.get("properties", {}).values():
        _relax(inner)
    for name in ("items", "additionalProperties"):
        if name in schema:
            _relax(schema[name])


def workloads() -> list[dict[str, Any]]:
    """Return the namespace, the stand-ins, and the webhook that refuses all when they are gone."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": SYSTEM,
                "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
            },
        },
        _workload("Deployment", "controller", {"app": "metallb"}, replicas=1),
        _workload("DaemonSet", "speaker", {"app": "metallb"}),
        _workload("DaemonSet", "frr-k8s", {"app.kubernetes.io/name": "frr-k8s"}),
    ]


def _workload(kind: str, name: str, label: Mapping[str, str], **spec: Any) -> dict[str, Any]:
    labels = {**label, "component": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": SYSTEM, "labels": labels},
        "spec": {
            **spec,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": name, "image": f"quay.io/metallb/{name}:v0.16.1"}],
                },
            },
        },
    }


def webhook() -> dict[str, Any]:
    """Return a configuration that refuses every change of a pool when nobody answers."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [
            {
                "name": "ipaddresspoolvalidationwebhook.metallb.io",
                "clientConfig": {"service": _service("/validate-metallb-io-v1beta1-ipaddresspool")},
                "rules": [
                    {
                        "apiGroups": [METALLB_GROUP],
                        "apiVersions": ["v1beta1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["ipaddresspools"],
                    }
                ],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


def configured(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration object of MetalLB's, in the version that it stores."""
    table = groups(METALLB_GROUP)
    assert isinstance(table, Groups)
    return {
        "apiVersion": f"{METALLB_GROUP}/{table[kind].version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": dict(spec),
    }


def service_status(addresses: tuple[str, ...], pool: str) -> dict[str, Any]:
    """Return what MetalLB's controller writes about an allocation: no mode, no condition."""
    return {
        "metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": pool}},
        "status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}},
    }


def announced(service: str, node: str, pod: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the ServiceL2Status that a speaker of MetalLB leaves, and its status."""
    metadata = pod["metadata"]
    body = {
        "apiVersion": f"{METALLB_GROUP}/v1beta1",
        "kind": "ServiceL2Status",
        "metadata": {
            "name": f"l2-{service}",
            "namespace": SYSTEM,
            "labels": {
                "metallb.io/node": node,
                "metallb.io/service-name": service,
                "metallb.io/service-namespace": "default",
            },
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
    }
    status = {
        "node": node,
        "serviceName": service,
        "serviceNamespace": "default",
        "interfaces": [{"name": "eth0"}],
    }
    return body, {"status": status}
