"""The policy, admission and roles: rules from policy.toml or a Python callable. Pure.

A policy gives one applicant a verdict and lists the rules that led to it. The applicant lacks the
fields that people choose freely (``user_metadata``, ``aud``), so no rule can depend on them. Rules
that name an address or a domain need a proven address (docs/policy.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import force_setattr

from usher.core.bounds import MAX_GRANTED_BYTES
from usher.core.domain.events import EventName, is_text
from usher.core.domain.held_roles import is_role
from usher.core.errors import PolicyError
from usher.core.strict_json import cannot_travel, dumps, written_bytes

DEFAULT_MESSAGE: Final = "This site does not admit this account."
UNREADABLE_MESSAGE: Final = "This site needs an e-mail address that it can read."
UNPROVEN_MESSAGE: Final = "This e-mail address has to be confirmed first."
NO_POLICY: Final = "no-policy"
"""The fingerprint of the empty policy, where there is no file."""
RESERVED_APP_METADATA: Final = frozenset({"roles", "provider"})


class Applicant(Struct, frozen=True, gc=False):
    """All that a policy may look at.

    Attributes:
        email: as Identity stores it; ``address`` and ``domain`` are its normalised parts, empty
            where the text cannot be read as one address.
        proven: whether somebody reached this address or a provider vouched for it.
        provider: ``email``, ``google``, …, ``""`` when Identity named none.
        app_metadata: as Identity holds it; only Identity's administrators write it.
        at: the signed time of the newest event, in seconds since the epoch; time windows are
            compared with it, so that the order of arrival does not matter.
        invited: whether Identity ever said that an administrator invited this account.
    """

    event: EventName
    instance_id: UUID
    id: UUID
    email: str
    address: str
    domain: str
    proven: bool
    provider: str
    app_metadata: Mapping[str, Any]
    at: int = 0
    invited: bool = False


class Reason(Struct, frozen=True, gc=False):
    """One rule that took part in a decision, without personal data: reasons outlive erasure.

    Those of a failure alone may quote a person's data, and are erased with it.
    """

    rule: str
    text: str


_EVERYONE: Final = Reason("admission.default", "everyone is admitted by default")


class Verdict(Struct, frozen=True, gc=False):
    """A policy's answer.

    Attributes:
        admitted: whether the applicant may enter.
        message: the sentence for a person who may not.
        roles: the roles that the policy gives, independent of ``admitted``.
        app_metadata: keys merged into the reply (never ``roles`` or ``provider``).
        reasons: the rules that admitted or refused.
        role_reasons: the rules that gave or withheld roles.
        asks: admitted, but without roles until an administrator approves (``waiting``).
        ends: of roles that the policy gives for a time, the end of each, UTC.
    """

    admitted: bool = True
    message: str = ""
    roles: frozenset[str] = frozenset()
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    role_reasons: tuple[Reason, ...] = ()
    asks: bool = False
    ends: Mapping[str, datetime] = field(default_factory=dict)


class Policy(Protocol):
    """The part of a policy that ``decide`` uses."""

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change when the policy changes; kept with every decision."""

    def evaluate(self, applicant: Applicant) -> Verdict:
        """Answer for one applicant; the same applicant gets the same answer."""


class DenyList(Struct, frozen=True, gc=False):
    """Refused addresses or domains, with the sentence for the person."""

    values: frozenset[str] = frozenset()
    message: str = DEFAULT_MESSAGE


class Admission(Struct, frozen=True, gc=False):
    """``[admission]``: deny lists first; allow lists count where the default is to deny."""

    default_allow: bool = True
    message: str = DEFAULT_MESSAGE
    allow_email_domains: frozenset[str] = frozenset()
    allow_emails: frozenset[str] = frozenset()
    deny_email_domains: DenyList = DenyList()
    deny_emails: DenyList = DenyList()


class RoleRule(Struct, frozen=True, gc=False):
    """One ``[[role]]``, given where all its conditions hold; ``number`` counts from 1.

    Attributes:
        given: the reason of those who get the role, worded once.
    """

    number: int
    grant: str
    emails: frozenset[str] = frozenset()
    email_domains: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    given: Reason = Reason("", "")

    def __post_init__(self) -> None:
        """Word the reason: most events get it."""
        force_setattr(self, "given", Reason(self.name, f"grants {self.describe()}"))

    @property
    def name(self) -> str:
        """The rule's name in reasons."""
        return f"role.{self.number}"

    @property
    def names_address(self) -> bool:
        """Whether the rule depends on the address, and so on its proof."""
        return bool(self.emails or self.email_domains)

    def describe(self) -> str:
        """The rule as part of a sentence, without the addresses it lists."""
        conditions = []
        if self.emails:
            conditions.append(f"whose proven address is one of {len(self.emails)} listed")
        if self.email_domains:
            conditions.append(f"whose proven address is at {listed(self.email_domains)}")
        if self.providers:
            conditions.append(f"whose account is from {listed(self.providers)}")
        return " ".join([f"{self.grant!r} to everybody", " and ".join(conditions)]).rstrip()


class Outage(Struct, frozen=True, gc=False):
    """``[outage]``: events refused while the database is away; the others are answered."""

    refused: frozenset[EventName] = frozenset()


class FilePolicy(Struct, frozen=True, gc=False):
    """The policy of a policy.toml; the empty one admits everyone and gives no role."""

    admission: Admission = Admission()
    roles: tuple[RoleRule, ...] = ()
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    outage: Outage = Outage()
    fingerprint: str = NO_POLICY

    @property
    def role_names(self) -> frozenset[str]:
        """Every role that some rule gives."""
        return frozenset(rule.grant for rule in self.roles)

    def evaluate(self, applicant: Applicant) -> Verdict:
        """Ask the deny lists, the allow lists, then every role rule."""
        admitted, message, reason = self._admit(applicant)
        granted, role_reasons = [], []
        for rule in self.roles:
            found = _role_reason(rule, applicant)
            if found is not None:
                role_reasons.append(found)
                if found is rule.given:
                    granted.append(rule.grant)
        return Verdict(
            admitted,
            message,
            frozenset(granted),
            self.app_metadata,
            (reason,),
            tuple(role_reasons),
        )

    def _admit(self, applicant: Applicant) -> tuple[bool, str, Reason]:
        rules = self.admission
        denies = (
            ("admission.deny_emails", rules.deny_emails, applicant.address),
            ("admission.deny_email_domains", rules.deny_email_domains, applicant.domain),
        )
        for name, deny, value in denies:
            if deny.values and not applicant.address:
                text = "the address cannot be read as one address, and there is a deny list"
                return False, UNREADABLE_MESSAGE, Reason(name, text)
            if value in deny.values:
                said = "the address" if name == "admission.deny_emails" else f"the domain {value}"
                return False, deny.message, Reason(name, f"{said} is on the deny list")
        if rules.default_allow:
            return True, "", _EVERYONE
        allows = (
            ("admission.allow_emails", rules.allow_emails, applicant.address, "the address"),
            (
                "admission.allow_email_domains",
                rules.allow_email_domains,
                applicant.domain,
                f"the domain {applicant.domain}",
            ),
        )
        for name, allowed, value, said in allows:
            if value and value in allowed:
                if applicant.proven:
                    return True, "", Reason(name, f"{said} is on the allow list")
                if applicant.event == EventName.VALIDATE:
                    text = f"{said} is on the allow list; the signup must prove the address"
                    return True, "", Reason(name, text)
                text = f"{said} is on the allow list, but nobody proved the address"
                return False, UNPROVEN_MESSAGE, Reason(name, text)
        if not applicant.address and (rules.allow_emails or rules.allow_email_domains):
            text = "the address cannot be read as one address, and there is an allow list"
            return False, UNREADABLE_MESSAGE, Reason("admission.default", text)
        return False, rules.message, Reason("admission.default", "nobody is admitted by default")

    def describe(self) -> list[str]:
        """The rules in words, for ``usher policy check``."""
        rules = self.admission
        lines = []
        for deny, what in (
            (rules.deny_emails, "addresses"),
            (rules.deny_email_domains, "domains"),
        ):
            if deny.values:
                lines.append(f"Refuses the {what} {listed(deny.values)}, saying: {deny.message}")
        allowed = rules.allow_emails | rules.allow_email_domains
        if rules.default_allow:
            lines.append("Admits everyone else." if lines else "Admits everyone.")
        elif allowed:
            lines.append(f"Admits only proven addresses of {listed(allowed)}.")
            lines.append(f"Refuses everyone else, saying: {rules.message}")
        else:
            lines.append(f"Admits nobody, saying: {rules.message}")
        lines += [f"Gives {rule.describe()}." for rule in self.roles]
        if self.app_metadata:
            lines.append(f"Adds to app_metadata: {', '.join(self.app_metadata)}.")
        if self.outage.refused:
            refused = listed({name.value for name in self.outage.refused})
            lines.append(f"Refuses while the database is away: {refused}.")
        return lines


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
        if not isinstance(
            verdict.roles, frozenset | set | tuple | list
        ):  # a str would count as letters
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


def _role_reason(rule: RoleRule, applicant: Applicant) -> Reason | None:
    """``rule.given``, or why it is not given; None: the rule does not concern the applicant."""
    if rule.emails and applicant.address not in rule.emails:
        return None
    if rule.email_domains and applicant.domain not in rule.email_domains:
        return None
    if rule.providers and applicant.provider not in rule.providers:
        return None
    if not applicant.proven and rule.names_address:
        return Reason(rule.name, f"no {rule.grant!r}: nobody proved the address yet")
    return rule.given


def check_app_metadata(values: object, where: str) -> None:
    """Require keys that a reply can carry and the next event can bring back.

    Raises:
        PolicyError: no dict, no strict JSON, or with a key in ``RESERVED_APP_METADATA``.
    """
    if not isinstance(values, dict):
        raise PolicyError(where, f"must be a table, not {type(values).__name__}")
    if reserved := RESERVED_APP_METADATA.intersection(values):
        raise PolicyError(where, f"may not set {listed(reserved)}")
    try:
        problem = cannot_travel(values)
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError(where, f"must fit into JSON: {error}") from None
    if problem:
        raise PolicyError(where, f"must fit into JSON and into a token: it would {problem}")


def check_roles(roles: Iterable[str], where: str) -> None:
    """Whether a token has room for all of these roles.

    Raises:
        PolicyError
    """
    size = written_bytes(dumps(sorted(roles)))
    if size > MAX_GRANTED_BYTES:
        raise PolicyError(
            where, f"all roles together have {size} bytes; {MAX_GRANTED_BYTES} is the most"
        )


def listed(values: frozenset[str] | set[str]) -> str:
    """The values in a sentence, sorted."""
    return ", ".join(sorted(values))
