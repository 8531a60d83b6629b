"""Tests in policy.toml: questions about people, with the answers that are expected. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct

from usher.core.domain.codes import CodeState
from usher.core.domain.events import EventName
from usher.core.domain.policy import Applicant, Reason, Verdict, listed, somebody, told

REFUSED: Final = "refused"
WAITING: Final = "waiting"
ADMITTED: Final = "admitted"
ANSWERS: Final = (REFUSED, WAITING, ADMITTED)


class PolicyTest(Struct, frozen=True, gc=False):
    """One ``[[test]]``; ``number`` counts from 1.

    Attributes:
        expect: one of ``ANSWERS``; or a role, which the person gets perhaps with others; or
            exactly the roles they get.
        at: the time of the event; None: that of the test.
        code: the state of the invitation code that the person gives; None: they give none.
    """

    number: int
    who: str
    expect: str | frozenset[str]
    event: EventName = EventName.SIGNUP
    proven: bool = True
    provider: str = "email"
    invited: bool = False
    at: datetime | None = None
    code: CodeState | None = None

    @property
    def expected(self) -> str:
        """The expectation, as the end of a sentence."""
        if self.expect in ANSWERS:
            return str(self.expect)
        if isinstance(self.expect, str):
            return f"{ADMITTED} with {self.expect}"
        return f"{ADMITTED} with {listed(self.expect) or 'no role'} and nothing else"

    def question(self, now: datetime) -> Applicant:
        """The question that the test asks."""
        return somebody(
            self.who,
            event=self.event,
            proven=self.proven,
            provider=self.provider,
            invited=self.invited,
            at=self.at or now,
            code=self.code,
        )

    def agrees(self, verdict: Verdict) -> bool:
        """Whether a verdict is the expected one."""
        came = answer_of(verdict)
        if self.expect in ANSWERS:
            return came == self.expect
        wanted = {self.expect} if isinstance(self.expect, str) else self.expect
        exactly = isinstance(self.expect, str) or verdict.roles == wanted
        return came == ADMITTED and exactly and wanted <= verdict.roles


class Result(Struct, frozen=True, gc=False):
    """The outcome of one test.

    Attributes:
        came: the answer in words.
        reasons: the rules that led to it.
    """

    test: PolicyTest
    passed: bool
    came: str
    reasons: tuple[Reason, ...]

    @property
    def sentence(self) -> str:
        """Which test it is, and what came out."""
        test = self.test
        proof = "proven" if test.proven else "unproven"
        asked = f"[[test]] number {test.number}: {test.who} ({proof}) at {test.event.value}"
        if self.passed:
            return f"{asked} is {self.came}"
        return f"{asked} should be {test.expected}, and is {self.came}"


class Tested(Protocol):
    """A policy with tests of its own."""

    @property
    def tests(self) -> tuple[PolicyTest, ...]:
        """The tests, in their order."""

    def evaluate(self, applicant: Applicant) -> Verdict:
        """See ``Policy``."""


def run_tests(policy: Tested, now: datetime) -> tuple[Result, ...]:
    """Ask a policy each question of its own tests.

    Args:
        now: the time of events of which the test says none, UTC.
    """
    results = []
    for test in policy.tests:
        verdict = policy.evaluate(test.question(now))
        results.append(Result(test, test.agrees(verdict), in_words(verdict), reasons_of(verdict)))
    return tuple(results)


def answer_of(verdict: Verdict) -> str:
    """One of ``ANSWERS``."""
    if not verdict.admitted:
        return REFUSED
    return WAITING if verdict.asks else ADMITTED


def reasons_of(verdict: Verdict) -> tuple[Reason, ...]:
    """The rules that led to the answer; those of roles where somebody gets any now."""
    roles = verdict.role_reasons if answer_of(verdict) == ADMITTED else ()
    return verdict.reasons + roles


def in_words(verdict: Verdict) -> str:
    """A verdict as the end of a sentence, with its full stop; a message has its own."""
    answer = answer_of(verdict)
    if answer == REFUSED:
        return f"{answer}: {verdict.message}"
    if answer == WAITING:
        return f"{answer} for an administrator's approval."
    return f"{answer} with {_with_ends(verdict.roles, verdict.ends)}."


def _with_ends(roles: frozenset[str], ends: Mapping[str, datetime]) -> str:
    """The roles, sorted, each with its end."""
    said = (f"{role} until {told(ends[role])}" if role in ends else role for role in sorted(roles))
    return ", ".join(said) or "no role"
