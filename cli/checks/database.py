"""The check of the database: its driver, its revision, and a transaction that could write."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from usher import migrations
from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.core.app import App
from usher.core.errors import DatabaseError, ExtraMissingError, NotMigratedError

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
            "USHER_DATABASE_URL asks for reading only, or leads to a standby.",
            "Set USHER_DATABASE_URL to the primary server, without such an option.",
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
            "USHER_DATABASE_URL has another host, port, name, user or password.",
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
FAILED = Kind(
    "database.failed",
    "it refuses what an event would do: {error}",
    (
        Advice(
            "The user in USHER_DATABASE_URL lacks a right, such as to write to a table.",
            "Grant it SELECT, INSERT, UPDATE and DELETE on all tables of Usher, and USAGE on all "
            "sequences.",
        ),
        Advice(
            "Its disk is full or fails.",
            "Make room; the log of the server or of the system says more.",
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
}
_POSTGRESQL: Final = {"55P03": LOCKED, "25006": READ_ONLY}


def database_finding(app: App) -> Finding:
    """Return whether events can be written."""
    try:
        database = app.store.database
        revision = migrations.revision(database)
    except ExtraMissingError as error:
        return DRIVER_MISSING.found(what=error.what, extra=error.extra)
    except DatabaseError as error:
        return failed(app, error)
    newest = migrations.newest()
    kind = database.driver.name
    if revision is None or revision < newest:
        if database.is_sqlite:
            return fine("database", f"{kind}, will be brought to revision {newest} at its next use")
        return NOT_MIGRATED.found(revision=revision or "there are none", newest=newest)
    try:
        app.store.check()
        pooled = not database.is_sqlite and database.pooled()
    except DatabaseError as error:
        return failed(app, error)
    if revision > newest:
        return NEWER.found(revision=revision, newest=newest, pooled=pooled)
    behind = " behind a pooler" if pooled else ""
    text = f"{kind}{behind}, at the newest revision"
    return fine("database", text, revision=revision, pooled=pooled)


def failed(app: App, error: DatabaseError) -> Finding:
    """Return the finding on a database that failed, in any check."""
    if isinstance(error, NotMigratedError):
        return TABLE_MISSING.found(error=_words(error))
    fault: Any = getattr(error.__cause__, "orig", None) or error.__cause__
    path = app.store.database.sqlite_path
    if path is None:
        state = str(getattr(fault, "sqlstate", None) or "")
        # Without a state, or with one of class 08 or 28, no connection came about.
        away = not state or state.startswith(("08", "28", "3D", "57"))
        kind = UNREACHABLE if away else _POSTGRESQL.get(state, FAILED)
        return kind.found(error=_words(error))
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    kind = _SQLITE.get(code, FAILED)
    return kind.found(error=_words(error), file=str(path), folder=str(path.absolute().parent))


def _words(error: DatabaseError) -> str:
    """The driver's own words, without our sentence before them: here is other advice."""
    fault = getattr(error.__cause__, "orig", None) or error.__cause__ or error
    return str(fault).partition("\n")[0][:200]
