"""Read Services and pools the dumb way, for the oracle: nothing here is the product's.

A body is read again each time it is asked about; ranges are pairs of integers; whatever is not
plainly right is rubbish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import combinations
from typing import Any

Address = IPv4Address | IPv6Address
Body = Mapping[str, Any]
Block = tuple[int, int, int]
"""Version, first, last."""

PREFIXES = ("lbctl.io/", "metallb.io/", "metallb.universe.tf/")
SEARCHED = 2048
"""How much of a range the oracle looks at: more than a history ever gives."""


@dataclass(frozen=True)
class ReadService:
    key: tuple[str, str]
    uid: str
    age: tuple[str, str, str]
    type: str
    lb_class: str | None
    carried: bool
    """Whether it has a cluster IP."""
    versions: tuple[int, ...]
    """The families that it needs, 4 first."""
    prefers: bool
    local: bool
    selector: dict[str, str]
    ports: frozenset[tuple[str, int]]
    labels: dict[str, str]
    sharing_key: str
    rubbish: bool
    asks: tuple[Address, ...]
    pool: str
    mark: str
    shown: tuple[Address, ...]
    hostnames: tuple[str, ...]
    says_wait: bool


@dataclass(frozen=True)
class ReadPool:
    name: str
    uid: str
    created: str
    generation: int
    blocks: tuple[Block, ...] | None
    """None: its fields are no pool."""
    auto_assign: bool
    avoid_buggy: bool
    rule: Body | None
    accepted: bool
    """Whether its condition says that this generation is in effect."""

    def __contains__(self, address: Address) -> bool:
        return (
            self.blocks is not None
            and not (self.avoid_buggy and buggy(address))
            and any(
                version == address.version and first <= int(address) <= last
                for version, first, last in self.blocks
            )
        )


def read_service(body: Body) -> ReadService:
    metadata, spec = body["metadata"], body["spec"]
    annotations = metadata["annotations"]
    address_families = {"IPv4": 4, "IPv6": 6}
    ingress = body["status"].get("loadBalancer", {}).get("ingress") or []
    rubbish, asks = read_request(annotations, spec)
    mark = next(
        (
            annotations[prefix + "ip-allocated-from-pool"]
            for prefix in PREFIXES[:2]
            if annotations.get(prefix + "ip-allocated-from-pool")
        ),
        "",
    )
    ours = [
        item
        for item in body["status"].get("conditions") or []
        if item["type"] == "lbctl.io/Allocated"
    ]
    return ReadService(
        key=(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        age=(metadata["creationTimestamp"], metadata["namespace"], metadata["name"]),
        type=spec["type"],
        lb_class=spec.get("loadBalancerClass"),
        carried=spec.get("clusterIP", "None") != "None",
        versions=tuple(sorted(address_families[name] for name in spec.get("ipFamilies", ()))),
        prefers=spec.get("ipFamilyPolicy") == "PreferDualStack",
        local=spec.get("externalTrafficPolicy") == "Local",
        selector=spec.get("selector") or {},
        ports=frozenset((port["protocol"], port["port"]) for port in spec["ports"]),
        labels=metadata["labels"],
        sharing_key=spoken(annotations, "allow-shared-ip"),
        rubbish=rubbish,
        asks=asks,
        pool="" if rubbish else spoken(annotations, "address-pool").strip(),
        mark=mark,
        shown=tuple(ip_address(entry["ip"]) for entry in ingress if "ip" in entry),
        hostnames=tuple(entry["hostname"] for entry in ingress if "hostname" in entry),
        says_wait=any(
            item["status"] == "False" or item["reason"] == "PartiallyAllocated" for item in ours
        ),
    )


def spoken(annotations: Body, name: str) -> str:
    for prefix in PREFIXES:
        if prefix + name in annotations:
            return str(annotations[prefix + name])
    return ""


def read_request(annotations: Body, spec: Body) -> tuple[bool, tuple[Address, ...]]:
    """Return whether the request is rubbish, and the addresses that it asks for."""
    text = spoken(annotations, "loadBalancerIPs").strip()
    try:
        annotated = [ip_address(item.strip()) for item in text.split(",")] if text else []
        in_spec = [ip_address(spec["loadBalancerIP"])] if spec.get("loadBalancerIP") else []
    except ValueError:
        return True, ()
    two_of_one = len({item.version for item in annotated}) < len(annotated)
    contradiction = bool(annotated and in_spec and annotated != in_spec)
    if two_of_one or contradiction:
        return True, ()
    return False, tuple(annotated or in_spec)


def read_pool(body: Body) -> ReadPool:
    metadata, spec = body["metadata"], body["spec"]
    accepted = [
        item
        for item in body.get("status", {}).get("conditions") or []
        if item["type"] == "Accepted"
    ]
    return ReadPool(
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        generation=metadata["generation"],
        blocks=read_blocks(tuple(spec["addresses"])),
        auto_assign=spec.get("autoAssign", True),
        avoid_buggy=spec.get("avoidBuggyIPs", False),
        rule=spec.get("serviceAllocation"),
        accepted=any(
            item["status"] == "True" and item["observedGeneration"] == metadata["generation"]
            for item in accepted
        ),
    )


@cache
def read_blocks(texts: tuple[str, ...]) -> tuple[Block, ...] | None:
    blocks = []
    for text in texts:
        try:
            if "-" in text:
                first, last = map(ip_address, text.split("-"))
            else:
                network = ip_network(text)
                first, last = network[0], network[-1]
        except ValueError:
            return None
        if first.version != last.version or int(last) < int(first):
            return None
        blocks.append((first.version, int(first), int(last)))
    inner = any(meet(one, other) for one, other in combinations(blocks, 2))
    return None if inner or not blocks else tuple(blocks)


def meet(one: Block, other: Block) -> bool:
    return one[0] == other[0] and one[1] <= other[2] and other[1] <= one[2]


def buggy(address: Address) -> bool:
    return address.version == 4 and str(address).endswith((".0", ".255"))


def every_address(pool: ReadPool, version: int) -> tuple[Address, ...]:
    """Return the addresses of one family in the order of the list, of a vast range its beginning."""
    return _every_address(pool.blocks or (), pool.avoid_buggy, version)


@cache
def _every_address(
    blocks: tuple[Block, ...], avoid_buggy: bool, version: int
) -> tuple[Address, ...]:
    return tuple(
        address
        for block in blocks
        if block[0] == version
        for address in _in_block(block)
        if not (avoid_buggy and buggy(address))
    )


def _in_block(block: Block) -> Iterator[Address]:
    version, first, last = block
    kind = IPv4Address if version == 4 else IPv6Address
    return (kind(number) for number in range(first, min(last, first + SEARCHED) + 1))


def capacity(pool: ReadPool, version: int) -> int:
    """Return how many addresses of a family the pool has; buggy ones are counted one by one."""
    found = 0
    for block in pool.blocks or ():
        if block[0] == version:
            found += block[2] - block[1] + 1
            if pool.avoid_buggy and version == 4:
                found -= _buggy_in(block)
    return found


@cache
def _buggy_in(block: Block) -> int:
    return sum(buggy(IPv4Address(number)) for number in range(block[1], block[2] + 1))


def selects(selector: Body, labels: Body) -> bool:
    for name, value in (selector.get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    return all(_expressed(item, labels) for item in selector.get("matchExpressions") or ())


def _expressed(item: Body, labels: Body) -> bool:
    there = item["key"] in labels
    match item["operator"]:
        case "In":
            return there and labels[item["key"]] in item["values"]
        case "NotIn":
            return not there or labels[item["key"]] not in item["values"]
        case "Exists":
            return there
    return not there
