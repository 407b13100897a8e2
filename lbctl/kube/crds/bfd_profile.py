"""The kind BFDProfile: how fast a dead path to a router is noticed (RFC 5880). Pure.

A profile is read and judged; a BGPPeer that names one is refused until there is BFD.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.kube.configured import Written, configured
from lbctl.kube.crds.conditions import CONDITIONS
from lbctl.kube.crds.table import Boolean, Column, Field, Integer, Kind, Struct
from lbctl.kube.loose import Metadata
from lbctl.model.outcome import Problem
from lbctl.model.peer import BFDProfile

_INTERVAL = Integer(minimum=10, maximum=60_000)

KIND = Kind(
    kind="BFDProfile",
    plural="bfdprofiles",
    singular="bfdprofile",
    description="BFDProfile says how the path to a BGP peer is watched. BFD is not there yet: a "
    "BGPPeer that names a profile is refused.",
    spec=Struct(
        fields=(
            Field(
                name="receiveInterval",
                type=_INTERVAL,
                description="The least pause in ms between packets that we can take; absent: 300.",
            ),
            Field(
                name="transmitInterval",
                type=_INTERVAL,
                description="The least pause in ms between packets that we send; absent: 300.",
            ),
            Field(
                name="detectMultiplier",
                type=Integer(minimum=2, maximum=255),
                description="How many packets may be missing; absent: 3.",
            ),
            Field(
                name="echoInterval",
                type=_INTERVAL,
                description="The pause in ms between echo packets, both ways; absent: 50.",
            ),
            Field(
                name="echoMode",
                type=Boolean(),
                default=False,
                description="Whether echo packets are used; not over several hops.",
            ),
            Field(
                name="passiveMode",
                type=Boolean(),
                default=False,
                description="Whether to wait for the peer's first packet.",
            ),
            Field(
                name="minimumTtl",
                type=Integer(minimum=1, maximum=254),
                description="Over several hops: the least TTL of a packet that counts; absent: "
                "254.",
            ),
        )
    ),
    status=Struct(
        fields=(
            Field(
                name="conditions",
                type=CONDITIONS,
                description="Accepted says whether the profile is valid.",
            ),
        )
    ),
    columns=(
        Column(
            name="Passive Mode",
            type="boolean",
            path=".spec.passiveMode",
            description="Whether it waits for the peer",
        ),
        Column(
            name="Transmit Interval",
            type="integer",
            path=".spec.transmitInterval",
            description="In ms",
        ),
        Column(
            name="Receive Interval",
            type="integer",
            path=".spec.receiveInterval",
            description="In ms",
        ),
        Column(
            name="Multiplier",
            type="integer",
            path=".spec.detectMultiplier",
            description="How many packets may be missing",
        ),
        Column(
            name="Accepted",
            type="string",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether the profile is valid",
        ),
    ),
)


def parse_bfd_profile(body: Any) -> Written[BFDProfile] | None:
    """Return the profile with every problem it has, or None when it has no name."""
    return configured(KIND, body, build=_profile)


_NAMES = {
    "receiveInterval": "receive_interval_ms",
    "transmitInterval": "transmit_interval_ms",
    "detectMultiplier": "detect_multiplier",
    "echoInterval": "echo_interval_ms",
    "echoMode": "echo_mode",
    "passiveMode": "passive_mode",
    "minimumTtl": "minimum_ttl",
}


def _profile(metadata: Metadata, fields: Mapping[str, Any], _problems: list[Problem]) -> BFDProfile:
    given = {_NAMES[name]: value for name, value in fields.items() if value is not None}
    return BFDProfile(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        generation=metadata.generation,
        **given,
    )
