"""Which daemon each router runs, and how it is asked. Pure.

FRR, BIRD and GoBGP are a module each with the same outside, so that a fourth would be one more.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lbctl.lab.machines.plan import Program
from lbctl.lab.routers import bird, frr, gobgp
from lbctl.lab.routers.held import Held
from lbctl.lab.spec import LabSpec, Router


class Daemon(Protocol):
    """What the lab knows of a router's software.

    `PACKAGE` and `UNIT` are Debian's, `NEEDS` are the programs of it; the answers to `QUESTIONS`, asked
    inside the machine, are what `parse` reads.
    """

    @property
    def PACKAGE(self) -> str: ...  # noqa: N802 - a module's constant
    @property
    def UNIT(self) -> str: ...  # noqa: N802 - a module's constant
    @property
    def NEEDS(self) -> tuple[str, ...]: ...  # noqa: N802 - a module's constant
    @property
    def QUESTIONS(self) -> tuple[tuple[str, ...], ...]: ...  # noqa: N802 - a module's constant

    def programs(self, spec: LabSpec) -> tuple[Program, ...]: ...

    def files(self, spec: LabSpec) -> Mapping[str, str]: ...

    def parse(self, answers: Sequence[str]) -> tuple[Held, ...]: ...


DAEMONS: Mapping[Router, Daemon] = {Router.FRR: frr, Router.BIRD: bird, Router.GOBGP: gobgp}
