"""What can be asked from the lab's client, and the sentence for what cannot."""

from __future__ import annotations

import pytest

from lbctl.lab.reach import ReachError, Target, ask


def test_a_service_without_a_tcp_port_is_refused_by_name_and_field():
    target = Target(service="default/dns", policy="Cluster", addresses=("192.0.2.1",), tcp_ports=())
    with pytest.raises(ReachError, match=r"default/dns has no TCP port in spec\.ports"):
        ask("demo", target, within_s=1.0)
