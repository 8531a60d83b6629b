"""One's own account: reading and changing it, and moving to another address."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.emulator.test_token import signed
from tests.emulator.world import SITE, World

Make = Callable[..., World]


def test_metadata_is_merged_and_a_null_deletes(quiet: World) -> None:
    """`data` in, `user_metadata` out."""
    quiet.member(full_name="Ada", a=1)
    token = quiet.token()
    reply = quiet.call("PUT", "/user", {"data": {"a": None, "b": {"c": None}}}, token=token)
    assert reply.json["user_metadata"] == {"full_name": "Ada", "b": {"c": None}}
    assert quiet.call("GET", "/user", token=token).json["user_metadata"] == {
        "full_name": "Ada",
        "b": {"c": None},
    }


def test_the_time_of_the_change_is_shown_but_not_stored(quiet: World) -> None:
    """GoTrue's partial updates leave updated_at as it was."""
    quiet.member()
    token = quiet.token()
    quiet.clock.advance(seconds=30)
    changed = quiet.call("PUT", "/user", {"data": {"a": 1}}, token=token).json
    assert changed["updated_at"] == "2026-11-23T12:00:30Z"
    assert quiet.call("GET", "/user", token=token).json["updated_at"] == "2026-11-23T12:00:00Z"


def test_app_metadata_is_not_ones_own_to_change(quiet: World) -> None:
    """Only whose top-level role is the admin group."""
    user_id = quiet.member()
    token = quiet.token()
    body = {"app_metadata": {"roles": ["admin"]}}
    refused = quiet.call("PUT", "/user", body, token=token)
    assert (refused.status, refused.json["msg"]) == (
        401,
        "Updating app_metadata requires admin privileges",
    )
    quiet.admin("PUT", f"/admin/users/{user_id}", {"role": "admin"})
    assert quiet.call("PUT", "/user", body, token=token).status == 200


def test_roles_in_the_metadata_give_no_admin_right(quiet: World) -> None:
    """Nor does one that a person chose."""
    user_id = quiet.member(roles=["admin"], role="admin")
    quiet.admin("PUT", f"/admin/users/{user_id}", {"app_metadata": {"roles": ["admin"]}})
    assert quiet.call("GET", "/admin/users", token=quiet.token()).status == 401


def test_another_address_counts_once_it_is_confirmed(quiet: World) -> None:
    """The mail goes to the new one; until then the old one logs in."""
    quiet.member()
    token = quiet.token()
    pending = quiet.call("PUT", "/user", {"email": "new@example.com"}, token=token).json
    assert (pending["email"], pending["new_email"]) == ("ada@example.com", "new@example.com")
    assert pending["email_change_sent_at"] == "2026-11-23T12:00:00Z"
    mail = quiet.mails[-1]
    assert (mail.to, mail.link) == (
        "new@example.com",
        f"{SITE}/#email_change_token={mail.token}",
    )
    assert quiet.log_in().status == 200
    done = quiet.call("PUT", "/user", {"email_change_token": mail.token}, token=token).json
    assert done["email"] == "new@example.com"
    assert "new_email" not in done
    assert quiet.log_in("new@example.com").status == 200
    assert quiet.log_in().status == 400


def test_a_wrong_change_token_changes_nothing(quiet: World) -> None:
    """401, and the token stays good."""
    quiet.member()
    token = quiet.token()
    quiet.call("PUT", "/user", {"email": "new@example.com"}, token=token)
    wrong = quiet.call("PUT", "/user", {"email_change_token": "é", "data": {"a": 1}}, token=token)
    assert (wrong.status, wrong.json["msg"]) == (
        401,
        "Email Change Token didn't match token on file",
    )
    assert quiet.call("GET", "/user", token=token).json["user_metadata"] == {}


def test_an_address_that_is_taken_or_none_is_refused(quiet: World) -> None:
    """422."""
    quiet.member("bob@example.com")
    quiet.member()
    token = quiet.token()
    taken = quiet.call("PUT", "/user", {"email": "bob@example.com"}, token=token)
    assert taken.json == {"code": 422, "msg": "Email address already registered by another user"}
    assert quiet.call("PUT", "/user", {"email": "bob"}, token=token).status == 422
    assert quiet.call("PUT", "/user", {"email": "ada@example.com"}, token=token).status == 200


def test_another_password(quiet: World) -> None:
    """Other logins live on."""
    quiet.member()
    held = quiet.log_in().json
    quiet.call("PUT", "/user", {"password": "another"}, token=held["access_token"])
    assert quiet.log_in(password="another").status == 200
    assert quiet.log_in().status == 400
    assert quiet.refresh(held["refresh_token"]).status == 200


def test_a_token_of_an_account_that_is_gone(quiet: World) -> None:
    """404 for oneself, 401 for logging out."""
    user_id = quiet.member()
    token = quiet.token()
    quiet.admin("DELETE", f"/admin/users/{user_id}")
    assert quiet.call("GET", "/user", token=token).json == {"code": 404, "msg": "User not found"}
    assert quiet.call("PUT", "/user", {}, token=token).status == 404
    assert quiet.call("POST", "/logout", token=token).json == {"code": 401, "msg": "Invalid user"}


def test_another_audience_than_the_tokens_is_refused(quiet: World) -> None:
    """For GET only, as in GoTrue."""
    quiet.member()
    reply = quiet.call("GET", "/user", token=quiet.token(), x_jwt_aud="other")
    assert reply.json == {
        "code": 400,
        "msg": "Token audience doesn't match request audience",
    }


@pytest.mark.parametrize("subject", ["", "x", "0"])
def test_a_token_without_a_users_id(quiet: World, subject: str) -> None:
    """Good, but nobody's."""
    reply = quiet.call("GET", "/user", token=signed({"sub": subject}))
    assert reply.json == {"code": 400, "msg": "Could not read User ID claim"}


def test_the_link_to_another_address_ends_after_a_day(quiet: World) -> None:
    """The address stays as it was."""
    quiet.member()
    quiet.call("PUT", "/user", {"email": "new@example.com"}, token=quiet.token())
    quiet.clock.advance(hours=24, seconds=1)
    body = {"email_change_token": quiet.mails[-1].token}
    late = quiet.call("PUT", "/user", body, token=quiet.token())
    assert (late.status, late.json["msg"]) == (422, "Email change token expired")


def test_ones_own_address_in_another_case_is_taken(quiet: World) -> None:
    """The look-up finds oneself."""
    quiet.member()
    reply = quiet.call("PUT", "/user", {"email": "Ada@example.com"}, token=quiet.token())
    assert (reply.status, reply.json["msg"]) == (
        422,
        "Email address already registered by another user",
    )
