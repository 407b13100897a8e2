"""Which Event tells of which change: one row for each reason that users filter on."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.controller.said import announce_failed, deprecation, released, sayings
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import ObservedCondition
from lbctl.plan.announced import Announced
from tests.support.builders import make_service

FULL = Refused(reason=Reason.POOL_EXHAUSTED, detail="every address is in use")
UNREADABLE = Refused(reason=Reason.INVALID_REQUEST, detail="'x' is not an IP address")
TAKEN = Refused(reason=Reason.ADDRESS_IN_USE, detail="192.0.2.1 is not kept")


def outcome(
    *addresses: str, refused: Refused | None = None, lost: tuple[Refused, ...] = ()
) -> Outcome:
    found = tuple(ip_address(text) for text in addresses)
    pools = tuple(PoolName("p") for _ in found)
    return Outcome(ServiceKey("default", "shop"), found, pools, refused, (), lost)


@pytest.mark.parametrize(
    ("shown", "decided", "said"),
    [
        ([], outcome("192.0.2.1"), [("Normal", "IPAllocated")]),
        ([], outcome(refused=FULL), [("Warning", "AllocationFailed")]),
        ([], outcome(refused=UNREADABLE), [("Warning", "AllocationFailed")]),
        (
            ["192.0.2.1"],
            outcome(refused=FULL, lost=(TAKEN,)),
            [("Normal", "ClearAssignment"), ("Warning", "AllocationFailed")],
        ),
        (
            ["192.0.2.1"],
            outcome("192.0.2.2", lost=(TAKEN,)),
            [("Normal", "ClearAssignment"), ("Normal", "IPAllocated")],
        ),
        (
            ["192.0.2.1"],
            outcome("192.0.2.1", refused=UNREADABLE),
            [("Warning", "LoadBalancerFailed")],
        ),
        (
            ["192.0.2.1"],
            outcome("192.0.2.1", refused=FULL),
            [("Normal", "AdditionalAssignFailed")],
        ),
        (["192.0.2.1"], outcome("192.0.2.1"), []),
    ],
)
def test_each_change_is_told_under_metallbs_reason(
    shown: list[str], decided: Outcome, said: list[tuple[str, str]]
) -> None:
    service = make_service(status=shown)
    found = sayings(service, decided, shown_reason=None, shown_message=None)
    assert [("Warning" if one.warning else "Normal", one.reason) for one in found] == said


@pytest.mark.parametrize(
    ("shown", "decided"),
    [([], outcome(refused=FULL)), (["192.0.2.1"], outcome("192.0.2.1", refused=FULL))],
)
def test_a_refusal_that_the_condition_shows_already_is_not_said_again(
    shown: list[str], decided: Outcome
) -> None:
    service = make_service(status=shown)
    reason, message = decided.reason, f"Has it. {FULL.detail}."
    assert sayings(service, decided, shown_reason=reason, shown_message=message) == ()


def test_what_a_service_that_is_ours_no_more_loses_is_told_once() -> None:
    service = make_service(status=["192.0.2.1"])
    decision = NotOurs(
        service=service.key,
        reason=Reason.NOT_LOAD_BALANCER,
        detail="spec.type is ClusterIP",
        release=True,
    )
    (said,) = released(service, decision)
    assert (said.warning, said.reason) == (False, "ClearAssignment")
    assert said.message == "Gave up 192.0.2.1: spec.type is ClusterIP (NotLoadBalancer)"
    assert released(make_service(), decision) == ()


def test_what_a_service_gives_up_is_told_with_the_name_of_the_reason() -> None:
    text = "192.0.2.1 is not kept: the Service asks for 192.0.2.2"
    decided = outcome("192.0.2.2", lost=(Refused(reason=Reason.REQUEST_CHANGED, detail=text),))
    service = make_service(status=["192.0.2.1"])
    first, _ = sayings(service, decided, shown_reason=None, shown_message=None)
    assert first.message == f"Gave up 192.0.2.1: {text} (RequestChanged)"


def test_a_deprecated_annotation_is_a_warning_that_names_it() -> None:
    said = deprecation(["metallb.universe.tf/address-pool"])
    assert (said.warning, said.reason) == (True, "deprecatedAnnotation")
    assert "metallb.universe.tf/address-pool" in said.message


SILENT = Announced(holds=False, reason=Reason.NO_ENDPOINTS, message="nobody announces 192.0.2.1")


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (None, "", True),
        ("True", "Announced", True),
        ("False", "NoAdvertisement", True),
        ("False", "NoEndpoints", False),
    ],
)
def test_an_address_that_nobody_announces_is_told_once_for_each_reason(
    status: str | None, reason: str, *, said: bool
) -> None:
    shown = status and ObservedCondition(
        type="lbctl.io/Announced", status=status, reason=reason, message="", observed_generation=0
    )
    found = [
        (saying.warning, saying.reason, saying.message)
        for saying in announce_failed(SILENT, shown=shown or None)
    ]
    assert found == ([(True, "announceFailed", SILENT.message)] if said else [])


def test_nothing_is_said_while_it_is_announced_or_not_known() -> None:
    word = Announced(holds=True, reason=Reason.ANNOUNCED, message="")
    assert announce_failed(word, shown=None) == ()
    assert announce_failed(None, shown=None) == ()
