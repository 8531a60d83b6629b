"""A token that was good before: its signature is not checked again, everything else is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.api_support import BOSS, People, ask
from tests.support import Clock
from usher.core import auth
from usher.core.domain import administration
from usher.core.jws import open_compact


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was checked."""
    tokens: list[str] = []

    def noted(token: str, *rest: Any) -> Any:
        tokens.append(token)
        return open_compact(token, *rest)

    monkeypatch.setattr("usher.core.auth.open_compact", noted)
    return tokens


def test_the_signature_of_a_token_is_checked_once(sqlite_people: People, opened: list[str]) -> None:
    """However often it comes; another one's is checked."""
    for _ in range(3):
        assert sqlite_people.ask("user", "GET", "/me").status == 200
    assert len(opened) == 1
    assert sqlite_people.ask("other", "GET", "/me").status == 200
    assert len(opened) == 2


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_token_that_was_good_is_refused_when_it_no_longer_is(
    sqlite_people: People, clock: Clock, claim: str
) -> None:
    """At its end; and before its beginning, where our clock was set back."""
    now = int(clock().timestamp())
    token = sqlite_people.token("user", **({"exp": now + 60} if claim == "exp" else {claim: now}))
    assert ask("GET", "/me", token).status == 200
    clock.advance(seconds=60 if claim == "exp" else -61)
    refused = ask("GET", "/me", token)
    assert (refused.status, refused.code) == (401, "unauthenticated")


def test_the_person_of_a_token_that_was_good_is_looked_up_each_time(
    sqlite_people: People,
) -> None:
    """A role, a suspension and an erasure hold from the next request on."""
    token, users = sqlite_people.token("user"), sqlite_people.app.store.users
    assert ask("GET", "/me", token).json["roles"] == ["member", "staff"]

    def change(command: administration.Command) -> None:
        users.change(users.get(sqlite_people.ids["user"]), command, BOSS)

    change(administration.set_roles(["editor"]))
    assert ask("GET", "/me", token).json["roles"] == ["editor"]
    change(administration.edit(suspended=True))
    assert ask("GET", "/me", token).status == 403
    change(administration.delete())
    assert ask("GET", "/me", token).status == 403


def test_a_token_that_is_nearly_one_that_was_good_is_refused(sqlite_people: People) -> None:
    """Each byte counts."""
    token = sqlite_people.token("user")
    assert ask("GET", "/me", token).status == 200
    last = "A" if token[-1] != "A" else "E"
    for other in (token[:-1] + last, token + "A", token[:-1], token.replace(".", "..", 1)):
        assert ask("GET", "/me", other).status == 401


def test_only_so_many_tokens_are_remembered(
    sqlite_people: People, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is checked again; bad ones and large ones are never kept."""
    monkeypatch.setattr(auth, "OPENED_ENTRIES", 2)
    for jti, checked in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("b", 3), ("a", 4)]:
        assert ask("GET", "/me", sqlite_people.token("user", jti=jti)).status == 200
        assert len(opened) == checked, jti
    kept = sqlite_people.app.auth._opened
    assert ask("GET", "/me", sqlite_people.token("user", exp=1)).status == 401
    large = sqlite_people.token("user", user_metadata={"text": "x" * auth.OPENED_BYTES})
    for checked in (6, 7):
        assert ask("GET", "/me", large).status == 200
        assert len(opened) == checked
    assert len(kept) == 2
