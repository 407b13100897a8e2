"""Specs of the BGP kinds, good and bad: parser and API server must judge each of them alike.

A bad one comes with the field that the message must name and a part of its words. The parser is
asked in tests/unit/kube/test_bgp_kinds.py, a real API server in tests/cluster/test_crds.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lbctl.kube.crds.bgp_advertisement import KIND as BGP_ADVERTISEMENT
from lbctl.kube.crds.bgp_peer import KIND as BGP_PEER
from lbctl.kube.crds.communities import KIND as COMMUNITY
from lbctl.kube.crds.table import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Hold one spec; `path` and `words` are empty for a good one."""

    kind: Kind
    spec: dict[str, Any]
    path: str = ""
    words: str = ""

    def __str__(self) -> str:
        shown = repr({k: v for k, v in self.spec.items() if PEER.get(k) != v})
        return f"{self.kind.kind} {shown[:100]}"


PEER: dict[str, Any] = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}


def peer(path: str = "", words: str = "", **fields: Any) -> Case:
    """Return a peer of 64501 at 192.0.2.1 with these fields; None takes one away."""
    spec = {name: value for name, value in {**PEER, **fields}.items() if value is not None}
    return Case(kind=BGP_PEER, spec=spec, path=path, words=words)


def unnumbered(path: str = "", words: str = "", **fields: Any) -> Case:
    return peer(path, words, peerAddress=None, interface="eth0", **fields)


def advertisement(path: str = "", words: str = "", **fields: Any) -> Case:
    return Case(kind=BGP_ADVERTISEMENT, spec=fields, path=path, words=words)


def alias(value: str, path: str = "", words: str = "", *, name: str = "n") -> Case:
    spec = {"communities": [{"name": name, "value": value}]}
    return Case(kind=COMMUNITY, spec=spec, path=path, words=words)


_ONE_AS = "one of peerASN and dynamicASN"
_ONE_WAY = "one of peerAddress and interface"
_HOST = "the IP address of a host"
_SECRET = {"name": "key"}

PEERS = (
    peer(),
    peer(myASN=4_294_967_295),
    peer("spec.myASN", "between 1 and", myASN=0),
    peer("spec.myASN", "between 1 and", myASN=4_294_967_296),
    # Whose AS.
    peer("spec", _ONE_AS, peerASN=None),
    peer("spec", _ONE_AS, peerASN=0),
    peer("spec", _ONE_AS, dynamicASN="external"),
    peer(peerASN=0, dynamicASN="internal"),
    peer(peerASN=None, dynamicASN="external", ebgpMultiHop=True),
    peer("spec.dynamicASN", "internal, external", peerASN=None, dynamicASN="any"),
    peer(localASN=64502),
    peer(localASN=64500),
    peer(peerASN=None, dynamicASN="external", localASN=64502),
    peer("spec", "localASN", localASN=64501),
    peer("spec", "localASN", peerASN=64500, localASN=64502),
    peer("spec", "localASN", peerASN=None, dynamicASN="internal", localASN=64502),
    # Where.
    peer(interface=""),
    peer(peerAddress="2001:DB8::1"),
    peer(peerAddress="127.0.0.1"),
    peer(peerAddress="::1"),
    peer(peerAddress="169.254.1.1"),
    unnumbered(),
    unnumbered(dualStackAddressFamily=True),
    peer("spec", _ONE_WAY, peerAddress=None),
    peer("spec", _ONE_WAY, peerAddress=""),
    peer("spec", _ONE_WAY, interface="eth0"),
    unnumbered("spec", "drop sourceAddress", sourceAddress="192.0.2.9"),
    peer("spec.interface", "no slash", peerAddress=None, interface="eth/0"),
    peer("spec.peerAddress", "not an IP address", peerAddress="router.example"),
    peer("spec.peerAddress", "not an IP address", peerAddress="192.0.2.1/32"),
    peer("spec.peerAddress", "not an IP address", peerAddress="192.0.02.1"),
    peer("spec.peerAddress", "blanks", peerAddress=" 192.0.2.1"),
    peer("spec.peerAddress", "write 192.0.2.1", peerAddress="::ffff:192.0.2.1"),
    peer("spec.peerAddress", _HOST, peerAddress="0.0.0.0"),
    peer("spec.peerAddress", _HOST, peerAddress="255.255.255.255"),
    peer("spec.peerAddress", _HOST, peerAddress="224.0.0.5"),
    peer("spec.peerAddress", _HOST, peerAddress="ff02::1"),
    peer("spec.peerAddress", "spec.interface", peerAddress="fe80::1"),
    peer("spec.peerAddress", "not an IP address", peerAddress="fe80::1%eth0"),
    peer(sourceAddress="192.0.2.9"),
    peer(sourceAddress=""),
    peer("spec", "of one family; correct one of them", sourceAddress="2001:db8::9"),
    peer("spec.sourceAddress", _HOST, sourceAddress="224.0.0.5"),
    peer(peerPort=16_384),
    peer("spec.peerPort", "between 1 and 16384", peerPort=0),
    peer(routerID="203.0.113.1"),
    peer(routerID=""),
    peer("spec.routerID", "IPv4 address", routerID="0.0.0.0"),
    peer("spec.routerID", "IPv4 address", routerID="2001:db8::1"),
    peer("spec.routerID", "IPv4 address", routerID="1"),
    # Times.
    *(peer(holdTime=text) for text in ("0s", "0", "3s", "90.5s", "1m30s", "65535.9s", "1h")),
    *(peer("spec.holdTime", "from 3s", holdTime=text) for text in ("1s", "2999ms", "65536s")),
    *(peer("spec.holdTime", "a span of time", holdTime=text) for text in ("5", "", "-5s", "soon")),
    peer(keepaliveTime="1s"),
    peer(keepaliveTime="0s"),
    peer(keepaliveTime="21845s"),
    peer("spec.keepaliveTime", "from 1s", keepaliveTime="999ms"),
    peer("spec.keepaliveTime", "from 1s", keepaliveTime="21846s"),
    peer(holdTime="0s", keepaliveTime="0s"),
    peer(holdTime="9s", keepaliveTime="9s"),
    peer("spec", "keepaliveTime", holdTime="9s", keepaliveTime="10s"),
    peer("spec", "keepaliveTime", holdTime="9s", keepaliveTime="0s"),
    peer("spec", "keepaliveTime", holdTime="0s", keepaliveTime="3s"),
    peer(connectTime="2000ms"),
    peer("spec.connectTime", "whole seconds", connectTime="1500ms"),
    peer("spec.connectTime", "from 1s", connectTime="0s"),
    peer("spec.connectTime", "from 1s", connectTime="65536s"),
    # Secrets.
    peer(password="x" * 80),
    peer(password="", passwordSecret=_SECRET),
    peer(password="x", passwordSecret={}),
    peer("spec.password", "at most 80", password="x" * 81),
    peer("spec.password", "80 bytes", password="\u00e4" * 41),
    peer("spec", "drop password", password="x", passwordSecret=_SECRET),
    # How.
    peer(ebgpMultiHop=True),
    peer("spec", "ebgpMultiHop", peerASN=64500, ebgpMultiHop=True),
    peer("spec", "ebgpMultiHop", peerASN=None, dynamicASN="internal", ebgpMultiHop=True),
    peer(peerASN=64500, ttlSecurityHops=3),
    peer("spec", "drop ebgpMultiHop", ebgpMultiHop=True, ttlSecurityHops=3),
    peer("spec.ttlSecurityHops", "between 1 and 254", ttlSecurityHops=255),
    peer(disableMP=True),
    peer("spec", "drop disableMP", disableMP=True, dualStackAddressFamily=True),
    peer(vrf="red", bfdProfile="fast"),
)

GOOD_NUMBERS = (
    "64500:1",
    "0:0",
    "65535:65535",
    "00001:1",
    "large:64500:1:2",
    "large:4294967295:4294967295:4294967295",
    "extended:rt:64500:4294967295",
    "extended:soo:65536:65535",
    "extended:0x0002fbf400000001",
    "extended:0x4004FBF400000001",
)
BAD_NUMBERS = {
    "65536:1": "above 65535",
    "1:65536": "above 65535",
    "000001:1": "not a community",
    "1:2:3": "not a community",
    "a:1": "not a community",
    "64500:": "not a community",
    " 64500:1": "not a community",
    "large:4294967296:1:1": "above 4294967295",
    "large:1:2": "not a community",
    "LARGE:1:2:3": "not a community",
    "extended:rt:64500:4294967296": "does not fit",
    "extended:soo:65536:65536": "does not fit",
    "extended:rt:4294967296:1": "does not fit",
    "extended:color:1:2": "not a community",
    "extended:0x0002": "not a community",
}

COMMUNITIES = (
    *(alias(text) for text in GOOD_NUMBERS),
    *(alias(text, "spec.communities[0].value", why) for text, why in BAD_NUMBERS.items()),
    alias("other", "spec.communities[0].value", "not a community"),
    alias("64500:1", name="no export"),
    alias("64500:1", "spec.communities[0].name", "without a colon", name="a:b"),
    Case(
        kind=COMMUNITY,
        spec={"communities": [{"name": "a", "value": text} for text in ("1:1", "1:2")]},
        path="spec.communities[1]",
        words="repeats",
    ),
)

ADVERTISEMENTS = (
    advertisement(),
    *(advertisement(communities=[text]) for text in (*GOOD_NUMBERS, "no-export", "a b")),
    *(
        advertisement("spec.communities[0]", why, communities=[text])
        for text, why in BAD_NUMBERS.items()
    ),
    advertisement("spec.communities[0]", "not be empty", communities=[""]),
    advertisement("spec.communities[1]", "remove one", communities=["1:1", "1:1"]),
    advertisement(communities=[f"64500:{number}" for number in range(63)]),
    advertisement("spec.communities", "at most 63", communities=[f"1:{n}" for n in range(64)]),
    advertisement(localPref=4_294_967_295),
    advertisement("spec.localPref", "between 0 and", localPref=-1),
    advertisement(aggregationLength=24, aggregationLengthV6=64),
    advertisement("spec.aggregationLength", "between 1 and 32", aggregationLength=33),
    advertisement("spec.aggregationLengthV6", "between 1 and 128", aggregationLengthV6=0),
    advertisement("spec.aggregationLengthV6", "between 1 and 128", aggregationLengthV6=129),
    advertisement(aggregationLength=24, serviceSelectors=[]),
    advertisement(aggregationLength=32, aggregationLengthV6=128, serviceSelectors=[{}]),
    advertisement("spec", "serviceSelectors", aggregationLength=24, serviceSelectors=[{}]),
    advertisement("spec", "serviceSelectors", aggregationLengthV6=64, serviceSelectors=[{}]),
    advertisement("spec.peers[1]", "remove one", peers=["a", "a"]),
)

CASES = (*PEERS, *COMMUNITIES, *ADVERTISEMENTS)
