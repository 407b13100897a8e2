"""Make the webhook's certificates: a CA that signs one server certificate. No I/O, no clock.

The API server calls the webhook as `lbctl-webhook.<namespace>.svc` and trusts the CA that the
ValidatingWebhookConfiguration names, so nobody else needs to know this CA. Its key is thrown
away as soon as it has signed: nothing can be signed with it later, and a renewal makes a new
CA. The trusted set is therefore the new CA and the one before it, which lets two replicas serve
the old and the new certificate side by side while the Secret travels. The caller is
`lbctl.controller.trust`, which keeps the result in a Secret.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=365)
RENEW_BEFORE = dt.timedelta(days=120)
"""A third of the lifetime: weeks of a broken leader do not let the certificate run out."""
CLOCK_SKEW = dt.timedelta(hours=1)
"""How far a certificate reaches back, for API servers whose clock is behind ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPair:
    """Hold what a TLS server needs and what its clients trust, all PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    trusted_pem: bytes
    """The CA of the certificate, and the one before it if there was one."""


def make_serving_pair(
    *, dns_names: tuple[str, ...], now: dt.datetime, previous_trusted_pem: bytes = b""
) -> ServingPair:
    """Return a new CA, a server certificate of it for `dns_names`, and the trusted set.

    `now` is aware UTC. `previous_trusted_pem` is what clients trust at present; only its first
    certificate, the CA now in use, is kept beside the new one.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lbctl webhook CA")])
    ca = _builder(subject=ca_name, issuer=ca_name, key=ca_key, now=now)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(_key_usage(signs_certificates=True), critical=True)
    authority = ca.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
    ).sign(ca_key, hashes.SHA256())

    key = ec.generate_private_key(ec.SECP256R1())
    # A common name is limited to 64 characters and clients read only the alternative names.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lbctl webhook")])
    server = _builder(subject=name, issuer=ca_name, key=key, now=now)
    server = server.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    server = server.add_extension(_key_usage(signs_certificates=False), critical=True)
    server = server.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
    server = server.add_extension(
        x509.SubjectAlternativeName([x509.DNSName(text) for text in dns_names]), critical=False
    )
    certificate = server.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    ).sign(ca_key, hashes.SHA256())

    return ServingPair(
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        trusted_pem=authority.public_bytes(serialization.Encoding.PEM)
        + _first_certificate(previous_trusted_pem, now=now),
    )


def why_unfit(pair: ServingPair, *, dns_names: tuple[str, ...], now: dt.datetime) -> str | None:
    """Return why the pair must be replaced, in one sentence for the log, or None if it is fit."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
        key = serialization.load_pem_private_key(pair.key_pem, password=None)
        trusted = x509.load_pem_x509_certificates(pair.trusted_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        same_key = certificate.public_key() == key.public_key()
    except (
        ValueError, TypeError, UnsupportedAlgorithm,
        x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion,
    ):  # fmt: skip
        # The Secret may hold anything that somebody put there.
        return "it is not readable"
    if not same_key:
        return "its key belongs to another certificate"
    if not any(_signed(certificate, authority) for authority in trusted):
        return "its CA is not the trusted one"
    missing = set(dns_names) - set(names.value.get_values_for_type(x509.DNSName))
    if missing:
        return f"it does not name {', '.join(sorted(missing))}"
    if certificate.not_valid_before_utc > now:
        # Made by a leader whose clock was ahead: API servers would refuse it until then.
        return f"it begins on {certificate.not_valid_before_utc:%Y-%m-%d}"
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _first_certificate(pem: bytes, *, now: dt.datetime) -> bytes:
    """Return the first certificate of a bundle, or b"" if it holds none that is still good."""
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError, x509.InvalidVersion):
        return b""
    if first.not_valid_after_utc <= now:
        return b""
    return first.public_bytes(serialization.Encoding.PEM)


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
