"""Read our annotations in every spelling, and say which one spoke. Pure.

`lbctl.io/`, then `metallb.io/`, then `metallb.universe.tf/`: the first key that is present
counts, even if it is empty. Only the last spelling is deprecated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OWN_PREFIX = "lbctl.io/"
METALLB_PREFIX = "metallb.io/"
DEPRECATED_PREFIX = "metallb.universe.tf/"
_PREFIXES = (OWN_PREFIX, METALLB_PREFIX, DEPRECATED_PREFIX)

ADDRESSES = "loadBalancerIPs"
POOL = "address-pool"
SHARING_KEY = "allow-shared-ip"
MARK = "ip-allocated-from-pool"
DRAIN = "lbctl.io/drain"

OWN_MARK = OWN_PREFIX + MARK
METALLB_MARK = METALLB_PREFIX + MARK


def ours(annotations: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the annotations whose keys are of one of the three spellings."""
    return {key: value for key, value in annotations.items() if key.startswith(_PREFIXES)}


def spoken(annotations: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    """Return the key that counts for `name` and its text, or None when there is none."""
    if not annotations:
        return None
    for prefix in _PREFIXES:
        value = annotations.get(prefix + name)
        if isinstance(value, str):
            return prefix + name, value
    return None


def mark_of(annotations: Mapping[str, Any]) -> str:
    """Return the pool named by the mark, own spelling first; MetalLB never wrote the oldest."""
    for key in (OWN_MARK, METALLB_MARK):
        value = annotations.get(key)
        if isinstance(value, str) and value:
            return value
    return ""
