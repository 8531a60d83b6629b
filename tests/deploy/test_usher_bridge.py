"""The bridge under Netlify's function runtime: every call through it, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.deploy.bridge_support import LIST, OLD, SECRET, Bridge, dump, sign
from tests.support import account, signed, verified
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.errors import (
    BridgeError,
    IdentityAnswerTooLargeError,
    IdentityCredentialsError,
    IdentityRefusedError,
)
from usher.core.jws import read_unverified
from usher.core.settings import Settings
from usher.emulator.accounts import Record
from usher.emulator.store import Work


def test_every_admin_call_goes_by_way_of_it(bridge: Bridge) -> None:
    """With Usher's own client, and with what Identity says of pages and of what it refuses."""
    client, identity = bridge.client, bridge.world
    ids = []
    for number in range(3):
        ids.append(client.create(f"p{number}@example.com", "a password", confirm=True).id)
        identity.clock.advance(seconds=1)
    pages = [client.users(page, 2) for page in (1, 2)]
    assert [user.id for page in pages for user in page.users] == ids
    assert [(page.more, page.total) for page in pages] == [(True, 3), (False, 3)]
    big = 9223372036854776000  # as Go writes 2**63 + 1, which JavaScript's numbers cannot hold
    client.update(ids[0], app_metadata={"plan": "gold", "number": big, "name": "Zoë 🎭 \u2028"})
    changed = client.update(ids[0], app_metadata={"roles": ["editor"], "plan": None})
    held = {"provider": "email", "number": big, "name": "Zoë 🎭 \u2028", "roles": ["editor"]}
    assert changed is not None
    assert changed.app_metadata == held
    read = client.user(ids[0])
    assert read is not None
    assert read.app_metadata == held
    client.update(ids[0], {"plan": "gold"}, {"crm": 7})
    both = client.user(ids[0])
    assert both is not None
    assert (both.app_metadata, both.user_metadata) == (held | {"plan": "gold"}, {"crm": 7})
    guest = client.invite("guest@example.com", {"full_name": "Guest"})
    assert guest.user_metadata == {"full_name": "Guest"}
    assert client.delete(ids[1])
    assert client.user(ids[1]) is None
    with pytest.raises(IdentityRefusedError, match="already registered"):
        client.create("p0@example.com", "a password")
    bridge.identity["token"] = "another"
    with pytest.raises(IdentityCredentialsError):
        client.users()


def test_a_role_granted_here_is_in_the_next_refreshed_token(
    bridge: Bridge, sqlite_url: str, make_settings: Callable[..., Settings]
) -> None:
    """Pushed by way of the bridge, with no other key of ``app_metadata`` lost."""
    user_id = bridge.world.member("bob@example.com")
    held = {"app_metadata": {"roles": ["member", "staff"], "plan": "gold"}}
    bridge.world.admin("PUT", f"/admin/users/{user_id}", held)
    session = bridge.world.log_in("bob@example.com").json
    settings = make_settings(
        database_url=sqlite_url, bridge_url=bridge.platform.url, bridge_secret=(SECRET,)
    )
    with use(App(settings)) as usher:
        now = usher.clock()
        who = account(user_id=UUID(user_id), email="bob@example.com", at=now)
        usher.webhooks.process([verified(usher.webhooks, signed("signup", who, at=now), now)])
        users = usher.store.users
        usher.pushes.push(
            users.change(users.get(UUID(user_id)), administration.grant("editor"), Change("test"))
        )
        assert usher.pushes.backlog().count == 0
    bridge.world.clock.advance(seconds=1)
    refreshed = bridge.world.refresh(session["refresh_token"]).json["access_token"]
    told = read_unverified(refreshed)["app_metadata"]
    assert told == {"provider": "email", "plan": "gold", "roles": ["editor", "member", "staff"]}


@pytest.mark.parametrize(
    "call",
    [
        {
            "method": "POST",
            "path": "/admin/users",
            "body": '{"email":"a@b.cc","password":"secret"}',
        },
        {"method": "POST", "path": "/invite", "body": '{"email":"a@b.cc"}'},
        {"method": "PUT", "path": "/admin/users/{}", "body": '{"app_metadata":{"roles":["x"]}}'},
        {"method": "DELETE", "path": "/admin/users/{}", "body": None},
    ],
    ids=lambda call: f"{call['method']} {call['path']}",
)
def test_a_request_that_comes_twice_does_nothing_new(bridge: Bridge, call: dict[str, Any]) -> None:
    """The accounts and the mails are those of once."""
    user_id = bridge.world.member()
    body = dump(call | {"path": call["path"].format(user_id)})
    signature = sign(body)
    states = []
    for _ in range(3):
        status, told = bridge.send(body, signature)
        assert (status, set(told)) == (200, {"status", "headers", "body"})
        listed = bridge.world.admin("GET", "/admin/users").json["users"]
        states.append(([user | {"updated_at": ""} for user in listed], len(bridge.world.mails)))
    assert states[0] == states[1] == states[2]


def test_an_older_secret_still_opens_it(bridge: Bridge) -> None:
    """So that it can be changed on one side after the other."""
    status, told = bridge.send(dump(LIST), sign(dump(LIST), OLD.encode()))
    assert (status, told["status"]) == (200, 200)


def test_other_methods_and_bodies_without_end_are_refused(bridge: Bridge) -> None:
    """Before the signature is looked at."""
    assert bridge.pool.request("GET", bridge.site.bridge_url).status == 405
    assert bridge.send(b"x" * 1_048_577)[0] == 413


def test_without_the_platforms_token_it_is_closed(bridge: Bridge) -> None:
    """To a good signature only, and the log says what may be amiss; Usher says where to look."""
    bridge.identity.clear()
    assert bridge.send(dump(LIST))[0] == 401
    with pytest.raises(BridgeError, match="its function's log on Netlify"):
        bridge.client.users()
    assert "gave no admin token; is Identity enabled" in bridge.site.log.read_text()


def test_identity_away_is_told_as_identitys_trouble(bridge: Bridge) -> None:
    """And worth a repeat."""
    bridge.identity["url"] = "http://127.0.0.1:9"
    status, told = bridge.send(dump(LIST), sign(dump(LIST)))
    assert (status, told) == (200, {"status": 504, "headers": {}, "body": ""})


def test_a4_what_is_too_large_for_the_platform_comes_without_large_metadata(bridge: Bridge) -> None:
    """A page of thirty, and one account: roles and provider are there, and Identity's own stay."""
    work, at = Work(), bridge.world.clock()
    ids = [uuid4() for _ in range(30)]
    for number, user_id in enumerate(ids):
        large = {"x": "<\0é" * 10_000}
        maps: dict[str, Any] = {
            "app_metadata": {"provider": "email", "roles": ["a"]} | (large if number % 2 else {}),
            "user_metadata": large if number % 3 else {"full_name": "<Ada>"},
        }
        fields: dict[str, Any] = {
            "email": f"u{number}@example.com",
            "created_at": at,
            "updated_at": at,
        }
        work.create(Record(id=user_id, aud="", **fields, **maps))
    huge = {"x": "x" * 6_000_000}
    work.create(Record(id=uuid4(), aud="", **fields | {"email": "h@b.example"}, user_metadata=huge))
    bridge.world.emulator._instance.store.commit(work)
    page = bridge.client.users(1, 50)
    assert page.unreadable == ()
    assert [user.id for user in page.users[:30]] == ids
    for number, user in enumerate(page.users[:30]):
        assert (user.roles, user.provider) == ({"a"}, "email")
        assert user.user_metadata == ({} if number % 3 else {"full_name": "<Ada>"})
        assert user.shows_keys is (number % 2 == 0)
    assert page.users[30].user_metadata == {}
    one = page.users[30].id
    assert bridge.client.update(one, app_metadata={"roles": ["b"]}) is not None
    assert bridge.client.metadata(one) is not None
    held = bridge.world.admin("GET", f"/admin/users/{one}").json
    assert held["app_metadata"]["roles"] == ["b"]
    assert held["user_metadata"] == huge


def test_a4_what_is_too_large_even_so_is_refused(bridge: Bridge) -> None:
    """A page of many whose metadata are ordinary: fewer at a time are carried."""
    work, at = Work(), bridge.world.clock()
    for number in range(120):
        fields: dict[str, Any] = {
            "email": f"u{number}@b.example",
            "created_at": at,
            "updated_at": at,
        }
        large = {"x": "x" * 60_000}
        work.create(Record(id=uuid4(), aud="", **fields, user_metadata=large))
    bridge.world.emulator._instance.store.commit(work)
    with pytest.raises(IdentityAnswerTooLargeError, match="larger than the bridge carries"):
        bridge.client.users(1, 200)
    assert len(bridge.client.users(1, 50).users) == 50
