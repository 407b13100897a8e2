"""The patches: exactly the difference, nothing when there is none, foreign conditions kept."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement
from lbctl.kube.patches import accepted_patch, pool_patch, service_patch
from lbctl.kube.service import WrittenService, parse_service
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.configuration import Verdict
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import InvariantBroken, Refused
from lbctl.model.reason import Reason
from lbctl.plan.announced import Announced
from tests.support.builders import make_service

KEY = ServiceKey("web", "shop")
THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
FOREIGN = {"type": "example.com/X", "status": "True", "reason": "R", "lastTransitionTime": THEN}
GOOD = Verdict(accepted=True, reason=Reason.ACCEPTED, message="in effect")
BAD = Verdict(accepted=False, reason=Reason.INVALID, message="spec.addresses[0]: nonsense")


def outcome(*pairs: tuple[str, str], refused: Refused | None = None) -> Outcome:
    return Outcome(
        service=KEY,
        addresses=tuple(ip_address(address) for address, _ in pairs),
        pools=tuple(PoolName(pool) for _, pool in pairs),
        refused=refused,
        trace=(),
    )


EXHAUSTED = Refused(reason=Reason.POOL_EXHAUSTED, detail="pool p has no free IPv4 address")
ONE = outcome(("192.0.2.1", "p"))
NONE = outcome(refused=EXHAUSTED)


def service_object() -> dict[str, Any]:
    return {
        "metadata": {"name": "shop", "namespace": "web", "resourceVersion": "7"},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {}, "conditions": [FOREIGN]},
    }


def read(body: dict[str, Any]) -> WrittenService:
    service = parse_service(body)
    assert service is not None
    return service


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch as RFC 7386 says."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def after(body: dict[str, Any], decision: Outcome | NotOurs, now: str = NOW) -> dict[str, Any]:
    patch = service_patch(read(body), decision, now)
    assert patch is not None
    assert patch["metadata"]["resourceVersion"] == "7"
    result = merged(body, patch)
    assert service_patch(read(result), decision, "2026-02-02T00:00:00Z") is None
    assert isinstance(result, dict)
    return result


def test_a_new_address_is_shown_with_mark_and_condition() -> None:
    result = after(service_object(), ONE)
    assert result["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    assert result["metadata"]["annotations"] == {"lbctl.io/ip-allocated-from-pool": "p"}
    foreign, ours = result["status"]["conditions"]
    assert foreign == FOREIGN
    assert ours == {
        "type": "lbctl.io/Allocated",
        "status": "True",
        "reason": "Allocated",
        "message": "Has 192.0.2.1 from pool p.",
        "lastTransitionTime": NOW,
    }


def test_a_refusal_says_why_and_what_to_do() -> None:
    result = after(service_object(), NONE)
    condition = result["status"]["conditions"][1]
    assert (condition["status"], condition["reason"]) == ("False", "PoolExhausted")
    assert condition["message"].startswith("pool p has no free IPv4 address. Add a range")
    assert "annotations" not in result["metadata"]


def test_a_lost_address_takes_the_mark_along_and_the_time_tells_of_the_turn() -> None:
    first = after(service_object(), ONE, THEN)
    lost = after(first, NONE)
    assert "ingress" not in lost["status"]["loadBalancer"]
    assert lost["metadata"]["annotations"] == {}
    assert lost["status"]["conditions"][1]["lastTransitionTime"] == NOW


def test_the_transition_time_stays_while_the_status_does() -> None:
    first = after(service_object(), ONE, THEN)
    moved = after(first, outcome(("192.0.2.2", "q")))
    condition = moved["status"]["conditions"][1]
    assert condition["message"] == "Has 192.0.2.2 from pool q."
    assert condition["lastTransitionTime"] == THEN


def test_an_ingress_without_a_mode_is_equal_and_one_with_another_mode_is_not() -> None:
    shown = after(service_object(), ONE)
    shown["status"]["loadBalancer"]["ingress"] = [{"ip": "192.0.2.1"}]
    assert service_patch(read(shown), ONE, NOW) is None
    shown["status"]["loadBalancer"]["ingress"][0]["ipMode"] = "Proxy"
    patch = service_patch(read(shown), ONE, NOW)
    assert patch is not None
    assert list(patch["status"]) == ["loadBalancer"]


def test_two_pools_make_a_mark_of_both_and_one_pool_a_mark_of_one() -> None:
    def mark(*pairs: tuple[str, str]) -> str:
        result = after(service_object(), outcome(*pairs))
        return str(result["metadata"]["annotations"]["lbctl.io/ip-allocated-from-pool"])

    assert mark(("192.0.2.1", "p"), ("2001:db8::1", "q")) == "p,q"
    assert mark(("192.0.2.1", "p"), ("2001:db8::1", "p")) == "p"


def test_a_partial_allocation_is_true_and_says_what_is_missing() -> None:
    partial = outcome(
        ("192.0.2.1", "p"),
        refused=Refused(reason=Reason.POOL_EXHAUSTED, detail="pool q has no free IPv6 address"),
    )
    condition = after(service_object(), partial)["status"]["conditions"][1]
    assert (condition["status"], condition["reason"]) == ("True", "PartiallyAllocated")
    assert "Has 192.0.2.1 from pool p. pool q has no free IPv6 address." in condition["message"]


def test_metallbs_mark_stays_where_it_agrees_and_goes_where_it_does_not() -> None:
    body = service_object()
    body["metadata"]["annotations"] = {"metallb.io/ip-allocated-from-pool": "p", "a": "b"}
    assert after(body, ONE)["metadata"]["annotations"] == {
        "metallb.io/ip-allocated-from-pool": "p",
        "lbctl.io/ip-allocated-from-pool": "p",
        "a": "b",
    }
    assert after(body, outcome(("192.0.2.1", "q")))["metadata"]["annotations"] == {
        "lbctl.io/ip-allocated-from-pool": "q",
        "a": "b",
    }
    assert after(body, NONE)["metadata"]["annotations"] == {"a": "b"}


def test_a_released_service_keeps_only_what_is_others() -> None:
    def not_ours(*, release: bool) -> NotOurs:
        return NotOurs(
            service=KEY, reason=Reason.NOT_LOAD_BALANCER, detail="ClusterIP", release=release
        )

    shown = after(service_object(), ONE)
    shown["status"]["conditions"].append(
        {"type": "lbctl.io/Announced", "status": "True", "reason": "Announced"}
    )
    released = after(shown, not_ours(release=True))
    assert released["status"] == {"loadBalancer": {}, "conditions": [FOREIGN]}
    assert released["metadata"]["annotations"] == {}
    assert service_patch(read(shown), not_ours(release=False), NOW) is None


YES = Announced(holds=True, reason=Reason.ANNOUNCED, message="Node a announces 192.0.2.1.")
NO = Announced(holds=False, reason=Reason.NO_ENDPOINTS, message="Nobody announces 192.0.2.1.")


def announced(body: dict[str, Any]) -> tuple[str, str]:
    """Return status and reason of the condition Announced, empty without it."""
    conditions = body["status"].get("conditions", ())
    found = [one for one in conditions if one["type"] == "lbctl.io/Announced"]
    return (found[0]["status"], found[0]["reason"]) if found else ("", "")


def told(body: dict[str, Any], word: Announced | None, decision: Outcome = ONE) -> dict[str, Any]:
    patch = service_patch(read(body), decision, NOW, announced=word)
    result = merged(body, patch or {})
    assert isinstance(result, dict)
    assert service_patch(read(result), decision, NOW, announced=word) is None
    return result


def test_what_is_known_of_the_announcement_is_shown_beside_the_allocation() -> None:
    shown = told(after(service_object(), ONE), YES)
    assert [one["type"] for one in shown["status"]["conditions"]] == [
        "example.com/X",
        "lbctl.io/Allocated",
        "lbctl.io/Announced",
    ]
    assert announced(shown) == ("True", "Announced")
    assert announced(told(shown, None)) == ("True", "Announced"), "nothing new is known"
    assert announced(told(shown, NO)) == ("False", "NoEndpoints")


def test_other_addresses_take_off_what_was_known_of_the_former_ones() -> None:
    shown = told(after(service_object(), ONE), YES)
    assert announced(told(shown, None, outcome(("192.0.2.2", "p")))) == ("", "")
    lost = told(shown, None, NONE)
    assert announced(lost) == ("False", "NotAllocated")
    assert announced(told(lost, None)) == ("", ""), "it has an address now, and no word of it"


def test_a_host_name_beside_our_address_is_put_right() -> None:
    body = service_object()
    body["status"]["loadBalancer"] = {"ingress": [{"ip": "192.0.2.1", "hostname": "lb.example"}]}
    assert after(body, ONE)["status"]["loadBalancer"]["ingress"] == [
        {"ip": "192.0.2.1", "ipMode": "VIP"}
    ]


def test_a_service_that_was_not_read_from_the_api_cannot_be_written() -> None:
    with pytest.raises(InvariantBroken):
        service_patch(make_service(), ONE, NOW)


def pool_object(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "resourceVersion": "7", "generation": 2},
        "spec": {"addresses": ["192.0.2.0/24"]},
        "status": status,
    }


def pool_after(
    body: dict[str, Any], verdict: Verdict, counters: tuple[int, int, int, int] | None
) -> dict[str, Any]:
    found = parse_pool(body)
    assert found is not None
    patch = pool_patch(found, verdict, counters, NOW)
    assert patch is not None
    result = merged(body, patch)
    again = parse_pool(result)
    assert again is not None
    assert pool_patch(again, verdict, counters, THEN) is None
    assert isinstance(result, dict)
    return result


def test_a_good_pool_shows_four_counters_and_is_accepted() -> None:
    status = pool_after(pool_object(), GOOD, (1, 0, 255, 0))["status"]
    assert status["availableIPv4"] == 255
    assert status["assignedIPv6"] == 0
    condition = status["conditions"][0]
    assert (condition["type"], condition["status"]) == ("Accepted", "True")
    assert condition["observedGeneration"] == 2


def test_a_bad_pool_shows_no_counters() -> None:
    good = pool_after(pool_object(), GOOD, (1, 0, 255, 0))
    status = pool_after(good, BAD, None)["status"]
    assert set(status) == {"conditions"}
    assert status["conditions"][0]["reason"] == "Invalid"


def test_in_metallbs_group_only_counters_are_written() -> None:
    found = parse_pool(pool_object())
    assert found is not None
    patch = pool_patch(found, GOOD, (0, 0, 256, 0), NOW, own_schema=False)
    assert patch is not None
    assert set(patch["status"]) == {
        "assignedIPv4",
        "assignedIPv6",
        "availableIPv4",
        "availableIPv6",
    }
    assert pool_patch(found, BAD, None, NOW, own_schema=False) is None


def test_an_advertisement_shows_its_verdict_once() -> None:
    body = {"metadata": {"name": "a", "resourceVersion": "3"}, "spec": {}}
    found = parse_l2_advertisement(body)
    assert found is not None
    patch = accepted_patch(found, GOOD, NOW)
    assert patch is not None
    assert patch["metadata"]["resourceVersion"] == "3"
    again = parse_l2_advertisement(merged(body, patch))
    assert again is not None
    assert accepted_patch(again, GOOD, THEN) is None
    assert accepted_patch(again, GOOD, THEN, own_schema=False) is None


def test_a_message_longer_than_a_condition_is_cut() -> None:
    verdict = Verdict(accepted=False, reason=Reason.INVALID, message="é" * 40_000)
    found = parse_pool(pool_object())
    assert found is not None
    patch = pool_patch(found, verdict, None, NOW)
    assert patch is not None
    assert len(patch["status"]["conditions"][0]["message"].encode()) <= 32_768
