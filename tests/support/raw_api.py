"""Send one request to a real API server and return its answer: for what kubectl hides or slows."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lbctl.api.credentials import load_credentials

MERGE = "application/merge-patch+json"


class RawApi:
    """One connection as the cluster's administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        credentials = load_credentials(kubeconfig)
        server = urlsplit(credentials.server)
        self._connection = http.client.HTTPSConnection(
            server.hostname or "", server.port, context=credentials.ssl_context(), timeout=30
        )

    def close(self) -> None:
        self._connection.close()

    def send(
        self, method: str, path: str, body: Any, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any], tuple[str, ...]]:
        """Return status, body and the texts of the warnings."""
        self._connection.request(
            method, path, json.dumps(body).encode(), {"Content-Type": content_type}
        )
        answer = self._connection.getresponse()
        warnings = answer.headers.get_all("Warning") or ()
        parsed: dict[str, Any] = json.loads(answer.read())
        return answer.status, parsed, tuple(text.split(" ", 2)[2].strip('"') for text in warnings)
