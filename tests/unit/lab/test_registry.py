"""The registry stand-in: its answers, and the real process on loopback."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from lbctl.lab.images import oci, registry
from lbctl.lab.images.oci import File, Settings


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registry")
    layer = oci.write_layer({"server": File(content=b"x" * 5000)}, directory / "layer.tar")
    settings = Settings(entrypoint=("/server",), env={})
    path = directory / "echo.tar"
    oci.write_image(path, "localhost/echo:1", (layer,), settings, machine="x86_64")
    return path


@pytest.fixture(scope="module")
def port(archive: Path) -> Iterator[int]:
    command = [sys.executable, "-u", "-m", "lbctl.lab.images.registry"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--archive", str(archive)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().rsplit(" ", 1)[1])
        process.terminate()
        assert process.wait(timeout=60) == 0


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_a_pull_of_any_name_ends_with_the_echo_image(port, archive):
    assert ask(port, "GET", "/v2/")[0] == HTTPStatus.OK
    status, head, body = ask(port, "HEAD", "/v2/library/nginx/manifests/1.27?ns=docker.io")
    assert (status, body) == (HTTPStatus.OK, b"")
    assert head["Content-Type"] == oci.MANIFEST_TYPE
    digest = head["Docker-Content-Digest"]
    status, _, body = ask(port, "GET", f"/v2/library/nginx/manifests/{digest}")
    assert status == HTTPStatus.OK
    assert len(body) == int(head["Content-Length"])
    manifest = json.loads(body)
    content = registry.read_archive(archive)
    for descriptor in (manifest["config"], *manifest["layers"]):
        status, _, blob = ask(port, "GET", f"/v2/library/nginx/blobs/{descriptor['digest']}")
        assert status == HTTPStatus.OK
        assert blob == content.blobs[descriptor["digest"]]


def test_a_broken_off_blob_is_resumed_where_it_ended(port, archive):
    content = registry.read_archive(archive)
    digest, blob = max(content.blobs.items(), key=lambda item: len(item[1]))
    status, head, body = ask(port, "GET", f"/v2/a/blobs/{digest}", Range="bytes=4000-")
    assert status == HTTPStatus.PARTIAL_CONTENT
    assert head["Content-Range"] == f"bytes 4000-{len(blob) - 1}/{len(blob)}"
    assert body == blob[4000:]
    status, _, body = ask(port, "GET", f"/v2/a/blobs/{digest}", Range="bytes=1-3")
    assert body == blob[1:4]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"/v2/library/nginx/manifests/sha256:{'0' * 64}?ns=docker.io", "pinned by digest"),
        ("/v2/lbctl/manifests/0.1?ns=localhost", "was not imported"),
    ],
)
def test_what_cannot_be_stood_in_for_is_refused_in_words_that_reach_the_event(port, path, words):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("HEAD", path)
    response = connection.getresponse()
    connection.close()
    assert response.status == HTTPStatus.FORBIDDEN
    assert words in response.reason
    status, _, body = ask(port, "GET", path)
    assert status == HTTPStatus.FORBIDDEN
    assert words in json.loads(body)["errors"][0]["message"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"/v2/a/blobs/sha256:{'0' * 64}", "no blob"),
        ("/v2/_catalog", "only serves pulls"),
        ("/", "only serves pulls"),
    ],
)
def test_what_is_not_there_is_not_found(port, path, words):
    status, _, body = ask(port, "GET", path)
    assert status == HTTPStatus.NOT_FOUND
    assert words in json.loads(body)["errors"][0]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "nowhere", "--archive", "x"],
        ["--listen", "127.0.0.1:99999", "--archive", "x"],
        ["--listen", "127.0.0.1:0", "--archive", "/no/such/file"],
        ["--listen", "127.0.0.1:0", "--archive", __file__],
    ],
)
def test_a_wrong_argument_ends_it_with_a_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        registry.main(arguments)
    assert ended.value.code == 2
    assert "error: argument --listen" in (said := capsys.readouterr().err) or "--archive" in said


def test_a_port_in_use_is_named(port, archive, capsys):
    code = registry.main(["--listen", f"127.0.0.1:{port}", "--archive", str(archive)])
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
