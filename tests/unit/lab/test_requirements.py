"""What a fresh host lacks is supplied where that changes nothing else."""

from __future__ import annotations

from pathlib import Path

from lbctl.lab.requirements import load_bridge_filter, missing
from lbctl.lab.spec import Router


def modprobe(folder: Path, settings: Path) -> None:
    """Put a program there that does what the kernel does when the module comes."""
    program = folder / "modprobe"
    switch = settings / "bridge-nf-call-iptables"
    program.write_text(f"#!/bin/sh\n/bin/mkdir {settings} && echo 1 > {switch}\n")
    program.chmod(0o755)


def test_the_bridge_filter_is_loaded_and_stays_off_for_the_bridges_of_the_host(
    tmp_path, monkeypatch
):
    settings = tmp_path / "bridge"
    modprobe(tmp_path, settings)
    monkeypatch.setenv("PATH", str(tmp_path))
    load_bridge_filter(settings)
    assert (settings / "bridge-nf-call-iptables").read_text() == "0"


def test_a_host_that_filters_its_bridges_goes_on_doing_so(tmp_path, monkeypatch):
    settings = tmp_path / "bridge"
    settings.mkdir()
    switch = settings / "bridge-nf-call-iptables"
    switch.write_text("1")
    modprobe(tmp_path, settings)
    monkeypatch.setenv("PATH", str(tmp_path))
    load_bridge_filter(settings)
    assert switch.read_text() == "1"


def test_a_host_without_modules_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    load_bridge_filter(tmp_path / "bridge")
    assert not (tmp_path / "bridge").exists()


def test_a_router_that_is_not_installed_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    lacks = [str(one) for one in missing(tmp_path, (Router.BIRD, Router.GOBGP))]
    assert any("router bird (bird, birdc)" in one and "install -y bird2" in one for one in lacks)
    assert any("router gobgp" in one and "install -y gobgpd" in one for one in lacks)
    assert not any("bird" in str(one) for one in missing(tmp_path))
