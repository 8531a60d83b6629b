"""What holds for every policy and every applicant."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from usher.core.domain.admission import Admission, AdmissionRule, Answer, DenyList
from usher.core.domain.conditions import AS_WRITTEN, Conditions, Entries, Spelling
from usher.core.domain.events import EventName, email_key, split_address
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import Applicant, Verdict
from usher.core.domain.rules import FilePolicy, RoleRule
from usher.core.errors import PolicyError
from usher.core.policy_file import parse_policy

DOMAINS = st.sampled_from(["a.example", "m.a.example", "b.example", "mailinator.com"])
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
MOMENTS = st.sampled_from([datetime(2026, 12, day, tzinfo=UTC) for day in (1, 2, 3, 4)])


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
        int(draw(MOMENTS).timestamp()) + draw(st.integers(-1, 1)),
        draw(st.booleans()),
    )


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[Entries]:
    """Lists of a few of these, and of what is below them."""
    few = st.frozensets(values, max_size=2)
    return st.builds(Entries, few, st.one_of(st.just(frozenset()), few))


DENY_LISTS = st.builds(DenyList, lists(st.one_of(ADDRESSES, DOMAINS)))
CONDITIONS = st.builds(
    Conditions,
    lists(ADDRESSES),
    lists(DOMAINS),
    st.frozensets(PROVIDERS, max_size=2),
    st.none() | st.booleans(),
    st.none() | MOMENTS,
    st.none() | MOMENTS,
)
RULES = st.builds(
    RoleRule, st.integers(1, 9), st.sampled_from(["member", "staff", "admin"]), CONDITIONS
)
SPELLINGS = st.builds(Spelling, st.booleans(), st.booleans(), lists(DOMAINS))
POLICIES = st.builds(
    FilePolicy,
    st.builds(
        Admission,
        default=st.sampled_from(Answer),
        allow_email_domains=lists(DOMAINS),
        allow_emails=lists(ADDRESSES),
        deny_email_domains=DENY_LISTS,
        deny_emails=DENY_LISTS,
        rules=st.lists(
            st.builds(AdmissionRule, st.integers(1, 9), st.sampled_from(Answer), CONDITIONS),
            max_size=4,
        ).map(tuple),
        spelling=st.just(AS_WRITTEN) | SPELLINGS,
    ),
    st.lists(RULES, max_size=4).map(tuple),
)


def answer(verdict: Verdict) -> int:
    """How far a verdict lets somebody in: not at all, to wait, at once."""
    return 0 if not verdict.admitted else 1 if verdict.asks else 2


@given(POLICIES, applicants())
def test_every_applicant_gets_one_answer_with_a_reason(policy: FilePolicy, who: Applicant) -> None:
    """Evaluation never raises, is repeatable, and says a message exactly when it refuses."""
    verdict = policy.evaluate(who)
    assert verdict == policy.evaluate(who)
    assert bool(verdict.message) is not verdict.admitted
    assert verdict.admitted or verdict.asks is policy.admission.may_ask
    assert len(verdict.reasons) == 1
    assert verdict.roles <= {rule.grant for rule in policy.roles}
    assert policy.describe()


@given(POLICIES, applicants(proven=st.just(False)))
def test_nobody_gets_a_role_by_an_address_that_nobody_proved(
    policy: FilePolicy, who: Applicant
) -> None:
    """The roles of the unproven come from rules that name neither address nor domain."""
    free = {rule.grant for rule in policy.roles if not rule.when.names_address}
    assert policy.evaluate(who).roles <= free


@given(POLICIES, applicants(proven=st.just(False)))
def test_a_claim_opens_nothing_that_its_proof_would_not(policy: FilePolicy, who: Applicant) -> None:
    """Neither an allow list, nor a rule that is passed over; only a validate believes for now."""
    claimed, proven = policy.evaluate(who), policy.evaluate(replace(who, proven=True))
    assert answer(claimed) <= answer(proven)
    assert claimed.roles <= proven.roles
    if who.event is EventName.VALIDATE:
        assert answer(claimed) == answer(proven)
    elif claimed.reasons[0].rule.startswith("admission.allow"):
        assert answer(claimed) < 2


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
    """However the address is spelt, and whatever the rules and allow lists say."""
    rules = policy.admission
    address = rules.spelling.fold(who.address)
    if (
        address in rules.deny_emails.values.exact
        or who.domain in rules.deny_email_domains.values.exact
    ):
        assert not policy.evaluate(who).admitted


@given(POLICIES, applicants(), st.lists(MOMENTS, min_size=1, max_size=3))
def test_a_role_with_an_end_is_given_before_it_alone(
    policy: FilePolicy, who: Applicant, moments: list[datetime]
) -> None:
    """The end is told of roles that are given, and lies after the moment that was asked about."""
    for moment in moments:
        asked = replace(who, at=int(moment.timestamp()))
        verdict = policy.evaluate(asked)
        assert verdict.ends.keys() <= verdict.roles
        for role, end in verdict.ends.items():
            assert moment < end
            later = policy.evaluate(replace(asked, at=int(end.timestamp())))
            others = [
                rule
                for rule in policy.roles
                if rule.grant == role and (rule.when.until is None or rule.when.until > end)
            ]
            assert role not in later.roles or others


@given(SPELLINGS, st.one_of(ADDRESSES, st.text("a.+", max_size=8).map("{}@a.example".format)))
def test_a_folded_address_folds_to_itself(spelling: Spelling, address: str) -> None:
    """So that lists and applicants, which are folded once each, meet."""
    folded = spelling.fold(address)
    assert spelling.fold(folded) == folded
    assert folded.rpartition("@")[1:] == address.rpartition("@")[1:]
    assert bool(folded.partition("@")[0]) is bool(address.partition("@")[0])
    assert AS_WRITTEN.fold(address) == address


LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(st.frozensets(LABELS), st.frozensets(LABELS), LABELS)
def test_a_list_covers_what_it_names_and_what_is_below(
    exact: frozenset[str], below: frozenset[str], domain: str
) -> None:
    """As a search through the whole list would find it."""
    found = Entries(exact, below).match(domain)
    assert bool(found) is (domain in exact or any(domain.endswith(f".{each}") for each in below))
    assert not found or found == domain or domain.endswith(found.removeprefix("*"))


TOML_PIECES = st.sampled_from(
    """
[admission]|[[role]]|[[rule]]|[[test]]|[role]|[app_metadata]|default = |
deny_emails = |allow_emails = |grant = |emails = |who = |expect = |
deny_email_domains = |providers = |x = |values = |message = |"deny"|"allow"|"a@b.example"|
["b.example"]|["a@b.example"]|[]|{ |, | }|1|nan|1979-05-27|true|""|[[1], 2]|
{ values = ["b.example"] }|{ file = "x" }|subdomains = true|allow = true|ask = true|deny = true|
from = |until = |invited = |ignore_dots = |ignore_subaddress = |"*.b.example"|"ask"|
1979-05-27T07:32:00Z
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
