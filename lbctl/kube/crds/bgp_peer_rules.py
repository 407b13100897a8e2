"""Rules of a BGPPeer that need several of its fields, each in CEL and in Python. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lbctl.kube.crds.durations import seconds
from lbctl.kube.crds.table import Rule
from lbctl.model.peer import DynamicASN

Spec = Mapping[str, Any]


def _said(name: str) -> str:
    """Return the CEL of "this string is there and not empty"."""
    return f"(has(self.{name}) && self.{name} != '')"


def _true(name: str) -> str:
    return f"(has(self.{name}) && self.{name})"


_INTERNAL: Final = (
    "((has(self.peerASN) && self.peerASN == self.myASN) || "
    "(has(self.dynamicASN) && self.dynamicASN == 'internal'))"
)


def _internal(spec: Spec) -> bool:
    return spec.get("peerASN") == spec["myASN"] or spec.get("dynamicASN") == DynamicASN.INTERNAL


def _other_as(spec: Spec) -> bool:
    local = spec.get("localASN")
    return local is None or (not _internal(spec) and local != spec.get("peerASN"))


def _one_password(spec: Spec) -> bool:
    secret = spec.get("passwordSecret") or {}
    return not (spec.get("password") and secret.get("name"))


def _one_family(spec: Spec) -> bool:
    source, peer = spec.get("sourceAddress"), spec.get("peerAddress")
    return not source or not peer or (":" in source) == (":" in peer)


def _times_fit(spec: Spec) -> bool:
    hold, keepalive = spec.get("holdTime"), spec.get("keepaliveTime")
    if hold is None or keepalive is None:
        return True
    hold_s, keepalive_s = seconds(hold), seconds(keepalive)
    return keepalive_s <= hold_s and (keepalive_s == 0) == (hold_s == 0)


RULES: Final = (
    Rule(
        cel="(has(self.peerASN) && self.peerASN != 0) != has(self.dynamicASN)",
        message="one of peerASN and dynamicASN must be set, and not both",
        holds=lambda spec: bool(spec.get("peerASN")) != bool(spec.get("dynamicASN")),
    ),
    Rule(
        cel=f"{_said('peerAddress')} != {_said('interface')}",
        message="one of peerAddress and interface must be set, and not both",
        holds=lambda spec: bool(spec.get("peerAddress")) != bool(spec.get("interface")),
    ),
    Rule(
        cel=f"!has(self.localASN) || !({_INTERNAL} || "
        "(has(self.peerASN) && self.localASN == self.peerASN))",
        message="localASN is for peers of another AS, and must not be the peer's; drop it or "
        "correct the numbers",
        holds=_other_as,
    ),
    Rule(
        cel=f"!{_true('ebgpMultiHop')} || !{_INTERNAL}",
        message="ebgpMultiHop is for peers of another AS; drop it, one of our own may be any "
        "number of hops away",
        holds=lambda spec: not (spec.get("ebgpMultiHop") and _internal(spec)),
    ),
    Rule(
        cel=f"!{_true('ebgpMultiHop')} || !has(self.ttlSecurityHops)",
        message="ttlSecurityHops says how many hops there may be; drop ebgpMultiHop",
        holds=lambda spec: not (spec.get("ebgpMultiHop") and spec.get("ttlSecurityHops")),
    ),
    Rule(
        cel=f"!{_said('sourceAddress')} || !{_said('interface')}",
        message="a session by interface uses its link-local address; drop sourceAddress",
        holds=lambda spec: not (spec.get("sourceAddress") and spec.get("interface")),
    ),
    Rule(
        cel=f"!{_said('sourceAddress')} || !{_said('peerAddress')} || "
        "self.sourceAddress.contains(':') == self.peerAddress.contains(':')",
        message="sourceAddress and peerAddress must be of one family; correct one of them, or drop "
        "sourceAddress",
        holds=_one_family,
    ),
    Rule(
        cel="!has(self.holdTime) || !has(self.keepaliveTime) || "
        "(duration(self.keepaliveTime) <= duration(self.holdTime) && "
        "(duration(self.keepaliveTime) == duration('0s')) == "
        "(duration(self.holdTime) == duration('0s')))",
        message="keepaliveTime must be at most holdTime, and 0s only beside a holdTime of 0s; "
        "drop it to have a third of holdTime",
        holds=_times_fit,
    ),
    Rule(
        cel=f"!{_said('password')} || !(has(self.passwordSecret) && "
        "has(self.passwordSecret.name) && self.passwordSecret.name != '')",
        message="password and passwordSecret exclude each other; drop password",
        holds=_one_password,
    ),
    Rule(
        cel=f"!{_true('disableMP')} || !{_true('dualStackAddressFamily')}",
        message="disableMP and dualStackAddressFamily contradict each other; drop disableMP",
        holds=lambda spec: not (spec.get("disableMP") and spec.get("dualStackAddressFamily")),
    ),
)

SECRET_RULES: Final = (
    Rule(
        # The kernel counts bytes (TCP_MD5SIG_MAXKEYLEN), a schema's maxLength characters.
        cel="bytes(self).size() <= 80",
        message="must have at most 80 bytes",
        holds=lambda value: len(value.encode(errors="replace")) <= 80,
    ),
)
