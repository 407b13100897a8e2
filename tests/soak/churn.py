"""What users do in a burst: create, edit and delete Services, and change pools in between.

Everything is drawn from the seed of the round and from the Services that are there. There are
more Services than addresses, so that some always wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from lbctl.api.errors import ApiRefused
from lbctl.api.session import MERGE_PATCH, ApiSession

Body = dict[str, Any]

NAMESPACES = ("soak-red", "soak-blue")
POOLS = "/apis/lbctl.io/v1beta1/namespaces/lbctl-system/ipaddresspools"
CONCURRENCY = 8
MANY = 250
"""Above so many Services more are deleted than created."""
ASKABLE = [f"198.18.128.{number}" for number in range(8)] + ["198.18.129.3", "203.0.113.9"]
GOLD = {"serviceSelectors": [{"matchLabels": {"tier": "gold"}}], "priority": 10}


class Churn:
    """The users; `number` counts the names that were given."""

    def __init__(self, session: ApiSession) -> None:
        self._session = session
        self._names: list[tuple[str, str]] = []
        self._number = 0
        self._spare = ""

    async def begin(self) -> None:
        for name in NAMESPACES:
            await self._session.request(
                "POST", "/api/v1/namespaces", body={"metadata": {"name": name}}
            )
        await self._make_pool("main", ["198.18.128.0/25", "2001:db8:0:7::/64"])
        await self._make_pool("gold", ["198.18.129.0/28"], serviceAllocation=GOLD)
        await self._rename_spare(Random(0))

    async def burst(
        self, rng: Random, count: int, strike: Callable[[int], Awaitable[None]]
    ) -> None:
        """Do `count` things, some at a time; `strike` is told the number of each beforehand."""
        gate = asyncio.Semaphore(CONCURRENCY)
        pools = set(rng.sample(range(count), 2))

        async def one(thing: Callable[[Random], Awaitable[None]], seed: float) -> None:
            async with gate:
                await thing(Random(seed))

        async with asyncio.TaskGroup() as group:
            for index in range(count):
                await strike(index)
                thing = self._change_pool if index in pools else self._thing(rng)
                async with gate:  # the next is drawn when there is room for it
                    pass
                group.create_task(one(thing, rng.random()))

    def _thing(self, rng: Random) -> Callable[[Random], Awaitable[None]]:
        weights = (20, 45, 35) if len(self._names) > MANY else (45, 15, 40)
        if not self._names:
            return self._create
        return rng.choices((self._create, self._delete, self._edit), weights)[0]

    # Services

    async def _create(self, rng: Random) -> None:
        self._number += 1
        namespace, name = rng.choice(NAMESPACES), f"s{self._number}"
        spec: Body = {
            "type": rng.choices(("LoadBalancer", "ClusterIP"), (95, 5))[0],
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": ["IPv4"],
            "selector": {"app": rng.choice("xy")},
            "ports": [{"port": rng.choice((80, 81, 82))}],
        }
        if spec["type"] == "LoadBalancer":
            spec["allocateLoadBalancerNodePorts"] = False
            if rng.random() < 0.05:
                spec["loadBalancerClass"] = "example.com/other"
        family = rng.random()
        if family < 0.1:
            spec["ipFamilies"] = ["IPv6"]
        elif family < 0.4:
            spec["ipFamilies"] = rng.choice((["IPv4", "IPv6"], ["IPv6", "IPv4"]))
            spec["ipFamilyPolicy"] = rng.choice(("PreferDualStack", "RequireDualStack"))
        annotations = {} if rng.random() < 0.6 else self._wish(rng)
        labels = {"tier": "gold"} if rng.random() < 0.3 else {}
        metadata = {"name": name, "labels": labels, "annotations": annotations}
        body = {"metadata": metadata, "spec": spec}
        await self._session.request("POST", f"/api/v1/namespaces/{namespace}/services", body=body)
        self._names.append((namespace, name))

    def _wish(self, rng: Random) -> Body:
        kind = rng.randrange(10)
        if kind < 6:
            return {"lbctl.io/allow-shared-ip": rng.choice("klm")}
        if kind < 8:
            prefix = rng.choice(("lbctl.io", "metallb.io", "metallb.universe.tf"))
            return {f"{prefix}/loadBalancerIPs": rng.choice(ASKABLE)}
        return {"lbctl.io/address-pool": rng.choice(("main", "gold"))}

    async def _delete(self, rng: Random) -> None:
        if not self._names:
            return
        namespace, name = self._names.pop(rng.randrange(len(self._names)))
        await self._session.request("DELETE", _path(namespace, name))

    async def _edit(self, rng: Random) -> None:
        if not self._names:
            return
        namespace, name = rng.choice(self._names)
        wishes = dict.fromkeys(
            ("lbctl.io/allow-shared-ip", "lbctl.io/loadBalancerIPs", "lbctl.io/address-pool")
        )
        patch: Body = rng.choices(
            (
                {"metadata": {"annotations": wishes | self._wish(rng)}},
                {"metadata": {"annotations": wishes}},
                {"metadata": {"labels": {"tier": rng.choice(("gold", None))}}},
                {"spec": {"ports": [{"port": rng.choice((80, 81, 82, 83))}]}},
                {"spec": {"ipFamilyPolicy": "PreferDualStack"}},
                {"spec": {"ipFamilyPolicy": "SingleStack"}},
                {"spec": {"externalTrafficPolicy": rng.choice(("Local", "Cluster"))}},
                {"spec": {"type": "ClusterIP", "loadBalancerClass": None,
                          "externalTrafficPolicy": None, "allocateLoadBalancerNodePorts": None}},
                {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}},
            ),
            (6, 4, 4, 3, 2, 2, 3, 2, 4),
        )[0]  # fmt: skip
        try:
            await self._session.request(
                "PATCH", _path(namespace, name), body=patch, content_type=MERGE_PATCH
            )
        except ApiRefused as error:
            # Deleted meanwhile, or no edit of this kind of Service: a user is told so too.
            if error.status not in {404, 409, 422}:
                raise

    # Pools

    async def _change_pool(self, rng: Random) -> None:
        await rng.choice((self._resize_main, self._rename_spare, self._nonsense_or_gold))(rng)

    async def _resize_main(self, rng: Random) -> None:
        ranges = rng.choice(("198.18.128.0/25", "198.18.128.0/26", "198.18.128.16-198.18.128.140"))
        await self._edit_pool("main", [ranges, "2001:db8:0:7::/64"])

    async def _nonsense_or_gold(self, rng: Random) -> None:
        # The schema cannot tell that two entries overlap.
        sane = ["198.18.129.0/28"]
        await self._edit_pool("gold", rng.choice((sane, [*sane, "198.18.129.4/30"])))

    async def _rename_spare(self, rng: Random) -> None:
        old, self._spare = self._spare, f"spare-{self._number}"
        if old == self._spare:
            return
        if old:
            await self._session.request("DELETE", f"{POOLS}/{old}")
        await self._make_pool(self._spare, ["198.18.130.0-198.18.130.39"])

    async def _make_pool(self, name: str, ranges: list[str], **spec: Any) -> None:
        body = {
            "apiVersion": "lbctl.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": name},
            "spec": {"addresses": ranges, **spec},
        }
        await self._session.request("POST", POOLS, body=body)

    async def _edit_pool(self, name: str, ranges: list[str]) -> None:
        patch = {"spec": {"addresses": ranges}}
        await self._session.request(
            "PATCH", f"{POOLS}/{name}", body=patch, content_type=MERGE_PATCH
        )


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services/{name}"
