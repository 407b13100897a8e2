"""The compatibility table says nothing that the code or the tests do not bear out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from docs.compatibility.table import FILES, Row, Subject, Verdict
from docs.generate.compatibility import ROWS, SECTIONS, page
from lbctl.controller import said, settings
from lbctl.kube import annotations as spelling
from lbctl.kube.crds.bfd_profile import KIND as BFD_PROFILE
from lbctl.kube.crds.bgp_advertisement import KIND as BGP_ADVERTISEMENT
from lbctl.kube.crds.bgp_peer import KIND as BGP_PEER
from lbctl.kube.crds.communities import KIND as COMMUNITY
from lbctl.kube.crds.conditions import CONDITIONS
from lbctl.kube.crds.configuration_state import KIND as CONFIGURATION_STATE
from lbctl.kube.crds.ip_address_pool import KIND as IP_ADDRESS_POOL
from lbctl.kube.crds.l2_advertisement import KIND as L2_ADVERTISEMENT
from lbctl.kube.crds.selectors import SELECTOR, SELECTORS
from lbctl.kube.crds.service_bgp_status import KIND as SERVICE_BGP_STATUS
from lbctl.kube.crds.service_l2_status import KIND as SERVICE_L2_STATUS
from lbctl.kube.crds.table import Kind, ListOf, Struct, Type
from lbctl.run.metrics import METRICS
from speaker import main as speaker

ROOT = Path(__file__).resolve().parents[3]
KINDS = (
    IP_ADDRESS_POOL,
    L2_ADVERTISEMENT,
    BGP_PEER,
    BGP_ADVERTISEMENT,
    COMMUNITY,
    BFD_PROFILE,
    SERVICE_L2_STATUS,
    SERVICE_BGP_STATUS,
    CONFIGURATION_STATE,
)
PROVEN = (Verdict.SAME, Verdict.BETTER)


def of(subject: Subject) -> list[Row]:
    return [row for row in ROWS if row.subject is subject]


def paths(prefix: str, declared: Type) -> Iterator[str]:
    """Yield the path of every field; selectors and conditions are one field each."""
    if declared in (SELECTOR, SELECTORS, CONDITIONS):
        yield prefix
    elif isinstance(declared, ListOf):
        yield from paths(prefix, declared.item)
    elif isinstance(declared, Struct):
        for field in declared.fields:
            yield from paths(f"{prefix}.{field.name}", field.type)
    else:
        yield prefix


def fields(kind: Kind) -> Iterator[str]:
    for name, declared in (("spec", kind.spec), ("status", kind.status)):
        if declared is not None and declared.fields:
            yield from (f"{kind.kind} {path}" for path in paths(name, declared))


@cache
def defined(file: str) -> frozenset[str]:
    """Return what a test file defines and pytest would collect by name."""
    tree = ast.parse((ROOT / file).read_text())
    functions = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    classes = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.startswith("Test")
    }
    return frozenset({name for name in functions if name.startswith("test_")} | classes)


def test_every_field_of_metallbs_kinds_has_a_row_and_no_row_names_another() -> None:
    existing = {path for kind in KINDS for path in fields(kind)}
    rows = {row.name: row for row in of(Subject.FIELD)}
    assert existing - rows.keys() == set()
    invented = {name for name, row in rows.items() if row.verdict in PROVEN} - existing
    assert invented == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.subject} {row.name}")
def test_a_row_names_tests_that_exist_and_a_claim_has_one(row: Row) -> None:
    assert row.how
    assert row.tests or row.verdict not in PROVEN
    for node in row.nodes:
        file, _, name = node.partition("::")
        assert name in defined(file), node


def test_no_row_stands_twice_and_no_alias_is_idle() -> None:
    names = [(section.title, row.subject, row.name) for section in SECTIONS for row in section.rows]
    assert len(names) == len(set(names))
    used = {test.partition("::")[0] for row in ROWS for test in row.tests}
    assert used == FILES.keys()


def test_the_annotations_are_those_that_the_code_reads() -> None:
    names = (spelling.ADDRESSES, spelling.POOL, spelling.SHARING_KEY, spelling.MARK)
    prefixes = (spelling.METALLB_PREFIX, spelling.DEPRECATED_PREFIX)
    existing = {prefix + name for prefix in prefixes for name in names} | {spelling.DRAIN}
    assert {row.name for row in of(Subject.ANNOTATION)} == existing
    ours = {row.ours for row in of(Subject.ANNOTATION) if row.ours}
    assert ours == {spelling.OWN_MARK}


def test_a_flag_that_is_claimed_exists() -> None:
    options = {
        option
        for parser in (settings.flag_parser({}), speaker.flag_parser({}))
        for action in parser._actions
        for option in action.option_strings
    }
    claimed = {row.ours or row.name for row in of(Subject.FLAG) if row.verdict in PROVEN}
    assert claimed - options == set()
    missing = {
        name
        for row in of(Subject.FLAG)
        if row.verdict in (Verdict.LATER, Verdict.NOT_APPLICABLE)
        for name in row.name.split(", ")
    }
    assert missing & options == set()


def test_a_metric_that_is_claimed_or_mentioned_exists() -> None:
    existing = {metric.name for metric in METRICS}
    claimed = {
        name for row in of(Subject.METRIC) if row.verdict in PROVEN for name in row.name.split(", ")
    }
    mentioned = {
        name for row in ROWS for name in re.findall(r"`(lbctl_\w+)`", f"{row.how} `{row.ours}`")
    }
    assert (claimed | mentioned) - existing == set()
    missing = {
        name
        for row in of(Subject.METRIC)
        if row.verdict not in PROVEN
        for name in row.name.split(", ")
    }
    assert missing & existing == set()


def test_the_events_are_those_that_the_code_says() -> None:
    """The speaker has its one reason where it says it, so its source is searched."""
    reasons = {value for name, value in vars(said).items() if name.isupper()}
    source = (ROOT / "speaker/drivers/node/statuses.py").read_text()
    told_by_speakers = {
        name for name in ("nodeAssigned", "announceFailed") if f'"{name}"' in source
    }
    claimed = {row.name for row in of(Subject.EVENT) if row.verdict in PROVEN}
    assert claimed == reasons | told_by_speakers


def test_the_page_counts_its_rows() -> None:
    text = page()
    for verdict in Verdict:
        found = sum(row.verdict is verdict for row in ROWS)
        assert f"| {verdict} | {found} |" in text
    assert text.count("\n| ") == len(ROWS) + len(Verdict) + len(SECTIONS) + 1
