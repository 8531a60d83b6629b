"""``usher policy check`` and ``explain``."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from tests.cli.conftest import Program
from tests.conftest import POLICY
from tests.support import ROOT


def test_check_says_in_words_what_the_policy_does(program: Program) -> None:
    """The one configured, without needing anything else: a line for each rule, and what it is."""
    checked = program.json("policy", "check")
    lines = program("policy", "check").stdout.splitlines()
    assert lines[:-1] == checked["rules"]
    assert checked["fingerprint"] in lines[-1]
    facts = ("mailinator.com", "everyone", "'member'", "'staff'", "'admin'")
    assert [fact for fact, line in zip(facts, lines, strict=False) if fact not in line] == []


def test_check_needs_no_other_setting(bare: Program, tmp_path: Path) -> None:
    """A policy can be checked before there is any secret, by name or as configured."""
    assert bare("policy", "check").stdout.startswith("There is no policy.toml here")
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "other.toml").write_text('[admission]\ndefault = "deny"')
    assert "mailinator.com" in bare("policy", "check").stdout
    assert bare("policy", "check", "other.toml").stdout.startswith("Admits nobody, saying: ")
    (tmp_path / ".env").write_text("USHER_POLICY=other.toml\n")
    assert bare("policy", "check").stdout.startswith("Admits nobody, saying: ")


def test_check_as_json(program: Program) -> None:
    """The sentences and the fingerprint that decisions are kept with."""
    checked = program.json("policy", "check")
    assert list(checked) == ["fingerprint", "rules", "tests"]
    assert len(checked["rules"]) == 5
    program.sign_up("ada@example.com")
    (event,) = program.json("events", "list")["events"]
    assert event["policy"] == checked["fingerprint"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[admission", "bad.toml: "),
        (
            "[admision]",
            "bad.toml: unknown key 'admision'; known are admission, app_metadata, outage, role",
        ),
        ("[[role]]\nemails = []", "bad.toml: [[role]] number 1 grant: must be the name of a role"),
        ("[role]", "bad.toml: role: write each one as [[role]], with two brackets"),
    ],
)
def test_a_bad_file_is_said_with_place_and_problem(
    bare: Program, tmp_path: Path, text: str, said: str
) -> None:
    """On standard error, exit code 1."""
    (tmp_path / "bad.toml").write_text(text)
    result = bare("policy", "check", "bad.toml", code=1)
    assert result.stdout == ""
    assert result.stderr.startswith(said)


def test_what_is_not_there_is_said(bare: Program, tmp_path: Path) -> None:
    """A file, a folder, a module."""
    assert "there is no such file" in bare("policy", "check", "no.toml", code=1).stderr
    assert "cannot be read" in bare("policy", "check", str(tmp_path), code=1).stderr
    assert "cannot be loaded" in bare("policy", "check", "no.module:f", code=1).stderr


# arguments, exit code, the first line, rules named
QUESTIONS: list[tuple[list[str], int, str, list[str]]] = [
    (
        ["ada@example.com"],
        0,
        "ada@example.com (proven) is admitted with member, staff.",
        ["admission.default", "role.1", "role.2"],
    ),
    (
        ["owner@EXAMPLE.com"],
        0,
        "owner@EXAMPLE.com (proven) is admitted with admin, member, staff.",
        ["admission.default", "role.1", "role.2", "role.3"],
    ),
    (
        ["owner@example.com", "--unproven"],
        0,
        "owner@example.com (unproven) is admitted with member.",
        ["admission.default", "role.1", "role.2", "role.3"],
    ),
    (
        ["bob@b.example", "--provider", "google", "--event", "validate"],
        0,
        "bob@b.example (proven) is admitted with member.",
        ["admission.default", "role.1"],
    ),
    (
        ["x@mailinator.com"],
        1,
        "x@mailinator.com (proven) is refused: Please use an address that lasts.",
        ["admission.deny_email_domains"],
    ),
    (
        ["a@b@c"],
        1,
        "a@b@c (proven) is refused: This site needs an e-mail address that it can read.",
        ["admission.deny_email_domains"],
    ),
]


@pytest.mark.parametrize(("arguments", "code", "line", "rules"), QUESTIONS)
def test_explain_answers_for_an_address(
    program: Program, arguments: list[str], code: int, line: str, rules: list[str]
) -> None:
    """The verdict in one line, then every rule that took part; exit code 1 for a refusal."""
    lines = program("policy", "explain", *arguments, code=code).stdout.splitlines()
    assert lines[0] == line
    assert [each.split()[0] for each in lines[1:]] == rules


def test_explain_answers_for_a_user_on_record(on_both: Program) -> None:
    """With the provider, and the proof, that the record has."""
    unproven = on_both.deliver("signup", "owner@example.com", proven=False)
    proven = on_both.deliver("signup", "owner@example.com", provider="google")
    first = on_both("policy", "explain", str(unproven)).stdout
    assert first.startswith("owner@example.com (unproven) is admitted with member.\n")
    assert "role.3                           no 'admin': nobody proved the address yet" in first
    second = on_both("policy", "explain", str(proven)).stdout
    assert second.startswith("owner@example.com (proven) is admitted with admin, member, staff.\n")


def test_explain_needs_no_database_for_an_address(bare: Program, tmp_path: Path) -> None:
    """Nor a secret; nothing is written."""
    bare("policy", "explain", "ada@example.com")
    assert list(tmp_path.iterdir()) == []


def test_explain_of_nobody(program: Program) -> None:
    """An id that no record has."""
    for who, fact in {
        str(UUID(int=5)): str(UUID(int=5)),
        "nobody": "'nobody'",
        "no": " 6 ",
    }.items():
        assert fact in program("policy", "explain", who, code=1).stderr


def test_an_event_is_explained_as_it_was_and_as_it_would_be(
    on_both: Program, policy_file: Path
) -> None:
    """By its recorded reasons, and by today's policy and record; nothing changes."""
    on_both.sign_up("x@mailinator.com")
    [event] = on_both.json("events", "list")["events"]
    same = on_both("policy", "explain", event["id"][:12]).stdout
    assert "It was denied: 403 Please use an address that lasts." in same
    assert "admission.deny_email_domains" in same
    assert same.endswith("The answers are the same.\n")
    policy_file.write_text('[[role]]\ngrant = "guest"\n')
    other = on_both("policy", "explain", event["id"], code=1).stdout
    assert "It would now be applied: 200 roles: guest; provider: email" in other
    assert other.endswith("The answers differ.\n")
    found = on_both.json("policy", "explain", event["id"], code=1)
    assert (found["recorded"]["outcome"], found["now"]["outcome"]) == ("denied", "applied")
    assert on_both.json("events", "list")["events"] == [event]
    assert on_both.json("users", "list")["users"] == []


def test_what_was_erased_is_explained_as_it_was(program: Program) -> None:
    """It cannot be decided again."""
    [ada] = program.sign_up("ada@example.com")
    program("users", "delete", str(ada), "--yes")
    [event] = program.json("events", "list")["events"]
    said = program("policy", "explain", event["id"]).stdout
    assert "It was applied" in said
    assert "Its body was erased" in said
    assert program.json("policy", "explain", event["id"])["now"] is None


def test_explain_as_json(program: Program) -> None:
    """Everything that a test of one's policy needs."""
    found = program.json("policy", "explain", "x@mailinator.com", code=1)
    assert found == {
        "admitted": False,
        "waiting": False,
        "message": "Please use an address that lasts.",
        "roles": ["member"],
        "ends": {},
        "app_metadata": {},
        "reasons": [
            {
                "rule": "admission.deny_email_domains",
                "text": "the domain mailinator.com is on the deny list",
            },
            {"rule": "role.1", "text": "grants 'member' to everybody"},
        ],
        "fingerprint": program.json("policy", "check")["fingerprint"],
    }


def test_check_runs_the_tests_of_the_policy(bare: Program, tmp_path: Path) -> None:
    """As docs/policy.md shows it: each failure with what came out and why; exit code 1."""
    page = (ROOT / "docs" / "policy.md").read_text()
    section = page[page.index("## Tests") : page.index("## Trying it")]
    text = section.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "policy.toml").write_text(text)
    assert "All 4 tests pass." in bare("policy", "check").stdout
    tests = bare.json("policy", "check")["tests"]
    assert [(test["number"], test["passed"]) for test in tests] == [(n, True) for n in (1, 2, 3, 4)]
    (tmp_path / "next.toml").write_text(text.replace('expect = "waiting"', 'expect = "refused"'))
    shown = section.partition("$ usher policy check next.toml\n")[2].partition("```")[0]
    assert bare("policy", "check", "next.toml", code=1).stdout == shown
    found = bare.json("policy", "check", "next.toml", code=1)["tests"]
    assert [test["passed"] for test in found] == [True, True, True, False]
    assert found[3]["reasons"][0]["rule"] == "admission.default"


def test_explain_asks_about_invitations_and_times(bare: Program, tmp_path: Path) -> None:
    """Now, and nobody invited, unless told otherwise; a role's end is told, and who waits."""
    (tmp_path / "policy.toml").write_text(
        '[admission]\ndefault = "ask"\n[[rule]]\nallow = true\ninvited = true\n'
        '[[role]]\ngrant = "guest"\nfrom = 2026-12-01\nuntil = 2026-12-24\n'
    )
    at = ("--at", "2026-12-10")
    waiting = bare("policy", "explain", "a@b.example", *at).stdout.splitlines()
    assert waiting[0] == "a@b.example (proven) is waiting for an administrator's approval."
    assert [line.split()[0] for line in waiting[1:]] == ["admission.default"]
    invited = bare("policy", "explain", "a@b.example", "--invited", *at).stdout
    assert invited.startswith("a@b.example (proven) is admitted with guest until 2026-12-24.\n")
    found = bare.json("policy", "explain", "a@b.example", *at)
    assert (found["admitted"], found["waiting"]) == (True, True)
    assert found["ends"] == {"guest": "2026-12-24T00:00:00Z"}
    before = bare.json("policy", "explain", "a@b.example", "--at", "2026-11-30")
    assert (before["roles"], before["ends"]) == ([], {})


def test_check_asks_a_screen_about_somebody(
    bare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in it is told before anybody signs up, with the whole traceback."""
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "from usher.core.domain.policy import Rules, Verdict\n\n\n"
        "def screen(event):\n    return event.user.user_metadata[{key!r}] and None\n\n\n"
        "rules = Rules(lambda applicant: Verdict(), screen)\n"
    )
    for name, key in (("screens_well", "full_name"), ("screens_badly", "nickname")):
        (tmp_path / f"{name}.py").write_text(code.format(key=key))
    assert "by what people type" in bare("policy", "check", "screens_well:rules").stdout
    failed = bare("policy", "check", "screens_badly:rules", code=1, traceback=True).stderr
    assert 'screens_badly.py", line 5, in screen' in failed
    assert "KeyError: 'nickname'" in failed


def test_the_readmes_change_of_the_policy_is_what_the_commands_print(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed through, from the starter's policy to the promotion."""
    _, _, section = (ROOT / "README.md").read_text().partition("## Changing the policy")
    steps = section.partition("```\n")[2].partition("\n```")[0].split("$ ")[1:]
    edit, append, check, trial, promotion = (step.partition("\n")[::2] for step in steps)
    assert edit[0].startswith("sed ")
    assert append[0] == "cat >> next.toml"
    starter = (ROOT / "policy.toml").read_text()
    old, new = edit[0].split("/")[1:3]
    (tmp_path / "policy.toml").write_text(starter)
    changed = starter.replace(old, new.replace("\\n", "\n")) + append[1]
    (tmp_path / "next.toml").write_text(changed)
    monkeypatch.setenv("USHER_POLICY", "policy.toml")
    monkeypatch.setenv("COLUMNS", "200")
    program.sign_up("ada@example.com", "x@mailinator.com", "bob@example.com", "eve@example.org")
    for (command, told), code in ((check, 0), (trial, 1), (promotion, 0)):
        assert command.startswith("usher ")
        printed = program(*command.split()[1:], code=code, input="y\n").output
        for line in told.splitlines():
            if line.startswith("1 "):  # all but the id, which is of one run
                assert " ".join(line.split()[:-1]) in " ".join(printed.split())
            elif line != "…" and not line.startswith(("count ", "Move ")):
                assert line in printed
    assert (tmp_path / "policy.toml").read_text() == changed
