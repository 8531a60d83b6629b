"""The arithmetic of bench.instructions, and what it refuses; nothing is counted here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import instructions
from bench.instructions import CASES, CountError, Tree
from tests.support import ROOT

CALLGRIND = """# callgrind format
version: 1
events: Ir
fl=(1)
fn=(1) main
3 17
summary: 4171200123
totals: 4171200123
"""


def test_the_total_of_a_callgrind_file_is_read() -> None:
    """One number, of all threads."""
    assert instructions.total(CALLGRIND) == 4_171_200_123


def test_a_callgrind_file_without_a_total_is_refused() -> None:
    """The process was killed before callgrind wrote it."""
    with pytest.raises(CountError, match="no total"):
        instructions.total("version: 1\n")


def test_without_options_every_case_is_counted() -> None:
    """In the order of the table."""
    assert instructions.arguments([]).only == [*CASES]


def test_only_the_chosen_cases_are_counted() -> None:
    """In the order of the table, each once."""
    given = instructions.arguments(
        ["--only", "login-1", "--only", "signup-16", "--only", "login-1"]
    )
    assert given.only == ["signup-16", "login-1"]


@pytest.mark.parametrize("wrong", [["--only", "logins"], ["--jobs", "0"]])
def test_an_unusable_option_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By argparse, with the option's name."""
    with pytest.raises(SystemExit):
        instructions.arguments(wrong)
    assert wrong[0].strip("-") in capsys.readouterr().err


def test_without_valgrind_a_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the exit status is 1."""
    monkeypatch.setenv("PATH", "")
    assert instructions.main(["--only", "imports"]) == 1
    assert "apt-get install valgrind" in capsys.readouterr().err


def test_a_revision_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before anything is counted."""
    with pytest.raises(CountError, match="no-such-revision"):
        instructions.checkout("no-such-revision", tmp_path)


def test_an_older_tree_has_other_names(tmp_path: Path) -> None:
    """Its modules stood at the top level."""
    older, now = Tree("older", tmp_path), Tree("now", ROOT)
    assert (older.prefix, now.prefix) == ("", "usher.")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.counted])
def test_events_are_the_same_each_time_and_never_twice(name: str) -> None:
    """Each is signed, and received at a moment of its own."""
    made = instructions.events(CASES[name])
    assert made == instructions.events(CASES[name])
    assert len(made["counted"]) == CASES[name].counted
    rows = [*made["before"], *made["warm_up"], *made["counted"]]
    assert (
        len({at for _, _, at in rows}) == len({signature for _, signature, _ in rows}) == len(rows)
    )
    assert {json.loads(body)["event"] for body, _, _ in made["counted"]} == {CASES[name].event}


def test_a_peer_is_counted_once_whatever_ours_is_compared_with(tmp_path: Path) -> None:
    """It is the same for every tree."""

    class Counter(instructions.Bench):
        def write_events(self, names: Sequence[str]) -> None:
            assert names == ["signup-1", "fastapi-1"]

        def prepare(self, tree: Tree, names: Sequence[str]) -> None:
            assert ("fastapi-1" in names) is (tree.name == "now")

        def count(self, tree: Tree, name: str) -> float:
            return {"now": 1e6, "older": 2e6}[tree.name] if name == "signup-1" else 4e6

    trees = [Tree("now", ROOT), Tree("older", tmp_path)]
    counter = Counter(tmp_path, "valgrind", "vgdb")
    rows = instructions.measure(trees, ["signup-1", "fastapi-1"], counter, jobs=1)
    assert [row["instructions"] for row in rows] == [1e6, 4e6]
    assert [row.get("ratio") for row in rows] == [0.5, None]
    lines = instructions.table(rows, "older").splitlines()
    assert [line.split()[-1] for line in lines] == ["ratio", "0.500", "4.000"]


def test_the_table_has_the_ratio_only_against_another_revision() -> None:
    """In millions."""
    alone = {"case": "signup-16", "instructions": 1_789_000.0}
    assert instructions.table([alone]).splitlines()[1].split()[-1] == "1.789"
    both = alone | {"against": 1_780_000.0, "ratio": 1.789 / 1.780}
    head, line = instructions.table([both], "5d782fb94").splitlines()
    assert head.split()[-2:] == ["5d782fb94", "ratio"]
    assert line.split()[-3:] == ["1.789", "1.780", "1.005"]


def test_a_comparison_with_a_failed_process_says_what_it_said(tmp_path: Path) -> None:
    """The end of its standard error."""
    command = ["sh", "-c", "echo no such table >&2; exit 3"]
    with pytest.raises(CountError, match=r"failed \(3\):\nno such table"):
        instructions.run(command, tmp_path, {"PATH": "/usr/bin:/bin"})
