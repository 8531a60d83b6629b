"""A sync every so often beside a server: when it is due, and never two at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import copy

import pytest

from tests.emulator.pushes_support import Together, together
from tests.emulator.world import World
from tests.store.store_support import LogLines
from tests.support import Clock
from usher.core.app import App
from usher.core.errors import IdentityUnavailableError
from usher.core.identity import http as identity_http
from usher.core.identity.sync import Sync
from usher.core.settings import Settings

HOUR = 3600


@pytest.fixture
def site(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    database_url: str,
    clock: Clock,
) -> Iterator[Together]:
    """A site with an administrator and two members, one of whom Identity sent no event of."""
    with ExitStack() as stack:
        settings = {"sync_interval_seconds": HOUR}
        found = stack.enter_context(together(make, make_settings, database_url, clock, **settings))
        found.member("bob@example.com")
        found.world.account_without_event()
        clock.advance(seconds=60)
        yield found


def all_steps(sync: Sync) -> int:
    """Steps until there is nothing more to do at once."""
    count = 0
    while sync.step():
        count += 1
    return count


def emails(app: App) -> list[str]:
    """Of everybody on record."""
    return sorted(user.email for user in app.store.users.page().items)


def test_it_mends_at_once_and_then_every_so_often(site: Together) -> None:
    """An hour after the last complete run, not before."""
    sync = site.app.sync
    assert all_steps(sync) > 1
    assert "eve@example.com" in emails(site.app)
    last = sync.completed()
    assert last is not None
    assert (last.plan, last.left) == ("both", {})
    site.clock.advance(seconds=HOUR - 1)
    assert all_steps(sync) == 0
    site.clock.advance(seconds=2)
    assert all_steps(sync) > 1


def test_of_two_servers_one_does_it(site: Together) -> None:
    """The other finds the lease taken, and later that it was done."""
    one = site.app.sync
    other = copy(one)
    assert one.step()
    assert not other.step()
    all_steps(one)
    assert all_steps(other) == 0


def test_a_server_that_died_is_replaced(site: Together) -> None:
    """A minute later another goes on with what it had begun."""
    dead = site.app.sync
    other = copy(dead)
    assert dead.step()
    assert all_steps(other) == 0
    site.clock.advance(seconds=61)
    assert all_steps(other) > 1
    assert not dead.step()  # it was only slow, and finds that it was replaced
    assert "eve@example.com" in emails(site.app)


def test_an_identity_that_is_away_is_tried_again(site: Together) -> None:
    """The failure reaches the rounds, which log it; the next one goes on."""
    site.stop()
    sync = site.app.sync
    sync._sleep = lambda _: None
    site.app.identity._sleep = lambda _: None  # type: ignore[union-attr]
    with pytest.raises(IdentityUnavailableError):
        all_steps(sync)
    site.start()
    assert all_steps(sync) > 1
    assert "eve@example.com" in emails(site.app)


def test_a_server_without_the_setting_has_none(make_settings: Callable[..., Settings]) -> None:
    """Off, unless somebody wants it."""
    assert make_settings().sync_interval_seconds == 0
    settings = {"USHER_WEBHOOK_SECRETS": "s" * 40, "USHER_SYNC_INTERVAL_SECONDS": "60"}
    assert Settings.from_env(settings).sync_interval_seconds == 60


def test_a4_an_account_that_cannot_be_read_is_counted_and_named_in_the_log(
    site: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run beside a server comes to its end, and the next one is due an hour later."""
    bob = str(next(user.id for user in site.app.store.users.page().items if "bob" in user.email))
    body = {"user_metadata": {"x": "x" * 40_000}}
    assert site.world.admin("PUT", f"/admin/users/{bob}", body).status == 200
    site.clock.advance(seconds=60)
    monkeypatch.setattr(identity_http, "MAX_ADMIN_ANSWER_BYTES", 20_000)
    lines = LogLines()
    all_steps(site.app.sync)
    last = site.app.sync.completed()
    assert last is not None
    assert last.left == {"unreadable": 1}
    assert "eve@example.com" in emails(site.app)
    (line,) = lines("sync.unreadable")
    assert (line["user_id"], line["trouble"]) == (bob, "too_large")
    (line,) = lines("sync.done")
    assert (line["unreadable"], line["left"], line["accounts"]) == (1, 1, 2)
    assert all_steps(site.app.sync) == 0
