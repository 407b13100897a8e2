"""The webhook's certificates: what a client accepts, and when they are renewed."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lbctl.controller.certificates import (
    LIFETIME,
    RENEW_BEFORE,
    ServingPair,
    make_serving_pair,
    why_unfit,
)

NAMES = ("lbctl-webhook.lbctl-system.svc", "lbctl-webhook.lbctl-system.svc.cluster.local")
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def handshake(pair: ServingPair, trusted_pem: bytes, name: str, directory: Path) -> None:
    """Complete a TLS handshake in memory, or raise what the client says."""
    (directory / "pair.pem").write_bytes(pair.certificate_pem + pair.key_pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(directory / "pair.pem")
    client_context = ssl.create_default_context(cadata=trusted_pem.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_client_accepts_the_certificate_under_every_name(name, tmp_path):
    pair = make_serving_pair(dns_names=NAMES, now=dt.datetime.now(dt.UTC))
    handshake(pair, pair.trusted_pem, name, tmp_path)


def test_a_client_refuses_another_name(tmp_path):
    pair = make_serving_pair(dns_names=NAMES, now=dt.datetime.now(dt.UTC))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pair, pair.trusted_pem, "other.lbctl-system.svc", tmp_path)


def test_after_a_renewal_clients_trust_the_old_and_the_new_certificate(tmp_path):
    now = dt.datetime.now(dt.UTC)
    old = make_serving_pair(dns_names=NAMES, now=now)
    new = make_serving_pair(dns_names=NAMES, now=now, previous_trusted_pem=old.trusted_pem)
    for pair in (old, new):
        handshake(pair, new.trusted_pem, NAMES[0], tmp_path)


def test_the_trusted_set_does_not_grow_with_every_renewal():
    pair = make_serving_pair(dns_names=NAMES, now=NOW)
    for _ in range(4):
        pair = make_serving_pair(dns_names=NAMES, now=NOW, previous_trusted_pem=pair.trusted_pem)
    assert len(x509.load_pem_x509_certificates(pair.trusted_pem)) == 2


def test_a_new_pair_is_fit_and_one_near_its_end_is_not():
    pair = make_serving_pair(dns_names=NAMES, now=NOW)
    assert why_unfit(pair, dns_names=NAMES, now=NOW) is None
    late = NOW + LIFETIME - RENEW_BEFORE + dt.timedelta(minutes=1)
    assert "it ends on 2027-03-01" in str(why_unfit(pair, dns_names=NAMES, now=late))


def test_a_pair_for_other_names_or_of_mixed_parts_is_unfit():
    pair, other = (make_serving_pair(dns_names=NAMES, now=NOW) for _ in range(2))
    assert "does not name web.example" in str(why_unfit(pair, dns_names=("web.example",), now=NOW))
    mixed_key = ServingPair(
        certificate_pem=pair.certificate_pem, key_pem=other.key_pem, trusted_pem=pair.trusted_pem
    )
    assert "key" in str(why_unfit(mixed_key, dns_names=NAMES, now=NOW))
    mixed_ca = ServingPair(
        certificate_pem=pair.certificate_pem, key_pem=pair.key_pem, trusted_pem=other.trusted_pem
    )
    assert "trusted" in str(why_unfit(mixed_ca, dns_names=NAMES, now=NOW))


@pytest.mark.parametrize("garbage", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n!!\n"])
def test_garbage_in_the_secret_is_unfit_and_never_raises(garbage):
    pair = make_serving_pair(dns_names=NAMES, now=NOW, previous_trusted_pem=garbage)
    broken = ServingPair(certificate_pem=garbage, key_pem=pair.key_pem, trusted_pem=garbage)
    assert why_unfit(broken, dns_names=NAMES, now=NOW) == "it is not readable"


def test_the_private_key_does_not_show_in_a_log_line():
    pair = make_serving_pair(dns_names=NAMES, now=NOW)
    assert "PRIVATE KEY" not in repr(pair)


def test_a_certificate_of_an_unknown_version_is_replaced_and_raises_nothing():
    good = make_serving_pair(dns_names=NAMES, now=NOW)
    der = x509.load_pem_x509_certificate(good.certificate_pem).public_bytes(Encoding.DER)
    # The version is an INTEGER in context tag 0 at the beginning (RFC 5280 4.1): 2 means 3.
    strange = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    assert strange != der
    pem = ssl.DER_cert_to_PEM_cert(strange).encode()
    for pair in (replace(good, certificate_pem=pem), replace(good, trusted_pem=pem)):
        assert why_unfit(pair, dns_names=NAMES, now=NOW) == "it is not readable"
    renewed = make_serving_pair(dns_names=NAMES, now=NOW, previous_trusted_pem=pem)
    assert why_unfit(renewed, dns_names=NAMES, now=NOW) is None
