"""Read the other built-in objects: Node, Namespace, EndpointSlice, Pod. Never raises. Pure.

Each becomes the smallest value that a decision needs, so that a heartbeat of a node or a touched
slice compares equal to what was there and wakes nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lbctl.kube.annotations import DRAIN
from lbctl.kube.loose import flag, mapping, metadata_of, number, objects, text, texts
from lbctl.model.address import Family, parse_address
from lbctl.model.endpoints import Endpoint, EndpointSlice, endpoint_state
from lbctl.model.names import NodeName, ServiceKey
from lbctl.model.node import Node
from lbctl.model.pods import ContainerPort, Pod

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"


def parse_node(body: Any) -> Node | None:
    """Return the Node, or None when it has no name."""
    metadata = metadata_of(body)
    if metadata is None:
        return None
    conditions = {
        text(item.get("type")): text(item.get("status"))
        for item in objects(mapping(body.get("status")).get("conditions"))
    }
    taints = objects(mapping(body.get("spec")).get("taints"))
    return Node(
        name=NodeName(sys.intern(metadata.name)),
        labels=metadata.labels,
        ready=conditions.get("Ready") == "True",
        network_unavailable=conditions.get("NetworkUnavailable") == "True",
        out_of_service=any(taint.get("key") == OUT_OF_SERVICE_TAINT for taint in taints),
        drain_requested=metadata.annotations.get(DRAIN, "false") != "false",
        addresses=tuple(
            address
            for item in objects(mapping(body.get("status")).get("addresses"))
            if item.get("type") == "InternalIP"
            and (address := parse_address(text(item.get("address")))) is not None
        ),
    )


def parse_namespace(body: Any) -> tuple[str, Mapping[str, str]] | None:
    """Return a namespace's name and labels, or None when it has no name."""
    metadata = metadata_of(body)
    return None if metadata is None else (metadata.name, metadata.labels)


def parse_endpoint_slice(body: Any) -> EndpointSlice | None:
    """Return the slice, or None when it belongs to no Service (its label is missing)."""
    metadata = metadata_of(body)
    if metadata is None:
        return None
    service = metadata.labels.get(SERVICE_NAME_LABEL, "")
    if not service:
        return None
    family = text(body.get("addressType"))
    return EndpointSlice(
        namespace=metadata.namespace,
        name=metadata.name,
        service=ServiceKey(metadata.namespace, service),
        family=Family(family) if family in tuple(Family) else None,
        endpoints=tuple(
            endpoint
            for item in objects(body.get("endpoints"))
            if (endpoint := _endpoint(item)) is not None
        ),
    )


def _endpoint(item: Mapping[str, Any]) -> Endpoint | None:
    """Return one endpoint under its first address, which is the one kube-proxy uses."""
    addresses = texts(item.get("addresses"))
    if not addresses:
        return None
    conditions = mapping(item.get("conditions"))
    node = text(item.get("nodeName"))
    return Endpoint(
        address=addresses[0],
        state=endpoint_state(
            ready=flag(conditions.get("ready")),
            serving=flag(conditions.get("serving")),
            terminating=flag(conditions.get("terminating")),
        ),
        node=NodeName(sys.intern(node)) if node else None,
    )


def parse_pod(body: Any) -> Pod | None:
    """Return the Pod, or None for one that has ended, is being deleted, or has no name."""
    metadata = metadata_of(body)
    if metadata is None or mapping(body["metadata"]).get("deletionTimestamp"):
        return None
    spec, status = mapping(body.get("spec")), mapping(body.get("status"))
    phase = text(status.get("phase")) or "Unknown"
    if phase in ("Succeeded", "Failed"):
        return None
    # An init container that goes on running (a sidecar) serves like the others.
    sidecars = [one for one in objects(spec.get("initContainers")) if one.get("restartPolicy")]
    return Pod(
        name=metadata.name,
        phase=phase,
        addressed=bool(text(status.get("podIP"))),
        ports=tuple(
            ContainerPort(
                name=text(port.get("name")),
                number=number(port.get("containerPort")),
                protocol=text(port.get("protocol")) or "TCP",
            )
            for container in (*objects(spec.get("containers")), *sidecars)
            for port in objects(container.get("ports"))
        ),
    )
