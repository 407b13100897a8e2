"""Say whether Services may share one address. Pure.

Services share when each names the same sharing key, none of their (protocol, port) pairs collide,
and their traffic takes the same way: all `Cluster`, or all `Local` with equal selectors, because
with `Local` the announcing node must have endpoints of every sharer. The key is cluster-wide:
namespaces do not matter, as in MetalLB.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service, TrafficPolicy

_QUOTED: Final = 80
"""The most characters of a sharing key that a message repeats."""


def sharing_refusal(newcomer: Service, holders: Iterable[Service]) -> Refused | None:
    """Return why `newcomer` may not join the holders of an address, or None if it may.

    The newcomer itself may be among the holders; it never conflicts with itself.
    """
    for holder in holders:
        if holder.key != newcomer.key:
            refusal = _between(newcomer, holder)
            if refusal is not None:
                return refusal
    return None


def _between(newcomer: Service, holder: Service) -> Refused | None:
    if not newcomer.sharing_key or not holder.sharing_key:
        return Refused(
            reason=Reason.ADDRESS_IN_USE, detail=f"the address belongs to Service {holder.key}"
        )
    if newcomer.sharing_key != holder.sharing_key:
        return Refused(
            reason=Reason.SHARING_KEY_DIFFERS,
            detail=f"Service {holder.key} has the address with sharing key "
            f"{_quoted(holder.sharing_key)}, not {_quoted(newcomer.sharing_key)}",
        )
    if newcomer.traffic_policy != holder.traffic_policy:
        return Refused(
            reason=Reason.SHARING_KEY_DIFFERS,
            detail=f"Service {holder.key} has the address with externalTrafficPolicy "
            f"{holder.traffic_policy}, not {newcomer.traffic_policy}",
        )
    if newcomer.traffic_policy is TrafficPolicy.LOCAL and dict(newcomer.selector) != dict(
        holder.selector
    ):
        return Refused(
            reason=Reason.SHARING_KEY_DIFFERS,
            detail=f"Service {holder.key} has the address with externalTrafficPolicy Local and "
            "another selector",
        )
    common = sorted(newcomer.sharing_ports & holder.sharing_ports)
    if common:
        protocol, port = common[0]
        return Refused(
            reason=Reason.PORT_IN_USE,
            detail=f"Service {holder.key} uses port {protocol}/{port} on the address",
        )
    return None


def _quoted(key: str) -> str:
    """Return the key as a message can hold it: an annotation may have 256 KiB."""
    return repr(key if len(key) <= _QUOTED else f"{key[: _QUOTED - 3]}...")
