"""The fixtures ``usher_person``, ``usher_client`` and ``usher_changes`` of other projects."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import site_hooks
from usher import Change
from usher.core.app import App, current
from usher.core.domain.handler_writes import CIRCLE as CIRCLE_OF
from usher.integrations.guard import Guard, Visit
from usher.testing.changes import Changes, HandlerError
from usher.testing.client import Client, RefusedError
from usher.testing.people import People, Someone

HOOKS = "tests.pipeline.site_hooks"


@pytest.fixture
def usher_settings() -> dict[str, Any]:
    """A project's own settings, here with the handlers as well."""
    return {"handlers": (HOOKS,), "admin_role": "admin"}


@pytest.fixture
def away() -> Iterator[list[str]]:
    """People about whom the site's system does not answer."""
    yield site_hooks.away
    site_hooks.away.clear()


def told(changes: Changes) -> list[tuple[str, str]]:
    """Which handler got which change."""
    return [(one.handler.rpartition(".")[2], one.change.kind.value) for one in changes]


def roles(client: Client, someone: Someone) -> list[str]:
    """The roles that the API says the person has."""
    answer = client.request("GET", "/api/me", headers=someone.headers)
    assert answer.status == 200
    found: list[str] = answer.body["roles"]
    return found


def test_a_person_has_exactly_the_roles_that_a_test_names(
    usher_client: Client, usher_person: People, usher_changes: Changes
) -> None:
    """On record, with a token that the API takes; nothing of it is handed over."""
    editor, nobody = usher_person(roles={"editor", "crew"}), usher_person()
    assert roles(usher_client, editor) == ["crew", "editor"]
    assert roles(usher_client, nobody) == []
    assert editor.email != nobody.email
    assert usher_changes.hand_over() == []
    with pytest.raises(TypeError, match=r"roles=\{'editor'\}"):
        usher_person(roles="editor")


def test_a_person_of_before_logs_in_and_keeps_the_roles(
    usher_client: Client, usher_person: People
) -> None:
    """Identity shows the roles that it was told, which is no change by anybody there."""
    editor = usher_person(roles={"editor"})
    usher_client.log_in(editor)
    assert editor.app_metadata["roles"] == ["editor", "member"]  # and what the policy gives
    assert roles(usher_client, editor) == ["editor", "member"]


def test_an_administrator_acts_through_the_api(usher_client: Client, usher_person: People) -> None:
    """A role is gone at the next request, and at the next login from the token too."""
    boss, editor = usher_person(roles={"admin"}), usher_person(roles={"editor"})
    path = f"/api/users/{editor.id}/roles"
    given = usher_client.request(
        "PUT", f"{path}/crew", headers=boss.headers, json={"reason": "new"}
    )
    assert given.status == 200
    gone = usher_client.request("DELETE", f"{path}/editor", headers=boss.headers)
    assert gone.status == 200
    assert roles(usher_client, editor) == ["crew"]
    usher_client.log_in(editor)
    assert editor.app_metadata["roles"] == ["crew", "member"]
    assert usher_client.request("GET", "/api/me").status == 401


def test_the_policy_decides_about_a_signup(usher_client: Client) -> None:
    """Its roles are in the first token; a refusal tells its answer."""
    ada = usher_client.sign_up("ada@example.com", user_metadata={"full_name": "Ada"})
    assert ada.app_metadata["roles"] == ["member", "staff"]
    assert ada.user_metadata["full_name"] == "Ada"
    with pytest.raises(RefusedError, match="validate was answered 403") as refused:
        usher_client.sign_up("eve@mailinator.com")
    assert refused.value.answer.body["detail"] == "Please use an address that lasts."


def test_an_account_changes_and_goes(usher_client: Client) -> None:
    """As its owner does both."""
    ada = usher_client.sign_up("ada@example.org", user_metadata={"plan": "a", "x": 1})
    usher_client.modify(ada, email="countess@example.org", user_metadata={"plan": "b", "x": None})
    me = usher_client.request("GET", "/api/me", headers=ada.headers).body
    assert (me["email"], me["user_metadata"]) == ("countess@example.org", {"plan": "b"})
    usher_client.delete(ada)
    assert usher_client.request("GET", "/api/me", headers=ada.headers).status == 403


def test_a_guard_asks_the_usher_of_the_test(
    usher_app: App, usher_person: People, usher_client: Client
) -> None:
    """So a site's own endpoints need no set-up in tests."""
    guard, editor = Guard(), usher_person(roles={"editor"})
    assert current() is usher_app
    caller = guard.check(Visit("GET", (editor.headers["Authorization"],)), ("editor",))
    assert caller.id == editor.id
    usher_client.delete(editor)
    with pytest.raises(Exception, match="deleted"):
        guard.check(Visit("GET", (editor.headers["Authorization"],)))


def test_handlers_get_a_signup_at_once(usher_client: Client, usher_changes: Changes) -> None:
    """Without the twenty seconds, and without their own; the next token has what they wrote."""
    ada = usher_client.sign_up("ada@example.org")
    assert len(usher_changes) == 0
    made = usher_changes.hand_over()
    assert made == list(usher_changes)
    assert told(usher_changes) == [
        ("greet", "role.granted"),
        ("open_account", "user.confirmed"),
        ("greet", "role.granted"),
        ("grasp", "user.changed"),
    ]
    assert [one.change.role for one in made] == ["member", "", "customer", ""]
    assert made[1].write is not None
    usher_client.log_in(ada)
    assert ada.app_metadata["customer"] == "cus_ada@example.org"
    assert ada.app_metadata["roles"] == ["customer", "member"]
    assert usher_changes.hand_over() == []
    assert "open_account" in repr(usher_changes)


def test_a_failure_is_the_handlers_own_and_is_tried_again(
    usher_client: Client, usher_changes: Changes, away: list[str]
) -> None:
    """Others get theirs; the change comes again with the same id, however often it failed."""
    away.append("ada@example.org")
    usher_client.sign_up("ada@example.org")
    usher_client.sign_up("bob@example.org")
    for _ in range(3):
        with pytest.raises(ConnectionError, match="nobody answers") as raised:
            usher_changes.hand_over()
        assert "site_hooks.open_account, with the user.confirmed chg_" in raised.value.__notes__[0]
    calls = [one for one in usher_changes if one.handler.endswith("open_account")]
    assert [one.change.user.email[:3] for one in calls if one.error is None] == ["bob"]
    away.clear()
    [again] = [one for one in usher_changes.hand_over() if one.handler == calls[0].handler]
    assert again.change.id in {one.change.id for one in calls if one.error is not None}
    assert again.error is None


def test_what_a_handler_may_not_write_fails_the_test(
    usher_client: Client, usher_changes: Changes
) -> None:
    """The administrators' role, and what is no ``Write``."""
    ada = usher_client.sign_up("ada@example.org")
    usher_changes.hand_over()
    usher_client.modify(ada, user_metadata={"asks": True})
    with pytest.raises(HandlerError, match=r"site_hooks\.grasp may not write that"):
        usher_changes.hand_over()
    usher_client.delete(ada)
    with pytest.raises(HandlerError, match=r"site_hooks\.forget returned a str"):
        usher_changes.hand_over()


CIRCLE = """
import usher

client = None

def other(change, by):
    return usher.Write(app_metadata={"seen": [by, change.id]})

@usher.after("user.changed")
def ping(change):
    return other(change, "ping")

@usher.after("user.changed")
def pong(change):
    return other(change, "pong")

@usher.after("user.confirmed")
def counts(change):
    return usher.Write(app_metadata={"confirmed": change.id})
"""


class TestWithoutEnd:
    """A project whose handlers answer each other, or themselves."""

    @pytest.fixture
    def hooks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """The module of its handlers."""
        (tmp_path / "circling_hooks.py").write_text(CIRCLE)
        monkeypatch.syspath_prepend(tmp_path)
        yield "circling_hooks"
        sys.modules.pop("circling_hooks", None)

    @pytest.fixture
    def usher_settings(self, hooks: str) -> dict[str, Any]:
        """With these handlers."""
        return {"handlers": (hooks,)}

    def test_handlers_that_answer_each_other_are_named(
        self, usher_client: Client, usher_changes: Changes
    ) -> None:
        """The test fails and does not hang; what others write goes into the record."""
        ada = usher_client.sign_up("ada@example.org")
        with pytest.raises(HandlerError, match=r"hooks\.counts, circling_hooks\.ping, circ.*pong"):
            usher_changes.hand_over()
        written = [one for one in usher_changes if one.error is None]
        assert len(written) == CIRCLE_OF
        usher_client.log_in(ada)
        assert ada.app_metadata["confirmed"].startswith("chg_")

    def test_a_handler_that_causes_its_own_changes_is_named(
        self, usher_client: Client, usher_changes: Changes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by the API, whose changes nobody knows for its own."""
        monkeypatch.setattr("usher.testing.changes.MOST_CALLS", 50)
        ada, counter = usher_client.sign_up("ada@example.org"), count()

        def cause(_: Change, _by: str) -> None:
            usher_client.modify(ada, email=f"ada{next(counter)}@example.org")

        monkeypatch.setattr(sys.modules["circling_hooks"], "other", cause)
        with pytest.raises(HandlerError, match=r"50 calls, and no end.*circling_hooks\.p"):
            usher_changes.hand_over()


def test_an_asynchronous_test_may_hand_over_to_an_asynchronous_handler(
    usher_client: Client, usher_changes: Changes
) -> None:
    """Its loop is running, so the handler has another."""
    usher_client.sign_up("ada@example.org")

    async def test() -> None:
        usher_changes.hand_over()

    asyncio.run(test())
    assert ("greet", "role.granted") in told(usher_changes)


def test_events_that_are_refused_are_answers_too(usher_client: Client, usher_app: App) -> None:
    """``send`` is for what no person does: an event twice, or in disorder."""
    ada = usher_client.sign_up("ada@example.org")
    usher_client.delete(ada)
    assert usher_client.send("login", ada).status == 403
    with pytest.raises(RefusedError, match="login"):
        usher_client.log_in(ada)


class TestWithoutHandlers:
    """A project that has none."""

    @pytest.fixture
    def usher_settings(self) -> dict[str, Any]:
        """None at all."""
        return {}

    def test_asking_for_changes_says_what_is_missing(self, request: pytest.FixtureRequest) -> None:
        """Rather than that nothing was handed over."""
        with pytest.raises(pytest.UsageError, match="usher_handlers"):
            request.getfixturevalue("usher_changes")


class TestWithAMistake:
    """A project whose module of handlers has one."""

    @pytest.fixture
    def usher_settings(self) -> dict[str, Any]:
        """A module that is not there."""
        return {"handlers": ("no_hooks_here",)}

    def test_the_mistake_is_told_in_a_sentence(self, request: pytest.FixtureRequest) -> None:
        """Without the lines of our own code that found it."""
        with pytest.raises(pytest.fail.Exception, match="There is no module no_hooks_here") as told:
            request.getfixturevalue("usher_changes")
        assert not told.value.pytrace
