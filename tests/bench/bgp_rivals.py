"""Start lb-speaker's BGP, GoBGP and ExaBGP on one host with the same routes, one at a time.

Each is given its table before it may speak: ExaBGP by its configuration, lb-speaker's BGP as its
desired table, GoBGP by a neighbor that has it (`gobgp mrt inject` ends before all is taken). So
what is timed is a session that tells a table.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.bgp_speaker import prefix
from tests.support.bgp import OURS, THEIRS
from tests.support.lan import Host, eventually

Change = Callable[[int], float]
"""Change one route; returns the wall clock's time at which the speaker had been told."""


_FEEDER, _FEED_PORT = 64511, 1179
"""Who gives GoBGP its table, and where."""


class Rivals:
    """Hold where they run and whom they speak to."""

    def __init__(self, host: Host, router: Host, folder: Path, count: int) -> None:
        self._host = host
        self._router = router
        self._folder = folder
        self._count = count

    @contextlib.contextmanager
    def lbctl(self) -> Iterator[Change]:
        with self._speaking(self._router.address, 179, OURS, THEIRS) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def change(_number: int) -> float:
                stdin.write(b"\n")
                stdin.flush()
                return int(stdout.readline()) / 1e9

            yield change

    @contextlib.contextmanager
    def exabgp(self) -> Iterator[Change]:
        fifo, settings = self._folder / "feed", self._folder / "exabgp.conf"
        if not fifo.exists():
            os.mkfifo(fifo)
        routes = "\n".join(f"route {prefix(n)} next-hop self;" for n in range(self._count))
        settings.write_text(
            f"process feed {{ run /bin/cat {fifo}; encoder text; }}\n"
            f"neighbor {self._router.address} {{ router-id {self._host.address}; "
            f"local-address {self._host.address}; local-as {OURS}; peer-as {THEIRS}; "
            "family { ipv4 unicast; } api { processes [ feed ]; } static {\n" + routes + "\n} }\n"
        )
        program = str(Path(sys.executable).parent / "exabgp")
        quiet = {
            "exabgp_daemon_user": "root",
            "exabgp_api_cli": "false",
            "exabgp_api_ack": "false",
            "exabgp_log_enable": "false",
        }
        with (
            self._started(program, "server", str(settings), **quiet),
            fifo.open("w") as feed,
        ):

            def change(number: int) -> float:
                told = time.time()
                words = f"next-hop self community [{OURS}:{number}]"
                feed.write(f"announce route {prefix(number)} {words}\n")
                feed.flush()
                return told

            yield change

    @contextlib.contextmanager
    def gobgp(self) -> Iterator[None]:
        with self.gobgp_calling(()) as (_, told):
            told("neighbor", "add", self._router.address, "as", str(THEIRS))
            yield

    @contextlib.contextmanager
    def gobgp_calling(
        self, calls: Sequence[tuple[object, object]]
    ) -> Iterator[tuple[int, Callable[..., str]]]:
        """Yield GoBGP with the whole table, its process's id, and what speaks to it.

        It makes the `calls` from the beginning: its own address and the router's of each.
        """
        settings, own = self._folder / "gobgp.toml", self._host.address
        neighbors = "".join(
            f'[[neighbors]]\nconfig = {{ neighbor-address = "{theirs}", peer-as = {THEIRS} }}\n'
            f'transport.config.local-address = "{ours}"\n'
            f"timers.config = {{ hold-time = 3, keepalive-interval = 1, connect-retry = 1 }}\n"
            for ours, theirs in calls
        )
        settings.write_text(
            f'[global.config]\nas = {OURS}\nrouter-id = "198.51.100.222"\nport = {_FEED_PORT}\n'
            f'[[neighbors]]\n[neighbors.config]\nneighbor-address = "{own}"\n'
            f"peer-as = {_FEEDER}\n[neighbors.transport.config]\npassive-mode = true\n{neighbors}"
        )
        with (
            self._started(
                "gobgpd", "-f", str(settings), "--api-hosts", "127.0.0.1:50051"
            ) as process,
            self._speaking(own, _FEED_PORT, _FEEDER, OURS),
        ):
            tell = ("ip", "netns", "exec", self._host.namespace, "gobgp")

            def told(*words: str) -> str:
                done = subprocess.run([*tell, *words], capture_output=True, text=True, check=False)
                return done.stdout

            whole = f"Destination: {self._count},"
            eventually(
                lambda: whole in told("global", "rib", "summary"),
                within_s=60,
                what="GoBGP's own table",
            )
            yield process.pid, told

    def _speaking(
        self, peer: str, port: int, asn: int, theirs: int
    ) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        words = (peer, str(port), self._host.address, str(asn), str(theirs), str(self._count))
        return self._started(sys.executable, "-m", "tests.bench.bgp_speaker", *words)

    @contextlib.contextmanager
    def _started(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self._folder / f"{Path(command[0]).name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._host.namespace, *command],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
