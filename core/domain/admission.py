"""Admission by policy.toml: deny lists, then rules in order, allow lists, the default. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from usher.core.domain.conditions import AS_WRITTEN, EVERYBODY, NONE, Conditions, Entries, Spelling
from usher.core.domain.events import EventName
from usher.core.domain.policy import DEFAULT_MESSAGE, Applicant, Reason

UNREADABLE_MESSAGE: Final = "This site needs an e-mail address that it can read."
UNPROVEN_MESSAGE: Final = "This e-mail address has to be confirmed first."


class Answer(StrEnum):
    """The three answers to somebody who wants to enter; ``ask`` lets them wait for approval."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


_ALLOW, _ASK, _DENY = Answer  # an enum's members are slow to reach before Python 3.12


class Ruling(Struct, frozen=True, gc=False):
    """An answer, and the rule that decided.

    Attributes:
        message: the sentence for a person who is denied.
        unproven: the rule needs the proof of an address, and lacks it alone: it does not decide.
        final: a deny list or a deny rule decided, which no invitation code opens.
    """

    answer: Answer
    message: str
    reason: Reason
    unproven: bool = False
    final: bool = False


_DEFAULT: Final = "admission.default"
_EVERYONE: Final = Ruling(_ALLOW, "", Reason(_DEFAULT, "everyone is admitted by default"))
_WAIT: Final = Ruling(
    _ASK, "", Reason(_DEFAULT, "everyone waits for an administrator's approval by default")
)
_NOBODY: Final = Reason(_DEFAULT, "nobody is admitted by default")
_CANNOT_BE_READ: Final = "the address cannot be read as one address"


class DenyList(Struct, frozen=True, gc=False):
    """Refused addresses or domains, with the sentence for the person."""

    values: Entries = NONE
    message: str = DEFAULT_MESSAGE

    def deny(self, name: str, value: str, address: str) -> Ruling | None:
        """The ruling on a value that is on the list, or on an address that might have it."""
        if not address:
            reason = Reason(name, f"{_CANNOT_BE_READ}, and there is a deny list")
            return Ruling(_DENY, UNREADABLE_MESSAGE, reason, final=True)
        entry = self.values.match(value)
        if not entry:
            return None
        reason = Reason(name, f"{_said(entry)} is on the deny list")
        return Ruling(_DENY, self.message, reason, final=True)


class AdmissionRule(Struct, frozen=True, gc=False):
    """One ``[[rule]]``; ``number`` counts from 1.

    Attributes:
        ruling: on those whom the rule concerns, worded once.
    """

    number: int
    answer: Answer
    when: Conditions = EVERYBODY
    message: str = DEFAULT_MESSAGE
    ruling: Ruling = _EVERYONE

    def __post_init__(self) -> None:
        """Word the reason."""
        message = self.message if self.answer is _DENY else ""
        reason = Reason(self.name, self._says("admits", "refuses", "asks about"))
        final = self.answer is _DENY
        force_setattr(self, "ruling", Ruling(self.answer, message, reason, final=final))

    @property
    def name(self) -> str:
        """The rule's name in reasons."""
        return f"rule.{self.number}"

    def concerns(self, who: Applicant, address: str) -> Ruling | None:
        """The rule's word on an applicant; None: it does not concern them.

        Refusing needs no proof. Any other rule that names an address needs it, or that none can
        exist yet. An address that cannot be read might be one of those named. At a validate nobody
        knows of an invitation: a rule about it refuses nobody yet, and else counts for everybody.
        """
        when = self.when
        if when.invited is not None and who.event == EventName.VALIDATE and not who.invited:
            # Identity notes an invitation after its validate, so the signup decides.
            if self.answer is _DENY:
                return None
            who = replace(who, invited=when.invited)
        if not when.hold(who):
            return None
        if not when.names_address:
            return self.ruling
        if not address:
            message, why = UNREADABLE_MESSAGE, _CANNOT_BE_READ
        elif not when.concern(address, who.domain):
            return None
        elif self.answer is _DENY or _proven_enough(who):
            return self.ruling
        else:
            message, why = UNPROVEN_MESSAGE, "nobody proved the address"
        reason = Reason(self.name, f"{self.ruling.reason.text}, but {why}")
        final = self.answer is _DENY
        return Ruling(self.answer, message, reason, unproven=not final, final=final)

    def describe(self) -> str:
        """The rule in a sentence, without the addresses it lists."""
        said = self._says("Admits", "Refuses", "Asks an administrator about")
        return f"{said}, saying: {self.message}" if self.answer is _DENY else f"{said}."

    def _says(self, admits: str, refuses: str, asks: str) -> str:
        """Refusing alone needs no proof."""
        if self.answer is _DENY:
            return f"{refuses} {self.when.describe('address')}"
        return f"{admits if self.answer is _ALLOW else asks} {self.when.describe()}"


class Admission(Struct, frozen=True, gc=False):
    """``[admission]`` and every ``[[rule]]``.

    Attributes:
        default: for everybody whom no list and no rule concerns.
        message: for those whom the default denies.
        allow_email_domains, allow_emails: count where the default is not to allow.
        spelling: by which addresses are compared; those in lists are folded already.
    """

    default: Answer = _ALLOW
    message: str = DEFAULT_MESSAGE
    allow_email_domains: Entries = NONE
    allow_emails: Entries = NONE
    deny_email_domains: DenyList = DenyList()
    deny_emails: DenyList = DenyList()
    rules: tuple[AdmissionRule, ...] = ()
    spelling: Spelling = AS_WRITTEN

    @property
    def may_ask(self) -> bool:
        """Whether somebody waits; then those who are refused do, too, where it is too late."""
        return self.default is _ASK or any(rule.answer is _ASK for rule in self.rules)

    def rule_on(self, who: Applicant, address: str) -> Ruling:
        """Answer one applicant.

        A rule that lacks the proof alone is passed over. If it asks, nobody enters at once by a
        mere claim where the proof would make them wait.

        Args:
            address: as ``Spelling.fold`` leaves it.
        """
        denied = self._by_deny_list(who, address)
        if denied is not None:
            return denied
        return self._by_rules(who, address) if self.rules else self._by_default(who, address, [])

    def _by_deny_list(self, who: Applicant, address: str) -> Ruling | None:
        if self.deny_emails.values.size:
            denied = self.deny_emails.deny("admission.deny_emails", address, address)
            if denied is not None:
                return denied
        if self.deny_email_domains.values.size:
            return self.deny_email_domains.deny("admission.deny_email_domains", who.domain, address)
        return None

    def _by_rules(self, who: Applicant, address: str) -> Ruling:
        passed: list[Ruling] = []
        for rule in self.rules:
            found = rule.concerns(who, address)
            if found is None:
                continue
            if not found.unproven:
                break
            passed.append(found)
        else:
            found = self._by_default(who, address, passed)
        if found.answer is _ALLOW:
            for each in passed:
                if each.answer is _ASK:
                    return Ruling(_ASK, "", each.reason)
        return found

    def _by_default(self, who: Applicant, address: str, passed: list[Ruling]) -> Ruling:
        """The answer where no rule decided."""
        if self.default is _ALLOW:
            return _EVERYONE
        listed = self._by_allow_list(who, address)
        if listed is not None:
            return listed
        if self.default is _ASK:
            return _WAIT
        if passed:
            return Ruling(_DENY, passed[0].message, passed[0].reason)
        if not address and (self.allow_emails or self.allow_email_domains):
            reason = Reason(_DEFAULT, f"{_CANNOT_BE_READ}, and there is an allow list")
            return Ruling(_DENY, UNREADABLE_MESSAGE, reason)
        return Ruling(_DENY, self.message, _NOBODY)

    def _by_allow_list(self, who: Applicant, address: str) -> Ruling | None:
        """The answer to somebody on a list; without the proof that it needs, the default's."""
        for name, allowed, value in (
            ("admission.allow_emails", self.allow_emails, address),
            ("admission.allow_email_domains", self.allow_email_domains, who.domain),
        ):
            if not value or not (entry := allowed.match(value)):
                continue
            text = f"{_said(entry)} is on the allow list"
            if who.proven:
                return Ruling(_ALLOW, "", Reason(name, text))
            if _proven_enough(who):
                text += "; the signup must prove the address"
                return Ruling(_ALLOW, "", Reason(name, text))
            message = UNPROVEN_MESSAGE if self.default is _DENY else ""
            text += ", but nobody proved the address"
            return Ruling(self.default, message, Reason(name, text))
        return None

    def describe(self) -> list[str]:
        """Admission in words, in the order in which it is decided."""
        lines = [
            f"Refuses the {what} {deny.values.words}, saying: {deny.message}"
            for deny, what in (
                (self.deny_emails, "addresses"),
                (self.deny_email_domains, "domains"),
            )
            if deny.values
        ]
        lines += [rule.describe() for rule in self.rules]
        allowed = " and ".join(
            entries.words for entries in (self.allow_email_domains, self.allow_emails) if entries
        )
        only = "" if self.rules or self.default is not _DENY else "only "
        if allowed:
            lines.append(f"Admits {only}proven addresses of {allowed}.")
        everyone = "everyone else" if lines else "everyone"
        if self.default is _ALLOW:
            lines.append(f"Admits {everyone}.")
        elif self.default is _ASK:
            lines.append(f"Lets {everyone} wait until an administrator approves.")
        elif allowed or self.rules:
            lines.append(f"Refuses everyone else, saying: {self.message}")
        else:
            lines.append(f"Admits nobody, saying: {self.message}")
        return self.spelling.describe() + lines


def _proven_enough(who: Applicant) -> bool:
    """At a validate nobody can have proven anything; the signup that follows must."""
    return who.proven or who.event == EventName.VALIDATE


def _said(entry: str) -> str:
    """An entry of a list in words; an address is never quoted."""
    return "the address" if "@" in entry else f"the domain {entry}"
