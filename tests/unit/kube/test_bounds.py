"""Every bound of every field: the schema's oracle and the parser refuse the object that breaks it.

The same objects go to a real API server in tests/cluster/test_crds.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.kube.crds.bfd_profile import parse_bfd_profile
from lbctl.kube.crds.bgp_advertisement import parse_bgp_advertisement
from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.kube.crds.communities import parse_communities
from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement
from lbctl.kube.crds.schema import render
from lbctl.kube.crds.table import Kind
from tests.support.bounds import RULES, Bound, all_bounds, breaking, sample
from tests.support.structural import refusals

BOUNDS = all_bounds()
PARSERS = {
    "IPAddressPool": parse_pool,
    "L2Advertisement": parse_l2_advertisement,
    "BGPPeer": parse_bgp_peer,
    "BGPAdvertisement": parse_bgp_advertisement,
    "Community": parse_communities,
    "BFDProfile": parse_bfd_profile,
}
PARSED = [one for one in BOUNDS if one.steps[0] == "spec" and one.kind.kind in PARSERS]
JUDGED = [one for one in BOUNDS if one.keyword not in ("rule", "format") and one.limit != "map"]
"""Rules, formats and maps are beyond the oracle."""


def problems(kind: Kind, spec: Any) -> list[str]:
    found = PARSERS[kind.kind]({"metadata": {"name": "tried"}, "spec": spec})
    assert found is not None
    return [problem.path for problem in found.problems]


@pytest.mark.parametrize("kind", {bound.kind.kind: bound.kind for bound in PARSED}.values())
def test_an_object_of_required_fields_only_is_good(kind: Kind) -> None:
    assert kind.spec is not None
    assert problems(kind, sample(render(kind.spec))) == []


@pytest.mark.parametrize("bound", PARSED, ids=str)
def test_the_parser_refuses_what_breaks_a_bound_and_names_the_field(bound: Bound) -> None:
    found = problems(bound.kind, breaking(bound)["spec"])
    assert found
    for path in found:
        assert path.replace("['k']", ".k").startswith(bound.path)


@pytest.mark.parametrize("bound", JUDGED, ids=str)
def test_the_oracle_of_schemas_refuses_what_breaks_a_bound(bound: Bound) -> None:
    ((part, value),) = breaking(bound).items()
    declared = bound.kind.spec if part == "spec" else bound.kind.status
    assert declared is not None
    assert refusals(render(declared), value, part)


def test_every_rule_of_the_tables_is_broken_by_some_object() -> None:
    assert {bound.limit[0] for bound in BOUNDS if bound.keyword == "rule"} == RULES.keys()
