"""What a policy answers: admission, roles, constants, and in which words it explains itself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from usher.core.domain.admission import Admission, Answer, DenyList
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.conditions import Conditions, Entries
from usher.core.domain.events import EventName, email_key, split_address
from usher.core.domain.policy import DEFAULT_MESSAGE, Applicant, Reason, Verdict
from usher.core.domain.rules import FilePolicy, RoleRule
from usher.core.errors import PolicyError


def of(*names: str) -> Entries:
    """A list of these."""
    return Entries(frozenset(names))


DENIES = FilePolicy(
    Admission(
        deny_emails=DenyList(of("eve@b.example"), "Not you."),
        deny_email_domains=DenyList(of("mailinator.com"), "Not there."),
    )
)
ALLOWS = FilePolicy(
    Admission(
        default=Answer.DENY,
        message="Members only.",
        allow_emails=of("guest@b.example"),
        allow_email_domains=of("a.example"),
        deny_emails=DenyList(of("eve@a.example"), "Not you."),
    )
)
CLOSED = FilePolicy(Admission(default=Answer.DENY))


def applicant(
    email: str = "ada@a.example",
    *,
    proven: bool = True,
    provider: str = "email",
    event: EventName = EventName.SIGNUP,
) -> Applicant:
    """An applicant as the lifecycle asks about one."""
    address, domain = split_address(email_key(email))
    return Applicant(event, UUID(int=0), UUID(int=1), email, address, domain, proven, provider, {})


EVERYONE_IS = "everyone is admitted by default"
NOBODY_IS = "nobody is admitted by default"
DENIED = "the address is on the deny list"
UNREADABLE = "the address cannot be read as one address, and there is a deny list"
NOT_ON_A_LIST = "the address cannot be read as one address, and there is an allow list"
NEEDS_ADDRESS = "This site needs an e-mail address that it can read."
ONE_GUEST = FilePolicy(Admission(Answer.DENY, "Members only.", allow_emails=of("g@b.example")))
ONE_DOMAIN = FilePolicy(
    Admission(Answer.DENY, "Members only.", allow_email_domains=of("a.example"))
)

# policy, applicant, admitted, message, deciding rule, its text
ADMISSIONS: list[tuple[FilePolicy, Applicant, bool, str, str, str]] = [
    (FilePolicy(), applicant(), True, "", "admission.default", EVERYONE_IS),
    (FilePolicy(), applicant("???", proven=False), True, "", "admission.default", EVERYONE_IS),
    (DENIES, applicant(), True, "", "admission.default", EVERYONE_IS),
    (DENIES, applicant("eve@b.example"), False, "Not you.", "admission.deny_emails", DENIED),
    (DENIES, applicant("EVE@B.example"), False, "Not you.", "admission.deny_emails", DENIED),
    (DENIES, applicant("E <eve@b.example>"), False, "Not you.", "admission.deny_emails", DENIED),
    (
        DENIES,
        applicant("x@Mailinator.COM"),
        False,
        "Not there.",
        "admission.deny_email_domains",
        "the domain mailinator.com is on the deny list",
    ),
    (
        DENIES,
        applicant("x@mailinator.com."),
        False,
        "Not there.",
        "admission.deny_email_domains",
        "the domain mailinator.com is on the deny list",
    ),
    (DENIES, applicant("x@sub.mailinator.com"), True, "", "admission.default", EVERYONE_IS),
    (DENIES, applicant("a@b@c"), False, NEEDS_ADDRESS, "admission.deny_emails", UNREADABLE),
    (DENIES, applicant(""), False, NEEDS_ADDRESS, "admission.deny_emails", UNREADABLE),
    (
        FilePolicy(Admission(deny_email_domains=DenyList(of("b.example"), "Not there."))),
        applicant("x@b.example <x@a.example>"),
        False,
        NEEDS_ADDRESS,
        "admission.deny_email_domains",
        UNREADABLE,
    ),
    *(
        (policy, applicant(email), False, NEEDS_ADDRESS, "admission.default", NOT_ON_A_LIST)
        for policy in (ONE_GUEST, ONE_DOMAIN)
        for email in ("", "a@b@c")
    ),
    (ONE_GUEST, applicant(), False, "Members only.", "admission.default", NOBODY_IS),
    (
        ALLOWS,
        applicant(),
        True,
        "",
        "admission.allow_email_domains",
        "the domain a.example is on the allow list",
    ),
    (
        ALLOWS,
        applicant("guest@b.example"),
        True,
        "",
        "admission.allow_emails",
        "the address is on the allow list",
    ),
    (ALLOWS, applicant("eve@a.example"), False, "Not you.", "admission.deny_emails", DENIED),
    (ALLOWS, applicant("x@c.example"), False, "Members only.", "admission.default", NOBODY_IS),
    (
        ALLOWS,
        applicant(proven=False),
        False,
        "This e-mail address has to be confirmed first.",
        "admission.allow_email_domains",
        "the domain a.example is on the allow list, but nobody proved the address",
    ),
    (
        ALLOWS,
        applicant(proven=False, event=EventName.VALIDATE),
        True,
        "",
        "admission.allow_email_domains",
        "the domain a.example is on the allow list; the signup must prove the address",
    ),
    (
        ALLOWS,
        applicant("x@c.example", proven=False, event=EventName.VALIDATE),
        False,
        "Members only.",
        "admission.default",
        NOBODY_IS,
    ),
    (
        CLOSED,
        applicant(),
        False,
        "This site does not admit this account.",
        "admission.default",
        NOBODY_IS,
    ),
    (CLOSED, applicant(""), False, DEFAULT_MESSAGE, "admission.default", NOBODY_IS),
]


@pytest.mark.parametrize(("policy", "who", "admitted", "message", "rule", "text"), ADMISSIONS)
def test_one_rule_decides_the_admission_and_is_named(
    policy: FilePolicy | CallablePolicy,
    who: Applicant,
    admitted: bool,
    message: str,
    rule: str,
    text: str,
) -> None:
    """Deny lists first, then the allow lists, then the default; always exactly one reason."""
    verdict = policy.evaluate(who)
    assert (verdict.admitted, verdict.message) == (admitted, message)
    (reason,) = verdict.reasons
    assert reason == Reason(rule, text)


STAFF = RoleRule(
    1,
    "staff",
    Conditions(email_domains=of("a.example"), providers=frozenset({"google", "github"})),
)
OWNER = RoleRule(2, "admin", Conditions(emails=of("ada@a.example", "bob@b.example")))
BOTH = RoleRule(3, "both", Conditions(emails=of("ada@a.example"), email_domains=of("b.example")))
GOOGLE = RoleRule(4, "google", Conditions(providers=frozenset({"google"})))
EVERYONE = RoleRule(5, "member")

# rule, applicant, granted, text of the reason (None: the rule does not concern the applicant)
ROLES: list[tuple[RoleRule, Applicant, bool, str | None]] = [
    (EVERYONE, applicant("", proven=False), True, "grants 'member' to everybody"),
    (
        STAFF,
        applicant(provider="google"),
        True,
        (
            "grants 'staff' to everybody whose proven address is at a.example "
            "and whose account is from github, google"
        ),
    ),
    (STAFF, applicant(provider="email"), False, None),
    (STAFF, applicant("x@b.example", provider="google"), False, None),
    (
        STAFF,
        applicant(provider="google", proven=False),
        False,
        "no 'staff': nobody proved the address yet",
    ),
    (
        OWNER,
        applicant("Ada@A.example"),
        True,
        "grants 'admin' to everybody whose proven address is one of 2",
    ),
    (OWNER, applicant(proven=False), False, "no 'admin': nobody proved the address yet"),
    (OWNER, applicant("eve@a.example"), False, None),
    (OWNER, applicant(""), False, None),
    (BOTH, applicant(), False, None),
    (
        GOOGLE,
        applicant(provider="google", proven=False),
        True,
        "grants 'google' to everybody whose account",
    ),
    (GOOGLE, applicant(provider="Google"), False, None),
    (GOOGLE, applicant(provider=""), False, None),
]


@pytest.mark.parametrize(("rule", "who", "granted", "text"), ROLES)
def test_a_role_rule_grants_when_all_its_conditions_hold(
    rule: RoleRule, who: Applicant, granted: bool, text: str | None
) -> None:
    """A rule that concerns somebody says why it gave or withheld; any other is silent."""
    verdict = FilePolicy(roles=(rule,)).evaluate(who)
    assert verdict.roles == ({rule.grant} if granted else set())
    if text is None:
        assert verdict.role_reasons == ()
    else:
        (reason,) = verdict.role_reasons
        assert reason.rule == f"role.{rule.number}"
        assert reason.text.startswith(text)


def test_every_rule_is_asked_and_numbered_in_the_order_of_the_file() -> None:
    """Two rules may give the same role; each is listed."""
    again = RoleRule(6, "member", Conditions(providers=frozenset({"email"})))
    verdict = FilePolicy(roles=(OWNER, EVERYONE, again)).evaluate(applicant())
    assert verdict.roles == {"admin", "member"}
    assert [reason.rule for reason in verdict.role_reasons] == ["role.2", "role.5", "role.6"]


def test_roles_do_not_depend_on_admission() -> None:
    """Whom a deny list caught later still has the roles that the rules give: one refuses entry."""
    verdict = FilePolicy(Admission(default=Answer.DENY), (EVERYONE,)).evaluate(applicant())
    assert (verdict.admitted, verdict.roles) == (False, {"member"})


def test_constants_are_part_of_every_verdict() -> None:
    """[app_metadata] reaches the reply as it stands."""
    constants = {"plan": {"name": "free", "seats": 3}}
    assert FilePolicy(app_metadata=constants).evaluate(applicant()).app_metadata == constants


DESCRIPTIONS: list[tuple[FilePolicy | CallablePolicy, list[str]]] = [
    (FilePolicy(), ["Admits everyone."]),
    (CLOSED, [f"Admits nobody, saying: {DEFAULT_MESSAGE}"]),
    (
        DENIES,
        [
            "Refuses the addresses eve@b.example, saying: Not you.",
            "Refuses the domains mailinator.com, saying: Not there.",
            "Admits everyone else.",
        ],
    ),
    (
        ALLOWS,
        [
            "Refuses the addresses eve@a.example, saying: Not you.",
            "Admits only proven addresses of a.example and guest@b.example.",
            "Refuses everyone else, saying: Members only.",
        ],
    ),
    (
        FilePolicy(roles=(STAFF, OWNER, EVERYONE), app_metadata={"plan": 1, "tier": 2}),
        [
            "Admits everyone.",
            (
                "Gives 'staff' to everybody whose proven address is at a.example "
                "and whose account is from github, google."
            ),
            "Gives 'admin' to everybody whose proven address is one of 2 listed.",
            "Gives 'member' to everybody.",
            "Adds to app_metadata: plan, tier.",
        ],
    ),
    (CallablePolicy("rules:decide", lambda _: Verdict()), ["The callable rules:decide decides."]),
]


@pytest.mark.parametrize(("policy", "lines"), DESCRIPTIONS)
def test_a_policy_describes_itself_in_sentences(
    policy: FilePolicy | CallablePolicy, lines: list[str]
) -> None:
    """What `usher policy check` prints, a line for each rule."""
    assert policy.describe() == lines


def code(answer: Any) -> CallablePolicy:
    """A callable policy that always answers so."""
    return CallablePolicy("rules:decide", lambda _: answer)


def test_a_callables_verdict_is_completed_with_reasons_and_a_message() -> None:
    """A callable that says only yes or no is still explained."""
    yes = code(Verdict(roles=frozenset({"b", "a"}))).evaluate(applicant())
    assert (yes.message, yes.reasons) == ("", (Reason("rules:decide", "admitted"),))
    assert yes.role_reasons == (
        Reason("rules:decide", "grants 'a'"),
        Reason("rules:decide", "grants 'b'"),
    )
    no = code(Verdict(admitted=False)).evaluate(applicant())
    assert (no.message, no.reasons) == (DEFAULT_MESSAGE, (Reason("rules:decide", "not admitted"),))


def test_a_callables_own_words_are_kept() -> None:
    """Message, reasons and app_metadata pass through unchanged."""
    own = Verdict(
        False, "Pay first.", frozenset({"x"}), {"billing": "c_1"}, (Reason("a", "b"),), ()
    )
    found = code(own).evaluate(applicant())
    assert (found.message, found.app_metadata) == ("Pay first.", {"billing": "c_1"})
    assert found.reasons == (Reason("a", "b"),)


BREACHES: list[tuple[Any, str]] = [
    (None, "must return a Verdict, not NoneType"),
    (True, "must return a Verdict, not bool"),
    (Verdict, "must return a Verdict, not "),
    (Verdict(roles=frozenset({""})), "'' is not a role name"),
    (Verdict(roles=frozenset({" a"})), "' a' is not a role name"),
    (Verdict(roles=frozenset({"a\x1b"})), "'a\\x1b' is not a role name"),
    (Verdict(roles=frozenset({"r" * 101})), "'rrr"),
    (Verdict(roles=frozenset({7})), "7 is not a role name"),  # type: ignore[arg-type]
    (Verdict(roles="admin"), "roles must be a set of names"),  # type: ignore[arg-type]
    (Verdict(message=7), "the message must be a text"),  # type: ignore[arg-type]
    (Verdict(message="\ud800"), "the message must be a text"),
    (Verdict(message="\x00"), "the message must be a text"),
    (Verdict(app_metadata=None), "must be a table, not NoneType"),  # type: ignore[arg-type]
    (Verdict(app_metadata={"x": "\x00"}), "must fit into JSON"),
    (Verdict(app_metadata={"roles": []}), "may not set roles"),
    (
        Verdict(app_metadata={"provider": "", "roles": 1}),
        "may not set provider, roles",
    ),
    (Verdict(app_metadata={"authorization": {"roles": ["admin"]}}), "may not set authorization"),
    (Verdict(app_metadata={"Providers": ["google"]}), "may not set Providers"),
    (Verdict(app_metadata={7: 1}), "must fit into JSON"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("answer", "problem"), BREACHES)
def test_a_callable_that_breaks_its_contract_is_a_policy_error(answer: Any, problem: str) -> None:
    """Its answer is checked before anything follows from it; the error names the callable."""
    with pytest.raises(PolicyError) as caught:
        code(answer).evaluate(applicant())
    assert caught.value.where.startswith("rules:decide")
    assert caught.value.problem.startswith(problem)


def test_a_callable_that_fails_is_a_policy_error() -> None:
    """What it raised is named, never its words: they may hold an address."""

    def fails(who: Applicant) -> Verdict:
        raise KeyError(who.email)

    with pytest.raises(PolicyError) as caught:
        CallablePolicy("rules:fails", fails).evaluate(applicant())
    assert (caught.value.where, caught.value.problem) == ("rules:fails", "raised KeyError")


def test_a_callables_fingerprint_is_that_of_its_name() -> None:
    """Twelve hex digits, the same in every process."""
    other = CallablePolicy("rules:other", lambda _: Verdict())
    assert code(None).fingerprint == code(True).fingerprint != other.fingerprint
    assert len(code(None).fingerprint) == 12


def test_a_callable_is_given_the_applicant() -> None:
    """The same typed argument as rules from a file look at."""
    seen: list[Applicant] = []

    def decide(who: Applicant) -> Verdict:
        seen.append(who)
        return Verdict()

    CallablePolicy("rules:decide", decide).evaluate(applicant())
    assert seen == [applicant()]


def test_a_callable_names_no_roles_beforehand() -> None:
    """They cannot be known without asking."""
    assert CallablePolicy("x:y", lambda _: Verdict(True)).role_names == frozenset()
    assert FilePolicy().role_names == frozenset()
