"""Every way to log in, and one sentence for every way that does not work."""

import base64
import datetime as dt
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lbctl.api.credentials import (
    TokenSource,
    load_credentials,
    load_kubeconfig,
    load_service_account,
)
from lbctl.api.errors import CredentialsError


def make_pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


CERTIFICATE, KEY = make_pair()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write(
    folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None
) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [
            {"name": "lab", "context": {"cluster": "c", "user": "u", "namespace": "web"}},
            {"name": "lost", "context": {"cluster": "elsewhere", "user": "u"}},
        ],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://192.0.2.1:6443/"} | (cluster or {}),
            }
        ],
        "users": [{"name": "u", "user": user or {}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_kubeconfig_with_data_fields_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        cluster={"certificate-authority-data": b64(CERTIFICATE), "tls-server-name": "api.test"},
        user={"client-certificate-data": b64(CERTIFICATE), "client-key-data": b64(KEY)},
    )
    credentials = load_kubeconfig(path)
    assert credentials.server == "https://192.0.2.1:6443"
    assert credentials.namespace == "web"
    assert credentials.ca_pem == CERTIFICATE
    assert credentials.tls_server_name == "api.test"
    assert credentials.client_key_pem == KEY
    assert credentials.ssl_context() is not None


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(CERTIFICATE)
    (tmp_path / "u.crt").write_bytes(CERTIFICATE)
    (tmp_path / "u.key").write_bytes(KEY)
    (tmp_path / "token").write_text("from-the-file\n")
    path = write(
        tmp_path,
        cluster={"certificate-authority": "ca.crt"},
        user={
            "client-certificate": "u.crt",
            "client-key": str(tmp_path / "u.key"),
            "tokenFile": "token",
            "token": "literal",
        },
    )
    credentials = load_kubeconfig(path)
    assert credentials.ca_pem == CERTIFICATE
    assert credentials.token == "from-the-file"
    assert credentials.token_file == tmp_path / "token"


def test_json_is_yaml_and_plain_http_needs_no_tls(tmp_path: Path) -> None:
    path = write(tmp_path, cluster={"server": "http://192.0.2.1:8080"}, user={"token": "t"})
    path.write_text(json.dumps(yaml.safe_load(path.read_text())))
    credentials = load_kubeconfig(path)
    assert credentials.token == "t"
    assert credentials.ssl_context() is None


def test_tls_without_verification_is_what_the_file_asks_for(tmp_path: Path) -> None:
    path = write(tmp_path, cluster={"insecure-skip-tls-verify": True})
    context = load_kubeconfig(path).ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


def test_secrets_do_not_appear_in_the_repr(tmp_path: Path) -> None:
    path = write(tmp_path, user={"token": "very-secret"})
    assert "very-secret" not in repr(load_kubeconfig(path))


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({}, {"exec": {"command": "aws"}}, "user 'u' has 'exec'"),
        ({}, {"auth-provider": {"name": "gcp"}}, "user 'u' has 'auth-provider'"),
        ({}, {"username": "admin", "password": "x"}, "user 'u' has 'username'"),
        ({}, {"as": "somebody"}, "user 'u' has 'as': impersonation"),
        ({"proxy-url": "http://192.0.2.9"}, {}, "cluster 'c' has 'proxy-url'"),
        ({"server": ""}, {}, "cluster 'c' has no server"),
        ({"server": "192.0.2.1:6443"}, {}, "must begin with https://"),
        ({"server": 6443}, {}, "server must be a string"),
        (
            {"certificate-authority-data": b64(b"no PEM")},
            {},
            "certificate-authority holds no readable PEM",
        ),
        (
            {"certificate-authority": "/dev/null"},
            {},
            "certificate-authority holds no readable PEM",
        ),
        ({"certificate-authority-data": "x"}, {}, "certificate-authority-data is not base64"),
        ({"certificate-authority": "absent.crt"}, {}, "cluster 'c': certificate-authority: cannot"),
        ({}, {"client-certificate-data": b64(CERTIFICATE)}, "user 'u' has no client-key"),
        ({}, {"client-key-data": b64(KEY)}, "user 'u' has no client-certificate"),
        (
            {},
            {"client-certificate-data": b64(CERTIFICATE), "client-key-data": b64(make_pair()[1])},
            "not a matching PEM pair",
        ),
        ({}, {"tokenFile": "absent"}, "user 'u': tokenFile: cannot read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_program_cannot_use_is_refused_by_name(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], said: str
) -> None:
    path = write(tmp_path, cluster=cluster, user=user)
    with pytest.raises(CredentialsError) as refused:
        load_kubeconfig(path)
    text = str(refused.value)
    assert str(path) in text
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [", "is not YAML (line "),
        (b"\xff\xfe\x00\xd8", "is not"),
        (b"- 1", "is not a YAML mapping"),
        (b"", "is not a YAML mapping"),
        (b"kind: Config", "current-context is not set"),
        (b"current-context: x", "contexts has no entry named 'x'"),
        (b"current-context: x\ncontexts: 7", "contexts has no entry named 'x'"),
        (b"current-context: x\ncontexts: [{name: x}]", "entry 'x' has no 'context'"),
        (b"current-context: x\ncontexts: [{name: x, context: {user: u}}]", "has no cluster"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_kubeconfig_is_said_to_be_none(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(CredentialsError) as refused:
        load_kubeconfig(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


def test_a_missing_kubeconfig_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(CredentialsError, match=f"cannot read {path}: "):
            load_credentials(path)


def test_a_context_can_be_chosen_and_must_exist(tmp_path: Path) -> None:
    path = write(tmp_path, user={"token": "t"})
    assert load_kubeconfig(path, context="lab").namespace == "web"
    with pytest.raises(CredentialsError, match="contexts has no entry named 'other'"):
        load_kubeconfig(path, context="other")
    with pytest.raises(CredentialsError, match="clusters has no entry named 'elsewhere'"):
        load_kubeconfig(path, context="lost")


def account(folder: Path) -> Path:
    (folder / "token").write_text("first")
    (folder / "ca.crt").write_bytes(CERTIFICATE)
    (folder / "namespace").write_text("lbctl-system")
    return folder


@pytest.mark.parametrize(
    ("host", "server"),
    [("192.0.2.1", "https://192.0.2.1:443"), ("2001:db8::1", "https://[2001:db8::1]:443")],
)
def test_the_pods_service_account_is_read(tmp_path: Path, host: str, server: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    credentials = load_service_account(environ=environ, directory=account(tmp_path))
    assert (credentials.server, credentials.token) == (server, "first")
    assert credentials.namespace == "lbctl-system"


def test_outside_a_pod_the_cure_is_a_kubeconfig() -> None:
    with pytest.raises(CredentialsError, match="give --kubeconfig FILE"):
        load_credentials(environ={})


@pytest.mark.parametrize("name", ["token", "ca.crt"])
def test_a_service_account_without_its_files_is_named(tmp_path: Path, name: str) -> None:
    (account(tmp_path) / name).unlink()
    with pytest.raises(CredentialsError, match=f"cannot read .*{name}"):
        load_service_account(environ={"KUBERNETES_SERVICE_HOST": "192.0.2.1"}, directory=tmp_path)


def test_a_rotating_token_is_read_each_minute_and_at_once_when_refused(tmp_path: Path) -> None:
    now = 0.0
    credentials = load_service_account(
        environ={"KUBERNETES_SERVICE_HOST": "192.0.2.1"}, directory=account(tmp_path)
    )
    source = TokenSource(credentials, clock=lambda: now)
    (tmp_path / "token").write_text("second")
    now = 59.0
    assert source.current() == "first"
    now = 60.0
    assert source.current() == "second"
    (tmp_path / "token").write_text("third")
    assert source.current() == "second"
    assert source.expired()
    assert source.current() == "third"
    (tmp_path / "token").unlink()
    assert source.expired()
    assert source.current() == "third", "an unreadable file leaves the old token"
    (tmp_path / "token").write_text("")
    now = 200.0
    assert source.current() == "third", "and so does an empty one"


def test_a_literal_token_is_not_worth_a_second_try(tmp_path: Path) -> None:
    credentials = load_kubeconfig(write(tmp_path, user={"token": "t"}))
    assert not TokenSource(credentials, clock=lambda: 0.0).expired()
