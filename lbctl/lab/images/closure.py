"""The distributions lbctl needs at run time, and their files as a layer.

The closure is computed from what is installed in the environment that runs us, so the
image holds the very versions the tests ran with. Requirements are read here rather than
with the `packaging` library, which is no runtime dependency: a requirement with a marker
counts when its distribution is installed, which is what the installer decided.
Called by `checkout`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lbctl.lab.binaries import BuildError
from lbctl.lab.images.oci import Entry, File

_REQUIREMENT = re.compile(
    r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^\]]*)\])?[^;]*(?:;(?P<marker>.*))?"
)
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
# Sources for compilers and type checkers; nothing opens them at run time.
_NOT_NEEDED = (".pyi", ".pyx", ".pxd", ".c", ".h", ".cpp", ".pyc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A requirement as metadata states it: who, with which extras, and when."""

    name: str
    extras: frozenset[str]
    only_for_extra: str
    conditional: bool


def parse(text: str) -> Requirement:
    """Return what a requirement string (PEP 508) says, versions left aside.

    Raises:
        BuildError: the text is no requirement.
    """
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise BuildError(f"{text!r} is not a requirement of a Python distribution")
    marker = match["marker"] or ""
    extra = _EXTRA.search(marker)
    return Requirement(
        name=_canonical(match["name"]),
        extras=frozenset(_canonical(e) for e in (match["extras"] or "").split(",") if e.strip()),
        only_for_extra=_canonical(extra[1]) if extra else "",
        conditional=bool(marker),
    )


def runtime(
    requirements: Iterable[str], *, left_out: frozenset[str]
) -> tuple[metadata.Distribution, ...]:
    """Return the installed distributions these requirements need, directly or not, by name.

    Raises:
        BuildError: one that is needed without condition is not installed.
    """
    found: dict[str, metadata.Distribution] = {}
    done: dict[str, frozenset[str]] = {}
    waiting = [parse(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        if wanted.name in left_out:
            continue
        extras = done.get(wanted.name, frozenset()) | wanted.extras
        if done.get(wanted.name) == extras:
            continue
        try:
            distribution = metadata.distribution(wanted.name)
        except metadata.PackageNotFoundError as error:
            if wanted.conditional:
                continue
            raise BuildError(
                f"{wanted.name} is not installed, but lbctl needs it: "
                "run `make setup`, or `pip install -e .` in the environment you use"
            ) from error
        found[wanted.name], done[wanted.name] = distribution, extras
        for text in distribution.requires or ():
            needed = parse(text)
            if not needed.only_for_extra or needed.only_for_extra in extras:
                waiting.append(needed)
    return tuple(found[name] for name in sorted(found))


def identity(distributions: Sequence[metadata.Distribution]) -> str:
    """Return a text that changes whenever another version of anything is installed."""
    return "\n".join(f"{d.name} {d.version} {d.locate_file('')}" for d in distributions)


def entries(distributions: Sequence[metadata.Distribution], root: str) -> dict[str, Entry]:
    """Return the files of the distributions under `root`, without what only tools read.

    Raises:
        BuildError: a distribution has no list of its files (a system package, say).
    """
    made: dict[str, Entry] = {}
    for distribution in distributions:
        if distribution.files is None:
            raise BuildError(
                f"{distribution.name} was installed without a list of its files: "
                "use a virtual environment (`make setup`)"
            )
        for file in distribution.files:
            # Scripts lie above the packages; the image has its own.
            if ".." in file.parts or "__pycache__" in file.parts or file.suffix in _NOT_NEEDED:
                continue
            source = Path(str(distribution.locate_file(file)))
            if source.is_file():
                executable = source.stat().st_mode & 0o111
                made[f"{root}/{file}"] = File(content=source, mode=0o755 if executable else 0o644)
    return made


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).strip().lower()
