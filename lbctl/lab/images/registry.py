"""A registry that answers every image name with the echo server.

containerd on the lab's nodes asks this for whatever a pod names, so any tutorial's
Deployment starts on a machine that reaches no registry. It is the reading half of the
OCI distribution API (distribution-spec v1.1, section "pull"), in a process of its own
on the LAN's gateway:

    python -m lbctl.lab.images.registry --listen 192.0.2.1:5000 --archive echo.tar

It refuses two things in words: an image pinned by digest (`name@sha256:...`), because
no other image has that digest, and names under localhost/, because those are ours and
must have been imported.
"""

import argparse
import ipaddress
import json
import re
import signal
import socket
import sys
import tarfile
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import cast
from urllib.parse import parse_qs, urlsplit

from lbctl.lab.images.oci import MANIFEST_TYPE

_REQUEST = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an image archive holds: its blobs by digest, and which of them is the manifest."""

    manifest: str
    blobs: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the registry says to one request.

    `phrase` replaces the words after the status code: of a refused HEAD it is the only
    part that a client sees, and containerd repeats it in the pod's Event.
    """

    status: HTTPStatus
    body: bytes
    phrase: str | None = None
    media_type: str = "application/json"
    digest: str = ""


def read_archive(path: Path) -> Content:
    """Return what is in an archive written by `oci.write_image`.

    Raises:
        ValueError: the file is not an image archive.
    """
    try:
        with tarfile.open(path) as archive:
            files = {
                member.name: stream.read()
                for member in archive
                if (stream := archive.extractfile(member)) is not None
            }
        digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    except (tarfile.TarError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is not an image archive: {error}") from error
    blobs = {
        name.removeprefix("blobs/").replace("/", ":"): content
        for name, content in files.items()
        if name.startswith("blobs/")
    }
    return Content(manifest=digest, blobs=blobs)


def answer(content: Content, target: str) -> Answer:
    """Return what a GET of `target` (path and query) gets. Pure."""
    url = urlsplit(target)
    if url.path.rstrip("/") == "/v2":
        return Answer(status=HTTPStatus.OK, body=b"{}")
    match = _REQUEST.fullmatch(url.path)
    if match is None:
        return _refusal("UNSUPPORTED", f"{url.path}: this registry only serves pulls")
    reference = match["reference"]
    if match["kind"] == "blobs":
        if reference not in content.blobs:
            return _refusal("BLOB_UNKNOWN", f"no blob {reference}")
        body = content.blobs[reference]
        return Answer(
            status=HTTPStatus.OK,
            body=body,
            media_type="application/octet-stream",
            digest=reference,
        )
    origin = parse_qs(url.query).get("ns", [""])[0]
    if origin == "localhost":
        return _refusal(
            "DENIED",
            f"localhost/{match['name']}:{reference} was not imported on this node: "
            "`lbctl lab up` packs and imports it",
        )
    if ":" in reference and reference != content.manifest:
        return _refusal(
            "DENIED",
            f"{match['name']}@{reference} is pinned by digest and cannot be stood in for: "
            "use a tag, or `lbctl lab up --images pull`",
        )
    return Answer(
        status=HTTPStatus.OK,
        body=content.blobs[content.manifest],
        media_type=MANIFEST_TYPE,
        digest=content.manifest,
    )


def _refusal(code: str, message: str) -> Answer:
    # 403 rather than 404: containerd turns 404 into a bare "not found".
    refused = code == "DENIED"
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(
        status=HTTPStatus.FORBIDDEN if refused else HTTPStatus.NOT_FOUND,
        body=body,
        phrase=message if refused else None,
    )


class Server(ThreadingHTTPServer):
    """The HTTP server of one archive; `server_address` is where it listens."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], content: Content) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.content = content
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # containerd keeps connections
    server_version = "lbctl-registry"

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, *, with_body: bool) -> None:
        said = answer(cast("Server", self.server).content, self.path)
        status, body = said.status, said.body
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        first, last = 0, len(body) - 1
        if wanted and status is HTTPStatus.OK and int(wanted[1]) < len(body):
            status, first = HTTPStatus.PARTIAL_CONTENT, int(wanted[1])
            last = min(last, int(wanted[2] or last))
        self.send_response(status, said.phrase)
        self.send_header("Content-Type", said.media_type)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if status is HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        if said.digest:
            self.send_header("Docker-Content-Digest", said.digest)
        self.end_headers()
        if with_body:
            self.wfile.write(body[first : last + 1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        print(f"{self.address_string()} {format % args}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM. Exit 2 for a wrong argument, 1 where the address cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m lbctl.lab.images.registry")
    parser.add_argument("--listen", required=True, metavar="ADDR:PORT", type=_address)
    parser.add_argument("--archive", required=True, type=Path)
    chosen = parser.parse_args(arguments)
    try:
        content = read_archive(chosen.archive)
    except (OSError, ValueError) as error:
        parser.error(f"--archive: {error}")
    try:
        server = Server(chosen.listen, content)
    except OSError as error:
        print(f"cannot listen on {chosen.listen[0]}:{chosen.listen[1]}: {error}", file=sys.stderr)
        return 1
    # shutdown() waits for serve_forever(), which this very thread is in.
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
    signal.signal(signal.SIGINT, lambda *_: Thread(target=server.shutdown).start())
    print(f"serving {chosen.archive} as every image on port {server.server_address[1]}", flush=True)
    with server:
        server.serve_forever()
    return 0


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDR:PORT") from error
    if not colon or not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: the port is 0 to 65535")
    return str(address), number


if __name__ == "__main__":
    sys.exit(main())
