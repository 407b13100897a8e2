"""What the process lb-fastpath loads, asked of an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys

FOREIGN = {"aiohttp", "exabgp", "kopf", "kubernetes", "prometheus_client", "pyroute2", "scapy"}
OURS = (
    *("lbctl.model", "lbctl.run.flags", "lbctl.run.logs"),
    *("speaker.wire", "speaker.fast", "speaker.fastpath", "speaker.drivers.fast"),
)
EMPTY_PACKAGES = {"lbctl", "lbctl.run", "speaker", "speaker.drivers"}


def test_the_fast_path_loads_no_client_no_server_and_no_other_half_of_the_speaker():
    program = "import json, sys, speaker.fastpath; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert not FOREIGN & {name.partition(".")[0] for name in loaded}
    ours = {name for name in loaded if name.partition(".")[0] in {"lbctl", "speaker"}}
    assert {name for name in ours - EMPTY_PACKAGES if not name.startswith(OURS)} == set()
