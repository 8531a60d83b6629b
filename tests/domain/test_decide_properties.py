"""What holds for any history: convergence, tombstones, denials, and nobody's grant lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import NAMES, NOON, POLICY, after, event, moment
from tests.profiles import examples
from usher.core.domain.administration import grant_role, revoke_role
from usher.core.domain.decide import decide
from usher.core.domain.events import Event
from usher.core.domain.records import Grant, Outcome, Source, Status, User
from usher.core.domain.roles import effective
from usher.core.policy_file import parse_policy

EMAILS = ("ada@example.com", "Ada@Example.com", "ada@other.org", "eve@bad.example")


WINDOWS = [
    parse_policy(
        f"""
        [admission]
        default = "{default}"
        [[rule]]
        {answer} = true
        from = {moment(1)}
        until = {moment(4)}
        [[role]]
        grant = "early"
        until = {moment(3)}
        [[role]]
        grant = "late"
        from = {moment(3)}
        [[role]]
        grant = "staff"
        email_domains = ["example.com"]
        from = {moment(2)}
        until = {moment(5)}
        """
    )
    for default in ("allow", "ask", "deny")
    for answer in ("allow", "ask", "deny")
]
"""The events are of some seconds; so are the windows of these."""


@st.composite
def events(draw: st.DrawFn, roles: tuple[str, ...] | None = None) -> Event:
    """Any event of Ada within a few seconds, so that ties and disorder are common."""
    fields: dict[str, Any] = {
        "email": draw(st.sampled_from(EMAILS)),
        "provider": draw(st.sampled_from(("email", "google"))),
        "proven": draw(st.booleans()),
        "user_metadata": draw(st.sampled_from((None, {"full_name": "Ada"}, {"n": 1}))),
        "updated_at": moment(draw(st.integers(0, 3))),
    }
    for name in ("confirmed_at", "invited_at", "recovery_sent_at"):
        if draw(st.booleans()):
            fields[name] = moment(draw(st.integers(0, 5)))
    if roles is not None:
        fields["roles"] = list(roles)
    return event(draw(st.sampled_from(NAMES)), draw(st.integers(0, 6)), **fields)


def state(user: User | None) -> tuple[Any, ...] | None:
    """What must not depend on the order of arrival."""
    if user is None:
        return None
    profile = (
        user.email,
        user.provider,
        user.user_metadata,
        user.app_metadata,
        user.identity_created_at,
        user.confirmed_at,
        user.last_seen_at,
        user.proven,
    )
    return user.status, profile, effective(user.grants, NOON), user.at_identity.seen


@settings(max_examples=examples(100))
@given(st.data())
def test_any_order_and_duplication_ends_the_same(data: st.DataObject) -> None:
    """Status, tombstone, profile and roles converge where nobody changed roles at Identity."""
    roles = data.draw(st.sampled_from(((), ("editor",), None)))
    history = data.draw(st.lists(events(roles), min_size=1, max_size=6))
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=3))
    shuffled = data.draw(st.permutations(repeated))
    assert state(after(shuffled)) == state(after(history))


@settings(max_examples=examples(100))
@given(st.data())
def test_any_order_ends_the_same_by_rules_with_windows(data: st.DataObject) -> None:
    """The signed times decide: who enters, who waits, which roles, and until when.

    Without roles from Identity: those that it shows of somebody who waits are given to nobody.
    """
    roles: tuple[str, ...] | None = data.draw(st.sampled_from(((), None)))
    history = data.draw(st.lists(events(roles), min_size=1, max_size=6))
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=3))
    policy = data.draw(st.sampled_from(WINDOWS))
    found = [after(each, policy=policy) for each in (data.draw(st.permutations(repeated)), history)]
    assert state(found[0]) == state(found[1])
    ends = [
        {(g.role, g.source, g.expires_at) for g in user.grants} if user else () for user in found
    ]
    assert ends[0] == ends[1]


@settings(max_examples=examples(100))
@given(st.data())
def test_any_order_ends_the_same_when_payloads_show_our_own_answers(data: st.DataObject) -> None:
    """Identity applies replies or rolls them back; later payloads show it; arrival is shuffled."""
    held: list[str] = data.draw(st.sampled_from(([], ["editor"])))
    user, history = None, []
    for at in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(("signup", "login", "usermodified")))
        proven = data.draw(st.booleans())
        history.append(event(name, at, roles=held, proven=proven, confirmed_at=moment(0)))
        found = decide(history[-1], user, POLICY, NOON)
        user = found.user
        if found.reply.app_metadata is not None and data.draw(st.booleans()):
            held = found.reply.app_metadata["roles"]
    shuffled = after(data.draw(st.permutations(history)))
    assert state(shuffled) == state(user)


@given(st.lists(events(), max_size=6), st.lists(events(), max_size=6))
def test_a_tombstone_never_comes_back(before: list[Event], later: list[Event]) -> None:
    """After a deletion no event changes anything, and no personal datum returns."""
    gone = after([*before, event("userdeleted", 3)])
    assert gone is not None
    assert after(later, gone) == gone
    assert (gone.email, gone.user_metadata, gone.grants, gone.proven) == ("", {}, (), frozenset())


@given(st.lists(events(), max_size=8), st.sampled_from(("editor", "member", "staff")))
def test_events_lose_no_administrators_word(history: list[Event], role: str) -> None:
    """Grants and denials of administrators stay on record through any events but a deletion."""
    start = after([event("signup", 0)])
    assert start is not None
    start = grant_role(start, role, actor="cli", now=NOON)
    start = revoke_role(start, "member" if role != "member" else "staff", actor="cli", now=NOON)
    ours = [g for g in start.grants if g.source is Source.ADMINISTRATOR]
    end = after(history, start)
    assert end is not None
    if end.status is not Status.DELETED:
        assert [g for g in end.grants if g.source is Source.ADMINISTRATOR] == ours


@given(st.lists(events(), max_size=6), events())
def test_the_policy_never_touches_peoples_grants(history: list[Event], last: Event) -> None:
    """Whatever the policy gives, the rest of the grants is what the merge alone would leave."""
    user = after(history)
    if user is None or user.status is Status.DELETED:
        return

    def people(found: User | None) -> list[Grant]:
        return [g for g in found.grants if g.source is not Source.POLICY] if found else []

    if last.user.roles == user.at_identity.seen or last.order <= user.order:
        found = decide(last, user, POLICY, NOON)
        if found.user and found.user.status is not Status.DELETED:
            assert people(found.user) == people(user)


@given(st.lists(events(), max_size=5), events())
def test_a_denial_is_never_turned_into_an_admission_by_a_repetition(
    history: list[Event], last: Event
) -> None:
    """The same event decided again on what it left behind is denied again."""
    user = after(history)
    first = decide(last, user, POLICY, NOON)
    if first.outcome is Outcome.DENIED:
        assert first.user == user
        assert decide(last, first.user, POLICY, NOON).outcome is Outcome.DENIED


@given(st.lists(events(), max_size=6), events())
def test_a_reply_changes_only_roles(history: list[Event], last: Event) -> None:
    """Every other key of app_metadata goes back as it came."""
    found = decide(last, after(history), POLICY, NOON)
    if found.reply.app_metadata is not None:
        received = dict(last.user.app_metadata or {})
        answered = dict(found.reply.app_metadata)
        assert answered.pop("roles") == sorted(effective(found.user.grants, NOON))  # type: ignore[union-attr]
        received.pop("roles", None)
        assert answered == received


@given(st.lists(events(("editor",)), min_size=1, max_size=6))
def test_an_unproven_address_never_has_its_domains_role(history: list[Event]) -> None:
    """Whatever came, the role of a domain goes only to an address on the list of proven ones."""
    user = after(history)
    if user is not None and "staff" in effective(user.grants, NOON):
        assert user.email_key in user.proven
        assert user.email_key.endswith("@example.com")


@given(st.lists(events(), max_size=6), events())
def test_deciding_twice_changes_nothing_more(history: list[Event], last: Event) -> None:
    """A repetition leaves the record as the first time left it, and gives the same answer."""
    once = decide(last, after(history), POLICY, NOON)
    twice = decide(last, once.user, POLICY, NOON)
    if once.user is not None and twice.user is not None:
        assert replace(twice.user, version=0) == replace(once.user, version=0)
    if once.outcome is not Outcome.DENIED and once.user and once.user.status is not Status.DELETED:
        assert twice.reply == once.reply
