"""Build the BGP values of tests: valid by default, override what matters (as `builders` does)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, TypeVar

from lbctl.model.advertisement import BGPAdvertisement
from lbctl.model.community import Alias, Community, CommunityAliases, parse_community
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey, PeerName
from lbctl.model.outcome import Problem
from lbctl.model.peer import BGPPeer
from lbctl.model.snapshot import Snapshot
from tests.support.builders import CREATED, NAMESPACE, created_at, make_snapshot

Spec = TypeVar("Spec")


def make_peer(name: str = "tor", address: str | None = "192.0.2.1", **fields: Any) -> BGPPeer:
    """Return a peer of AS 64501 for our AS 64500; `source` and `created` may be plain."""
    values: dict[str, Any] = {
        "name": PeerName(name),
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "created": CREATED,
        "generation": 1,
        "my_asn": 64500,
        "peer_asn": 64501,
        "address": ip_address(address) if address else None,
    }
    if isinstance(fields.get("created"), int):
        fields["created"] = created_at(fields["created"])
    if "source" in fields:
        fields["source"] = ip_address(fields["source"])
    return BGPPeer(**(values | fields))


def make_community(text: str) -> Community:
    found = parse_community(text, "")
    assert not isinstance(found, Problem), found
    return found


def make_bgp_advertisement(
    name: str = "all", *, communities: Iterable[str] = (), **fields: Any
) -> BGPAdvertisement:
    """Return an advertisement of every pool to every peer; names may be plain."""
    values: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "generation": 1,
        "communities": tuple(
            make_community(text) if ":" in text else Alias(text) for text in communities
        ),
    }
    for field in ("pools", "peers"):
        if field in fields:
            values[field] = frozenset(fields.pop(field))
    return BGPAdvertisement(**(values | fields))


def make_aliases(name: str, created: int = 0, /, **values: str) -> CommunityAliases:
    """Return a Community object; an underscore in a name stands for a dash."""
    return CommunityAliases(
        name=name,
        namespace=NAMESPACE,
        uid=f"uid-{name}",
        created=created_at(created),
        generation=1,
        values=tuple(
            (alias.replace("_", "-"), make_community(text)) for alias, text in values.items()
        ),
    )


def make_bgp_snapshot(
    *,
    peers: Iterable[Any] = (),
    advertisements: Iterable[Any] = (),
    communities: Iterable[CommunityAliases] = (),
    **world: Any,
) -> Snapshot:
    """Return a snapshot with BGP objects; a text is the name of a broken one."""
    return replace(
        make_snapshot(**world),
        peers=held("BGPPeer", *peers),
        bgp_advertisements=held("BGPAdvertisement", *advertisements),
        communities=held("Community", *communities),
    )


def held(kind: str, *specs: Any) -> Mapping[ObjectKey, Configured[Any]]:
    """Return model values as the API server holds their objects; a text is a broken object."""
    entries = [_broken(kind, one) if isinstance(one, str) else _held(kind, one) for one in specs]
    return {entry.key: entry for entry in entries}


def _held(kind: str, spec: Spec, **fields: Any) -> Configured[Spec]:
    name = getattr(spec, "name", "")
    values: dict[str, Any] = {
        "key": ObjectKey(kind, NAMESPACE, str(name)),
        "uid": f"uid-{name}",
        "created": getattr(spec, "created", CREATED),
        "generation": 1,
        "resource_version": "1",
        "spec": spec,
        "problems": (),
        "accepted": None,
    }
    return Configured(**(values | fields))


def _broken(kind: str, name: str) -> Configured[Any]:
    problem = Problem(path="spec.broken", message="is nonsense; correct it")
    return _held(kind, None, key=ObjectKey(kind, NAMESPACE, name), problems=(problem,))
