"""The objects that exist for their status: names, labels, and when there is nothing to write."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.kube.crds.configuration_state import parse_configuration_state
from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.kube.groups import Groups, groups, own_groups
from lbctl.kube.status_objects import (
    controller_state,
    must_be_replaced,
    says_the_same,
    service_l2_status,
    speaker_status,
)
from lbctl.model.membership import ViewNumber
from lbctl.model.names import LinkName, NodeName, ServiceKey
from lbctl.model.node import Owner
from lbctl.model.outcome import InvariantBroken, Problem
from tests.support.builders import make_speaker

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def announced(*addresses: str, node: str = "node1", name: str = "shop") -> ServiceL2Status:
    return ServiceL2Status(
        service=ServiceKey("web", name),
        node=NodeName(node),
        interfaces=(LinkName("eth0"),),
        addresses=tuple(ip_address(address) for address in addresses),
        epoch=ViewNumber(generation=1, number=4),
    )


def metallb() -> Groups:
    table = groups("metallb.io")
    assert isinstance(table, Groups)
    return table


def test_a_speaker_status_is_named_after_its_node() -> None:
    wanted = speaker_status(own_groups(), "lb", make_speaker("node1"))
    assert wanted.path == "/apis/lbctl.io/v1beta1/namespaces/lb/speakerstatuses/node1"
    assert wanted.body()["apiVersion"] == "lbctl.io/v1beta1"
    assert "status" not in wanted.body()
    assert wanted.patch("7")["metadata"] == {"resourceVersion": "7"}
    assert wanted.metadata["ownerReferences"] == []


def test_a_speaker_status_goes_with_its_pod() -> None:
    report = make_speaker("node1", owners=(Owner(kind="Pod", name="speaker-x", uid="u1"),))
    (reference,) = speaker_status(own_groups(), "lb", report).body()["metadata"]["ownerReferences"]
    assert (reference["apiVersion"], reference["kind"]) == ("v1", "Pod")
    assert (reference["name"], reference["uid"]) == ("speaker-x", "u1")


def test_an_announcement_is_told_once_per_service_and_family() -> None:
    wanted = service_l2_status(own_groups(), "lb", announced("192.0.2.1"))
    assert wanted.name == "web.shop.ipv4"
    assert wanted.metadata["labels"] == {
        "lbctl.io/service-name": "shop",
        "lbctl.io/service-namespace": "web",
    }
    assert wanted.status["addresses"] == ["192.0.2.1"]
    assert service_l2_status(own_groups(), "lb", announced("2001:db8::1")).name == "web.shop.ipv6"
    with pytest.raises(InvariantBroken):
        service_l2_status(own_groups(), "lb", announced("192.0.2.1", "2001:db8::1"))


def test_a_service_name_too_long_for_a_label_has_none() -> None:
    wanted = service_l2_status(own_groups(), "lb", announced("192.0.2.1", name="s" * 64))
    assert wanted.metadata["labels"] == {"lbctl.io/service-namespace": "web"}


def test_in_metallbs_group_an_object_of_another_node_is_replaced() -> None:
    here, there = announced("192.0.2.1"), announced("192.0.2.1", node="node2")
    resource = metallb()["ServiceL2Status"]
    assert must_be_replaced(here, there, resource)
    assert not must_be_replaced(here, there, own_groups()["ServiceL2Status"])
    assert set(service_l2_status(metallb(), "lb", here).status) == {
        "node",
        "serviceName",
        "serviceNamespace",
        "interfaces",
    }
    assert not says_the_same(here, there, own_schema=True)
    assert says_the_same(here, announced("192.0.2.2"), own_schema=False)
    assert not says_the_same(here, announced("192.0.2.2"), own_schema=True)


PROBLEMS = (("IPAddressPool lb/p", Problem(path="spec.addresses[0]", message="nonsense")),)


def test_the_controllers_state_names_every_problem_and_is_written_once() -> None:
    first = controller_state(own_groups(), "lb", problems=PROBLEMS, found=None, now_rfc3339=NOW)
    assert first is not None
    assert first.name == "controller"
    assert first.metadata["labels"] == {"lbctl.io/component-type": "controller"}
    assert first.status["result"] == "Invalid"
    assert first.status["errorSummary"] == "IPAddressPool lb/p: spec.addresses[0]: nonsense"
    condition = first.status["conditions"][0]
    assert (condition["type"], condition["status"]) == ("poolReconcilerValid", "False")
    assert condition["reason"] == "ConfigurationError"
    found = parse_configuration_state({"metadata": {"name": "c"}, "status": dict(first.status)})
    again = controller_state(own_groups(), "lb", problems=PROBLEMS, found=found, now_rfc3339=LATER)
    assert again is None
    good = controller_state(own_groups(), "lb", problems=(), found=found, now_rfc3339=LATER)
    assert good is not None
    assert good.status["result"] == "Valid"
    assert good.status["conditions"][0]["lastTransitionTime"] == LATER
