"""What a handler may change of a record, and what it may not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import ASKING, NOON, after, event, moment
from tests.profiles import examples
from usher.core.bounds import MAX_GRANTS, MAX_WRITTEN_BYTES
from usher.core.captures.replay import redo
from usher.core.domain.administration import grant_role, revoke_role, suspend_user
from usher.core.domain.decide import decide
from usher.core.domain.handler_writes import (
    ACTION,
    CIRCLE,
    apply_write,
    left_by,
    require_no_circle,
    require_valid,
)
from usher.core.domain.outbox import Kind, Write, changes_of, person_of
from usher.core.domain.policy import RESERVED_APP_METADATA
from usher.core.domain.records import Grant, Source, Status, User, audit
from usher.core.domain.roles import effective
from usher.core.domain.unconfirmed import is_decided
from usher.core.domain.written import Written, untold_keys
from usher.core.errors import (
    HandlersCircleError,
    MetadataInvalidError,
    RoleInvalidError,
    UserWaitingError,
)

BILLING, CRM = "handler:site.billing", "handler:site.crm"
LATER = NOON + timedelta(minutes=5)


@pytest.fixture
def ada() -> User:
    """She has the policy's roles, and some metadata of her own."""
    found = after([event("login", roles=["member", "staff"], user_metadata={"full_name": "Ada"})])
    assert found is not None
    return found


def write(user: User, *, by: str = BILLING, **parts: Any) -> User:
    """The record after a handler's write."""
    made = Write(**parts)
    require_valid(made, "admin")
    return apply_write(user, made, by, LATER, "after user.confirmed")


def _keys(part: str, keys: Any) -> Any:
    return {part: keys}


def roles(user: User) -> set[str]:
    """The effective ones."""
    return set(effective(user.grants, LATER))


# --- roles ---------------------------------------------------------------------------------------


def test_a_role_of_a_handler_has_its_own_source_and_names_its_author(ada: User) -> None:
    """As the policy's and an administrator's have."""
    (given,) = (g for g in write(ada, grant=("customer",)).grants if g.role == "customer")
    reason = "after user.confirmed"
    assert given == Grant("customer", Source.HANDLER, LATER, actor=BILLING, reason=reason)


@pytest.mark.parametrize("role", ["", " editor", "e\x00", "x" * 101])
def test_a_handler_gives_no_role_that_is_none(role: str) -> None:
    """Nor takes one."""
    for made in (Write(grant=(role,)), Write(revoke=(role,))):
        with pytest.raises(RoleInvalidError, match="cannot be a role"):
            require_valid(made, "admin")


@pytest.mark.parametrize("role", ["admin", "boss"])
def test_a_handler_never_touches_the_administrators_role(role: str) -> None:
    """Whatever that role is called."""
    for made in (Write(grant=("a", role)), Write(revoke=(role,))):
        with pytest.raises(RoleInvalidError, match="administrators' role"):
            require_valid(made, role)


def test_a_role_cannot_be_given_and_taken_in_one_write(ada: User) -> None:
    """Nobody could tell which of the two was meant."""
    with pytest.raises(RoleInvalidError, match="given and taken"):
        write(ada, grant=("editor",), revoke=("editor",))


def test_a_handler_takes_away_only_what_it_gave(ada: User) -> None:
    """Neither the policy's nor an administrator's roles, nor those of another handler."""
    user = grant_role(ada, "editor", actor="cli", now=NOON)
    user = write(user, by=CRM, grant=("customer",))
    assert write(user, revoke=("editor", "member", "customer", "nobody")) is user
    assert roles(write(user, by=CRM, revoke=("customer",))) == roles(user) - {"customer"}
    both = write(user, by=CRM, grant=("editor",))
    assert "editor" in roles(write(both, by=CRM, revoke=("editor",)))


def test_a_role_stays_with_the_handler_that_gave_it_first(ada: User) -> None:
    """Another one that gives it, too, changes nothing."""
    user = write(ada, grant=("customer",))
    assert write(user, by=CRM, grant=("customer",)) is user
    assert write(user, grant=("customer",)) is user


def test_a_handler_lifts_no_denial(ada: User) -> None:
    """Neither an administrator's, nor Identity's, nor its own role's after it was taken away."""
    by_hand = revoke_role(ada, "staff", actor="cli", now=NOON)
    there = after([event("usermodified", 60, roles=["member"], confirmed_at=NOON)], ada)
    assert there is not None
    for user in (by_hand, there):
        assert "staff" not in roles(write(user, grant=("staff",)))
    taken = revoke_role(write(ada, grant=("customer",)), "customer", actor="cli", now=LATER)
    assert "customer" not in roles(taken)
    assert "customer" not in roles(write(taken, grant=("customer",)))
    given = grant_role(taken, "customer", actor="cli", now=LATER)
    assert "customer" in roles(write(given, revoke=("customer",)))


def test_identity_takes_away_a_role_of_a_handler_for_good(ada: User) -> None:
    """As it does one of the policy's: its denial lies over it."""
    user = write(ada, grant=("customer",))
    shows = event("usermodified", 400, roles=["customer", "member", "staff"], confirmed_at=NOON)
    gone = event("usermodified", 500, roles=["member", "staff"], confirmed_at=NOON)
    user = after([shows, gone], user, now=LATER) or user
    assert roles(user) == {"member", "staff"}
    assert roles(write(user, grant=("customer",))) == {"member", "staff"}


def test_nobody_who_waits_is_let_in_by_a_handler() -> None:
    """Neither by a role while they wait, nor by one given before the account was confirmed."""
    waiting = after([event("login", email="eve@else.example")], policy=ASKING)
    assert waiting is not None
    assert waiting.status is Status.WAITING
    with pytest.raises(UserWaitingError):
        write(waiting, grant=("customer",))
    assert write(waiting, app_metadata={"crm": 1}).extra_app_metadata == {"crm": 1}
    pending = after([event("validate", email="eve@else.example")], policy=ASKING)
    assert pending is not None
    early = write(pending, grant=("customer",))
    entered = after([event("login", 60, email="eve@else.example")], early, ASKING)
    assert entered is not None
    assert (entered.status, roles(entered)) == (Status.WAITING, set())


def test_a_suspended_person_is_still_written_to(ada: User) -> None:
    """What holds is told to nobody until they are let in again."""
    suspended = suspend_user(ada, now=NOON)
    user = write(suspended, grant=("customer",), app_metadata={"crm": 1})
    assert user.status is Status.SUSPENDED


def test_the_number_of_roles_has_a_limit(ada: User) -> None:
    """The same as for administrators."""
    many = tuple(f"r{number}" for number in range(MAX_GRANTS))
    with pytest.raises(RoleInvalidError, match=str(MAX_GRANTS)):
        write(ada, grant=many)


# --- metadata ------------------------------------------------------------------------------------


def test_handlers_that_answer_each_other_are_stopped() -> None:
    """Only where all of the newest changes are theirs; anything between begins anew."""
    ours = [(ACTION, f"handler:{name}") for name in ("b", "a")] * (CIRCLE // 2)
    for acts in ([], ours[1:], [*ours[1:], ("user.changed", "identity")]):
        require_no_circle(acts)
    with pytest.raises(HandlersCircleError, match=f"last {CIRCLE} .* by handlers: a, b\\."):
        require_no_circle(ours)


def test_keys_of_app_metadata_go_where_administrators_keys_go(ada: User) -> None:
    """Into every reply; null takes a key out of it. A value is written whole."""
    user = write(ada, app_metadata={"crm": {"id": 1, "x": 2}})
    user = write(user, app_metadata={"crm": {"id": 7}, "plan": None})
    assert user.extra_app_metadata == {"crm": {"id": 7}, "plan": None}
    reply = decide(event("login", 400, app_metadata={"plan": "free"}), user, ASKING, LATER).reply
    assert reply.app_metadata is not None
    assert (reply.app_metadata["crm"], "plan" in reply.app_metadata) == ({"id": 7}, False)


@pytest.mark.parametrize("key", [*sorted(RESERVED_APP_METADATA), "Authorization", "role\u017f"])
def test_reserved_keys_are_refused(ada: User, key: str) -> None:
    """Roles have grant=; in user_metadata they mean nothing, and the person may write them."""
    for value in (["admin"], {"roles": ["admin"]}, None):
        with pytest.raises(MetadataInvalidError, match=f"{key} of app_metadata cannot be written"):
            write(ada, app_metadata={key: value})
    assert write(ada, user_metadata={key: ["admin"]}).grants == ada.grants


@pytest.mark.parametrize("part", ["app_metadata", "user_metadata"])
@pytest.mark.parametrize(
    "value", ["x" * MAX_WRITTEN_BYTES, float("nan"), {1, 2}, "a\x00b", {1: 2}, NOON]
)
def test_what_cannot_travel_is_refused(ada: User, part: str, value: Any) -> None:
    """As an administrator's is: too large, not JSON, or not to be stored."""
    with pytest.raises(MetadataInvalidError, match=part):
        write(ada, **_keys(part, {"k": value}))


@pytest.mark.parametrize("part", ["app_metadata", "user_metadata"])
def test_all_keys_together_have_a_limit(ada: User, part: str) -> None:
    """Many small writes are no way round it."""
    user = write(ada, **_keys(part, {"a": "x" * (MAX_WRITTEN_BYTES - 100)}))
    with pytest.raises(MetadataInvalidError, match=part):
        write(user, by=CRM, **_keys(part, {"b": "x" * 100}))


def test_user_metadata_is_on_record_at_once(ada: User) -> None:
    """An event that cannot show it yet takes nothing of it away."""
    user = write(ada, user_metadata={"crm": 1, "full_name": None})
    assert user.user_metadata == {"crm": 1}
    assert untold_keys(user.written) == {"crm": 1, "full_name": None}
    shown = after([event("usermodified", 400, user_metadata={"full_name": "A"})], user, now=LATER)
    assert shown is not None
    assert shown.user_metadata == {"crm": 1}


def test_the_same_write_again_changes_nothing(ada: User) -> None:
    """So that two handlers that answer each other come to an end."""
    parts: dict[str, Any] = {
        "app_metadata": {"plan": 1}, "user_metadata": {"crm": 1}, "grant": ("customer",)
    }  # fmt: skip
    user = write(ada, **parts)
    assert write(user, **parts) is user
    assert write(user, by=CRM, grant=("customer",)) is user
    assert write(ada) is ada


def test_a_key_that_was_removed_and_told_is_forgotten(ada: User) -> None:
    """Keys that come and go do not fill the room there is."""
    user = write(ada, user_metadata={"crm": None})
    assert user.written is not None
    told = replace(user, written=user.written.told({"crm": None}, LATER - timedelta(minutes=1)))
    again = write(told, user_metadata={"other": 1})
    assert again.written is not None
    assert set(again.written.user_metadata) == {"other"}


def test_a_value_is_told_only_once_it_is_the_one_that_was_told(ada: User) -> None:
    """A push that wrote an older one, or 1 for true, settles nothing."""
    user = write(ada, user_metadata={"crm": True})
    assert user.written is not None
    for old in ({"crm": 1}, {"crm": None}, {"else": True}):
        assert user.written.told(old, LATER) == user.written
    assert user.written.told({"crm": True}, LATER) != user.written


@pytest.mark.parametrize(
    ("name", "seconds", "shown"),
    [("login", 5, 1), ("usermodified", 5, 2), ("login", 21, 2)],
)
def test_a_login_soon_after_may_show_what_was_read_before(
    ada: User, name: str, seconds: int, shown: int
) -> None:
    """The account is read before the password is checked, and an event of a change after it."""
    user = write(ada, user_metadata={"crm": 1})
    assert user.written is not None
    user = replace(user, written=user.written.told({"crm": 1}, LATER))
    then = LATER + timedelta(seconds=seconds)
    sent = event(name, 300 + seconds, user_metadata={"crm": 2}, confirmed_at=NOON)
    found = after([sent], user, now=then)
    assert found is not None
    assert found.user_metadata["crm"] == shown


# --- what others see of it -----------------------------------------------------------------------


def test_a_person_shows_what_handlers_wrote_and_not_what_the_person_made_of_it(ada: User) -> None:
    """Nobody names somebody else's customer, to have it removed with their own account."""
    user = write(ada, app_metadata={"plan": 1, "gone": None}, user_metadata={"crm": 7})
    assert user.written is not None
    user = replace(user, written=user.written.told({"crm": 7}, NOON))
    theirs = event("login", 900, user_metadata={"crm": 8, "plan": 9})
    user = after([theirs], user, now=moment(900)) or user
    assert user.user_metadata["crm"] == 8
    assert person_of(user, LATER).written == {"plan": 1, "crm": 7}
    assert person_of(ada, LATER).written == {}


def test_the_notes_come_back_from_their_document(ada: User) -> None:
    """As the record keeps them."""
    user = write(ada, app_metadata={"plan": 1}, user_metadata={"crm": 7, "gone": None})
    assert user.written is not None
    notes = user.written.told({"crm": 7}, NOON)
    assert Written.read(notes.document()) == notes
    assert notes.document()["app"] == {"plan": "site.billing"}
    assert notes.document()["user"]["crm"] == [7, "site.billing", int(NOON.timestamp())]


def test_a_write_is_told_as_a_change_by_the_handler(ada: User) -> None:
    """To all others; its own are not handed to it."""
    user = write(ada, app_metadata={"plan": 1}, grant=("customer",))
    entry = audit(ACTION, BILLING, ada, user, LATER, "after user.confirmed")
    assert entry is not None
    told = [(each.kind, each.role, each.actor) for each in changes_of(entry)]
    assert told == [(Kind.USER_CHANGED, "", BILLING), (Kind.ROLE_GRANTED, "customer", BILLING)]


@pytest.mark.parametrize("name", ["login", "usermodified"])
def test_the_arrival_of_a_key_at_identity_is_no_change(ada: User, name: str) -> None:
    """Else a handler would be told of its own write in another's name, and perhaps write again."""
    user = write(ada, app_metadata={"plan": 2}, user_metadata={"crm": 1})
    for at, shown in ((400, {"plan": 1}), (410, {"plan": 2}), (420, {})):
        sent = event(
            name, at, app_metadata={"provider": "email", "roles": ["member", "staff"], **shown},
            user_metadata={"full_name": "Ada"}, confirmed_at=NOON,
        )  # fmt: skip
        found = decide(sent, user, ASKING, moment(at))
        assert found.audit is None or "app_metadata" not in found.audit.after
        assert found.audit is None or "user_metadata" not in found.audit.after
        assert found.user is not None
        user = found.user
        assert user.app_metadata == {"provider": "email", **shown}


def test_what_a_handler_wrote_keeps_no_pending_record() -> None:
    """That is a decision of administrators alone."""
    pending = after([event("validate")])
    assert pending is not None
    by_handler = write(pending, app_metadata={"crm": 1}, grant=("customer",))
    assert not is_decided(by_handler)
    assert is_decided(replace(by_handler, extra_app_metadata={"crm": 1, "plan": "gold"}))


def test_a_write_that_comes_too_late_leaves_its_keys() -> None:
    """So that what a handler made elsewhere can still be found."""
    late = Write(app_metadata={"crm": 1, "x": None}, user_metadata={"seat": 2}, grant=("a",))
    assert left_by(late) == {"crm": 1, "seat": 2}


METADATA = st.dictionaries(st.sampled_from("ab"), st.sampled_from((1, True, {"x": 1}, None)))
WRITES = st.builds(
    Write,
    app_metadata=METADATA,
    user_metadata=METADATA,
    grant=st.sets(st.sampled_from(("r1", "r2"))).map(tuple),
    revoke=st.sets(st.sampled_from(("r3", "r4"))).map(tuple),
)


def live_and_replayed(writes: list[tuple[str, Write]]) -> tuple[User, User]:
    """The record after these writes, and after a replay of their entries."""
    live = after([event("login", roles=["member", "staff"])])
    assert live is not None
    replayed = live
    for number, (by, made) in enumerate(writes):
        at = NOON + timedelta(minutes=number)
        before, live = live, apply_write(live, made, by, at, "why")
        entry = audit(ACTION, by, before, live, at, "why")
        if entry is not None:
            replayed = redo(replayed, entry, "")
    return live, replayed


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.sampled_from((BILLING, CRM)), WRITES), max_size=4))
def test_a_replay_of_its_entries_gives_the_same_record(writes: list[tuple[str, Write]]) -> None:
    """Roles, keys, and who wrote them; what is told is not replayed."""
    live, replayed = live_and_replayed(writes)
    assert replayed.grants == live.grants
    assert replayed.user_metadata == live.user_metadata
    assert replayed.extra_app_metadata == live.extra_app_metadata
    there, here = person_of(live, NOON).written, person_of(replayed, NOON).written
    assert {key: there[key] for key in here} == here


def test_a_replay_tells_which_handler_wrote_a_key() -> None:
    """The last one, for a key of either map."""
    live, replayed = live_and_replayed(
        [
            (BILLING, Write(app_metadata={"id": 1}, user_metadata={"seat": 2})),
            (CRM, Write(app_metadata={"id": 3})),
        ]
    )
    for user in (live, replayed):
        assert user.written is not None
        assert user.written.app_metadata == {"id": CRM.removeprefix("handler:")}
        (seat,) = user.written.user_metadata.values()
        assert (seat.value, seat.handler) == (2, BILLING.removeprefix("handler:"))
