"""Our CRDs on a real API server: every rule refuses and accepts, in words that name the field.

Specs are judged by `--dry-run=server`, which runs schema and CEL and stores nothing, so that the
product does not act on them. What rides on a status write is proved here as well, because the
patches of `lbctl.kube` rest on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lbctl.kube.crds.ip_address_pool import KIND as IP_ADDRESS_POOL
from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.crds.kinds import KINDS
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement
from lbctl.kube.crds.schema import render
from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.kube.crds.table import Kind
from lbctl.kube.groups import own_groups
from lbctl.kube.patches import pool_patch, service_patch
from lbctl.kube.service import WrittenService, parse_service
from lbctl.kube.status_objects import (
    Wanted,
    controller_state,
    service_l2_status,
    speaker_status,
)
from lbctl.model.address import parse_address
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.configuration import Verdict
from lbctl.model.membership import ViewNumber
from lbctl.model.names import LinkName, NodeName, PoolName, ServiceKey
from lbctl.model.reason import Reason
from tests.support.bgp_cases import CASES, Case
from tests.support.bounds import RULES, Bound, all_bounds, breaking, sample
from tests.support.builders import make_link, make_speaker
from tests.support.cluster import (
    PRODUCT,
    Cluster,
    advertisement,
    eventually,
    pool,
    service,
    steadily,
)
from tests.support.raw_api import MERGE, RawApi

pytestmark = pytest.mark.cluster

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
TRIED = "default"
"""Objects that are stored are stored here, where no part of the product looks: the fixture
`product` names it to the chart as another installation's namespace."""


def tried(cluster: Cluster, body: dict[str, Any]) -> str:
    """Return what the API server says to a creation, "" if it would accept it."""
    answer = cluster.kube(
        "create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(body), check=False
    )
    return "" if "created (server dry run)" in answer else answer


def blocks(count: int) -> list[str]:
    return [f"198.18.{i // 256}.{i % 256}/32" for i in range(count)]


GOOD_RANGES = [
    "192.0.2.0/24",
    "192.0.2.7/24",
    "192.0.2.1/32",
    "192.0.2.1-192.0.2.9",
    "192.0.2.9-192.0.2.9",
    "198.51.99.255-198.51.100.0",
    "192.0.2.255-198.51.100.0",
    " 192.0.2.1 - 192.0.2.9 ",
    "2001:db8::/64",
    "2001:DB8::1-2001:db8::ffff",
    "::/0",
]
BAD_RANGES = [
    "192.0.2.1",
    "nonsense",
    "192.0.2.0/33",
    "192.0.2.0/024",
    "192.0.2.0/255.255.255.0",
    "192.0.02.0/24",
    "192.0.2.1-2001:db8::1",
    "192.0.2.1-192.0.2.4-192.0.2.9",
    "192.0.2.1-",
    "-192.0.2.1",
    "192.0.2.9-192.0.2.1",
    " 198.51.100.0 - 192.0.2.255 ",
    "198.51.100.10-198.51.100.9",
    "::ffff:192.0.2.0/120",
    "::ffff:192.0.2.1-::ffff:192.0.2.9",
    "fe80::1%eth0/64",
    "",
    "1" * 101,
]


@pytest.mark.parametrize("spelled", GOOD_RANGES)
def test_a_good_range_is_accepted_by_server_and_parser(product: Cluster, spelled: str) -> None:
    body = pool("tried", spelled)
    assert tried(product, body) == ""
    found = parse_pool(body)
    assert found is not None
    assert found.problems == ()


@pytest.mark.parametrize("spelled", BAD_RANGES)
def test_a_bad_range_is_refused_by_server_and_parser_with_its_field(
    product: Cluster, spelled: str
) -> None:
    body = pool("tried", "192.0.2.0/28", spelled)
    assert "spec.addresses[1]" in tried(product, body)
    found = parse_pool(body)
    assert found is not None
    assert [problem.path for problem in found.problems] == ["spec.addresses[1]"]


def test_a_pool_may_have_a_thousand_ranges_and_not_one_more(product: Cluster) -> None:
    assert tried(product, pool("tried", *blocks(1000))) == ""
    refusal = tried(product, pool("tried", *blocks(1001)))
    assert "spec.addresses" in refusal
    assert "must have at most 1000 items" in refusal


@pytest.mark.parametrize(
    "spelled",
    [
        "   198.18.{0}.{1}   -   198.18.{0}.{1}   ",
        "2001:0db8:0000:0000:0000:{0:04x}:{1:04x}:0000-2001:0db8:0000:0000:0000:{0:04x}:{1:04x}:ffff",
    ],
    ids=["IPv4", "IPv6"],
)
def test_a_thousand_long_ranges_stay_within_the_cost_budget(product: Cluster, spelled: str) -> None:
    ranges = [spelled.format(100 + i // 100, 100 + i % 100) for i in range(1000)]
    assert tried(product, pool("tried", *ranges)) == ""


EXPRESSION_CASES = [
    ({"key": "app", "operator": "In", "values": ["a", "b"]}, True),
    ({"key": "app", "operator": "Exists"}, True),
    ({"key": "app", "operator": "DoesNotExist", "values": []}, True),
    ({"key": "example.com/tier", "operator": "NotIn", "values": [""]}, True),
    ({"key": "app", "operator": "In"}, False),
    ({"key": "app", "operator": "NotIn", "values": []}, False),
    ({"key": "app", "operator": "Exists", "values": ["a"]}, False),
    ({"key": "app", "operator": "Near", "values": ["a"]}, False),
    ({"key": "app", "operator": "In", "values": ["a", "a"]}, False),
    ({"key": "-app", "operator": "Exists"}, False),
    ({"key": "app", "operator": "In", "values": ["a b"]}, False),
    ({"operator": "Exists"}, False),
]


@pytest.mark.parametrize(("expression", "good"), EXPRESSION_CASES, ids=str)
def test_a_match_expression_is_judged_alike_by_server_and_parser(
    product: Cluster, expression: dict[str, Any], good: bool
) -> None:
    selectors = [{"matchExpressions": [expression]}]
    body = pool("tried", "192.0.2.0/24", serviceAllocation={"serviceSelectors": selectors})
    refusal = tried(product, body)
    assert (refusal == "") is good, refusal
    if not good:
        assert "spec.serviceAllocation.serviceSelectors[0].matchExpressions[0]" in refusal
    found = parse_pool(body)
    assert found is not None
    assert (found.problems == ()) is good


ADVERTISEMENT_CASES = [
    ({}, ""),
    ({"interfaces": ["eth0"], "ipAddressPools": ["a"], "nodeSelectors": [{}]}, ""),
    ({"preferredNodeSelectors": [{"weight": 100, "preference": {}}]}, ""),
    ({"interfaces": ["eth0", "eth0"]}, "spec.interfaces[1]"),
    ({"interfaces": ["et/h0"]}, "spec.interfaces[0]"),
    ({"interfaces": ["averyverylongname"]}, "spec.interfaces[0]"),
    ({"ipAddressPools": ["a", "a"]}, "spec.ipAddressPools[1]"),
    ({"nodeSelectors": [{}, {}]}, "spec.nodeSelectors[1]"),
    (
        {"preferredNodeSelectors": [{"weight": 0, "preference": {}}]},
        "spec.preferredNodeSelectors[0].weight",
    ),
    ({"preferredNodeSelectors": [{"weight": 1}]}, "spec.preferredNodeSelectors[0].preference"),
]


@pytest.mark.parametrize(("spec", "path"), ADVERTISEMENT_CASES, ids=str)
def test_an_advertisement_is_judged_alike_by_server_and_parser(
    product: Cluster, spec: dict[str, Any], path: str
) -> None:
    body = advertisement("tried", **spec)
    refusal = tried(product, body)
    assert bool(refusal) is bool(path), refusal
    assert path in refusal
    found = parse_l2_advertisement(body)
    assert found is not None
    assert [problem.path for problem in found.problems] == ([path] if path else [])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bgp_object_is_judged_by_the_server_as_by_the_parser(api: RawApi, case: Case) -> None:
    body = body_of(case.kind, spec=case.spec)
    body["metadata"]["name"] = "judged"
    status, answer, _ = api.send("POST", f"{collection(case.kind)}?dryRun=All", body)
    assert status == (422 if case.path else 201), answer
    assert case.path in answer.get("message", "")


SAYS = {
    "type": "must be of type {}",
    "required": "Required value",
    "enum": "Unsupported value",
    "format": "must be of type",
    "maxLength": "may not be more than {} bytes",
    "minLength": "should be at least {} chars long",
    "pattern": "should match '{}'",
    "minimum": "should be greater than or equal to {}",
    "maximum": "should be less than or equal to {}",
    "maxItems": "must have at most {} items",
    "minItems": "should have at least {} items",
    "maxProperties": "must have at most {} items",
    "x-kubernetes-list-type": "Duplicate value",
    "rule": "{}",
}
"""The API server's words for each keyword: the proof that this bound refused and not another."""

BOUNDS = all_bounds()
IN_SPEC = [bound for bound in BOUNDS if bound.steps[0] == "spec"]
IN_STATUS = [bound for bound in BOUNDS if bound.steps[0] == "status"]


@pytest.fixture(scope="module")
def api(product: Cluster) -> Iterator[RawApi]:
    with closing(RawApi(product.kubeconfig)) as connected:
        yield connected


def collection(kind: Kind) -> str:
    return own_groups()[kind.kind].collection(TRIED)


def body_of(kind: Kind, **parts: Any) -> dict[str, Any]:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": kind.kind,
        "metadata": {"name": "bounds", "namespace": TRIED},
        **parts,
    }


def assert_refused(bound: Bound, status: int, answer: dict[str, Any]) -> None:
    assert status == 422, (status, answer)
    limit = bound.limit[1] if bound.keyword == "rule" else bound.limit
    assert bound.path in answer["message"]
    assert SAYS[bound.keyword].format(limit) in answer["message"]


@pytest.mark.parametrize("bound", IN_SPEC, ids=str)
def test_every_bound_of_every_field_refuses_on_the_server(api: RawApi, bound: Bound) -> None:
    body = body_of(bound.kind, **breaking(bound))
    status, answer, _ = api.send("POST", f"{collection(bound.kind)}?dryRun=All", body)
    assert_refused(bound, status, answer)


@pytest.fixture(scope="module")
def stored_kinds(api: RawApi) -> Iterator[None]:
    """Store one object of each kind, with the status from which transition rules start."""
    kinds = {bound.kind.kind: bound.kind for bound in BOUNDS}.values()
    for kind in kinds:
        spec = {} if kind.spec is None else {"spec": sample(render(kind.spec))}
        status, answer, _ = api.send("POST", collection(kind), body_of(kind, **spec))
        assert status in (201, 409), answer
    yield
    for kind in kinds:
        api.send("DELETE", f"{collection(kind)}/bounds", None)


@pytest.mark.parametrize("bound", IN_STATUS, ids=str)
def test_every_bound_of_every_status_refuses_on_the_server(
    api: RawApi, stored_kinds: None, bound: Bound
) -> None:
    path = f"{collection(bound.kind)}/bounds/status"
    if bound.keyword == "rule" and RULES[bound.limit[0]].before is not None:
        before = breaking(replace(bound, keyword="before"))
        status, answer, _ = api.send("PATCH", path, before, MERGE)
        assert status == 200, answer
    status, answer, _ = api.send("PATCH", f"{path}?dryRun=All", breaking(bound), MERGE)
    assert_refused(bound, status, answer)


def test_an_unknown_field_is_refused_where_one_asks_for_it_and_pruned_where_not(
    api: RawApi,
) -> None:
    body = pool("tried", "192.0.2.0/24", color="red")
    path = f"/apis/lbctl.io/v1beta1/namespaces/{PRODUCT}/ipaddresspools?dryRun=All"
    status, answer, _ = api.send("POST", f"{path}&fieldValidation=Strict", body)
    assert (status, "spec.color" in answer["message"]) == (400, True)
    status, answer, warnings = api.send("POST", f"{path}&fieldValidation=Warn", body)
    assert status == 201, answer
    assert "color" not in answer["spec"]
    assert any("spec.color" in warning for warning in warnings)


def create_stray(api: RawApi, namespace: str) -> tuple[int, str]:
    """Return what the API server says to a pool in a namespace that lbctl does not read."""
    body = body_of(IP_ADDRESS_POOL, spec={"addresses": ["192.0.2.0/24"]})
    body["metadata"] = {"name": "stray", "namespace": namespace}
    path = own_groups()[IP_ADDRESS_POOL.kind].collection(namespace)
    status, answer, _ = api.send("POST", f"{path}?dryRun=All", body)
    return status, answer.get("message", "")


@pytest.fixture
def door(api: RawApi) -> RawApi:
    """Return the connection when the webhook is at work, in both replicas."""

    def shut() -> bool:
        return all(create_stray(api, "kube-public")[0] == 403 for _ in range(20))

    eventually("the webhook refuses, whichever replica is asked", shut)
    return api


def test_an_object_in_another_namespace_is_refused_unless_its_named(door: RawApi) -> None:
    _, message = create_stray(door, "kube-public")
    assert "IPAddressPool kube-public/stray: metadata.namespace: " in message
    assert f"in namespace {PRODUCT} only; create the object there" in message
    assert create_stray(door, TRIED)[0] == 201


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (pool("tried", "2001:db8::9-2001:db8::1"), "swap the two addresses"),
        (pool("tried", "192.0.2.0/24", "192.0.2.7/32"), "write every address once"),
        (
            pool(
                "tried",
                "192.0.2.0/24",
                serviceAllocation={"serviceSelectors": [{"matchLabels": {"a b": "c"}}]},
            ),
            "'a b' is not a label key",
        ),
    ],
    ids=["backwards in IPv6", "an address twice", "a label key"],
)
def test_what_cel_cannot_say_the_webhook_says(
    door: RawApi, body: dict[str, Any], said: str
) -> None:
    path = own_groups()[IP_ADDRESS_POOL.kind].collection(PRODUCT)
    status, answer, _ = door.send("POST", f"{path}?dryRun=All", body)
    assert status == 403, answer
    assert f"IPAddressPool {PRODUCT}/tried: spec." in answer["message"]
    assert said in answer["message"]


def test_a_deleted_certificate_is_made_anew_while_the_door_stays_shut(
    product: Cluster, door: RawApi
) -> None:
    def certificate() -> str:
        secret = product.get("secret", "lbctl-webhook", PRODUCT)
        return str(secret.get("data", {}).get("tls.crt", ""))

    before = certificate()
    product.delete("secret", "lbctl-webhook", PRODUCT)
    # Long enough for both replicas to have found the new one, and served it.
    steadily("the webhook refuses", lambda: create_stray(door, "kube-public")[0] == 403, for_s=20.0)
    assert certificate() not in ("", before)


def test_the_defaults_are_filled_in_by_the_server(product: Cluster) -> None:
    answer = product.kube(
        "create",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
        stdin=yaml.safe_dump(pool("tried", "192.0.2.0/24")),
    )
    spec = json.loads(answer)["spec"]
    assert (spec["autoAssign"], spec["avoidBuggyIPs"]) == (True, False)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_crd_is_established_without_a_complaint(product: Cluster, kind: Any) -> None:
    name = f"{kind.plural}.lbctl.io"
    conditions = product.get("customresourcedefinition", name)["status"]["conditions"]
    shown = {condition["type"]: condition["status"] for condition in conditions}
    assert shown["Established"] == "True"
    assert shown.get("NonStructuralSchema", "False") == "False"


class Store:
    """Put status objects in and take them out, as the shells do."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.made: list[Wanted] = []

    def put(self, wanted: Wanted) -> dict[str, Any]:
        plural, name = wanted.resource.plural, wanted.name
        kind = f"{plural}.{wanted.resource.group}"
        if not self.cluster.get(kind, name, TRIED):
            self.made.append(wanted)
            self.cluster.apply(dict(wanted.body()))
        version = self.cluster.get(kind, name, TRIED)["metadata"]["resourceVersion"]
        answer = self.cluster.kube(
            "-n", TRIED, "patch", kind, name, "--subresource=status", "--type=merge",
            "-o", "json", "-p", json.dumps(wanted.patch(version)),
        )  # fmt: skip
        return dict(json.loads(answer))


@pytest.fixture
def store(product: Cluster) -> Iterator[Store]:
    filled = Store(product)
    yield filled
    for wanted in filled.made:
        product.delete(f"{wanted.resource.plural}.{wanted.resource.group}", wanted.name, TRIED)


def announced(node: str, service: str = "tried") -> ServiceL2Status:
    address = parse_address("192.0.2.1")
    assert address is not None
    return ServiceL2Status(
        service=ServiceKey("nowhere", service),
        node=NodeName(node),
        interfaces=(LinkName("eth0"),),
        addresses=(address,),
        epoch=ViewNumber(generation=1, number=2),
    )


def test_a_service_l2_status_follows_its_owner_and_keeps_its_service(store: Store) -> None:
    wanted = service_l2_status(own_groups(), TRIED, announced("node1"))
    assert store.put(wanted)["status"] == wanted.status
    moved = service_l2_status(own_groups(), TRIED, announced("node2"))
    assert store.put(moved)["status"]["node"] == "node2"
    found = store.cluster.kube(
        "-n", TRIED, "get", "servicel2statuses.lbctl.io", "-o", "name",
        "--field-selector", "status.node=node2",
    )  # fmt: skip
    assert wanted.name in found
    stolen = Wanted(
        resource=wanted.resource,
        metadata=wanted.metadata,
        status={**wanted.status, "serviceName": "other"},
    )
    with pytest.raises(AssertionError, match="serviceName cannot be changed"):
        store.put(stolen)


def test_speaker_status_and_configuration_state_are_stored_as_rendered(store: Store) -> None:
    report = make_speaker(
        "tried",
        links=(make_link("eth0", "192.0.2.201/24", "2001:db8::1/64"),),
        faults=(("a", "b"),),
    )
    wanted = speaker_status(own_groups(), TRIED, report)
    assert store.put(wanted)["status"] == wanted.status
    state = controller_state(own_groups(), TRIED, problems=(), found=None, now_rfc3339=NOW)
    assert state is not None
    assert store.put(state)["status"] == state.status


@pytest.fixture
def stored_pool(product: Cluster) -> Iterator[str]:
    body = pool("tried", "2001:db8::/32")
    body["metadata"]["namespace"] = TRIED
    product.apply(body)
    yield "tried"
    product.delete("ipaddresspools.lbctl.io", "tried", TRIED)


@pytest.mark.parametrize("left", [0, 2**63 - 1])
def test_a_pool_shows_counters_up_to_63_bits_and_drops_them(
    product: Cluster, stored_pool: str, left: int
) -> None:
    def write(verdict: Verdict, counters: tuple[int, int, int, int] | None) -> dict[str, Any]:
        found = parse_pool(product.get("ipaddresspools.lbctl.io", stored_pool, TRIED))
        assert found is not None
        body = pool_patch(found, verdict, counters, NOW)
        assert body is not None
        answer = product.kube(
            "-n", TRIED, "patch", "ipaddresspools.lbctl.io", stored_pool, "--subresource=status",
            "--type=merge", "-o", "json", "-p", json.dumps(body),
        )  # fmt: skip
        again = parse_pool(json.loads(answer))
        assert again is not None
        assert pool_patch(again, verdict, counters, LATER) is None
        return dict(json.loads(answer)["status"])

    good = Verdict(accepted=True, reason=Reason.ACCEPTED, message="in effect")
    bad = Verdict(accepted=False, reason=Reason.INVALID, message="nonsense")
    assert write(good, (0, left, 0, left))["availableIPv6"] == left
    assert set(write(bad, None)) == {"conditions"}


@pytest.fixture
def foreign_service(product: Cluster) -> Iterator[str]:
    """Make a Service of a class that nobody serves, with a condition of somebody else."""
    product.apply(service("tried", loadBalancerClass="example.com/nobody"))
    foreign = {
        "type": "example.com/X",
        "status": "True",
        "reason": "R",
        "message": "m",
        "lastTransitionTime": NOW,
    }
    patch(product, {"status": {"conditions": [foreign]}})
    yield "tried"
    product.delete("service", "tried")


def patch(cluster: Cluster, body: dict[str, Any]) -> WrittenService:
    answer = cluster.kube(
        "patch", "service", "tried", "--subresource=status", "--type=merge",
        "-o", "json", "-p", json.dumps(body),
    )  # fmt: skip
    found = parse_service(json.loads(answer))
    assert found is not None
    return found


def shown(cluster: Cluster) -> WrittenService:
    found = parse_service(eventually("it is there", lambda: cluster.get("service", "tried")))
    assert found is not None
    return found


def test_address_mark_and_condition_of_a_service_ride_on_one_status_patch(
    product: Cluster, foreign_service: str
) -> None:
    address = parse_address("192.0.2.1")
    assert address is not None
    key = ServiceKey("default", foreign_service)
    given = Outcome(
        service=key, addresses=(address,), pools=(PoolName("p"),), refused=None, trace=()
    )
    body = service_patch(shown(product), given, NOW)
    assert body is not None
    after = patch(product, body)
    assert (after.addresses, after.mark, after.vip_mode) == ((address,), "p", True)
    assert "example.com/X" in after.written_conditions
    assert service_patch(after, given, LATER) is None

    stale = product.kube(
        "patch", "service", "tried", "--subresource=status", "--type=merge",
        "-p", json.dumps(body), check=False,
    )  # fmt: skip
    assert "Conflict" in stale or "modified" in stale

    gone = NotOurs(service=key, reason=Reason.FOREIGN_CLASS, detail="", release=True)
    body = service_patch(after, gone, LATER)
    assert body is not None
    released = patch(product, body)
    assert (released.addresses, released.mark, released.conditions) == ((), "", ())
    assert "example.com/X" in released.written_conditions
