"""Hold the times of a reflector, and its tally.

Values beside the loop that uses them, so that tests and the speaker choose their own
and the metrics table reads the tally without knowing the loop.
"""

from dataclasses import dataclass, field

from lbctl.api.backoff import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times of a reflector, in seconds; tests make them small.

    `list_silence_s` is how long a list may pause; all of it may take longer on a slow line.
    `inactivity_s` is longer than the minute between the API server's bookmarks.
    `unknown_s` caps the wait while the CRD is missing: somebody is installing it.
    `rest_s` is how long a watch in a burst is left alone after it was read, 0 for never. Waking up
    for an event costs more than the event itself, so those of a burst had better come together.
    """

    list_silence_s: float = 60.0
    watch_s: float = 290.0
    inactivity_s: float = 75.0
    useful_watch_s: float = 1.0
    unknown_s: float = 5.0
    rest_s: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(slots=True, kw_only=True)
class ReflectorCounters:
    """What happened so far, for metrics. Mutable: it is the reflector's own tally."""

    lists: int = 0
    watches: int = 0
    events: int = 0
    bookmarks: int = 0
    unchanged: int = 0
    unreadable: int = 0
    gone: int = 0
    truncated: int = 0
    failures: int = 0
