"""Plan one cluster's allocation step by step in tests, writing statuses as the controller would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lbctl.model.allocation import Outcome
from lbctl.model.configuration import Configured
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.allocation import EMPTY, Plan, plan
from tests.support.builders import make_pool, make_service, make_snapshot, service_key, with_status


class Cluster:
    """Hold a world, plan it incrementally, and write what was planned."""

    def __init__(self, *pools: Pool | Configured[Pool]) -> None:
        self.pools = list(pools)
        self.services: dict[str, Service] = {}
        self.namespaces: dict[str, dict[str, str]] = {"default": {}}
        self.plan: Plan = EMPTY
        self.births = 0

    def put(self, name: str, **fields: Any) -> None:
        """Create the Service, or edit it if it is there."""
        key = service_key(name)
        present = self.services.get(name)
        self.births += present is None
        made = make_service(key, **{"created": self.births, "uid": f"uid-{self.births}", **fields})
        if present is not None:
            made = replace(
                made,
                uid=present.uid,
                created=present.created,
                addresses=present.addresses if "status" not in fields else made.addresses,
                mark=present.mark if "mark" not in fields else made.mark,
                conditions=present.conditions,
            )
        self.services[name] = made

    def snapshot(self) -> Snapshot:
        return make_snapshot(
            services=self.services.values(), pools=self.pools, namespaces=self.namespaces
        )

    def go(self, *changed: str, write: bool = True) -> Cluster:
        """Plan for the changed Services, or for everything, and write the decisions."""
        keys = frozenset(map(service_key, changed))
        change = Changed(services=keys) if changed else EVERYTHING
        self.plan = plan(self.plan, self.snapshot(), change, load_balancer_class=None)
        if write:
            for name, service in self.services.items():
                decision = self.plan.outcomes[service.key]
                if isinstance(decision, Outcome):
                    mark = ",".join(dict.fromkeys(decision.pools))
                    self.services[name] = with_status(
                        service, *map(str, decision.addresses), mark=mark
                    )
        return self

    def restart(self) -> Cluster:
        self.plan = EMPTY
        return self.go()

    def decision(self, name: str) -> Outcome:
        decision = self.plan.outcomes[service_key(name)]
        assert isinstance(decision, Outcome), decision
        return decision

    def has(self, name: str) -> list[str]:
        return [str(address) for address in self.decision(name).addresses]

    def reason(self, name: str) -> Reason:
        return self.plan.outcomes[service_key(name)].reason


def one_pool(*ranges: str, **fields: Any) -> Cluster:
    return Cluster(make_pool("p", *(ranges or ("192.0.2.0/30",)), **fields))
