"""When the node says on which link that it is a router: one row for each thing that may happen."""

from __future__ import annotations

import pytest

from lbctl.model.names import LinkName
from speaker.fast.router import (
    AGAIN_S,
    INTERVAL_S,
    PAUSE_S,
    Advertised,
    AdvertiseOn,
    RouterAdvertiser,
)

ETH0, ETH1 = LinkName("eth0"), LinkName("eth1")


@pytest.fixture
def router():
    return RouterAdvertiser(jitter=lambda: 1.0)


def on(router, now, *links):
    router.receive(now, AdvertiseOn(links=frozenset(links)))


def left(router, now):
    """Play the driver for whom all goes well; return the links that were advertised on."""
    links = [each.link for each in router.expire(now)]
    for link in links:
        router.receive(now, Advertised(link=link))
    return links


def test_without_a_link_there_is_nothing_to_do(router):
    assert router.deadline is None
    assert router.expire(0.0) == ()


def test_a_link_is_advertised_on_at_once_and_then_at_the_interval(router):
    on(router, 5.0, ETH0)
    assert router.deadline == 5.0
    assert left(router, 5.0) == [ETH0]
    assert router.deadline == 5.0 + INTERVAL_S
    assert left(router, 5.0 + INTERVAL_S - 0.001) == []
    assert left(router, 5.0 + INTERVAL_S) == [ETH0]
    assert router.deadline == 5.0 + 2 * INTERVAL_S


def test_what_did_not_leave_is_tried_again_soon(router):
    on(router, 0.0, ETH0)
    assert [each.link for each in router.expire(0.0)] == [ETH0]
    assert router.deadline == AGAIN_S < INTERVAL_S
    assert router.expire(AGAIN_S / 2) == ()
    assert left(router, AGAIN_S) == [ETH0]
    assert router.deadline == AGAIN_S + INTERVAL_S


def test_each_link_has_its_own_time_and_keeps_it_when_another_comes(router):
    on(router, 0.0, ETH1)
    assert left(router, 0.0) == [ETH1]
    on(router, 3.0, ETH0, ETH1)
    assert left(router, 3.0) == [ETH0]
    assert left(router, INTERVAL_S) == [ETH1]
    assert left(router, 3.0 + INTERVAL_S) == [ETH0]


def test_a_link_that_is_left_out_hears_no_more_and_one_that_comes_back_hears_at_once(router):
    on(router, 0.0, ETH0)
    assert left(router, 0.0) == [ETH0]
    on(router, 1.0)
    assert router.deadline is None
    assert left(router, INTERVAL_S) == []
    on(router, INTERVAL_S + 1.0, ETH0)
    assert left(router, INTERVAL_S + 1.0) == [ETH0]


def test_an_advertisement_that_leaves_after_its_link_was_left_out_plans_none(router):
    on(router, 0.0, ETH0)
    router.expire(0.0)
    on(router, 0.1)
    router.receive(0.1, Advertised(link=ETH0))
    assert router.deadline is None


def test_the_interval_varies_below_its_most():
    for draw, expected in ((0.0, 7.0), (0.5, 8.5), (1.0, 10.0)):
        router = RouterAdvertiser(jitter=lambda draw=draw: draw)
        on(router, 0.0, ETH0)
        left(router, 0.0)
        assert router.deadline == pytest.approx(expected)


def test_a_link_that_flaps_is_not_advertised_on_each_time(router):
    on(router, 0.0, ETH0)
    assert left(router, 0.0) == [ETH0]
    on(router, 0.5)
    on(router, 1.0, ETH0)
    assert left(router, 1.0) == []
    assert router.deadline == PAUSE_S
    assert left(router, PAUSE_S) == [ETH0]
