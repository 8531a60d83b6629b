"""How a PostgreSQL is set up, as far as Usher's promises hang on it; ``usher doctor`` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from usher.core.store.database import Database


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The settings and schemas that our role meets in our database.

    Attributes:
        database: its name.
        schema: the first of the search path that the role may use; empty: there is none.
        hidden: a schema with tables of Usher's that the role cannot see; empty: there is none.
        synchronous_commit: ``off``: an answer does not wait until its transaction is on disk.
        unsafe: settings that are off, without which a crash can damage the whole database.
    """

    role: str
    database: str
    schema: str
    hidden: str
    synchronous_commit: str
    unsafe: tuple[str, ...]


_HIDDEN: Final = """
    SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'alembic_version' AND NOT n.nspname = ANY (current_schemas(false))
    AND EXISTS (
        SELECT FROM pg_class o WHERE o.relnamespace = n.oid AND o.relname = 'deliveries'
    )
    ORDER BY n.nspname LIMIT 1
"""
_ALL: Final = text(
    "SELECT current_user, current_database(), coalesce(current_schema(), ''), "
    f"coalesce(({_HIDDEN}), ''), current_setting('synchronous_commit'), "
    "current_setting('fsync'), current_setting('full_page_writes')"
)


def surroundings(database: Database) -> Surroundings:
    """Ask a PostgreSQL.

    Raises:
        DatabaseError: it cannot be used.
    """
    with database.read() as transaction:
        role, name, schema, hidden, commit, fsync, pages = transaction.sql.execute(_ALL).one()
    settings = {"fsync": fsync, "full_page_writes": pages}
    off = tuple(name for name, value in settings.items() if value == "off")
    return Surroundings(role, name, schema, hidden, commit, off)
