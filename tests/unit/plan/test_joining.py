"""Where sharers find room: the first address, in the order of the shelf, with their ports free."""

from __future__ import annotations

from random import Random

import pytest

from lbctl.plan.joining import LENGTH, Place, Rows
from lbctl.plan.sharing import Port

HTTP: Port = ("TCP", 80)
HTTPS: Port = ("TCP", 443)


def test_the_first_address_without_any_of_the_ports_is_found() -> None:
    rows = Rows()
    assert rows.first([HTTP]) is None
    rows.occupy((0, 7), [HTTP])
    rows.occupy((1, 2), [])
    rows.occupy((0, 5), [HTTP])
    rows.occupy((0, 6), [HTTPS])
    assert rows.first([]) == 5
    assert rows.first([HTTP]) == 6
    assert rows.first([HTTPS]) == 5
    assert rows.first([HTTP, HTTPS]) == 2


def test_a_copy_does_not_change_with_its_original() -> None:
    rows = Rows()
    rows.occupy((0, 1), [HTTP])
    before = rows.copy()
    rows.occupy((0, 0), [])
    rows.vacate((0, 1), [HTTP], last=True)
    assert (before.first([HTTP]), before.first([])) == (None, 1)
    rows.vacate((0, 0), [], last=True)
    assert not rows


@pytest.mark.parametrize("order", ["ascending", "descending", "any"])
def test_it_agrees_with_a_walk_over_every_address_in_any_order(order: str) -> None:
    random = Random(7)
    places = [(block, slot) for block in range(2) for slot in range(LENGTH)]
    if order == "any":
        random.shuffle(places)
    elif order == "descending":
        places.reverse()
    ports = [("TCP", number) for number in range(6)]
    used: dict[Place, set[Port]] = {}
    rows = Rows()

    def compare() -> None:
        for wanted in ([], *([port] for port in ports), ports[:2], ports):
            free = (place for place in sorted(used) if not used[place] & set(wanted))
            assert rows.first(wanted) == next((slot for _, slot in free), None)

    for number, place in enumerate(places):
        for port in random.sample(ports, random.randint(1, 2 + number % 4)):
            known = used.setdefault(place, set())
            if port not in known:
                known.add(port)
                rows.occupy(place, [port])
        if number % 50 == 0:
            compare()
    random.shuffle(places)
    for number, place in enumerate(places):
        gone = sorted(used[place])
        for port in gone[:-1]:
            rows.vacate(place, [port], last=False)
        rows.vacate(place, gone[-1:], last=True)
        del used[place]
        if number % 50 == 0:
            compare()
    assert not rows
