"""What the condition lbctl.io/Allocated says: what is missing, why, and the cure of that very cause."""

from __future__ import annotations

import pytest

from lbctl.kube.patches import allocated_message
from lbctl.model.reason import EXPLANATIONS, Reason
from tests.support.allocating import Cluster
from tests.support.builders import make_pool

DUAL = {"families": ("IPv4", "IPv6"), "family_policy": "PreferDualStack"}
FOUR = make_pool("four", "192.0.2.0/30")
SIX = "2001:db8::/127"


@pytest.mark.parametrize(
    ("six", "request_of", "reason", "words"),
    [
        (None, {}, Reason.NO_POOL_MATCHES, "pool four: the pool has no IPv6 range"),
        (
            make_pool("six", SIX, auto_assign=False),
            {},
            Reason.NO_POOL_MATCHES,
            "gives the Service an IPv6 address: ",
        ),
        (
            make_pool("six", SIX, namespaces=["other"]),
            {},
            Reason.NO_POOL_MATCHES,
            "gives the Service an IPv6 address: ",
        ),
        (make_pool("six", "2001:db8::/128"), {}, Reason.POOL_EXHAUSTED, "of pool six is in use"),
        (
            make_pool("six", SIX),
            {"request": ["192.0.2.1", "2001:db8::"]},
            Reason.ADDRESS_IN_USE,
            "2001:db8::: the address belongs to Service default/x",
        ),
        (
            make_pool("six", SIX, namespaces=["other"]),
            {"request": ["192.0.2.1", "2001:db8::"]},
            Reason.POOL_NOT_ALLOWED,
            "serviceAllocation of pool six does not select namespace default",
        ),
    ],
    ids=["no range", "autoAssign off", "restricted", "full", "in use", "asked of a restricted one"],
)
def test_a_partial_allocation_has_the_cure_of_what_keeps_the_other_address_away(
    six, request_of, reason, words
) -> None:
    cluster = Cluster(FOUR, *([six] if six else []))
    cluster.put("x", families=("IPv6",))
    cluster.go()
    cluster.put("a", **DUAL, **request_of)
    outcome = cluster.go().decision("a")
    assert (outcome.reason, outcome.cause) == (Reason.PARTIALLY_ALLOCATED, reason)
    message = allocated_message(outcome)
    assert message.startswith("Has 192.0.2.")
    assert words in message
    assert message.endswith(EXPLANATIONS[reason].cure)


def test_a_request_of_one_family_that_became_too_little_is_to_be_edited() -> None:
    cluster = Cluster(FOUR, make_pool("six", SIX))
    cluster.put("a", request=["192.0.2.1"])
    cluster.go()
    cluster.put("a", request=["192.0.2.1"], **DUAL)
    outcome = cluster.go("a").decision("a")
    assert outcome.reason is Reason.PARTIALLY_ALLOCATED
    assert allocated_message(outcome) == (
        "Has 192.0.2.1 from pool four. the Service asks for 192.0.2.1 and needs one address of "
        "IPv4 and one of IPv6. Ask for one address of each family in spec.ipFamilies."
    )


def test_a_request_that_cannot_be_read_has_its_cure_beside_the_kept_address() -> None:
    cluster = Cluster(FOUR)
    cluster.put("a")
    cluster.go()
    cluster.put("a", problem="'x' is not an address")
    outcome = cluster.go("a").decision("a")
    assert (outcome.reason, outcome.cause) == (Reason.ALLOCATED, Reason.ALLOCATED)
    assert allocated_message(outcome).endswith(EXPLANATIONS[Reason.INVALID_REQUEST].cure)
