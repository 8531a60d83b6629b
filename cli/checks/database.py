"""The check of the database: its driver, its revision, and a transaction that could write."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from usher import migrations
from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.cli.checks.postgresql import (
    NO_RIGHT,
    SCHEMA,
    STANDBY_WORDS,
    found,
    held_back,
    promises,
    refusal,
)
from usher.core.app import App
from usher.core.errors import (
    DatabaseError,
    ExtraMissingError,
    NotMigratedError,
    NotStorableError,
)
from usher.core.store.readiness import check
from usher.core.store.surroundings import surroundings

DRIVER_MISSING = Kind(
    "database.driver_missing",
    "{what} not installed",
    (
        Advice(
            "Usher was installed without the extra for it.",
            commands=("pip install 'usher-identity[{extra}]'",),
        ),
    ),
)
NOT_MIGRATED = Kind(
    "database.not_migrated",
    "the tables are not at the newest revision: {revision}, this version needs {newest}",
    (
        Advice(
            "The database is new, or an older version made its tables.",
            commands=("usher db upgrade",),
        ),
    ),
)
NEWER = Kind(
    "database.newer",
    "the tables are at revision {revision}, of which this version knows nothing; it ends at "
    "{newest}. Events are stored all the same",
    (
        Advice(
            "A newer version has migrated them, as in the middle of a change of versions.",
            "Install that version here as well (usher --version there tells which).",
        ),
    ),
    Severity.WARNING,
)
TABLE_MISSING = Kind(
    "database.table_missing",
    "a table is missing or not as it was made, though the revision is the newest: {error}",
    (
        Advice(
            "It was dropped, renamed or left out of a copy.",
            "Bring the database back from its last backup (docs/storage.md).",
        ),
    ),
)
FILE = Kind(
    "database.file",
    "the file {file} cannot be opened: {error}",
    (
        Advice("Its folder does not exist.", commands=("mkdir -p {folder}",)),
        Advice(
            "The path in USHER_DATABASE_URL counts from the folder where the command was started.",
            "Set USHER_DATABASE_URL with four slashes before an absolute path.",
            settings=("USHER_DATABASE_URL",),
        ),
        Advice(
            "The user that runs Usher may not read it or its folder.",
            "Give the folder and the file to that user.",
        ),
    ),
)
NO_DATABASE = Kind(
    "database.no_database",
    "the file {file} holds no sound database: {error}",
    (
        Advice(
            "USHER_DATABASE_URL names another file.",
            "Set USHER_DATABASE_URL to the right one.",
            settings=("USHER_DATABASE_URL",),
        ),
        Advice(
            "The file is damaged.",
            "Stop the server, and bring the file back from its last backup (docs/storage.md).",
        ),
    ),
)
LOCKED = Kind(
    "database.locked",
    "another program holds a lock, so nothing can be written: {error}",
    (
        Advice(
            "A console, a backup or a migration has a transaction open.",
            "End it, or wait until it is done.",
        ),
    ),
)
READ_ONLY = Kind(
    "database.read_only",
    "it can be read but not written to: {error}",
    (
        Advice(
            "USHER_DATABASE_URL asks for reading only, or leads to standbys alone.",
            "Promote one of the servers that it names, if the primary is gone. Else set "
            "USHER_DATABASE_URL to the primary server, without such an option.",
            settings=("USHER_DATABASE_URL",),
        ),
        Advice(
            "The user that runs Usher may not write: the file, its folder, the disk, the tables.",
            "Give that user the right to write.",
        ),
    ),
)
UNREACHABLE = Kind(
    "database.unreachable",
    "it cannot be reached: {error}",
    (
        Advice("PostgreSQL does not run there, or not yet.", "Start it."),
        Advice(
            "USHER_DATABASE_URL has another host, port, name, user or password than it has.",
            "Set USHER_DATABASE_URL to postgresql://USER:PASSWORD@HOST:PORT/NAME.",
            settings=("USHER_DATABASE_URL",),
        ),
        Advice(
            "The network or pg_hba.conf does not let this machine in.",
            "Try psql with the same address from here.",
        ),
        Advice(
            "It has no connection left: its words are then of too many clients or connections.",
            "Raise its limit, or that of the user; or run fewer processes.",
        ),
    ),
)
CONSTRAINT = Kind(
    "database.constraint",
    "it does not take the row with which this is tried, and may refuse events too: {error}",
    (
        Advice(
            "A constraint, a domain or a column on Usher's tables is not Usher's.",
            "Take it out; or be sure that it takes every event's row. An event that it refuses is "
            "answered 500 and kept as failed (usher events list --outcome failed).",
        ),
    ),
    Severity.WARNING,
)
FULL = Kind(
    "database.full",
    "it has no room left: {error}",
    (
        Advice(
            "Its disk is full, or a quota is used up.",
            "Make room. Events are kept in the spool meanwhile, which should be on another disk.",
        ),
    ),
)
FAILED = Kind(
    "database.failed",
    "it refuses what an event would do: {error}",
    (
        Advice(
            "A trigger or a rule that is not Usher's raises this.",
            "Take it off the table, or mend it.",
        ),
        Advice(
            "Its disk or its memory fails.",
            "The log of PostgreSQL or of the system says more.",
        ),
    ),
)

_SQLITE: Final = {
    sqlite3.SQLITE_CANTOPEN: FILE,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_NOTADB: NO_DATABASE,
    sqlite3.SQLITE_CORRUPT: NO_DATABASE,
    sqlite3.SQLITE_FULL: FULL,
}
_POSTGRESQL: Final = {
    "55P03": LOCKED,
    "25006": READ_ONLY,
    "42501": NO_RIGHT,
    "53100": FULL,
}


def database_findings(app: App) -> list[Finding]:
    """Return whether events can be written, and stay; the first one tells whether they can."""
    try:
        database = app.store.database
        around = None if database.is_sqlite else surroundings(database)
        revision = None if around and around.hidden else migrations.revision(database)
    except ExtraMissingError as error:
        return [DRIVER_MISSING.found(what=error.what, extra=error.extra)]
    except DatabaseError as error:
        return [failed(app, error)]
    newest = migrations.newest()
    kind = database.driver.name
    if revision is None or revision < newest:
        if around and around.hidden:
            return [found(SCHEMA, database)]
        if database.is_sqlite:
            text = f"{kind}, will be brought to revision {newest} at its next use"
            return [fine("database", text)]
        return [NOT_MIGRATED.found(revision=revision or "there are none", newest=newest)]
    try:
        pooled = around is not None and database.pooled()
        lies = promises(database, around) + held_back(database) if around else []
        check(database)
    except NotStorableError as error:
        return [CONSTRAINT.found(error=error.words, pooled=pooled), *lies]
    except DatabaseError as error:
        return [failed(app, error)]
    if revision > newest:
        return [NEWER.found(revision=revision, newest=newest, pooled=pooled), *lies]
    behind = " behind a pooler" if pooled else ""
    text = f"{kind}{behind}, at the newest revision"
    return [fine("database", text, revision=revision, pooled=pooled), *lies]


def failed(app: App, error: DatabaseError) -> Finding:
    """Return the finding on a database that failed, in any check."""
    words = error.words[-200:]
    if isinstance(error, NotMigratedError):
        return TABLE_MISSING.found(error=words)
    if isinstance(error, NotStorableError):
        return CONSTRAINT.found(error=words)
    fault: Any = getattr(error.__cause__, "orig", None) or error.__cause__
    database = app.store.database
    path = database.sqlite_path
    if path is not None:
        code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
        kind = _SQLITE.get(code, FAILED)
        return kind.found(error=words, file=str(path), folder=str(path.absolute().parent))
    state = str(getattr(fault, "sqlstate", None) or "")
    # Without a state, or with one of these classes, no connection came about.
    away = not state or state.startswith(("08", "28", "3D", "57"))
    away_kind = READ_ONLY if STANDBY_WORDS.search(words) else UNREACHABLE
    kind = refusal(words, away=away) or (away_kind if away else _POSTGRESQL.get(state, FAILED))
    return found(kind, database, error=words)
