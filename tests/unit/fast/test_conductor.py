"""The conductor: which commands announce, what is told, what links are needed for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.names import LinkName
from speaker.fast.announce import Announcer
from speaker.fast.conductor import (
    Conductor,
    HandOver,
    LinkLost,
    LinkReady,
    Rewire,
    Send,
    Sent,
    SpeakerGone,
    Tell,
)
from speaker.fast.router import INTERVAL_S, Advertise, Advertised, RouterAdvertiser
from speaker.fast.table import ABANDONED_S, AddressTable, Claim
from speaker.wire.control import Announced, Applied, Delta, Mode, Table, Yielded
from speaker.wire.ethernet import Mac
from tests.support.fastpath_process import entry, removal

ETH0, ETH1 = LinkName("eth0"), LinkName("eth1")
BOTH = frozenset({4, 6})
V4, V6 = "192.0.2.10", "2001:db8::10"


PEER = Mac(bytes.fromhex("02005e005301"))


def table(*entries, links=(), revision=1, router_links=()):
    return Table(
        revision=revision, entries=entries, links=links, peers=(PEER,), router_links=router_links
    )


def delta(*upsert, remove=(), router_links=None):
    return Delta(revision=2, upsert=upsert, remove=remove, router_links=router_links)


@pytest.fixture
def conductor():
    return Conductor(AddressTable(), Announcer(), RouterAdvertiser(lambda: 1.0))


def ready(conductor, link=ETH0, families=BOTH, now=0.0):
    return conductor.receive(now, LinkReady(link=link, families=families))


def sends(outputs):
    return [
        (str(each.round.address), each.round.link) for each in outputs if isinstance(each, Send)
    ]


def settle(conductor, now=0.0):
    """Play all rounds out, so that what follows stands alone."""
    while (deadline := conductor.deadline) is not None:
        now = max(now, deadline)
        conductor.expire(now)
    return now


def test_an_address_is_announced_as_soon_as_its_link_is_ready(conductor):
    assert not sends(conductor.receive(0.0, table(entry(V4))))
    assert sends(ready(conductor)) == [(V4, ETH0)]


def test_a_family_that_the_link_lacks_is_not_announced_there(conductor):
    conductor.receive(0.0, table(entry(V4), entry(V6)))
    assert sends(ready(conductor, families=frozenset({4}))) == [(V4, ETH0)]


@pytest.mark.parametrize(
    ("command", "announced"),
    [
        pytest.param(delta(entry(V4, number=2)), [], id="unchanged"),
        pytest.param(delta(entry(V4, number=3)), [ETH0], id="newer-epoch"),
        pytest.param(delta(entry(V4, number=2, links=("eth0", "eth1"))), [ETH1], id="new-link"),
        pytest.param(delta(entry(V4, number=2, links=("eth1",))), [ETH1], id="other-link"),
        pytest.param(delta(entry(V4, number=3, announce=False)), [], id="silent"),
        pytest.param(delta(entry(V4, number=3, mode=Mode.YIELD)), [], id="yield"),
        pytest.param(delta(entry(V4, number=1, links=("eth1",))), [], id="older-epoch"),
        pytest.param(delta(remove=(removal(V4, number=2),)), [], id="removed"),
        pytest.param(table(entry(V4, number=2)), [], id="the-table-again"),
    ],
)
def test_a_command_announces_what_it_claims_anew(conductor, command, announced):
    conductor.receive(0.0, table(entry(V4, number=2)))
    ready(conductor)
    ready(conductor, ETH1)
    now = settle(conductor)
    assert [link for _, link in sends(conductor.receive(now, command))] == announced


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(delta(remove=(removal(V4),)), id="removed"),
        pytest.param(delta(entry(V4, number=2, mode=Mode.YIELD)), id="yield"),
        pytest.param(delta(entry(V4, number=2, announce=False)), id="silent"),
        pytest.param(LinkLost(link=ETH0), id="link-lost"),
        pytest.param(HandOver(), id="hand-over"),
    ],
)
def test_announcing_stops(conductor, command):
    conductor.receive(0.0, table(entry(V4)))
    assert sends(ready(conductor))
    conductor.receive(0.01, command)
    later = [conductor.expire(now) for now in (0.05, 0.2, 1.0, 2.2, 4.4, 10.0)]
    assert not [send for outputs in later for send in sends(outputs)]


def test_a_round_that_the_table_does_not_allow_any_more_is_withheld(conductor):
    conductor.receive(0.0, table(entry(V4)))
    ready(conductor)
    conductor.table.answering_until = 0.04
    assert not sends(conductor.expire(0.05))
    assert conductor.withheld == 1


def test_the_command_is_confirmed_with_what_was_refused(conductor):
    conductor.receive(0.0, table(entry(V4, number=5)))
    outputs = conductor.receive(0.0, delta(entry(V4, number=4)))
    (applied,) = [each.report for each in outputs if isinstance(each, Tell)]
    assert isinstance(applied, Applied)
    assert (applied.revision, applied.refused[0].known.number) == (2, 5)


def test_links_are_rewired_when_what_they_are_needed_for_changes(conductor):
    def rewired(command):
        outputs = conductor.receive(0.0, command)
        return {link for each in outputs if isinstance(each, Rewire) for link in each.links}

    assert rewired(table(entry(V4), links=(ETH1,))) == {ETH0, ETH1}
    assert rewired(table(entry(V4), links=(ETH1,))) == set()
    assert rewired(delta(entry(V6))) == {ETH0}
    assert set(conductor.addresses_on(ETH0).values()) == {ip_address(V4), ip_address(V6)}
    assert rewired(delta(entry(V6, number=2, links=("eth1",)))) == {ETH0, ETH1}
    assert rewired(table()) == {ETH0, ETH1}
    assert conductor.links == frozenset()


def test_a_speaker_that_returns_is_told_what_was_announced(conductor):
    conductor.receive(0.0, table(entry(V4), entry(V6)))
    for output in ready(conductor):
        conductor.receive(0.0, Sent(round=output.round))
    outputs = conductor.receive(1.0, table(entry(V4), revision=7))
    announced = [each.report for each in outputs if isinstance(each, Tell)]
    assert Announced(address=ip_address(V4), link=ETH0) in announced
    assert Announced(address=ip_address(V6), link=ETH0) not in announced


def test_an_address_lost_to_a_peer_is_announced_as_new_when_it_is_commanded_again(conductor):
    conductor.receive(0.0, table(entry(V4)))
    for output in ready(conductor):
        conductor.receive(0.0, Sent(round=output.round))
    conductor.receive(0.01, SpeakerGone())
    heard = Claim(address=ip_address(V4), link=ETH0, mac=PEER, announced=True)
    outputs = conductor.receive(0.01 + ABANDONED_S, heard)
    assert any(isinstance(each, Tell) and isinstance(each.report, Yielded) for each in outputs)
    assert conductor.deadline is None, "no round waits for an address that is not ours"
    outputs = conductor.receive(50.0, table(entry(V4), revision=2))
    assert sends(outputs) == [(V4, ETH0)]
    assert Announced(address=ip_address(V4), link=ETH0) not in [
        each.report for each in outputs if isinstance(each, Tell)
    ]


@pytest.mark.parametrize(
    ("before", "after", "announced"),
    [
        pytest.param({4}, {4, 6}, [V6], id="ipv6-comes"),
        pytest.param({4, 6}, {4}, [], id="ipv6-goes"),
        pytest.param({4, 6}, {4, 6}, [], id="nothing-new"),
        pytest.param(set(), {4, 6}, [V4, V6], id="all-new"),
    ],
)
def test_a_link_announces_only_the_families_that_are_new_on_it(conductor, before, after, announced):
    conductor.receive(0.0, table(entry(V4), entry(V6)))
    ready(conductor, families=frozenset(before))
    now = settle(conductor)
    outputs = ready(conductor, families=frozenset(after), now=now)
    assert [address for address, _ in sends(outputs)] == announced


def test_a_link_that_was_lost_announces_every_family_again(conductor):
    conductor.receive(0.0, table(entry(V4), entry(V6)))
    ready(conductor)
    now = settle(conductor)
    conductor.receive(now, LinkLost(link=ETH0))
    assert sends(ready(conductor, now=now)) == [(V4, ETH0), (V6, ETH0)]


def test_a_family_that_a_link_loses_has_no_more_rounds_there(conductor):
    conductor.receive(0.0, table(entry(V4), entry(V6)))
    ready(conductor)
    ready(conductor, families=frozenset({4}), now=0.01)
    assert sends(conductor.expire(0.05)) == [(V4, ETH0)]


def advertised(conductor, outputs, now=0.0):
    """Return the links on which to advertise, and play the driver for whom that goes well."""
    links = [each.link for each in outputs if isinstance(each, Advertise)]
    for link in links:
        assert conductor.receive(now, Advertised(link=link)) == ()
    return links


def test_the_node_is_advertised_where_it_is_to_be_a_router_as_soon_as_the_link_is_open(conductor):
    outputs = conductor.receive(0.0, table(router_links=(ETH0, ETH1)))
    assert advertised(conductor, outputs) == []
    # What the link is open for does not matter, nor that no address is answered for there.
    assert advertised(conductor, ready(conductor, families=frozenset())) == [ETH0]
    assert advertised(conductor, ready(conductor), now=1.0) == [], "it was open already"
    assert 0.0 < conductor.deadline <= INTERVAL_S
    assert advertised(conductor, conductor.expire(INTERVAL_S), now=INTERVAL_S) == [ETH0]


def test_the_node_is_advertised_at_once_on_a_link_that_is_open_already(conductor):
    conductor.receive(0.0, table(links=(ETH0,)))
    ready(conductor)
    assert advertised(conductor, conductor.receive(0.0, delta(router_links=(ETH0,)))) == [ETH0]


def test_a_link_that_was_away_hears_of_the_router_as_soon_as_it_is_back(conductor):
    conductor.receive(0.0, table(router_links=(ETH0,)))
    assert advertised(conductor, ready(conductor)) == [ETH0]
    conductor.receive(1.0, LinkLost(link=ETH0))
    assert conductor.deadline is None
    assert advertised(conductor, ready(conductor, now=4.0), now=4.0) == [ETH0]


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        pytest.param(delta(), True, id="delta-about-others"),
        pytest.param(delta(router_links=()), False, id="delta-without"),
        pytest.param(table(router_links=(ETH0,)), True, id="table-with"),
        pytest.param(table(links=(ETH0,)), False, id="table-without"),
        pytest.param(SpeakerGone(), True, id="speaker-gone"),
    ],
)
def test_the_node_is_advertised_until_a_command_ends_it(conductor, command, goes_on):
    conductor.receive(0.0, table(links=(ETH0,), router_links=(ETH0,)))
    assert advertised(conductor, ready(conductor)) == [ETH0]
    assert advertised(conductor, conductor.receive(1.0, command)) == []
    later = advertised(conductor, conductor.expire(INTERVAL_S), now=INTERVAL_S)
    assert later == [ETH0] * goes_on


def test_a_link_is_held_open_for_its_router_alone(conductor):
    def rewired(command):
        outputs = conductor.receive(0.0, command)
        return {link for each in outputs if isinstance(each, Rewire) for link in each.links}

    assert rewired(table(router_links=(ETH0,))) == {ETH0}
    assert conductor.links == {ETH0}
    assert rewired(delta(router_links=(ETH1,))) == {ETH0, ETH1}
    assert rewired(delta(entry(V4, links=("eth1",)))) == {ETH1}
    assert rewired(delta(router_links=())) == set(), "an address still needs it"
