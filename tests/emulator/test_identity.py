"""The emulator as a whole: paths and methods, CORS, limits, setting it up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.world import JWT_SECRET, MOUNT, SITE, World
from usher.core import log
from usher.emulator import about
from usher.emulator.identity import API, DEV, Emulator
from usher.emulator.options import Options, Webhook
from usher.functions._shared.http import Request

Make = Callable[..., World]


def test_health_is_gotrues(quiet: World) -> None:
    """Name and description; the version says what it is."""
    assert quiet.call("GET", "/health").json == {
        "description": "GoTrue is a user registration and authentication API",
        "name": "GoTrue",
        "version": about.VERSION,
    }


def test_settings_are_gotrues(make: Make) -> None:
    """What a login form needs to know, in GoTrue's order."""
    world = make(providers=("google",), disable_signup=True, autoconfirm=True)
    assert world.call("GET", "/settings").text == (
        '{"external":{"bitbucket":false,"github":false,"gitlab":false,"google":true,'
        '"facebook":false,"email":true,"saml":false},"external_labels":{},'
        '"disable_signup":true,"autoconfirm":true}'
    )


@pytest.mark.parametrize("path", ["/nothing", "/users", "/admin", "/user/x/y", "/admin/users/a/b"])
def test_a_path_that_there_is_not(quiet: World, path: str) -> None:
    """404 in the router's own words, which are no JSON."""
    reply = quiet.admin("GET", path)
    assert (reply.status, reply.text) == (404, "404 page not found\n")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/user/x/y", "/admin", "/admin/x", "/user"])
def test_below_user_and_admin_a_token_is_asked_for_first(quiet: World, path: str) -> None:
    """A stranger is not told which paths there are."""
    reply = quiet.call("PATCH", path)
    assert (reply.status, reply.json["msg"]) == (401, "This endpoint requires a Bearer token")


def test_a_slash_at_the_end_is_taken_by_some_routes_only(quiet: World) -> None:
    """Those of GoTrue's sub-routers."""
    assert quiet.admin("GET", "/admin/users/").status == 200
    assert quiet.admin("GET", "/admin/audit/").status == 200
    assert quiet.call("GET", "/settings/").status == 404
    assert quiet.admin("GET", "/admin/users//").status == 400
    assert quiet.admin("GET", "/admin/audit//").status == 404


@pytest.mark.parametrize(("path", "methods"), [*API.items(), *DEV.items()])
def test_another_method_is_405_with_those_that_there_are(
    quiet: World, path: str, methods: dict[str, Any]
) -> None:
    """Every route; HEAD is no GET to GoTrue's router."""
    for method in ("PATCH", "HEAD", "OPTIONS"):
        reply = quiet.admin(method, path)
        assert (reply.status, reply.headers["Allow"]) == (405, ", ".join(methods))


@pytest.mark.parametrize(
    "path", ["/saml/acs", "/saml/metadata", "/saml", "/instances", "/admin/users/export"]
)
def test_what_is_not_emulated_says_so(quiet: World, path: str) -> None:
    """501."""
    reply = quiet.call("POST", path)
    assert (reply.status, reply.json["msg"]) == (
        501,
        f"{path} is not emulated, see docs/emulator.md",
    )


def preflight(world: World, method: str = "POST", headers: str = "") -> dict[str, str]:
    """The CORS headers of an answer to a browser that asks."""
    reply = world.call(
        "OPTIONS",
        "/token",
        origin="http://localhost:3000",
        access_control_request_method=method,
        access_control_request_headers=headers,
    )
    assert (reply.status, reply.headers["Vary"]) == (204, "Origin")
    return {
        name: value
        for name, value in reply.headers.items()
        if name.startswith("Access-Control-Allow-")
    }


def test_browsers_on_other_sites_may_call_the_api(quiet: World) -> None:
    """The method asked for and the headers asked for are given back."""
    assert preflight(quiet, "PUT", "authorization, X-JWT-AUD,x-use-cookie") == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "PUT",
        "Access-Control-Allow-Headers": "authorization, X-JWT-AUD,x-use-cookie",
    }
    assert "Access-Control-Allow-Headers" not in preflight(quiet)


@pytest.mark.parametrize(
    ("method", "headers"), [("PATCH", ""), ("POST", "X-Nf-Client"), ("POST", "Accept, X-Other")]
)
def test_a_browser_that_asks_for_more_gets_nothing(quiet: World, method: str, headers: str) -> None:
    """Neither PATCH nor X-Nf-Client is allowed."""
    assert preflight(quiet, method, headers) == {}


def test_answers_can_be_read_by_other_origins(quiet: World) -> None:
    """Errors too; without an Origin there is only Vary."""
    for path in ("/settings", "/user", "/nothing"):
        headers = quiet.call("GET", path, origin="http://localhost:3000").headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Access-Control-Allow-Credentials"] == "true"
        plain = quiet.call("GET", path).headers
        assert plain["Vary"] == "Origin"
        assert "Access-Control-Allow-Origin" not in plain


def test_answers_carry_the_security_headers(quiet: World) -> None:
    """Tokens are in them: nobody keeps a copy."""
    headers = quiet.call("GET", "/settings").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"] == "application/json"


def test_a_body_that_is_too_large_is_not_read(make: Make) -> None:
    """413."""
    world = make(max_body_bytes=100)
    assert world.call("POST", "/signup", {"email": "a" * 100}).json == {
        "code": 413,
        "msg": "The body is larger than 100 bytes",
    }


ODD: list[Request] = [
    Request("", "", {}, b""),
    Request("GET", "", {}, b""),
    Request("POST", f"{MOUNT}/signup", {}, b"\xff"),
    Request("POST", f"{MOUNT}/signup", {}, "\ud800".encode("utf-8", "surrogatepass")),
    Request("POST", f"{MOUNT}/signup", {}, b"[" * 10_000),
    Request("POST", f"{MOUNT}/signup", {}, b'{"email":"\\u0000","password":"x"}'),
    Request("GET", f"{MOUNT}/admin/users", {}, b"", "%ff"),
    Request("GET", f"{MOUNT}x/settings", {}, b""),
    Request("GET", "/elsewhere", {}, b""),
]


@pytest.mark.parametrize("request_", ODD)
def test_an_odd_request_gets_an_answer(quiet: World, request_: Request) -> None:
    """A 4xx, never a traceback."""
    answer = quiet.emulator.handle(request_)
    assert 400 <= answer.status < 500
    assert '"code":' in answer.body or answer.body == "404 page not found\n"


def test_what_nobody_foresaw_is_500_without_details(
    quiet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the place, neither has the message."""
    written = StringIO()
    log.configure(written)

    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(quiet.emulator._instance.store), "by_email", fail)
    reply = quiet.sign_up()
    assert reply.json | {"error_id": ""} == {
        "code": 500,
        "msg": "Internal server error",
        "error_id": "",
    }
    assert '"event":"emulator.failed"' in written.getvalue()
    assert "secret detail" not in reply.text + written.getvalue()


def test_the_log_names_no_address_and_no_token(loud: World) -> None:
    """Ids and numbers only."""
    stream = StringIO()
    log.configure(stream)
    loud.member(full_name="Lovelace")
    loud.external()
    written = stream.getvalue()
    assert '"event":"hook.accepted"' in written
    for private in ("ada@example.com", "Lovelace", loud.mails[0].token, "eyJ"):
        assert private not in written


def test_accounts_survive_a_restart(make: Make, tmp_path: Path) -> None:
    """In the file; an SQLAlchemy URL names it as well."""
    path = tmp_path / "kept.db"
    first = make(database=path)
    first.member()
    token = first.log_in().json["refresh_token"]
    first.emulator.close()
    second = make(database=f"sqlite:///{path}")
    assert second.log_in().status == 200
    assert second.refresh(token).status == 200


def test_it_knows_which_paths_are_its_own(quiet: World) -> None:
    """For whoever mounts it beside other things."""
    serves = quiet.emulator.serves
    assert all(map(serves, [MOUNT, f"{MOUNT}/", f"{MOUNT}/token", "/_dev/mail"]))
    assert not any(map(serves, ["/", "/_dev", f"{MOUNT}x", "/.netlify/functions/identity"]))


def test_it_can_stand_elsewhere(make: Make) -> None:
    """At a GoTrue server's root, for one."""
    handle = make(mount="").emulator.handle
    assert handle(Request("GET", "/settings", {}, b"")).status == 200


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"jwt_secret": b"short"}, "jwt_secret must have at least 32 bytes"),
    ({"site_url": "localhost:8888"}, "site_url must be like"),
    ({"site_url": f"{SITE}/"}, "site_url must be like"),
    ({"function_hooks": {"logout": "/x"}}, "no such event: logout"),
    ({"providers": ("myspace",)}, "no such provider: myspace"),
    ({"webhook": Webhook(url="/x", secret=b"x")}, "the webhook's secret must have"),
    ({"webhook": Webhook(url="/x", secret=b"", events=("x",))}, "no such event: x"),
    (
        {"webhook": Webhook(url="/x", secret=b""), "function_hooks": {"login": "/x"}},
        "one webhook or to function hooks",
    ),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_cannot_work_is_refused_at_once(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """With a sentence."""
    given: dict[str, Any] = {
        "database": tmp_path / "i.db",
        "jwt_secret": JWT_SECRET,
        "site_url": SITE,
    }
    with pytest.raises(ValueError, match=message):
        Emulator(Options(**(given | options)))


def test_the_accounts_of_an_older_emulator_are_kept(make: Make, tmp_path: Path) -> None:
    """Its file has no keys of addresses and no ages of refresh tokens; its logins end."""
    path = tmp_path / "old.db"
    first = make(database=path)
    first.member("Ada@example.com")
    held = first.log_in("Ada@example.com").json["refresh_token"]
    first.emulator.close()
    with closing(sqlite3.connect(path)) as old:
        old.execute("DROP INDEX users_address_key")
        old.execute("ALTER TABLE users DROP COLUMN address_key")
        old.execute("ALTER TABLE refresh_tokens DROP COLUMN created_at")
        old.execute("UPDATE users SET user_metadata = NULL")
        old.commit()
    second = make(database=path)
    assert second.refresh(held).status == 400
    assert second.log_in("ada@example.com").status == 200
    assert second.admin("GET", "/admin/users").json["users"][0]["user_metadata"] == {}
