"""Identity's accounts, as dispatchers ask about them: a no counts only from an Identity of ours."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.pipeline.test_unconfirmed import Identity
from usher.core.errors import (
    IdentityAccountUnreadableError,
    IdentityUnavailableError,
    SyncStrangerError,
)
from usher.core.identity.client import IdentityClient
from usher.core.outbox import accounts as module
from usher.core.outbox.accounts import KnownAccounts
from usher.core.store.database import Database
from usher.core.store.instances import Instances
from usher.core.store.pending import PendingRecords


@pytest.fixture
def identity() -> Identity:
    """An Identity without accounts."""
    return Identity()


@pytest.fixture
def accounts(identity: Identity, sqlite_url: str) -> Iterator[KnownAccounts]:
    """Its accounts, for a site without records."""
    database = Database(sqlite_url)
    client = IdentityClient(None, identity, sleep=lambda _: None)
    yield KnownAccounts(client, PendingRecords(database, Instances(None)))
    database.dispose()


def test_an_account_is_asked_about_until_it_was_seen(
    identity: Identity, accounts: KnownAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without an account is asked about each time; so many are remembered, the newest."""
    monkeypatch.setattr(module, "REMEMBERED", 1)
    ada, bea = uuid4(), uuid4()
    assert [accounts.has(ada), accounts.has(ada)] == [False, False]
    identity.accounts |= {ada: {}, bea: {}}
    identity.asked.clear()
    assert [accounts.has(ada), accounts.has(ada), accounts.has(bea)] == [True] * 3
    assert identity.asked == [ada, bea]
    assert accounts.has(ada)
    assert identity.asked == [ada, bea, ada]


def test_an_account_that_cannot_be_read_is_there(
    identity: Identity, accounts: KnownAccounts
) -> None:
    """One of which Identity says nothing may be there, or not."""
    ada = uuid4()
    identity.accounts[ada] = {}
    identity.odd.add(ada)
    assert accounts.has(ada)
    bea = uuid4()

    def fails_for_one(path: str) -> None:
        identity.status = 500 if str(bea) in path else 0

    identity.before = fails_for_one
    with pytest.raises(IdentityAccountUnreadableError):
        accounts.has(bea)
    identity.away = True
    with pytest.raises(IdentityUnavailableError):
        accounts.has(bea)
    assert accounts.has(ada)


def test_the_no_of_a_stranger_counts_for_nothing(
    identity: Identity, accounts: KnownAccounts
) -> None:
    """An Identity whose accounts nobody here knows is another site's."""
    identity.accounts[uuid4()] = {}
    with pytest.raises(SyncStrangerError):
        accounts.has(uuid4())
