"""The condition lbctl.io/Announced: whose word counts, and what is said when nobody speaks."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import yaml

from lbctl.model.address import Family
from lbctl.model.names import LinkName, NodeName, ObjectKey, PeerName
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.snapshot import EVERYTHING
from lbctl.plan.announced import (
    Announced,
    Sent,
    advertisement_lines,
    announced,
    lives,
    may_speak,
    not_announced,
    reports_on,
    silent_address,
)
from lbctl.plan.announcement import judge_addresses, plan_announcements
from lbctl.plan.eligibility import EXCLUDE_LABEL, believed
from lbctl.plan.reach import moved, renewed, survey
from tests.support.builders import (
    NAMESPACE,
    addresses,
    make_advertisement,
    make_endpoint,
    make_link,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
    service_key,
)

FOUR, SIX = "192.0.2.10", "2001:db8::10"
NAMES = ("node-a", "node-b", "node-c")
API = "lbctl.io/v1beta1"


def sent(node: str = "node-a", *texts: str, family: Family | None = Family.IPV4) -> Sent:
    return Sent(
        node=NodeName(node),
        interfaces=(LinkName("eth0"),),
        addresses=addresses(*texts),
        family=family,
    )


def world(**overrides):
    values = {
        "services": [make_service(status=[FOUR], mark="pool")],
        "pools": [make_pool()],
        "advertisements": [make_advertisement()],
        "slices": [make_slice("default/shop", make_endpoint(node="node-a"))],
        "nodes": [make_node(name) for name in NAMES],
        "speakers": [make_speaker(name) for name in NAMES],
    }
    return make_snapshot(**(values | overrides))


def refusal(snapshot, *said: Sent, unheard: Refused | None = None) -> Announced:
    service = snapshot.services[service_key("default/shop")]
    address = silent_address(service, reports_on(service.addresses, said, NAMES))
    assert address is not None
    return not_announced(
        service,
        address,
        plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None),
        unheard=unheard,
        advertisements=snapshot.advertisements,
        api_version=API,
    )


def test_it_is_true_when_every_address_is_reported_and_names_nodes_and_interfaces():
    service = make_service(families=("IPv4", "IPv6"), status=[FOUR, SIX])
    both = (sent("node-a", FOUR), sent("node-b", SIX, family=Family.IPV6))
    word = announced(service, reports_on(service.addresses, both, NAMES))
    assert word == Announced(
        holds=True,
        reason=Reason.ANNOUNCED,
        message=f"Node node-a announces {FOUR} on eth0; node node-b announces {SIX} on eth0.",
    )
    assert announced(service, reports_on(service.addresses, both[:1], NAMES)) is None


def test_bgp_peers_that_confirmed_count_as_well_and_three_of_them_are_named():
    service = make_service(families=("IPv4", "IPv6"), status=[FOUR, SIX])
    four = reports_on(service.addresses, [sent("node-a", FOUR)], NAMES)
    nobody: tuple[PeerName, ...] = ()
    one, many = (PeerName("tor"),), tuple(PeerName(f"tor-{letter}") for letter in "abcd")
    word = announced(service, four, (nobody, one))
    assert word is not None
    assert (
        word.message == f"Node node-a announces {FOUR} on eth0; peer tor is told of {SIX} by BGP."
    )
    word = announced(service, (None, None), (many, one))
    assert word is not None
    assert word.message.startswith(
        f"Peers tor-a, tor-b, tor-c and others are told of {FOUR} by BGP"
    )
    assert announced(service, (None, None), (many, nobody)) is None
    assert silent_address(service, (None, None), (many, nobody)) == service.addresses[1]


def test_where_neither_protocol_announces_the_one_that_got_further_has_the_reason():
    down = Refused(reason=Reason.SESSION_DOWN, detail="no session stands")
    none = Refused(reason=Reason.NO_ADVERTISEMENT, detail="no BGPAdvertisement covers pool pool")
    assert refusal(world(advertisements=[]), unheard=down).reason is Reason.SESSION_DOWN
    assert refusal(world(slices=[]), unheard=none).reason is Reason.NO_ENDPOINTS
    assert refusal(world(), unheard=down).reason is Reason.NOT_REPORTED
    word = refusal(world(advertisements=[]), unheard=none)
    assert "no L2Advertisement covers pool pool, and no BGPAdvertisement covers" in word.message
    first, *lines = word.message.splitlines()
    assert first.endswith("(or a BGPAdvertisement like it, for BGP peers):")
    assert yaml.safe_load("\n".join(lines))["kind"] == "L2Advertisement"


def test_what_another_life_of_a_speaker_reported_of_sessions_does_not_count():
    nodes = [make_node("node-a"), make_node("node-b", ready=False), make_node("node-c")]
    speakers = [
        make_speaker("node-a", fastpath_connected=False, incarnation="7"),
        make_speaker("node-b"),
    ]
    assert lives(world(nodes=nodes, speakers=speakers)) == {"node-a": "7"}


def test_a_report_without_addresses_tells_of_its_family_and_a_foreign_one_of_nothing():
    assert sent("node-a").tells_of(ip_address(FOUR))
    assert not sent("node-a").tells_of(ip_address(SIX))
    assert not sent("node-a", family=None).tells_of(ip_address(FOUR))
    assert not sent("node-a", "192.0.2.11").tells_of(ip_address(FOUR))


DEAD = {
    "no node": {"nodes": []},
    "not ready": {"nodes": [make_node("node-a", ready=False), make_node("node-b")]},
    "out of service": {"nodes": [make_node("node-a", out_of_service=True)]},
    "no speaker": {"speakers": []},
    "no fast path": {"speakers": [make_speaker("node-a", fastpath_connected=False)]},
}
ALIVE = {
    "well": {},
    "excluded": {"nodes": [make_node("node-a", labels={EXCLUDE_LABEL: ""})]},
    "draining": {"speakers": [make_speaker("node-a", draining=True)]},
    "no node is ready": {"nodes": [make_node("node-a", ready=False)]},
}


@pytest.mark.parametrize(
    ("changes", "alive"),
    [*((one, False) for one in DEAD.values()), *((one, True) for one in ALIVE.values())],
    ids=[*DEAD, *ALIVE],
)
def test_the_word_of_a_speaker_counts_while_it_can_be_alive(changes, alive):
    snapshot = world(**changes)
    nodes = believed(snapshot.nodes)
    assert may_speak(NodeName("node-a"), nodes, snapshot.speakers) is alive


def test_without_an_advertisement_the_message_holds_one_that_cures_it():
    word = refusal(world(advertisements=[]))
    assert (word.holds, word.reason) == (False, Reason.NO_ADVERTISEMENT)
    first, *lines = word.message.splitlines()
    assert f"{FOUR}: no L2Advertisement covers pool pool. " in first
    [cure] = yaml.safe_load_all("\n".join(lines))
    assert cure == {
        "apiVersion": API,
        "kind": "L2Advertisement",
        "metadata": {"name": "pool", "namespace": NAMESPACE},
        "spec": {"ipAddressPools": ["pool"]},
    }


def test_an_advertisement_that_selects_other_services_is_named():
    some = make_advertisement("pool", service_selectors=(make_selector({"a": "b"}),))
    word = refusal(world(advertisements=[some]))
    assert word.reason is Reason.NO_ADVERTISEMENT
    assert "the serviceSelectors of pool, which cover pool pool, do not select" in word.message
    assert "name: pool-2," in word.message, "the cure must not replace what is there"


@pytest.mark.parametrize("name", ["123", "on", "1e3", "null"])
def test_the_cure_of_a_pool_with_an_odd_name_is_still_read_as_a_name(name):
    lines = advertisement_lines(ObjectKey("IPAddressPool", "lb", name), (), API)
    cure = yaml.safe_load("\n".join(lines))
    assert cure["metadata"] == {"name": name, "namespace": "lb"}
    assert cure["spec"] == {"ipAddressPools": [name]}


REASONS = {
    "no endpoints": ({"slices": []}, Reason.NO_ENDPOINTS),
    "no local endpoints": (
        {
            "services": [make_service(status=[FOUR], traffic_policy="Local")],
            "slices": [make_slice("default/shop", make_endpoint(node=None))],
        },
        Reason.NO_LOCAL_ENDPOINTS,
    ),
    "all nodes are excluded": (
        {"nodes": [make_node(name, labels={EXCLUDE_LABEL: ""}) for name in NAMES]},
        Reason.NODE_EXCLUDED,
    ),
    "links are down": (
        {"speakers": [make_speaker(name, links=(make_link(up=False),)) for name in NAMES]},
        Reason.INTERFACE_DOWN,
    ),
    "no nodes and no advertisement": (
        {"nodes": [], "advertisements": []},
        Reason.NO_ADVERTISEMENT,
    ),
    "an address of no pool": (
        {"services": [make_service(status=["203.0.113.9"])]},
        Reason.ADDRESS_NOT_IN_ANY_POOL,
    ),
    "a plan that nobody has carried out": ({}, Reason.NOT_REPORTED),
}


@pytest.mark.parametrize(("changes", "reason"), REASONS.values(), ids=REASONS.keys())
def test_each_cause_has_its_reason_and_its_cure(changes, reason):
    word = refusal(world(**changes))
    assert (word.holds, word.reason) == (False, reason)
    assert word.message.startswith("No speaker reports that it announces ")
    assert word.message.endswith(".") or "kubectl apply" in word.message


def test_a_plan_that_is_not_reported_names_the_node_and_claims_nothing():
    word = refusal(world())
    assert "node node-c is to announce it on eth0, but its speaker has not reported" in word.message


def test_the_first_address_without_a_report_decides():
    shop = make_service(families=("IPv4", "IPv6"), status=[FOUR, SIX], mark="pool")
    pools = [make_pool("pool", "192.0.2.0/24", "2001:db8::/64")]
    snapshot = world(services=[shop], pools=pools)
    assert refusal(snapshot).reason is Reason.NOT_REPORTED
    word = refusal(snapshot, sent("node-c", FOUR))
    assert word.reason is Reason.NO_ENDPOINTS
    assert SIX in word.message


def test_addresses_judged_alone_are_judged_as_in_the_whole_plan():
    shop, other = (
        make_service("default/a", status=[FOUR], sharing_key="k", ports=["tcp/80"]),
        make_service("default/b", status=[FOUR], sharing_key="k", ports=["tcp/81"], created=9),
    )
    third = make_service("default/c", status=["192.0.2.11"])
    snapshot = world(services=[shop, other, third])
    whole = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    address = ip_address(FOUR)
    alone = judge_addresses(snapshot, survey(snapshot), {address: frozenset({shop.key, other.key})})
    assert alone.addresses == {address: whole.addresses[address]}


# What a change of a node asks for.


def surveyed(snapshot, *selectors):
    reaches = survey(snapshot)
    for service in snapshot.services.values():
        for address in service.addresses:
            reaches.reach(service, make_pool().name, address)
    return reaches


SAME = {
    "a label that nobody selects by": {"nodes": [make_node("node-a", labels={"a": "b"})]},
    "the same once more": {},
    "a link that was added and is down": {
        "speakers": [make_speaker("node-a", links=(make_link(), make_link("eth1", up=False)))]
    },
}
OTHER = {
    "not ready": {"nodes": [make_node("node-a", ready=False)]},
    "gone": {"nodes": [], "speakers": []},
    "another subnet": {"speakers": [make_speaker("node-a", links=(make_link("eth0", "192.0.2.1/24"),))]},
    "a link down": {"speakers": [make_speaker("node-a", links=(make_link(up=False),))]},
    "a preference": {"nodes": [make_node("node-a", labels={"rack": "1"})]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "same"),
    [*((one, True) for one in SAME.values()), *((one, False) for one in OTHER.values())],
    ids=[*SAME, *OTHER],
)
def test_a_renewed_survey_has_moved_where_a_verdict_differs(changes, same):
    advertisements = [make_advertisement(preferred_nodes=[(5, {"rack": "1"})])]
    others = {
        "nodes": [make_node(name) for name in NAMES[1:]],
        "speakers": [make_speaker(name) for name in NAMES[1:]],
    }
    before = world(advertisements=advertisements)
    first = {"nodes": [make_node("node-a")], "speakers": [make_speaker("node-a")]} | changes
    after = world(
        advertisements=advertisements,
        **{kind: [*others[kind], *first[kind]] for kind in ("nodes", "speakers")},
    )
    former = surveyed(before)
    found = renewed(former, after, {NodeName("node-a")})
    assert found is not None
    assert found == surveyed(after)
    assert (not moved(former, found)) is same


def test_a_survey_ends_when_no_node_is_ready_any_more_and_when_one_is_again():
    dark = world(nodes=[make_node(name, ready=False) for name in NAMES])
    assert renewed(surveyed(world()), dark, set(map(NodeName, NAMES))) is None
    assert renewed(surveyed(dark), world(), {NodeName("node-a")}) is None
