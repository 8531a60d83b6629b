"""The ETag of ``/me`` is that of the whole answer, roles that end by themselves included."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.api.api_support import BOSS, Answer, People, ask
from tests.store.store_support import deliver
from tests.support import NOON, Clock, account, signed
from usher.core.domain import administration


def change(people: People, command: administration.Command) -> None:
    """An administrator's change of ``user``."""
    users = people.app.store.users
    users.change(users.get(people.ids["user"]), command, BOSS)


def again(people: People, first: Answer) -> Answer:
    """Asked once more by somebody who has this answer."""
    return people.ask("user", "GET", "/me", if_none_match=first.headers["ETag"])


def test_an_answer_that_is_there_already_is_not_sent_again(people: People) -> None:
    """304 with the ETag and without a body; a proxy may have made it a weak one."""
    first = people.ask("user", "GET", "/me")
    tag = first.headers["ETag"]
    for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        same = people.ask("user", "GET", "/me", if_none_match=condition)
        assert (same.status, same.text, same.headers["ETag"]) == (304, "", tag)
        assert same.headers["Cache-Control"] == "no-store"
    for condition in ('"x"', '"1"', "", tag.strip('"'), tag[:-2] + '"'):
        assert people.ask("user", "GET", "/me", if_none_match=condition).json == first.json
    assert people.ask("user", "HEAD", "/me", if_none_match=tag).status == 304


def test_the_etag_changes_with_the_roles(people: People, clock: Clock) -> None:
    """Given, taken away, and ended by itself, which changes no version."""
    first = people.ask("user", "GET", "/me")
    change(people, administration.grant("editor", expires_at=NOON + timedelta(seconds=30)))
    given = again(people, first)
    assert given.json["roles"] == ["editor", "member", "staff"]
    assert again(people, given).status == 304
    clock.advance(seconds=30)
    ended = again(people, given)
    assert ended.json["roles"] == ["member", "staff"]
    assert ended.json["version"] == given.json["version"]
    change(people, administration.revoke("staff"))
    assert again(people, ended).json["roles"] == ["member"]


def test_the_etag_changes_with_what_no_version_counts(people: People, clock: Clock) -> None:
    """A login is no new version, and yet another answer."""
    first = people.ask("user", "GET", "/me")
    clock.advance(seconds=60)
    who = account(email="user@example.com", user_id=people.ids["user"], at=clock())
    deliver(people.app, [signed("login", who, at=clock())])
    seen = again(people, first)
    assert (seen.status, seen.json["version"]) == (200, first.json["version"])
    assert seen.json["last_seen_at"] != first.json["last_seen_at"]


@pytest.mark.parametrize("what", ["suspend", "delete"])
def test_a_person_who_is_shut_out_has_nothing_already(people: People, what: str) -> None:
    """403 goes before 304."""
    first = people.ask("user", "GET", "/me")
    change(people, getattr(administration, what)())
    for condition in (first.headers["ETag"], "*"):
        assert people.ask("user", "GET", "/me", if_none_match=condition).status == 403
    token = people.token("other", exp=1)
    assert ask("GET", "/me", token, if_none_match=first.headers["ETag"]).status == 401


def test_the_etag_of_me_is_a_condition_of_a_change(people: People) -> None:
    """It names the record's version, so a role that ended meanwhile stops nobody's edit."""
    first = people.ask("user", "GET", "/me").headers["ETag"]
    edit = {"profile": {"likes": "tea"}}
    edited = people.ask("user", "PATCH", "/me", edit, if_match=first)
    assert edited.status == 200
    assert people.ask("user", "PATCH", "/me", edit, if_match=first).status == 412
    assert people.ask("user", "PATCH", "/me", edit, if_match=f"W/{first}").status == 412
    assert people.ask("user", "GET", "/me").headers["ETag"] == edited.headers["ETag"]
