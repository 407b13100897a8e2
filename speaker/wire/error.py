"""WireError: the one exception that bytes can cause. Pure.

Every decoder of `speaker.wire` raises it, and only it, whatever the bytes are; the driver that
read the bytes catches and counts it. Encoders take typed values and raise nothing.
"""

from __future__ import annotations


class WireError(ValueError):
    """Say why some bytes are not the message they were read as, in one sentence."""
