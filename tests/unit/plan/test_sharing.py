"""Who may share an address with whom: a row for each rule."""

from __future__ import annotations

import pytest

from lbctl.model.reason import Reason
from lbctl.plan.sharing import sharing_refusal
from tests.support.builders import make_service

KEYED = {"sharing_key": "k", "ports": ("tcp/80",)}


@pytest.mark.parametrize(
    ("newcomer", "holder", "reason"),
    [
        ({}, {}, Reason.ADDRESS_IN_USE),
        (KEYED, {}, Reason.ADDRESS_IN_USE),
        ({}, KEYED, Reason.ADDRESS_IN_USE),
        (KEYED | {"ports": ("tcp/443",)}, KEYED, None),
        (KEYED | {"ports": ("udp/80",)}, KEYED, None),
        (KEYED | {"ports": ("tcp/443", "tcp/80")}, KEYED, Reason.PORT_IN_USE),
        (KEYED | {"ports": ("tcp/443",), "sharing_key": "l"}, KEYED, Reason.SHARING_KEY_DIFFERS),
        (KEYED | {"ports": ("tcp/443",), "selector": {"app": "x"}}, KEYED, None),
        (
            KEYED | {"ports": ("tcp/443",), "traffic_policy": "Local"},
            KEYED,
            Reason.SHARING_KEY_DIFFERS,
        ),
        (
            KEYED | {"ports": ("tcp/443",), "traffic_policy": "Local", "selector": {"app": "x"}},
            KEYED | {"traffic_policy": "Local", "selector": {"app": "x"}},
            None,
        ),
        (
            KEYED | {"ports": ("tcp/443",), "traffic_policy": "Local", "selector": {"app": "x"}},
            KEYED | {"traffic_policy": "Local", "selector": {"app": "y"}},
            Reason.SHARING_KEY_DIFFERS,
        ),
    ],
    ids=[
        "neither shares",
        "the holder does not share",
        "the newcomer does not share",
        "other port",
        "other protocol",
        "one port collides",
        "other key",
        "Cluster with another selector",
        "Local beside Cluster",
        "Local with equal selectors",
        "Local with unequal selectors",
    ],
)
def test_a_newcomer_joins_only_by_every_rule(newcomer, holder, reason) -> None:
    one = make_service("red/new", **newcomer)
    other = make_service("blue/old", **holder)
    refused = sharing_refusal(one, [one, other])
    assert (refused.reason if refused else None) == reason
    assert refused is None or "blue/old" in refused.detail
    assert (sharing_refusal(other, [one]) is None) == (reason is None)


def test_a_huge_sharing_key_does_not_fill_the_message() -> None:
    newcomer, holder = (
        make_service(name, sharing_key=letter * 250_000, ports=("tcp/80",))
        for name, letter in (("newcomer", "n"), ("holder", "h"))
    )
    refused = sharing_refusal(newcomer, (holder,))
    assert refused is not None
    assert "hhh..." in refused.detail
    assert len(refused.detail) < 300
