"""Pools beside each other: the older works, an edit that overlaps disables what was edited."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.model.configuration import Accepted, Configured
from lbctl.model.pool import Pool, ServiceAllocation
from lbctl.model.reason import Reason
from lbctl.plan.pools import (
    NO_POOLS,
    PoolBook,
    inner_overlap_problems,
    join_problems,
    judge_pools,
    overlap_problems,
)
from lbctl.plan.slots import slot_of
from tests.support.builders import (
    addresses,
    configured,
    make_pool,
    make_selector,
    make_snapshot,
    rejected_pool,
)


def judge(*pools: Pool | Configured[Pool], previous: PoolBook = NO_POOLS) -> PoolBook:
    return judge_pools(make_snapshot(pools=pools), previous)


def verdicts(book: PoolBook) -> dict[str, Reason]:
    return {key.name: verdict.reason for key, verdict in book.verdicts.items()}


OLD = make_pool("old", "192.0.2.0/25", created=1)
YOUNG = make_pool("young", "192.0.2.128/25", created=2)
YOUNG_OVER = replace(make_pool("young", "192.0.2.96/27", created=2), generation=2)
OLD_OVER = replace(make_pool("old", "192.0.2.0/24", created=1), generation=2)


def test_of_two_new_pools_that_overlap_the_older_works() -> None:
    book = judge(YOUNG_OVER, OLD)
    assert verdicts(book) == {"old": Reason.ACCEPTED, "young": Reason.OVERLAPS}
    message = next(v.message for k, v in book.verdicts.items() if k.name == "young")
    assert (
        "192.0.2.96-192.0.2.127 of pool young overlaps 192.0.2.0-192.0.2.127 of pool old" in message
    )


@pytest.mark.parametrize("edited", [OLD_OVER, YOUNG_OVER], ids=["the older", "the younger"])
def test_an_edit_that_overlaps_disables_the_edited_pool(edited: Pool) -> None:
    before = judge(OLD, YOUNG)
    assert set(verdicts(before).values()) == {Reason.ACCEPTED}
    other = YOUNG if edited.name == "old" else OLD
    book = judge(edited, other, previous=before)
    assert verdicts(book) == {edited.name: Reason.OVERLAPS, other.name: Reason.ACCEPTED}


def test_after_a_restart_the_condition_tells_which_pool_was_in_effect() -> None:
    shown = Accepted(status="True", reason="Accepted", message="", observed_generation=1)
    refused = Accepted(status="False", reason="Overlaps", message="", observed_generation=2)
    book = judge(configured(YOUNG, accepted=shown), configured(OLD_OVER, accepted=refused))
    assert verdicts(book) == {"young": Reason.ACCEPTED, "old": Reason.OVERLAPS}


def test_after_a_restart_a_condition_on_another_generation_tells_nothing() -> None:
    """The younger was edited while nobody looked: it has lost the precedence that it had."""
    shown = Accepted(status="True", reason="Accepted", message="", observed_generation=1)
    old = make_pool("old", "192.0.2.0/25", created=1)
    book = judge(configured(YOUNG_OVER, accepted=shown), configured(old))
    assert verdicts(book) == {"young": Reason.OVERLAPS, "old": Reason.ACCEPTED}
    current = replace(shown, observed_generation=2)
    book = judge(configured(YOUNG_OVER, accepted=current), configured(old))
    assert verdicts(book) == {"young": Reason.ACCEPTED, "old": Reason.OVERLAPS}


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (make_pool("p", "192.0.2.0/24", "2001:db8::/64"), ""),
        (make_pool("p", "192.0.2.0/24", avoid_buggy_ips=True), ""),
        (make_pool("p", "2001:db8::/64", avoid_buggy_ips=True), ""),
        (
            make_pool("p", "192.0.2.0/32", "198.51.100.255/32", avoid_buggy_ips=True),
            (
                "spec.avoidBuggyIPs: every IPv4 address of the pool ends in .0 or .255, so that none is "
                "given; list others, or set it to false"
            ),
        ),
        (make_pool("p", "192.0.2.0/31", avoid_buggy_ips=True), ""),
        (make_pool("p", "192.0.2.0/32"), ""),
        (
            make_pool("p", "192.0.2.0/24", "127.0.0.8/30"),
            (
                "spec.addresses[1]: 127.0.0.8-127.0.0.11 holds addresses of 127.0.0.0/8, which every "
                "host takes for its own; list others"
            ),
        ),
        (
            make_pool("p", "fe80::/64"),
            (
                "spec.addresses[0]: fe80::-fe80::ffff:ffff:ffff:ffff holds addresses of fe80::/10, "
                "which no router forwards; list others"
            ),
        ),
    ],
)
def test_a_pool_that_works_and_can_hardly_be_meant_says_so(pool: Pool, said: str) -> None:
    (verdict,) = judge(pool).verdicts.values()
    assert (verdict.accepted, verdict.reason) == (True, Reason.ACCEPTED)
    assert verdict.message == "the pool is in effect" + (f"; but {said}" if said else "")


def test_a_pool_comes_into_effect_when_its_rival_is_deleted() -> None:
    before = judge(OLD, YOUNG_OVER)
    assert verdicts(judge(YOUNG_OVER, previous=before)) == {"young": Reason.ACCEPTED}


def test_a_bad_pool_disables_itself_only_and_names_every_problem() -> None:
    book = judge(rejected_pool("bad", "first", "second"), OLD)
    assert verdicts(book) == {"bad": Reason.INVALID, "old": Reason.ACCEPTED}
    message = next(v.message for k, v in book.verdicts.items() if k.name == "bad")
    assert message == "spec.addresses[0]: first; spec.addresses[1]: second"


def test_a_pool_that_overlaps_itself_is_refused_with_both_ranges() -> None:
    pool = make_pool("p", "192.0.2.16/28", "198.51.100.0/30", "192.0.2.0/24")
    (problem,) = inner_overlap_problems(pool)
    assert str(problem) == (
        "spec.addresses[2]: 192.0.2.0-192.0.2.255 overlaps 192.0.2.16-192.0.2.31 "
        "(spec.addresses[0]) of the same pool; remove one of the two"
    )
    assert verdicts(judge(pool)) == {"p": Reason.INVALID}


def test_a_pool_without_an_address_is_refused() -> None:
    assert verdicts(judge(make_pool("p", ranges=()))) == {"p": Reason.INVALID}


def test_two_pools_of_one_name_in_two_namespaces_do_not_meet() -> None:
    twin = make_pool("old", "198.51.100.0/24", created=5, namespace="elsewhere")
    book = judge(twin, OLD)
    assert [pool.namespace for pool in book.ranked] == [OLD.namespace]
    assert [v.reason for k, v in book.verdicts.items() if k.namespace == "elsewhere"] == [
        Reason.INVALID
    ]


def test_the_webhook_gets_the_text_of_the_condition() -> None:
    book = judge(OLD, YOUNG_OVER)
    verdict = next(v for k, v in book.verdicts.items() if k.name == "young")
    assert join_problems(overlap_problems(YOUNG_OVER, [OLD])) == verdict.message


def test_an_edited_pool_does_not_overlap_its_old_form() -> None:
    assert overlap_problems(OLD_OVER, [OLD]) == ()


def test_many_problems_are_counted_and_not_all_spelled_out() -> None:
    pool = make_pool("p", *(f"192.0.2.{index}/32" for index in range(30)))
    text = join_problems(overlap_problems(pool, [OLD]))
    assert text.endswith("and 10 more problems")


def test_pinned_pools_come_first_by_priority_and_zero_last_then_the_others_by_name() -> None:
    def pool(name: str, third: int, **fields: object) -> Pool:
        return make_pool(name, f"198.18.{third}.0/24", **fields)

    book = judge(
        pool("b", 0),
        pool("a", 1),
        pool("unset", 2, priority=0),
        pool("second", 3, priority=2),
        pool("first-b", 4, priority=1),
        pool("first-a", 5, priority=1),
    )
    assert [pool.name for pool in book.ranked] == [
        "first-a",
        "first-b",
        "second",
        "unset",
        "a",
        "b",
    ]


def test_the_same_objects_give_the_same_judgement_object() -> None:
    snapshot = make_snapshot(pools=[OLD, YOUNG])
    book = judge_pools(snapshot)
    assert judge_pools(snapshot, book) is book


def test_a_written_status_does_not_change_the_effect() -> None:
    book = judge(OLD)
    shown = Accepted(status="True", reason="Accepted", message="", observed_generation=1)
    again = judge(configured(OLD, accepted=shown, resource_version="9"), previous=book)
    assert again is not book
    assert again.same_effect(book)


def test_an_address_is_owned_by_one_pool_or_none() -> None:
    book = judge(OLD, make_pool("six", "2001:db8::/64"), rejected_pool("bad"))
    ranks = [
        book.locate(slot_of(address))
        for address in addresses(
            "192.0.2.0", "192.0.2.127", "192.0.2.128", "2001:db8::1", "::c000:201"
        )
    ]
    names = [None if rank is None else book.ranked[rank].name for rank in ranks]
    assert names == ["old", "old", None, "six", None]


def test_buggy_addresses_are_not_owned_by_a_pool_that_avoids_them() -> None:
    book = judge(make_pool("p", "192.0.2.0/24", avoid_buggy_ips=True))
    owned = [
        book.locate(slot_of(item)) for item in addresses("192.0.2.0", "192.0.2.1", "192.0.2.255")
    ]
    assert owned == [None, 0, None]


def test_namespaces_matter_only_if_a_pool_in_effect_selects_by_them() -> None:
    rule = ServiceAllocation(namespace_selectors=(make_selector({"team": "red"}),))
    assert not judge(OLD).reads_namespaces
    assert judge(make_pool("p", allocation=rule)).reads_namespaces
