"""Each finding of ``usher doctor`` is made for real, its advice followed, and gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli import (  # noqa: F401 - they fill CASES
    walk_beside,
    walk_deployed,
    walk_here,
    walk_identity,
    walk_postgresql,
    walk_pushes,
)
from tests.cli.conftest import Program
from tests.cli.walk import CASES, Case, Walk, follow
from tests.support import ROOT
from usher.cli.checks.findings import Severity
from usher.cli.checks.table import FINDINGS
from usher.core.domain.sync import PULLED, PUSHED
from usher.core.domain.sync import Kind as Difference

NOT_WALKED = {
    ("settings.secret_file", 1): "the superuser, who may run this, can read everything",
    ("database.file", 2): "likewise",
    ("database.read_only", 1): "likewise",
    ("database.unreachable", 0): "the tests' PostgreSQL has no port to be started at",
    ("database.unreachable", 2): "the network",
    ("database.failed", 1): "a disk",
    ("database.tls", 1): "an authority that signs certificates",
    ("database.tls", 2): "the tests' PostgreSQL has no TLS to be turned on",
    ("spool.unwritable", 1): "a disk",
    ("identity.unreachable", 2): "the network",
    ("bridge.unreachable", 1): "the network",
    ("pushes.idle", 1): "Netlify's functions, and the context that they are given",
    ("site.unreachable", 1): "the network",
    ("site.certificate", 1): "the same in the end as its other cause",
    ("identity.bridge", 1): "the same in the end as its other cause",
}
"""Causes that no test can make."""


@pytest.fixture
def walking(
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Walk]:
    """The program on SQLite, well."""
    with ExitStack() as stack:
        yield Walk(program, tmp_path, monkeypatch, request, stack)


@pytest.mark.parametrize("made", CASES, ids=str)
def test_h2_the_advice_mends_the_finding(walking: Walk, made: Case) -> None:
    """Followed to the letter: its settings, its words, its commands; nothing new is wrong."""
    follow(walking, made)


def test_h2_every_cause_of_every_finding_is_walked() -> None:
    """A new finding needs a case; one that no test can make, a reason."""
    causes = {
        (kind.key, number) for kind in FINDINGS.values() for number in range(len(kind.advice))
    }
    walked = {(each.key, each.cause) for each in CASES}
    assert causes - walked - NOT_WALKED.keys() == set()
    assert (walked | NOT_WALKED.keys()) - causes == set()
    assert walked & NOT_WALKED.keys() == set()
    assert {key for key, _ in walked} == set(FINDINGS)


def test_h2_every_kind_of_difference_has_a_finding() -> None:
    """A sync that learns a new one must not be told of as if it had left none."""
    removals = {Difference.MISSING_THERE, Difference.DELETED_HERE}
    unread = {Difference.UNREADABLE, Difference.ROLES_UNREADABLE}
    assert set(Difference) == PULLED | PUSHED | removals | unread


def test_h2_every_finding_is_described() -> None:
    """docs/doctor.md has a row for each, with its commands and the settings to be set."""
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert set(rows) == set(FINDINGS)
    for key, row in rows.items():
        assert (FINDINGS[key].severity is Severity.WARNING) is ("; a note |" in row), key
        for advice in FINDINGS[key].advice:
            for named in (*advice.commands, *advice.settings):
                literal = named.replace("{extra}", "postgres").partition(" {")[0]
                assert literal in row or named == "{setting}", (key, literal)
