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

ADDRESSES = "loadBalancerIPs"
POOL = "address-pool"
SHARING_KEY = "allow-shared-ip"
MARK = "ip-allocated-from-pool"
DRAIN = "lbctl.io/drain"

OWN_MARK = OWN_PREFIX + MARK
METALLB_MARK = METALLB_PREFIX + MARK


def spoken(annotations: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    """Return the key that counts for `name` and its text, or None when there is none."""
    for prefix in (OWN_PREFIX, METALLB_PREFIX, DEPRECATED_PREFIX):
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
