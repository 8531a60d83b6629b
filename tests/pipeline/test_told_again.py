"""Two logins of one second are the same bytes: each is answered, and each answer may land last."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from msgspec.structs import replace

from tests.support import NOON, Account, Clock, account, call, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.records import Status, User
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.errors import PolicyError

BOSS = Change("boss")
WHO = uuid4()


def ada(*roles: str) -> Account:
    """Ada as Identity holds her."""
    return account(user_id=WHO, roles=sorted({"member", "staff", *roles}), confirmed_at=NOON)


def log_in(clock: Clock, *roles: str) -> set[str]:
    """A login with these roles; those in her token."""
    answer = call(signed("login", ada(*roles), at=clock()))
    return told(answer) if answer["statusCode"] == 200 else {"member", "staff", *roles}


def told(answer: dict[str, str]) -> set[str]:
    """The roles in an answer."""
    return set(json.loads(answer["body"])["app_metadata"]["roles"])


def record(usher: App) -> User:
    """Ada here."""
    return usher.store.users.find(str(WHO))


def revoke(usher: App) -> None:
    """The role goes, here."""
    usher.store.users.change(record(usher), administration.revoke("editor"), BOSS)


@pytest.fixture
def usher(usher: App, clock: Clock) -> App:
    """A role was granted to Ada here, of which Identity has not been told."""
    log_in(clock)
    clock.advance(seconds=60)
    usher.store.users.change(record(usher), administration.grant("editor"), BOSS)
    return usher


def test_e1_a_login_that_comes_again_is_not_told_a_role_that_was_revoked_between(
    usher: App, clock: Clock
) -> None:
    """Its answer is that of now; the ledger keeps the one that was given first."""
    login = signed("login", ada(), at=clock())
    first = call(login)
    assert told(first) == {"member", "staff", "editor"}
    assert call(login) == first
    revoke(usher)
    assert call(login)["statusCode"] == 204
    assert usher.store.ledger.page().items[0].reply.body == first["body"]
    clock.advance(seconds=30)
    assert log_in(clock, "editor") == {"member", "staff"}


def test_e1_a_role_that_a_second_equal_answer_brings_back_stays_revoked(
    usher: App, clock: Clock
) -> None:
    """One answer has landed and was seen; the other lands after the role was revoked."""
    login = signed("login", ada(), at=clock())
    call(login)
    call(login)
    clock.advance(seconds=1)
    log_in(clock, "editor")
    revoke(usher)
    clock.advance(seconds=1)
    assert log_in(clock, "editor") == {"member", "staff"}
    clock.advance(seconds=1)
    call(signed("usermodified", ada(), at=clock()))  # that has landed
    clock.advance(seconds=40)
    assert log_in(clock, "editor") == {"member", "staff"}
    assert effective(record(usher).grants, clock()) == {"member", "staff"}


def test_e1_it_is_remembered_anew_where_the_first_answer_has_landed(
    usher: App, clock: Clock
) -> None:
    """It was seen to have landed before the second of the two logins came."""
    login = signed("login", ada(), at=clock())
    call(login)
    clock.advance(seconds=1)
    log_in(clock, "editor")
    assert all(one.told is None for one in record(usher).at_identity.in_flight)
    call(login)
    assert [one.repeated for one in record(usher).at_identity.in_flight if one.told] == [True]


def test_somebody_suspended_meanwhile_is_refused_when_the_login_comes_again(
    usher: App, clock: Clock
) -> None:
    """So is whoever was suspended between two logins of one second."""
    login = signed("login", ada(), at=clock())
    call(login)
    usher.store.users.change(record(usher), administration.suspend(), BOSS)
    assert call(login)["statusCode"] == 403
    assert record(usher).status is Status.SUSPENDED


def test_an_answer_without_roles_is_repeated_as_it_was(usher: App, clock: Clock) -> None:
    """It tells Identity nothing, so nothing can come back by it."""
    login = signed("login", ada("editor"), at=clock())
    assert call(login)["statusCode"] == 204
    revoke(usher)
    before = record(usher)
    assert call(login)["statusCode"] == 204
    assert record(usher) == before


def test_a_replay_of_a_login_gets_the_stored_answer(usher: App, clock: Clock) -> None:
    """Its answer reaches nobody, so nothing is noted either."""
    login = signed("login", ada(), at=clock())
    first = call(login)
    revoke(usher)
    before = record(usher)
    again = verified(usher.webhooks, login, clock())
    again = replace(again, received=replace(again.received, replayed=True))
    (answer,) = usher.webhooks.process([again])
    assert isinstance(answer, Reply)
    assert answer.body == first["body"]
    assert record(usher) == before


def test_e1_both_of_two_equal_logins_in_one_commit_are_remembered(usher: App, clock: Clock) -> None:
    """They come at once, so the second finds no row of the first."""
    login = verified(usher.webhooks, signed("login", ada(), at=clock()), clock())
    first, second = usher.webhooks.process([login, login])
    assert first == second
    assert [one.repeated for one in record(usher).at_identity.in_flight if one.told] == [True]


def test_a_policy_that_fails_fails_a_login_that_comes_again(
    usher: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it would any login; the record and the stored answer stay."""
    login = signed("login", ada(), at=clock())
    first, before = call(login), record(usher)

    def broken(*_: object) -> None:
        raise PolicyError("rules:decide", "raised")

    with monkeypatch.context() as patch:
        patch.setattr("usher.core.domain.decide.decide", broken)
        assert call(login)["statusCode"] == 500
    assert record(usher) == before
    assert call(login) == first
