"""Whole speakers on a LAN: who answers is judged by the neighbor table of a client's kernel."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lan import eventually
from tests.support.scraping import OF_BGP, check_page, labels_of, series
from tests.support.speaker_lan import NAMESPACE, V4, V6, SpeakerLan

BOTH = (V4, V6)
THREE = 'lbctl_membership_members{link="eth0",state="member"} 3.0'
"""What a speaker's metrics show once it knows of all three; before, addresses may still move."""
STATUSES = ("default.shop.ipv4", "default.shop.ipv6")
EXCLUDE = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SpeakerLan]:
    made = SpeakerLan(tmp_path)
    try:
        made.populate()
        made.put_service()
        made.put_endpoints("n1", "n2", "n3")
        for node in made.nodes.values():
            node.start_fastpath()
            node.start_speaker()
        for node in made.nodes.values():
            eventually(lambda node=node: THREE in node.get("metrics")[1], within_s=60)
        # Who was first alone goes on answering while it hands over to its successor.
        eventually(lambda: says_what_it_does(made), within_s=30, what="statuses name who answers")
        yield made
    finally:
        made.close()


def says_what_it_does(cluster: SpeakerLan) -> bool:
    found = {cluster.answering(address) for address in BOTH}
    return len(found) == 1 and cluster.stated() == dict.fromkeys(STATUSES, found.pop())


def owner(cluster: SpeakerLan) -> str:
    """Return the node that answers for both addresses, once there is one."""

    def agreed() -> str | None:
        found = {cluster.answering(address) for address in BOTH}
        return found.pop() if len(found) == 1 else None

    return str(eventually(agreed, within_s=30, what="one node answers for both families"))


def moved(cluster: SpeakerLan, before: str) -> str:
    def elsewhere() -> str | None:
        found = {cluster.answering(address) for address in BOTH}
        return found.pop() if len(found) == 1 and before not in found else None

    return str(eventually(elsewhere, within_s=30, what=f"a node other than {before} answers"))


def silent(cluster: SpeakerLan) -> None:
    eventually(
        lambda: all(cluster.answering(address) is None for address in BOTH),
        within_s=30,
        what="nobody answers",
    )


def test_one_node_answers_for_both_families_and_says_so(cluster: SpeakerLan) -> None:
    name = owner(cluster)
    assert cluster.stated() == dict.fromkeys(STATUSES, name)
    events = eventually(lambda: cluster.api.call(lambda api: list(api.objects("events"))))
    assert {event["reason"] for event in events} == {"nodeAssigned"}
    reports = cluster.api.call(lambda api: list(api.objects("speakerstatuses")))
    assert sorted(body["metadata"]["name"] for body in reports) == ["n1", "n2", "n3"]
    assert [link["name"] for link in reports[0]["status"]["links"]] == ["eth0"]
    node = cluster.nodes[name]
    assert node.get("readyz") == (200, "ok\n")
    metrics = node.get("metrics")[1]
    assert f'ip="{V4}"' in metrics
    assert THREE in metrics


def test_metallbs_metrics_are_there_for_each_address(cluster: SpeakerLan) -> None:
    """The counters of an address come every 10 s; they leave a node together with it."""
    first = owner(cluster)
    node = cluster.nodes[first]

    def answered() -> set[str]:
        page = node.get("metrics")[1]
        return {labels["ip"] for labels in labels_of(page, "metallb_layer2_responses_sent")}

    eventually(lambda: answered() == set(BOTH), within_s=40, what="both addresses are counted")
    page = node.get("metrics")[1]
    check_page("lb-speaker", page, silent=OF_BGP)
    values = series(page)
    for address in BOTH:
        labels = (("ip", address), ("node", first), ("protocol", "layer2"))
        assert values["metallb_speaker_announced", (*labels, ("service", "default/shop"))] == 1
        by_ip = (("ip", address),)
        received = values["metallb_layer2_requests_received", by_ip]
        assert received >= values["metallb_layer2_responses_sent", by_ip] > 0
        assert values["metallb_layer2_gratuitous_sent", by_ip] > 0
    cluster.put_node(first, labels=EXCLUDE)
    moved(cluster, first)
    eventually(lambda: not answered(), what="the series leave with the addresses")
    assert labels_of(node.get("metrics")[1], "metallb_speaker_announced") == []


def test_an_excluded_node_gives_its_addresses_up_and_takes_them_back(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    cluster.put_node(first, labels=EXCLUDE)
    second = moved(cluster, first)
    cluster.put_node(first)
    assert moved(cluster, second) == first


def test_a_link_that_goes_down_moves_its_addresses(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    cluster.lan.port(cluster.nodes[first].host, "down")
    second = moved(cluster, first)
    eventually(lambda: set(cluster.stated().values()) == {second}, what="the statuses follow")


def test_sigterm_hands_over_and_ends_with_status_zero(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    speaker = cluster.nodes[first].speaker
    assert speaker is not None
    speaker.send_signal(signal.SIGTERM)
    assert speaker.wait(15) == 0
    # Only lb-speaker was stopped: its fast path must have let go already.
    assert owner(cluster) != first
    body = cluster.api.call(lambda api: api.get("speakerstatuses", first, NAMESPACE))
    assert body is not None
    assert body["status"]["draining"] is True


def test_a_pod_that_is_stopped_hands_over_with_both_its_processes(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    node = cluster.nodes[first]
    assert node.speaker is not None
    assert node.fastpath is not None
    node.speaker.send_signal(signal.SIGTERM)
    node.fastpath.process.send_signal(signal.SIGTERM)
    assert moved(cluster, first) in cluster.nodes
    assert node.speaker.wait(15) == 0
    node.fastpath.process.communicate(timeout=15)
    assert node.fastpath.process.returncode == 0


def test_a_speaker_cut_off_from_the_api_lets_go_when_a_peer_claims_its_address(
    cluster: SpeakerLan,
) -> None:
    first = owner(cluster)
    node = cluster.nodes[first]
    cluster.cut_management(first)
    cluster.put_node(first, ready="Unknown")
    others = [one for one in cluster.nodes.values() if one.name != first]
    # The successor announces; the old owner hears it, and believes it once 40 s are over.
    eventually(
        lambda: any('mode="own"} 2.0' in one.get("metrics")[1] for one in others), within_s=30
    )
    released = "lbctl_speaker_released 2.0"
    eventually(lambda: released in node.get("metrics")[1], within_s=90, what="it lets go")
    assert owner(cluster) != first
    cluster.cut_management(first, heal=True)
    eventually(lambda: "lbctl_speaker_released 0.0" in node.get("metrics")[1], within_s=60)
    assert owner(cluster) != first
    cluster.put_node(first)
    eventually(lambda: owner(cluster) == first, within_s=30, what="it owns them again")


def test_a_dead_node_without_status_loses_its_addresses(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    cluster.nodes[first].kill(signal.SIGKILL)
    cluster.api.call(lambda api: api.delete("speakerstatuses", first, NAMESPACE))
    second = moved(cluster, first)
    assert second in cluster.nodes


def test_a_fast_path_that_hangs_loses_its_addresses(cluster: SpeakerLan) -> None:
    own = 'mode="own"} 2.0'
    node = eventually(
        lambda: next((n for n in cluster.nodes.values() if own in n.get("metrics")[1]), None),
        within_s=30,
        what="one node owns both addresses",
    )
    first = node.name
    node.fastpath.process.send_signal(signal.SIGSTOP)

    def connected() -> bool:
        body = cluster.api.call(lambda api: api.get("speakerstatuses", first, NAMESPACE))
        return body is not None and body["status"]["fastpathConnected"] is True

    # Its end of the socket stays open: only its silence tells.
    eventually(lambda: not connected(), within_s=90, what="its silence is noticed")
    moved(cluster, first)
    node.fastpath.process.send_signal(signal.SIGCONT)
    eventually(lambda: connected() and owner(cluster) == first, within_s=60, what="it is back")


def test_a_node_that_is_not_ready_loses_its_addresses(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    cluster.put_node(first, ready="Unknown")
    moved(cluster, first)


def test_a_local_service_follows_its_endpoints_and_falls_silent_without(
    cluster: SpeakerLan,
) -> None:
    cluster.put_service(policy="Local")
    for name in ("n1", "n3", "n2"):
        cluster.put_endpoints(name)
        eventually(lambda name=name: owner(cluster) == name, within_s=30)
    cluster.put_endpoints()
    silent(cluster)
    eventually(lambda: not cluster.stated(), what="the statuses are removed")


def test_a_deleted_service_falls_silent(cluster: SpeakerLan) -> None:
    owner(cluster)
    cluster.api.call(lambda api: api.delete("services", "shop", "default"))
    silent(cluster)
    eventually(lambda: not cluster.stated(), what="the statuses are removed")


def test_killing_lb_speaker_moves_nothing(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    node = cluster.nodes[first]
    own = 'mode="own"} 2.0'
    eventually(lambda: own in node.get("metrics")[1], what="both addresses are its own")
    assert node.speaker is not None
    node.speaker.kill()
    node.speaker.wait(10)
    assert owner(cluster) == first
    node.start_speaker()
    eventually(lambda: node.get("readyz")[0] == 200, within_s=60)
    eventually(lambda: own in node.get("metrics")[1], within_s=60)
    assert owner(cluster) == first


def test_an_api_outage_changes_nothing(cluster: SpeakerLan) -> None:
    first = owner(cluster)
    cluster.api.close()
    for _ in range(20):
        assert owner(cluster) == first
