"""Ask one URL from a client's machine and print what answered, as one JSON object.

Run inside the client's network namespace (`python -m lbctl.lab.meters.ask URL`), because that is
where a question has to come from to mean anything. A connection of its own for each question, so
that kube-proxy chooses a pod anew. Standard library only: it starts in a tenth of a second.
"""

import argparse
import http.client
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

ATTEMPT_S = 2.0


def ask(url: str, source: str = "") -> dict[str, Any]:
    """Return the echo server's answer, or {"error": why} when there was none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "",
        parts.port or 80,
        timeout=ATTEMPT_S,
        source_address=(source, 0) if source else None,
    )
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return {"error": str(error) or type(error).__name__}
    finally:
        connection.close()
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"status": answer.status, "body": body.decode()}


def main() -> None:
    """Ask until there is an answer or the time is over; exit 1 without an answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--within", type=float, default=0.0, help="seconds to keep asking")
    parser.add_argument("--source", default="", help="the client's address to ask from")
    arguments = parser.parse_args()
    give_up = time.monotonic() + arguments.within
    while (
        "error" in (answer := ask(arguments.url, arguments.source)) and time.monotonic() < give_up
    ):
        time.sleep(0.05)
    print(json.dumps(answer))
    sys.exit(1 if "error" in answer else 0)


if __name__ == "__main__":
    main()
