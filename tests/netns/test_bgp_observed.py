"""A kernel that cannot deliver: what was sent over a dead cable is not observed until it is back."""

from __future__ import annotations

import pytest

from lbctl.model.address import Family
from speaker.wire.bgp_frame import MessageType
from tests.support.bgp import routes
from tests.support.routers import holds
from tests.support.speaking import FOUR, SIX, TABLE, on, peer_on, speaking, until

pytestmark = pytest.mark.netns


def test_routes_sent_over_a_dead_cable_are_observed_when_it_is_back(frr, lan, node, tor):
    running = frr()
    # As many routes as before, one of them another: mere counts cannot tell the two apart.
    after = routes(FOUR, SIX, "203.0.113.9/32")

    async def work() -> None:
        async with speaking(peer_on(node, tor), node, TABLE) as spoken:

            def sent() -> int:
                return spoken.peer.counts.sent[MessageType.UPDATE]

            await spoken.reaches(lambda: spoken.peer.observed, "acknowledged")
            before = sent()
            with lan.lossy(tor):
                spoken.peer.want(after)
                await spoken.reaches(lambda: sent() > before, "the change is sent")
                status = spoken.peer.status
                assert status.table_sent
                assert status.routes_sent == {Family.IPV4: 2, Family.IPV6: 1}
                assert status.routes_confirmed == {Family.IPV4: 1, Family.IPV6: 1}
                assert not spoken.peer.observed
                await until(lambda: "retrans:" in node.run("ss", "-tinH", "dport = 179"), "again")
                assert not spoken.peer.observed
            await spoken.reaches(lambda: spoken.peer.observed, "acknowledged after the cut")
            assert spoken.peer.status.routes_confirmed == {Family.IPV4: 2, Family.IPV6: 1}
            assert spoken.peer.counts.established == 1
            await until(holds(running, *map(str, after)))

    on(node, work())
