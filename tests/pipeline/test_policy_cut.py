"""A running server takes up whole files alone: none that was cut off, or is being written."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from usher.core import policy_reload
from usher.core.domain.rules import FilePolicy
from usher.core.errors import PolicyError
from usher.core.policy_file import parse_policy
from usher.core.policy_lists import Content
from usher.core.policy_reload import Files, read_again
from usher.core.policy_source import load_file

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOTHING = b"# to be written\n"
OLD = """\
# The policy of Café Example.
[admission]
default = "deny"
message = "Für Gäste."
allow_emails = ["friend@example.org"]
deny_email_domains = { file = "disposable.txt", message = "Use an address that lasts." }

[[rule]]
allow = true
email_domains = ["example.com"]
until = 2027-03-01

[[role]]
grant = "member"

[[role]]
grant = "admin"
emails = ["owner@example.com"]

[app_metadata]
plan = "free"

[outage]
validate = "refuse"

[[test]]
who = "owner@example.com"
expect = ["admin", "member"]

[[test]]
who = "x@mailinator.com"
expect = "refused"
"""
NEW = """\
[admission]
message = "Ask first."
default = "ask"
deny_email_domains = { file = "disposable.txt", subdomains = true }

[[rule]]
allow = true

emails = ["owner@example.com"]

[[rule]]
deny = true
emails = ["eve@example.net"]

[[role]]
grant = "owner"
emails = ["owner@example.com"]

[app_metadata]
plan = "large"

[[test]]
who = "eve@example.net"
expect = "refused"

[[test]]
who = "x@mailinator.com"
event = "validate"
expect = "refused"
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The policy's file; readings follow each other at once."""
    monkeypatch.setattr(policy_reload, "SETTLE_SECONDS", 0)
    path = tmp_path / "policy.toml"
    path.write_text(OLD)
    (tmp_path / "disposable.txt").write_text("mailinator.com\nyopmail.com\n")
    return path


def in_force(path: Path) -> tuple[FilePolicy, Files]:
    """The policy that the files make, taken up at a first start, which looks at nothing else."""
    files = Files()
    return load_file(str(path), files.read), files


def again(path: Path, before: tuple[FilePolicy, Files], *promoted: str) -> FilePolicy:
    """The policy after a reload."""
    policy, files = before
    found, _ = read_again(str(path), policy.fingerprint, NOON, files, promoted)
    return found


def test_a_policy_that_was_cut_off_anywhere_is_refused(source: Path) -> None:
    """At every byte; some of these texts are good policies that say less."""
    whole = OLD.encode()
    before = in_force(source)
    good = 0
    for length in range(len(whole)):
        source.write_bytes(whole[:length])
        with pytest.raises(PolicyError) as refused:
            again(source, before)
        good += "the beginning of the one in force" in str(refused.value)
    assert good > 10
    source.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert again(source, before) == before[0]
    source.write_bytes(whole[: whole.index(b"[[role]]")].replace(b"\n", b"\r\n"))
    with pytest.raises(PolicyError, match="the beginning of the one in force"):
        again(source, before)


def test_a_new_policy_of_which_the_beginning_was_written_is_refused(source: Path) -> None:
    """At every byte, as long as there are tests at the end, no fewer than in force."""
    before = in_force(source)
    whole = NEW.encode()
    rules = parse_policy(NEW, folder=source.parent).describe()
    good = 0
    for length in range(len(whole)):
        source.write_bytes(whole[:length])
        with pytest.raises(PolicyError) as refused:
            again(source, before)
        good += policy_reload.ON_PURPOSE in str(refused.value)
    assert good > 10
    source.write_bytes(whole)
    assert again(source, before).describe() == rules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (OLD[: OLD.index("[[role]]")], "no more than the beginning of the one in force"),
        (OLD[: OLD.index("[[test]]")] + "# The end.\n", "has 0 tests, and the one in force 2"),
        (NEW.rstrip("\n"), "ends within a line"),
    ],
    ids=["beginning", "tests", "line"],
)
def test_a_shorter_policy_is_taken_up_where_it_was_promoted(
    source: Path, text: str, why: str
) -> None:
    """The refusal says so; it counts for that policy alone, with its lists."""
    before = in_force(source)
    source.write_text(text)
    shorter = load_file(str(source)).fingerprint
    for promoted in ((), ("0123456789ab",)):
        with pytest.raises(PolicyError, match=f"{why}.*usher policy promote FILE"):
            again(source, before, *promoted)
    assert again(source, before, "0123456789ab", shorter).fingerprint == shorter


def test_a_list_that_was_cut_off_anywhere_is_refused(source: Path) -> None:
    """Half a deny list opens the door, too; one that grows, or changes, does not."""
    names = source.with_name("disposable.txt")
    whole = names.read_bytes()
    before = in_force(source)
    for length in range(len(whole)):
        names.write_bytes(whole[:length])
        with pytest.raises(PolicyError):
            again(source, before)
    names.write_bytes(b"mailinator.com\nyopmail.example\nmore.example\n")
    assert again(source, before) != before[0]


def test_rules_may_go_by_a_reload_where_the_rest_is_there(source: Path) -> None:
    """Also the first tests of a policy that had none, and a policy where there was none."""
    before = in_force(source)
    source.write_text(OLD.replace('[[role]]\ngrant = "member"\n\n', "").replace(', "member"', ""))
    assert len(again(source, before).roles) == 1
    source.write_bytes(NOTHING)
    before = in_force(source)
    source.write_text(NEW)
    assert again(source, before) == load_file(str(source))
    assert again(source, (FilePolicy(), Files())) == load_file(str(source))


def test_a_bom_makes_no_difference_to_what_is_cut(source: Path) -> None:
    """An editor may add one, or take it away."""
    before = in_force(source)
    source.write_text("\ufeff" + OLD)
    assert again(source, before).describe() == before[0].describe()
    before = in_force(source)
    source.write_text(OLD[: OLD.index("[[role]]")])
    with pytest.raises(PolicyError, match="no more than the beginning"):
        again(source, before)


def test_a_file_is_read_until_it_stays_the_same(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer goes on between two readings; one that never ends is refused."""
    before = in_force(source)
    whole = NEW.encode()
    source.write_bytes(whole[:40])

    def written(_seconds: float) -> None:
        size = source.stat().st_size
        with source.open("ab") as file:
            file.write(whole[size : size + 100])

    monkeypatch.setattr(policy_reload, "sleep", written)
    assert again(source, before) == load_file(str(source))
    assert source.read_bytes() == whole
    source.write_bytes(b"")

    def endless(_seconds: float) -> None:
        with source.open("ab") as file:
            file.write(os.urandom(8).hex().encode())

    monkeypatch.setattr(policy_reload, "sleep", endless)
    with pytest.raises(PolicyError, match="is being written just now; reload again afterwards"):
        again(source, before)


def test_files_that_did_not_change_are_not_waited_for(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the changed one is read twice."""
    pauses: list[float] = []
    monkeypatch.setattr(policy_reload, "sleep", pauses.append)
    before = in_force(source)
    again(source, before)
    assert pauses == []
    source.write_text(NEW)
    found = again(source, before)
    assert (len(pauses), [each.name for each in found.files]) == (1, ["disposable.txt"])


def test_content_is_compared_and_no_time(source: Path) -> None:
    """A file that was touched is the same."""
    policy, files = in_force(source)
    old = Files({path: Content(each.data, NOON) for path, each in files.items()})
    assert again(source, (policy, old)) == policy
