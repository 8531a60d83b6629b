"""``usher codes``: made and printed once, listed, shown, revoked."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.cli.conftest import Program
from usher.core.domain.codes import digest_of

COUNTING = '[admission]\ndefault = "deny"\ninvitation_code = "code"\n'


@pytest.fixture
def site(on_both: Program, policy_file: Path) -> Program:
    """A site that codes open."""
    policy_file.write_text(COUNTING)
    return on_both


def test_codes_for_a_class_of_thirty(site: Program) -> None:
    """One a line, ready for a mail merge; a list of what was made."""
    result = site(
        "codes",
        "make",
        "--count",
        "30",
        "--role",
        "pupil",
        "--until",
        "2099-01-01",
        "--label",
        "Class 7b",
    )
    assert result.exit_code == 0, result.output
    texts = result.stdout.split()
    assert len(texts) == len({digest_of(text) for text in texts}) == 30
    listed = site("codes", "list").stdout
    assert listed.count("Class 7b") == 30
    assert "0 of 1" in listed
    assert all(text not in listed for text in texts)


def test_codes_as_json_and_as_csv(site: Program) -> None:
    """For programs and for spreadsheets; the audit counts them."""
    site.sign_up("ada@a.example")
    (made,) = site.json("codes", "make", "--uses", "3", "--role", "a", "--role", "b")["codes"]
    assert (made["allowed"], made["roles"], made["state"]) == (3, ["a", "b"], "open")
    (listed,) = site.json("codes", "list")["codes"]
    assert listed == {name: value for name, value in made.items() if name != "code"}
    rows = list(
        csv.reader(
            io.StringIO(
                site("codes", "make", "--count", "2", "--csv", "--role", "a", "--role", "b").stdout
            )
        )
    )
    assert rows[0] == ["code", "id", "roles", "ends_at"]
    assert [len(UUID(row[1]).hex) for row in rows[1:]] == [32, 32]
    assert rows[1][2:] == ["a, b", ""]
    made_last = site("audit", "--action", "codes.made", "--limit", "1").stdout
    assert "2 codes, giving a, b" in made_last
    ending = site("codes", "make", "--csv", "--until", "2999-12-24").stdout
    assert ending.endswith(",2999-12-24T00:00:00Z\n")  # as the console's file has it


def test_a_code_is_shown_with_who_used_it(site: Program) -> None:
    """And the pages of a long list."""
    (made,) = site.json("codes", "make", "--code", "Classes of 2026", "--uses", "2")["codes"]
    assert made["code"] == "Classes of 2026"
    ids = [
        site.deliver("signup", f"p{n}@a.example", user_metadata={"code": "classes of 2026"})
        for n in range(2)
    ]
    shown = site("codes", "show", made["id"]).stdout
    assert "2 of 2" in shown
    assert "used up" in shown
    assert all(str(each) in shown for each in ids)
    page = site.json("codes", "show", made["id"], "--limit", "1")
    assert "More: --cursor" in site("codes", "show", made["id"], "--limit", "1").stdout
    rest = site.json("codes", "show", made["id"], "--cursor", page["next_cursor"])
    assert {each["user_id"] for each in page["uses"] + rest["uses"]} == set(map(str, ids))
    site("codes", "make")
    assert "More: --cursor" in site("codes", "list", "--limit", "1").stdout


def test_codes_are_revoked(site: Program) -> None:
    """Several at once; nobody can use them from then on."""
    made = site.json("codes", "make", "--count", "3")["codes"]
    result = site("codes", "revoke", made[0]["id"], made[1]["id"], "--reason", "lost")
    assert result.exit_code == 0
    assert result.stdout.count("is revoked") == 2
    (again,) = site.json("codes", "revoke", made[0]["id"])["codes"]
    assert again["state"] == "revoked"
    states = [each["state"] for each in site.json("codes", "list")["codes"]]
    assert sorted(states) == ["open", "revoked", "revoked"]


def test_mistakes_are_told(site: Program) -> None:
    """In a sentence, with 1."""
    for arguments, said in (
        (("make", "--code", "short"), "12 to 64 letters"),
        (("make", "--uses", "0"), "1 to 100000 times"),
        (("show", "nonsense"), "is a UUID"),
        (("show", str(uuid4())), "No invitation code has the id"),
        (("revoke", str(uuid4())), "No invitation code has the id"),
    ):
        result = site("codes", *arguments, code=1)
        assert said in result.stderr


def test_a_policy_that_looks_at_no_code_is_told_of(on_both: Program) -> None:
    """The codes are made, and the next step is named."""
    assert "No codes yet. Try: usher codes make" in on_both("codes", "list").stdout
    result = on_both("codes", "make")
    assert result.exit_code == 0
    assert "invitation_code" in result.stderr
    assert "No policy looks" not in result.stdout


def test_a_broken_policy_makes_no_codes(site: Program, policy_file: Path) -> None:
    """Else they would be made, and lost with the error."""
    policy_file.write_text("[admission]\ninvitation_code = 5\n")
    result = site("codes", "make", code=1)
    assert "invitation_code" in result.stderr
    policy_file.write_text(COUNTING)
    assert site.json("codes", "list")["codes"] == []
