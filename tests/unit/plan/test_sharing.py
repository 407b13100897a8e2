"""Who may share an address with whom: a row for each rule."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.allocation import EMPTY, Plan, plan
from lbctl.plan.claims import lawful_holders
from lbctl.plan.sharing import Sharers, sharing_refusal
from tests.support.builders import make_pool, make_service, make_snapshot, with_status

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
    assert sharing_refusal(one, Sharers([other])) == refused


def test_a_huge_sharing_key_does_not_fill_the_message() -> None:
    newcomer, holder = (
        make_service(name, sharing_key=letter * 250_000, ports=("tcp/80",))
        for name, letter in (("newcomer", "n"), ("holder", "h"))
    )
    refused = sharing_refusal(newcomer, (holder,))
    assert refused is not None
    assert "hhh..." in refused.detail
    assert len(refused.detail) < 300


def test_of_many_holders_the_first_in_the_way_is_named_with_its_lowest_port() -> None:
    ports = {"a": ("tcp/80",), "b": ("tcp/443", "udp/53", "tcp/22"), "c": ("udp/443",)}
    holders = [make_service(name, sharing_key="k", ports=its) for name, its in ports.items()]
    newcomer = make_service("new", sharing_key="k", ports=("udp/443", "udp/53", "tcp/443"))
    sharers = Sharers(holders)
    refused = sharing_refusal(newcomer, sharers)
    assert refused is not None
    assert refused == sharing_refusal(newcomer, holders)
    assert refused.detail == "Service default/b uses port TCP/443 on the address"
    assert sharing_refusal(holders[1], sharers) is None
    before = sharers.copy()
    sharers.leave(holders[1].key)
    assert sharing_refusal(newcomer, sharers) == sharing_refusal(newcomer, [holders[2]])
    sharers.leave(holders[2].key)
    assert sharing_refusal(newcomer, sharers) is None
    assert sharing_refusal(newcomer, before) == refused


# What many sharers cost


def calls(act: Callable[[], object]) -> int:
    """Return how many functions `act` calls: work that does not depend on the machine."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def sharers(count: int, *, one_port: bool) -> list[Service]:
    return [
        make_service(
            f"s-{i}", created=i, sharing_key="k", ports=(f"tcp/{1 if one_port else i + 1}",)
        )
        for i in range(count)
    ]


def planned(services: Iterable[Service], block: str = "198.18.0.0/20") -> tuple[Snapshot, Plan]:
    snapshot = make_snapshot(services=services, pools=[make_pool("p", block)])
    return snapshot, plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None)


def first_plan(services: list[Service]) -> Callable[[], object]:
    return lambda: planned(services)


def restart(services: list[Service]) -> Callable[[], object]:
    outcomes = planned(services)[1].outcomes
    return first_plan(
        [with_status(one, *map(str, outcomes[one.key].addresses), mark="p") for one in services]
    )


def an_event(services: list[Service]) -> Callable[[], object]:
    snapshot, present = planned(services)
    one = replace(services[-1], sharing_key="another")
    changed = Changed(services=frozenset({one.key}))
    snapshot = replace(snapshot, services={**snapshot.services, one.key: one})
    return lambda: plan(present, snapshot, changed, load_balancer_class=None)


def announced(services: list[Service]) -> Callable[[], object]:
    return lambda: lawful_holders(services)


@pytest.mark.parametrize("one_port", [True, False], ids=["one port", "distinct ports"])
@pytest.mark.parametrize("act", [first_plan, restart, an_event, announced])
def test_the_work_grows_with_the_services_and_not_with_their_square(act, one_port) -> None:
    few, many = (calls(act(sharers(count, one_port=one_port))) for count in (200, 800))
    assert many < 5 * few


def test_who_waits_for_a_full_pool_is_hardly_looked_at_when_another_changes() -> None:
    def work(waiting: int) -> int:
        pools = [
            make_pool("full", "192.0.2.0/30"),
            make_pool("q", "198.18.0.0/24", auto_assign=False),
        ]
        services = sharers(waiting + 4, one_port=True)
        snapshot = make_snapshot(services=services, pools=pools)
        present = plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None)
        new = make_service("new", pool="q")
        snapshot = make_snapshot(services=[*services, new], pools=pools)
        changed = Changed(services=frozenset({new.key}))
        return calls(lambda: plan(present, snapshot, changed, load_balancer_class=None))

    assert (work(400) - work(100)) / 300 < 20
