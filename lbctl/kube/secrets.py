"""Read the Secret that holds a BGP peer's password. Pure.

Only Secrets of type kubernetes.io/basic-auth are asked for (`PASSWORDS`), as MetalLB's users have
them, and of those only the key `password` is kept. Called by lb-speaker.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from lbctl.kube.loose import mapping, metadata_of, text
from lbctl.model.outcome import Problem

BASIC_AUTH: Final = "kubernetes.io/basic-auth"
PASSWORDS: Final[Mapping[str, str]] = {"fieldSelector": f"type={BASIC_AUTH}"}
"""What a list or a watch of Secrets asks for, so that no other Secret ever comes here."""


def parse_password(body: Any) -> tuple[str, str | Problem] | None:
    """Return the Secret's name, and its password or what is wrong with it; None: no name."""
    metadata = metadata_of(body)
    if metadata is None:
        return None
    encoded = text(mapping(body.get("data")).get("password"))
    path = "spec.passwordSecret"
    if not encoded:
        problem = Problem(path=path, message=f"Secret {metadata.name} has no key 'password'")
        return metadata.name, problem
    try:
        return metadata.name, base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        problem = Problem(
            path=path, message=f"the password in Secret {metadata.name} is no UTF-8 text"
        )
        return metadata.name, problem
