"""All BGP peers of this node: what is configured is spoken to, each for itself.

Declarative: `apply` takes every peer with its table, compares, and touches only what is another. A
peer whose configuration changed is told so (Cease/6) and called anew; one that is gone is told so
(Cease/3) and flushes our routes. A new table costs the others nothing. A task that fails is a
mistake of ours: it is logged, and its peer alone is called again after a pause.

Made by whoever runs lb-speaker; nothing is started by the constructor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from lbctl.model.address import Address
from lbctl.model.names import PeerName
from speaker.agent.peering import Peering
from speaker.drivers.node.bgp import BgpPeer
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_report import Cause, Down
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_fault import CONFIGURATION_CHANGE, DECONFIGURED, Notification, cease

AGAIN_S: Final = 5.0
"""Pause before a peer whose task failed is called again."""

logger = logging.getLogger(__name__)


class BgpPeers:
    """Hold the tasks of all peers, by name."""

    def __init__(
        self,
        *,
        beside: Callable[[Address], tuple[Address, ...]],
        on_change: Callable[[PeerName, Changed], None],
    ) -> None:
        self._beside = beside
        self._on_change = on_change
        self._wanted: dict[PeerName, Peering] = {}
        self._peers: dict[PeerName, BgpPeer] = {}
        self._tasks: dict[PeerName, asyncio.Task[None]] = {}
        self._closed = False
        self._known: set[PeerName] = set()
        """Names that this process has had a peer of: the R bit is for the first only."""

    @property
    def peers(self) -> Mapping[PeerName, BgpPeer]:
        """The peers that are spoken to now."""
        return self._peers

    def apply(self, wanted: Mapping[PeerName, Peering]) -> None:
        """Speak to exactly these peers; to be called with complete tables only.

        A peering that is the very object of the last call costs nothing.
        """
        if self._closed:
            return
        before, self._wanted = self._wanted, dict(wanted)
        for name, peer in self._peers.items():
            peering = self._wanted.get(name)
            if peering is None:
                peer.stop(cease(DECONFIGURED))
            elif not peering.config.keeps_session_of(peer.config):
                peer.stop(cease(CONFIGURATION_CHANGE))
            elif peering is not before.get(name):
                peer.renew(peering.config)
                peer.want(peering.table)
        for name in self._wanted.keys() - self._tasks.keys():
            self._tasks[name] = asyncio.create_task(self._hold(name), name=f"bgp {name}")

    def look_again(self) -> None:
        """Look whether the links of the sessions have other addresses now."""
        for peer in self._peers.values():
            peer.look_again()

    async def close(self, goodbye: Notification | None) -> None:
        """End every session, with or without a word, and begin none any more.

        Returns when the peers have been told.
        """
        self._closed = True
        self._wanted = {}
        for peer in self._peers.values():
            peer.stop(goodbye)
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _hold(self, name: PeerName) -> None:
        """Hold one session after the other while the peer is wanted."""
        try:
            while name in self._wanted:
                peering = self._wanted[name]
                peer = self._peers[name] = BgpPeer(
                    peering.config,
                    restarting=name not in self._known,
                    beside=self._beside,
                    on_change=lambda change: self._on_change(name, change),
                )
                self._known.add(name)
                peer.want(peering.table)
                await self._run(name, peer)
        finally:
            self._peers.pop(name, None)
            self._tasks.pop(name, None)

    async def _run(self, name: PeerName, peer: BgpPeer) -> None:
        try:
            await peer.run()
        except Exception:
            logger.exception("BGP peer %s: the session failed; it is begun anew", name)
            why = "the session failed inside lb-speaker, whose log says where; it is begun anew"
            down = Down(cause=Cause.BROKEN, detail=why)
            self._on_change(name, Changed(state=State.IDLE, down=down))
            await asyncio.sleep(AGAIN_S)
