"""What a decision returns: yes with a value, or no with a reason. Pure (HOUSE 5).

`Refused` is a rule that said no, `Problem` is wrong configuration. Both carry enough to print
one clear sentence; neither is ever raised.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbctl.model.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Say no: the reason from the closed enum and the facts of this case in one sentence."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Say what is wrong with one field of one object: `path` as in `spec.addresses[3]`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class InvariantBroken(Exception):  # noqa: N818 - the glossary's word; it is a broken promise, not an error
    """Report that the product itself is wrong (one address with two owners), also under -O."""

    message: str
