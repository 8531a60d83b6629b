"""A policy in code: a Python callable ``(Applicant) -> Verdict``, its answers checked. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from usher.core.domain.events import Event, is_text
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import (
    DEFAULT_MESSAGE,
    NO_ENDS,
    Applicant,
    Ask,
    ListFile,
    Outage,
    Reason,
    Refuse,
    Verdict,
    check_app_metadata,
    check_roles,
)
from usher.core.domain.policy_tests import PolicyTest
from usher.core.errors import PolicyError

Q = TypeVar("Q")
A = TypeVar("A")


class CallablePolicy(Struct, frozen=True, gc=False):
    """A Python callable ``(Applicant) -> Verdict`` named as ``package.module:function``.

    Attributes:
        screening: see ``Rules.screen``; None: nothing that people type is looked at.
    """

    name: str
    function: Callable[[Applicant], Verdict]
    screening: Callable[[Event], Refuse | Ask | None] | None = None
    outage: Outage = Outage()

    @property
    def fingerprint(self) -> str:
        """A digest of the name only: code has no digest that we could take."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:12]

    @property
    def role_names(self) -> frozenset[str]:
        """Empty: a callable's roles are known only by asking it."""
        return frozenset()

    @property
    def counting(self) -> None:
        """Code is told of no codes and quotas."""
        return None

    @property
    def files(self) -> tuple[ListFile, ...]:
        """None are known."""
        return ()

    @property
    def tests(self) -> tuple[PolicyTest, ...]:
        """None: code is tested by code."""
        return ()

    def evaluate(self, applicant: Applicant) -> Verdict:
        """Ask the callable and check its answer.

        Raises:
            PolicyError: the callable raised, or its answer is no usable Verdict.
        """
        return self._ask(self.function, applicant, self._checked)

    def screen(self, event: Event, verdict: Verdict) -> Verdict:
        """Ask the screen, where there is one, about somebody whom the verdict lets in.

        Raises:
            PolicyError: the screen raised, or its answer is none.
        """
        if self.screening is None or not verdict.admitted:
            return verdict
        word = self._ask(self.screening, event, self._word)
        if word is None:
            return verdict
        if isinstance(word, Refuse):
            message, said = word.message or DEFAULT_MESSAGE, "refused by what was typed"
        else:
            message, said = "", "asks an administrator, by what was typed"
        reason = Reason(f"{self.name}.screen", word.reason or said)
        return replace(
            verdict,
            admitted=not message,
            message=message,
            asks=verdict.asks or not message,  # it still counts where it is too late to refuse
            reasons=(*verdict.reasons, reason),
        )

    def _ask(self, function: Callable[[Q], object], question: Q, check: Callable[[object], A]) -> A:
        """The developer's answer, checked; an error names their own line."""
        try:
            answer = function(question)
        except KeyboardInterrupt:
            raise  # a person ends a command
        except BaseException as error:  # sys.exit() in a policy must not end a server
            raise PolicyError(self.name, f"raised {type(error).__name__}") from error
        try:
            return check(answer)
        except PolicyError as error:
            error.at = _defined_at(function)
            raise

    def _word(self, answer: object) -> Refuse | Ask | None:
        if answer is not None and not isinstance(answer, Refuse | Ask):
            kind = type(answer).__name__
            raise PolicyError(self.name, f"screen must return Refuse, Ask or None, not {kind}")
        texts = () if answer is None else (getattr(answer, "message", ""), answer.reason)
        if not all(map(is_text, texts)):
            raise PolicyError(self.name, "message and reason of the screen must be texts")
        return answer

    def _checked(self, verdict: object) -> Verdict:
        if not isinstance(verdict, Verdict):
            raise PolicyError(self.name, f"must return a Verdict, not {type(verdict).__name__}")
        if not isinstance(verdict.roles, frozenset | set | tuple | list):  # a str would be letters
            raise PolicyError(self.name, "roles must be a set of names")
        if not is_text(verdict.message):
            raise PolicyError(self.name, "the message must be a text")
        check_app_metadata(verdict.app_metadata, f"{self.name}: app_metadata")
        if wrong := [r for r in verdict.roles if not (isinstance(r, str) and is_role(r))]:
            raise PolicyError(self.name, f"{wrong[0]!r} is not a role name")
        check_roles(verdict.roles, self.name)
        for reasons in (verdict.reasons, verdict.role_reasons):
            if not (isinstance(reasons, tuple | list) and all(map(_is_reason, reasons))):
                raise PolicyError(self.name, "reasons must be a tuple of Reason, each of two texts")
        if not isinstance(verdict.asks, bool):
            raise PolicyError(self.name, "asks must be True or False")
        admitted = "asks an administrator" if verdict.asks else "admitted"
        reason = Reason(self.name, admitted if verdict.admitted else "not admitted")
        return Verdict(
            verdict.admitted,
            verdict.message or ("" if verdict.admitted else DEFAULT_MESSAGE),
            frozenset(verdict.roles),
            verdict.app_metadata,
            tuple(verdict.reasons) or (reason,),
            tuple(verdict.role_reasons)
            or tuple(Reason(self.name, f"grants {role!r}") for role in sorted(verdict.roles)),
            verdict.asks,
            self._ends(verdict) if verdict.ends else NO_ENDS,
        )

    def _ends(self, verdict: Verdict) -> dict[str, datetime]:
        ends: Any = verdict.ends
        good = isinstance(ends, Mapping) and set(ends) <= set(verdict.roles)
        if not good or not all(map(_is_moment, ends.values())):
            raise PolicyError(
                self.name, "ends must map roles that are given to times with their offset"
            )
        try:
            return {role: end.astimezone(UTC) for role, end in ends.items()}
        except OverflowError:
            raise PolicyError(self.name, "ends has a time that is out of range") from None

    def describe(self) -> list[str]:
        """The rules are code."""
        lines = [f"The callable {self.name} decides."]
        if self.screening is not None:
            lines.append("It also refuses, or asks an administrator, by what people type.")
        return lines


def _is_reason(value: object) -> bool:
    return isinstance(value, Reason) and is_text(value.rule) and is_text(value.text)


def _is_moment(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _defined_at(function: object) -> tuple[str, int] | None:
    """The file and line of a callable's definition; None where it is not written in Python."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    called = vars(type(function)).get("__call__")
    for named in (function, called, getattr(function, "func", None)):
        if (code := getattr(named, "__code__", None)) is not None:
            return code.co_filename, code.co_firstlineno
    return None
