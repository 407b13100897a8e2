"""Make the name of an object that speaks of others, from their names. Pure.

Names of nodes, peers and Services may together be longer than a name may be; such a one is cut and
carries a digest of the whole, so that two are never alike and each follows from what it is about.
"""

from __future__ import annotations

import hashlib

NAME_MAX = 253
DIGEST_LENGTH = 16


def object_name(plain: str, suffix: str = "", *, exact: str = "") -> str:
    """Return `plain` and `suffix` as the name of an object.

    `exact` spells what `plain` leaves open, where others could have the same plain name; then the
    name always carries the digest, which is that of `exact`.
    """
    if not exact and len(plain) + len(suffix) <= NAME_MAX:
        return plain + suffix
    digest = hashlib.sha256((exact or plain).encode()).hexdigest()[:DIGEST_LENGTH]
    room = NAME_MAX - len(suffix) - DIGEST_LENGTH - 1
    return f"{plain[:room].rstrip('.-')}-{digest}{suffix}"
