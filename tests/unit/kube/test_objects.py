"""Nodes, namespaces and EndpointSlices, and the fold that groups slices by Service."""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.kube.fold import Source, World, fold, inputs
from lbctl.kube.groups import Groups, groups, own_groups
from lbctl.kube.objects import parse_endpoint_slice, parse_node
from lbctl.model.endpoints import EndpointSlice, EndpointState
from lbctl.model.names import ServiceKey
from lbctl.model.outcome import Problem
from lbctl.model.snapshot import EVERYTHING
from tests.support.builders import make_slice


def node(**parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": "node1", **parts.pop("metadata", {})}, **parts}


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        (node(), "ready", False),
        (node(status={"conditions": [{"type": "Ready", "status": "True"}]}), "ready", True),
        (node(status={"conditions": [{"type": "Ready", "status": "Unknown"}]}), "ready", False),
        (
            node(status={"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}),
            "network_unavailable",
            True,
        ),
        (
            node(spec={"taints": [{"key": "node.kubernetes.io/out-of-service"}]}),
            "out_of_service",
            True,
        ),
        (node(metadata={"annotations": {"lbctl.io/drain": ""}}), "drain_requested", True),
        (node(metadata={"annotations": {"lbctl.io/drain": "false"}}), "drain_requested", False),
        (node(), "drain_requested", False),
    ],
)
def test_a_node_says_what_matters(body: dict[str, Any], field: str, value: bool) -> None:
    found = parse_node(body)
    assert found is not None
    assert getattr(found, field) is value


def test_a_heartbeat_of_a_node_is_no_news() -> None:
    def beat(number: int) -> dict[str, Any]:
        at = f"2026-01-01T00:0{number}:00Z"
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": at}
        pressure = {"type": "MemoryPressure", "status": str(number > 1), "lastHeartbeatTime": at}
        return node(
            metadata={"resourceVersion": str(number), "annotations": {"volumes": str(number)}},
            spec={"podCIDR": "198.18.128.0/24", "unschedulable": number > 1},
            status={
                "conditions": [ready, pressure],
                "images": [{"names": [f"image-{number}"]}],
                "allocatable": {"cpu": str(number)},
            },
        )

    assert parse_node(beat(1)) == parse_node(beat(2))


def slice_object(name: str = "shop-1", service: str = "shop", **parts: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "web",
            "labels": {"kubernetes.io/service-name": service} if service else {},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["198.18.128.1"], "nodeName": "node1"}],
        **parts,
    }


def test_a_slice_is_read_with_its_states() -> None:
    def endpoint(**conditions: bool) -> dict[str, Any]:
        return {"addresses": ["198.18.128.1", "198.18.128.2"], "conditions": conditions}

    found = parse_endpoint_slice(
        slice_object(
            endpoints=[
                endpoint(),
                endpoint(ready=False, serving=True, terminating=True),
                endpoint(ready=False),
                {"addresses": []},
            ]
        )
    )
    assert found is not None
    assert [item.state for item in found.endpoints] == [
        EndpointState.READY,
        EndpointState.DRAINING,
        EndpointState.UNUSABLE,
    ]
    assert found.endpoints[0].address == "198.18.128.1"
    assert found.endpoints[0].node is None


def test_a_slice_of_names_counts_for_no_family_and_one_of_nobody_is_dropped() -> None:
    found = parse_endpoint_slice(slice_object(addressType="FQDN"))
    assert found is not None
    assert found.family is None
    assert parse_endpoint_slice(slice_object(service="")) is None


def test_the_command_folds_plain_objects_with_the_same_projections() -> None:
    snapshot = fold(
        {
            Source.SERVICES: [{"metadata": {"name": "shop", "namespace": "web"}}, 7, {}],
            Source.SLICES: [slice_object(), slice_object("shop-2")],
            Source.NAMESPACES: [{"metadata": {"name": "web", "labels": {"a": "b"}}}],
        }
    )
    assert list(snapshot.services) == [ServiceKey("web", "shop")]
    assert set(snapshot.slices[ServiceKey("web", "shop")]) == {"shop-1", "shop-2"}
    assert snapshot.namespaces == {"web": {"a": "b"}}


class Maps:
    """Stand for the reflectors: maps that a list replaces."""

    def __init__(self) -> None:
        self.maps: dict[Source, dict[Any, Any]] = {source: {} for source in Source}

    def __call__(self, source: Source) -> dict[Any, Any]:
        return self.maps[source]

    def put(self, world: World, found: EndpointSlice) -> None:
        key = (found.service, found.name)
        self.maps[Source.SLICES][key] = found
        world.changed(Source.SLICES, {key})

    def drop(self, world: World, service: ServiceKey, name: str) -> None:
        del self.maps[Source.SLICES][service, name]
        world.changed(Source.SLICES, {(service, name)})


def test_slices_are_regrouped_key_by_key() -> None:
    maps = Maps()
    world = World(maps)
    assert world.take_changed() == EVERYTHING
    shop = ServiceKey("web", "shop")
    maps.put(world, make_slice(shop, name="a"))
    maps.put(world, make_slice(shop, name="b"))
    assert world.take_changed().services == {shop}
    assert set(world.snapshot().slices[shop]) == {"a", "b"}
    maps.drop(world, shop, "a")
    assert set(world.snapshot().slices[shop]) == {"b"}
    maps.drop(world, shop, "b")
    assert shop not in world.snapshot().slices
    assert world.take_changed().services == {shop}
    assert world.take_changed().services == set()


def test_a_new_list_replaces_the_groups() -> None:
    maps = Maps()
    world = World(maps)
    maps.put(world, make_slice("web/shop", name="a"))
    maps.maps[Source.SLICES] = {}
    world.changed(Source.SLICES, None)
    assert world.snapshot().slices == {}
    assert world.take_changed().everything


def test_a_change_that_the_plan_does_not_read_is_no_news() -> None:
    maps = Maps()
    world = World(maps, (Source.SERVICES, Source.POOLS))
    world.take_changed()
    world.changed(Source.NODES, {"node1"})
    maps.put(world, make_slice("web/shop", name="a"))
    assert not world.take_changed().everything
    world.changed(Source.POOLS, {"p"})
    assert world.take_changed().everything


def test_changed_nodes_and_speakers_are_named_and_a_new_list_of_them_is_everything() -> None:
    maps = Maps()
    world = World(maps)
    world.take_changed()
    world.changed(Source.NODES, {"node1"})
    world.changed(Source.SPEAKERS, {"node2"})
    changed = world.take_changed()
    assert (changed.nodes, changed.services, changed.everything) == (
        {"node1", "node2"},
        set(),
        False,
    )
    assert world.take_changed().nodes == set()
    world.changed(Source.NODES, None)
    assert world.take_changed().everything


def test_own_kinds_stay_in_our_group_whatever_the_setting() -> None:
    table = groups("metallb.io")
    assert isinstance(table, Groups)
    paths = {row.kind: row.path for row in inputs(table, "lb")}
    assert paths["IPAddressPool"] == "/apis/metallb.io/v1beta1/namespaces/lb/ipaddresspools"
    assert paths["SpeakerStatus"] == "/apis/lbctl.io/v1beta1/namespaces/lb/speakerstatuses"
    assert paths["Service"] == "/api/v1/services"
    assert paths["EndpointSlice"] == "/apis/discovery.k8s.io/v1/endpointslices"
    assert not table["L2Advertisement"].own_schema
    assert own_groups()["L2Advertisement"].own_schema


def test_an_unknown_group_is_refused_with_the_choice() -> None:
    found = groups("example.com")
    assert isinstance(found, Problem)
    assert "lbctl.io" in str(found)
