"""Lab states for the reasons of BGP. No router is there: what is refused needs none.

Peers are called at the lab's gateway, where nothing listens, so that a session's words are the
kernel's and always the same.
"""

from __future__ import annotations

from typing import Any

from lbctl.model.reason import Reason
from tests.cluster.scenes import (
    ACCEPTED,
    ADDRESS,
    IPV6,
    Body,
    Scene,
    asking,
    family,
    of_announcing,
    past_the_door,
    slug,
)
from tests.support.cluster import PRODUCT, pool

GATEWAY = "192.0.2.1"
KINDS = ("bgppeers", "bgpadvertisements", "communities")


def _object(kind: str, name: str, **spec: Any) -> Body:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": PRODUCT},
        "spec": spec,
    }


def peer(name: str, address: str = GATEWAY, **spec: Any) -> Body:
    return _object("BGPPeer", name, myASN=64500, peerASN=64501, peerAddress=address, **spec)


def told(name: str, **spec: Any) -> Body:
    """Return a BGPAdvertisement of the scene's pool."""
    return _object("BGPAdvertisement", name, ipAddressPools=[name], **spec)


def named(name: str, **communities: str) -> Body:
    values = [{"name": alias, "value": value} for alias, value in communities.items()]
    return _object("Community", name, communities=values)


def of_object(reason: Reason, kind: str, *objects: Body, door: bool = True) -> Scene:
    """Return a scene whose last object has the condition; `door`: the webhook lets it pass."""
    return Scene(
        reason=reason,
        objects=objects if door else objects[:-1],
        **({} if door else {"state": past_the_door(objects[-1])}),
        kind=kind,
        condition=ACCEPTED,
        event=reason.value,
    )


def of_route(reason: Reason, *objects: Body, **spec: Any) -> Scene:
    """Return a scene in which a Service has an address that no peer is told of."""
    name = slug(reason)
    address = f"{IPV6}/128" if spec else f"{ADDRESS}/32"
    return of_announcing(
        reason, pool(name, address, autoAssign=False), *objects, asking(name, **spec)
    )


R = Reason
SCENES: tuple[Scene, ...] = (
    of_object(
        R.MISSING_PEER,
        "bgpadvertisement",
        _object("BGPAdvertisement", "missing-peer", peers=["nobody"]),
    ),
    of_object(
        R.MISSING_COMMUNITY,
        "bgpadvertisement",
        _object("BGPAdvertisement", "missing-community", communities=["nowhere"]),
    ),
    of_object(
        R.DUPLICATE_COMMUNITY,
        "community",
        named("another", backup="64500:1"),
        named("duplicate-community", backup="64500:2"),
    ),
    of_object(R.DUPLICATE_PEER, "bgppeer", peer("another"), peer("duplicate-peer")),
    of_object(R.VRF_UNSUPPORTED, "bgppeer", peer("vrf-unsupported", vrf="red"), door=False),
    of_object(R.BFD_UNSUPPORTED, "bgppeer", peer("bfd-unsupported", bfdProfile="fast"), door=False),
    of_route(
        R.AGGREGATE_TOO_WIDE,
        peer("gateway"),
        told("aggregate-too-wide", aggregationLength=24),
    ),
    of_route(
        R.CONFLICTING_ADVERTISEMENTS,
        peer("gateway"),
        told("conflicting-advertisements", localPref=100),
        _object("BGPAdvertisement", "preferred", localPref=200),
    ),
    of_route(R.NO_PEER, told("no-peer")),
    of_route(
        R.PEER_NOT_SELECTED,
        peer("gateway"),
        told("peer-not-selected", peers=["another"]),
    ),
    of_route(
        R.FAMILY_NOT_ON_SESSION,
        peer("gateway"),
        told("family-not-on-session"),
        **family("IPv6"),
    ),
    of_route(R.SESSION_DOWN, peer("gateway"), told("session-down")),
)
