"""Lists of the policy in files of their own."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from usher.core.bounds import MAX_LIST_BYTES
from usher.core.domain.policy import somebody
from usher.core.errors import PolicyError
from usher.core.policy_source import load_policy

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
POLICY = """
[admission]
deny_email_domains = { values = ["b.example"], file = "junk.txt", subdomains = true }
deny_emails = { file = "lists/people.txt", message = "Not you." }
ignore_subaddress = true

[[role]]
grant = "partner"
email_domains = { file = "partners.txt" }
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A policy with three files beside it."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "junk.txt").write_text("# junk\n\nMailinator.com\n  Junk.example  # a note\r\n")
    (tmp_path / "lists" / "people.txt").write_text("Eve+x@C.example\n", encoding="utf-8-sig")
    (tmp_path / "partners.txt").write_text("bücher.example\n*.partner.example")
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


@pytest.mark.parametrize(
    ("email", "admitted", "roles"),
    [
        ("x@mailinator.com", False, set()),
        ("x@m.junk.example", False, set()),
        ("x@m.b.example", False, set()),
        ("eve@c.example", False, set()),
        ("eve+y@c.example", False, set()),
        ("x@xn--bcher-kva.example", True, {"partner"}),
        ("x@m.partner.example", True, {"partner"}),
        ("x@partner.example", True, set()),
    ],
)
def test_a_list_may_stand_in_a_file(
    source: Path, email: str, admitted: bool, roles: set[str]
) -> None:
    """One entry a line, with comments, empty lines and any end of line; beside entries inline."""
    verdict = load_policy(str(source)).evaluate(somebody(email, at=NOON))
    assert verdict.admitted is admitted
    if admitted:
        assert verdict.roles == roles


def test_a_file_is_described_by_its_name_and_size(source: Path) -> None:
    """Nobody reads a hundred thousand lines."""
    lines = load_policy(str(source)).describe()
    assert lines[1:] == [
        "Refuses the addresses 1 of lists/people.txt, saying: Not you.",
        (
            "Refuses the domains b.example and 2 of junk.txt and everything below, "
            "saying: This site does not admit this account."
        ),
        "Admits everyone else.",
        "Gives 'partner' to everybody whose proven address is at 2 of partners.txt.",
    ]


def test_a_file_is_part_of_the_fingerprint_and_has_an_age(source: Path) -> None:
    """A changed list is another policy."""
    os.utime(source.parent / "junk.txt", (NOON.timestamp(), NOON.timestamp()))
    first = load_policy(str(source))
    assert [file.name for file in first.files] == [
        "partners.txt",
        "lists/people.txt",
        "junk.txt",
    ] or {file.name for file in first.files} == {"partners.txt", "lists/people.txt", "junk.txt"}
    assert {file.changed_at for file in first.files if file.name == "junk.txt"} == {NOON}
    assert load_policy(str(source)).fingerprint == first.fingerprint
    (source.parent / "junk.txt").write_text("mailinator.com\n")
    assert load_policy(str(source)).fingerprint != first.fingerprint


def test_one_file_may_serve_several_lists(tmp_path: Path) -> None:
    """It is read once."""
    (tmp_path / "d.txt").write_text("a.example\n")
    path = tmp_path / "policy.toml"
    path.write_text(
        '[admission]\ndeny_email_domains = { file = "d.txt" }\n'
        '[[role]]\ngrant = "x"\nemail_domains = { file = "d.txt" }\n'
    )
    assert [file.name for file in load_policy(str(path)).files] == ["d.txt"]


PLACE = "policy.toml: [admission] deny_email_domains"


@pytest.mark.parametrize(
    ("content", "where", "problem"),
    [
        (None, f"{PLACE} file", "there is no file junk.txt"),
        (b"", f"{PLACE} file", "junk.txt has no entry"),
        (b"# nothing\n\n", f"{PLACE} file", "junk.txt has no entry"),
        (b"a.example\n@x\n", f"{PLACE}: junk.txt line 2", "'@x' is not a domain"),
        (b"a.example\n\n# b\nx y\n", f"{PLACE}: junk.txt line 4", "'x y' is not a domain"),
        (b"\xff", f"{PLACE} file", "junk.txt cannot be read: "),
        (b"x" * (MAX_LIST_BYTES + 1), f"{PLACE} file", "junk.txt has over 16777216 bytes"),
    ],
)
def test_a_wrong_file_never_opens_the_door(
    source: Path, content: bytes | None, where: str, problem: str
) -> None:
    """One that is absent, empty or damaged is an error, which names file and line."""
    junk = source.parent / "junk.txt"
    junk.unlink()
    if content is not None:
        junk.write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        load_policy(str(source))
    assert caught.value.where == where
    assert caught.value.problem.startswith(problem)


def test_an_error_quotes_no_more_than_fits_into_a_line(source: Path) -> None:
    """The first line of another kind of file may be megabytes long."""
    (source.parent / "junk.txt").write_text("x " * 500_000)
    with pytest.raises(PolicyError) as caught:
        load_policy(str(source))
    assert caught.value.problem.startswith("'x x x ")
    assert len(caught.value.problem) < 200


@pytest.mark.parametrize("value", ["1", '""', "[]"])
def test_a_file_has_a_name(tmp_path: Path, value: str) -> None:
    """A text, and no empty one."""
    path = tmp_path / "policy.toml"
    path.write_text(f"[admission]\ndeny_email_domains = {{ file = {value} }}")
    with pytest.raises(PolicyError, match="deny_email_domains file: must be the name of a file"):
        load_policy(str(path))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """Nor is it taken for an absent one."""
    path = tmp_path / "policy.toml"
    path.write_text('[admission]\ndeny_email_domains = { file = "." }')
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(str(path))


def test_a_hundred_thousand_domains_are_read(tmp_path: Path) -> None:
    """And each is on the list."""
    (tmp_path / "d.txt").write_text("\n".join(f"d{n}.example" for n in range(100_000)))
    path = tmp_path / "policy.toml"
    path.write_text('[admission]\ndeny_email_domains = { file = "d.txt" }')
    policy = load_policy(str(path))
    for name, admitted in (("d0", False), ("d99999", False), ("d100000", True)):
        assert policy.evaluate(somebody(f"x@{name}.example", at=NOON)).admitted is admitted
    assert policy.describe()[0].startswith("Refuses the domains 100000 of d.txt, saying: ")
