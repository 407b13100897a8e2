"""The verbs of `lbctl lab` where no lab runs: what they take, and what they say of records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbctl.cli.lab import lab
from lbctl.cli.lab_routes import text
from lbctl.lab import records
from lbctl.lab.reach import ReachError, standpoint
from lbctl.lab.records import Record
from lbctl.lab.routes import Route, RouterTable
from lbctl.lab.spec import LabSpec, Router


def recorded(folder: Path, name: str, *routers: Router) -> None:
    """Write the record of a lab of which nothing runs."""
    spec = LabSpec(name=name, directory=records.directory(name), nodes=1, routers=routers)
    made = Record(
        spec=spec, hierarchies=(), bin=folder, runc=folder / "runc", cni_bin=folder / "cni"
    )
    with records.locked(name, lambda _: None):
        records.save(made)


def test_status_of_all_labs_tells_of_the_good_ones_beside_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "lab"))
    for name in ("broken", "good"):
        recorded(tmp_path, name)
    (records.directory("broken") / "lab.json").write_text("{")
    done = CliRunner().invoke(lab, ["status", "-o", "json"])
    assert [each["name"] for each in json.loads(done.stdout)] == ["good"]
    assert done.exit_code == 1
    assert "lbctl lab down --name broken" in done.stderr


@pytest.mark.parametrize("words", ["frr,quagga", "FRR", "frr bird"])
def test_a_router_that_is_none_is_refused_with_those_there_are(words: str) -> None:
    done = CliRunner().invoke(lab, ["up", "--routers", words])
    assert done.exit_code == 2
    assert "choose of frr, bird, gobgp, with commas between" in done.stderr


def test_routes_of_a_router_without_power_say_so_and_end_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "lab"))
    recorded(tmp_path, "off", Router.BIRD)
    done = CliRunner().invoke(lab, ["routes", "--name", "off", "-o", "json"])
    [found] = json.loads(done.stdout)
    assert found == {"router": "bird", "asn": 64502, "routes": [], "error": "bird is off"}
    assert done.exit_code == 1


def test_routes_of_a_lab_without_routers_name_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "lab"))
    recorded(tmp_path, "plain")
    done = CliRunner().invoke(lab, ["routes", "--name", "plain"])
    assert done.exit_code == 0
    assert "lbctl lab up --routers" in done.stderr


def test_a_client_behind_a_router_that_is_not_there_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "lab"))
    recorded(tmp_path, "one", Router.FRR)
    with pytest.raises(ReachError, match="lab one has no router bird; it has frr"):
        standpoint("one", "203.0.113.1", Router.BIRD)
    assert standpoint("one", "203.0.113.1", Router.FRR) == ("remote", "198.51.100.121")
    assert standpoint("one", "2001:db8:0:3::1", Router.FRR) == ("remote", "2001:db8:0:2::121")
    assert standpoint("one", "192.0.2.128", None) == ("client", "")


def test_the_table_of_routes_has_a_row_for_every_way_and_for_a_router_that_has_none() -> None:
    way = Route(
        prefix="203.0.113.1/32", next_hop="192.0.2.11", node="node1", local_pref=100, used=True
    )
    found = (
        RouterTable(router="frr", asn=64501, routes=(way,)),
        RouterTable(router="bird", asn=64502, routes=()),
        RouterTable(router="gobgp", asn=64503, routes=(), error="gobgp is off"),
    )
    rows = [line.split() for line in text(found).splitlines()[1:]]
    assert rows == [
        ["frr", "203.0.113.1/32", "192.0.2.11", "node1", "100", "yes"],
        ["bird", "nothing"],
        ["gobgp", "gobgp", "is", "off"],
    ]
