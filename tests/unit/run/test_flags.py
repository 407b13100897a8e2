"""Flags and their variables: precedence, parsing, one line for what is wrong."""

from __future__ import annotations

import pytest

from lbctl.run.flags import Endpoint, FlagParser, boolean, endpoint, variable_of


def parse(arguments, environ=None, *, required=False):
    parser = FlagParser("lb-test", "A test.", environ or {})
    parser.add_flag("--listen", parse=endpoint, help="where", required=required)
    parser.add_flag("--leader-elect", parse=boolean, default=True, help="whether")
    parser.add_logging_flags()
    return parser.parse_args(arguments)


def test_a_flag_wins_over_its_variable_and_that_over_the_default():
    environ = {"LBCTL_LOG_LEVEL": "debug"}
    assert parse([]).log_level == "info"
    assert parse([], environ).log_level == "debug"
    assert parse(["--log-level", "error"], environ).log_level == "error"


def test_variables_are_named_after_flags():
    assert variable_of("--fastpath-socket") == "LBCTL_FASTPATH_SOCKET"


def test_a_variable_stands_for_a_required_flag():
    assert parse([], {"LBCTL_LISTEN": ":80"}, required=True).listen == Endpoint(host="", port=80)


def test_an_empty_variable_counts_as_unset():
    assert parse([], {"LBCTL_LEADER_ELECT": ""}).leader_elect is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9433", Endpoint(host="127.0.0.1", port=9433)),
        (":0", Endpoint(host="", port=0)),
        ("[2001:db8::1]:80", Endpoint(host="2001:db8::1", port=80)),
    ],
)
def test_an_endpoint_is_read_and_written(text, expected):
    assert endpoint(text) == expected
    assert str(endpoint(text)) == text


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        pytest.param(["--nonsense"], {}, "unrecognized arguments: --nonsense", id="unknown"),
        pytest.param(["--listen", "9433"], {}, "is not ADDR:PORT", id="no-port"),
        pytest.param(["--listen", ":65536"], {}, "0 to 65535", id="port-too-big"),
        pytest.param(["--listen", "2001:db8::1:80"], {}, "in brackets", id="bare-ipv6"),
        pytest.param(["--leader-elect", "si"], {}, "neither true nor false", id="boolean"),
        pytest.param(["--log-level", "loud"], {}, "invalid choice", id="choice"),
        pytest.param(["--log", "info"], {}, "unrecognized arguments", id="abbreviation"),
        pytest.param([], {"LBCTL_LOG_FORMAT": "xml"}, "LBCTL_LOG_FORMAT", id="variable-choice"),
        pytest.param([], {"LBCTL_LISTEN": "x"}, "variable LBCTL_LISTEN: 'x'", id="variable"),
    ],
)
def test_a_wrong_flag_ends_in_one_line_and_status_two(arguments, environ, words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments, environ)
    output = capsys.readouterr()
    assert ended.value.code == 2
    assert output.err.startswith("lb-test: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert not output.out


def test_a_missing_required_flag_is_named(capsys):
    with pytest.raises(SystemExit):
        parse([], required=True)
    assert "--listen" in capsys.readouterr().err
