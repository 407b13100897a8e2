"""The kind IPAddressPool: which addresses there are and who may use them. Pure.

Fields and defaults are MetalLB's. A pool is bounded to 1,000 entries: an entry may be a /8 or a
/64, and a list that long is refused by the API server and by the parser alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.configured import Written, configured
from lbctl.kube.crds.addresses import RANGE
from lbctl.kube.crds.conditions import CONDITIONS, INT64_MAX
from lbctl.kube.crds.selectors import SELECTORS, render_selector
from lbctl.kube.crds.table import Boolean, Column, Field, Integer, Kind, ListOf, Struct, Text
from lbctl.kube.loose import Metadata, mapping
from lbctl.model.address import Range
from lbctl.model.names import PoolName
from lbctl.model.outcome import Problem
from lbctl.model.pool import Pool, ServiceAllocation

ADDRESSES_MAX = 1_000
NAMESPACES_MAX = 1_000
INT32_MAX = 2_147_483_647
COUNTERS = ("assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6")


def _allocation(fields: Mapping[str, Any]) -> ServiceAllocation:
    return ServiceAllocation(
        priority=fields["priority"] or 0,
        namespaces=frozenset(fields["namespaces"] or ()),
        namespace_selectors=fields["namespaceSelectors"] or (),
        service_selectors=fields["serviceSelectors"] or (),
    )


_SERVICE_ALLOCATION = Struct(
    fields=(
        Field(
            name="priority",
            type=Integer(minimum=-INT32_MAX - 1, maximum=INT32_MAX),
            description="Rank among the pools with serviceAllocation: the lower number is tried "
            "first; 0 or absent comes last. Equal ranks are tried by name.",
        ),
        Field(
            name="namespaces",
            type=ListOf(
                item=Text(max_length=63, min_length=1), max_items=NAMESPACES_MAX, unique=True
            ),
            description="Namespaces whose Services the pool serves.",
        ),
        Field(
            name="namespaceSelectors",
            type=SELECTORS,
            description="Selectors of namespaces by label, united with namespaces. If they match "
            "nothing, the pool serves nobody.",
        ),
        Field(
            name="serviceSelectors",
            type=SELECTORS,
            description="Selectors of Services by label, one of which must match, in addition to "
            "the namespaces.",
        ),
    ),
    build=_allocation,
)

_COUNTER_TEXTS = (
    "IPv4 addresses in use; a shared one counts once.",
    "IPv6 addresses in use; a shared one counts once.",
    "IPv4 addresses left; saturates at 9223372036854775807.",
    "IPv6 addresses left; saturates at 9223372036854775807.",
)

KIND = Kind(
    kind="IPAddressPool",
    plural="ipaddresspools",
    singular="ipaddresspool",
    description="IPAddressPool is a named set of addresses that Services of type LoadBalancer get.",
    spec=Struct(
        fields=(
            Field(
                name="addresses",
                type=ListOf(item=RANGE, max_items=ADDRESSES_MAX, min_items=1),
                required=True,
                description="CIDRs (host bits are masked away) or ranges `first-last`, each of one "
                "family, at most 1,000. Addresses are given in this order.",
            ),
            Field(
                name="autoAssign",
                type=Boolean(),
                default=True,
                description="false: only Services that ask for the pool or for an address of it "
                "get one.",
            ),
            Field(
                name="avoidBuggyIPs",
                type=Boolean(),
                default=False,
                description="true: IPv4 addresses that end in .0 or .255 do not belong to the pool.",
            ),
            Field(
                name="serviceAllocation",
                type=_SERVICE_ALLOCATION,
                description="Which Services the pool serves, and its rank; absent: all of them.",
            ),
        )
    ),
    status=Struct(
        fields=(
            *(
                Field(
                    name=name,
                    type=Integer(minimum=0, maximum=INT64_MAX, wide=True),
                    description=description,
                )
                for name, description in zip(COUNTERS, _COUNTER_TEXTS, strict=True)
            ),
            Field(
                name="conditions",
                type=CONDITIONS,
                description="Accepted says whether the pool is in effect.",
            ),
        )
    ),
    columns=(
        Column(
            name="Auto Assign",
            type="boolean",
            path=".spec.autoAssign",
            description="Whether Services get its addresses unasked",
        ),
        Column(
            name="Avoid Buggy IPs",
            type="boolean",
            path=".spec.avoidBuggyIPs",
            description="Whether .0 and .255 are left out",
            priority=1,
        ),
        Column(
            name="Addresses",
            type="string",
            path=".spec.addresses",
            description="Its CIDRs and ranges",
        ),
        Column(
            name="Free IPv4",
            type="integer",
            path=".status.availableIPv4",
            description="IPv4 addresses left",
        ),
        Column(
            name="Free IPv6",
            type="integer",
            path=".status.availableIPv6",
            description="IPv6 addresses left",
        ),
        Column(
            name="Accepted",
            type="string",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether the pool is in effect",
        ),
    ),
    beyond_schema=(
        "an IPv6 range must not end before it begins",
        "no two entries of one pool may hold the same address",
        "a key of matchLabels must be a label key",
        "no two pools may hold the same address: the older one works, the younger is reported",
    ),
)


def parse_pool(body: Any) -> Written[Pool] | None:
    """Return the pool with every problem it has, or None when it has no name."""
    status = mapping(mapping(body).get("status"))
    found = [status.get(name) for name in COUNTERS]
    counters = [n for n in found if isinstance(n, int) and not isinstance(n, bool)]
    return configured(
        KIND,
        body,
        build=_pool,
        counters=(counters[0], counters[1], counters[2], counters[3])
        if len(counters) == len(COUNTERS)
        else None,
    )


def _pool(metadata: Metadata, fields: Mapping[str, Any], problems: list[Problem]) -> Pool:
    ranges: tuple[Range, ...] = fields["addresses"]
    problems.extend(_overlaps(ranges))
    return Pool(
        name=PoolName(metadata.name),
        namespace=metadata.namespace,
        uid=metadata.uid,
        created=metadata.created,
        generation=metadata.generation,
        labels=metadata.labels,
        ranges=ranges,
        auto_assign=fields["autoAssign"],
        avoid_buggy_ips=fields["avoidBuggyIPs"],
        allocation=fields["serviceAllocation"],
    )


def _overlaps(ranges: tuple[Range, ...]) -> list[Problem]:
    """Return a problem for every range that begins inside another, in the order of the list."""
    in_order = sorted(
        range(len(ranges)), key=lambda i: (ranges[i].first.version, int(ranges[i].first), i)
    )
    problems: dict[int, Problem] = {}
    widest = in_order[0]
    for index in in_order[1:]:
        if ranges[index].overlaps(ranges[widest]):
            later, earlier = max(index, widest), min(index, widest)
            problems[later] = Problem(
                path=f"spec.addresses[{later}]",
                message=f"{ranges[later]} overlaps spec.addresses[{earlier}] ({ranges[earlier]}); "
                "write every address once",
            )
        if ranges[index].first.version != ranges[widest].first.version or int(
            ranges[index].last
        ) > int(ranges[widest].last):
            widest = index
    return [problems[index] for index in sorted(problems)]


def render_pool(pool: Pool) -> dict[str, Any]:
    """Return the API object that `parse_pool` reads back as `pool` (metadata, spec)."""
    spec: dict[str, Any] = {
        "addresses": [str(block) for block in pool.ranges],
        "autoAssign": pool.auto_assign,
        "avoidBuggyIPs": pool.avoid_buggy_ips,
    }
    if pool.allocation is not None:
        spec["serviceAllocation"] = {
            "priority": pool.allocation.priority,
            "namespaces": sorted(pool.allocation.namespaces),
            "namespaceSelectors": [
                render_selector(selector) for selector in pool.allocation.namespace_selectors
            ],
            "serviceSelectors": [
                render_selector(selector) for selector in pool.allocation.service_selectors
            ],
        }
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": KIND.kind,
        "metadata": {
            "name": pool.name,
            "namespace": pool.namespace,
            "uid": pool.uid,
            "creationTimestamp": pool.created,
            "generation": pool.generation,
            "labels": dict(pool.labels),
        },
        "spec": spec,
    }
