"""Signing up, confirming, being invited, and forgetting the password."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.emulator.world import PASSWORD, SITE, Reply, World

Make = Callable[..., World]


def error(reply: Reply) -> tuple[int, str]:
    """Status and message of an error in GoTrue's form."""
    assert reply.json["code"] == reply.status
    return reply.status, reply.json["msg"]


def test_a_signup_answers_the_unconfirmed_user_and_mails_a_link(quiet: World) -> None:
    """No token yet: the address has to be proven first."""
    reply = quiet.sign_up(full_name="Ada")
    assert reply.status == 200
    assert list(reply.json) == [
        "id", "aud", "role", "email", "confirmation_sent_at",
        "app_metadata", "user_metadata", "created_at", "updated_at",
    ]  # fmt: skip
    assert reply.json["app_metadata"] == {"provider": "email"}
    assert reply.json["user_metadata"] == {"full_name": "Ada"}
    (mail,) = quiet.mails
    assert (mail.to, mail.kind) == ("ada@example.com", "confirmation")
    assert mail.link == f"{SITE}/#confirmation_token={mail.token}"


def test_without_data_user_metadata_is_null_in_the_first_request_only(loud: World) -> None:
    """Go's nil map; from then on the database has an empty one."""
    assert loud.sign_up().json["user_metadata"] is None
    loud.confirm()
    found = [json.loads(body)["user"]["user_metadata"] for body in loud.bodies]
    assert found == [None, {}]
    assert loud.admin("GET", "/admin/users").json["users"][0]["user_metadata"] == {}
    token = loud.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["user_metadata"] == {}


def test_with_autoconfirm_the_signup_event_has_null_too(make: Make) -> None:
    """It is of the same request."""
    world = make(lambda *_: 204, autoconfirm=True)
    assert world.sign_up().json["user_metadata"] is None
    assert [json.loads(body)["user"]["user_metadata"] for body in world.bodies] == [None, None]
    world.log_in()
    assert world.last_user["user_metadata"] == {}


def test_times_that_were_stored_are_whole_seconds(make: Make) -> None:
    """Rounded; those made in the same request keep their fraction."""
    world = make(lambda *_: 204)
    world.clock.advance(seconds=0.5)
    assert world.sign_up().json["created_at"] == "2026-11-23T12:00:00.5Z"
    world.clock.advance(seconds=60)
    world.confirm()
    assert world.last_user["created_at"] == "2026-11-23T12:00:01Z"
    world.log_in()
    assert world.last_user["confirmed_at"] == "2026-11-23T12:01:01Z"


def test_the_link_confirms_and_logs_in(quiet: World) -> None:
    """The answer is that of /token; the link works once."""
    quiet.sign_up()
    reply = quiet.confirm()
    assert reply.status == 200
    assert list(reply.json) == ["access_token", "token_type", "expires_in", "refresh_token"]
    assert (reply.json["token_type"], reply.json["expires_in"]) == ("bearer", 3600)
    assert "confirmed_at" in quiet.call("GET", "/user", token=reply.json["access_token"]).json
    assert error(quiet.confirm()) == (404, "User not found")


def test_a_second_signup_of_an_unconfirmed_address_mails_a_new_link(quiet: World) -> None:
    """Same account, its first password kept, its metadata merged, and the old link is void."""
    first = quiet.sign_up(full_name="Ada", a=1)
    body = {"email": "ada@example.com", "password": "another", "data": {"a": None, "b": 2}}
    second = quiet.call("POST", "/signup", body)
    assert second.json["id"] == first.json["id"]
    assert second.json["user_metadata"] == {"full_name": "Ada", "b": 2}
    old, new = quiet.mails
    assert old.token != new.token
    void = quiet.call("POST", "/verify", {"type": "signup", "token": old.token})
    assert error(void) == (404, "User not found")
    assert quiet.confirm().status == 200
    assert quiet.log_in().status == 200
    assert quiet.log_in(password="another").status == 400


def test_a_signup_of_a_confirmed_address_is_refused(quiet: World) -> None:
    """GoTrue says so openly."""
    quiet.member()
    message = "A user with this email address has already been registered"
    assert error(quiet.sign_up()) == (400, message)


def test_with_autoconfirm_the_account_is_ready_and_no_mail_is_sent(make: Make) -> None:
    """No *_sent_at: nothing was ever proven."""
    world = make(autoconfirm=True)
    user = world.sign_up().json
    assert "confirmed_at" in user
    assert "confirmation_sent_at" not in user
    assert world.mails == []
    assert world.log_in().status == 200


def test_by_invitation_only(make: Make) -> None:
    """Signup is closed, an invitation is not."""
    world = make(disable_signup=True)
    assert error(world.sign_up()) == (403, "Signups not allowed for this instance")
    assert world.admin("POST", "/invite", {"email": "ada@example.com"}).status == 200


REFUSED: list[tuple[Any, int, str]] = [
    ({"email": "a@b.c"}, 422, "Signup requires a valid password"),
    ({"email": "a@b.c", "password": ""}, 422, "Signup requires a valid password"),
    ({"email": "a@b.c", "password": None}, 422, "Signup requires a valid password"),
    ({"password": "x"}, 422, "An email address is required"),
    ({"email": "ada", "password": "x"}, 422, "Unable to validate email address: invalid format"),
    ({"email": 7, "password": "x"}, 400, "Could not read Signup params: email must be a string"),
    (
        {"email": "a@b.c", "password": "x", "data": []},
        400,
        "Could not read Signup params: data must be an object",
    ),
    (
        "[]",
        400,
        "Could not read Signup params: json: cannot unmarshal array into Go value of a struct",
    ),
    ("", 400, "Could not read Signup params: EOF"),
    ("null", 422, "Signup requires a valid password"),
    (
        '{"email":"a@b.c","email":"x","password":"x"}',
        422,
        "Unable to validate email address: invalid format",
    ),
]


@pytest.mark.parametrize(("body", "status", "message"), REFUSED)
def test_a_signup_that_is_none(quiet: World, body: Any, status: int, message: str) -> None:
    """Each with GoTrue's status, and a sentence."""
    assert error(quiet.call("POST", "/signup", body)) == (status, message)
    assert quiet.mails == []


TAKEN = [
    "ada@example.com", "Ada@Example.COM", "Ada Lovelace <ada@example.com>", "<ada@example.com>",
    '"ada lovelace"@example.com', '"Lovelace, Ada" <ada@example.com>', "a+b@c-d.example",
    "ada@localhost", "é@exämple.com",
]  # fmt: skip
NOT_TAKEN = [
    "ada", "@example.com", "ada@", "a b@example.com", "ada@example..com", ".ada@example.com",
    "ada@example.com, bob@example.com", "Ada <ada@example.com", "ada@exam ple.com", "ada@@a.b",
    "a\r\n@example.com", "x" * 320 + "@a.b", "Ada <ada@example.com> x",
]  # fmt: skip


@pytest.mark.parametrize("email", TAKEN)
def test_an_address_that_go_parses_is_stored_as_typed(quiet: World, email: str) -> None:
    """Letter case kept, a name in front too."""
    assert quiet.sign_up(email).json["email"] == email


@pytest.mark.parametrize("email", NOT_TAKEN)
def test_what_go_does_not_parse_is_refused(quiet: World, email: str) -> None:
    """422."""
    assert quiet.sign_up(email).status == 422


@pytest.mark.parametrize(
    "email",
    [
        "Ada@Example.COM",
        "\u00e1d\u00e1@example.com",
        "a\u0301da@example.com",
        "ada@example.com  ",
    ],
)
def test_look_ups_ignore_case_accents_and_trailing_spaces(quiet: World, email: str) -> None:
    """One account within one audience, its address kept as it was typed first."""
    user_id = quiet.member("ada@example.com")
    assert quiet.sign_up(email).status == 400
    assert quiet.log_in(email).status == 200
    assert quiet.call("POST", "/recover", {"email": email}).status == 200
    assert quiet.mails[-1].to == "ada@example.com"
    assert quiet.admin("POST", "/invite", {"email": email}).status == 422
    token = quiet.external(email=email.strip()).fragment["access_token"]
    user = quiet.call("GET", "/user", token=token).json
    assert (user["id"], user["email"]) == (user_id, "ada@example.com")


def test_other_addresses_are_other_accounts(quiet: World) -> None:
    """A space in front, or another letter."""
    quiet.member("ada@example.com")
    for email in (" ada@example.com", "\u00e6da@example.com", "adaa@example.com"):
        assert quiet.sign_up(email).status == 200


def test_audiences_are_apart(quiet: World) -> None:
    """X-JWT-AUD is whatever the caller says."""
    quiet.member()
    body = {"email": "ada@example.com", "password": PASSWORD}
    reply = quiet.call("POST", "/signup", body, x_jwt_aud="other")
    assert (reply.status, reply.json["aud"]) == (200, "other")


def test_a_second_signup_too_soon_sends_no_mail(make: Make) -> None:
    """It answers 200 all the same, and the first link stays good."""
    world = make(mail_interval_seconds=900)
    world.sign_up()
    assert world.sign_up(a=1).json["user_metadata"] == {"a": 1}
    assert len(world.mails) == 1
    world.clock.advance(seconds=901)
    assert world.sign_up().status == 200
    assert len(world.mails) == 2


def test_a_second_recovery_too_soon_is_429(make: Make) -> None:
    """Only of an account that there is: a stranger's address is always 200."""
    world = make(mail_interval_seconds=900)
    world.member()
    body = {"email": "ada@example.com"}
    assert world.call("POST", "/recover", body).status == 200
    again = world.call("POST", "/recover", body)
    assert error(again) == (429, "Rate limit exceeded, try again later")
    world.clock.advance(seconds=901)
    assert world.call("POST", "/recover", body).status == 200


def test_links_of_confirmation_and_recovery_end_after_a_day(quiet: World) -> None:
    """To the second; nothing is stored by the attempt."""
    quiet.sign_up()
    quiet.call("POST", "/recover", {"email": "ada@example.com"})
    confirmation, recovery = quiet.mails
    quiet.clock.advance(hours=24)
    late = {"type": "signup", "token": confirmation.token}
    quiet.clock.advance(seconds=1)
    assert error(quiet.call("POST", "/verify", late)) == (422, "Confirmation token expired")
    late = {"type": "recovery", "token": recovery.token}
    assert error(quiet.call("POST", "/verify", late)) == (422, "Recovery token expired")
    quiet.clock.advance(seconds=-1)
    assert quiet.call("POST", "/verify", late).status == 200


def test_an_invitation_never_ends(quiet: World) -> None:
    """Though its mail says seven days."""
    quiet.admin("POST", "/invite", {"email": "ada@example.com"})
    quiet.clock.advance(days=400)
    body = {"type": "signup", "token": quiet.mails[-1].token, "password": PASSWORD}
    assert quiet.call("POST", "/verify", body).status == 200


def test_an_invitation_is_accepted_with_a_password(quiet: World) -> None:
    """The link's token goes to /verify as type signup."""
    reply = quiet.admin("POST", "/invite", {"email": "ada@example.com", "data": {"a": 1}})
    assert reply.status == 200
    assert "invited_at" in reply.json
    assert "confirmation_sent_at" not in reply.json
    (mail,) = quiet.mails
    assert mail.link == f"{SITE}/#invite_token={mail.token}"
    body = {"type": "signup", "token": mail.token}
    refused = quiet.call("POST", "/verify", body)
    assert error(refused) == (422, "Invited users must specify a password")
    assert quiet.log_in(password="").status == 400
    assert quiet.call("POST", "/verify", body | {"password": PASSWORD}).status == 200
    assert quiet.log_in().status == 200


def test_only_an_administrator_invites_and_nobody_twice(quiet: World) -> None:
    """401 without a token; 422 for an address that is taken."""
    body = {"email": "ada@example.com"}
    assert quiet.call("POST", "/invite", body).status == 401
    assert quiet.admin("POST", "/invite", body).status == 200
    assert error(quiet.admin("POST", "/invite", body)) == (
        422,
        "Email address already registered by another user",
    )


def test_a_recovery_lets_in_and_confirms_who_never_did(quiet: World) -> None:
    """Then another password can be set."""
    quiet.sign_up()
    assert quiet.call("POST", "/recover", {"email": "ada@example.com"}).json == {}
    mail = quiet.mails[-1]
    assert mail.link == f"{SITE}/#recovery_token={mail.token}"
    body = {"type": "recovery", "token": mail.token}
    token = quiet.call("POST", "/verify", body).json["access_token"]
    user = quiet.call("PUT", "/user", {"password": "another"}, token=token).json
    assert {"confirmed_at", "recovery_sent_at"} <= set(user)
    assert quiet.log_in(password="another").status == 200
    assert quiet.log_in().status == 400
    assert quiet.call("POST", "/verify", body).status == 404


def test_a_recovery_of_nobody(quiet: World) -> None:
    """The same answer as for a member; no mail."""
    reply = quiet.call("POST", "/recover", {"email": "nobody@example.com"})
    assert (reply.status, reply.json, quiet.mails) == (200, {}, [])
    assert error(quiet.call("POST", "/recover", {})) == (
        422,
        "Password recovery requires an email",
    )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"type": "signup"}, 422, "Verify requires a token"),
        ({"token": "x"}, 422, "Verify requires a verification type"),
        ({"type": "email", "token": "x"}, 422, "Verify requires a verification type"),
        ({"type": "signup", "token": "x"}, 404, "User not found"),
        ({"type": "recovery", "token": "x"}, 404, "User not found"),
        (
            {"type": "recovery", "token": 1},
            400,
            "Could not read verification params: token must be a string",
        ),
    ],
)
def test_a_verification_that_is_none(
    quiet: World, body: dict[str, Any], status: int, message: str
) -> None:
    """Each with GoTrue's status."""
    quiet.sign_up()
    assert error(quiet.call("POST", "/verify", body)) == (status, message)


def test_an_empty_token_confirms_nobody(quiet: World) -> None:
    """Confirmed accounts have an empty one, and the database ignores trailing spaces."""
    quiet.member()
    for token in ("", "  "):
        reply = quiet.call("POST", "/verify", {"type": "recovery", "token": token})
        assert error(reply) == (422, "Verify requires a token")


def test_requests_are_read_as_go_reads_them(quiet: World) -> None:
    """Letter case of keys, repeated keys, U+0000, half surrogates, numbers, data after the end."""
    body = (
        '{"Email":"a@b.c","PASSWORD":"x","data":{"a":1.0,"a":2.0},'
        '"data":{"b":"\\u0000\\ud800","c":1e20}} and more'
    )
    reply = quiet.call("POST", "/signup", body)
    assert reply.status == 200
    assert '"user_metadata":{"a":2,"b":"\\u0000\ufffd","c":100000000000000000000}' in reply.text
    assert quiet.confirm().status == 200
    assert quiet.log_in("a@b.c", "x").status == 200
