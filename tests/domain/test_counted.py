"""The last word of codes and quotas on a verdict, as a table."""

from __future__ import annotations

import pytest

from tests.support import NOON
from usher.core.domain.codes import CodeState
from usher.core.domain.counted import CODE_MESSAGE, FULL_MESSAGE, counted, describe
from usher.core.domain.counting import Counting
from usher.core.domain.events import EventName
from usher.core.domain.policy import Applicant, Reason, Verdict
from usher.core.domain.quotas import Quota
from usher.emulator.payload import ZERO_INSTANCE

COUNTING = Counting("code", Quota(20, 3_600))
CODES = Counting("code")
WHY = Reason("admission.default", "as it is")
ALLOWED = Verdict(reasons=(WHY,))
WAITS = Verdict(asks=True, reasons=(WHY,))
REFUSED = Verdict(admitted=False, message="For members.", reasons=(WHY,))


def who(
    code: CodeState | None = None, *, full: bool = False, domain: str = "a.example"
) -> Applicant:
    """Somebody who asks to enter."""
    return Applicant(
        event=EventName.SIGNUP,
        instance_id=ZERO_INSTANCE,
        id=ZERO_INSTANCE,
        email="ada@a.example",
        address=f"ada@{domain}" if domain else "",
        domain=domain,
        proven=True,
        provider="email",
        app_metadata={},
        at=int(NOON.timestamp()),
        code=code,
        full=full,
    )


@pytest.mark.parametrize("code", [CodeState.OPEN, CodeState.OWN])
@pytest.mark.parametrize("before", [REFUSED, WAITS], ids=["refused", "waits"])
@pytest.mark.parametrize("full", [False, True], ids=["a place", "full"])
def test_a_usable_code_opens_what_is_shut_by_default(
    code: CodeState, before: Verdict, full: bool
) -> None:
    """Also where the quota has no place: people with a code are not counted."""
    found = counted(COUNTING, who(code, full=full), before, final=False)
    assert (found.admitted, found.asks, found.by_code, found.message) == (True, False, True, "")
    assert [reason.rule for reason in found.reasons] == ["admission.invitation_code"]


@pytest.mark.parametrize("code", list(CodeState))
def test_no_code_opens_what_a_deny_list_or_rule_shuts(code: CodeState) -> None:
    """The person reads the sentence of that list or rule."""
    found = counted(COUNTING, who(code), REFUSED, final=True)
    assert (found.admitted, found.by_code, found.message) == (False, False, "For members.")
    assert found.reasons[-1] == WHY


@pytest.mark.parametrize(
    "code", [CodeState.UNKNOWN, CodeState.ENDED, CodeState.USED_UP, CodeState.REVOKED]
)
def test_a_code_that_is_no_good_is_told(code: CodeState) -> None:
    """In a reason always; to the person where they are refused. It shuts nothing."""
    refused = counted(CODES, who(code), REFUSED, final=False)
    assert (refused.admitted, refused.message) == (False, CODE_MESSAGE)
    assert [each.rule for each in refused.reasons] == ["admission.invitation_code", WHY.rule]
    for before in (ALLOWED, WAITS):
        found = counted(CODES, who(code), before, final=False)
        assert (found.admitted, found.asks, found.by_code) == (True, before.asks, False)
        assert (found.message, len(found.reasons)) == ("", 2)


def test_a_code_that_is_not_needed_is_not_the_cause() -> None:
    """Whoever enters anyway takes a place like all others."""
    assert counted(CODES, who(CodeState.OPEN), ALLOWED, final=False) == ALLOWED
    full = counted(COUNTING, who(CodeState.OPEN, full=True), ALLOWED, final=False)
    assert full.message == FULL_MESSAGE


@pytest.mark.parametrize("before", [ALLOWED, WAITS], ids=["allowed", "waits"])
@pytest.mark.parametrize("domain", ["a.example", ""])
def test_a_full_quota_refuses_everybody_without_a_code(before: Verdict, domain: str) -> None:
    """With a sentence that says to come again, and a reason without address and domain."""
    found = counted(COUNTING, who(full=True, domain=domain), before, final=False)
    assert (found.admitted, found.asks, found.message) == (False, False, FULL_MESSAGE)
    where = "addresses of this domain" if domain else "addresses that cannot be read"
    assert found.reasons[-1] == Reason(
        "admission.signups_per_domain", f"20 an hour with {where} have signed up"
    )
    assert counted(COUNTING, who(), before, final=False) == before


def test_a_refusal_stays_what_it_is() -> None:
    """The quota says nothing to somebody who is refused anyway."""
    assert counted(COUNTING, who(full=True), REFUSED, final=False) == REFUSED


def test_what_is_counted_describes_itself() -> None:
    """In a sentence each."""
    assert describe(COUNTING) == [
        (
            "Admits whoever gives an invitation code that can be used (user_metadata.code), unless "
            "a deny list or rule refuses them."
        ),
        f"Admits 20 an hour of each domain, and refuses more, saying: {FULL_MESSAGE}",
    ]
    assert describe(Counting()) == []
