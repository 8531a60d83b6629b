"""Codes and quotas over whole histories: any order, any duplication, any split into batches."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import T0, message
from tests.support import NOON, account
from usher.core.domain.book import Book, digests_in, gives_code, places_in
from usher.core.domain.codes import Code, CodeState, digest_of
from usher.core.domain.counted import CODE_MESSAGE, FULL_MESSAGE
from usher.core.domain.counting import NOTHING
from usher.core.domain.decide import decide
from usher.core.domain.events import Event, parse_event
from usher.core.domain.records import Decision, Grant, Key, Outcome, Source, Status, User
from usher.core.domain.roles import effective
from usher.core.domain.rules import FilePolicy
from usher.core.jws import Claims
from usher.core.policy_file import parse_policy
from usher.emulator.payload import ZERO_INSTANCE, event_body

INVITED = parse_policy("""
[admission]
default = "deny"
message = "For invited people."
deny_email_domains = ["bad.example"]
invitation_code = "code"

[[role]]
grant = "member"
""")
LIMITED = parse_policy("""
[admission]
signups_per_domain = "2/h"
invitation_code = "code"
""")
ONCE, THRICE, PUPIL = "ONCE-AAAA-BBBB-CCCC", "THRICE-AAAA-BBBB", "PUPIL-AAAA-BBBB-CC"
HOUR = timedelta(hours=1)


def code(spelling: str, **fields: Any) -> Code:
    """A code that one account may use."""
    number = int(hashlib.sha256(spelling.encode()).hexdigest()[:32], 16)
    values: dict[str, Any] = {"allowed": 1, "used": 0, "roles": ()}
    return Code(
        id=UUID(int=number),
        digest=digest_of(spelling),
        label="",
        created_at=NOON,
        created_by="cli:ada",
        **(values | fields),
    )


CODES = (
    code(ONCE),
    code(THRICE, allowed=3),
    code(PUPIL, allowed=2, roles=("pupil",), roles_until=NOON + HOUR),
)


def person(number: int) -> UUID:
    """The id of the nth person."""
    return UUID(int=number + 1)


def event(name: str, who: int = 0, at: int = 0, given: object = None, **fields: Any) -> Event:
    """An event of the nth person, ``at`` seconds after noon."""
    metadata = {} if given is None else {"code": given}
    fields.setdefault("email", f"p{who}@example.com")
    body = event_body(name, account(user_id=person(who), user_metadata=metadata, **fields))
    claims = Claims(ZERO_INSTANCE, T0 + at, hashlib.sha256(body).hexdigest(), 0)
    parsed = parse_event(body, claims)
    assert isinstance(parsed, Event)
    return parsed


class World:
    """Records and a book, as a store would keep them."""

    def __init__(self, policy: FilePolicy, codes: Iterable[Code] = CODES) -> None:
        assert policy.counting is not None
        self.policy = policy
        self.users: dict[Key, User] = {}
        self.book = Book(policy.counting, codes={each.digest: each for each in codes})

    def decide(self, event: Event) -> Decision:
        """Decide an event, and keep what follows."""
        key = (event.instance_id, event.user.id)
        counts = self.book.counts(event)
        decision = decide(event, self.users.get(key), self.policy, NOON, None, counts)
        self.book.note(event, counts, decision)
        if decision.user is not None:
            self.users[key] = decision.user
        return decision

    def all(self, events: Iterable[Event]) -> list[Outcome]:
        """Decide events in this order."""
        return [self.decide(each).outcome for each in events]

    def user(self, who: int = 0) -> User:
        """The nth person's record."""
        return self.users[ZERO_INSTANCE, person(who)]

    def state(self, spelling: str) -> Code:
        """A code as it stands."""
        return self.book.codes[digest_of(spelling)]


# --- codes ---------------------------------------------------------------------------------------


def test_a_validate_looks_at_a_code_and_a_signup_uses_it() -> None:
    """The account that a validate announces may never come to be."""
    world = World(INVITED)
    validated = world.decide(event("validate", given="once aaaa bbbb cccc"))
    assert (validated.outcome, validated.uses) == (Outcome.APPLIED, None)
    assert world.state(ONCE).used == 0
    entered = world.decide(event("signup", given=ONCE))
    assert entered.outcome is Outcome.APPLIED
    assert world.state(ONCE).used == 1
    assert world.user().status is Status.ACTIVE
    assert effective(world.user().grants, NOON) == {"member"}
    rules = [reason.rule for reason in entered.reasons]
    assert rules[:2] == ["admission.invitation_code", "code.used"]
    assert all("ONCE" not in reason.text for reason in entered.reasons)


def test_a_code_that_is_used_up_admits_nobody_else() -> None:
    """The sentence says that it is not valid."""
    world = World(INVITED)
    world.all([event("signup", 0, given=ONCE)])
    for name in ("validate", "signup"):
        refused = world.decide(event(name, 1, given=ONCE))
        assert message(refused.reply) == CODE_MESSAGE
    assert world.book.refused == 2


def test_an_account_that_used_a_code_is_not_asked_for_another_use() -> None:
    """A second signup of it, with other bytes, enters again, and gives nothing a second time."""
    world = World(INVITED)
    world.decide(event("signup", given=PUPIL))
    taken = replace(world.user(), grants=())
    world.users[ZERO_INSTANCE, person(0)] = taken
    again = world.decide(event("signup", at=5, given=PUPIL))
    assert again.outcome is Outcome.APPLIED
    assert world.state(PUPIL).used == 1
    assert effective(world.user().grants, NOON) == {"member"}


def test_the_roles_of_a_code_are_an_administrators_grants() -> None:
    """With the code as the actor, and the end that it was made with."""
    world = World(INVITED)
    decision = world.decide(event("signup", given=PUPIL))
    made = next(each for each in world.user().grants if each.role == "pupil")
    assert made == Grant(
        "pupil",
        Source.ADMINISTRATOR,
        NOON,
        actor=f"code:{code(PUPIL).id}",
        expires_at=NOON + HOUR,
    )
    assert decision.reply.app_metadata is not None
    assert decision.reply.app_metadata["roles"] == ["member", "pupil"]


def test_a_code_gives_its_roles_where_everybody_may_enter() -> None:
    """Otherwise whoever had one would be worse off than without a policy that needs it."""
    world = World(LIMITED)
    world.decide(event("signup", 0, given=PUPIL))
    assert effective(world.user(0).grants, NOON) == {"pupil"}
    world.decide(event("signup", 1, given=THRICE))  # gives nothing, so nothing is used
    assert (world.state(PUPIL).used, world.state(THRICE).used) == (1, 0)


@pytest.mark.parametrize("source", [Source.ADMINISTRATOR, Source.IDENTITY])
def test_a_code_lifts_no_denial(source: Source) -> None:
    """What an administrator took away stays away."""
    world = World(INVITED)
    world.decide(event("validate", given=PUPIL))
    denial = Grant("pupil", source, NOON, denies=True, actor="user:1")
    pending = replace(world.user(), grants=(denial,))
    world.users[ZERO_INSTANCE, person(0)] = pending
    world.decide(event("signup", given=PUPIL))
    assert "pupil" not in effective(world.user().grants, NOON)
    assert denial in world.user().grants


def test_roles_for_which_there_is_no_room_are_not_given() -> None:
    """The person enters, and a reason says so."""
    world = World(INVITED)
    world.decide(event("validate", given=PUPIL))
    full = tuple(Grant(f"r{n:02}", Source.IDENTITY, NOON) for n in range(100))
    world.users[ZERO_INSTANCE, person(0)] = replace(world.user(), grants=full)
    decision = world.decide(event("signup", given=PUPIL))
    assert decision.outcome is Outcome.APPLIED
    assert any("none of its roles" in reason.text for reason in decision.reasons)
    assert "pupil" not in {each.role for each in world.user().grants}


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (CodeState.ENDED, {"ends_at": NOON}),
        (CodeState.REVOKED, {"revoked_at": NOON}),
        (CodeState.USED_UP, {"used": 1}),
    ],
)
def test_a_code_that_is_over_admits_nobody(state: CodeState, changes: dict[str, Any]) -> None:
    """Each is told in a reason of its own."""
    world = World(INVITED, [code(ONCE, **changes)])
    counts = world.book.counts(event("signup", given=ONCE))
    assert counts.state is state
    assert world.decide(event("signup", given=ONCE)).outcome is Outcome.DENIED


@pytest.mark.parametrize("given", ["nothing of the kind", 5, ["x"], {"a": 1}, True])
def test_what_is_no_code_is_refused_as_one(given: object) -> None:
    """Whatever a person typed."""
    world = World(INVITED)
    assert message(world.decide(event("signup", given=given)).reply) == CODE_MESSAGE


def test_a_blank_code_is_none() -> None:
    """The person reads the policy's own sentence."""
    world = World(INVITED)
    for blank in (None, "", "  "):
        assert message(world.decide(event("signup", given=blank)).reply) == "For invited people."


def test_a_code_opens_no_deny_list() -> None:
    """And is not used up there."""
    world = World(INVITED)
    refused = world.decide(event("signup", given=ONCE, email="x@bad.example"))
    assert refused.outcome is Outcome.DENIED
    assert world.state(ONCE).used == 0


def test_other_events_ask_for_no_code() -> None:
    """A login looks at nothing of it."""
    world = World(INVITED)
    for name in ("login", "usermodified", "userdeleted"):
        each = event(name, given=ONCE)
        assert world.book.counts(each) is NOTHING
        assert not gives_code(each, world.book.counting)
        assert digests_in([each], world.book.counting) == set()
        assert places_in([each], world.book.counting) == set()
    assert not gives_code(event("signup"), world.book.counting)


NAMES = st.sampled_from(["validate", "signup", "signup", "login", "usermodified", "userdeleted"])
SPELLINGS = st.sampled_from([ONCE, THRICE, PUPIL, "wrong", None])
HISTORY = st.lists(st.tuples(NAMES, st.integers(0, 5), st.integers(0, 9), SPELLINGS), max_size=25)


@given(HISTORY, st.randoms())
def test_no_code_admits_more_accounts_than_it_may(
    drawn: Sequence[tuple[str, int, int, str | None]], random: Any
) -> None:
    """Under any order and duplication, and an account that is deleted has used it for good."""
    world = World(INVITED)
    events = [event(*each) for each in drawn]
    events += random.choices(events, k=len(events) // 2) if events else []
    random.shuffle(events)
    for each in events:
        decision = world.decide(each)
        if decision.uses is not None and decision.uses.code is not None:
            assert decision.outcome is Outcome.APPLIED
    users = Counter(used.id for used, _ in world.book.new_uses)
    assert len(set(world.book.new_uses)) == len(world.book.new_uses)
    for made in world.book.codes.values():
        assert made.used == users[made.id] <= made.allowed


@given(HISTORY)
def test_nobody_enters_at_a_signup_without_a_code_of_their_own(
    drawn: Sequence[tuple[str, int, int, str | None]],
) -> None:
    """Where codes are the only way in, an admitted signup has used one."""
    world = World(INVITED)
    for each in (event(*one) for one in drawn):
        before = world.users.get((each.instance_id, each.user.id))
        decision = world.decide(each)
        gone = before is not None and before.status is Status.DELETED
        if each.name == "signup" and decision.outcome is not Outcome.DENIED and not gone:
            assert any(key[1] == each.user.id for _, key in world.book.used)


# --- quotas --------------------------------------------------------------------------------------


def test_a_person_is_counted_once_at_the_first_event_that_admits_them() -> None:
    """A validate takes the place, and the signup keeps it."""
    world = World(LIMITED)
    for who in range(2):
        world.all([event("validate", who), event("signup", who, 9), event("signup", who, 30)])
    assert list(world.book.tallies.values()) == [2]
    refused = world.decide(event("validate", 2))
    assert message(refused.reply) == FULL_MESSAGE
    assert refused.address_key == "p2@example.com"
    assert world.decide(event("validate", 3, email="x@other.example")).outcome is Outcome.APPLIED
    assert world.decide(event("validate", 2, created_at=NOON + HOUR)).outcome is Outcome.APPLIED


def test_somebody_with_a_code_takes_no_place_where_the_code_admits_them() -> None:
    """A class that signs up in one hour is not stopped by the quota of its school."""
    policy = parse_policy("""
[admission]
default = "deny"
allow_email_domains = ["example.com"]
invitation_code = "code"
signups_per_domain = "1/h"
""")
    world = World(policy)
    for who in range(3):
        each = event("signup", who, given=THRICE, email=f"p{who}@school.example")
        assert world.decide(each).outcome is Outcome.APPLIED
    assert world.book.tallies == {}


def test_addresses_that_cannot_be_read_are_counted_together() -> None:
    """Else each of them would be a way around the quota."""
    world = World(LIMITED)
    emails = ["<a@b.c> <d@e.f>", "x y@z", "no at sign"]
    outcomes = world.all(event("signup", n, email=each) for n, each in enumerate(emails))
    assert outcomes == [Outcome.APPLIED, Outcome.APPLIED, Outcome.DENIED]


def test_an_event_without_a_time_of_creation_counts_by_its_own() -> None:
    """The signed ``iat`` stands in."""
    world = World(LIMITED)
    none = event("validate", created_at=NOON)
    none = replace(none, user=replace(none.user, created_at=None), issued_at=T0 + 7_200)
    (place,) = places_in([none], world.book.counting)
    assert place.begins == T0 + 7_200


PEOPLE = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 2), st.sampled_from(["v", "s", "vs", "vss", "vsl"])
    ),
    max_size=9,
)


def history(people: Sequence[tuple[int, int, str]]) -> list[Event]:
    """The events of people, each of a domain and an hour."""
    names = {"v": "validate", "s": "signup", "l": "login"}
    return [
        event(
            names[step], who, at, email=f"p{who}@d{domain}.example", created_at=NOON + hour * HOUR
        )
        for who, (domain, hour, steps) in enumerate(people)
        for at, step in enumerate(steps)
    ]


@given(PEOPLE, st.randoms())
def test_at_most_so_many_people_a_window_and_the_same_number_in_every_order(
    people: Sequence[tuple[int, int, str]], random: Any
) -> None:
    """Under any order, with events that come twice."""
    events = history(people)
    events += random.choices(events, k=3) if events else []
    numbers = []
    for _ in range(2):
        random.shuffle(events)
        world = World(LIMITED)
        world.all(events)
        admitted = Counter(
            people[user.id.int - 1][:2] for user in world.users.values() if user.counted
        )
        assert all(number <= 2 for number in admitted.values())
        assert Counter(world.book.tallies.values()) == Counter(admitted.values())
        numbers.append(admitted)
    wanted = Counter(person[:2] for person in people)
    assert numbers[0] == numbers[1] == {each: min(2, number) for each, number in wanted.items()}


# --- codes beside people who wait ----------------------------------------------------------------

ASKING = parse_policy("""
[admission]
default = "ask"
invitation_code = "code"

[[role]]
grant = "member"
""")


def test_a_code_lets_somebody_in_who_waits_already() -> None:
    """An administrator made it, so it is an approval; it settles the record whatever came first."""
    for names in (("signup", "login"), ("login", "signup"), ("usermodified", "login", "signup")):
        world = World(ASKING)
        for at, name in enumerate(names):
            world.decide(event(name, at=at, given=PUPIL))
        assert world.user().status is Status.ACTIVE
        assert effective(world.user().grants, NOON) == {"member", "pupil"}
        assert world.state(PUPIL).used == 1


def test_somebody_whose_code_is_no_good_waits_like_everybody_else() -> None:
    """And has no role, of the code or of the policy."""
    world = World(ASKING, [code(PUPIL, used=1, roles=("pupil",))])
    decision = world.decide(event("signup", given=PUPIL))
    assert world.user().status is Status.WAITING
    assert world.user().grants == ()
    assert decision.reasons[0].rule == "admission.invitation_code"
    assert decision.uses is None


@given(HISTORY, st.randoms())
def test_no_role_before_approval_or_a_code_of_ones_own(
    drawn: Sequence[tuple[str, int, int, str | None]], random: Any
) -> None:
    """Under any order and duplication: who waits has no role, and who is in has used a code."""
    world = World(ASKING)
    events = [event(*each) for each in drawn]
    events += random.choices(events, k=3) if events else []
    random.shuffle(events)
    for each in events:
        decision = world.decide(each)
        user = decision.user
        assert user is not None
        if user.status is Status.WAITING:
            assert not effective(user.grants, NOON)
            told = decision.reply.app_metadata
            assert told is None or not told.get("roles")
        if user.status is Status.ACTIVE:
            assert any(key == (user.instance_id, user.id) for _, key in world.book.used)


@given(HISTORY, st.randoms())
def test_with_uses_to_spare_the_order_of_events_does_not_matter(
    drawn: Sequence[tuple[str, int, int, str | None]], random: Any
) -> None:
    """Who is in, who waits and with which roles is the same in every order."""
    events = [event(*each) for each in drawn if each[0] != "userdeleted"]
    found = []
    for _ in range(2):
        random.shuffle(events)
        world = World(ASKING, [replace(each, allowed=99) for each in CODES])
        world.all(events)
        found.append(
            {key: (user.status, effective(user.grants, NOON)) for key, user in world.users.items()}
        )
    assert found[0] == found[1]
