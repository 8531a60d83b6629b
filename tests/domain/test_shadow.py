"""Two policies at one event: what the other one would have made of it, with the rule of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import POLICY, after, event
from tests.support import NOON
from usher.core.domain import shadow
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Ask, CountingPolicy, Refuse, Verdict
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.shadow import MAX_RULE, MAX_TEXT, compare, failed
from usher.core.errors import PolicyError
from usher.core.policy_file import parse_policy

EMPTY = parse_policy("")
CLOSED = parse_policy('[admission]\ndefault = "deny"\n')
ASKING = parse_policy('[admission]\ndefault = "ask"\n[[role]]\ngrant = "member"\n')
REASONLESS = CallablePolicy("rules:decide", lambda _: Verdict(roles=frozenset({"guest"})))


def told(
    each: Event, other: CountingPolicy, user: User | None = None, live: CountingPolicy = POLICY
) -> list[tuple[str, str, str]]:
    """Change, role and rule."""
    found = compare(each, user, live, other, NOON)
    return [(difference.change.value, difference.role, difference.rule) for difference in found]


def test_a_policy_differs_from_itself_in_nothing() -> None:
    """At no event, whatever the record says."""
    user = after([event("signup")])
    for name in ("validate", "signup", "login", "usermodified", "userdeleted"):
        for policy in (POLICY, EMPTY, CLOSED, ASKING, REASONLESS):
            assert told(event(name), policy, None, policy) == []
            assert told(event(name), policy, user, policy) == []


@pytest.mark.parametrize("name", ["validate", "signup"])
def test_at_the_door_the_three_answers_are_compared(name: str) -> None:
    """Of roles nothing is said then: they follow from the answer."""
    bad = event(name, email="eve@bad.example")
    assert told(event(name), CLOSED) == [("refused", "", "admission.default")]
    assert told(event(name), ASKING) == [("waiting", "", "admission.default")]
    assert told(bad, EMPTY) == [("admitted", "", "admission.deny_email_domains")]
    assert told(bad, ASKING) == [("waiting", "", "admission.default")]
    assert told(event(name), POLICY, None, ASKING) == [("admitted", "", "admission.default")]
    assert told(bad, CLOSED) == []  # both refuse, by different rules


def test_the_door_looks_at_the_event_alone() -> None:
    """So a record that came after the event changes nothing, except that it closes the door."""
    user = after([event("signup")])
    assert user is not None
    assert told(event("signup"), CLOSED, user) == [("refused", "", "admission.default")]
    for closed in (replace(user, suspended_at=NOON), replace(user, deleted_at=NOON)):
        assert told(event("signup"), CLOSED, closed) == []
        assert told(event("validate"), CLOSED, closed) == []
    assert told(event("userdeleted"), CLOSED, user) == []


def test_roles_that_only_one_policy_gives_are_told_by_the_rule_that_gives_them() -> None:
    """Never by a rule that withholds the same role."""
    other = parse_policy("""
[[role]]
grant = "reader"
emails = ["ada@example.com"]

[[role]]
grant = "reader"

[[role]]
grant = "member"
""")
    assert told(event("validate"), other) == []  # nobody has a role yet
    assert told(event("signup", proven=False), other) == [("gains", "reader", "role.2")]
    assert told(event("login"), other, after([event("signup")])) == [
        ("gains", "reader", "role.1"),
        ("loses", "staff", "role.2"),
    ]
    late = event("login", email="zoe@example.org")
    assert told(late, other) == [("gains", "reader", "role.2")]
    assert told(late, EMPTY) == [("loses", "member", "role.1")]


def test_grants_of_others_hold_under_both_policies() -> None:
    """An administrator's role is not lost, and a denied one not gained."""
    user = after([event("signup")])
    assert user is not None
    own = (
        Grant("staff", Source.ADMINISTRATOR, NOON),
        Grant("reader", Source.ADMINISTRATOR, NOON, denies=True),
    )
    user = replace(user, grants=(*user.grants, *own))
    reader = parse_policy('[[role]]\ngrant = "reader"\n[[role]]\ngrant = "member"\n')
    assert told(event("login", 9), reader, user) == []


def test_what_people_type_is_asked_about_at_the_door() -> None:
    """A screen of the other policy refuses or asks; its word is the reason."""

    def screen(_: Event) -> Refuse | Ask | None:
        return word

    other = CallablePolicy("rules:RULES", lambda _: Verdict(), screen)
    word: Refuse | Ask | None = Refuse(reason="a name of spam")
    (difference,) = compare(event("signup"), None, EMPTY, other, NOON)
    assert (difference.change.value, difference.rule, difference.text) == (
        "refused", "rules:RULES.screen", "a name of spam"
    )  # fmt: skip
    word = Ask()
    assert told(event("signup"), other, None, EMPTY) == [("waiting", "", "rules:RULES.screen")]
    word = None
    assert told(event("signup"), other, None, EMPTY) == []


def test_waiting_people_are_compared_at_a_login() -> None:
    """A login asks for approval, too, as long as nobody was let in; a refusal is none there."""
    login = event("login", 9)
    assert told(login, ASKING, None, EMPTY) == [("waiting", "", "admission.default")]
    waiting = after([event("signup")], policy=ASKING)
    assert waiting is not None
    assert waiting.waiting_since == NOON
    assert told(login, ASKING, waiting, ASKING) == []
    assert told(login, EMPTY, waiting, ASKING) == [("admitted", "", "admission.default")]
    assert told(login, CLOSED, None, EMPTY) == []


def test_nothing_is_counted() -> None:
    """Every quota has room. Somebody who gives a code to either policy is left out."""
    counted = parse_policy(
        '[admission]\ndefault = "deny"\ninvitation_code = "code"\nsignups_per_domain = "1/h"\n'
    )
    room = parse_policy('[admission]\nsignups_per_domain = "1/h"\n')
    assert told(event("signup"), room, None, EMPTY) == []
    with_code = event("signup", user_metadata={"code": "ABCD-EFGH"})
    for one, other in ((EMPTY, counted), (counted, EMPTY)):
        assert told(with_code, other, None, one) == []
        assert len(told(event("signup"), other, None, one)) == 1


def test_a_policy_that_says_no_reason_is_told_without_one() -> None:
    """A callable's reasons need not name the role."""
    silent = replace(REASONLESS, function=lambda _: Verdict(roles=frozenset({"x"})))
    assert told(event("login"), silent, None, EMPTY) == [("gains", "x", "rules:decide")]

    class Bare:
        """A policy without any reasons."""

        fingerprint = "bare"
        counting = None

        def evaluate(self, _applicant: Applicant) -> Verdict:
            return Verdict(roles=frozenset({"x"}), asks=asks)

        def screen(self, _event: Event, verdict: Verdict) -> Verdict:
            return verdict

    asks = False
    assert told(event("login"), Bare(), None, EMPTY) == [("gains", "x", "policy.no_rule")]
    asks = True
    assert told(event("signup"), Bare(), None, EMPTY) == [("waiting", "", "policy.no_rule")]


def test_a_policy_that_fails_is_told_by_its_error() -> None:
    """The texts of a failure have an end."""

    def broken(_: Applicant) -> Verdict:
        raise KeyError

    with pytest.raises(PolicyError):
        compare(event("signup"), None, EMPTY, CallablePolicy("rules:decide", broken), NOON)
    difference = failed("r" * 500, "t" * 500)
    assert (difference.change, difference.role) == (shadow.Change.FAILED, "")
    assert (len(difference.rule), len(difference.text)) == (MAX_RULE, MAX_TEXT)
