"""A policy in code: a Python callable ``(Applicant) -> Verdict``, its answers checked. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from msgspec import Struct

from usher.core.domain.events import is_text
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import (
    DEFAULT_MESSAGE,
    Applicant,
    ListFile,
    Outage,
    Reason,
    Verdict,
    check_app_metadata,
    check_roles,
)
from usher.core.domain.policy_tests import PolicyTest
from usher.core.errors import PolicyError


class CallablePolicy(Struct, frozen=True, gc=False):
    """A Python callable ``(Applicant) -> Verdict`` named as ``package.module:function``."""

    name: str
    function: Callable[[Applicant], Verdict]
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
        try:
            verdict = self.function(applicant)
        except KeyboardInterrupt:
            raise  # a person ends a command
        except BaseException as error:  # sys.exit() in a policy must not end a server
            raise PolicyError(self.name, f"raised {type(error).__name__}") from error
        try:
            return self._checked(verdict)
        except PolicyError as error:
            error.at = _defined_at(self.function)
            raise

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
        reason = Reason(self.name, "admitted" if verdict.admitted else "not admitted")
        return Verdict(
            verdict.admitted,
            verdict.message or ("" if verdict.admitted else DEFAULT_MESSAGE),
            frozenset(verdict.roles),
            verdict.app_metadata,
            tuple(verdict.reasons) or (reason,),
            tuple(verdict.role_reasons)
            or tuple(Reason(self.name, f"grants {role!r}") for role in sorted(verdict.roles)),
            verdict.asks,
            verdict.ends,
        )

    def describe(self) -> list[str]:
        """One line: the rules are code."""
        return [f"The callable {self.name} decides."]


def _is_reason(value: object) -> bool:
    return isinstance(value, Reason) and is_text(value.rule) and is_text(value.text)


def _defined_at(function: object) -> tuple[str, int] | None:
    """The file and line of a callable's definition; None where it is not written in Python."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    called = vars(type(function)).get("__call__")
    for named in (function, called, getattr(function, "func", None)):
        if (code := getattr(named, "__code__", None)) is not None:
            return code.co_filename, code.co_firstlineno
    return None
