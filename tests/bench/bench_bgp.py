"""Measure BGP: a table to FRR and one change on the wire beside GoBGP and ExaBGP; 100 peers; memory.

A run is one session that tells 10,000 routes: from the first UPDATE on the router's wire to the
last route in bgpd's table. The speakers take turns on one host with one router, each a process of
its own. Peers and memory are of the real lb-speaker, with the API server of the tests.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lbctl.lab.records import Progress
from tests.bench import bgp_world
from tests.bench.bgp_meter import Vty, Wire, asked
from tests.bench.bgp_rivals import Change, Rivals
from tests.bench.figures import Figure, median, p99
from tests.support.lan import Host, Lan, eventually
from tests.support.router_lines import frr_lines
from tests.support.routers import Frr, router

RUNS: Final = 10
ROUTES: Final = 10_000
CHANGES: Final = 20
"""Of each run."""
REST_S: Final = 1.0
BETWEEN_S: Final = 0.05
TABLE_S: Final = 0.5
CHANGE_MS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Hold where a race is run."""

    node: Host
    tor: Host
    vty: Vty
    rivals: Rivals


def figures(progress: Progress) -> list[Figure]:
    tables: dict[str, list[float]] = {"lbctl": [], "GoBGP": [], "ExaBGP": []}
    changes: dict[str, list[float]] = {"lbctl": [], "ExaBGP": []}
    with _race() as race:
        for turn in range(RUNS):
            with race.rivals.lbctl() as change:
                tables["lbctl"].append(_table_s(race))
                changes["lbctl"] += _changes_ms(race, change)
            _emptied(race)
            with race.rivals.gobgp():
                tables["GoBGP"].append(_table_s(race))
            _emptied(race)
            with race.rivals.exabgp() as change:
                tables["ExaBGP"].append(_table_s(race))
                changes["ExaBGP"] += _changes_ms(race, change)
            _emptied(race)
            words = ", ".join(f"{name} {found[-1]:.3f} s" for name, found in tables.items())
            progress(f"turn {turn + 1} of {RUNS}: {words}")
    return [
        *(_table(tables, peer) for peer in ("GoBGP", "ExaBGP")),
        _change(changes),
        *bgp_world.figures(progress),
    ]


def _table(seconds: dict[str, list[float]], peer: str) -> Figure:
    mine, theirs = seconds["lbctl"], seconds[peer]
    return Figure(
        name=f"{ROUTES:,} routes to FRR, first UPDATE to last route",
        unit="s",
        runs=len(mine),
        median=median(mine),
        p99=p99(mine),
        peer=median(theirs),
        peer_p99=p99(theirs),
        peer_name=peer,
        ratio=median(mine) / median(theirs),
        budget=f"p99 <= {TABLE_S:g} s",
        holds=p99(mine) <= TABLE_S,
    )


def _change(milliseconds: dict[str, list[float]]) -> Figure:
    mine, theirs = milliseconds["lbctl"], milliseconds["ExaBGP"]
    return Figure(
        name=f"one change of {ROUTES:,} routes, desired to the wire",
        unit="ms",
        runs=len(mine),
        median=median(mine),
        p99=p99(mine),
        peer=median(theirs),
        peer_p99=p99(theirs),
        peer_name="ExaBGP, from the line in its pipe",
        ratio=median(mine) / median(theirs),
        budget=f"p99 <= {CHANGE_MS:g} ms",
        holds=p99(mine) <= CHANGE_MS,
    )


@contextmanager
def _race() -> Iterator[Race]:
    lan = Lan()
    try:
        node, tor = lan.host("node"), lan.host("tor")
        # Slow loading of a rival must not end its session: FRR's default timers.
        lines = frr_lines(node).replace("timers 1 3", "timers 30 90")
        with (
            tempfile.TemporaryDirectory() as folder,
            router(Frr, tor, lines) as frr,
            asked(frr.settled(node.address).folder) as vty,
        ):
            yield Race(node=node, tor=tor, vty=vty, rivals=Rivals(node, tor, Path(folder), ROUTES))
    finally:
        lan.close()


def _table_s(race: Race) -> float:
    """Return the seconds from the first UPDATE to the last route in bgpd's table."""
    with Wire(race.tor, race.node.address) as wire:
        last = race.vty.until_received(race.node.address, ROUTES)
        return last - wire.first_s()


def _changes_ms(race: Race, change: Change) -> list[float]:
    """Return how long each change took to the wire, the router being at rest before."""
    eventually(
        lambda: race.tor.ip("route", "show", "proto", "bgp").count("\n") == ROUTES,
        within_s=30,
        what="the kernel of the router has every route",
    )
    time.sleep(REST_S)
    found = []
    for number in range(1, CHANGES + 1):
        with Wire(race.tor, race.node.address) as wire:
            told = change(number)
            found.append((wire.first_s() - told) * 1000)
        time.sleep(BETWEEN_S)
    return found


def _emptied(race: Race) -> None:
    race.vty.until_received(race.node.address, 0)
