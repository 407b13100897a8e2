"""Label selectors: does this set of labels match? Pure.

The semantics are Kubernetes' LabelSelector: matchLabels and matchExpressions are ANDed, an
empty selector matches everything, `NotIn` and `DoesNotExist` match objects without the key.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class Operator(enum.StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Hold one matchExpressions item; a matchLabels pair is `In` with one value."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Match labels when every requirement does."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


def any_matches(selectors: Iterable[Selector], labels: Mapping[str, str]) -> bool:
    """Return whether one of the selectors matches; an empty list matches nothing here."""
    return any(selector.matches(labels) for selector in selectors)


def keys_of(selectors: Iterable[Selector]) -> tuple[str, ...]:
    """Return the keys of all labels that the selectors look at."""
    return tuple(sorted({one.key for selector in selectors for one in selector.requirements}))


def seen_by(keys: Iterable[str], labels: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return all that selectors with these keys see of the labels."""
    return tuple([labels.get(key) for key in keys])
