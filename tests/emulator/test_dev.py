"""The inbox, and who may look into it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

import jwt
import pytest

from tests.emulator.world import SITE, World
from tests.support import NOON
from usher.emulator.mail import KEPT


def test_the_inbox_shows_every_mail_with_its_link(quiet: World) -> None:
    """Newest first, as a page without a script."""
    assert "No mail yet." in quiet.call("GET", "/_dev/mail").text
    quiet.sign_up()
    quiet.call("POST", "/recover", {"email": "ada@example.com"})
    page = quiet.call("GET", "/_dev/mail")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "For development only" in page.text
    links = re.findall(r'<a href="([^"]+)">', page.text)
    assert links == [mail.link for mail in reversed(quiet.mails)]
    assert links[0].startswith(f"{SITE}/#recovery_token=")


def test_the_page_allows_its_own_style_and_nothing_else(quiet: World) -> None:
    """The digest in the policy is that of the style sheet in the page."""
    page = quiet.call("GET", "/_dev/mail")
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_what_a_stranger_chose_is_escaped(quiet: World) -> None:
    """An address can hold angle brackets and quotes."""
    quiet.sign_up('"<script>alert(1)</script>" <a@b.c>')
    page = quiet.call("GET", "/_dev/mail").text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_inbox_as_json(quiet: World) -> None:
    """For tests, which want the token."""
    quiet.sign_up()
    (mail,) = quiet.mails
    assert quiet.call("GET", "/_dev/mail", accept="application/json").json == {
        "mails": [
            {
                "to": "ada@example.com",
                "kind": "confirmation",
                "subject": "Confirm Your Signup",
                "token": mail.token,
                "link": mail.link,
                "at": "2026-11-23T12:00:00Z",
            }
        ]
    }


@pytest.mark.parametrize(("method", "status"), [("DELETE", 204), ("POST", 303)])
def test_the_inbox_can_be_emptied(quiet: World, method: str, status: int) -> None:
    """By DELETE, or by the form on the page; links stay good."""
    quiet.sign_up()
    assert quiet.call(method, "/_dev/mail").status == status
    assert quiet.call("GET", "/_dev/mail", accept="application/json").json == {"mails": []}
    assert quiet.confirm().status == 200


def test_only_so_many_mails_are_kept(quiet: World) -> None:
    """The newest."""
    for number in range(KEPT + 5):
        quiet.external(email=f"u{number}@example.com", verified=False)
    mails = quiet.call("GET", "/_dev/mail", accept="application/json").json["mails"]
    assert len(mails) == KEPT
    assert mails[0]["to"] == f"u{KEPT + 4}@example.com"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8888", 200), ("127.0.0.1:8888", 200), ("[::1]:8888", 200),
        ("shop.localhost", 200), ("LOCALHOST", 200), ("evil.example", 403),
        ("127.0.0.1.evil.example", 403), ("192.168.0.7:8888", 403), ("[", 403), ("", 200),
    ],
)  # fmt: skip
def test_a_name_made_to_point_here_opens_nothing(quiet: World, host: str, status: int) -> None:
    """DNS rebinding: another site's page could else read every mail."""
    assert quiet.call("GET", "/_dev/mail", host=host).status == status


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_form_changes_nothing(quiet: World, site: str) -> None:
    """A browser says where a form comes from."""
    assert quiet.call("POST", "/_dev/mail", sec_fetch_site=site).status == 403
    assert quiet.call("PUT", "/_dev/faults", {"rules": []}, sec_fetch_site=site).status == 403
    assert quiet.call("POST", "/_dev/mail", sec_fetch_site="same-origin").status == 303


def test_another_sites_script_reads_nothing_here(quiet: World) -> None:
    """No CORS below /_dev/, unlike the API."""
    reply = quiet.call("GET", "/_dev/mail", origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert quiet.call("OPTIONS", "/_dev/mail").status == 405


def test_the_clock_can_be_set_ahead(quiet: World) -> None:
    """So that links and logins end; and back again."""
    quiet.sign_up()
    assert quiet.call("PUT", "/_dev/clock", {"ahead_seconds": 86_401}).json == {
        "now": "2026-11-24T12:00:01Z",
        "ahead_seconds": 86_401,
    }
    assert quiet.confirm().json["msg"] == "Confirmation token expired"
    assert quiet.call("PUT", "/_dev/clock", {"ahead_seconds": 0}).status == 200
    assert quiet.confirm().status == 200
    assert quiet.call("GET", "/_dev/clock").json["now"] == "2026-11-23T12:00:00Z"


def test_signatures_keep_to_the_real_time(loud: World) -> None:
    """A receiver would refuse any other; times in the body are those of the clock."""
    loud.call("PUT", "/_dev/clock", {"ahead_seconds": 3600})
    loud.sign_up()
    assert loud.stub is not None
    signature = loud.stub.requests[-1][1]["x-webhook-signature"]
    claims = jwt.decode(signature, options={"verify_signature": False})
    assert claims["iat"] == int(NOON.timestamp())
    assert loud.last_user["created_at"] == "2026-11-23T13:00:00Z"


@pytest.mark.parametrize(
    "body", [{}, {"ahead_seconds": -1}, {"ahead_seconds": "1"}, {"ahead_seconds": True},
             {"ahead_seconds": 1e12}, {"ahead_seconds": 1, "x": 1}, "[]", ""]
)  # fmt: skip
def test_a_clock_that_is_none(quiet: World, body: object) -> None:
    """400; the time stays."""
    assert quiet.call("PUT", "/_dev/clock", body).status == 400
    assert quiet.call("GET", "/_dev/clock").json["ahead_seconds"] == 0
