"""`lbctl explain SERVICE` reads what the Service touches, and all the rest only where that matters."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commanding import (
    ADVERTISEMENT,
    Done,
    World,
    kubeconfig,
    node,
    pool,
    run,
    service,
)
from tests.support.fake_api import FakeApi

HAS = {"type": "lbctl.io/Allocated", "status": "True", "reason": "Allocated", "message": "Has it."}
LACKS = {**HAS, "status": "False", "reason": "PoolExhausted"}
NAMESPACED = {"metadata": {"name": "default", "labels": {"team": "blue"}}}


def given(name: str, *conditions: dict[str, str], **spec: Any) -> tuple[str, dict[str, Any]]:
    plural, body = service(name, ingress=[{"ip": "192.0.2.10"}])
    body["spec"].update(spec)
    body["status"]["conditions"] = [*conditions]
    return plural, body


WORLD: World = [
    pool("first", "192.0.2.10-192.0.2.11"),
    ADVERTISEMENT,
    node("node1"),
    ("namespaces", NAMESPACED),
    *(service(f"other-{number}") for number in range(3)),
]


def explain(world: World, directory: Path, *more: str, name: str = "web") -> tuple[Done, bool]:
    """Return what the command said of the Service, and whether it read every Service."""

    async def serve() -> tuple[Done, bool]:
        async with FakeApi() as api:
            for plural, body in world:
                api.put(plural, body)
            config = kubeconfig(directory / "config", api.url)
            done = await asyncio.to_thread(run, ("explain", name, *more), config)
            return done, any(
                one.path == "/api/v1/services" and "fieldSelector" not in one.query
                for one in api.asked
            )

    return asyncio.run(serve())


def test_a_service_that_has_its_address_is_explained_without_the_others(tmp_path: Path) -> None:
    near, read_all = explain([*WORLD, given("web", HAS)], tmp_path, "-o", "json")
    assert not read_all
    whole, read_all = explain([*WORLD, given("web")], tmp_path, "-o", "json")
    assert read_all
    assert near.stdout == whole.stdout
    assert json.loads(near.stdout)["reason"] == "Allocated"


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_nor_are_they_read_for_one_that_is_not_ours(tmp_path: Path, kind: str) -> None:
    done, read_all = explain([*WORLD, given("web", type=kind)], tmp_path)
    assert not read_all
    assert "nothing to do, because" in done.stdout


def test_nor_for_one_that_is_not_there(tmp_path: Path) -> None:
    done, read_all = explain(WORLD, tmp_path)
    assert not read_all
    assert "there is no Service default/web" in done.stderr


@pytest.mark.parametrize("name", ["a,b", "a=b", "a b", "x" * 64, "red/../web", "/web,x"])
def test_what_no_selector_can_hold_is_the_name_of_no_service(tmp_path: Path, name: str) -> None:
    done, read_all = explain(WORLD, tmp_path, name=name)
    assert (done.returncode, read_all) == (2, True)
    assert "there is no Service" in done.stderr


def test_one_that_waits_or_shares_is_explained_with_all_the_others(tmp_path: Path) -> None:
    waiting = service("web")
    shared = given("web", HAS)
    shared[1]["metadata"]["annotations"] = {"lbctl.io/allow-shared-ip": "key"}
    for told in (waiting, shared, given("web", LACKS)):
        _, read_all = explain([*WORLD, told], tmp_path)
        assert read_all


def test_an_address_that_another_has_by_right_is_told(tmp_path: Path) -> None:
    older = given("web-older", HAS)
    older[1]["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
    done, read_all = explain([*WORLD, older, given("web", LACKS)], tmp_path)
    assert read_all
    assert "web-older" in done.stdout
