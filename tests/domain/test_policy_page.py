"""The policies that docs/policy.md shows: each can be copied, and its own tests pass."""

from __future__ import annotations

import re

import pytest

from tests.support import NOON, ROOT
from usher.core.domain.policy_tests import WAITING, run_tests
from usher.core.policy_file import parse_policy

TOML = re.compile(r"^```toml\n(.*?)^```", re.S | re.M)
EXAMPLES = TOML.findall((ROOT / "docs" / "policy.md").read_text())


@pytest.mark.parametrize("text", EXAMPLES)
def test_each_policy_of_the_page_passes_its_own_tests(text: str) -> None:
    """As ``usher policy check`` runs them."""
    policy = parse_policy(text)
    results = run_tests(policy, NOON)
    assert results
    assert [result.sentence for result in results if not result.passed] == []


def test_the_worked_example_has_a_class_a_partner_and_a_waiting_list() -> None:
    """Each of them asked by a test of its own."""
    (text,) = (each for each in EXAMPLES if "partner.example" in each and "mailinator" in each)
    policy = parse_policy(text)
    assert policy.counting is not None
    assert policy.counting.code_key == "code"
    waiting = {test.who for test in policy.tests if test.expect == WAITING}
    assert waiting == {"pupil@home.example", "ada@eu.partner.example", "eve@example.org"}
    assert {test.who for test in policy.tests} - waiting == {
        "owner@example.com",
        "x@mailinator.com",
    }
