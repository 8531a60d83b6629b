"""Pushes when Identity or the database is not as it should be; the way to Identity is a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest

from tests.store.store_support import LogLines, deliver, execute, rows
from tests.support import Clock, account, signed
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.errors import IdentityUnavailableError
from usher.core.identity import push as pushes
from usher.core.identity.client import IdentityClient
from usher.core.identity.http import AdminAnswer
from usher.core.identity.push import Pushed, Pushes
from usher.core.settings import Settings

BY = Change("test")


class Script:
    """Identity with some accounts; ``fails`` comes first for each call, by its method."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.own: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.fails: Callable[[str], AdminAnswer | None] = lambda _method: None

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``AdminTransport``."""
        self.calls.append(method)
        failed = self.fails(method)
        if failed is not None:
            return failed
        user_id = path.rpartition("/")[2]
        if user_id not in self.accounts:
            return AdminAnswer(404, {}, b"")
        metadata = self.accounts[user_id]
        if method == "PUT":
            assert body is not None
            metadata.update(body.get("app_metadata", {}))
            self.own.setdefault(user_id, {}).update(body.get("user_metadata", {}))
        return AdminAnswer(200, {}, json.dumps({"id": user_id, "app_metadata": metadata}).encode())


class Site:
    """The App, Identity, and two servers' pushes."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.identity = Script()
        self.users = app.store.users
        client = IdentityClient(None, self.identity, sleep=lambda _: None)
        self.here, self.there = self.pushes(client), self.pushes(client)

    def pushes(self, client: IdentityClient | None) -> Pushes:
        """A server's, with this way to Identity."""
        return Pushes(self.app.store.database, self.users, client, self.clock)

    def person(self, email: str = "ada@b.example") -> UUID:
        """Somebody on both sides."""
        who = account(email=email, roles=["member"], at=self.clock())
        deliver(self.app, [signed("login", who, at=self.clock())])
        self.identity.accounts[str(who.id)] = {"provider": "email", "roles": ["member"]}
        return who.id

    def grant(self, user_id: UUID, role: str = "editor") -> None:
        """A role, not yet pushed."""
        self.users.change(self.users.get(user_id), administration.grant(role), BY)

    def roles(self, user_id: UUID) -> list[str]:
        """Those at Identity."""
        found: list[str] = self.identity.accounts[str(user_id)]["roles"]
        return found


@pytest.fixture
def site(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[Site]:
    """On each database."""
    settings = make_settings(
        database_url=database_url, identity_url="http://127.0.0.1:9", identity_admin_token="x"
    )
    with use(App(settings, clock)) as app:
        yield Site(app, clock)


def test_one_refusal_does_not_stop_the_others(site: Site) -> None:
    """What Identity says of one user is about that user."""
    ids = [site.person(f"p{number}@b.example") for number in range(4)]
    for user_id in ids:
        site.grant(user_id)
    del site.identity.accounts[str(ids[1])]
    pushed = site.here.push_pending()
    assert (pushed.settled, pushed.left) == (3, 1)
    assert pushed.error == "identity_account_missing: Identity has no such account."
    assert site.here.backlog().error == pushed.error


def test_the_push_of_somebody_made_up_ends_where_there_is_no_account(site: Site) -> None:
    """``usher trigger`` makes none at Identity; a live event says that there is one."""
    who = account(email="ada@b.example", roles=["member"], at=site.clock())
    deliver(site.app, [signed("login", who, at=site.clock(), triggered=True)])
    site.grant(who.id)
    lines = LogLines()
    assert (site.here.push_pending(), site.here.backlog().count) == (Pushed(1, 0, ""), 0)
    assert [line["user_id"] for line in lines("push.ended")] == [str(who.id)]
    assert not lines("push.failed")
    site.clock.advance(seconds=1)
    deliver(site.app, [signed("login", who, at=site.clock())])
    site.grant(who.id, "author")
    assert site.here.push(site.users.get(who.id)).at_identity.pending
    assert [line["code"] for line in lines("push.failed")] == ["identity_account_missing"]


def test_an_identity_that_is_away_is_not_asked_about_the_others(site: Site) -> None:
    """They stay due, and whoever changes something meanwhile does not wait."""
    ids = [site.person(f"p{number}@b.example") for number in range(3)]
    for user_id in ids:
        site.grant(user_id)
    site.identity.fails = lambda _: AdminAnswer(503, {}, b"")
    pushed = site.here.push_pending()
    assert (pushed.settled, pushed.left) == (0, 3)
    assert pushed.error == f"identity_unavailable: {_away(ids[0], site)}"
    site.identity.calls.clear()
    user = site.here.push(site.users.get(ids[2]))
    assert user.at_identity.pending
    assert site.identity.calls == []
    site.identity.fails = lambda _: None
    site.clock.advance(seconds=61)
    assert site.here.push_pending().settled == 3
    assert site.here.push(site.users.get(ids[2])).at_identity.pending is False


def _away(_user_id: UUID, site: Site) -> str:
    """The sentence of the error, which names one of the users."""
    text: str = rows(site.app.store.database, "SELECT error FROM pushes WHERE error <> ''")[0][0]
    assert text.startswith("identity_unavailable: Identity answered GET /admin/users/")
    return text.partition(": ")[2]


def test_waits_grow_to_a_minute_and_no_further(site: Site) -> None:
    """However often it was tried."""
    user_id = site.person()
    site.grant(user_id)
    site.identity.fails = lambda _: AdminAnswer(503, {}, b"")
    for seconds in (2, 4, 8, 16, 32, 60, 60):
        tried = site.clock()
        assert site.there.push_pending().error
        found = site.here.of(site.users.get(user_id))
        assert found is not None
        wait = (found.next_try_at - tried).total_seconds()
        assert seconds / 2 <= wait <= seconds
        assert found.since < found.next_try_at
        site.clock.advance(seconds=seconds)
    execute(site.app.store.database, "UPDATE pushes SET tries = 2000000")
    assert site.here.push_pending().left == 1


def test_two_servers_never_push_one_user_at_once(site: Site) -> None:
    """Whoever comes second leaves it to the first, who takes the second change along."""
    user_id = site.person()
    site.grant(user_id)

    def second(method: str) -> None:
        if method == "PUT" and site.identity.calls.count("PUT") == 1:
            site.grant(user_id, "author")
            assert site.there.push(site.users.get(user_id)).at_identity.pending
            assert site.there.push_pending().settled == 0

    site.identity.fails = second
    assert site.here.push(site.users.get(user_id)).at_identity.pending is False
    assert site.roles(user_id) == ["author", "editor", "member"]
    assert site.identity.calls.count("PUT") == 2


def test_a_server_that_lost_its_lease_settles_nothing(site: Site) -> None:
    """It was away for too long; another has the push now."""
    user_id = site.person()
    site.grant(user_id)

    def stall(method: str) -> None:
        if method == "PUT" and site.identity.calls.count("PUT") == 1:
            site.clock.advance(seconds=61)
            assert site.there.push_pending().settled == 1

    site.identity.fails = stall
    site.here.push(site.users.get(user_id))
    assert site.roles(user_id) == ["editor", "member"]
    assert site.here.backlog().count == 0


def test_changes_that_never_end_are_left_for_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for them for ever."""
    user_id = site.person()
    site.grant(user_id, "r0")

    def more(method: str) -> None:
        if method == "PUT":
            site.grant(user_id, f"r{site.identity.calls.count('PUT')}")

    site.identity.fails = more
    assert site.here.push(site.users.get(user_id)).at_identity.pending
    assert site.identity.calls.count("PUT") == pushes.ATTEMPTS
    site.identity.fails = lambda _: None
    site.clock.advance(seconds=30)
    assert site.here.push_pending().settled == 1


def test_a_database_that_is_away_after_the_change_does_not_undo_it(site: Site) -> None:
    """The change is committed; the push is due again by itself."""
    user_id = site.person()
    site.grant(user_id)
    user = site.users.get(user_id)
    lines = LogLines()
    execute(site.app.store.database, "ALTER TABLE pushes RENAME TO elsewhere")
    try:
        assert site.here.push(user) == user
    finally:
        execute(site.app.store.database, "ALTER TABLE elsewhere RENAME TO pushes")
    assert [line["code"] for line in lines("push.failed")] == ["database_unavailable"]
    assert site.here.step() is False
    assert site.users.get(user_id).at_identity.pending is False


def test_credentials_that_were_removed_are_said_to_be(site: Site) -> None:
    """What is pending waits for the next login then."""
    user_id = site.person()
    site.grant(user_id)
    for client in (None, IdentityClient("http://127.0.0.1:9")):
        without = site.pushes(client)
        assert without.push(site.users.get(user_id)).at_identity.pending
        assert "identity_not_configured" in without.backlog().error


def test_a_change_that_identity_has_already_writes_nothing(site: Site) -> None:
    """Neither there, nor for a record that is not pending."""
    user_id = site.person()
    site.identity.accounts[str(user_id)]["roles"] = ["editor", "member"]
    site.grant(user_id)
    site.here.push(site.users.get(user_id))
    assert site.identity.calls == ["GET"]
    site.here.push(site.users.get(user_id))
    assert site.identity.calls == ["GET"]
    with pytest.raises(IdentityUnavailableError):
        IdentityClient(None, site.identity).user_of("x")
