"""What is read for a question gives the answer that the whole world would give."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.api.credentials import Credentials
from lbctl.api.session import ApiSession
from lbctl.cli.explain import KINDS, scope_of
from lbctl.cli.installation import Access
from lbctl.cli.lists import Reader
from lbctl.cli.scope import whole
from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.kube.fold import Source
from lbctl.model.membership import ViewNumber
from lbctl.model.names import NodeName, PeerName
from lbctl.model.session import RouteCounts, SessionReport, SessionState
from tests.property.test_announcement import ADDRESSES, NAMES, SERVICES
from tests.property.test_routes import worlds
from tests.support.bgp_builders import make_bgp_advertisement, make_bgp_snapshot, make_peer
from tests.support.builders import (
    make_endpoint,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_speaker,
    service_key,
)

ACCESS = Access(
    kubeconfig=None,
    context=None,
    api_group="",
    lbctl_namespace="lbctl-system",
    load_balancer_class=None,
)
GIVEN = (*ADDRESSES, "192.0.2.0")
"""With the first that the pool gives."""
PEERS = ("p1", "p2", "p3")
TARGETS = [
    *(("address", one) for one in GIVEN),
    ("pool", "pool"),
    *(("node", one) for one in NAMES),
    *(("peer", one) for one in PEERS),
]


class Remembered(Reader):
    """Read from a snapshot, with the selectors that an API server knows."""

    def __init__(self, snapshot, sent, sessions) -> None:
        session = ApiSession(Credentials(server="http://192.0.2.1", source="nowhere"))
        super().__init__(session, ACCESS)
        self._snapshot, self._sent, self._sessions = snapshot, sent, sessions

    async def world(self, sources=tuple(Source), near=None):
        return {one: list(self._pairs(one, near)) for one in sources}

    def _pairs(self, source, near):
        for key, value in getattr(self._snapshot, source).items():
            if source is Source.SLICES:
                if near in (None, key):
                    yield from (((key, name), one) for name, one in value.items())
            elif near is None or source is not Source.SERVICES or key == near:
                yield key, value

    async def reports(self, keys=None):
        return {key: found for key, found in self._sent.items() if keys is None or key in keys}

    async def sessions(self):
        return self._sessions


@st.composite
def reports(draw):
    return {
        service_key(name): tuple(
            ServiceL2Status(
                service=service_key(name),
                node=NodeName(node),
                interfaces=(),
                addresses=tuple(ip_address(one) for one in draw(st.lists(st.sampled_from(GIVEN)))),
                epoch=ViewNumber(generation=1, number=1),
            )
            for node in draw(st.lists(st.sampled_from(NAMES), max_size=2))
        )
        for name in draw(st.sets(st.sampled_from(SERVICES)))
    }


@st.composite
def sessions(draw):
    pairs = st.tuples(st.sampled_from(NAMES), st.sampled_from(PEERS))
    return {
        (NodeName(node), PeerName(peer)): SessionReport(
            node=NodeName(node),
            peer=PeerName(peer),
            incarnation=make_speaker(node).incarnation,
            state=draw(st.sampled_from(list(SessionState))),
            since="2026-01-01T00:00:00Z",
            ipv4=RouteCounts(wanted=1, sent=1, acknowledged=draw(st.integers(0, 1))),
        )
        for node, peer in draw(st.sets(pairs))
    }


def answer(reader, kind, name, scope):
    found = asyncio.run(scope(reader))
    try:
        lines, fine, data = KINDS[kind](found, name, "default", None)
    except SystemExit as stopped:
        return stopped.code
    return list(lines), fine, data


@settings(max_examples=400)
@given(worlds(), reports(), sessions())
def test_an_answer_is_that_of_the_whole_world(snapshot, sent, told):
    reader = Remembered(snapshot, sent, told)
    for kind, name in TARGETS:
        scope = scope_of(kind, name, "default", None)
        assert answer(reader, kind, name, scope) == answer(reader, kind, name, whole)


def test_of_an_aggregate_every_service_has_a_say():
    gold = make_bgp_advertisement(
        "gold",
        aggregation_length=24,
        communities=["64500:9"],
        service_selectors=(make_selector({"tier": "gold"}),),
    )
    snapshot = make_bgp_snapshot(
        services=[
            make_service("default/a", status=["192.0.2.1"], mark="pool"),
            make_service("default/b", status=["192.0.2.2"], mark="pool", labels={"tier": "gold"}),
        ],
        slices=[make_slice(one, make_endpoint(node="n1")) for one in ("default/a", "default/b")],
        pools=[make_pool("pool", "192.0.2.0/24")],
        nodes=[make_node("n1")],
        speakers=[make_speaker("n1")],
        peers=[make_peer()],
        advertisements=[make_bgp_advertisement("a", aggregation_length=24), gold],
    )
    reader = Remembered(snapshot, {}, {})
    scope = scope_of("address", "192.0.2.1", "default", None)
    _, _, found = answer(reader, "address", "192.0.2.1", scope)
    [told] = found["peers"]
    assert told["routes"][0]["advertisements"] == ["a", "gold"]
