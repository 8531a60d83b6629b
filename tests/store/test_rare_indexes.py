"""The indexes of what few users are: used by the searches, and made on a database with users."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, inspect

from tests.store.store_support import deliver, execute, executed, rows
from tests.support import NOON, account, signed
from usher import migrations
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.records import Status
from usher.core.store.database import Database
from usher.core.store.filters import UserFilters
from usher.core.store.pending import PendingRecords

NAMES = ("users_status", "users_provider")
FEW = (
    UserFilters(status=Status.SUSPENDED),
    UserFilters(status=Status.PENDING),
    UserFilters(provider="google"),
)
MANY = UserFilters(status=Status.ACTIVE), UserFilters(provider="email")


@pytest.fixture
def people(usher: App) -> App:
    """Six of each kind: by e-mail, by Google, suspended, and not confirmed yet."""
    mails = [account(email=f"{n}@example.com") for n in range(12)]
    deliver(usher, [signed("signup", one) for one in mails])
    googled = [account(email=f"{n}@example.org", provider="google") for n in range(6)]
    deliver(usher, [signed("signup", one) for one in googled])
    deliver(usher, [signed("validate", account(email=f"{n}@example.net")) for n in range(6)])
    for one in mails[:6]:
        user = usher.store.users.get(one.id)
        usher.store.users.change(user, administration.suspend(), Change("cli:boss"))
    return usher


@pytest.fixture
def crowd(people: App) -> App:
    """And a thousand active ones by e-mail, of whom the planner knows."""
    database = people.store.database
    new_id, thousand = "gen_random_uuid()", "SELECT generate_series(1, 1000)"
    if database.is_sqlite:
        new_id = "lower(hex(randomblob(16)))"
        thousand = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT 1 FROM n LIMIT 1000)"
        thousand += " SELECT x FROM n"
    with database.read() as transaction:
        columns = [one["name"] for one in inspect(transaction.sql).get_columns("users")]
    values = [new_id if name == "id" else name for name in columns]
    execute(
        database,
        f"INSERT INTO users ({', '.join(columns)}) SELECT {', '.join(values)} FROM "
        "(SELECT * FROM users WHERE status = 'active' AND provider = 'email' LIMIT 1) one, "
        f"({thousand}) many",
    )
    execute(database, "ANALYZE users")  # as autovacuum may do at any moment
    return people


def plans(app: App, filters: UserFilters | None) -> str:
    """How a search finds its users, or maintenance the pending ones."""
    with executed(app.store.database) as statements:
        if filters is None:
            PendingRecords(app.store.database, app.store.instances).page(NOON, None, 10)
        else:
            app.store.users.page(filters)
    return "\n".join(
        one.plan(app.store.database)
        for one in statements
        if "users.created_at" in one.text or "count(*)" in one.text
    )


@pytest.mark.parametrize("filters", [*FEW, None])
def test_what_is_rare_is_found_by_its_own_index(crowd: App, filters: UserFilters | None) -> None:
    """A planner takes a partial index where the statement names its rows."""
    name = "users_provider" if filters and filters.provider else "users_status"
    found = plans(crowd, filters)
    assert name in found
    assert "users_created" not in found


@pytest.mark.parametrize("filters", MANY)
def test_what_is_usual_is_looked_for_in_the_order_of_the_list(
    crowd: App, filters: UserFilters
) -> None:
    """Most records have it, so that a page is soon full."""
    found = plans(crowd, filters)
    if crowd.store.database.is_sqlite:  # PostgreSQL may sort a thousand, whatever their order
        assert "users_created" in found
    assert not any(name in found for name in NAMES)


def downgrading(connection: Connection) -> AbstractContextManager[object]:
    """Alembic's ``op`` on this connection."""
    return Operations.context(MigrationContext.configure(connection))


def partial(database: Database) -> dict[str, bool]:
    """Which of the two indexes have a condition."""
    with database.read() as transaction:
        found = inspect(transaction.sql).get_indexes("users")
        where = f"{transaction.sql.dialect.name}_where"
        return {
            str(one["name"]): where in one["dialect_options"]
            for one in found
            if one["name"] in NAMES
        }


def test_the_indexes_are_made_and_undone_on_a_database_with_users(people: App) -> None:
    """No row changes, and the searches find the same before and after."""
    database = people.store.database
    module = import_module("usher.migrations.versions.0009_indexes_of_what_is_rare")
    every = [UserFilters(), *FEW, *MANY]
    before = [people.store.users.page(filters).items for filters in every]
    assert [len(items) for items in before] == [24, 6, 6, 6, 12, 18]
    assert partial(database) == dict.fromkeys(NAMES, True)
    with database.write() as transaction, downgrading(transaction.sql):
        module.downgrade()
    assert partial(database) == dict.fromkeys(NAMES, False)
    assert [people.store.users.page(filters).items for filters in every] == before
    execute(database, "UPDATE alembic_version SET version_num = '0008'")
    migrations.upgrade(database)
    assert partial(database) == dict.fromkeys(NAMES, True)
    assert [people.store.users.page(filters).items for filters in every] == before


def test_a_log_is_vacuumed_early(postgresql_url: str) -> None:
    """With PostgreSQL's defaults a fifth of the ledger would be dead first."""
    database = Database(postgresql_url)
    migrations.upgrade(database)
    settings = "SELECT relname, reloptions FROM pg_class WHERE relname IN ('deliveries', 'audit')"
    for _, options in rows(database, settings):
        assert "autovacuum_vacuum_scale_factor=0.02" in options
    database.dispose()
