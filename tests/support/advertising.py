"""Router advertisements on a test LAN: a hurried lb-fastpath, and who hears what."""

from __future__ import annotations

import time

from scapy.layers.inet6 import ICMPv6ND_RA
from scapy.layers.l2 import Ether

from tests.support.lan import IPV6, Host

QUICK_S = 0.1
_HURRIED = f"""
from speaker.fast import router
from speaker.fastpath import main

router.INTERVAL_S = router.PAUSE_S = {QUICK_S}
main()
"""
HURRIED = ("-c", _HURRIED)
"""lb-fastpath, except that nobody waits 10 s for the next advertisement, or for there being none."""


def heard(host: Host, within_s: float) -> Ether | None:
    """Return the next router advertisement that `host` hears."""
    end = time.monotonic() + within_s
    with host.packets(IPV6) as wire:
        while time.monotonic() < end:
            try:
                frame = Ether(wire.recv(2048))
            except TimeoutError:
                continue
            if ICMPv6ND_RA in frame:
                return frame
    return None


def silent(host: Host) -> bool:
    """Return whether many intervals pass without an advertisement."""
    return heard(host, 15 * QUICK_S) is None
