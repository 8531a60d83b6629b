"""What a proof is worth against Identity as it is: refused, and what cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.emulator.pushes_support import Together, together
from tests.emulator.world import PASSWORD, World
from tests.support import Clock
from usher.core.settings import Settings

VICTIM = "vic@example.com"


@pytest.fixture
def site(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    sqlite_url: str,
    clock: Clock,
) -> Iterator[Together]:
    """A site whose policy gives ``staff`` by the address."""
    with together(make, make_settings, sqlite_url, clock) as found:
        yield found


def roles(site: Together, user_id: str) -> list[str]:
    """The roles that hold here."""
    site.clock.advance(seconds=1)
    found: list[str] = site.api("GET", f"/users/{user_id}")["roles"]
    return found


def account(site: Together, email: str) -> dict[str, Any]:
    """The account at Identity."""
    users = site.world.admin("GET", f"/admin/users?filter={email}").json["users"]
    return dict(next(user for user in users if user["email"] == email))


# --- pre-hijacking: somebody signs up with another's address and waits ---------------------------


def hijacked(site: Together, **later: float) -> str:
    """A stranger signs up as the victim, who comes with a verified provider some time later."""
    stranger = site.world.sign_up(VICTIM)
    assert stranger.status == 200
    site.clock.advance(**later)
    assert "access_token=" in site.world.external("google", VICTIM).location
    return str(stranger.json["id"])


def test_a_strangers_password_survives_a_verified_provider_login(site: Together) -> None:
    """Identity takes the provider's person for the stranger's account, and confirms it.

    Within a day this looks to Usher like a followed link, so both have the roles of the address.
    docs/security.md says what to do about it.
    """
    user_id = hijacked(site, hours=23)
    assert account(site, VICTIM)["app_metadata"]["provider"] == "email"
    site.clock.advance(seconds=1)
    assert site.world.log_in(VICTIM, PASSWORD).status == 200
    assert roles(site, user_id) == ["member", "staff"]


def test_a_link_that_had_ended_proves_nothing(site: Together) -> None:
    """A day later nobody can have followed the link: no role by the address, at no later login."""
    user_id = hijacked(site, hours=25)
    assert roles(site, user_id) == ["member"]
    for _ in range(2):
        assert site.world.log_in(VICTIM, PASSWORD).status == 200
        assert site.world.external("google", VICTIM).status == 302
        assert roles(site, user_id) == ["member"]
    site.api("PUT", f"/users/{user_id}/roles/staff")
    assert roles(site, user_id) == ["member", "staff"]


def test_an_account_that_the_provider_made_is_nobody_elses(site: Together) -> None:
    """Whoever comes first with a verified provider has it alone; a signup is refused."""
    assert "access_token=" in site.world.external("google", VICTIM).location
    assert site.world.sign_up(VICTIM).status == 400
    assert site.world.log_in(VICTIM, PASSWORD).status == 400
    assert roles(site, account(site, VICTIM)["id"]) == ["member", "staff"]


def test_the_second_signup_of_an_address_does_not_change_its_password(site: Together) -> None:
    """Whoever follows the link confirms an account whose password the first one chose.

    The owner's recovery ends that: it sets another one.
    """
    first = site.world.sign_up(VICTIM).json["id"]
    site.clock.advance(hours=1)
    body = {"email": VICTIM, "password": "the owner's own"}
    assert site.world.call("POST", "/signup", body).json["id"] == first
    assert site.world.confirm().status == 200
    site.clock.advance(hours=1)
    assert site.world.log_in(VICTIM, "the owner's own").status == 400
    assert site.world.log_in(VICTIM, PASSWORD).status == 200
    assert roles(site, first) == ["member", "staff"]
    assert site.world.call("POST", "/recover", {"email": VICTIM}).status == 200
    token = site.world.mails[-1].token
    told = site.world.call("POST", "/verify", {"type": "recovery", "token": token}).json
    changed = {"password": "the owner's own"}
    assert site.world.call("PUT", "/user", changed, token=told["access_token"]).status == 200
    assert site.world.log_in(VICTIM, PASSWORD).status == 400
    assert site.world.log_in(VICTIM, "the owner's own").status == 200


# --- autoconfirm: an account that was there before -----------------------------------------------


def made_by_an_administrator(site: Together) -> str:
    """An account that nobody confirmed, without any mail."""
    body = {"email": VICTIM, "password": "an administrator's"}
    made = site.world.admin("POST", "/admin/users", body)
    assert made.status == 200
    site.clock.advance(seconds=1)
    return str(made.json["id"])


def autoconfirmed(site: Together) -> None:
    """A stranger signs up with the address, where Identity confirms everybody."""
    object.__setattr__(site.world.emulator._instance.options, "autoconfirm", True)  # switched on
    assert site.world.sign_up(VICTIM).status == 200


def test_the_fourth_exception_a_recovery_that_was_asked_for(site: Together) -> None:
    """Anybody can ask for the mail; with autoconfirm the signup then looks like a recovery.

    Nothing in the event tells them apart within a day of the mail. docs/security.md says so.
    """
    user_id = made_by_an_administrator(site)
    assert site.world.call("POST", "/recover", {"email": VICTIM}).status == 200
    site.clock.advance(hours=1)
    autoconfirmed(site)
    assert roles(site, user_id) == ["member", "staff"]


def test_a_recovery_mail_of_the_day_before_proves_nothing(site: Together) -> None:
    """Its link had ended, so nobody followed it."""
    user_id = made_by_an_administrator(site)
    assert site.world.call("POST", "/recover", {"email": VICTIM}).status == 200
    site.clock.advance(hours=25)
    autoconfirmed(site)
    assert roles(site, user_id) == ["member"]


def test_a_completed_recovery_proves_the_address(site: Together) -> None:
    """The same account, whose owner follows the link."""
    user_id = made_by_an_administrator(site)
    assert site.world.call("POST", "/recover", {"email": VICTIM}).status == 200
    site.clock.advance(hours=23)
    body = {"type": "recovery", "token": site.world.mails[-1].token}
    assert site.world.call("POST", "/verify", body).status == 200
    assert roles(site, user_id) == ["member", "staff"]


def test_an_account_that_waited_for_its_confirmation(site: Together) -> None:
    """Autoconfirm was switched on meanwhile: a mail of the day before proves nothing."""
    waits = site.world.sign_up(VICTIM).json["id"]
    site.clock.advance(hours=25)
    autoconfirmed(site)
    assert roles(site, waits) == ["member"]
