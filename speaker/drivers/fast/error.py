"""Errors of lb-fastpath's drivers: the world refused, with a sentence for the operator."""

from __future__ import annotations


class DriverError(Exception):
    """Say what the kernel refused and what to do about it; chained to the OSError."""


class NotPermittedError(DriverError):
    """The process lacks CAP_NET_RAW: nothing can work, so the process ends."""
