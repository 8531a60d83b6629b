"""Keys in the database: as digests, one of each name, told in the audit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.store.store_support import deliver, rows
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.domain.keys import NewKey, Scope, digest_of, spelled
from usher.core.errors import (
    DatabaseAwayError,
    KeyNotFoundError,
    KeyTakenError,
    UnauthenticatedError,
)
from usher.core.keys import Machine
from usher.core.store.filters import AuditFilters
from usher.core.store.keys import Keys

READS = frozenset({Scope.CHANGES_READ, Scope.USERS_READ})
NAMES = frozenset({Scope.CLIENTS_NAME})


def made(
    usher: App, name: str = "feed", scopes: frozenset[Scope] = READS, days: int | None = 90
) -> str:
    """The text of a new key."""
    end = None if days is None else usher.clock() + timedelta(days=days)
    return usher.keys.create(NewKey(name, scopes, end), "cli:ada")[0]


def refused(usher: App, text: str) -> str:
    """The reason why a key does not open anything."""
    with pytest.raises(UnauthenticatedError) as caught:
        usher.keys.authenticate(text)
    return caught.value.reason


def test_a_key_is_kept_as_its_digest(usher: App) -> None:
    """Its text is nowhere in the database."""
    text = made(usher)
    ((digest, *kept),) = rows(usher.store.database, "SELECT digest, keys.* FROM keys")
    assert digest == digest_of(text)
    assert text.removeprefix("usher_") not in str(kept)
    machine = usher.keys.authenticate(text)
    assert (machine.actor, machine.key.scopes) == ("key:feed", READS)
    assert made(usher, "other") != text


def test_a_name_is_taken_for_good(usher: App) -> None:
    """The audit tells by it who acted."""
    made(usher)
    usher.keys.revoke("feed", "cli:ada")
    with pytest.raises(KeyTakenError, match="'feed' was made before"):
        made(usher)


def test_a_key_ends_at_its_time_and_when_it_is_revoked(usher: App, clock: Clock) -> None:
    """From the next request on; one that nobody made opens nothing."""
    text, other, lasting = made(usher), made(usher, "other"), made(usher, "lasting", days=None)
    assert refused(usher, spelled(7)) == refused(usher, "usher_x") == "key_unknown"
    usher.keys.revoke("other", "cli:eve")
    assert refused(usher, other) == "key_revoked"
    clock.advance(days=90)
    assert refused(usher, text) == "key_expired"
    assert isinstance(usher.keys.authenticate(lasting), Machine)
    with pytest.raises(KeyNotFoundError, match="no key 'nobody'"):
        usher.keys.revoke("nobody", "cli:ada")


def test_the_audit_tells_of_keys_once_there_is_an_instance(usher: App) -> None:
    """As of the site: which scopes, until when, and never the text."""
    made(usher, "early")
    deliver(usher, [signed("signup", account())])
    text = made(usher)
    for _ in range(2):
        usher.keys.revoke("feed", "cli:eve", "lost")
    entries = usher.store.users.audit_page(AuditFilters(action="key.created")).items
    assert [(e.actor, e.after["key"]["name"]) for e in entries] == [("cli:ada", "feed")]
    assert entries[0].after["key"]["scopes"] == ["changes:read", "users:read"]
    (revoked,) = usher.store.users.audit_page(AuditFilters(action="key.revoked")).items
    assert (revoked.actor, revoked.reason, revoked.after) == (
        "cli:eve",
        "lost",
        {"key": {"name": "feed"}},
    )
    assert text not in str(entries)


def test_the_use_of_a_key_is_noted_once_a_minute(usher: App, clock: Clock) -> None:
    """So a busy program does not write at each request."""
    text = made(usher)
    seen = []
    for seconds in (0, 1, 58, 1, 59, 1):
        clock.advance(seconds=seconds)
        usher.keys.authenticate(text)
        (key,) = usher.keys.page().items
        assert key.used_at is not None
        seen.append((key.used_at - NOON).total_seconds())
    assert seen == [0, 0, 0, 60, 60, 120]


def test_a_key_is_good_where_its_use_cannot_be_noted(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a database that is read-only just now."""
    text = made(usher)

    def fail(*_: object) -> None:
        raise DatabaseAwayError

    monkeypatch.setattr(Keys, "note_use", fail)
    assert usher.keys.authenticate(text).actor == "key:feed"


def test_keys_are_listed_in_pages_the_newest_first(usher: App, clock: Clock) -> None:
    """Whatever their state."""
    for name in ("a", "b", "c"):
        clock.advance(seconds=1)
        made(usher, name)
    usher.keys.revoke("b", "cli:ada")
    first = usher.keys.page(limit=2)
    rest = usher.keys.page(limit=2, cursor=first.next_cursor)
    assert [key.name for key in (*first.items, *rest.items)] == ["c", "b", "a"]
    assert rest.next_cursor is None


def test_a_guard_names_its_clients_with_a_key_for_that(usher: App, clock: Clock) -> None:
    """It is known after its first request, for a minute, and asked for again before that ends."""
    keys, text, other = usher.keys, made(usher, "site", NAMES), made(usher)
    assert keys.client_of([text], ["192.0.2.7"]) is None
    assert keys.check_naming([text]) == "key:site"
    assert keys.client_of([text], ["192.0.2.7"]) == "192.0.2.7"
    assert keys.client_of([text], ["x" * 100]) == "x" * 64
    for texts, named in (
        ([text, text], ["a"]),
        ([text], ["a", "b"]),
        ([text], []),
        ([text], [""]),
        ([other], ["a"]),
        (["x"], ["a"]),
    ):
        assert keys.client_of(texts, named) is None
    assert keys.check_naming([other]) == "key_scope"
    assert keys.check_naming(["x"]) == keys.check_naming([text, text]) == "key_unknown"
    keys.revoke("site", "cli:ada")
    clock.advance(seconds=29)
    assert keys.check_naming([text]) == "key:site"  # remembered
    clock.advance(seconds=2)
    assert keys.client_of([text], ["a"]) == "a"
    assert keys.check_naming([text]) == "key_revoked"
    assert keys.client_of([text], ["a"]) is None
