"""Measure the allocator alone: decisions per second in bulk, microseconds in an incremental plan.

The figures belong to the machine they are taken on; the claim they test is that a decision costs
the same in a /8 as in a /64 as in many /24, and that one event among many Services costs less than
a millisecond. Services that share one key are compared with those that share nothing: a tenant
with thousands of them must not cost the others their plan. Run: python -m tests.bench.bench_allocator [SERVICES]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network

from lbctl.lab.records import Progress
from lbctl.model.allocation import Outcome
from lbctl.model.configuration import Configured
from lbctl.model.names import ServiceKey
from lbctl.model.pool import Pool
from lbctl.model.service import Service
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.allocation import EMPTY, Plan, plan
from lbctl.run.memory import settle
from tests.bench.figures import Figure, median, slow_p99
from tests.support.builders import created_at, make_pool, make_port, make_service, make_snapshot

# The documentation ranges hold no /8; nothing is sent anywhere from here.
_SLASH_8 = str(ip_network((198 << 24, 8)))
_SLASH_24 = [f"{ip_address((198 << 24) + (18 << 16) + (index << 8))}/24" for index in range(100)]

_SMALL = "100 pools of a /24"
_KINDS = (_SMALL, "a /8", "a /64")
_ONE_PORT = "one sharing key and one port"
_OTHER_PORTS = "one sharing key, distinct ports"
_SHARING = (_ONE_PORT, _OTHER_PORTS)
_PLAIN = "a /8"
_PENDING = 10_000
_ROUNDS = 11
_DECISIONS_PER_S = 100_000
_SHARED = 0.2  # of the plain rate: the terms, the ports and the rows of each are extra work
_SAME = 0.8  # of the small pools' rate: below that, the size of a pool costs something


def figures(progress: Progress) -> list[Figure]:
    """Return decisions per second with 10,000 Services pending, the kinds of pools in turns."""
    snapshots = {
        kind: make_snapshot(services=pending(_PENDING, _family(kind)), pools=pools(kind))
        for kind in _KINDS
    }
    for kind in _SHARING:
        snapshots[kind] = make_snapshot(services=sharers(_PENDING, kind), pools=pools(_PLAIN))
        restart = f"{kind}, at a restart"
        snapshots[restart] = written(snapshots[kind], whole(snapshots[kind]))
    settle()  # as the controller does before its first plan
    rates: dict[str, list[float]] = {kind: [] for kind in snapshots}
    for number in range(_ROUNDS):
        for kind, snapshot in snapshots.items():
            rates[kind].append(_PENDING / timed(partial(whole, snapshot))[0])
        words = ", ".join(f"{kind}: {found[-1]:,.0f}/s" for kind, found in rates.items())
        progress(f"round {number + 1} of {_ROUNDS}: {words}")
    small, plain = rates[_SMALL], rates[_PLAIN]
    return [
        *(_figure(kind, rates[kind], small) for kind in _KINDS),
        *(_shared_figure(kind, rates[kind], plain) for kind in rates if kind not in _KINDS),
    ]


def _figure(kind: str, rates: list[float], small: list[float]) -> Figure:
    ratio = None if kind == _SMALL else median(rates) / median(small)
    budget = f">= {_DECISIONS_PER_S:,}/s" + ("" if ratio is None else f", >= {_SAME} x")
    return Figure(
        name=f"allocator alone, {_PENDING:,} Services, {kind}",
        unit="decisions/s of CPU",
        runs=len(rates),
        median=median(rates),
        p99=slow_p99(rates),
        peer=None if ratio is None else median(small),
        peer_name=_SMALL,
        ratio=ratio,
        budget=budget,
        holds=median(rates) >= _DECISIONS_PER_S and (ratio is None or ratio >= _SAME),
    )


def _shared_figure(kind: str, rates: list[float], plain: list[float]) -> Figure:
    ratio = median(rates) / median(plain)
    return Figure(
        name=f"allocator alone, {_PENDING:,} Services, {kind}",
        unit="decisions/s of CPU",
        runs=len(rates),
        median=median(rates),
        p99=slow_p99(rates),
        peer=median(plain),
        peer_name=f"{_PLAIN}, no sharing key",
        ratio=ratio,
        budget=f">= {_SHARED} x",
        holds=ratio >= _SHARED,
    )


def pools(kind: str) -> list[Pool]:
    if kind == _SMALL:
        return [make_pool(f"pool-{index:03}", text) for index, text in enumerate(_SLASH_24)]
    return [make_pool("pool", _SLASH_8 if kind == "a /8" else "2001:db8::/64")]


def _family(kind: str) -> str:
    return "IPv6" if kind == "a /64" else "IPv4"


def pending(count: int, family: str) -> list[Service]:
    return [
        make_service(
            f"ns-{index % 50}/service-{index:05}", created=index % 86_000, families=(family,)
        )
        for index in range(count)
    ]


def sharers(count: int, kind: str) -> list[Service]:
    """Return Services of one key: each needs an address of its own, or all go on one."""
    return [
        replace(service, sharing_key="key", ports=(make_port(f"tcp/{port}"),))
        for index, service in enumerate(pending(count, "IPv4"))
        for port in (80 if kind == _ONE_PORT else index + 1,)
    ]


def timed(act: Callable[[], Plan]) -> tuple[float, Plan]:
    """Return the seconds of CPU that `act` takes: it waits for nothing, and others have theirs."""
    gc.collect()
    begin = time.process_time()
    result = act()
    return time.process_time() - begin, result


def written(snapshot: Snapshot, present: Plan) -> Snapshot:
    """Return the snapshot after every status was written."""
    services = {}
    for key, service in snapshot.services.items():
        outcome = present.outcomes[key]
        assert isinstance(outcome, Outcome)
        mark = ",".join(outcome.pools)
        services[key] = replace(service, addresses=outcome.addresses, mark=mark)
    return replace(snapshot, services=services)


def whole(snapshot: Snapshot, previous: Plan = EMPTY) -> Plan:
    return plan(previous, snapshot, EVERYTHING, load_balancer_class=None)


def bulk(kind: str, count: int, rounds: int = 7) -> tuple[float, float]:
    """Return decisions per second: all pending, and all to be adopted."""
    snapshot = make_snapshot(services=pending(count, _family(kind)), pools=pools(kind))
    runs = [timed(lambda: whole(snapshot)) for _ in range(rounds)]
    fresh = statistics.median(seconds for seconds, _ in runs)
    held = written(snapshot, runs[-1][1])
    adopted = statistics.median(timed(lambda: whole(held))[0] for _ in range(rounds))
    return count / fresh, count / adopted


def incremental(kind: str, count: int, rounds: int = 200) -> tuple[float, float]:
    """Return the seconds of a plan for one new Service, and for its deletion, among `count`."""
    family = _family(kind)
    snapshot = make_snapshot(services=pending(count, family), pools=pools(kind))
    snapshot = written(snapshot, whole(snapshot))
    present = whole(snapshot)
    services: dict[ServiceKey, Service] = dict(snapshot.services)
    snapshot = replace(snapshot, services=services)
    created: list[float] = []
    deleted: list[float] = []
    for index in range(rounds):
        service = make_service(f"new/s-{index}", created=created_at(86_000), families=(family,))
        changed = Changed(services=frozenset({service.key}))
        services[service.key] = service
        begin = time.perf_counter()
        present = plan(present, snapshot, changed, load_balancer_class=None)
        created.append(time.perf_counter() - begin)
        del services[service.key]
        begin = time.perf_counter()
        present = plan(present, snapshot, changed, load_balancer_class=None)
        deleted.append(time.perf_counter() - begin)
    return statistics.median(created), statistics.median(deleted)


def waiting(count: int) -> float:
    """Return the seconds of a plan that gives one freed address to the oldest of `count` waiting."""
    entry: Pool | Configured[Pool] = make_pool("pool", "198.18.0.0/24")
    snapshot = make_snapshot(services=pending(count, "IPv4"), pools=[entry])
    present = whole(snapshot)
    services = dict(snapshot.services)
    snapshot = replace(snapshot, services=services)
    first = min(services.values(), key=lambda service: service.created)
    del services[first.key]
    gone = Changed(services=frozenset({first.key}))
    return statistics.median(
        timed(lambda: plan(present, snapshot, gone, load_balancer_class=None))[0] for _ in range(50)
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{count} Services, medians        allocate/s    adopt/s   new, ms   gone, ms")
    for kind in _KINDS:
        fresh, adopted = bulk(kind, count)
        new, gone = incremental(kind, count)
        print(
            f"{kind:30} {fresh:12,.0f} {adopted:10,.0f} {new * 1e3:9.3f} {gone * 1e3:10.3f}",
            flush=True,
        )
    print(f"a freed address, the other Services waiting: {waiting(count) * 1e3:.3f} ms")


if __name__ == "__main__":
    main()
