"""A node without the address family of its peer: the kernel's words, the field, and what to do."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lbctl.model.membership import Member
from lbctl.model.names import Incarnation, NodeName
from lbctl.plan.explain_peer import session_advice
from speaker.agent.sessions import Course, course_after, session_report
from speaker.protocols.bgp_report import Cause
from tests.support.bgp_builders import make_peer
from tests.support.speaking import TABLE, on, peer_on, speaking

pytestmark = pytest.mark.netns

ME = Member(node=NodeName("node1"), incarnation=Incarnation("7"))


def report_on(spoken):
    """Return what the cluster is told of a session that does not come up."""
    course, turn = course_after(Course(since="then"), spoken.changes[-1], "now")
    told = session_report(
        ME,
        make_peer(),
        course,
        now=spoken.peer.status.since,
        status=spoken.peer.status,
        wanted={},
        absent="",
        own=None,
        other=None,
    )
    assert turn is not None
    assert turn.text == told.message
    return told


@pytest.mark.parametrize("version", [4, 6])
def test_a_peer_of_a_family_that_the_node_lacks_is_named_and_called_once_it_is_there(
    frr, node, tor, version
):
    own, other, size = (
        (node.address, tor.address, 24) if version == 4 else (node.address6, tor.address6, 64)
    )
    frr(peer=own)
    config = peer_on(node, tor, address=ip_address(other), connect_retry_s=1)
    family = f"-{version}"

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.CONNECT_FAILED in spoken.causes, "failure")
            report = report_on(spoken)
            assert report.message.startswith(f"peer address {other}: Network is unreachable")
            assert f"this node has no IPv{version} address" in report.message
            assert "spec.peerAddress of the BGPPeer" in session_advice(report)
            node.ip(family, "addr", "add", f"{own}/{size}", "dev", "eth0", "nodad")
            await spoken.established()

    node.ip(family, "addr", "flush", "dev", "eth0", "scope", "global")
    try:
        on(node, work())
    finally:
        node.ip(family, "addr", "replace", f"{own}/{size}", "dev", "eth0", "nodad")


def test_a_peer_of_ipv6_on_a_node_that_has_ipv6_turned_off_is_named(node, tor):
    config = peer_on(node, tor, address=ip_address(tor.address6), connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.CONNECT_FAILED in spoken.causes, "failure")
            report = report_on(spoken)
            assert report.message.startswith(f"peer address {tor.address6}: ")
            assert "this node has no IPv6 address" in report.message
            assert "spec.peerAddress of the BGPPeer" in session_advice(report)

    node.sysctl("net.ipv6.conf.all.disable_ipv6", "1")
    try:
        on(node, work())
    finally:
        node.sysctl("net.ipv6.conf.all.disable_ipv6", "0")
        node.ip("-6", "addr", "replace", f"{node.address6}/64", "dev", "eth0", "nodad")


def test_a_call_from_a_link_local_address_says_that_the_node_has_no_other(node, tor):
    config = peer_on(node, tor, address=ip_address(tor.address6), connect_retry_s=1)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.CONNECT_TIMEOUT in spoken.causes, "no answer")
            words = (
                f"a call from {node.link_local}, as this node has no other address of the family"
            )
            assert words in report_on(spoken).message

    # As a router advertises it that gives the node no prefix; nothing listens there.
    node.ip("-6", "addr", "flush", "dev", "eth0", "scope", "global")
    node.ip("-6", "route", "add", "2001:db8:1::/64", "dev", "eth0")
    tor.ip("-6", "addr", "del", f"{tor.address6}/64", "dev", "eth0")
    try:
        on(node, work())
    finally:
        tor.ip("-6", "addr", "replace", f"{tor.address6}/64", "dev", "eth0", "nodad")
        node.ip("-6", "route", "del", "2001:db8:1::/64", "dev", "eth0")
        node.ip("-6", "addr", "replace", f"{node.address6}/64", "dev", "eth0", "nodad")


@pytest.mark.parametrize(
    ("changes", "words", "cure"),
    [
        ({"source": "2001:db8::99"}, "source address 2001:db8::99: ", "correct spec.sourceAddress"),
        ({"source": "203.0.113.99"}, "source address 203.0.113.99: ", "correct spec.sourceAddress"),
        ({"interface": "eth9"}, "interface 'eth9': No such device", "correct spec.interface"),
    ],
    ids=["of-another-family", "not-here", "no-such-link"],
)
def test_what_the_kernel_of_the_node_refuses_is_no_fault_of_the_router(
    node, tor, changes, words, cure
):
    if "source" in changes:
        # A BGPPeer with a source of another family is refused before; this is the last line.
        changes = {"source": ip_address(changes["source"])}
    config = peer_on(node, tor, **changes)

    async def work() -> None:
        async with speaking(config, node, TABLE) as spoken:
            await spoken.reaches(lambda: Cause.CONNECT_FAILED in spoken.causes, "failure")
            report = report_on(spoken)
            assert report.message.startswith(words)
            assert cure in session_advice(report)

    on(node, work())
