"""Which events are sent in which situation, pinned byte for byte in golden/.

Each file has one body a line, in the order sent. A missing file is written, and its test fails
once, so that somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.world import PASSWORD, World, reply_json, same_id
from usher.emulator.options import EVENTS

Make = Callable[..., World]
GOLDEN = Path(__file__).parent / "golden"


def later(world: World) -> None:
    """So that times can be told apart."""
    world.clock.advance(seconds=60.25)


def email_signup(world: World) -> None:
    """By mail: the account is made, then its link is clicked."""
    world.sign_up(full_name="Ada", about="<b> & more")
    later(world)
    world.confirm()


def signup_at_once(world: World) -> None:
    """With autoconfirm: no mail, no link."""
    world.sign_up(full_name="Ada")


def signup_again(world: World) -> None:
    """Signed up twice before the link is clicked: one account."""
    world.sign_up(a=1)
    later(world)
    world.sign_up(b=2)
    world.confirm()


def invite(world: World) -> None:
    """Invited, then accepted with a password."""
    world.admin("POST", "/invite", {"email": "ada@example.com"})
    later(world)
    body = {"type": "signup", "token": world.mails[-1].token, "password": PASSWORD}
    world.call("POST", "/verify", body)


def invite_by_provider(world: World) -> None:
    """Invited, then accepted through a provider."""
    world.admin("POST", "/invite", {"email": "ada@example.com", "data": {"a": 1}})
    later(world)
    world.external("github", more=f"&invite_token={world.mails[-1].token}")


def recover(world: World) -> None:
    """The password forgotten, and the link clicked."""
    world.call("POST", "/recover", {"email": "ada@example.com"})
    later(world)
    world.call("POST", "/verify", {"type": "recovery", "token": world.mails[-1].token})


def recovery_of_unconfirmed(world: World) -> None:
    """A recovery that confirms, too."""
    world.sign_up()
    later(world)
    recover(world)


def recovery_of_confirmed(world: World) -> None:
    """A recovery that fires nothing more."""
    email_signup(world)
    later(world)
    recover(world)


def external(world: World) -> None:
    """The first login through a provider."""
    world.external("google", name="Ada Lovelace")


def external_again(world: World) -> None:
    """A later one, through another provider: the stored one stays."""
    external(world)
    later(world)
    world.external("github", name="Another name")


def external_unverified(world: World) -> None:
    """A provider that has not verified the address: a mail has to."""
    world.external("facebook", verified=False)
    later(world)
    world.confirm()


def external_of_unconfirmed(world: World) -> None:
    """A provider vouches for an address whose link was never clicked."""
    world.sign_up()
    later(world)
    external(world)


def password_login(world: World) -> None:
    """A login by password."""
    email_signup(world)
    later(world)
    world.log_in()


def refresh_and_logout(world: World) -> None:
    """What comes after a login fires nothing."""
    email_signup(world)
    tokens = world.log_in().json
    world.refresh(tokens["refresh_token"])
    world.call("POST", "/logout", token=tokens["access_token"])


def admin_modified(world: World) -> None:
    """Changed by an administrator, and what the next login shows of it."""
    email_signup(world)
    later(world)
    body = {"role": "editor", "app_metadata": {"roles": ["b", "a"]}, "user_metadata": {"x": None}}
    world.admin("PUT", f"/admin/users/{same_id()}", body)
    later(world)
    world.log_in()


def admin_created(world: World) -> None:
    """Made by an administrator: no event until the first login."""
    body = {"email": "ada@example.com", "password": PASSWORD, "confirm": True}
    world.admin("POST", "/admin/users", body)
    later(world)
    world.log_in()


def admin_deleted(world: World) -> None:
    """Deleted by an administrator."""
    email_signup(world)
    later(world)
    world.admin("DELETE", f"/admin/users/{same_id()}")


def own_change(world: World) -> None:
    """One's own change fires nothing; the login is for the token."""
    email_signup(world)
    world.call("PUT", "/user", {"data": {"a": 1}, "password": PASSWORD}, token=world.token())


def null_metadata(world: World) -> None:
    """Nobody ever gave user_metadata; no key is left in app_metadata."""
    world.sign_up()
    world.confirm()
    body = {"app_metadata": {"provider": None}}
    world.admin("PUT", f"/admin/users/{same_id()}", body)


def new_address_pending(world: World) -> None:
    """A login before another address is confirmed, and one after it."""
    email_signup(world)
    token = world.token()
    later(world)
    world.call("PUT", "/user", {"email": "New@example.com"}, token=token)
    world.log_in()
    world.call("PUT", "/user", {"email_change_token": world.mails[-1].token}, token=token)
    world.log_in("New@example.com")


def chosen_audience(world: World) -> None:
    """What a stranger may choose: audience, letter case, a name in front."""
    body = {"email": "Ada Lovelace <Ada@Example.com>", "password": PASSWORD, "data": {}}
    world.call("POST", "/signup", body, x_jwt_aud="api.example.com")
    world.confirm()


SITUATIONS: list[tuple[Callable[[World], None], dict[str, Any], list[str]]] = [
    (email_signup, {}, ["validate", "signup"]),
    (signup_again, {}, ["validate", "signup"]),
    (signup_at_once, {"autoconfirm": True}, ["validate", "signup"]),
    (invite, {}, ["validate", "signup"]),
    (invite_by_provider, {}, ["validate", "signup"]),
    (recovery_of_unconfirmed, {}, ["validate", "signup"]),
    (recovery_of_confirmed, {}, ["validate", "signup"]),
    (external, {}, ["validate", "signup"]),
    (external_again, {}, ["validate", "signup", "login"]),
    (external_unverified, {}, ["validate", "signup"]),
    (external_of_unconfirmed, {}, ["validate", "signup"]),
    (password_login, {}, ["validate", "signup", "login"]),
    (refresh_and_logout, {}, ["validate", "signup", "login"]),
    (admin_modified, {}, ["validate", "signup", "usermodified", "login"]),
    (admin_created, {}, ["login"]),
    (admin_deleted, {}, ["validate", "signup", "userdeleted"]),
    (own_change, {}, ["validate", "signup", "login"]),
    (null_metadata, {}, ["validate", "signup", "usermodified"]),
    (new_address_pending, {}, ["validate", "signup", "login", "login", "login"]),
    (chosen_audience, {}, ["validate", "signup"]),
]


def name(situation: Callable[[World], None], options: dict[str, Any]) -> str:
    """As the golden file is called."""
    return "-".join([situation.__name__, *options])


@pytest.mark.parametrize(
    ("situation", "options", "events"), SITUATIONS, ids=[name(s, o) for s, o, _ in SITUATIONS]
)
def test_each_situation_sends_exactly_these_bytes(
    make: Make, situation: Callable[[World], None], options: dict[str, Any], events: list[str]
) -> None:
    """Names, order and bodies: docs/identity.md, "When each event fires"."""
    world = make(lambda _event, _number: 204, new_id=same_id, **options)
    situation(world)
    assert world.events == events
    path = GOLDEN / f"{name(situation, options)}.jsonl"
    found = b"".join(body + b"\n" for body in world.bodies)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(found)
        pytest.fail(f"{path.name} was written: look at it, then run again")
    assert found == path.read_bytes()


def test_every_golden_file_belongs_to_a_situation() -> None:
    """None is left over."""
    expected = {f"{name(situation, options)}.jsonl" for situation, options, _ in SITUATIONS}
    assert {path.name for path in GOLDEN.iterdir()} == expected


def test_every_event_is_among_them() -> None:
    """The table of docs/identity.md is covered."""
    assert {event for _, _, events in SITUATIONS for event in events} == set(EVENTS)


def test_no_signup_event_shows_a_confirmed_account() -> None:
    """It is sent before confirmed_at is set, even with autoconfirm; without any proof then."""
    for path in GOLDEN.iterdir():
        for line in path.read_text().splitlines():
            if line.startswith(('{"event":"signup"', '{"event":"validate"')):
                assert "confirmed_at" not in line, path.name
    unproven = (GOLDEN / "signup_at_once-autoconfirm.jsonl").read_text()
    assert "sent_at" not in unproven
    assert "invited_at" not in unproven


def test_metadata_that_is_null_stays_null(make: Make) -> None:
    """A hook's answer can store a map of nothing; only absence is null."""
    world = make(lambda *_: reply_json({"user_metadata": {}}), new_id=same_id)
    world.sign_up()
    world.confirm()
    assert world.last_user["user_metadata"] == {}
