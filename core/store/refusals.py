"""The meaning of a refusal by the database: by SQLSTATE on PostgreSQL, by its code on SQLite."""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Final

from usher.core.errors import (
    ConflictError,
    DatabaseAwayError,
    DatabaseError,
    DuplicateError,
    NotMigratedError,
    NotStorableError,
)

_AWAY: Final = ("08", "25006", "53", "55P03", "57", "58")
"""Beginnings of SQLSTATE that mean away: no connection, read-only, out of resources (a full disk
too), a lock not had in time, an operator's intervention, a system error."""
_CONFLICTS: Final = ("40001", "40P01")
"""A serialization failure, a deadlock."""
_DUPLICATE: Final = ("23505",)
_NOT_MIGRATED: Final = ("42P01", "42703")
"""A table, a column that is not there."""
_NOT_STORABLE: Final = ("22", "23", "54")
"""A value that does not fit, a constraint, a limit of the program."""
_BY_STATE: Final[tuple[tuple[tuple[str, ...], type[DatabaseError]], ...]] = (
    (_CONFLICTS, ConflictError),
    (_DUPLICATE, DuplicateError),
    (_NOT_MIGRATED, NotMigratedError),
    (_NOT_STORABLE, NotStorableError),
    (_AWAY, DatabaseAwayError),
)
_NO_TABLE_OR_COLUMN: Final = re.compile("no such (table|column)|table [^ ]+ has no column")
_AWAY_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_DUPLICATE_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
    }
)
_NOT_STORABLE_SQLITE: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
)
_BY_CLASS: Final[tuple[tuple[str, type[DatabaseError]], ...]] = (
    ("IntegrityError", DuplicateError),
    ("DataError", NotStorableError),
    ("OperationalError", DatabaseAwayError),
    ("InterfaceError", DatabaseAwayError),
    ("TimeoutError", DatabaseAwayError),  # no connection of the pool came free
)
"""By the names of the DB-API's classes, for errors that no database gave a code."""


def meaning(error: Exception, *, lost: bool = False) -> DatabaseError:
    """Our error for one of a driver, or for one of SQLAlchemy around it.

    Without statements and values: its words are the first line of the database's own.

    Args:
        lost: the connection broke.
    """
    fault: Exception = getattr(error, "orig", None) or error
    words = str(fault).partition("\n")[0]
    found = _kind(error, fault, words)
    if issubclass(found, ConflictError):
        return found(f"Another change came first ({type(fault).__name__}).", words)
    if found is NotMigratedError:
        detail = f"The database is not migrated ({words[:120]}). Run: usher db upgrade"
        return NotMigratedError(detail, words)
    if found is NotStorableError:
        return NotStorableError.refusing(words)
    detail = f"The database cannot be used: {words[:200]}"
    if lost or found is DatabaseAwayError:
        return DatabaseAwayError(detail, words, lost=lost)
    return DatabaseError(detail, words)


def _kind(error: Exception, fault: Exception, words: str) -> type[DatabaseError]:
    state: Any = getattr(fault, "sqlstate", None)
    if state is not None:
        return next((kind for states, kind in _BY_STATE if state.startswith(states)), DatabaseError)
    if code := getattr(fault, "sqlite_errorcode", 0):
        return _by_code(code, words)
    # Without a code, sqlite3 itself refused to do something.
    known = () if isinstance(fault, sqlite3.Error) else _BY_CLASS
    names = {each.__name__ for one in (error, fault) for each in type(one).__mro__}
    return next((kind for name, kind in known if name in names), DatabaseError)


def _by_code(code: int, words: str) -> type[DatabaseError]:
    if code in _DUPLICATE_SQLITE:
        return DuplicateError
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # RAISE, which may say anything
        return DatabaseError
    if code & 0xFF in _NOT_STORABLE_SQLITE:
        return NotStorableError
    if code & 0xFF in _AWAY_SQLITE:
        return DatabaseAwayError
    return NotMigratedError if _NO_TABLE_OR_COLUMN.match(words) else DatabaseError
