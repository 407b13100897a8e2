"""Secrets that hold a BGP password: what is read of them, and what is said of bad ones."""

import base64

import pytest

from lbctl.kube.secrets import parse_password
from lbctl.model.outcome import Problem


def secret(**data: str):
    return {"metadata": {"name": "tor"}, "type": "kubernetes.io/basic-auth", "data": data}


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("password", ["plain", "with space ", "pässword"])
def test_the_password_is_the_text_of_its_key(password):
    body = secret(password=encoded(password.encode()), username=encoded(b"nobody"))
    assert parse_password(body) == ("tor", password)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (secret(), "has no key 'password'"),
        (secret(username=encoded(b"nobody")), "has no key 'password'"),
        (secret(password=""), "has no key 'password'"),
        ({"metadata": {"name": "tor"}}, "has no key 'password'"),
        (secret(password="%%%"), "is no UTF-8 text"),
        (secret(password=encoded(b"\xff\xfe")), "is no UTF-8 text"),
    ],
)
def test_a_secret_without_a_password_says_what_is_missing(body, words):
    name, problem = parse_password(body)
    assert name == "tor"
    assert isinstance(problem, Problem)
    assert problem.path == "spec.passwordSecret"
    assert words in problem.message


def test_an_object_without_a_name_is_nothing():
    assert parse_password({"data": {}}) is None
