"""Migrations in a build on Netlify: production's alone, and a build without its database fails."""

from __future__ import annotations

import pytest

from usher import migrations
from usher.cli.netlify.migrate import migrate
from usher.core.errors import DatabaseError, SettingsError
from usher.core.store.database import Database

PASSWORD = "pa55word"
NOWHERE = f"postgresql://usher@127.0.0.1:1/usher?password={PASSWORD}"


def revision(url: str) -> str | None:
    """Of the database."""
    database = Database(url)
    try:
        return migrations.revision(database)
    finally:
        database.dispose()


@pytest.mark.parametrize("name", ["USHER_DATABASE_URL", "NETLIFY_DATABASE_URL", "NETLIFY_DB_URL"])
def test_the_build_of_production_brings_the_database_up(name: str, empty_postgresql: str) -> None:
    """Whichever variable names it; the second build finds nothing to do."""
    given = {"CONTEXT": "production", name: empty_postgresql.replace("+psycopg", "")}
    assert migrate(given) == "The database is now at the newest revision."
    assert revision(empty_postgresql) == migrations.newest()
    assert migrate(given) == "The database was at the newest revision already."


@pytest.mark.parametrize("context", ["deploy-preview", "branch-deploy", "staging", "dev", None])
def test_no_other_context_touches_the_database(context: str | None, empty_postgresql: str) -> None:
    """And each build says so."""
    given = {"USHER_DATABASE_URL": empty_postgresql} | ({"CONTEXT": context} if context else {})
    said = migrate(given)
    assert said.startswith("The database was not touched")
    assert (context or "no build of Netlify's") in said
    assert not revision(empty_postgresql)


def test_no_migrate_leaves_the_database_and_says_what_is_to_be_run(empty_postgresql: str) -> None:
    """For builds that do not reach it."""
    given = {"CONTEXT": "production", "USHER_DATABASE_URL": empty_postgresql}
    assert "usher db upgrade" in migrate(given, wanted=False)
    assert not revision(empty_postgresql)
    assert "--no-migrate" in migrate({"CONTEXT": "production"}, wanted=False)


def test_a_build_of_production_that_does_not_reach_its_database_fails() -> None:
    """With a sentence that says what to do, and no secret."""
    with pytest.raises(DatabaseError) as found:
        migrate({"CONTEXT": "production", "USHER_DATABASE_URL": NOWHERE})
    for words in ("this build ends", "usher db upgrade", "--no-migrate"):
        assert words in str(found.value)
    assert PASSWORD not in str(found.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [("", "knows no database"), (" ", "knows no database"), ("sqlite:///usher.db", "SQLite")],
)
def test_a_build_of_production_without_a_postgresql_fails(url: str, words: str) -> None:
    """Its functions would answer nobody."""
    with pytest.raises(SettingsError, match=words):
        migrate({"CONTEXT": "production", "USHER_DATABASE_URL": url})


def test_the_address_of_usher_goes_before_netlifys(empty_postgresql: str) -> None:
    """As in the functions."""
    given = {"CONTEXT": "production", "USHER_DATABASE_URL": empty_postgresql}
    assert "newest" in migrate(given | {"NETLIFY_DATABASE_URL": NOWHERE})
