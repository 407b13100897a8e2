"""Log lines as text and as JSON, with their extra fields."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from lbctl.run.logs import JsonFormatter, TextFormatter, set_up_logging


def record(**extra):
    made = logging.getLogger("lb-test").makeRecord(
        "lb-test", logging.WARNING, "file.py", 1, "link %s", ("eth0",), None, extra=extra
    )
    made.created = 0.25
    return made


def test_a_text_line_ends_in_the_extra_fields():
    line = TextFormatter().format(record(family=6))
    assert line == "1970-01-01T00:00:00.250Z WARNING lb-test: link eth0 family=6"


def test_a_json_line_has_the_extra_fields_as_keys():
    assert json.loads(JsonFormatter().format(record(family=6))) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "logger": "lb-test",
        "message": "link eth0",
        "family": 6,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_an_exception_is_written_out(formatter):
    made = record()
    try:
        dict[str, int]()["the cause"]
    except KeyError:
        made.exc_info = sys.exc_info()
    assert "the cause" in formatter.format(made)


def test_setting_up_twice_writes_each_line_once(capsys):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        set_up_logging(level="info", form="text")
        set_up_logging(level="warning", form="json")
        logging.getLogger("lb-test").info("quiet")
        logging.getLogger("lb-test").error("loud")
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert json.loads(line)["message"] == "loud"
