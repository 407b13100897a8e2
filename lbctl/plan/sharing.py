"""Say whether Services may share one address. Pure.

Services share when each names the same sharing key, none of their (protocol, port) pairs collide,
and their traffic takes the same way: all `Cluster`, or all `Local` with equal selectors, because
with `Local` the announcing node must have endpoints of every sharer. The key is cluster-wide:
namespaces do not matter, as in MetalLB.

One tenant can give thousands of Services one key, so nothing here looks at every holder of an
address: `Sharers` knows who uses which port, and all of them agree on everything else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from lbctl.model.names import ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service, TrafficPolicy

_QUOTED: Final = 80
"""The most characters of a sharing key that a message repeats."""

Port = tuple[str, int]
"""A protocol and a number: what two Services on one address never have in common."""

Terms = tuple[str, frozenset[tuple[str, str]] | None]
"""What sharers agree on: the key, and with `Local` the selector (None: the policy is `Cluster`)."""


class Sharers(Collection[Service]):
    """Hold Services that lawfully share one address, in the order in which they came.

    A question costs what the newcomer's own ports cost, however many hold the address. Mutable:
    whoever makes one copies it before somebody else may change it.
    """

    __slots__ = ("_came", "_members", "_users")

    def __init__(self, holders: Iterable[Service] = ()) -> None:
        self._members: dict[ServiceKey, Service] = {}
        self._users: dict[Port, tuple[int, ServiceKey]] = {}
        """Who uses a port, after the number under which it came."""
        self._came = 0
        for holder in holders:
            self.join(holder)

    def __contains__(self, service: object) -> bool:
        return isinstance(service, Service) and self._members.get(service.key) == service

    def __iter__(self) -> Iterator[Service]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def get(self, key: ServiceKey) -> Service | None:
        return self._members.get(key)

    def copy(self) -> Sharers:
        twin = Sharers()
        twin._members, twin._users = self._members.copy(), self._users.copy()
        twin._came = self._came
        return twin

    def join(self, service: Service) -> None:
        """Add a Service that `refusal` let in."""
        self._came += 1
        self._members[service.key] = service
        user = (self._came, service.key)
        for port in service.sharing_ports:
            self._users[port] = user

    def leave(self, key: ServiceKey) -> None:
        for port in self._members.pop(key).sharing_ports:
            del self._users[port]

    def refusal(self, newcomer: Service) -> Refused | None:
        """Return why `newcomer` may not join: the answer of the first who has one."""
        other = next((one for one in self if one.key != newcomer.key), None)
        refused = None if other is None else _terms_refusal(newcomer, other)
        if other is None or refused is not None:
            return refused
        users = self._users
        taken = [(users[port], port) for port in newcomer.sharing_ports if port in users]
        taken = [(user, port) for user, port in taken if user[1] != newcomer.key]
        if not taken:
            return None
        (_, holder), port = min(taken)
        return _port_refusal(holder, port)


def terms_of(service: Service) -> Terms:
    """Return what all that share an address with the Service must have in common."""
    local = service.traffic_policy is TrafficPolicy.LOCAL
    return service.sharing_key, frozenset(service.selector.items()) if local else None


def holder_of(holders: Collection[Service], key: ServiceKey) -> Service | None:
    """Return the one of these holders of an address that has the key."""
    if isinstance(holders, Sharers):
        return holders.get(key)
    return next((holder for holder in holders if holder.key == key), None)


def sharing_refusal(newcomer: Service, holders: Iterable[Service]) -> Refused | None:
    """Return why `newcomer` may not join the holders of an address, or None if it may.

    The newcomer itself may be among the holders; it never conflicts with itself.
    """
    if isinstance(holders, Sharers):
        return holders.refusal(newcomer)
    for holder in holders:
        if holder.key != newcomer.key:
            refusal = _between(newcomer, holder)
            if refusal is not None:
                return refusal
    return None


def _between(newcomer: Service, holder: Service) -> Refused | None:
    refused = _terms_refusal(newcomer, holder)
    if refused is not None:
        return refused
    common = sorted(newcomer.sharing_ports & holder.sharing_ports)
    return _port_refusal(holder.key, common[0]) if common else None


def _terms_refusal(newcomer: Service, holder: Service) -> Refused | None:
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
    return None


def _port_refusal(holder: ServiceKey, port: Port) -> Refused:
    protocol, number = port
    return Refused(
        reason=Reason.PORT_IN_USE,
        detail=f"Service {holder} uses port {protocol}/{number} on the address",
    )


def _quoted(key: str) -> str:
    """Return the key as a message can hold it: an annotation may have 256 KiB."""
    return repr(key if len(key) <= _QUOTED else f"{key[: _QUOTED - 3]}...")
