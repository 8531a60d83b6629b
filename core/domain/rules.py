"""The policy of a policy.toml: admission, roles, constants. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import force_setattr

from usher.core.domain.admission import Admission, Answer
from usher.core.domain.conditions import AS_WRITTEN, EVERYBODY, Conditions
from usher.core.domain.counted import counted, describe
from usher.core.domain.counting import Counting
from usher.core.domain.events import Event
from usher.core.domain.policy import (
    NO_ENDS,
    NO_POLICY,
    Applicant,
    ListFile,
    Outage,
    Reason,
    Verdict,
    listed,
)
from usher.core.domain.policy_tests import PolicyTest

_DENY, _ASK = Answer.DENY, Answer.ASK  # slow to reach by name before Python 3.12


class RoleRule(Struct, frozen=True, gc=False):
    """One ``[[role]]``, given where all its conditions hold; ``number`` counts from 1.

    Attributes:
        given: the reason of those who get the role, worded once.
    """

    number: int
    grant: str
    when: Conditions = EVERYBODY
    given: Reason = Reason("", "")

    def __post_init__(self) -> None:
        """Word the reason: most events get it."""
        force_setattr(self, "given", Reason(self.name, f"grants {self.describe()}"))

    @property
    def name(self) -> str:
        """The rule's name in reasons."""
        return f"role.{self.number}"

    def describe(self) -> str:
        """The rule as part of a sentence, without the addresses it lists."""
        return f"{self.grant!r} to {self.when.describe()}"

    def concerns(self, who: Applicant, address: str) -> Reason | None:
        """``given``, or why the role is not given; None: the rule does not concern the applicant.

        Args:
            address: as ``Spelling.fold`` leaves it.
        """
        when = self.when
        if when.names_other and not when.hold(who):
            return None
        if when.names_address:
            if not when.concern(address, who.domain):
                return None
            if not who.proven:
                return Reason(self.name, f"no {self.grant!r}: nobody proved the address yet")
        return self.given


class FilePolicy(Struct, frozen=True, gc=False):
    """The policy of a policy.toml; the empty one admits everyone and gives no role.

    Attributes:
        files: that it names.
        timed: whether it gives some role until an end.
    """

    admission: Admission = Admission()
    roles: tuple[RoleRule, ...] = ()
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    outage: Outage = Outage()
    fingerprint: str = NO_POLICY
    files: tuple[ListFile, ...] = ()
    tests: tuple[PolicyTest, ...] = ()
    counting: Counting | None = None
    timed: bool = False

    def __post_init__(self) -> None:
        """Note whether some role ends: most policies give none an end."""
        force_setattr(self, "timed", any(rule.when.until is not None for rule in self.roles))

    @property
    def role_names(self) -> frozenset[str]:
        """Every role that some rule gives."""
        return frozenset(rule.grant for rule in self.roles)

    def evaluate(self, applicant: Applicant) -> Verdict:
        """Ask for admission, then every role rule."""
        spelling = self.admission.spelling
        address = applicant.address
        if spelling is not AS_WRITTEN:
            address = spelling.fold(address)
        found = self.admission.rule_on(applicant, address)
        given, reasons = [], []
        for rule in self.roles:
            reason = rule.concerns(applicant, address)
            if reason is not None:
                reasons.append(reason)
                if reason is rule.given:
                    given.append(rule)
        verdict = Verdict(
            found.answer is not _DENY,
            found.message,
            frozenset([rule.grant for rule in given]),
            self.app_metadata,
            (found.reason,),
            tuple(reasons),
            found.answer is _ASK or (found.answer is _DENY and self.admission.may_ask),
            _ends_of(given) if self.timed else NO_ENDS,
        )
        if self.counting is None:
            return verdict
        return counted(self.counting, applicant, verdict, final=found.final)

    def screen(self, event: Event, verdict: Verdict) -> Verdict:  # noqa: ARG002 - see Policy
        """The same: no rule of a file depends on what a person types."""
        return verdict

    def describe(self) -> list[str]:
        """The rules in words, for ``usher policy check``."""
        lines = self.admission.describe()
        if self.counting is not None:
            lines += describe(self.counting)
        lines += [f"Gives {rule.describe()}." for rule in self.roles]
        if self.app_metadata:
            lines.append(f"Adds to app_metadata: {', '.join(self.app_metadata)}.")
        if self.outage.refused:
            refused = listed({name.value for name in self.outage.refused})
            lines.append(f"Refuses while the database is away: {refused}.")
        return lines


def _ends_of(given: Iterable[RoleRule]) -> dict[str, datetime]:
    """The ends of roles; of two rules that give the same one, that which gives it longer counts."""
    for_ever = {rule.grant for rule in given if rule.when.until is None}
    ends: dict[str, datetime] = {}
    for rule in given:
        until = rule.when.until
        if until is not None and rule.grant not in for_ever:
            ends[rule.grant] = max(until, ends.get(rule.grant, until))
    return ends
