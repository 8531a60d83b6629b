"""The last administrator cannot be removed by accident, nor by two accidents at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from msgspec.structs import replace

from tests.store.store_support import counts, rows
from tests.store.test_users import listed, save, user
from tests.store.test_users_administration import BOSS, signed_up
from tests.support import NOON, Clock
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change, revoke_role
from usher.core.domain.records import Grant, Key, Source, Status, User
from usher.core.errors import LastAdministratorError, UsherError
from usher.core.settings import Settings

REMOVALS: dict[str, Callable[..., User]] = {
    "revoke": lambda users, u, **how: users.change(
        u, administration.revoke("admin"), Change(BOSS, **how)
    ),
    "suspend": lambda users, u, **how: users.change(
        u, administration.suspend(), Change(BOSS, **how)
    ),
    "delete": lambda users, u, **how: users.change(u, administration.delete(), Change(BOSS, **how)),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS.keys())
def test_the_last_administrator_is_kept_unless_forced(
    usher: App, remove: Callable[..., User]
) -> None:
    """Others who were suspended, denied, expired or are pending do not count."""
    owner = signed_up(usher, "owner@example.com")
    assert usher.store.users.change(
        signed_up(usher, "bob@x.org"), administration.revoke("admin"), Change(BOSS)
    )

    def grant(who: User, **how: Any) -> User:
        return usher.store.users.change(who, administration.grant("admin", **how), Change(BOSS))

    usher.store.users.change(
        grant(signed_up(usher, "s@x.org")),
        administration.suspend(),
        Change(BOSS),
    )
    grant(signed_up(usher, "e@x.org"), expires_at=NOON)
    grant(save(usher, user("p@x.org", confirmed_at=None))[0])
    before = counts(usher.store.database)
    with pytest.raises(LastAdministratorError, match="'admin'"):
        remove(usher.store.users, owner)
    assert usher.store.users.find(str(owner.id)) == owner
    assert counts(usher.store.database) == before
    remove(usher.store.users, owner, force=True)
    assert listed(usher, role="admin", status=Status.ACTIVE) == []


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS.keys())
def test_one_of_two_administrators_may_go(usher: App, remove: Callable[..., User]) -> None:
    """Somebody is left; then that one is the last."""
    first = signed_up(usher, "owner@example.com")
    second = usher.store.users.change(
        signed_up(usher, "b@x.org"), administration.grant("admin"), Change(BOSS)
    )
    remove(usher.store.users, first)
    with pytest.raises(LastAdministratorError):
        remove(usher.store.users, second)


def test_a_grant_that_ends_at_once_does_not_remove_the_last_administrator(
    usher: App, clock: Clock
) -> None:
    """Giving the role "until yesterday" in place of a lasting grant takes it away."""
    (boss,) = save(usher, user("boss@x.org"))
    boss = usher.store.users.change(boss, administration.grant("admin"), Change(BOSS))
    yesterday: datetime = clock() - timedelta(days=1)
    with pytest.raises(UsherError):
        usher.store.users.change(
            boss, administration.grant("admin", expires_at=yesterday), Change(BOSS)
        )
    assert listed(usher, role="admin") == [boss]


# --- two at once --------------------------------------------------------------------------------


@pytest.fixture
def other(usher: App, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[App]:
    """Another process's App on the same database."""
    app = App(make_settings(database_url=usher.settings.database_url), clock)
    yield app
    app.close()


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS.keys())
def test_two_administrators_who_remove_each_other_at_once_leave_one(
    usher: App, other: App, remove: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked at their own record when they look for others: one is told that none is."""
    first = usher.store.users.change(
        signed_up(usher, "a@x.org"), administration.grant("admin"), Change(BOSS)
    )
    second = usher.store.users.change(
        signed_up(usher, "b@x.org"), administration.grant("admin"), Change(BOSS)
    )
    both = Barrier(2)

    def run(app: App, leaving: User) -> User | UsherError:
        original = app.store.users.load

        def load(*arguments: Any) -> dict[Key, User]:
            found = original(*arguments)
            with suppress(BrokenBarrierError):  # where one must wait for the other, none meets
                both.wait(0.3)
            return found

        monkeypatch.setattr(app.store.users, "load", load)
        try:
            return remove(app.store.users, leaving)
        except UsherError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, (usher, other), (first, second)))
    assert len(listed(usher, role="admin", status=Status.ACTIVE)) == 1
    (refused,) = [result for result in results if isinstance(result, UsherError)]
    assert isinstance(refused, LastAdministratorError), refused


def test_an_administrator_whose_role_is_just_being_taken_does_not_count(
    postgresql_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """We wait for that other change, and then look at what it left, not at what was before."""
    app = App(make_settings(database_url=postgresql_url), clock)
    users = app.store.users
    saved = save(app, user("a@x.org"), user("b@x.org"))
    first, second = (
        users.change(each, administration.grant("admin"), Change(BOSS)) for each in saved
    )
    key = (second.instance_id, second.id)
    with ThreadPoolExecutor(1) as pool:
        with app.store.database.write() as connection:  # as an event from Identity would
            before = users.load(connection, [key])
            after = revoke_role(before[key], "admin", actor="identity", now=NOON)
            after = replace(after, version=after.version + 1)
            users.store(connection, before, {key: after}, [])
            leaving = pool.submit(users.change, first, administration.revoke("admin"), Change(BOSS))
            deadline = time.monotonic() + 5
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
            while not rows(app.store.database, waiting) and time.monotonic() < deadline:
                time.sleep(0.01)
        error = leaving.exception(10)
    left = listed(app, role="admin")
    app.close()
    assert left == [first]
    assert isinstance(error, LastAdministratorError)


def test_the_last_administrator_gets_no_end_by_accident(usher: App) -> None:
    """It would be a removal with a delay."""
    users, soon = usher.store.users, NOON + timedelta(seconds=3)
    boss = users.change(signed_up(usher, "a@x.org"), administration.grant("admin"), Change(BOSS))
    with pytest.raises(LastAdministratorError):
        users.change(boss, administration.grant("admin", expires_at=soon), Change(BOSS))
    users.change(signed_up(usher, "b@x.org"), administration.grant("admin"), Change(BOSS))
    assert (
        users.change(boss, administration.grant("admin", expires_at=soon), Change(BOSS)).version
        == boss.version + 1
    )


def test_d5_the_last_administrator_without_an_end_is_kept(usher: App) -> None:
    """Two who give each other an end would leave nobody once both have passed."""
    users, soon = usher.store.users, NOON + timedelta(days=1)
    first, second = (
        users.change(signed_up(usher, email), administration.grant("admin"), Change(BOSS))
        for email in ("a@x.org", "b@x.org")
    )
    ending = administration.grant("admin", expires_at=soon)
    second = users.change(second, ending, Change(BOSS))
    with pytest.raises(LastAdministratorError, match="without an end"):
        users.change(first, ending, Change(BOSS))
    for remove in REMOVALS.values():
        with pytest.raises(LastAdministratorError, match="without an end"):
            remove(users, first)
    third = users.change(signed_up(usher, "c@x.org"), ending, Change(BOSS))
    users.change(second, administration.revoke("admin"), Change(BOSS))  # one with an end may go
    with pytest.raises(LastAdministratorError):
        users.change(first, administration.suspend(), Change(BOSS))
    users.change(first, ending, Change(BOSS, force=True))
    users.change(third, administration.suspend(), Change(BOSS))
    with pytest.raises(LastAdministratorError):  # the last at all, with an end as it is
        users.change(first, administration.suspend(), Change(BOSS))


def test_d5_a_denial_that_ends_is_no_administrator_of_today(usher: App) -> None:
    """Nor is one whose role begins again when a denial has ended."""
    users = usher.store.users
    boss = users.change(signed_up(usher, "a@x.org"), administration.grant("admin"), Change(BOSS))
    held = Grant("admin", Source.ADMINISTRATOR, NOON)
    ends = Grant("admin", Source.POLICY, NOON, denies=True, expires_at=NOON + timedelta(days=1))
    save(usher, user("d@x.org", grants=(held, ends)))
    with pytest.raises(LastAdministratorError):
        users.change(boss, administration.revoke("admin"), Change(BOSS))
