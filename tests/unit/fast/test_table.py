"""The table: what is answered, epochs, planned moves, claims of others."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.names import LinkName
from speaker.fast.table import (
    ABANDONED_S,
    HEARD_CAP,
    HEARD_INTERVAL_S,
    OTHER_LINK,
    RIGHT_ENDED,
    UNKNOWN,
    YIELD_S,
    YIELDED,
    AddressTable,
    Claim,
    Held,
)
from speaker.wire.control import Delta, Heard, Mode, Table, YieldCause, Yielded
from speaker.wire.ethernet import Mac
from tests.support.fastpath_process import entry, removal

ETH0, ETH1 = LinkName("eth0"), LinkName("eth1")
PEER, FOREIGN, OWN = (Mac(bytes((2, 0, 0x5E, 0, 0x53, last))) for last in (1, 2, 3))
ADDRESS = "192.0.2.10"
PACKED = ip_address(ADDRESS).packed


def table_of(*entries, now=0.0, peers=(PEER,)):
    table = AddressTable(own_macs=frozenset({OWN}))
    table.apply(now, Table(revision=1, entries=entries, links=(), peers=peers))
    return table


def delta(*upsert, remove=()):
    return Delta(revision=2, upsert=upsert, remove=remove)


def claim(mac, *, link=ETH0, address=ADDRESS, announced=True):
    return Claim(address=ip_address(address), link=link, mac=mac, announced=announced)


@pytest.mark.parametrize(
    ("link", "address", "verdict"),
    [
        pytest.param(ETH1, ADDRESS, OTHER_LINK, id="another-link"),
        pytest.param(ETH0, "192.0.2.11", UNKNOWN, id="another-address"),
        pytest.param(ETH0, "2001:db8::1", UNKNOWN, id="another-family"),
    ],
)
def test_only_an_address_of_the_table_on_its_link_is_answered(link, address, verdict):
    table = table_of(entry(ADDRESS))
    assert table.may_answer(0.0, link, ip_address(address).packed) is verdict
    assert isinstance(table.may_answer(0.0, ETH0, PACKED), Held)


def test_the_right_to_answer_ends_at_its_instant():
    table = table_of(entry(ADDRESS))
    table.answering_until = 5.0
    assert isinstance(table.may_answer(4.999, ETH0, PACKED), Held)
    assert table.may_answer(5.0, ETH0, PACKED) is RIGHT_ENDED


@pytest.mark.parametrize(
    ("number", "applied"), [(2, False), (3, True), (4, True)], ids=["older", "same", "newer"]
)
def test_a_command_of_an_older_epoch_is_refused(number, applied):
    table = table_of(entry(ADDRESS, number=3))
    change = table.apply(1.0, delta(entry(ADDRESS, number=number, links=("eth1",))))
    assert isinstance(table.may_answer(1.0, ETH1, PACKED), Held) is applied
    assert [stale.known.number for stale in change.refused] == ([] if applied else [3])


def test_the_generation_outweighs_the_number():
    table = table_of(entry(ADDRESS, number=9))
    newer = entry(ADDRESS, number=0, links=("eth1",))
    newer = type(newer)(
        address=newer.address,
        links=newer.links,
        epoch=type(newer.epoch)(generation=2, number=0),
    )
    assert not table.apply(1.0, delta(newer)).refused


def test_an_older_removal_is_refused_and_a_newer_one_is_remembered():
    table = table_of(entry(ADDRESS, number=3))
    assert table.apply(1.0, delta(remove=(removal(ADDRESS, number=2),))).refused
    assert isinstance(table.may_answer(1.0, ETH0, PACKED), Held)
    assert table.apply(1.0, delta(remove=(removal(ADDRESS, number=5),))).removed
    assert table.may_answer(1.0, ETH0, PACKED) is UNKNOWN
    assert table.apply(1.0, delta(entry(ADDRESS, number=4))).refused
    assert not table.apply(1.0, delta(entry(ADDRESS, number=5))).refused


def test_a_whole_table_removes_what_it_lacks():
    table = table_of(entry(ADDRESS), entry("192.0.2.11"))
    change = table.apply(1.0, Table(revision=2, entries=(entry(ADDRESS),), links=(), peers=()))
    assert [str(held.entry.address) for held in change.removed] == ["192.0.2.11"]
    assert not change.changed


def test_a_yield_answers_until_its_deadline():
    table = table_of(entry(ADDRESS))
    table.apply(10.0, delta(entry(ADDRESS, number=2, mode=Mode.YIELD)))
    assert table.deadline == 10.0 + YIELD_S
    assert isinstance(table.may_answer(10.5, ETH0, PACKED), Held)
    assert table.expire(10.5) == ()
    assert table.may_answer(11.0, ETH0, PACKED) is YIELDED
    ended = table.expire(11.0)
    assert ended == (Yielded(address=ip_address(ADDRESS), cause=YieldCause.DEADLINE),)
    assert table.expire(12.0) == ()
    assert table.deadline is None


def test_a_repeated_yield_does_not_get_more_time():
    yielding = entry(ADDRESS, number=2, mode=Mode.YIELD)
    table = table_of(entry(ADDRESS))
    table.apply(10.0, delta(yielding))
    table.apply(10.9, Table(revision=3, entries=(yielding,), links=(), peers=()))
    table.apply(10.9, delta(entry(ADDRESS, number=3, mode=Mode.YIELD)))
    assert table.deadline == 11.0


def test_an_address_that_was_yielded_can_be_owned_again():
    table = table_of(entry(ADDRESS))
    table.apply(10.0, delta(entry(ADDRESS, number=2, mode=Mode.YIELD)))
    table.expire(11.0)
    table.apply(12.0, delta(entry(ADDRESS, number=3)))
    assert isinstance(table.may_answer(12.0, ETH0, PACKED), Held)


def test_a_peer_ends_a_yield_and_is_not_reported_as_a_claim():
    table = table_of(entry(ADDRESS, mode=Mode.YIELD))
    ended = Yielded(address=ip_address(ADDRESS), cause=YieldCause.SUCCESSOR_HEARD)
    assert table.heard(0.3, claim(PEER)) == (ended,)
    assert table.may_answer(0.3, ETH0, PACKED) is YIELDED
    assert table.heard(0.4, claim(PEER)) == ()


def test_a_stranger_does_not_end_a_yield():
    table = table_of(entry(ADDRESS, mode=Mode.YIELD))
    assert [type(each) for each in table.heard(0.3, claim(FOREIGN))] == [Heard]
    assert isinstance(table.may_answer(0.3, ETH0, PACKED), Held)


@pytest.mark.parametrize(
    ("heard", "reported"),
    [
        pytest.param(claim(FOREIGN), [False], id="foreign"),
        pytest.param(claim(PEER), [True], id="peer"),
        pytest.param(claim(OWN), [], id="our-own"),
        pytest.param(claim(FOREIGN, link=ETH1), [], id="another-link"),
        pytest.param(claim(FOREIGN, address="192.0.2.99"), [], id="another-address"),
    ],
)
def test_claims_of_our_addresses_are_reported(heard, reported):
    reports = table_of(entry(ADDRESS)).heard(0.0, heard)
    assert [report.peer for report in reports] == reported


def test_the_same_claim_is_reported_once_per_interval():
    table = table_of(entry(ADDRESS))
    moments = (0.0, 0.5, HEARD_INTERVAL_S, HEARD_INTERVAL_S + 0.5)
    assert [len(table.heard(now, claim(FOREIGN))) for now in moments] == [1, 0, 1, 0]
    assert table.heard_limited == 2


def test_forged_hardware_addresses_cannot_grow_the_memory():
    table = table_of(entry(ADDRESS))
    macs = [Mac(number.to_bytes(6, "big")) for number in range(2 * HEARD_CAP)]
    reported = sum(len(table.heard(0.0, claim(mac))) for mac in macs)
    assert reported == HEARD_CAP
    assert table.heard(HEARD_INTERVAL_S, claim(macs[-1]))


def test_handing_over_yields_what_is_owned_and_ends_by_itself():
    table = table_of(entry(ADDRESS), entry("192.0.2.11", mode=Mode.YIELD))
    change = table.hand_over(0.5)
    assert [str(after.entry.address) for _, after in change.changed] == [ADDRESS]
    assert isinstance(table.may_answer(1.4, ETH0, PACKED), Held)
    table.expire(1.0)
    assert table.answering
    table.expire(1.5)
    assert not table.answering


def abandoned_table(*entries, at=100.0):
    table = table_of(*entries)
    table.abandoned(at)
    return table


LOST = Yielded(address=ip_address(ADDRESS), cause=YieldCause.SUCCESSOR_HEARD)


@pytest.mark.parametrize("moment", [0.0, 3.0, ABANDONED_S - 0.1], ids=["at-once", "soon", "late"])
def test_what_a_peer_announced_before_the_silence_was_long_counts_for_nothing(moment):
    table = abandoned_table(entry(ADDRESS))
    assert LOST not in table.heard(100.0 + moment, claim(PEER))
    assert table.deadline is None
    assert isinstance(table.may_answer(200.0, ETH0, PACKED), Held)


def test_after_the_silence_an_abandoned_address_is_lost_at_the_claim():
    table = abandoned_table(entry(ADDRESS))
    assert LOST in table.heard(100.0 + ABANDONED_S, claim(PEER))
    assert table.may_answer(100.0 + ABANDONED_S, ETH0, PACKED) is YIELDED
    assert table.expire(300.0) == ()


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(claim(FOREIGN), id="foreign"),
        pytest.param(claim(OWN), id="our-own"),
        pytest.param(claim(PEER, link=ETH1), id="another-link"),
        pytest.param(claim(PEER, announced=False), id="said-in-passing"),
    ],
)
def test_only_a_peer_that_announces_takes_an_abandoned_address(heard):
    table = abandoned_table(entry(ADDRESS))
    table.heard(200.0, heard)
    assert table.deadline is None
    assert isinstance(table.may_answer(200.0, ETH0, PACKED), Held)


def test_an_address_is_kept_while_lb_speaker_commands():
    table = table_of(entry(ADDRESS))
    assert LOST not in table.heard(1000.0, claim(PEER))
    assert isinstance(table.may_answer(1000.0, ETH0, PACKED), Held)


def test_a_whole_table_ends_the_abandonment():
    table = abandoned_table(entry(ADDRESS))
    table.apply(120.0, Table(revision=2, entries=(entry(ADDRESS),), links=(), peers=(PEER,)))
    assert LOST not in table.heard(200.0, claim(PEER))
    assert isinstance(table.may_answer(200.0, ETH0, PACKED), Held)


def test_the_silence_counts_from_the_first_loss_and_not_from_the_last():
    table = abandoned_table(entry(ADDRESS), at=100.0)
    table.abandoned(110.0)
    assert LOST in table.heard(100.0 + ABANDONED_S, claim(PEER))


def lost_table():
    table = abandoned_table(entry(ADDRESS))
    table.heard(100.0 + ABANDONED_S, claim(PEER))
    return table


def test_the_same_command_owns_a_lost_address_again():
    table = lost_table()
    again = Table(revision=2, entries=(entry(ADDRESS),), links=(), peers=(PEER,))
    ((before, after),) = table.apply(200.0, again).changed
    assert before is not None
    assert (before.announces, after.announces) == (False, True)
    assert isinstance(table.may_answer(200.0, ETH0, PACKED), Held)
    assert not table.apply(201.0, again).changed


def test_a_lost_address_is_not_answered_for_once_more_by_handing_it_over():
    table = lost_table()
    assert not table.answering
    assert not table.hand_over(200.0).changed
    table.apply(200.0, delta(entry(ADDRESS, number=2, mode=Mode.YIELD)))
    assert table.may_answer(200.0, ETH0, PACKED) is YIELDED
    assert table.deadline is None


def test_the_deadline_is_that_of_the_first_move_whatever_happened_to_the_others():
    addresses = [f"192.0.2.{last}" for last in range(10, 15)]
    table = table_of(*(entry(address) for address in addresses))
    for moment, address in enumerate(addresses):
        table.apply(moment / 10, delta(entry(address, number=2, mode=Mode.YIELD)))
    table.apply(0.5, delta(entry(addresses[0], number=3)))
    assert table.deadline == pytest.approx(0.1 + YIELD_S)
    table.apply(0.6, delta(entry(addresses[1], number=3, mode=Mode.YIELD, links=("eth1",))))
    assert table.deadline == pytest.approx(0.1 + YIELD_S)
    table.apply(0.6, delta(entry(addresses[0], number=4, mode=Mode.YIELD)))
    table.apply(0.7, delta(remove=(removal(addresses[1], number=3),)))
    assert table.deadline == pytest.approx(0.2 + YIELD_S)
    ended = [str(each.address) for each in table.expire(0.35 + YIELD_S)]
    assert ended == addresses[2:4]
    assert table.deadline == pytest.approx(0.4 + YIELD_S)
    ended = [str(each.address) for each in table.expire(2.0 + YIELD_S)]
    assert ended == [addresses[4], addresses[0]]


def answer(table, *, now=1.0):
    held = table.may_answer(now, ETH0, PACKED)
    assert isinstance(held, Held)
    held.tally.answered += 1


def test_counters_are_told_when_they_have_changed_and_a_part_at_a_time():
    table = table_of(entry(ADDRESS), entry("192.0.2.11"), entry("192.0.2.12"))
    assert table.counts(at_most=9) == ()
    answer(table)
    table.announced(ip_address("192.0.2.11").packed, 2)
    (first,) = table.counts(at_most=1)
    assert (str(first.address), first.answered, first.failed, first.announced) == (ADDRESS, 1, 0, 0)
    (second,) = table.counts(at_most=1)
    assert (str(second.address), second.announced) == ("192.0.2.11", 2)
    assert table.counts(at_most=1) == ()
    answer(table)
    assert [count.answered for count in table.counts(at_most=9)] == [2]


def test_counters_survive_a_hand_over_and_end_with_the_address():
    table = table_of(entry(ADDRESS, number=1))
    answer(table)
    table.apply(1.0, delta(entry(ADDRESS, number=2, mode=Mode.YIELD)))
    answer(table, now=1.5)
    assert [count.answered for count in table.counts(at_most=9)] == [2]
    table.apply(2.0, delta(remove=(removal(ADDRESS, number=2),)))
    table.announced(PACKED, 2)
    assert table.counts(at_most=9) == ()
    table.apply(3.0, delta(entry(ADDRESS, number=3)))
    assert table.counts(at_most=9) == ()


def test_an_lb_speaker_that_has_just_connected_is_told_every_counter():
    table = table_of(entry(ADDRESS))
    answer(table)
    assert len(table.counts(at_most=9)) == 1
    table.apply(2.0, Table(revision=1, entries=(entry(ADDRESS),), links=(), peers=()))
    assert [count.answered for count in table.counts(at_most=9)] == [1]
