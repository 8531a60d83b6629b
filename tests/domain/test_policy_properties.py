"""What holds for every policy and every applicant."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.events import EventName, email_key, split_address
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import Admission, Applicant, DenyList, FilePolicy, RoleRule
from usher.core.errors import PolicyError
from usher.core.policy_source import parse_policy

DOMAINS = st.sampled_from(["a.example", "b.example", "mailinator.com"])
ADDRESSES = st.builds("{}@{}".format, st.sampled_from(["ada", "bob", "eve"]), DOMAINS)
EMAILS = st.one_of(
    ADDRESSES,
    ADDRESSES.map(str.upper),
    ADDRESSES.map("Somebody <{}>".format),
    ADDRESSES.map("{} (note)".format),
    ADDRESSES.map("{}.".format),
    st.emails(),
    st.text(max_size=60),
)
PROVIDERS = st.sampled_from(["email", "google", ""])


@st.composite
def applicants(draw: st.DrawFn, proven: st.SearchStrategy[bool] = st.booleans()) -> Applicant:
    """Anybody, asked about as the lifecycle asks."""
    email = draw(EMAILS)
    address, domain = split_address(email_key(email))
    return Applicant(
        draw(st.sampled_from(EventName)),
        UUID(int=0),
        draw(st.uuids()),
        email,
        address,
        domain,
        draw(proven),
        draw(PROVIDERS),
        {},
    )


DENY_LISTS = st.builds(DenyList, st.frozensets(st.one_of(ADDRESSES, DOMAINS), max_size=3))
RULES = st.builds(
    RoleRule,
    st.integers(1, 9),
    st.sampled_from(["member", "staff", "admin"]),
    st.frozensets(ADDRESSES, max_size=2),
    st.frozensets(DOMAINS, max_size=2),
    st.frozensets(PROVIDERS, max_size=2),
)
POLICIES = st.builds(
    FilePolicy,
    st.builds(
        Admission,
        default_allow=st.booleans(),
        allow_email_domains=st.frozensets(DOMAINS, max_size=2),
        allow_emails=st.frozensets(ADDRESSES, max_size=2),
        deny_email_domains=DENY_LISTS,
        deny_emails=DENY_LISTS,
    ),
    st.lists(RULES, max_size=4).map(tuple),
)


@given(POLICIES, applicants())
def test_every_applicant_gets_one_answer_with_a_reason(policy: FilePolicy, who: Applicant) -> None:
    """Evaluation never raises, is repeatable, and says a message exactly when it refuses."""
    verdict = policy.evaluate(who)
    assert verdict == policy.evaluate(who)
    assert bool(verdict.message) is not verdict.admitted
    assert len(verdict.reasons) == 1
    assert verdict.roles <= {rule.grant for rule in policy.roles}


@given(POLICIES, applicants(proven=st.just(False)))
def test_nobody_gets_a_role_by_an_address_that_nobody_proved(
    policy: FilePolicy, who: Applicant
) -> None:
    """The roles of the unproven come from rules that name neither address nor domain."""
    free = {rule.grant for rule in policy.roles if not rule.names_address}
    assert policy.evaluate(who).roles <= free


@given(POLICIES, applicants(proven=st.just(False)))
def test_an_allow_list_admits_nobody_unproven_at_signup(policy: FilePolicy, who: Applicant) -> None:
    """Only the validate event, which comes before any proof, is let through for now."""
    verdict = policy.evaluate(who)
    if verdict.reasons[0].rule.startswith("admission.allow") and verdict.admitted:
        assert who.event is EventName.VALIDATE


@given(POLICIES, applicants())
def test_reasons_never_hold_the_address(policy: FilePolicy, who: Applicant) -> None:
    """Reasons outlive the erasure of a person, so no address may stand in them."""
    verdict = policy.evaluate(who)
    for reason in verdict.reasons + verdict.role_reasons:
        for secret in (who.email, who.address):
            if "@" in secret:
                assert secret not in reason.rule
                assert secret not in reason.text


@given(POLICIES, applicants())
def test_whom_a_deny_list_names_is_never_admitted(policy: FilePolicy, who: Applicant) -> None:
    """However the address is spelt, and whatever the allow lists say."""
    rules = policy.admission
    if who.address in rules.deny_emails.values or who.domain in rules.deny_email_domains.values:
        assert not policy.evaluate(who).admitted


TOML_PIECES = st.sampled_from(
    """
[admission]|[[role]]|[role]|[app_metadata]|default = |deny_emails = |allow_emails = |grant = |
emails = |deny_email_domains = |providers = |x = |values = |message = |"deny"|"allow"|"a@b.example"|
["b.example"]|["a@b.example"]|[]|{ |, | }|1|nan|1979-05-27|true|""|[[1], 2]|
{ values = ["b.example"] }
""".replace("\n", "").split("|")
)
TOML_LINES = st.lists(st.lists(TOML_PIECES, min_size=1, max_size=4).map("".join), max_size=8).map(
    "\n".join
)


@given(st.one_of(st.text(max_size=200), TOML_LINES))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    """No file makes the reader raise anything else, and what it reads can be asked and told."""
    where = "policy.toml"
    try:
        policy = parse_policy(text)
    except PolicyError as error:
        where = error.where
    else:
        assert all(is_role(rule.grant) for rule in policy.roles)
        assert policy.describe()
    assert where.startswith("policy.toml")
