"""Codes and quotas in a policy.toml: what is read, what is wrong, and what rules leave to them."""

from __future__ import annotations

import pytest

from tests.support import NOON
from usher.core.domain.codes import CodeState
from usher.core.domain.counting import Counting
from usher.core.domain.policy import somebody
from usher.core.domain.policy_tests import answer_of, run_tests
from usher.core.domain.quotas import Quota
from usher.core.errors import PolicyError
from usher.core.policy_file import parse_policy

PLACE = r"policy.toml: \[admission\]"


@pytest.mark.parametrize(
    ("text", "counting"),
    [
        ("", None),
        ('invitation_code = "code"', Counting("code")),
        ('signups_per_domain = "20/h"', Counting("", Quota(20, 3_600))),
        (
            'invitation_code = "ticket number"\nsignups_per_domain = "1/min"',
            Counting("ticket number", Quota(1, 60)),
        ),
    ],
)
def test_what_is_counted_is_read(text: str, counting: Counting | None) -> None:
    """A policy that counts nothing says so, for then nothing is asked of the database."""
    policy = parse_policy(f"[admission]\n{text}")
    assert policy.counting == counting
    described = " ".join(policy.describe())
    assert ("invitation code" in described) == ("invitation_code" in text)
    assert ("of each domain" in described) == ("signups_per_domain" in text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('invitation_code = ""', f"{PLACE} invitation_code: must name the key"),
        ('invitation_code = " "', f"{PLACE} invitation_code: must name the key"),
        ("invitation_code = 5", f"{PLACE} invitation_code: must name the key"),
        ('invitation_code = "\\u0000"', f"{PLACE} invitation_code: must name the key"),
        (f'invitation_code = "{"x" * 101}"', f"{PLACE} invitation_code: must name the key"),
        ("signups_per_domain = 20", f"{PLACE} signups_per_domain: must be a number of people"),
        ('signups_per_domain = "0/h"', f"{PLACE} signups_per_domain: must be a number of people"),
        ('signups_per_domain = "20/week"', 'such as "20/h"'),
        ('[[test]]\nwho = "a@b.c"\nexpect = "refused"\ncode = "x"', 'must be "valid" or "invalid"'),
        ('[[test]]\nwho = "a@b.c"\nexpect = "refused"\ncode = 5', 'must be "valid" or "invalid"'),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    """And says what to write."""
    with pytest.raises(PolicyError, match=said):
        parse_policy(f"[admission]\n{text}")


RULES = """
[admission]
default = "{default}"
invitation_code = "code"
deny_emails = ["eve@a.example"]
{allow}

[[rule]]
deny = true
email_domains = ["junk.example"]

[[rule]]
ask = true
email_domains = ["partner.example"]

[[rule]]
allow = true
email_domains = ["staff.example"]
"""


@pytest.mark.parametrize(
    ("email", "proven", "without", "with_code"),
    [
        ("eve@a.example", True, "refused", "refused"),
        ("x@junk.example", True, "refused", "refused"),
        ("not an address", True, "refused", "refused"),
        ("x@partner.example", True, "waiting", "admitted"),
        ("x@partner.example", False, "{default}", "admitted"),
        ("x@staff.example", True, "admitted", "admitted"),
        ("x@staff.example", False, "{default}", "admitted"),
        ("x@a.example", False, "{default}", "admitted"),
    ],
)
@pytest.mark.parametrize("default", ["deny", "ask"])
def test_a_code_opens_what_rules_and_defaults_leave_shut(
    email: str, proven: bool, without: str, with_code: str, default: str
) -> None:
    """A deny list or a deny rule has the last word; an ask rule has not, for a code is approval."""
    policy = parse_policy(RULES.format(default=default, allow=""))
    by_default = {"deny": "refused", "ask": "waiting"}[default]
    for code, wanted in (
        (None, without),
        (CodeState.UNKNOWN, without),
        (CodeState.OPEN, with_code),
        (CodeState.OWN, with_code),
    ):
        verdict = policy.evaluate(somebody(email, at=NOON, proven=proven, code=code))
        assert answer_of(verdict) == wanted.format(default=by_default)
        assert verdict.by_code == (wanted == with_code != without)


def test_tests_of_a_policy_may_give_a_code() -> None:
    """One that can be used, or one that cannot; no real code is in the file."""
    policy = parse_policy("""
[admission]
default = "deny"
invitation_code = "code"
[[test]]
who = "a@b.example"
code = "valid"
expect = "admitted"
[[test]]
who = "a@b.example"
code = "invalid"
expect = "refused"
[[test]]
who = "a@b.example"
expect = "admitted"
""")
    assert [result.passed for result in run_tests(policy, NOON)] == [True, True, False]
