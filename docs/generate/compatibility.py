"""Render docs/reference/compatibility.md from the rows in docs/compatibility."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from docs.compatibility import allocation, bgp, configuration, layer2, operations
from docs.compatibility.table import Row, Section, Verdict

SECTIONS = (
    *configuration.SECTIONS,
    *allocation.SECTIONS,
    *layer2.SECTIONS,
    *bgp.SECTIONS,
    *operations.SECTIONS,
)
ROWS = tuple(row for section in SECTIONS for row in section.rows)

MEANING = {
    Verdict.SAME: "as MetalLB does it",
    Verdict.BETTER: "what worked goes on working, and more than that; the row says what",
    Verdict.REFUSED: "not done, on purpose; the row says why",
    Verdict.NOT_APPLICABLE: "nothing here that it could be about",
    Verdict.LATER: "not there yet; the row says what is missing",
}

INTRODUCTION = (
    "What MetalLB (main of July 2026, after v0.16.1) does, row by row, and how lbctl stands to it."
)
CHECKED = (
    "Each row is checked against the field tables, flags, metrics and Event reasons in the code, "
    "and every test that it names exists "
    "(`tests/unit/docs/test_compatibility.py`)."
)


def generated() -> Mapping[Path, str]:
    """Return the page by its path below the checkout."""
    return {Path("docs/reference/compatibility.md"): page()}


def page() -> str:
    """Return the whole page."""
    counts = Counter(row.verdict for row in ROWS)
    lines = [
        "# Compatibility with MetalLB",
        "",
        INTRODUCTION,
        "",
        CHECKED,
        "",
        "| Word | Rows | Meaning |",
        "|---|---|---|",
        *(f"| {verdict} | {counts[verdict]} | {MEANING[verdict]} |" for verdict in Verdict),
        "",
    ]
    for section in SECTIONS:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    if section.text:
        yield section.text
        yield ""
    yield "| MetalLB | lbctl | How, why, or what is missing | Shown by |"
    yield "|---|---|---|---|"
    for row in section.rows:
        yield f"| {_name(row)} | {row.verdict} | {_how(row)} | {_tests(row)} |"
    yield ""


def _name(row: Row) -> str:
    if row.subject.literal:
        return ", ".join(f"`{part}`" for part in row.name.split(", "))
    return row.name


def _how(row: Row) -> str:
    return f"`{row.ours}`: {row.how}" if row.ours else row.how


def _tests(row: Row) -> str:
    return ", ".join(f"`{node}`" for node in row.nodes) or "-"
