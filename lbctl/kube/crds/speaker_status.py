"""The kind SpeakerStatus: what one node's speaker knows of its own node. Pure.

One object per node, named after it, in the product's namespace, written by that node's speaker
only and read by everybody for eligibility. It has no row per Service, so its size follows the
node's links alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from lbctl.kube.crds.table import Boolean, Column, Field, Integer, Kind, ListOf, Struct, Text
from lbctl.kube.loose import flag, mapping, metadata_of, number, objects, text, texts
from lbctl.model.names import Incarnation, LinkName, NodeName
from lbctl.model.node import Link, Owner, SpeakerReport

INT32_MAX = 2_147_483_647
LINKS_MAX = 4_096
FAULT_MAX = 4_096
SUBNETS_MAX = 16_384
"""Wide bounds on purpose: a node with many addresses must still be able to report."""

_LINK = Struct(
    fields=(
        Field(
            name="name",
            type=Text(max_length=64, min_length=1),
            required=True,
            description="The interface's name.",
        ),
        Field(
            name="index",
            type=Integer(minimum=0, maximum=INT32_MAX),
            description="The kernel's number of the interface.",
        ),
        Field(
            name="mac",
            type=Text(max_length=64),
            description="The hardware address that answers for announced addresses.",
        ),
        Field(name="up", type=Boolean(), description="Whether the interface is set up."),
        Field(name="carrier", type=Boolean(), description="Whether it has a carrier."),
        Field(
            name="subnets",
            type=ListOf(item=Text(max_length=64), max_items=SUBNETS_MAX),
            description="The node's own addresses on it, with prefix length.",
        ),
        Field(
            name="hasLinkLocal",
            type=Boolean(),
            description="Whether it has a usable IPv6 link-local address, without which NDP "
            "cannot answer.",
        ),
    )
)

KIND = Kind(
    kind="SpeakerStatus",
    plural="speakerstatuses",
    singular="speakerstatus",
    description="SpeakerStatus says what the speaker of one node can announce on. It is written "
    "by that node's speaker and has the node's name.",
    spec=Struct(fields=()),
    status=Struct(
        fields=(
            Field(
                name="incarnation",
                type=Text(max_length=253),
                description="One life of the speaker; a restarted speaker has another.",
            ),
            Field(
                name="draining",
                type=Boolean(),
                description="Whether the speaker is giving its addresses away.",
            ),
            Field(
                name="fastpathConnected",
                type=Boolean(),
                description="Whether the process that answers ARP and NDP is at work.",
            ),
            Field(
                name="ignoresExcludeLabel",
                type=Boolean(),
                description="Whether the node announces in spite of the label "
                "node.kubernetes.io/exclude-from-external-load-balancers.",
            ),
            Field(
                name="links",
                type=ListOf(item=_LINK, max_items=LINKS_MAX),
                description="The interfaces that could announce.",
            ),
            Field(
                name="faults",
                type=ListOf(
                    item=Struct(
                        fields=(
                            Field(
                                name="link",
                                type=Text(max_length=64),
                                required=True,
                                description="The interface.",
                            ),
                            Field(
                                name="message",
                                type=Text(max_length=FAULT_MAX),
                                required=True,
                                description="Why nothing can be announced on it.",
                            ),
                        )
                    ),
                    max_items=LINKS_MAX,
                ),
                description="Interfaces on which answering does not work.",
            ),
        )
    ),
    columns=(
        Column(
            name="Draining",
            type="boolean",
            path=".status.draining",
            description="Whether the speaker is giving its addresses away",
        ),
        Column(
            name="Fastpath",
            type="boolean",
            path=".status.fastpathConnected",
            description="Whether the process that answers ARP and NDP is at work",
        ),
        Column(
            name="Links",
            type="string",
            path=".status.links[*].name",
            description="The interfaces that could announce",
        ),
        Column(
            name="Faults",
            type="string",
            path=".status.faults[*].message",
            description="Why something cannot be announced",
            priority=1,
        ),
        Column(
            name="Age",
            type="date",
            path=".metadata.creationTimestamp",
            description="When the speaker first reported",
        ),
    ),
)


def parse_speaker_status(body: Any) -> SpeakerReport | None:
    """Return the report, or None while its speaker has not written a status yet."""
    metadata = metadata_of(body)
    status = mapping(mapping(body).get("status"))
    incarnation = text(status.get("incarnation"))
    if metadata is None or not incarnation:
        return None
    return SpeakerReport(
        node=NodeName(metadata.name),
        incarnation=Incarnation(incarnation),
        draining=flag(status.get("draining")) is True,
        links=tuple(_link(item) for item in objects(status.get("links")) if text(item.get("name"))),
        faults=tuple(
            (LinkName(text(item.get("link"))), text(item.get("message")))
            for item in objects(status.get("faults"))
        ),
        fastpath_connected=flag(status.get("fastpathConnected")) is True,
        ignores_exclude_label=flag(status.get("ignoresExcludeLabel")) is True,
        owners=tuple(
            Owner(kind=text(item.get("kind")), name=text(item.get("name")), uid=text(item["uid"]))
            for item in objects(mapping(body["metadata"]).get("ownerReferences"))
            if text(item.get("uid"))
        ),
        resource_version=metadata.resource_version,
    )


def _link(item: dict[str, Any]) -> Link:
    return Link(
        name=LinkName(text(item.get("name"))),
        index=number(item.get("index")),
        mac=text(item.get("mac")).lower(),
        up=flag(item.get("up")) is True,
        carrier=flag(item.get("carrier")) is True,
        subnets=tuple(_interfaces(texts(item.get("subnets")))),
        has_link_local=flag(item.get("hasLinkLocal")) is True,
    )


def _interfaces(spellings: Iterable[str]) -> Iterable[IPv4Interface | IPv6Interface]:
    for spelling in spellings:
        try:
            yield ip_interface(spelling)
        except ValueError:
            # A subnet that cannot be read prefers no address; the link itself still counts.
            continue


def render_owner_references(owners: Iterable[Owner]) -> list[dict[str, Any]]:
    """Return `metadata.ownerReferences` of the object: the speaker's Pod, for the collector.

    Nobody's deletion waits for it (`blockOwnerDeletion`), and the Pod does not control it.
    """
    return [
        {
            "apiVersion": "v1",
            "kind": owner.kind,
            "name": owner.name,
            "uid": owner.uid,
            "controller": False,
            "blockOwnerDeletion": False,
        }
        for owner in owners
    ]


def render_speaker_status(report: SpeakerReport) -> dict[str, Any]:
    """Return the `status` of the object that `parse_speaker_status` reads back."""
    return {
        "incarnation": report.incarnation,
        "draining": report.draining,
        "fastpathConnected": report.fastpath_connected,
        "ignoresExcludeLabel": report.ignores_exclude_label,
        "links": [
            {
                "name": link.name,
                "index": link.index,
                "mac": link.mac,
                "up": link.up,
                "carrier": link.carrier,
                "subnets": [str(subnet) for subnet in link.subnets],
                "hasLinkLocal": link.has_link_local,
            }
            for link in report.links
        ],
        "faults": [
            {"link": name, "message": message[:FAULT_MAX]} for name, message in report.faults
        ],
    }
