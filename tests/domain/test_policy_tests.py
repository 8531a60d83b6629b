"""Tests in the policy: what each asks, and what passes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.support import ROOT
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Reason, Verdict
from usher.core.domain.policy_tests import Result, run_tests
from usher.core.policy_file import parse_policy

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
POLICY = """
[admission]
default = "ask"
allow_email_domains = ["a.example"]
deny_email_domains = { values = ["mailinator.com"], message = "Not there." }
[[rule]]
allow = true
invited = true
[[role]]
grant = "member"
[[role]]
grant = "staff"
email_domains = ["a.example"]
providers = ["google"]
until = 2027-01-01
[[test]]
"""


def run(test: str) -> Result:
    """The result of this test."""
    (result,) = run_tests(parse_policy(POLICY + test), NOON)
    return result


# a test, whether it passes, what came out
TESTS = [
    ('who = "x@mailinator.com"\nexpect = "refused"', True, "refused: Not there."),
    ('who = "x@mailinator.com"\nexpect = "waiting"', False, "refused: Not there."),
    ('who = "x@mailinator.com"\nexpect = ["member"]', False, "refused: Not there."),
    ('who = "x@b.example"\nexpect = "waiting"', True, "waiting for an administrator's approval."),
    ('who = "x@b.example"\nexpect = "admitted"', False, "waiting for an administrator's approval."),
    ('who = "x@b.example"\nexpect = "member"', False, "waiting for an administrator's approval."),
    ('who = "x@b.example"\ninvited = true\nexpect = "admitted"', True, "admitted with member."),
    ('who = "x@a.example"\nexpect = "admitted"', True, "admitted with member."),
    ('who = "x@a.example"\nexpect = "member"', True, "admitted with member."),
    ('who = "x@a.example"\nexpect = ["member"]', True, "admitted with member."),
    ('who = "x@a.example"\nexpect = []', False, "admitted with member."),
    ('who = "x@a.example"\nexpect = "staff"', False, "admitted with member."),
    ('who = "x@a.example"\nexpect = "refused"', False, "admitted with member."),
    ('who = "x@a.example"\nproven = false\nexpect = "waiting"', True, "waiting for"),
    ('who = "x@a.example"\nproven = false\nevent = "validate"\nexpect = "admitted"', True, ""),
    (
        'who = "x@a.example"\nprovider = "google"\nexpect = "staff"',
        True,
        "admitted with member, staff until 2027-01-01.",
    ),
    ('who = "x@a.example"\nprovider = "google"\nexpect = ["staff", "member"]', True, ""),
    ('who = "x@a.example"\nprovider = "google"\nexpect = ["staff"]', False, ""),
    ('who = "x@a.example"\nprovider = "google"\nat = 2027-01-01\nexpect = ["member"]', True, ""),
    ('who = "x@a.example"\nevent = "login"\nexpect = ["member"]', True, ""),
]


@pytest.mark.parametrize(("test", "passes", "came"), TESTS)
def test_a_test_passes_where_the_expected_answer_comes_out(
    test: str, passes: bool, came: str
) -> None:
    """A word is the answer, a role one of those given, a list all of them."""
    result = run(test)
    assert result.passed is passes
    assert result.came.startswith(came)


def test_a_failed_test_says_what_came_out_and_why() -> None:
    """With the person, for the administrator who wrote it there."""
    result = run('who = "x@b.example"\nproven = false\nexpect = ["member"]')
    assert result.sentence == (
        "[[test]] number 1: x@b.example (unproven) at signup should be admitted with member and "
        "nothing else, and is waiting for an administrator's approval."
    )
    assert [reason.rule for reason in result.reasons] == ["admission.default"]
    assert run('who = "x@a.example"\nexpect = []').sentence.endswith(
        "should be admitted with no role and nothing else, and is admitted with member."
    )
    passed = run('who = "x@a.example"\nexpect = "member"')
    assert passed.sentence == (
        "[[test]] number 1: x@a.example (proven) at signup is admitted with member."
    )
    assert passed.reasons[-1] == Reason("role.1", "grants 'member' to everybody")
    refused = run('who = "x@mailinator.com"\nexpect = "staff"')
    assert "should be admitted with staff, and is refused: Not there." in refused.sentence
    assert len(refused.reasons) == 1
    wrong = run('who = "x@b.example"\nexpect = "refused"')
    assert "at signup should be refused, and is waiting for an" in wrong.sentence


def test_a_test_without_a_time_asks_about_now() -> None:
    """That of the check; one with a time is the same for ever."""
    text = POLICY + 'who = "x@a.example"\nprovider = "google"\nexpect = "staff"'
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert [result.passed for result in run_tests(parse_policy(text), later)] == [False]
    fixed = parse_policy(f"{text}\nat = 2026-12-24")
    assert [result.passed for result in run_tests(fixed, later)] == [True]


def test_a_callable_has_no_tests_of_this_kind() -> None:
    """It is tested by code."""
    policy = CallablePolicy("rules:decide", lambda _: Verdict())
    assert (run_tests(policy, NOON), policy.files) == ((), ())


EXAMPLES = re.findall(
    r"^```toml\n(.*?)^```", (ROOT / "docs" / "policy.md").read_text(), re.S | re.M
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_policy_of_the_page_is_one_and_passes_its_own_tests(text: str) -> None:
    """What docs/policy.md shows can be copied."""
    results = run_tests(parse_policy(text), NOON)
    assert results
    assert [result.sentence for result in results if not result.passed] == []
