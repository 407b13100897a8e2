"""The demo's BGP part: routers learn an address from several nodes, and lose one of them.

Applies the lab's own BGPPeers and `deploy/samples/bgp`, waits until every router uses several next
hops for each address, asks through each router, and measures what the client behind the first one
sees when a node is drained and when its cable is pulled. Every node is healed again afterwards.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lbctl.lab import reach, records, routes, trouble
from lbctl.lab.demo import ANSWER_WITHIN_S, SAMPLES, DemoError, kubectl
from lbctl.lab.reach import Answer
from lbctl.lab.records import Progress
from lbctl.lab.routes import RouterTable
from lbctl.lab.spec import Router
from lbctl.lab.trouble import Gap

SERVICE = "default/echo-routed"
_LEARN_S = 60.0
_QUIET_S = 2.0
"""How long the client goes on asking after the last route of a drained node is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the client saw through a router while something happened to a node."""

    event: str
    node: str
    via: str
    gap: Gap


@dataclass(frozen=True, slots=True, kw_only=True)
class BgpPart:
    """What the demo found: the routers' tables while all is well, and the two gaps."""

    answers: tuple[Answer, ...]
    routers: tuple[RouterTable, ...]
    gaps: tuple[Measured, ...]


def run(name: str, progress: Progress) -> BgpPart:
    """Show it in a lab with routers and lbctl. Raises DemoError, ReachError, TroubleError."""
    record = records.load(name)
    progress("creating a peer for each router, a routed pool and a Service of it")
    kubectl(name, "apply", "-f", str(record.peers))
    kubectl(name, "apply", "-f", str(SAMPLES / "bgp"))
    kubectl(
        name, "wait", f"service/{SERVICE.partition('/')[2]}",
        "--for=condition=lbctl.io/Allocated", "--timeout=30s",
    )  # fmt: skip
    target = reach.find(name, SERVICE)
    progress("waiting until every router has several next hops for every address")
    hops = min(2, record.spec.nodes)
    learnt = _await(name, lambda found: _shared(found, len(target.addresses), hops))
    answers: list[Answer] = []
    for router in record.spec.routers:
        progress(f"asking every address through {router}")
        answers += reach.ask(name, target, within_s=ANSWER_WITHIN_S, via=router)
    via = record.spec.routers[0]
    node = next(route.node for route in learnt[0].routes if route.used)
    gaps = tuple(
        _measure(name, event, node, via=via, progress=progress, learnt=learnt)
        for event in ("drain", "cut")
        if hops > 1  # else nobody is left to answer
    )
    return BgpPart(answers=tuple(answers), routers=learnt, gaps=gaps)


def _measure(
    name: str,
    event: str,
    node: str,
    *,
    via: Router,
    progress: Progress,
    learnt: tuple[RouterTable, ...],
) -> Measured:
    def drained() -> None:
        trouble.drain(name, node, progress)
        _await(name, lambda found: all(route.node != node for one in found for route in one.routes))

    def cut() -> None:
        trouble.cut(name, node, progress)

    act, settle_s = (drained, _QUIET_S) if event == "drain" else (cut, trouble.SETTLE_S)
    gap = trouble.measured(name, SERVICE, act, progress, via=via, settle_s=settle_s)
    trouble.heal(name, node, progress)
    _await(name, lambda found: whole(found, learnt))
    return Measured(event=event, node=node, via=via, gap=gap)


def whole(found: tuple[RouterTable, ...], before: tuple[RouterTable, ...]) -> bool:
    """Return whether every router has all the ways again that it had before."""
    return all(set(was.routes) <= set(now.routes) for now, was in zip(found, before, strict=True))


def _shared(found: tuple[RouterTable, ...], addresses: int, hops: int) -> bool:
    """Return whether every router uses so many next hops or more for so many prefixes."""
    return all(
        len({route.prefix for route in one.routes}) >= addresses
        and all(len(one.next_hops(route.prefix)) >= hops for route in one.routes)
        for one in found
    )


def _await(name: str, holds: Callable[[tuple[RouterTable, ...]], bool]) -> tuple[RouterTable, ...]:
    """Return the routers' tables once `holds` says yes. Raises DemoError with what they hold."""
    give_up = time.monotonic() + _LEARN_S
    while not holds(found := routes.read(name)):
        if time.monotonic() > give_up:
            rows = [f"{one.router}: {one.error or one.routes or 'nothing'}" for one in found]
            raise DemoError(
                f"the routers do not hold what they should after {_LEARN_S:.0f} s; see `lbctl get "
                "sessions`. They hold:\n" + "\n".join(rows)
            )
        time.sleep(0.2)
    return found
