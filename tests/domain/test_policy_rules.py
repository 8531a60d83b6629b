"""Rules of admission and their conditions: who is admitted, refused, or waits, and why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from usher.core.domain.events import EventName
from usher.core.domain.policy import Applicant, Verdict, somebody
from usher.core.domain.rules import FilePolicy
from usher.core.policy_file import parse_policy

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
VALIDATE = EventName.VALIDATE
UNPROVEN = "This e-mail address has to be confirmed first."
UNREADABLE = "This site needs an e-mail address that it can read."
UNREAD = "but the address cannot be read as one address"


def policy(text: str, default: str = "deny") -> FilePolicy:
    """A policy with these rules."""
    return parse_policy(f'[admission]\ndefault = "{default}"\nmessage = "Members only."\n{text}')


def ask(email: str = "ada@a.example", at: datetime = NOON, **fields: object) -> Applicant:
    """Somebody, on Christmas Eve at noon."""
    return somebody(email, at=at, **fields)  # type: ignore[arg-type]


def answer(verdict: Verdict) -> str:
    """A word for each answer."""
    if not verdict.admitted:
        return "refused"
    return "waits" if verdict.asks else "admitted"


PARTNERS = '[[rule]]\n{} = true\nemail_domains = ["a.example"]\n'
ALLOW, ASK, DENY = (PARTNERS.format(word) for word in ("allow", "ask", "deny"))
EVERYBODY_ELSE = '[[rule]]\ndeny = true\nmessage = "Nobody else."\n'
AT = "everybody whose proven address is at a.example"

# rules, default, applicant, answer, message, deciding rule, its text
ANSWERS: list[tuple[str, str, Applicant, str, str, str, str]] = [
    (ALLOW, "deny", ask(), "admitted", "", "rule.1", f"admits {AT}"),
    (ALLOW, "deny", ask("x@b.example"), "refused", "Members only.", "admission.default", "nobody"),
    (ALLOW, "deny", ask(event=VALIDATE, proven=False), "admitted", "", "rule.1", f"admits {AT}"),
    (
        ALLOW, "deny", ask(proven=False),
        "refused", UNPROVEN, "rule.1", f"admits {AT}, but nobody proved the address",
    ),
    (ALLOW, "deny", ask("a@b@c"), "refused", UNREADABLE, "rule.1", f"admits {AT}, {UNREAD}"),
    (ASK, "deny", ask(), "waits", "", "rule.1", f"asks about {AT}"),
    (ASK, "allow", ask(), "waits", "", "rule.1", f"asks about {AT}"),
    (ASK, "allow", ask("x@b.example"), "admitted", "", "admission.default", "everyone is admitted"),
    (
        ASK, "allow", ask(proven=False),
        "waits", "", "rule.1", f"asks about {AT}, but nobody proved the address",
    ),
    (ASK, "allow", ask("a@b@c"), "waits", "", "rule.1", f"asks about {AT}, {UNREAD}"),
    (ASK, "deny", ask(proven=False), "refused", UNPROVEN, "rule.1", f"asks about {AT}, but nobody"),
    (DENY, "allow", ask(), "refused", "Members only.", "rule.1",
     "refuses everybody whose address is at a.example"),
    (DENY, "allow", ask(proven=False), "refused", "Members only.", "rule.1", "refuses everybody"),
    (DENY, "allow", ask("a@b@c"), "refused", UNREADABLE, "rule.1",
     f"refuses everybody whose address is at a.example, {UNREAD}"),
    (ALLOW + EVERYBODY_ELSE, "allow", ask(), "admitted", "", "rule.1", f"admits {AT}"),
    (ALLOW + EVERYBODY_ELSE, "allow", ask("x@b.example"), "refused", "Nobody else.", "rule.2",
     "refuses everybody"),
    (ALLOW + EVERYBODY_ELSE, "allow", ask(proven=False), "refused", "Nobody else.", "rule.2",
     "refuses everybody"),
    (ASK + ALLOW, "deny", ask(), "waits", "", "rule.1", f"asks about {AT}"),
    (ALLOW + ASK, "deny", ask(), "admitted", "", "rule.1", f"admits {AT}"),
    (ALLOW, "allow", ask(proven=False), "admitted", "", "admission.default", "everyone"),
    (ALLOW + ASK, "allow", ask(proven=False), "waits", "", "rule.2", f"asks about {AT}, but"),
    ("[[rule]]\nask = true", "deny", ask("a@b@c", proven=False), "waits", "", "rule.1",
     "asks about everybody"),
    ("", "ask", ask(proven=False), "waits", "", "admission.default", "everyone waits"),
    ('allow_email_domains = ["a.example"]', "ask", ask(), "admitted", "",
     "admission.allow_email_domains", "the domain a.example is on the allow list"),
    ('allow_email_domains = ["*.a.example"]', "ask", ask("x@m.a.example"), "admitted", "",
     "admission.allow_email_domains", "the domain *.a.example is on the allow list"),
    ('allow_emails = ["ada@a.example"]', "ask", ask(proven=False), "waits", "",
     "admission.allow_emails", "the address is on the allow list, but nobody proved the address"),
    ('allow_emails = ["ada@a.example"]', "ask", ask("a@b@c"), "waits", "", "admission.default",
     "everyone waits"),
    ('deny_email_domains = ["a.example"]\n' + ALLOW, "allow", ask(), "refused", "Members only.",
     "admission.deny_email_domains", "the domain a.example is on the deny list"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "default", "who", "came", "message", "rule", "reason"), ANSWERS)
def test_the_first_rule_that_applies_decides(
    text: str, default: str, who: Applicant, came: str, message: str, rule: str, reason: str
) -> None:
    """After the deny lists, before allow lists and default; and only one reason is told."""
    verdict = policy(text, default).evaluate(who)
    assert (answer(verdict), verdict.message) == (came, message)
    (found,) = verdict.reasons
    assert found.rule == rule
    assert found.text.startswith(reason)


# rule, of an invited person, what comes of the validate, and of the signup
INVITATIONS = [
    ("allow = true\ninvited = true", True, "admitted", "admitted"),
    ("allow = true\ninvited = true", False, "admitted", "refused"),
    ("allow = true\ninvited = false", True, "admitted", "refused"),
    ("ask = true\ninvited = true", False, "waits", "refused"),
    ("deny = true\ninvited = true", True, "admitted", "refused"),
    ("deny = true\ninvited = false", True, "admitted", "admitted"),
    ("deny = true\ninvited = false", False, "admitted", "refused"),
]


@pytest.mark.parametrize(("rule", "invited", "at_validate", "at_signup"), INVITATIONS)
def test_an_invitation_is_known_from_the_signup_on(
    rule: str, invited: bool, at_validate: str, at_signup: str
) -> None:
    """Identity notes it after the validate, which must not refuse whom an administrator invites."""
    rules = policy(f"[[rule]]\n{rule}", "allow" if rule.startswith("deny") else "deny")
    assert answer(rules.evaluate(ask(event=EventName.VALIDATE, proven=False))) == at_validate
    assert answer(rules.evaluate(ask(invited=invited))) == at_signup


def test_a_validate_that_tells_of_an_invitation_is_believed() -> None:
    """Nothing is guessed then."""
    told = ask(event=EventName.VALIDATE, proven=False, invited=True)
    allowing = policy("[[rule]]\nallow = true\ninvited = false", "deny")
    assert answer(allowing.evaluate(told)) == "refused"
    assert answer(policy("[[rule]]\ndeny = true\ninvited = true").evaluate(told)) == "refused"


BEFORE, AFTER = datetime(2026, 12, 24, 11, 59, 59, tzinfo=UTC), datetime(2026, 12, 25, tzinfo=UTC)

# conditions, applicant, whether they hold
CONDITIONS: list[tuple[str, Applicant, bool]] = [
    ('emails = ["Ada@A.example"]', ask(), True),
    ('emails = ["bob@a.example"]', ask(), False),
    ('emails = ["ada@a.example"]\nemail_domains = ["b.example"]', ask(), False),
    ('email_domains = ["*.a.example"]', ask(), False),
    ('email_domains = ["*.a.example"]', ask("x@m.a.example"), True),
    ('email_domains = ["*.a.example"]', ask("x@deep.m.a.example"), True),
    ('email_domains = ["*.a.example"]', ask("x@ma.example"), False),
    ('email_domains = { values = ["a.example"], subdomains = true }', ask(), True),
    ('email_domains = { values = ["a.example"], subdomains = true }', ask("x@m.a.example"), True),
    ('email_domains = { values = ["a.example"], subdomains = true }', ask("x@xa.example"), False),
    ('email_domains = { values = ["a.example"], subdomains = false }', ask("x@m.a.example"), False),
    ('email_domains = ["*.bücher.example"]', ask("x@m.xn--bcher-kva.example"), True),
    ('providers = ["google", "github"]', ask(provider="github"), True),
    ('providers = ["google"]', ask(), False),
    ("invited = true", ask(invited=True), True),
    ("invited = true", ask(), False),
    ("invited = false", ask(), True),
    ("invited = false", ask(invited=True), False),
    ("from = 2026-12-24", ask(), True),
    ("from = 2026-12-25", ask(), False),
    ("from = 2026-12-24T12:00:00Z", ask(), True),
    ("from = 2026-12-24T12:00:00Z", ask(at=BEFORE), False),
    ("from = 2026-12-24T12:00:00.5Z", ask(), False),
    ("from = 2026-12-24T12:00:00", ask(), True),
    ("from = 2026-12-24T14:00:00+01:00", ask(), False),
    ("until = 2026-12-24T12:00:00Z", ask(), False),
    ("until = 2026-12-24T12:00:00Z", ask(at=BEFORE), True),
    ("until = 2026-12-24T12:00:00.5Z", ask(), True),
    ("until = 2026-12-25", ask(), True),
    ("until = 2026-12-25", ask(at=AFTER), False),
    ('from = 2026-12-01\nuntil = 2027-01-01\nproviders = ["email"]\ninvited = false', ask(), True),
    ('from = 2026-12-01\nuntil = 2027-01-01\nproviders = ["email"]\ninvited = true', ask(), False),
]


@pytest.mark.parametrize(("text", "who", "holds"), CONDITIONS)
def test_a_condition_means_the_same_in_both_kinds_of_rules(
    text: str, who: Applicant, holds: bool
) -> None:
    """An admission rule decides, and a role is given, exactly where all conditions hold."""
    assert policy(f"[[rule]]\nallow = true\n{text}").evaluate(who).admitted is holds
    assert policy(f'[[role]]\ngrant = "x"\n{text}').evaluate(who).roles == (
        {"x"} if holds else set()
    )


# a rule or role, its sentence
SENTENCES = [
    ("[[rule]]\nallow = true", "Admits everybody."),
    (
        "[[rule]]\nask = true\ninvited = false",
        "Asks an administrator about everybody whom nobody invited.",
    ),
    (
        '[[rule]]\ndeny = true\nemails = ["a@b.example", "c@d.example"]\nmessage = "Not you."',
        "Refuses everybody whose address is one of 2 listed, saying: Not you.",
    ),
    (
        '[[rule]]\nallow = true\nemail_domains = ["b.example", "*.b.example"]\nfrom = 2026-12-01',
        "Admits everybody whose proven address is at *.b.example, b.example, from 2026-12-01.",
    ),
    (
        (
            '[[role]]\ngrant = "x"\ninvited = true\nuntil = 2026-12-24T18:00:00+01:00\n'
            'email_domains = { values = ["b.example"], subdomains = true }'
        ),
        (
            "Gives 'x' to everybody whose proven address is at b.example and everything below "
            "and who was invited, until 2026-12-24 17:00:00 UTC."
        ),
    ),
    (
        '[[role]]\ngrant = "x"\nfrom = 2026-12-01\nuntil = 2027-01-01',
        "Gives 'x' to everybody from 2026-12-01 until 2027-01-01.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), SENTENCES)
def test_each_rule_is_told_in_a_sentence(text: str, sentence: str) -> None:
    """Without the addresses that it lists."""
    assert sentence in policy(text).describe()


def test_a_sentence_names_a_few_entries_of_a_long_list() -> None:
    """The ledger has it with every event that the rule decided."""
    domains = ", ".join(f'"d{number:03}.example"' for number in range(500))
    rules = policy(f"[[rule]]\ndeny = true\nemail_domains = [{domains}]")
    [reason] = rules.evaluate(ask("x@d499.example")).reasons
    assert reason.text.startswith("refuses everybody whose address is at d000.example, d001.exam")
    assert reason.text.endswith("d019.example and 480 more")
    assert len(reason.text) < 400


def test_admission_is_described_in_its_order() -> None:
    """Spellings, deny lists, rules, allow lists, the default."""
    found = policy(
        'ignore_subaddress = true\nignore_dots = ["b.example"]\n'
        'deny_email_domains = ["c.example"]\nallow_email_domains = ["a.example"]\n' + ASK,
        "ask",
    )
    assert found.describe() == [
        "Ignores a + and what follows it in an address, before the @.",
        "Ignores dots before the @ in addresses at b.example.",
        "Refuses the domains c.example, saying: Members only.",
        f"Asks an administrator about {AT}.",
        "Admits proven addresses of a.example.",
        "Lets everyone else wait until an administrator approves.",
    ]
    everywhere = policy("ignore_dots = true", "ask").describe()
    assert everywhere == [
        "Ignores dots in an address, before the @.",
        "Lets everyone wait until an administrator approves.",
    ]
    assert policy(ALLOW).describe()[-1] == "Refuses everyone else, saying: Members only."
    listed = policy('allow_emails = ["x@b.example"]\n' + ALLOW).describe()
    assert listed[1] == "Admits proven addresses of x@b.example."


# spellings, address in the policy, address of a person, whether they are the same
SPELLINGS = [
    ("", "ada@b.example", "ada+x@b.example", False),
    ("ignore_subaddress = true", "ada@b.example", "ada+x@b.example", True),
    ("ignore_subaddress = true", "ada+y@b.example", "Ada+x+z@b.example", True),
    ("ignore_subaddress = true", "+x@b.example", "+y@b.example", False),
    ("ignore_subaddress = true", "a.da@b.example", "ada@b.example", False),
    ("ignore_dots = true", "a.da@b.example", "ad.a@b.example", True),
    ("ignore_dots = true", "a.da@b.example", "ada+x@b.example", False),
    ('ignore_dots = ["b.example"]', "a.da@b.example", "ada@b.example", True),
    ('ignore_dots = ["b.example"]', "a.da@m.b.example", "ada@m.b.example", False),
    ('ignore_dots = ["*.b.example"]', "a.da@m.b.example", "ada@m.b.example", True),
    ("ignore_dots = false", "a.da@b.example", "ada@b.example", False),
    ("ignore_dots = true\nignore_subaddress = true", "a.da@b.example", "ada+.x@b.example", True),
]


@pytest.mark.parametrize(("choice", "listed", "email", "same"), SPELLINGS)
def test_spellings_are_one_address_by_choice(
    choice: str, listed: str, email: str, same: bool
) -> None:
    """In deny and allow lists, rules and roles alike."""
    assert (
        policy(f'{choice}\ndeny_emails = ["{listed}"]', "allow").evaluate(ask(email)).admitted
        is not same
    )
    assert policy(f'{choice}\nallow_emails = ["{listed}"]').evaluate(ask(email)).admitted is same
    rule = policy(f'{choice}\n[[rule]]\nallow = true\nemails = ["{listed}"]')
    assert rule.evaluate(ask(email)).admitted is same
    role = policy(f'{choice}\n[[role]]\ngrant = "x"\nemails = ["{listed}"]')
    assert bool(role.evaluate(ask(email)).roles) is same


def role(end: str) -> str:
    """A role for everybody until then."""
    return '[[role]]\ngrant = "x"\n' + (f"until = {end}\n" if end else "")


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ([""], None),
        (["2026-12-25"], 25),
        (["2026-12-25", "2026-12-27", "2026-12-26"], 27),
        (["2026-12-25", ""], None),
        (["", "2026-12-25"], None),
        (["2026-12-01", "2026-12-25"], 25),
    ],
)
def test_a_role_ends_with_the_rule_that_gives_it_longest(ends: list[str], told: int | None) -> None:
    """The end is part of the verdict, for people who never come back."""
    verdict = policy("".join(map(role, ends))).evaluate(ask())
    assert verdict.roles == {"x"}
    assert verdict.ends == ({"x": datetime(2026, 12, told, tzinfo=UTC)} if told else {})
