"""The announcer: schedule, pace, ends."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.names import LinkName
from speaker.fast.announce import (
    BURST_FRAMES,
    FRAMES_PER_SECOND,
    SCHEDULE_S,
    Announcer,
    Start,
    Stop,
)

ETH0, ETH1 = LinkName("eth0"), LinkName("eth1")
A, B = ip_address("192.0.2.10"), ip_address("2001:db8::10")


def play(announcer, until):
    """Call at every deadline up to `until` and return what came out, with its moment."""
    trace = []
    while (deadline := announcer.deadline) is not None and deadline <= until:
        rounds = announcer.expire(deadline)
        trace += [(deadline, each) for each in rounds]
        assert announcer.deadline is None or announcer.deadline > deadline
    return trace


def start(announcer, address=A, link=ETH0, now=0.0):
    announcer.receive(now, Start(address=address, link=link))


@pytest.mark.parametrize("address", [A, B], ids=["ipv4", "ipv6"])
def test_six_rounds_are_due_by_the_schedule(address):
    announcer = Announcer()
    start(announcer, address, now=100.0)
    trace = play(announcer, 200.0)
    assert [moment - 100.0 for moment, _ in trace] == pytest.approx(list(SCHEDULE_S))
    assert [each.number for _, each in trace] == [0, 1, 2, 3, 4, 5]


def test_an_early_call_is_harmless():
    announcer = Announcer()
    start(announcer)
    assert len(announcer.expire(0.0)) == 1
    assert announcer.expire(0.01) == ()
    assert announcer.expire(0.01) == ()
    assert announcer.deadline == pytest.approx(0.05)


def test_nothing_follows_a_stop():
    announcer = Announcer()
    start(announcer)
    start(announcer, link=ETH1)
    announcer.expire(0.0)
    announcer.receive(0.01, Stop(address=A, link=ETH0))
    assert {each.link for _, each in play(announcer, 10.0)} == {ETH1}


def test_a_second_start_begins_again_and_replaces_the_first():
    announcer = Announcer()
    start(announcer)
    play(announcer, 0.5)
    start(announcer, now=0.5)
    trace = play(announcer, 20.0)
    assert [moment - 0.5 for moment, _ in trace] == pytest.approx(list(SCHEDULE_S))


def test_a_late_call_sends_one_round_and_keeps_the_gaps():
    announcer = Announcer()
    start(announcer)
    announcer.expire(0.0)
    assert [each.number for each in announcer.expire(9.0)] == [1]
    assert announcer.deadline == pytest.approx(9.15)


def test_many_addresses_are_paced_and_first_rounds_come_first():
    announcer = Announcer()
    addresses = [ip_address("198.18.0.0") + number for number in range(1000)]
    for address in addresses:
        start(announcer, address)
    trace = play(announcer, 2.0)
    first = [each.address for _, each in trace[:1000]]
    assert first == addresses
    assert {each.number for _, each in trace[:1000]} == {0}
    for moment, _ in trace:
        frames = sum(2 for other, _ in trace if other <= moment)
        assert frames <= BURST_FRAMES + moment * FRAMES_PER_SECOND + 2


def test_links_are_paced_apart_from_each_other():
    announcer = Announcer()
    for number in range(200):
        start(announcer, ip_address("198.18.0.0") + number)
    start(announcer, link=ETH1)
    assert ETH1 in {each.link for each in announcer.expire(0.0)}


def test_churn_does_not_grow_the_queue():
    announcer = Announcer()
    for step in range(5000):
        start(announcer, now=step / 1000)
        announcer.receive(step / 1000, Stop(address=A, link=ETH0))
    assert sum(len(line.queue) for line in announcer._lines.values()) < 100
    assert announcer.deadline is None
