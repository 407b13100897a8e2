"""What the door refuses: one message with object, field and cure, whoever let it through before."""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.controller.admission import Admitted, Answer, Denied, Judge
from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement
from lbctl.kube.fold import project_pool
from lbctl.model.snapshot import Snapshot
from lbctl.plan.advertisements import judge_advertisement
from lbctl.plan.peers import judge_peer
from lbctl.plan.pools import NO_POOLS, PoolBook, judge_pools
from tests.support.bgp_cases import CASES, Case, peer

NAMESPACE = "lbctl-system"


def body(kind: str, spec: Any, name: str = "tried", namespace: str = NAMESPACE) -> dict[str, Any]:
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def pool(*addresses: Any, name: str = "tried", **spec: Any) -> dict[str, Any]:
    return body("IPAddressPool", {"addresses": list(addresses), **spec}, name)


def advertisement(**spec: Any) -> dict[str, Any]:
    return body("L2Advertisement", spec)


def book_of(*pools: dict[str, Any]) -> PoolBook:
    projected = (project_pool(one) for one in pools)
    return judge_pools(Snapshot(pools=dict(pair for pair in projected if pair is not None)))


def ask(
    new: dict[str, Any], old: dict[str, Any] | None = None, book: PoolBook = NO_POOLS
) -> Answer:
    judge = Judge(lambda: book, namespace=NAMESPACE)
    asked = {
        "IPAddressPool": judge.pool,
        "L2Advertisement": judge.advertisement,
        "BGPPeer": judge.peer,
        "BGPAdvertisement": judge.bgp_advertisement,
        "Community": judge.community,
        "BFDProfile": judge.bfd_profile,
    }
    return asked[new["kind"]](new, old)


def selecting(*selectors: Any) -> dict[str, Any]:
    return pool("192.0.2.0/24", serviceAllocation={"serviceSelectors": list(selectors)})


def expressed(**expression: Any) -> dict[str, Any]:
    return selecting({"matchExpressions": [expression]})


ALLOCATION = "spec.serviceAllocation"
SELECTORS = f"{ALLOCATION}.serviceSelectors"
EXPRESSION = f"{SELECTORS}[0].matchExpressions[0]"

BAD = [
    # What MetalLB's parser refuses of a pool.
    ("no addresses", pool(), "spec.addresses", "at least one item"),
    ("no spec", body("IPAddressPool", {}), "spec.addresses", "set it"),
    ("null addresses", body("IPAddressPool", {"addresses": None}), "spec.addresses", "set it"),
    ("a bare address", pool("192.0.2.1"), "spec.addresses[0]", "write 192.0.2.1/32"),
    ("a bare IPv6 address", pool("2001:db8::1"), "spec.addresses[0]", "2001:db8::1/128"),
    ("words", pool("nonsense"), "spec.addresses[0]", "write 192.0.2.0/24 or"),
    ("a host name", pool("lb.example/24"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("an octet of 256", pool("192.0.2.256/32"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("a prefix of 33", pool("192.0.2.0/33"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("a prefix of -1", pool("192.0.2.0/-1"), "spec.addresses[0]", "write a CIDR such as"),
    ("backwards", pool("192.0.2.9-192.0.2.1"), "spec.addresses[0]", "swap the two addresses"),
    ("two families", pool("192.0.2.1-2001:db8::1"), "spec.addresses[0]", "address family"),
    ("three ends", pool("192.0.2.1-192.0.2.4-192.0.2.9"), "spec.addresses[0]", "such as"),
    ("one end", pool("192.0.2.1-"), "spec.addresses[0]", "a range such as"),
    ("a mapped range", pool("::ffff:192.0.2.0/120"), "spec.addresses[0]", "write them as IPv4"),
    ("a zone", pool("fe80::1%eth0/64"), "spec.addresses[0]", "without it"),
    ("itself", pool("192.0.2.0/24", "192.0.2.7/32"), "spec.addresses[1]", "write every address"),
    ("twice", pool("192.0.2.0/24", "192.0.2.0/24"), "spec.addresses[1]", "write every address"),
    (
        "a namespace twice",
        pool("192.0.2.0/24", serviceAllocation={"namespaces": ["a", "a"]}),
        f"{ALLOCATION}.namespaces[1]",
        "remove one of them",
    ),
    ("a selector twice", selecting({}, {}), f"{SELECTORS}[1]", "remove one of them"),
    ("an unknown operator", expressed(key="a", operator="Near"), f"{EXPRESSION}.operator", "In,"),
    ("In without values", expressed(key="a", operator="In"), EXPRESSION, "need values"),
    (
        "Exists with values",
        expressed(key="a", operator="Exists", values=["x"]),
        EXPRESSION,
        "take none",
    ),
    (
        "a value twice",
        expressed(key="a", operator="In", values=["x", "x"]),
        f"{EXPRESSION}.values[1]",
        "remove one of them",
    ),
    ("no key", expressed(operator="Exists"), f"{EXPRESSION}.key", "set it"),
    ("a bad key", expressed(key="-a", operator="Exists"), f"{EXPRESSION}.key", "such as app"),
    (
        "a bad key of matchLabels",
        selecting({"matchLabels": {"a b": "x"}}),
        f"{SELECTORS}[0].matchLabels",
        "such as app",
    ),
    (
        "a bad value of matchLabels",
        selecting({"matchLabels": {"a": "x y"}}),
        f"{SELECTORS}[0].matchLabels['a']",
        "letters, digits",
    ),
    # What MetalLB's parser refuses of an advertisement.
    (
        "a pool twice",
        advertisement(ipAddressPools=["a", "a"]),
        "spec.ipAddressPools[1]",
        "remove one of them",
    ),
    (
        "a node selector twice",
        advertisement(nodeSelectors=[{}, {}]),
        "spec.nodeSelectors[1]",
        "remove one of them",
    ),
    (
        "a weight of 0",
        advertisement(preferredNodeSelectors=[{"weight": 0, "preference": {}}]),
        "spec.preferredNodeSelectors[0].weight",
        "between 1 and 100",
    ),
    (
        "a weight of 101",
        advertisement(preferredNodeSelectors=[{"weight": 101, "preference": {}}]),
        "spec.preferredNodeSelectors[0].weight",
        "between 1 and 100",
    ),
    (
        "no preference",
        advertisement(preferredNodeSelectors=[{"weight": 1}]),
        "spec.preferredNodeSelectors[0].preference",
        "set it",
    ),
    (
        "an interface with a slash",
        advertisement(interfaces=["eth/0"]),
        "spec.interfaces[0]",
        "no slash",
    ),
    (
        "an interface that is too long",
        advertisement(interfaces=["a" * 16]),
        "spec.interfaces[0]",
        "at most 15",
    ),
    ("an empty interface", advertisement(interfaces=[""]), "spec.interfaces[0]", "not be empty"),
    # Wrong types: MetalLB's schema stops most of them; a file given to `lbctl` may hold any.
    ("a number as range", pool(7), "spec.addresses[0]", "not a string"),
    ("null as range", pool(None), "spec.addresses[0]", "not a string"),
    ("a text as list", body("IPAddressPool", {"addresses": "x"}), "spec.addresses", "not a list"),
    ("a list as spec", body("IPAddressPool", ["x"]), "spec", "not an object"),
    ("a text as flag", pool("192.0.2.0/24", autoAssign="yes"), "spec.autoAssign", "true nor false"),
    (
        "a fraction as priority",
        pool("192.0.2.0/24", serviceAllocation={"priority": 1.5}),
        f"{ALLOCATION}.priority",
        "whole number",
    ),
    ("a list as selector", selecting([]), f"{SELECTORS}[0]", "not an object"),
    (
        "a text as labels",
        selecting({"matchLabels": "a=b"}),
        f"{SELECTORS}[0].matchLabels",
        "not an object",
    ),
    # Unicode that looks right.
    ("foreign digits", pool("١٩٢.0.2.0/24"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("a foreign prefix", pool("192.0.2.0/٢٤"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("an en dash", pool("192.0.2.1\u2013192.0.2.9"), "spec.addresses[0]", "192.0.2.1-192.0.2.9"),
    ("a wide slash", pool("192.0.2.0\uff0f24"), "spec.addresses[0]", "192.0.2.0/24"),
    ("a joiner", pool("192.0.2.0/24\u200d"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("a NUL", pool("192.0.2.0/24\0"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    ("a half character", pool("192.0.2.0/\ud800"), "spec.addresses[0]", "such as 192.0.2.0/24"),
    (
        "a label with an umlaut",
        selecting({"matchLabels": {"a": "grün"}}),
        f"{SELECTORS}[0].matchLabels['a']",
        "letters, digits",
    ),
    # Absurd sizes.
    (
        "a list of 100,000",
        pool(*["192.0.2.0/32"] * 100_000),
        "spec.addresses",
        "split the object in two",
    ),
    ("a megabyte of text", pool("9" * 1_000_000), "spec.addresses[0]", "at most 100"),
    (
        "a priority beyond 32 bits",
        pool("192.0.2.0/24", serviceAllocation={"priority": 10**400}),
        f"{ALLOCATION}.priority",
        "not between",
    ),
    (
        "a thousand labels",
        selecting({"matchLabels": {f"k{i}": "v" for i in range(1_000)}}),
        f"{SELECTORS}[0].matchLabels",
        "at most 32",
    ),
    (
        "a thousand bad ranges",
        pool(*[f"no{i}" for i in range(1_000)]),
        "spec.addresses[0]",
        "and 980 more problems",
    ),
]


@pytest.mark.parametrize(
    ("new", "path", "cure"), [pytest.param(*case, id=name) for name, *case in BAD]
)
def test_bad_input_is_refused_in_one_message_with_object_field_and_cure(
    new: dict[str, Any], path: str, cure: str
) -> None:
    answer = ask(new)
    assert isinstance(answer, Denied)
    object_name, _, words = answer.message.partition(": ")
    assert object_name == f"{new['kind']} {NAMESPACE}/tried"
    assert words.partition(": ")[0] == path
    assert cure in words
    assert len(answer.message) < 4_000
    assert "\n" not in answer.message


@pytest.mark.parametrize("new", [pytest.param(new, id=name) for name, new, *_ in BAD])
def test_the_door_and_the_condition_say_the_same(new: dict[str, Any]) -> None:
    answer = ask(new)
    assert isinstance(answer, Denied)
    if new["kind"] == "IPAddressPool":
        (verdict,) = book_of(new).verdicts.values()
    else:
        found = parse_l2_advertisement(new)
        assert found is not None
        verdict = judge_advertisement(found, ())
    assert not verdict.accepted
    assert answer.message.endswith(f": {verdict.message}")


GOOD = [
    ("a minimal pool", pool("192.0.2.0/24")),
    ("host bits", pool("192.0.2.7/24")),
    ("blanks", pool(" 192.0.2.1 - 192.0.2.9 ")),
    ("a huge pool", pool("2001:db8::/32", "198.18.0.0/15")),
    ("an unknown field", pool("192.0.2.0/24", color="red")),
    ("null for a default", pool("192.0.2.0/24", autoAssign=None, serviceAllocation=None)),
    ("empty lists", pool("192.0.2.0/24", serviceAllocation={"namespaces": []})),
    ("an empty advertisement", advertisement()),
    ("no spec of an advertisement", body("L2Advertisement", None)),
    ("an advertisement of empty lists", advertisement(ipAddressPools=[], interfaces=[])),
    ("nothing", {"kind": "IPAddressPool"}),
    ("no name", {"kind": "L2Advertisement", "metadata": None, "spec": 7}),
]


@pytest.mark.parametrize("new", [pytest.param(new, id=name) for name, new in GOOD])
def test_what_is_lawful_and_what_has_no_name_passes(new: dict[str, Any]) -> None:
    assert ask(new) == Admitted()


OLD = pool("192.0.2.0/25", name="old")


def test_a_pool_is_compared_with_those_in_effect_and_not_with_its_old_form() -> None:
    book = book_of(OLD, pool("nonsense", name="broken"))
    refused = ask(pool("192.0.2.64/26"), book=book)
    assert isinstance(refused, Denied)
    assert "overlaps 192.0.2.0-192.0.2.127 of pool old; remove the common" in refused.message
    assert ask(pool("192.0.2.0/24", name="old"), OLD, book) == Admitted()
    assert ask(pool("198.51.100.0/24", name="broken"), OLD, book) == Admitted()


def test_an_update_that_leaves_the_spec_alone_passes_whatever_the_spec_says() -> None:
    bad = pool("nonsense")
    labelled = bad | {"metadata": bad["metadata"] | {"labels": {"a": "b"}, "finalizers": ["x/y"]}}
    assert ask(labelled, bad) == Admitted()
    assert isinstance(ask(pool("more nonsense"), bad), Denied)


def test_a_pool_of_addresses_that_clients_cannot_reach_passes_with_a_warning() -> None:
    answer = ask(pool("192.0.2.0/24", "224.0.0.0/24"))
    assert isinstance(answer, Admitted)
    (warning,) = answer.warnings
    assert warning.partition(": ")[2] == (
        "spec.addresses[1]: 224.0.0.0-224.0.0.255 holds addresses of 224.0.0.0/4, "
        "which are groups and no host's; list others"
    )


def test_a_pool_that_an_advertisement_names_and_nobody_has_is_a_warning() -> None:
    named = advertisement(ipAddressPools=["old", "broken", "none", "nobody"])
    answer = ask(named, book=book_of(OLD, pool("nonsense", name="broken")))
    assert isinstance(answer, Admitted)
    assert [warning.partition(" pool ")[2] for warning in answer.warnings] == [
        "nobody at present; create it or correct the name",
        "none at present; create it or correct the name",
    ]


REFUSED_FOR_NOW = peer(vrf="red", bfdProfile="fast")


@pytest.mark.parametrize("case", [case for case in CASES if case != REFUSED_FOR_NOW], ids=str)
def test_a_bgp_object_passes_or_is_refused_with_its_field(case: Case) -> None:
    answer = ask(body(case.kind.kind, case.spec))
    if not case.path:
        assert answer == Admitted()
        return
    assert isinstance(answer, Denied)
    assert answer.message.startswith(f"{case.kind.kind} {NAMESPACE}/tried: {case.path}: ")
    assert case.words in answer.message


@pytest.mark.parametrize("field", ["vrf", "bfdProfile"])
def test_what_a_session_cannot_do_yet_is_refused_at_the_door_as_in_the_condition(
    field: str,
) -> None:
    new = body("BGPPeer", peer(**{field: "x"}).spec)
    found = parse_bgp_peer(new)
    assert found is not None
    answer = ask(new)
    assert isinstance(answer, Denied)
    assert answer.message == f"{found.key}: {judge_peer(found).message}"
    assert f"spec.{field}: " in answer.message


def test_a_bfd_profile_passes_or_is_refused_with_its_field() -> None:
    assert ask(body("BFDProfile", {"receiveInterval": 10})) == Admitted()
    answer = ask(body("BFDProfile", {"receiveInterval": 9}))
    assert isinstance(answer, Denied)
    assert "spec.receiveInterval: 9 is not between 10 and 60000" in answer.message


def test_a_bgp_advertisement_of_a_missing_pool_passes_with_a_warning() -> None:
    answer = ask(body("BGPAdvertisement", {"ipAddressPools": ["none"], "communities": ["blue"]}))
    assert isinstance(answer, Admitted)
    assert [warning.partition(": ")[2] for warning in answer.warnings] == [
        "spec.ipAddressPools: there is no pool none at present; create it or correct the name"
    ]


def test_an_aggregate_that_is_wider_than_a_pool_passes_with_a_warning() -> None:
    book = book_of(pool("192.0.2.0/28", name="small"))
    answer = ask(body("BGPAdvertisement", {"aggregationLength": 24}), book=book)
    assert isinstance(answer, Admitted)
    (warning,) = answer.warnings
    assert "spec.aggregationLength: /24, which is wider than 192.0.2.0-192.0.2.15 (/28)" in warning


@pytest.mark.parametrize(
    "kind",
    ["IPAddressPool", "L2Advertisement", "BGPPeer", "BGPAdvertisement", "Community", "BFDProfile"],
)
def test_another_namespace_is_refused_for_a_new_object_and_only_doubted_for_an_old_one(
    kind: str,
) -> None:
    stray = body(kind, {"addresses": ["192.0.2.0/24"]}, namespace="web")
    refused = ask(stray)
    assert isinstance(refused, Denied)
    for part in (f"{kind} web/tried", "metadata.namespace", NAMESPACE, "webhook.otherNamespaces"):
        assert part in refused.message
    answer = ask(stray | {"spec": "nonsense"}, stray)
    assert isinstance(answer, Admitted)
    assert len(answer.warnings) == 1


def test_two_pools_of_a_thousand_ranges_that_overlap_are_told_in_one_short_message() -> None:
    blocks = [f"198.18.{i // 64}.{i % 64 * 4}" for i in range(1_000)]
    book = book_of(pool(*(f"{block}/31" for block in blocks), name="old"))
    answer = ask(pool(*(f"{block[:-1]}{int(block[-1]) + 1}/32" for block in blocks)), book=book)
    assert isinstance(answer, Denied)
    assert "spec.addresses[0]: 198.18.0.1-198.18.0.1 of pool tried overlaps" in answer.message
    assert "and 980 more problems" in answer.message
