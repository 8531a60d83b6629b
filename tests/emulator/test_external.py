"""Logging in through another provider, with our own page in its stead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.emulator.test_token import signed
from tests.emulator.world import MOUNT, SITE, World

Make = Callable[..., World]


def state_of(world: World, provider: str = "google", **headers: Any) -> str:
    """What /authorize hands to the consent page."""
    redirect = world.call("GET", f"/authorize?provider={provider}", **headers)
    assert redirect.status == 302
    assert urlsplit(redirect.location).path == "/_dev/consent"
    return parse_qs(urlsplit(redirect.location).query)["state"][0]


def test_the_person_comes_back_to_the_site_with_tokens(quiet: World) -> None:
    """In the fragment, in the order of Go's encoder."""
    reply = quiet.external()
    assert reply.status == 302
    assert reply.location.startswith(f"{SITE}#access_token=")
    assert list(reply.fragment) == ["access_token", "expires_in", "refresh_token", "token_type"]
    user = quiet.call("GET", "/user", token=reply.fragment["access_token"]).json
    assert (user["app_metadata"], user["user_metadata"]) == (
        {"provider": "google"},
        {"full_name": "Ada"},
    )
    assert quiet.refresh(reply.fragment["refresh_token"]).status == 200


def test_a_later_login_is_the_same_account(quiet: World) -> None:
    """Through any provider that has verified the address; nothing about it changes."""
    quiet.member(full_name="Ada")
    token = quiet.external("github", name="Somebody").fragment["access_token"]
    user = quiet.call("GET", "/user", token=token).json
    assert user["app_metadata"] == {"provider": "email"}
    assert user["user_metadata"] == {"full_name": "Ada"}
    assert len(quiet.admin("GET", "/admin/users").json["users"]) == 1


def test_an_address_that_is_not_verified_has_to_be_confirmed(quiet: World) -> None:
    """No tokens; and never the account of somebody else."""
    quiet.member()
    reply = quiet.external(verified=False)
    assert reply.location == SITE
    users = quiet.admin("GET", "/admin/users").json["users"]
    assert [("confirmed_at" in user) for user in users] == [False, True]
    assert quiet.mails[-1].kind == "confirmation"


def test_with_autoconfirm_it_need_not_be_verified(make: Make) -> None:
    """As GoTrue is set up then."""
    assert "access_token" in make(autoconfirm=True).external(verified=False).fragment


def test_an_invitation_is_accepted_through_a_provider(quiet: World) -> None:
    """The address must be the one invited."""
    quiet.admin("POST", "/invite", {"email": "ada@example.com"})
    more = f"&invite_token={quiet.mails[-1].token}"
    wrong = quiet.external("github", email="eve@example.com", more=more)
    assert wrong.fragment == {
        "error": "invalid_request",
        "error_description": "Invited email does not match emails from external provider",
    }
    token = quiet.external("github", more=more).fragment["access_token"]
    user = quiet.call("GET", "/user", token=token).json
    assert user["app_metadata"] == {"provider": "github"}
    used = quiet.call("GET", f"/authorize?provider=github{more}")
    assert used.json == {"code": 404, "msg": "User not found"}


def test_an_invitation_used_while_the_page_was_open(quiet: World) -> None:
    """The error comes back to the site."""
    quiet.admin("POST", "/invite", {"email": "ada@example.com"})
    token = quiet.mails[-1].token
    redirect = quiet.call("GET", f"/authorize?provider=github&invite_token={token}")
    state = parse_qs(urlsplit(redirect.location).query)["state"][0]
    quiet.call("POST", "/verify", {"type": "signup", "token": token, "password": "x"})
    form = {"state": state, "email": "ada@example.com", "verified": "yes"}
    assert quiet.call("POST", "/callback", form=form).fragment["error"] == "server_error"


def test_by_invitation_only_a_stranger_is_sent_back(make: Make) -> None:
    """With access_denied; a member gets in."""
    world = make(disable_signup=True)
    assert world.external().fragment == {
        "error": "access_denied",
        "error_description": "Signups not allowed for this instance",
    }
    body = {"email": "ada@example.com", "confirm": True}
    world.admin("POST", "/admin/users", body)
    assert "access_token" in world.external().fragment


def test_a_refused_hook_is_an_error_in_the_fragment(make: Make) -> None:
    """Whoever comes back reads why, and does not exist."""
    world = make(lambda *_: 403)
    assert world.external().fragment == {
        "error": "server_error",
        "error_description": "Failed to handle signup webhook",
    }
    assert world.admin("GET", "/admin/users").json["users"] == []


def test_a_person_may_refuse(quiet: World) -> None:
    """As at a real provider."""
    assert quiet.external(decision="deny").fragment["error"] == "access_denied"
    assert quiet.external(decision="allow").fragment["access_token"]


def test_an_address_that_is_none_comes_back_as_an_error(quiet: World) -> None:
    """The consent page has no script that could check it."""
    assert "Unable to validate" in quiet.external(email="ada").fragment["error_description"]


def test_the_person_returns_to_the_page_they_came_from(quiet: World) -> None:
    """Where it belongs to the site; another's page is no place to send tokens to."""
    for page, back in [
        ("http://localhost:8888/members", "http://localhost:8888/members"),
        ("http://localhost:3000/x", "http://localhost:3000/x"),
        ("https://evil.example/", SITE),
        ("http://localhost.evil.example/", SITE),
        ("http://[", SITE),
    ]:
        form = {"state": state_of(quiet, referer=page), "email": "a@b.c", "verified": "yes"}
        location = quiet.call("POST", "/callback", form=form).location
        assert location.partition("#")[0] == back


@pytest.mark.parametrize(
    ("provider", "status", "message"),
    [
        ("", 400, "Unsupported provider: Provider  could not be found"),
        ("example", 400, "Unsupported provider: Provider example could not be found"),
        ("facebook", 400, "Unsupported provider: provider is not enabled"),
        ("saml", 501, "SAML is not emulated, see docs/emulator.md"),
    ],
)
def test_a_provider_that_there_is_not(make: Make, provider: str, status: int, message: str) -> None:
    """GoTrue's words."""
    reply = make(providers=("google",)).call("GET", f"/authorize?provider={provider}")
    assert (reply.status, reply.json["msg"]) == (status, message)


def test_the_consent_page_asks_and_explains_itself(quiet: World) -> None:
    """No script, no foreign place; the state is escaped, and the notice is there."""
    state = state_of(quiet, "github")
    page = quiet.call("GET", f"/_dev/consent?state={state}")
    assert page.status == 200
    assert f'action="{MOUNT}/callback"' in page.text
    assert state in page.text
    assert "For development only" in page.text
    assert "<script" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f"form-action 'self' {SITE};" in policy


def test_a_state_that_is_none(quiet: World) -> None:
    """Missing, forged, of another kind, or too old."""
    state = state_of(quiet)
    for wrong in ("x", f"{state}x", signed({"provider": "google"}), quiet.sign_up().text[:20]):
        for reply in (
            quiet.call("GET", f"/_dev/consent?state={wrong}"),
            quiet.call("POST", "/callback", form={"state": wrong}),
        ):
            assert reply.status == 400
            assert reply.json["msg"].startswith("OAuth state is invalid: ")
    missing = quiet.call("POST", "/callback", form={})
    assert missing.json["msg"] == "OAuth state parameter missing"
    quiet.clock.advance(minutes=5)
    assert quiet.call("GET", f"/_dev/consent?state={state}").status == 400
