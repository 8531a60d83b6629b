"""Admission by an invitation code, and refusal by a quota; the rest of the policy goes first. Pure.

A code opens what is shut, or kept waiting, by default. It opens nothing that a deny list or a deny
rule shuts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from usher.core.domain.codes import CodeState
from usher.core.domain.counting import Counting
from usher.core.domain.policy import Applicant, Reason, Verdict

CODE_MESSAGE: Final = "This invitation code is not valid."
FULL_MESSAGE: Final = (
    "Too many accounts with addresses of this domain were made just now. Please try again later."
)
CODE_RULE: Final = "admission.invitation_code"
QUOTA_RULE: Final = "admission.signups_per_domain"
_WORDS: Final[Mapping[CodeState, str]] = {
    CodeState.OPEN: "a valid invitation code was given",
    CodeState.OWN: "this account used its invitation code before",
    CodeState.UNKNOWN: "no invitation code is spelled as the one that was given",
    CodeState.ENDED: "the invitation code that was given has ended",
    CodeState.USED_UP: "the invitation code that was given is used up",
    CodeState.REVOKED: "the invitation code that was given was revoked",
}
_USABLE: Final = (CodeState.OPEN, CodeState.OWN)


def counted(counting: Counting, who: Applicant, verdict: Verdict, *, final: bool) -> Verdict:
    """The verdict after what is counted had its say.

    Args:
        verdict: of lists, rules and the default.
        final: a deny list or a deny rule made it.
    """
    if who.code is not None:
        verdict = _by_code(who.code, verdict, final=final)
    quota = counting.per_domain
    if quota is None or not who.full or not verdict.admitted or verdict.by_code:
        return verdict
    # Without the domain, which may be somebody's name: reasons outlive erasure.
    where = "addresses of this domain" if who.domain else "addresses that cannot be read"
    reason = Reason(QUOTA_RULE, f"{quota.describe()} with {where} have signed up")
    reasons = (*verdict.reasons, reason)
    return replace(verdict, admitted=False, asks=False, message=FULL_MESSAGE, reasons=reasons)


def describe(counting: Counting) -> list[str]:
    """The counting in words, a sentence each."""
    lines = []
    if counting.code_key:
        lines.append(
            "Admits whoever gives an invitation code that can be used "
            f"(user_metadata.{counting.code_key}), unless a deny list or rule refuses them."
        )
    if counting.per_domain is not None:
        quota = counting.per_domain.describe()
        lines.append(f"Admits {quota} of each domain, and refuses more, saying: {FULL_MESSAGE}")
    return lines


def _by_code(code: CodeState, verdict: Verdict, *, final: bool) -> Verdict:
    reason = Reason(CODE_RULE, _WORDS[code])
    if code in _USABLE:
        if final or (verdict.admitted and not verdict.asks):
            return verdict
        return replace(
            verdict, admitted=True, asks=False, message="", reasons=(reason,), by_code=True
        )
    message = verdict.message if verdict.admitted or final else CODE_MESSAGE
    return replace(verdict, message=message, reasons=(reason, *verdict.reasons))
