"""Roles at Identity that cannot be read: shown to people, and never erased by a push."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.pushes_support import Together
from tests.emulator.world import World

Make = Callable[..., World]
ODD: list[Any] = [7, "", {"x": 1}, "  ", "x" * 300, ["editor"], None, True]


@pytest.fixture
def bob(site: Together) -> str:
    """He has the policy's roles, here and at Identity."""
    user_id = site.member()
    assert site.world.log_in("bob@example.com").status == 200
    site.clock.advance(seconds=60)
    return user_id


def roles(site: Together, user_id: str) -> Any:
    """What Identity holds as roles."""
    return site.held(user_id)["roles"]


def test_c1_logins_and_pushes_keep_what_is_no_role_name(site: Together, bob: str) -> None:
    """In one list with the roles that are told."""
    site.at_identity(bob, roles=["author ", *ODD])
    shown = site.api("GET", f"/users/{bob}")
    assert shown["roles"] == ["author"]  # the others were taken away at Identity
    assert shown["unreadable_roles"].startswith("roles has elements that are no role names")
    site.clock.advance(seconds=60)  # an answer may be on its way until then
    told = site.api("PUT", f"/users/{bob}/roles/editor")
    assert told["identity"] == "in step"
    assert roles(site, bob) == ["author", "editor", *ODD]
    site.clock.advance(seconds=60)
    assert site.world.log_in("bob@example.com").status == 200
    assert roles(site, bob) == ["author", "editor", *ODD]
    site.api("DELETE", f"/users/{bob}/roles/editor")
    assert roles(site, bob) == ["author", *ODD]


def test_c1_a_lone_name_is_a_role_and_becomes_a_list(site: Together, bob: str) -> None:
    """With the next answer; nobody has changed a role by it."""
    site.at_identity(bob, roles=" editor ")
    assert site.api("GET", f"/users/{bob}")["roles"] == ["editor"]
    site.clock.advance(seconds=60)
    assert site.world.log_in("bob@example.com").status == 200
    assert roles(site, bob) == ["editor"]
    assert site.api("GET", f"/users/{bob}")["unreadable_roles"] is None


@pytest.mark.parametrize("held", [7, False, {"editor": True}])
def test_c1_a_value_that_is_no_list_is_written_over_by_nobody(
    site: Together, bob: str, held: Any
) -> None:
    """The push stays pending and says why; once there is a list again, it is made."""
    site.at_identity(bob, roles=held)
    site.clock.advance(seconds=60)
    assert site.world.log_in("bob@example.com").status == 200
    shown = site.api("GET", f"/users/{bob}")
    assert shown["roles"] == ["member", "staff"]
    told = site.api("PATCH", f"/users/{bob}", {"app_metadata": {"plan": "gold"}})
    assert told["identity"] == "pending"
    assert site.held(bob) == {"provider": "email", "plan": "gold", "roles": held}
    told = site.api("PUT", f"/users/{bob}/roles/editor")
    assert (told["roles"], told["identity"]) == (["editor", "member", "staff"], "pending")
    error = site.app.pushes.backlog().error
    assert error.startswith("identity_roles_unreadable: At Identity, roles is ")
    assert site.retry().settled == 0
    assert roles(site, bob) == held
    site.at_identity(bob, roles=[])  # somebody mends it: what is held since the last list is gone
    site.retry()
    site.retry()
    assert site.api("GET", f"/users/{bob}")["identity"] == "in step"
    assert site.api("GET", f"/users/{bob}")["unreadable_roles"] is None
    assert site.app.pushes.backlog().count == 0


@pytest.mark.parametrize("name", ["login", "usermodified"])
def test_c1_events_name_it_in_the_ledger(site: Together, bob: str, name: str) -> None:
    """Rule and words, over the API as on the command line."""
    site.at_identity(bob, roles=7)
    if name == "login":
        assert site.world.log_in("bob@example.com").status == 200
    newest = site.api("GET", f"/users/{bob}/events")["events"][0]
    assert newest["event"] == name
    assert newest["reply"]["status"] == 204
    reasons = {each["rule"]: each["text"] for each in newest["reasons"]}
    words = "roles is a number, not a list: neither read nor written over"
    assert reasons["identity.roles_unreadable"] == words
