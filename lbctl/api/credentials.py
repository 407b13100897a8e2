"""Find out how to log in to an API server: a kubeconfig file or the pod's service account.

The loader is ours because `kubernetes.config` costs 19 MiB of memory and half a second
in every process of every node (measured), and because its errors do not name the field.
It reads what a program can use: server, CA, token, token file, client certificate.
Whatever would need a program, a person or a proxy is refused by name, never ignored.
Everything is read once, here; only a token file is read again later (`TokenSource`),
since service account tokens rotate. Called by the composition roots.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbctl.api.errors import CredentialsError, PluginNeeded

SERVICE_ACCOUNT_DIRECTORY = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_REREAD_S = 60.0

REFUSED_USER_FIELDS: Mapping[str, str] = {
    "exec": "it needs a plug-in program, which only the lbctl command runs; "
    "use a token, a tokenFile or a client certificate",
    "auth-provider": "auth providers have left Kubernetes; "
    "use a token, a tokenFile or a client certificate",
    "username": "API servers have no password login any more; use a token or a client certificate",
    "password": "API servers have no password login any more; use a token or a client certificate",
    "as": "impersonation is not supported; log in as the identity itself",
    "as-uid": "impersonation is not supported; log in as the identity itself",
    "as-groups": "impersonation is not supported; log in as the identity itself",
    "as-user-extra": "impersonation is not supported; log in as the identity itself",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where the API server is and how to prove who we are.

    `source` names the file in messages. Secrets stay out of the repr, since values
    like this one end up in logs.
    """

    server: str
    source: str
    namespace: str | None = None
    ca_pem: bytes | None = field(default=None, repr=False)
    insecure: bool = False
    tls_server_name: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_certificate_pem: bytes | None = field(default=None, repr=False)
    client_key_pem: bytes | None = field(default=None, repr=False)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS settings, or None for a plain `http://` server.

        Raises:
            CredentialsError: a certificate or key is not PEM, or they do not belong together.

        """
        if not self.server.startswith("https://"):
            return None
        # Not create_default_context: from Python 3.13 on it demands key identifiers that
        # CAs made by older cluster installers do not have.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_pem is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(cadata=self.ca_pem.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:  # ValueError: not ASCII, or empty
                raise CredentialsError(
                    f"{self.source}: certificate-authority holds no readable PEM certificate"
                ) from error
        if self.client_certificate_pem is not None and self.client_key_pem is not None:
            try:
                _load_pair(context, self.client_certificate_pem, self.client_key_pem)
            except ssl.SSLError as error:
                raise CredentialsError(
                    f"{self.source}: client-certificate and client-key are not a matching PEM pair"
                ) from error
        return context


class TokenSource:
    """Hand out the bearer token, read again as its file rotates.

    The kubelet replaces a pod's token before it expires; reading the file at most every
    60 s follows that, and `expired` follows the server when it was quicker.
    """

    def __init__(self, credentials: Credentials, *, clock: Callable[[], float]) -> None:
        self._file = credentials.token_file
        self._token = credentials.token
        self._clock = clock
        self._read_at = clock()

    def current(self) -> str | None:
        """Return the token to send now, or None when a certificate is the login."""
        if self._file is not None and self._clock() - self._read_at >= TOKEN_REREAD_S:
            self._read(self._file)
        return self._token

    def expired(self) -> bool:
        """Read the file at once after a 401; return whether another try makes sense."""
        if self._file is None:
            return False
        self._read(self._file)
        return True

    def _read(self, file: Path) -> None:
        self._read_at = self._clock()
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            # The old token may still be good, and the server says 401 if it is not.
            return
        self._token = token or self._token


def load_credentials(
    kubeconfig: Path | None = None,
    *,
    context: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Credentials:
    """Return the credentials of `kubeconfig`, or without one those of the pod.

    Raises:
        CredentialsError: with one sentence that names the file, the field and the cure.

    """
    if kubeconfig is not None:
        return load_kubeconfig(kubeconfig, context=context)
    return load_service_account(environ=os.environ if environ is None else environ)


def load_service_account(
    *,
    environ: Mapping[str, str],
    directory: Path = SERVICE_ACCOUNT_DIRECTORY,
) -> Credentials:
    """Return the pod's own credentials (Kubernetes docs: "Accessing the API from a Pod").

    Raises:
        CredentialsError: we do not run in a pod, or its token is not mounted.

    """
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise CredentialsError(
            "no --kubeconfig was given and this is not a pod (KUBERNETES_SERVICE_HOST is not set): "
            "give --kubeconfig FILE"
        )
    token_file = directory / "token"
    namespace = None
    if (directory / "namespace").exists():
        namespace = _read_file(directory / "namespace", "the pod's namespace").decode().strip()
    credentials = Credentials(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        source=f"the pod's service account in {directory}",
        namespace=namespace,
        ca_pem=_read_file(directory / "ca.crt", "the pod's service account CA"),
        token=_read_token(token_file, "the pod's service account token"),
        token_file=token_file,
    )
    credentials.ssl_context()
    return credentials


def load_kubeconfig(path: Path, *, context: str | None = None) -> Credentials:
    """Return the credentials of one context of a kubeconfig file.

    Relative file names in it are relative to it, as kubectl reads them.

    Raises:
        CredentialsError: the file, one of its entries or a file that it names is missing,
            unreadable or of a form that a program cannot use.

    """
    config = _parse(path)
    context_name = context or config.get("current-context")
    if not context_name or not isinstance(context_name, str):
        raise CredentialsError(f"{path}: current-context is not set: set it or name a context")
    chosen = _entry(config, path, "contexts", context_name, "context")
    cluster_name, user_name = chosen.get("cluster"), chosen.get("user")
    if not isinstance(cluster_name, str) or not cluster_name:
        raise CredentialsError(f"{path}: context {context_name!r} has no cluster: add one")
    cluster = _Section(
        path=path,
        label=f"cluster {cluster_name!r}",
        fields=_entry(config, path, "clusters", cluster_name, "cluster"),
    )
    user = _Section(
        path=path,
        label=f"user {user_name!r}",
        fields=_entry(config, path, "users", user_name, "user")
        if isinstance(user_name, str) and user_name
        else {},
    )
    for name, cure in REFUSED_USER_FIELDS.items():
        if user.fields.get(name):
            refusal = PluginNeeded if name == "exec" else CredentialsError
            raise refusal(f"{path}: {user.label} has {name!r}: {cure}")
    if cluster.fields.get("proxy-url"):
        raise CredentialsError(
            f"{path}: {cluster.label} has 'proxy-url': proxies are not supported, "
            f"use a server address that is reachable directly"
        )
    namespace = chosen.get("namespace")
    credentials = _assemble(path, cluster, user, namespace if isinstance(namespace, str) else None)
    credentials.ssl_context()
    return credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One cluster or user entry, with the words that messages use for it."""

    path: Path
    label: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise CredentialsError(f"{self.path}: {self.label}: {name} must be a string")
        return value

    def named_file(self, name: str) -> Path | None:
        value = self.text(name)
        return None if value is None else self.path.parent / value

    def content(self, name: str) -> bytes | None:
        """Return `name-data`, which wins over the file `name`, as in kubectl."""
        data = self.text(f"{name}-data")
        if data is not None:
            try:
                return base64.b64decode(data, validate=False)
            except (binascii.Error, ValueError) as error:
                raise CredentialsError(
                    f"{self.path}: {self.label}: {name}-data is not base64"
                ) from error
        file = self.named_file(name)
        return None if file is None else _read_file(file, f"{self.path}: {self.label}: {name}")


def _assemble(path: Path, cluster: _Section, user: _Section, namespace: str | None) -> Credentials:
    server = cluster.text("server")
    if server is None:
        raise CredentialsError(f"{path}: {cluster.label} has no server: add its URL")
    if not server.startswith(("https://", "http://")):
        raise CredentialsError(
            f"{path}: {cluster.label}: server {server!r} must begin with https:// or http://"
        )
    certificate, key = user.content("client-certificate"), user.content("client-key")
    if (certificate is None) != (key is None):
        missing = "client-key" if key is None else "client-certificate"
        raise CredentialsError(
            f"{path}: {user.label} has no {missing}: a client login needs both parts"
        )
    token, token_file = user.text("token"), user.named_file("tokenFile")
    if token_file is not None:
        # client-go: the file wins over the literal token.
        token = _read_token(token_file, f"{path}: {user.label}: tokenFile")
    return Credentials(
        server=server.rstrip("/"),
        source=str(path),
        namespace=namespace,
        ca_pem=cluster.content("certificate-authority"),
        insecure=cluster.fields.get("insecure-skip-tls-verify") is True,
        tls_server_name=cluster.text("tls-server-name"),
        token=token,
        token_file=token_file,
        client_certificate_pem=certificate,
        client_key_pem=key,
    )


def _parse(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - 4 MiB that a pod with a service account never needs

    content = _read_file(path, "kubeconfig")
    try:
        config = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise CredentialsError(f"{path}: this kubeconfig is not YAML{line}") from error
    except ValueError as error:
        raise CredentialsError(f"{path}: this kubeconfig is not text") from error
    if not isinstance(config, dict):
        raise CredentialsError(f"{path}: this kubeconfig is not a YAML mapping")
    return config


def _entry(
    config: Mapping[str, Any], path: Path, plural: str, name: str, singular: str
) -> Mapping[str, Any]:
    """Return the named entry of one of the three lists."""
    entries = config.get(plural)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            inner = entry.get(singular)
            if isinstance(inner, dict):
                return inner
            raise CredentialsError(f"{path}: {plural}: entry {name!r} has no {singular!r} mapping")
    raise CredentialsError(
        f"{path}: {plural} has no entry named {name!r}: add it or correct the name"
    )


def _read_file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{what}: cannot read {path}: {error.strerror}") from error


def _read_token(path: Path, what: str) -> str:
    try:
        token = _read_file(path, what).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{what}: {path} is not a token (it is not ASCII)") from error
    if not token:
        raise CredentialsError(f"{what}: {path} is empty")
    return token


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give OpenSSL the pair, which it takes from a file only.

    An anonymous memory file where the system has one: a key never reaches a disk, and
    it works with a read-only root.
    """
    pair = certificate.rstrip() + b"\n" + key

    def no_passphrase() -> str:
        # Without this OpenSSL would ask a terminal, and a process would hang for ever.
        return ""

    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-certificate")
        try:
            os.write(descriptor, pair)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=no_passphrase)
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair)
        file.flush()
        context.load_cert_chain(file.name, password=no_passphrase)
