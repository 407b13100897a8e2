"""Name the things that Kubernetes names: keys and identifiers used across the product. Pure.

NewTypes keep a node name from being handed over where a pool name is meant; keys of
namespaced objects are values so that they sort, hash and print as `namespace/name`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NewType

NodeName = NewType("NodeName", str)
PoolName = NewType("PoolName", str)
LinkName = NewType("LinkName", str)
PeerName = NewType("PeerName", str)
Incarnation = NewType("Incarnation", str)
"""One life of a speaker process; a restarted process is a new member with a new incarnation."""


class ServiceKey(NamedTuple):
    """Identify a Service as `namespace/name`.

    Positional on purpose: it is written everywhere. A named tuple, because it is the key of every
    map of a plan and a dataclass hashes and compares five times more slowly.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Identify one configuration object: kind, namespace (empty if cluster-wide) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.namespace}/{self.name}"
            if self.namespace
            else f"{self.kind} {self.name}"
        )
