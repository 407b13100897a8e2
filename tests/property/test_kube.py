"""Laws of the edge: nothing raises, what is rendered reads back, schema and parser agree."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.kube.crds.bfd_profile import KIND as BFD_PROFILE
from lbctl.kube.crds.bfd_profile import parse_bfd_profile
from lbctl.kube.crds.bgp_advertisement import KIND as BGP_ADVERTISEMENT
from lbctl.kube.crds.bgp_advertisement import parse_bgp_advertisement
from lbctl.kube.crds.bgp_peer import KIND as BGP_PEER
from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.kube.crds.bgp_session_status import parse_session_status
from lbctl.kube.crds.communities import KIND as COMMUNITY
from lbctl.kube.crds.communities import parse_communities
from lbctl.kube.crds.configuration_state import parse_configuration_state
from lbctl.kube.crds.ip_address_pool import KIND as POOL
from lbctl.kube.crds.ip_address_pool import parse_pool, render_pool
from lbctl.kube.crds.l2_advertisement import KIND as ADVERTISEMENT
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement, render_l2_advertisement
from lbctl.kube.crds.schema import render
from lbctl.kube.crds.service_bgp_status import parse_service_bgp_status
from lbctl.kube.crds.service_l2_status import parse_service_l2_status
from lbctl.kube.crds.speaker_status import parse_speaker_status, render_speaker_status
from lbctl.kube.crds.table import Boolean, Integer, Kind, Labels, ListOf, Struct, Text, Type
from lbctl.kube.fold import PROJECTIONS, Source, fold
from lbctl.kube.patches import service_patch
from lbctl.kube.service import parse_service
from lbctl.model.allocation import Outcome
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.pool import Pool, ServiceAllocation
from lbctl.model.reason import Reason
from lbctl.model.selector import Operator, Requirement, Selector
from tests.support.builders import make_advertisement, make_link, make_pool, make_speaker
from tests.support.structural import refusals

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["192.0.2.1", "192.0.2.0/24", "2001:db8::/64", "True", "None", "%", "-", ","])
)
WORDS = st.sampled_from(
    [
        "metadata",
        "name",
        "namespace",
        "labels",
        "annotations",
        "spec",
        "status",
        "addresses",
        "ingress",
        "ip",
        "loadBalancer",
        "conditions",
        "type",
        "ports",
        "port",
        "endpoints",
        "ready",
        "serviceAllocation",
        "serviceSelectors",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "interfaces",
        "links",
        "subnets",
        "faults",
        "epoch",
        "preferredNodeSelectors",
        "weight",
        "lbctl.io/loadBalancerIPs",
        "kubernetes.io/service-name",
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
NAMED = st.builds(
    lambda body, metadata: {**body, "metadata": {**metadata, "name": "x"}},
    st.dictionaries(WORDS, JSON, max_size=6),
    st.dictionaries(WORDS, JSON, max_size=4),
)
PARSERS: tuple[Callable[[Any], Any], ...] = (
    *PROJECTIONS.values(),
    parse_configuration_state,
    parse_service_l2_status,
    parse_bgp_peer,
    parse_bgp_advertisement,
    parse_communities,
    parse_bfd_profile,
    parse_service_bgp_status,
    parse_session_status,
)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(body=JSON | NAMED)
def test_no_object_of_any_shape_raises(parse: Callable[[Any], Any], body: Any) -> None:
    parse(body)


@given(bodies=st.lists(JSON | NAMED, max_size=5))
def test_a_snapshot_can_be_folded_from_anything(bodies: list[Any]) -> None:
    fold(dict.fromkeys(Source, bodies))


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
REQUIREMENTS = st.builds(
    lambda key, operator, values: Requirement(
        key=key,
        operator=operator,
        values=values if operator in (Operator.IN, Operator.NOT_IN) else frozenset(),
    ),
    NAMES,
    st.sampled_from(Operator),
    st.frozensets(NAMES, min_size=1, max_size=3),
)
SELECTORS = st.lists(
    st.builds(
        lambda items: Selector(requirements=tuple(items)), st.lists(REQUIREMENTS, max_size=3)
    ),
    max_size=3,
    unique=True,
).map(tuple)
ALLOCATIONS = st.builds(
    ServiceAllocation,
    priority=st.integers(-(2**31), 2**31 - 1),
    namespaces=st.frozensets(NAMES, max_size=3),
    namespace_selectors=SELECTORS,
    service_selectors=SELECTORS,
)


def disjoint(sizes: list[int], *, first: int, spell: Callable[[int], str]) -> list[str]:
    """Return ranges one after the other, each of its size, with a gap of one between them."""
    spelled = []
    for size in sizes:
        spelled.append(f"{spell(first)}-{spell(first + size)}")
        first += size + 2
    return spelled


@given(
    v4=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    v6=st.lists(st.integers(0, 2**70), max_size=4),
    flags=st.tuples(st.booleans(), st.booleans()),
    allocation=st.none() | ALLOCATIONS,
    labels=st.dictionaries(NAMES, NAMES, max_size=3),
)
def test_a_pool_reads_back_as_it_was_rendered(
    v4: list[int],
    v6: list[int],
    flags: tuple[bool, bool],
    allocation: ServiceAllocation | None,
    labels: dict[str, str],
) -> None:
    base4, base6 = int(ip_address("198.18.0.0")), int(ip_address("2001:db8::"))
    ranges = disjoint(v4, first=base4, spell=lambda n: str(ip_address(n)))
    ranges += disjoint(v6, first=base6, spell=lambda n: str(ip_address(n)))
    pool: Pool = make_pool(
        "p",
        *ranges,
        auto_assign=flags[0],
        avoid_buggy_ips=flags[1],
        allocation=allocation,
        labels=labels,
    )
    found = parse_pool(render_pool(pool))
    assert found is not None
    assert (found.spec, found.problems) == (pool, ())


@given(
    pools=st.frozensets(NAMES, max_size=3),
    interfaces=st.frozensets(NAMES, max_size=3),
    nodes=SELECTORS,
    services=SELECTORS,
    weights=st.lists(st.integers(1, 100), max_size=3),
)
def test_an_advertisement_reads_back_as_it_was_rendered(
    pools: frozenset[str],
    interfaces: frozenset[str],
    nodes: tuple[Selector, ...],
    services: tuple[Selector, ...],
    weights: list[int],
) -> None:
    advertisement = make_advertisement(
        "a",
        pools=pools,
        interfaces=interfaces,
        node_selectors=nodes,
        service_selectors=services,
        preferred_nodes=tuple((weight, {"rack": "r"}) for weight in weights),
    )
    found = parse_l2_advertisement(render_l2_advertisement(advertisement))
    assert found is not None
    assert (found.spec, found.problems) == (advertisement, ())


@given(
    names=st.lists(NAMES, max_size=3, unique=True),
    flags=st.tuples(*[st.booleans()] * 5),
    faults=st.lists(st.tuples(NAMES, st.text(max_size=9)), max_size=2),
)
def test_a_speaker_report_reads_back_as_it_was_rendered(
    names: list[str], flags: tuple[bool, ...], faults: list[tuple[str, str]]
) -> None:
    up, carrier, link_local, draining, connected = flags
    report = make_speaker(
        "node1",
        links=tuple(
            make_link(
                name,
                f"192.0.2.{index}/24",
                f"2001:db8::{index}/64",
                index=index,
                up=up,
                carrier=carrier,
                has_link_local=link_local,
            )
            for index, name in enumerate(names, 1)
        ),
        faults=tuple(faults),
        draining=draining,
        fastpath_connected=connected,
    )
    body = {"metadata": {"name": "node1"}, "status": render_speaker_status(report)}
    assert parse_speaker_status(body) == report


def values(declared: Type) -> st.SearchStrategy[Any]:
    """Draw values of about the declared form, with a wrong one here and there."""
    return st.one_of(*[_right(declared)] * 7, _wrong(declared))


def _right(declared: Type) -> st.SearchStrategy[Any]:
    match declared:
        case Text(enum=enum) if enum:
            return st.sampled_from([str(word) for word in enum])
        case Text():
            spelled = ["192.0.2.0/24", "192.0.2.1-192.0.2.9", "2001:db8::/64", "2001:db8:1::/64"]
            spelled += ["192.0.2.1", "2001:db8::1", "64500:1", "9s", "1m30s", ""]
            return st.sampled_from([*spelled, "app", "example.com/app", "eth0", "A.b_c-1"])
        case Integer(minimum=least, maximum=most):
            return st.integers(least, most)
        case Boolean():
            return st.booleans()
        case ListOf(item=item):
            return st.lists(values(item), max_size=3)
        case Labels():
            return st.dictionaries(NAMES, NAMES, max_size=2)
        case Struct(fields=fields):
            drawn = {field.name: values(field.type) for field in fields}
            return st.fixed_dictionaries(
                {field.name: drawn[field.name] for field in fields if field.required},
                optional={field.name: drawn[field.name] for field in fields if not field.required},
            )


def _wrong(declared: Type) -> st.SearchStrategy[Any]:
    match declared:
        case Integer(minimum=least, maximum=most):
            return st.sampled_from([least - 1, most + 1]) | SCALARS
        case Text(max_length=most):
            return st.sampled_from(["", "x" * (most + 1), "a b", "x\n", "-"]) | SCALARS
        case _:
            return SCALARS


BEYOND_FORM = (
    *("CIDR", "range", "prefix", "need values", "overlaps", "label", "zone"),
    *(
        "IP address",
        "IPv4 address",
        "community",
        "one of peer",
        "drop",
        "own namespace",
        "must be ",
    ),
)


@pytest.mark.parametrize(
    ("kind", "parse"),
    [
        (POOL, parse_pool),
        (ADVERTISEMENT, parse_l2_advertisement),
        (BGP_PEER, parse_bgp_peer),
        (BGP_ADVERTISEMENT, parse_bgp_advertisement),
        (COMMUNITY, parse_communities),
        (BFD_PROFILE, parse_bfd_profile),
    ],
    ids=lambda item: getattr(item, "kind", ""),
)
@given(data=st.data())
def test_the_parser_refuses_whatever_the_schema_refuses(
    kind: Kind, parse: Callable[[Any], Any], data: st.DataObject
) -> None:
    assert kind.spec is not None
    spec = data.draw(_right(kind.spec))
    found = parse({"metadata": {"name": "x"}, "spec": spec})
    refused = refusals(render(kind.spec), spec, "spec")
    if refused:
        assert found.spec is None
        return
    # What the parser refuses beyond the form is a rule that CEL has too, or one that the table
    # lists as beyond the schema.
    for problem in found.problems:
        assert any(part in problem.message for part in BEYOND_FORM), problem


CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["lbctl.io/Allocated", "example.com/X", "example.com/Y"]),
            "status": st.sampled_from(["True", "False"]),
            "reason": st.just("R"),
            "message": st.text(max_size=5),
            "lastTransitionTime": st.just("2026-01-01T00:00:00Z"),
        }
    ),
    max_size=3,
    unique_by=lambda item: item["type"],
)
OUTCOMES = st.builds(
    lambda number, refused: Outcome(
        service=ServiceKey("web", "shop"),
        addresses=(ip_address(number),) if number else (),
        pools=(PoolName("p"),) if number else (),
        refused=Refused(reason=Reason.POOL_EXHAUSTED, detail="full")
        if refused or not number
        else None,
        trace=(),
    ),
    st.none() | st.integers(int(ip_address("192.0.2.1")), int(ip_address("192.0.2.3"))),
    st.booleans(),
)


@given(conditions=CONDITIONS, decisions=st.lists(OUTCOMES, min_size=1, max_size=3))
def test_a_written_service_shows_what_was_decided_and_foreign_conditions_stay(
    conditions: list[dict[str, Any]], decisions: list[Outcome]
) -> None:
    body: dict[str, Any] = {
        "metadata": {"name": "shop", "namespace": "web", "annotations": {}},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {}, "conditions": conditions},
    }
    foreign = [item for item in conditions if not item["type"].startswith("lbctl.io/")]
    for decision in decisions:
        service = parse_service(body)
        assert service is not None
        patch = service_patch(service, decision, "2026-02-01T00:00:00Z")
        if patch is not None:
            _merge(body, patch)
        again = parse_service(body)
        assert again is not None
        assert again.addresses == decision.addresses
        assert again.mark == ("p" if decision.addresses else "")
        shown = body["status"]["conditions"]
        assert [item for item in shown if not item["type"].startswith("lbctl.io/")] == foreign
        assert service_patch(again, decision, "2026-03-01T00:00:00Z") is None


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Apply a merge patch in place (RFC 7386)."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
