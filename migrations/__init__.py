"""Migrations, one change each. ``upgrade`` brings a database to the newest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usher.core.store.database import Database
    from usher.migrations.forecast import Planned

FOLDER = Path(__file__).parent


def upgrade(
    database: Database, to: str = "", report: Callable[[str], object] = lambda _: None
) -> None:
    """Bring the database's tables to the newest revision, or this one, unless they are there.

    Args:
        report: takes a sentence about what is done, or waited for.

    Raises:
        DatabaseError
    """
    from usher.migrations.runner import run  # noqa: PLC0415 - much to load, and seldom needed

    run(database, to or newest(), report)


def plan(database: Database) -> list[Planned]:
    """The migrations that ``upgrade`` would run, and how long they would take.

    Raises:
        DatabaseError
    """
    from usher.migrations.forecast import planned  # noqa: PLC0415 - likewise

    return planned(database, newest())


def newest() -> str:
    """Return the newest revision: the highest number that a file's name begins with."""
    return max(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("*_*.py"))


def pending(database: Database) -> bool:
    """Whether ``upgrade`` would change something."""
    found = revision(database)
    return found is None or found < newest()


def ahead(database: Database) -> str | None:
    """The revision of a database that a newer version of Usher has migrated; None: none has."""
    found = revision(database)
    return found if found is not None and found > newest() else None


def revision(database: Database) -> str | None:
    """The database's revision; None: it was never migrated.

    Raises:
        DatabaseError: it cannot be used, or its tables are in a schema that the role does not see.
    """
    from sqlalchemy import inspect, text  # noqa: PLC0415

    with database.read() as transaction:
        connection = transaction.sql
        if inspect(connection).has_table("alembic_version"):
            found: str | None = connection.execute(
                text("SELECT version_num FROM alembic_version")
            ).scalar()
            return found
    if not database.is_sqlite:
        _check_schema(database)
    return None


def _check_schema(database: Database) -> None:
    """Refuse to make the tables a second time."""
    from usher.core.errors import DatabaseError  # noqa: PLC0415
    from usher.core.store.surroundings import surroundings  # noqa: PLC0415

    around = surroundings(database)
    if around.hidden:
        raise DatabaseError(
            f"Usher's tables are in the schema {around.hidden}, where the role {around.role} does "
            f"not see them. Put it in the role's search_path, or run: usher doctor. A second "
            "installation wants a database of its own."
        )
