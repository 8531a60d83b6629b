"""Codes and quotas of the past, counted for a trial: person by person as live decisions were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.test_book import CODES, INVITED, LIMITED, ONCE, PUPIL, THRICE, World, event
from tests.profiles import examples
from tests.support import NOON
from usher.core.domain.counting import NOTHING
from usher.core.domain.decide import decide
from usher.core.domain.records import Decision, Outcome, User
from usher.core.domain.recount import UNCOUNTED, DatedEvent, PastCounts, recount
from usher.core.domain.roles import effective
from usher.core.domain.rules import FilePolicy
from usher.core.domain.trial import try_on_past
from usher.core.policy_file import parse_policy

WAITING = parse_policy("""
[admission]
default = "ask"
invitation_code = "code"
signups_per_domain = "1/h"
[[role]]
grant = "member"
""")
OPEN = parse_policy('[[role]]\ngrant = "member"')
COUNTING = (INVITED, LIMITED, WAITING)
SECOND = timedelta(seconds=1)


@st.composite
def pasts(draw: st.DrawFn) -> list[DatedEvent]:
    """Events of some people in order of receipt; nobody asks to be let in after a login."""
    names = st.sampled_from(["validate", "signup", "signup", "login"])
    given = st.sampled_from([None, None, ONCE, PUPIL, THRICE, "WRONG-AAAA-BBBB"])
    drawn = draw(st.lists(st.tuples(names, st.integers(0, 4), given), max_size=12))
    logged_in: set[int] = set()
    past: list[DatedEvent] = []
    for at, (name, who, code) in enumerate(drawn):
        if name == "login":
            logged_in.add(who)
        elif name == "validate" and who in logged_in:
            continue
        past.append((event(name, who, at, code), NOON + at * SECOND))
    return past


def person_by_person(
    past: Sequence[DatedEvent], policy: FilePolicy, counts: PastCounts
) -> Iterator[tuple[str, Decision]]:
    """The decisions as a trial makes them, with the ids of their events."""
    for history in histories(past):
        user: User | None = None
        for each, moment in history:
            mine = counts.get(each.user.id, {}).get(each.delivery_id, NOTHING)
            decision = decide(each, user, policy, moment, None, mine, audited=False)
            user = decision.user
            yield each.delivery_id, decision


def histories(past: Sequence[DatedEvent]) -> list[list[DatedEvent]]:
    """The past of each person."""
    found: dict[object, list[DatedEvent]] = {}
    for each in past:
        found.setdefault(each[0].user.id, []).append(each)
    return list(found.values())


def came_to(decision: Decision) -> tuple[bool, frozenset[str], str]:
    """Whether somebody is in, with which roles, and the rule that decided."""
    user = decision.user
    held = effective(user.grants, NOON) if user else frozenset[str]()
    return decision.outcome is Outcome.DENIED, held, user.status if user else ""


def require_as_live(past: list[DatedEvent], policy: FilePolicy) -> None:
    """A trial counts as the pipeline does."""
    world = World(policy)
    live = {each.delivery_id: world.decide(each) for each, _ in past}
    (counts,) = recount(past, CODES, [policy])
    tried = dict(person_by_person(past, policy, counts))
    assert {key: came_to(one) for key, one in tried.items()} == {
        key: came_to(one) for key, one in live.items()
    }


@settings(max_examples=examples(200))
@given(pasts(), st.sampled_from(COUNTING))
def test_counted_once_and_decided_person_by_person_as_live(
    past: list[DatedEvent], policy: FilePolicy
) -> None:
    """People compete in order of receipt, in a trial as in the pipeline."""
    require_as_live(past, policy)


@pytest.mark.parametrize("policy", COUNTING)
def test_events_that_come_again_count_as_live(policy: FilePolicy) -> None:
    """A validate or a signup of somebody who is in, a login, and a second person with the code."""
    told = [
        ("validate", 0, ONCE), ("signup", 0, ONCE), ("validate", 0, ONCE), ("signup", 0, ONCE),
        ("validate", 1, ONCE), ("signup", 1, ONCE), ("login", 0, None), ("signup", 2, THRICE),
        ("signup", 3, None),
    ]  # fmt: skip
    past = [
        (event(name, who, at, code), NOON + at * SECOND)
        for at, (name, who, code) in enumerate(told)
    ]
    require_as_live(past, policy)


@settings(max_examples=examples(100))
@given(pasts(), st.sampled_from(COUNTING))
def test_a_counting_policy_tried_against_itself_changes_nothing(
    past: list[DatedEvent], policy: FilePolicy
) -> None:
    """Both have the same codes and places."""
    counted = recount(past, CODES, [policy, policy])
    assert not try_on_past(histories(past), policy, policy, counted).differences


@settings(max_examples=examples(100))
@given(pasts(), st.sampled_from(COUNTING))
def test_a_trial_of_a_counting_policy_tells_each_refusal(
    past: list[DatedEvent], policy: FilePolicy
) -> None:
    """Against a policy that lets everybody in, as the old one or as the new one."""
    world = World(policy)
    refused = [world.decide(each).outcome for each, _ in past].count(Outcome.DENIED)
    for pair in ((policy, OPEN), (OPEN, policy)):
        found = try_on_past(histories(past), *pair, recount(past, CODES, pair))
        told = [
            group.count
            for group in found.differences.groups()
            if "denied" in group.was + group.now and group.what.startswith("admission")
        ]
        assert sum(told) == refused


def rules(past: Sequence[DatedEvent], policy: FilePolicy, codes: Sequence[object]) -> list[str]:
    """The outcome of each event, in order."""
    (counts,) = recount(past, codes, [policy])  # type: ignore[arg-type]
    tried = dict(person_by_person(past, policy, counts))
    return [tried[each.delivery_id].outcome.value for each, _ in past]


def test_a_code_is_revoked_when_it_was_revoked() -> None:
    """The signups before had it; codes that were used since begin unused."""
    past = [(event("signup", who, who, THRICE), NOON + who * SECOND) for who in range(3)]
    codes = [replace(code, used=code.allowed, revoked_at=NOON + 2 * SECOND) for code in CODES]
    assert rules(past, INVITED, codes) == ["applied", "applied", "denied"]


def test_a_code_ends_by_the_signed_time_of_the_event() -> None:
    """As live."""
    past = [(event("signup", who, who, THRICE), NOON) for who in range(3)]
    codes = [replace(code, ends_at=NOON + SECOND) for code in CODES]
    assert rules(past, INVITED, codes) == ["applied", "denied", "denied"]


def test_the_roles_of_a_code_are_had_by_those_who_used_it() -> None:
    """Against a policy without codes, the second one to give the code is no different."""
    past = [(event("signup", who, who, PUPIL), NOON) for who in range(3)]
    pair = (OPEN, parse_policy('[admission]\ninvitation_code = "code"\n[[role]]\ngrant="member"'))
    found = try_on_past(histories(past), *pair, recount(past, CODES, pair)).differences.groups()
    assert [(g.what, g.was, g.now, g.count) for g in found] == [
        ("role 'pupil'", "not had", "had", 2)
    ]


def test_nothing_is_read_where_no_policy_counts() -> None:
    """Such trials cost what they did."""
    unread = map(pytest.fail, ["read"])
    assert recount(unread, (), [OPEN, OPEN]) == [UNCOUNTED, UNCOUNTED]


def test_waiting_instead_of_entering_is_told_with_the_roles_that_are_missing() -> None:
    """``default = "ask"`` against ``"allow"``, decided from the events on."""
    people = [
        [(event(name, who, at), NOON) for at, name in enumerate(("validate", "signup", "login"))]
        for who in range(2)
    ]
    asks = parse_policy("""
    [admission]
    default = "ask"
    allow_emails = ["p1@example.com"]
    [[role]]
    grant = "member"
    """)
    found = try_on_past(people, OPEN, asks).differences.groups()
    assert [(g.what, g.was, g.now, g.count) for g in found] == [
        ("admission at login", "admitted", "waiting", 1),
        ("admission at signup", "admitted", "waiting", 1),
        ("role 'member'", "had", "not had", 1),
    ]
