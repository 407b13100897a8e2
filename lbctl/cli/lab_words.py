"""What every verb of `lbctl lab` shares: which lab, where talk goes, how a failure ends.

Talk goes to stderr, data to stdout. Exit codes: 1 the lab could not do it, 2 usage, 3 there is no
such lab.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from lbctl.lab import lab as labs
from lbctl.lab.demo import DemoError
from lbctl.lab.install import InstallError
from lbctl.lab.reach import ReachError
from lbctl.lab.records import NoLabError
from lbctl.lab.spec import Router, SpecError
from lbctl.lab.trouble import TroubleError

DEFAULT_NAME = "demo"
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}

_Command = TypeVar("_Command", bound=Callable[..., object])


def name_option(command: _Command) -> _Command:
    """Give a command the option --name."""
    return click.option(
        "--name",
        default=DEFAULT_NAME,
        show_default=True,
        envvar="LBCTL_LAB",
        help="Which lab; several run at once under different names.",
    )(command)


class _Routers(click.ParamType[tuple[Router, ...]]):
    """Names of routers with commas between them; `none` and nothing are none."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Router, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",") if word.strip() not in {"", "none"}]
        try:
            return tuple(Router(word) for word in words)
        except ValueError:
            self.fail(f"{value!r}: choose of {', '.join(Router)}, with commas between", param, ctx)


def routers_option(default: str) -> Callable[[_Command], _Command]:
    """Give a command the option --routers."""
    return click.option(
        "--routers",
        type=_Routers(),
        default=default,
        show_default=default or "none",
        help=f"BGP routers beside the nodes, of {','.join(Router)}.",
    )


def via_option(command: _Command) -> _Command:
    """Give a command the option --via."""
    return click.option(
        "--via",
        default=None,
        type=click.Choice(Router, case_sensitive=False),
        help="Ask from behind this router, instead of on the nodes' LAN.",
    )(command)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what can go wrong into one message and an exit code."""
    try:
        yield
    except SpecError as error:
        fail(error, 2)
    except NoLabError as error:
        fail(error, 3)
    except (InstallError, DemoError, ReachError, TroubleError, *labs.FAILURES) as error:
        fail(error, 1)


def fail(error: Exception, code: int) -> None:
    click.echo(f"lbctl lab: {error}", err=True)
    sys.exit(code)


def say() -> Callable[[str], None]:
    """Return where progress goes: stderr, each line with the seconds since the start."""
    # A polite end is an ordinary end of the interpreter, which closes what is open.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    return lambda line: click.echo(f"{time.monotonic() - begun:6.1f} s  {line}", err=True)
