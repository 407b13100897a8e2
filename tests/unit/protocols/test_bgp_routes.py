"""What one session sends for what is wanted: packing, order, refresh, and what it cannot send."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.address import Family
from speaker.protocols.bgp_inputs import Renumbered, Wanted
from speaker.protocols.bgp_peer import next_hop_self
from speaker.protocols.bgp_routes import Route, Unsendable
from speaker.protocols.bgp_session import REFRESH_S
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_frame import MessageType, encode_message
from tests.support.bgp import (
    CLOSED,
    LINK,
    OURS,
    TABLE,
    Bench,
    cidr,
    make_peer,
    prefixes_of,
    routes,
)

UP = State.ESTABLISHED


def refresh(family):
    number = {Family.IPV4: b"\0\1\0\1", Family.IPV6: b"\0\2\0\1"}[family]
    return encode_message(MessageType.ROUTE_REFRESH, number)


def test_the_first_table_is_followed_by_the_end_of_each_family():
    bench = Bench().reach(UP)
    assert prefixes_of(bench.router.table) == prefixes_of(TABLE)
    assert bench.router.ended == [Family.IPV4, Family.IPV6]
    assert bench.router.types() == ["OPEN", "KEEPALIVE", *["UPDATE"] * 4]


def test_an_empty_table_is_ended_too():
    bench = Bench().reach(UP, table={})
    assert bench.router.updates == 0
    assert bench.router.ended == [Family.IPV4, Family.IPV6]


def test_later_changes_are_sent_without_another_end():
    bench = Bench().reach(UP)
    bench.tell(Wanted(table=routes("198.51.100.9/32")))
    assert prefixes_of(bench.router.table) == ["198.51.100.9/32"]
    assert len(bench.router.ended) == 2


def test_nothing_is_sent_when_nothing_changed():
    bench = Bench().reach(UP)
    assert bench.tell(Wanted(table=dict(TABLE))) == []


def test_routes_with_equal_attributes_share_updates_and_others_do_not():
    red = routes(*(f"198.51.100.{n}/32" for n in range(50)), communities=(64496 << 16 | 1,))
    blue = routes(*(f"203.0.113.{n}/32" for n in range(50)), communities=(64496 << 16 | 2,))
    bench = Bench().reach(UP, table=red | blue)
    assert bench.router.updates == 2
    assert len(bench.router.table) == 100


def test_routes_that_differ_only_in_what_the_peer_does_not_see_share_an_update():
    table = routes("198.51.100.1/32", local_preference=1) | routes(
        "198.51.100.2/32", local_preference=2
    )
    assert Bench().reach(UP, table=table).router.updates == 1
    inside = Bench(make_peer(peer_asn=OURS)).reach(UP, table=table, asn=OURS)
    assert inside.router.updates == 2


def test_a_change_of_attributes_is_sent_for_that_prefix_alone():
    bench = Bench().reach(UP)
    seen = bench.router.updates
    changed = TABLE | routes("198.51.100.2/32", communities=(7,))
    bench.tell(Wanted(table=changed))
    assert bench.router.updates == seen + 1
    assert len(bench.router.table) == 3


def test_withdraws_leave_before_announcements():
    bench = Bench().reach(UP, table=routes("198.51.100.0/25"))
    bench.router.frames.clear()
    bench.tell(Wanted(table=routes("198.51.100.0/24")))
    bodies = [frame.body for frame in bench.router.frames]
    assert [body[:2] != b"\0\0" for body in bodies] == [True, False]


def test_a_session_that_comes_back_is_sent_exactly_the_table_of_now():
    bench = Bench().reach(UP)
    bench.tell(CLOSED)
    bench.tell(Wanted(table=routes("203.0.113.9/32")))
    bench.advance(1)
    bench.reach(UP, table=routes("203.0.113.9/32"))
    assert prefixes_of(bench.router.table) == ["203.0.113.9/32"]
    assert bench.router.updates == 1
    assert len(bench.router.ended) == 2


@pytest.mark.parametrize("family", list(Family))
def test_a_refresh_sends_the_family_again_and_nothing_else(family):
    bench = Bench().reach(UP)
    bench.router.table.clear()
    bench.hear(refresh(family))
    version = 4 if family is Family.IPV4 else 6
    expected = [prefix for prefix in TABLE if prefix.version == version]
    assert prefixes_of(bench.router.table) == prefixes_of(expected)
    assert len(bench.router.ended) == 2


def test_refreshes_of_one_moment_are_two_answers_with_a_pause_between():
    bench = Bench().reach(UP)
    before = bench.router.updates
    bench.hear(refresh(Family.IPV4))
    answer = bench.router.updates - before
    bench.advance(REFRESH_S)
    bench.hear(*[refresh(Family.IPV4)] * 1000)
    assert bench.router.updates == before + 2 * answer
    bench.advance(REFRESH_S * 0.9)
    assert bench.router.updates == before + 2 * answer
    bench.advance(REFRESH_S * 0.1)
    assert bench.router.updates == before + 3 * answer
    bench.advance(REFRESH_S * 5)
    assert bench.router.updates == before + 3 * answer


def test_a_refresh_that_waits_ends_with_its_session():
    bench = Bench().reach(UP)
    bench.hear(*[refresh(Family.IPV4)] * 2)
    bench.tell(CLOSED)
    bench.advance(1)
    bench.reach(UP)
    sent = bench.router.updates
    bench.advance(REFRESH_S * 2)
    assert bench.router.updates == sent


def test_a_withdraw_is_not_lost_in_a_refresh():
    bench = Bench().reach(UP)
    bench.stalled = True
    bench.tell(Wanted(table=TABLE | routes("203.0.113.1/32")))
    bench.hear(refresh(Family.IPV4))
    bench.tell(Wanted(table={}))
    bench.drain()
    assert bench.router.table == {}


def test_a_prefix_announced_and_withdrawn_while_tcp_was_full_is_not_sent_at_all():
    bench = Bench().reach(UP)
    bench.stalled = True
    bench.tell(Wanted(table={}))
    frames = len(bench.router.frames)
    bench.tell(Wanted(table=TABLE), Wanted(table={}))
    bench.drain()
    assert len(bench.router.frames) == frames
    assert bench.router.table == {}


def test_more_than_a_batch_is_sent_in_turns_and_ended_once():
    table = routes(*(f"198.18.{n >> 8}.{n & 255}/32" for n in range(17000)))
    bench = Bench().reach(State.OPEN_CONFIRM, table=table)
    bench.stalled = True
    bench.reach(UP)
    assert len(bench.router.table) == 16384
    assert bench.router.ended == []
    assert not bench.session.status.table_sent
    bench.drain()
    assert len(bench.router.table) == 17000
    assert len(bench.router.ended) == 2


# --- What the peer has confirmed


OTHER = routes("198.51.100.1/32", "198.51.100.3/32", "2001:db8:1::1/128")
"""As many routes as TABLE, one of them another."""
EVERY_BYTE = 1 << 20


def confirmed(bench):
    return sum(bench.session.status.routes_confirmed.values())


def test_a_route_is_confirmed_when_what_was_sent_is_acknowledged():
    bench = Bench().reach(UP)
    assert confirmed(bench) == 0
    bench.session.acknowledge(EVERY_BYTE)
    assert bench.session.status.routes_confirmed == {Family.IPV4: 2, Family.IPV6: 1}


@pytest.mark.parametrize("stalled", [False, True], ids=["sent", "waiting"])
@pytest.mark.parametrize(
    ("table", "still"),
    [
        pytest.param(OTHER, 2, id="as-many-others"),
        pytest.param(routes(*map(str, TABLE), local_preference=7), 0, id="other-attributes"),
        pytest.param(routes("198.51.100.1/32"), 1, id="fewer"),
        pytest.param({**TABLE, **OTHER}, 3, id="more"),
        pytest.param(dict(TABLE), 3, id="the-same"),
    ],
)
def test_a_change_leaves_confirmed_what_it_does_not_touch(table, still, stalled):
    bench = Bench().reach(UP)
    if stalled:
        bench.stalled = True
        bench.tell(Wanted(table={**TABLE, **routes("203.0.113.1/32")}))
    bench.session.acknowledge(EVERY_BYTE)
    bench.session.acknowledge(0)
    bench.tell(Wanted(table=table))
    assert confirmed(bench) == still
    bench.drain()
    bench.session.acknowledge(EVERY_BYTE)
    assert confirmed(bench) == len(table)


def test_a_new_session_has_confirmed_nothing():
    bench = Bench().reach(UP)
    bench.session.acknowledge(EVERY_BYTE)
    bench.tell(CLOSED)
    bench.advance(5)
    bench.reach(UP)
    assert bench.session.status.routes_sent
    assert confirmed(bench) == 0


# --- Next hops and families


def hops(bench):
    return {str(prefix): str(hop) for prefix, (hop, _) in bench.router.table.items()}


def test_the_next_hop_is_our_own_address_of_the_family():
    assert hops(Bench().reach(UP)) == {
        "198.51.100.1/32": "192.0.2.11",
        "198.51.100.2/32": "192.0.2.11",
        "2001:db8:1::1/128": "2001:db8::11",
    }


def test_a_next_hop_of_the_route_goes_first():
    table = {
        cidr("198.51.100.1/32"): Route(next_hop=ip_address("192.0.2.99")),
        cidr("198.51.100.2/32"): Route(),
    }
    bench = Bench().reach(UP, table=table)
    assert hops(bench) == {"198.51.100.1/32": "192.0.2.99", "198.51.100.2/32": "192.0.2.11"}


def test_a_configured_next_hop_serves_a_family_that_the_link_has_not():
    config = make_peer(next_hops=(ip_address("192.0.2.77"), ip_address("2001:db8::77")))
    assert next_hop_self(config, LINK[:1]) == {
        Family.IPV4: LINK[0],
        Family.IPV6: ip_address("2001:db8::77"),
    }


def only_link(*addresses):
    """A bench whose session's link has these addresses and no others."""
    bench = Bench()
    bench.on_link = tuple(map(ip_address, addresses))
    return bench


def test_ipv4_routes_take_an_ipv6_next_hop_when_the_peer_agrees_to_it():
    bench = only_link("2001:db8::11").reach(UP)
    assert hops(bench)["198.51.100.1/32"] == "2001:db8::11"
    bench.tell(Wanted(table={}))
    assert bench.router.table == {}


def test_ipv4_routes_without_a_next_hop_stay_here_with_the_reason():
    bench = only_link("2001:db8::11").reach(UP, extended_next_hop=False)
    assert list(hops(bench)) == ["2001:db8:1::1/128"]
    assert bench.session.status.unsendable == {Unsendable.NEXT_HOP: 2}


def test_ipv6_routes_never_take_an_ipv4_next_hop():
    bench = only_link("192.0.2.11").reach(UP)
    assert len(hops(bench)) == 2
    assert bench.session.status.unsendable == {Unsendable.NEXT_HOP: 1}


def test_an_unnumbered_link_uses_its_link_local_address():
    bench = only_link("fe80::11%eth0").reach(UP)
    assert set(hops(bench).values()) == {"fe80::11"}


@pytest.mark.parametrize(
    ("settings", "usable"),
    [
        ({"ttl": 1}, True),
        ({"gtsm_hops": 1}, True),
        ({"ttl": 255}, False),
        ({"gtsm_hops": 2}, False),
    ],
)
def test_a_link_local_next_hop_is_told_to_a_peer_on_the_link_alone(settings, usable):
    own = next_hop_self(make_peer(**settings), (LINK[0], ip_address("fe80::11%eth0")))
    assert own == {Family.IPV4: LINK[0]} | ({Family.IPV6: ip_address("fe80::11")} if usable else {})


def test_a_family_that_was_not_agreed_on_is_not_sent_and_said_so():
    bench = Bench().reach(UP, families=frozenset({Family.IPV4}))
    assert len(hops(bench)) == 2
    assert bench.router.ended == [Family.IPV4]
    assert bench.session.status.unsendable == {Unsendable.FAMILY: 1}
    bench.tell(Wanted(table={}))
    assert bench.session.status.unsendable == {}


def test_a_route_that_becomes_unsendable_is_withdrawn():
    prefix = cidr("2001:db8:1::1/128")
    bench = Bench().reach(UP)
    bench.tell(Wanted(table={prefix: Route(next_hop=ip_address("192.0.2.1"))}))
    assert bench.router.table == {}
    assert bench.session.status.unsendable == {Unsendable.NEXT_HOP: 1}


def test_a_mapped_address_is_nobodys_next_hop():
    mapped = ip_address("::ffff:192.0.2.11")
    assert next_hop_self(make_peer(), (mapped, LINK[1])) == {Family.IPV6: LINK[1]}


@pytest.mark.parametrize(
    ("on_link", "configured", "expected"),
    [
        # The source is an address of the loopback link, as on hosts that route.
        (("10.0.0.5", "127.0.0.1", "::1"), ("192.0.2.11", "2001:db8::11"), "2001:db8::11"),
        (("10.0.0.5", "127.0.0.1", "::1", "2001:db8::5"), ("2001:db8::11",), "2001:db8::5"),
        (("10.0.0.5", "::1"), (), None),
        # A temporary address (RFC 8981) of the link is there today only.
        (("10.0.0.5", "2001:db8::aaaa", "2001:db8::11"), ("2001:db8::11",), "2001:db8::11"),
    ],
)
def test_a_next_hop_leads_to_the_node_from_outside(on_link, configured, expected):
    addresses = tuple(map(ip_address, on_link))
    config = make_peer(next_hops=tuple(map(ip_address, configured)))
    found = next_hop_self(config, addresses)
    assert found.pop(Family.IPV4) == addresses[0]
    assert found == ({Family.IPV6: ip_address(expected)} if expected else {})


def test_a_loopback_address_is_no_next_hop_of_ipv4_either():
    addresses = tuple(map(ip_address, ("2001:db8::5", "127.0.0.1")))
    assert next_hop_self(make_peer(), addresses) == {Family.IPV6: addresses[0]}


def test_a_router_on_the_node_itself_is_told_an_address_of_the_node_if_there_is_one():
    inside = (ip_address("127.0.0.1"),)
    assert next_hop_self(make_peer(), inside) == {Family.IPV4: inside[0]}
    config = make_peer(next_hops=(ip_address("192.0.2.11"),))
    assert next_hop_self(config, inside) == {Family.IPV4: ip_address("192.0.2.11")}


def test_a_link_that_is_renumbered_has_its_routes_told_again_and_no_others():
    table = {cidr("198.51.100.1/32"): Route(), cidr("2001:db8:1::1/128"): Route()}
    # The Node still has the address that the link has lost.
    bench = Bench(make_peer(next_hops=LINK)).reach(UP, table=table)
    before, said = hops(bench), bench.router.updates
    [own, *_] = bench.on_link
    other = ip_address("2001:db8::99")
    bench.tell(Renumbered(on_link=(own, other)))
    assert hops(bench) == {**before, "2001:db8:1::1/128": str(other)}
    assert bench.router.updates == said + 1, "IPv4's next hop is the same"


def test_an_address_more_on_the_link_changes_no_next_hop():
    bench = Bench().reach(UP, table={cidr("2001:db8:1::1/128"): Route()})
    before = hops(bench)
    [own, *others] = bench.on_link
    bench.tell(Renumbered(on_link=(own, ip_address("2001:db8::99"), *others)))
    assert hops(bench) == before


def test_routes_without_a_next_hop_leave_when_the_node_gets_an_address_and_go_with_it():
    prefix = cidr("2001:db8:1::1/128")
    own = ip_address("192.0.2.11")
    bench = Bench()
    bench.on_link = (own,)
    bench.reach(UP, table={prefix: Route()})
    assert bench.session.status.unsendable == {Unsendable.NEXT_HOP: 1}
    bench.tell(Renumbered(on_link=(own, ip_address("2001:db8::99"))))
    assert hops(bench) == {str(prefix): "2001:db8::99"}
    assert not bench.session.status.unsendable
    bench.tell(Renumbered(on_link=(own,)))
    assert hops(bench) == {}
    assert bench.session.status.unsendable == {Unsendable.NEXT_HOP: 1}
