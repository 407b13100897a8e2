"""The next address of a pool: order, rest of freed addresses, buggy ones, and any size."""

from __future__ import annotations

import pytest

from lbctl.model.address import Family
from lbctl.plan.free import MEMORY, Shelf, label_shelf
from lbctl.plan.slots import address_of, slot_of
from tests.support.builders import addresses, make_pool


class Holding:
    """Take and give back addresses of one shelf, as a draft does."""

    def __init__(self, *ranges: str, family: Family = Family.IPV4, **fields: object) -> None:
        self.shelf = Shelf(label_shelf(make_pool("p", *ranges, **fields), family))
        self.held: set[int] = set()
        self.releases = 0

    def take(self, avoid: tuple[str, ...] = ()) -> str | None:
        chosen = self.shelf.choose(self.held, {slot_of(item) for item in addresses(*avoid)})
        if chosen is None:
            return None
        self.held.add(chosen[0])
        self.shelf.taken += 1
        self.shelf.given_back.pop(chosen[0], None)
        return str(address_of(chosen[0]))

    def give_back(self, text: str) -> None:
        (slot,) = map(slot_of, addresses(text))
        self.held.remove(slot)
        self.releases += 1
        self.shelf.taken -= 1
        self.shelf.remember(slot, self.releases)


def test_addresses_go_in_the_order_of_the_ranges_ascending() -> None:
    pool = Holding("198.51.100.4/31", "192.0.2.0-192.0.2.1", "203.0.113.7/32")
    assert [pool.take() for _ in range(6)] == [
        "198.51.100.4", "198.51.100.5", "192.0.2.0", "192.0.2.1", "203.0.113.7", None,
    ]  # fmt: skip


def test_a_freed_address_is_chosen_last_and_the_longest_free_first() -> None:
    pool = Holding("192.0.2.0/30")
    first, second, third = (pool.take() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    for text in (second, third, first):
        pool.give_back(text)
    assert [pool.take() for _ in range(5)] == ["192.0.2.3", second, third, first, None]


def test_a_freed_address_is_given_at_once_if_nothing_else_is_free() -> None:
    pool = Holding("192.0.2.8/32")
    assert pool.take() == "192.0.2.8"
    pool.give_back("192.0.2.8")
    assert pool.take() == "192.0.2.8"


def test_addresses_that_others_ask_for_are_passed_over_while_there_are_more() -> None:
    pool = Holding("192.0.2.0/30")
    assert pool.take(avoid=("192.0.2.0", "192.0.2.1")) == "192.0.2.2"
    assert pool.take() == "192.0.2.0"
    pool.give_back("192.0.2.0")
    assert pool.take(avoid=("192.0.2.1", "192.0.2.3")) == "192.0.2.0"
    assert pool.take(avoid=("192.0.2.1", "192.0.2.3")) is None


@pytest.mark.parametrize(
    ("ranges", "capacity", "first"),
    [
        (("192.0.2.0/24",), 254, "192.0.2.1"),
        (("192.0.2.0/25",), 127, "192.0.2.1"),
        (("192.0.2.254-192.0.3.1",), 2, "192.0.2.254"),
        (("198.18.0.0/15",), 2 * 65_536 - 1024, "198.18.0.1"),
        (("192.0.2.0/32", "192.0.2.255/32"), 0, None),
        (("192.0.2.7/32",), 1, "192.0.2.7"),
    ],
)
def test_buggy_addresses_neither_count_nor_are_given(ranges, capacity, first) -> None:
    pool = Holding(*ranges, avoid_buggy_ips=True)
    assert pool.shelf.free == capacity
    assert pool.take() == first


@pytest.mark.parametrize(
    ("block", "size", "first"),
    [
        ("2001:db8::/128", 1, "2001:db8::"),
        ("2001:db8::6/127", 2, "2001:db8::6"),
        ("2001:db8::/64", 1 << 64, "2001:db8::"),
        ("2001:db8::-2001:db8:204f:ce5e:3e25:261:fff:ffff", 10**28, "2001:db8::"),
    ],
)
def test_a_pool_may_have_any_size(block, size, first) -> None:
    pool = Holding(block, family=Family.IPV6, avoid_buggy_ips=True)
    assert pool.shelf.free == size
    assert pool.take() == first


def test_a_family_without_a_range_has_nothing() -> None:
    pool = Holding("192.0.2.0/24", family=Family.IPV6)
    assert pool.shelf.full
    assert pool.take() is None


def test_a_copy_leaves_the_original_as_it_was() -> None:
    pool = Holding("192.0.2.0/30")
    before = pool.shelf
    pool.shelf = before.copy()
    pool.take()
    pool.give_back("192.0.2.0")
    assert (before.taken, before.given_back, before.free) == (0, {}, 4)


def test_the_memory_of_freed_addresses_is_bounded_and_forgets_the_longest_free() -> None:
    pool = Holding("2001:db8::/64", family=Family.IPV6)
    for _ in range(2 * MEMORY + 1):
        text = pool.take()
        assert text is not None
        pool.give_back(text)
    assert len(pool.shelf.given_back) == MEMORY
    assert pool.take() == "2001:db8::"
