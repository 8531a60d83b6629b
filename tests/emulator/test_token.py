"""Tokens: the access token's exact form, grants, rotation, the cookie, logging out."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from jwt.types import Options

from tests.emulator.world import JWT_SECRET, World
from tests.support import NOON
from usher.core.jws import sign_event
from usher.emulator import passwords
from usher.emulator.passwords import hash_password, matches
from usher.emulator.payload import ZERO_INSTANCE

Make = Callable[..., World]
INVALID = {"error": "invalid_grant", "error_description": "Invalid Refresh Token"}
WRONG = {
    "error": "invalid_grant",
    "error_description": "No user found with that email, or password invalid.",
}


def segments(token: str) -> list[Any]:
    """Header and claims as they stand in the token."""
    return [
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")[:2]
    ]


def test_an_access_token_is_identitys_byte_for_byte(quiet: World) -> None:
    """Key id, and exactly these claims: no iss, no iat, no sha256."""
    user_id = quiet.member(full_name="<Ada>")
    header, claims = segments(quiet.token())
    assert header == b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}'
    ends = int((NOON + timedelta(hours=1)).timestamp())
    assert (
        claims
        == (
            f'{{"sub":"{user_id}","exp":{ends},"email":"ada@example.com",'
            '"app_metadata":{"provider":"email"},'
            '"user_metadata":{"full_name":"\\u003cAda\\u003e"}}'
        ).encode()
    )


def test_an_audience_is_a_text_and_left_out_where_it_is_empty(quiet: World) -> None:
    """Never a list, never an empty text."""
    quiet.call("POST", "/signup", {"email": "a@b.c", "password": "x"}, x_jwt_aud="site")
    claims = json.loads(segments(quiet.confirm().json["access_token"])[1])
    assert claims["aud"] == "site"
    token = quiet.log_in("a@b.c", "x", x_jwt_aud="site").json["access_token"]
    assert quiet.call("GET", "/user", token=token).json["aud"] == "site"
    assert "aud" not in json.loads(segments(quiet.external().fragment["access_token"])[1])


def test_an_access_token_is_signed_with_the_jwt_secret(quiet: World) -> None:
    """Checked by PyJWT, not by ourselves."""
    quiet.member()
    options: Options = {"verify_exp": False, "verify_aud": False}
    assert jwt.decode(quiet.token(), JWT_SECRET, algorithms=["HS256"], options=options)


def test_an_hour_is_the_default_and_can_be_changed(make: Make) -> None:
    """In the answer and in the claim."""
    world = make(token_seconds=60)
    world.member()
    reply = world.log_in().json
    assert reply["expires_in"] == 60
    assert world.call("GET", "/user", token=reply["access_token"]).status == 200
    world.clock.advance(seconds=60)
    refused = world.call("GET", "/user", token=reply["access_token"])
    assert (refused.status, refused.json["msg"]) == (401, "Invalid token: token is expired")


def test_wrong_passwords_and_unknown_people_look_the_same(quiet: World) -> None:
    """400 in the form of OAuth; an unconfirmed account is told so."""
    quiet.sign_up()
    pending = quiet.log_in()
    assert (pending.status, pending.json) == (
        400,
        {"error": "invalid_grant", "error_description": "Email not confirmed"},
    )
    quiet.confirm()
    for reply in (quiet.log_in(password="no"), quiet.log_in("nobody@example.com")):
        assert (reply.status, reply.json) == (400, WRONG)


@pytest.mark.parametrize("grant", ["", "client_credentials", "PASSWORD"])
def test_another_grant_is_not_supported(quiet: World, grant: str) -> None:
    """The one error without a description."""
    reply = quiet.call("POST", "/token", form={"grant_type": grant})
    assert (reply.status, reply.json) == (400, {"error": "unsupported_grant_type"})


def test_the_form_may_stand_in_the_query(quiet: World) -> None:
    """As Go's FormValue reads it."""
    quiet.member()
    query = "grant_type=password&username=ada%40example.com&password=correct+horse"
    assert quiet.call("POST", f"/token?{query}").status == 200


@pytest.mark.parametrize("body", ["grant_type=%ff", "&".join(["a=b"] * 100)])
def test_a_form_that_is_none(quiet: World, body: str) -> None:
    """400, never a traceback."""
    kind = "application/x-www-form-urlencoded"
    assert quiet.call("POST", "/token", body, content_type=kind).status == 400


def test_a_refresh_rotates_and_reads_the_user_again(quiet: World) -> None:
    """Metadata that an administrator changed is in the next access token."""
    user_id = quiet.member()
    first = quiet.log_in().json
    quiet.admin("PUT", f"/admin/users/{user_id}", {"app_metadata": {"roles": ["editor"]}})
    second = quiet.refresh(first["refresh_token"])
    assert second.status == 200
    assert second.json["refresh_token"] != first["refresh_token"]
    claims = json.loads(segments(second.json["access_token"])[1])
    assert claims["app_metadata"] == {"provider": "email", "roles": ["editor"]}


def test_a_used_refresh_token_is_refused_and_ends_nothing_else(quiet: World) -> None:
    """It takes the cookie away; the token that came of it lives on."""
    quiet.member()
    first = quiet.log_in().json
    second = quiet.refresh(first["refresh_token"]).json
    reused = quiet.refresh(first["refresh_token"])
    assert (reused.status, reused.json) == (400, INVALID)
    assert reused.headers["Set-Cookie"].startswith("nf_jwt=; Path=/; Expires=")
    assert quiet.refresh(second["refresh_token"]).status == 200


def test_a_refresh_token_ends_after_thirty_days(quiet: World) -> None:
    """From its own making on: each refresh begins anew."""
    quiet.member()
    held = quiet.log_in().json["refresh_token"]
    quiet.clock.advance(days=30)
    rotated = quiet.refresh(held).json["refresh_token"]
    quiet.clock.advance(days=30, seconds=1)
    late = quiet.refresh(rotated)
    assert (late.status, late.json) == (
        400,
        {"error": "invalid_grant", "error_description": "Refresh token expired"},
    )
    assert "Max-Age=0" in late.headers["Set-Cookie"]


def test_a_refresh_token_that_is_none(quiet: World) -> None:
    """Missing, unknown, or of an account that is gone."""
    missing = quiet.call("POST", "/token", form={"grant_type": "refresh_token"})
    assert missing.json == {
        "error": "invalid_request",
        "error_description": "refresh_token required",
    }
    assert quiet.refresh("x").json == INVALID
    user_id = quiet.member()
    held = quiet.log_in().json["refresh_token"]
    quiet.admin("DELETE", f"/admin/users/{user_id}")
    assert quiet.refresh(held).json == INVALID


def test_logging_out_ends_every_login(quiet: World) -> None:
    """The access token lives on until it expires, as with the real one."""
    quiet.member()
    first, second = quiet.log_in().json, quiet.log_in().json
    reply = quiet.call("POST", "/logout", token=first["access_token"])
    assert (reply.status, reply.text) == (204, "")
    assert quiet.refresh(first["refresh_token"]).json == INVALID
    assert quiet.refresh(second["refresh_token"]).json == INVALID
    assert quiet.call("GET", "/user", token=first["access_token"]).status == 200


def test_the_cookie_comes_only_when_asked_for(quiet: World) -> None:
    """For a day, or for the session."""
    quiet.member()
    assert "Set-Cookie" not in quiet.log_in().headers
    day = quiet.log_in(x_use_cookie="1")
    assert day.headers["Set-Cookie"] == (
        f"nf_jwt={day.json['access_token']}; Path=/; Expires=Tue, 24 Nov 2026 12:00:00 GMT;"
        " Max-Age=86400; HttpOnly; Secure; SameSite=Lax"
    )
    session = quiet.log_in(x_use_cookie="session")
    token = session.json["access_token"]
    assert (
        session.headers["Set-Cookie"] == f"nf_jwt={token}; Path=/; HttpOnly; Secure; SameSite=Lax"
    )


def test_without_a_good_token_the_cookie_is_taken_away_by_some_paths(quiet: World) -> None:
    """Those of the person themselves; not by every 401."""
    for method, path in (("GET", "/user"), ("PUT", "/user"), ("POST", "/logout")):
        reply = quiet.call(method, path, token="x")
        assert (reply.status, "Max-Age=0" in reply.headers["Set-Cookie"]) == (401, True)
    for method, path in (("GET", "/admin/users"), ("POST", "/invite")):
        reply = quiet.call(method, path, token="x")
        assert (reply.status, "Set-Cookie" in reply.headers) == (401, False)
    assert "Set-Cookie" not in quiet.refresh("x").headers


@pytest.mark.parametrize("value", ["", "x", "Basic eA==", "Bearer", "Bearer a b", "BEARER x"])
def test_only_a_bearer_token_counts(quiet: World, value: str) -> None:
    """GoTrue's expression: Bearer or bearer, one space, no more."""
    reply = quiet.call("GET", "/user", authorization=value)
    assert (reply.status, reply.json["msg"]) == (401, "This endpoint requires a Bearer token")


def signed(claims: dict[str, Any], secret: bytes = JWT_SECRET, **header: str) -> str:
    """A token of our own making."""
    return jwt.encode(claims, secret, algorithm="HS256", headers=header or None)


ENDS = int(NOON.timestamp()) + 60
FORGED = [
    signed({"sub": "0", "exp": ENDS}, b"another-secret-another-secret-ab"),
    signed({"sub": "0", "exp": ENDS - 61}),
    signed({"sub": "0", "exp": str(ENDS)}),
    signed({"sub": "0", "nbf": ENDS}),
    signed({"sub": "0", "iat": ENDS}),
    signed({"sub": "0", "aud": ["a"]}),
    signed({"sub": "0", "iss": "gotrue"}),
    jwt.encode({"sub": "0"}, None, algorithm="none"),
    "a.b.c",
    "é",
]


@pytest.mark.parametrize("token", FORGED)
def test_a_token_that_is_no_good_opens_nothing(quiet: World, token: str) -> None:
    """Neither as a person nor as an administrator."""
    assert quiet.call("GET", "/user", token=token).status == 401
    assert quiet.call("GET", "/admin/users", token=token).status == 401


def test_an_events_signature_is_no_access_token(quiet: World) -> None:
    """Function hooks are signed with the same secret, and their subject is the system's."""
    token = sign_event(b"{}", ZERO_INSTANCE, int(NOON.timestamp()), JWT_SECRET)
    reply = quiet.call("GET", "/admin/users", token=token)
    assert (reply.status, "signs an event" in reply.json["msg"]) == (401, True)


def test_passwords_are_kept_as_salted_scrypt(
    scrypt_cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters in the text; another salt each time; nothing matches where nothing is stored."""
    monkeypatch.setattr(passwords, "_COST", scrypt_cost)
    one, two = (hash_password("pässword", "too long") for _ in range(2))
    assert one.startswith("scrypt$16384$8$1$")
    assert one != two
    assert matches("pässword", one)
    assert not matches("password", one)
    assert not matches("", "")


def test_a_password_longer_than_bcrypt_takes_is_500(quiet: World) -> None:
    """By bytes, wherever one is set; nothing is changed."""
    user_id = quiet.member()
    token = quiet.token()
    body = {"email": "bob@example.com", "password": "\u00e9" * 37}
    for reply, message in [
        (quiet.call("POST", "/signup", body), "Database error creating user"),
        (quiet.call("PUT", "/user", body, token=token), "Error during password storage"),
        (quiet.admin("PUT", f"/admin/users/{user_id}", body), "Error updating user"),
        (quiet.admin("POST", "/admin/users", body), "Error creating user"),
    ]:
        assert (reply.status, reply.json["msg"]) == (500, message)
    assert quiet.log_in().status == 200
    exact = {"email": "bob@example.com", "password": "\u00e9" * 36}
    assert quiet.call("POST", "/signup", exact).status == 200
    quiet.confirm()
    assert quiet.log_in("bob@example.com", "\u00e9" * 36 + "more").status == 200  # as bcrypt
