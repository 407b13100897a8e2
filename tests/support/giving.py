"""A cluster in a transcript: pools and Services come and go, and every decision is told.

Commands: `pool NAME RANGE... [auto=no] [at=SECONDS]`, `nonsense NAME`, `delete pool NAME`,
`service NS/NAME [families=IPv4,IPv6] [prefer=yes] [pool=NAME] [ask=ADDRESS,...] [type=TYPE]
[class=NAME] [share=KEY] [ports=80,443] [at=SECONDS]`, `delete NS/NAME`, `restart`, `pools`.
What is decided is written at once, as the controller does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey, ServiceKey
from lbctl.model.pool import Pool
from lbctl.model.service import Service
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.allocation import EMPTY, Decision, plan
from tests.support.builders import configured, make_pool, make_service, rejected_pool, service_key

NAMESPACE = make_pool().namespace


class Giving:
    """Hold the objects and the plan; `obey` one command after the other."""

    def __init__(self) -> None:
        self.pools: dict[ObjectKey, Configured[Pool]] = {}
        self.services: dict[ServiceKey, Service] = {}
        self.plan = EMPTY
        self.told: dict[ServiceKey, str] = {}
        self.told_of_pools: dict[ObjectKey, str] = {}
        self.seconds = 0

    def obey(self, command: str) -> Iterator[str]:
        """Carry a command out and yield what was decided anew."""
        self.seconds += 1
        words = command.split()
        match words:
            case ["pool", name, *rest]:
                self._pool(name, *split(rest))
            case ["nonsense", name]:
                self._store(rejected_pool(name, created=self._created(name)))
            case ["delete", "pool", name]:
                del self.pools[pool_key(name)]
            case ["service", name, *rest]:
                self._service(service_key(name), split(rest)[1])
            case ["delete", name]:
                del self.services[service_key(name)]
            case ["restart"]:
                self.plan = self.plan.memory()
            case ["pools"]:
                yield from self._counters()
            case _:
                raise AssertionError(f"no such command: {command}")
        yield from self._decide()

    def _pool(self, name: str, ranges: list[str], options: dict[str, str]) -> None:
        made = make_pool(
            name,
            *ranges,
            created=int(options.get("at", self.seconds)),
            auto_assign=options.get("auto") != "no",
        )
        known = self.pools.get(pool_key(name))
        if known is not None:
            made = replace(made, created=known.created, generation=known.generation + 1)
        self._store(configured(made))

    def _created(self, name: str) -> str:
        return self.pools[pool_key(name)].created

    def _store(self, pool: Configured[Pool]) -> None:
        self.pools[pool.key] = pool

    def _service(self, key: ServiceKey, options: dict[str, str]) -> None:
        known = self.services.get(key)
        made = make_service(
            key,
            created=int(options.get("at", self.seconds)),
            families=options.get("families", "IPv4").split(","),
            family_policy="PreferDualStack" if options.get("prefer") == "yes" else None,
            pool=options.get("pool"),
            request=options["ask"].split(",") if "ask" in options else (),
            ports=options.get("ports", "80").split(","),
            type=options.get("type", "LoadBalancer"),
            load_balancer_class=options.get("class"),
            sharing_key=options.get("share", ""),
        )
        if known is not None:
            made = replace(made, created=known.created, addresses=known.addresses, mark=known.mark)
        self.services[key] = made

    def _decide(self) -> Iterator[str]:
        snapshot = Snapshot(services=self.services, pools=self.pools)
        self.plan = plan(self.plan, snapshot, EVERYTHING, load_balancer_class=None)
        for key, decision in sorted(self.plan.outcomes.items()):
            self._write(key, decision)
            text = words_of(decision)
            if self.told.get(key) != text:
                self.told[key] = text
                yield f"{key}: {text}"
        for key in set(self.told) - set(self.plan.outcomes):
            del self.told[key]
        for pool, verdict in sorted(self.plan.verdicts.items()):
            text = "" if verdict.accepted else f"{verdict.reason}: {verdict.message}"
            if text != self.told_of_pools.get(pool, ""):
                yield f"pool {pool.name}: {text or 'in effect'}"
            self.told_of_pools[pool] = text

    def _write(self, key: ServiceKey, decision: Decision) -> None:
        service = self.services[key]
        if isinstance(decision, Outcome):
            mark = ",".join(dict.fromkeys(map(str, decision.pools)))
            self.services[key] = replace(service, addresses=decision.addresses, mark=mark)
        elif decision.release:
            self.services[key] = replace(service, addresses=(), mark="")

    def _counters(self) -> Iterator[str]:
        for name, (used4, used6, free4, free6) in sorted(self.plan.counters.items()):
            yield f"pool {name}: IPv4 {used4} used {free4} free, IPv6 {used6} used {free6} free"


def words_of(decision: Decision) -> str:
    if isinstance(decision, NotOurs):
        return f"not ours, {decision.reason}: {decision.detail}"
    given = [
        f"{address} from {pool}"
        for address, pool in zip(decision.addresses, decision.pools, strict=True)
    ]
    if decision.refused is not None:
        given.append(f"{decision.reason}: {decision.refused.detail}")
    return ", ".join(given)


def pool_key(name: str) -> ObjectKey:
    return ObjectKey("IPAddressPool", NAMESPACE, name)


def split(words: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return plain words and `key=value` options."""
    plain, options = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            options[key] = value
        else:
            plain.append(word)
    return plain, options
