"""Flags of a process, each also an environment variable, read before anything else happens.

The three daemons share this file, so it is light: argparse and nothing that pulls in a client or
a server. A flag wins over `LBCTL_<FLAG>` (`--log-level`, `LBCTL_LOG_LEVEL`), which wins over the
default. Whatever is wrong ends in one line on stderr and exit status 2 (`refuse_to_start`).
Called by the composition roots `lbctl.controller.main`, `speaker.main`, `speaker.fastpath`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

CONTROLLER_PORT: Final = 9431
SPEAKER_PORT: Final = 9432
FASTPATH_PORT: Final = 9433
"""Health and metrics. On a node they must not meet MetalLB's (7472, 7473, 7946, 9120, 17472)."""

USAGE_STATUS: Final = 2
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Hold where to listen; an empty host means every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class FlagParser(argparse.ArgumentParser):
    """An argparse parser whose flags may come from the environment and whose errors are one line.

    `environ` is an argument, so a test needs no environment of its own. Flags may not be
    abbreviated: an abbreviation that works today is ambiguous after the next flag.
    """

    def __init__(self, program: str, description: str, environ: Mapping[str, str]) -> None:
        super().__init__(prog=program, description=description, allow_abbrev=False)
        self._environ = environ

    def add_flag(
        self,
        name: str,
        *,
        help: str,  # noqa: A002 - argparse's own word for it
        parse: Callable[[str], Any] = str,
        default: Any = None,
        required: bool = False,
        choices: Sequence[str] | None = None,
    ) -> None:
        """Declare `name` (`--log-level`); `parse` raises ValueError with a sentence of its own.

        A default is a parsed value. A required flag may be given by its variable instead.
        """
        variable = variable_of(name)
        text = self._environ.get(variable, "")
        if text:
            default, required = self._from_environment(variable, text, parse, choices), False
        self.add_argument(
            name,
            help=f"{help} [{variable}]",
            type=_worded(parse),
            default=default,
            required=required,
            choices=choices,
            metavar=name.lstrip("-").replace("-", "_").upper() if choices is None else None,
        )

    def add_logging_flags(self) -> None:
        """Declare `--log-level` and `--log-format`, the same for every process."""
        self.add_flag(
            "--log-level", help="least severity that is logged", default="info", choices=LOG_LEVELS
        )
        self.add_flag(
            "--log-format", help="how a log line is written", default="text", choices=LOG_FORMATS
        )

    def error(self, message: str) -> NoReturn:
        refuse_to_start(self.prog, message)

    def _from_environment(
        self,
        variable: str,
        text: str,
        parse: Callable[[str], Any],
        choices: Sequence[str] | None,
    ) -> Any:
        try:
            value = parse(text)
        except ValueError as error:
            self.error(f"environment variable {variable}: {error}")
        if choices is not None and value not in choices:
            self.error(f"environment variable {variable}: {text!r} is none of {', '.join(choices)}")
        return value


def variable_of(flag: str) -> str:
    """Return the environment variable that may stand for `flag`."""
    return "LBCTL_" + flag.lstrip("-").replace("-", "_").upper()


def endpoint(text: str) -> Endpoint:
    """Return what `ADDR:PORT`, `:PORT` or `[V6]:PORT` says.

    Raises:
        ValueError: anything else, with a sentence that says what to write.

    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{text!r} is not ADDR:PORT with a port from 0 to 65535")
    if ":" in bare and bare == host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [2001:db8::1]:{port}")
    return Endpoint(host=bare, port=int(port))


def boolean(text: str) -> bool:
    """Return what `true` or `false` says.

    Raises:
        ValueError: anything else.

    """
    if text.lower() not in {"true", "false"}:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def refuse_to_start(program: str, message: str) -> NoReturn:
    """Print one line that says what is wrong and what to do, and end with status 2.

    Raises:
        SystemExit: always.

    """
    line = " ".join(message.split())
    print(f"{program}: {line}", file=sys.stderr)
    raise SystemExit(USAGE_STATUS)


def _worded(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Keep the sentence of a ValueError, which argparse would replace by its own."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed
