"""The migration that gives deliveries the key of a refused address, on both databases."""

from __future__ import annotations

import pytest

from tests.store.store_support import deliver, execute
from tests.support import NOON, account, signed
from usher import migrations
from usher.core.app import App
from usher.core.errors import NotMigratedError
from usher.core.store.readiness import check


def test_door_column_comes_to_a_database_with_deliveries(usher: App) -> None:
    """What is there stays; before the migration the check that stands for an event says so."""
    deliver(usher, [signed("signup", account()), signed("validate", account(email="a@b.example"))])
    database, ledger = usher.store.database, usher.store.ledger
    before = ledger.page().items
    execute(database, "DROP INDEX deliveries_address")
    execute(database, "ALTER TABLE deliveries DROP COLUMN address_key")
    execute(database, "UPDATE alembic_version SET version_num = '0006'")
    assert migrations.pending(database)
    with pytest.raises(NotMigratedError, match="usher db upgrade"):
        check(database)
    migrations.upgrade(database)
    check(database)
    assert not migrations.pending(database)
    assert ledger.page().items == before
    deliver(usher, [signed("validate", account(email="Eve@mailinator.com"))])
    assert ledger.refusal("eve@mailinator.com", NOON.replace(hour=11))
    assert [one.address_key for one in ledger.page().items] == ["eve@mailinator.com", "", ""]
