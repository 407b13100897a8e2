"""Log in as an operator: our own kubeconfig loader, and `kubernetes` where a plug-in is needed.

Cloud kubeconfigs get their token from a program (`exec`). Only the command on an operator's
machine runs such programs, through the official client, imported when one is asked for.
"""

from __future__ import annotations

from pathlib import Path

from lbctl.api.credentials import Credentials, load_credentials
from lbctl.api.errors import CredentialsError, PluginNeeded


def login(kubeconfig: Path | None, context: str | None) -> Credentials:
    """Return the credentials of a context.

    Raises:
        CredentialsError: the file or the plug-in cannot be used; one sentence.

    """
    try:
        return load_credentials(kubeconfig, context=context)
    except PluginNeeded:
        assert kubeconfig is not None, "only a kubeconfig names plug-ins"
        return _by_plugin(kubeconfig, context)


def _by_plugin(path: Path, context: str | None) -> Credentials:
    from kubernetes import client, config  # noqa: PLC0415 - 44 MiB that only plug-ins need

    settings = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]  # untyped there
            str(path), context=context, client_configuration=settings
        )
    except config.ConfigException as error:
        raise CredentialsError(f"{path}: the login plug-in failed: {error}") from error
    # The key is called so since version 36 of the client, and "authorization" before.
    bearer = settings.api_key.get("BearerToken") or settings.api_key.get("authorization") or ""
    token = str(bearer).removeprefix("Bearer ")
    return Credentials(
        server=settings.host,
        source=str(path),
        ca_pem=_content(settings.ssl_ca_cert),
        insecure=not settings.verify_ssl,
        token=token or None,
        client_certificate_pem=_content(settings.cert_file),
        client_key_pem=_content(settings.key_file),
    )


def _content(file: str | None) -> bytes | None:
    return Path(file).read_bytes() if file else None
