"""Our errors for what a driver says that an error of its database means."""

from __future__ import annotations

from usher.core.errors import (
    ConflictError,
    DatabaseAwayError,
    DatabaseError,
    DuplicateError,
    NotMigratedError,
    NotStorableError,
)
from usher.core.store.drivers import Fault


def refusal(fault: Fault | None, error: BaseException, *, lost: bool = False) -> DatabaseError:
    """Our error, without statements and values: its words are the first line of the database's own.

    Args:
        lost: the connection broke.
    """
    words = str(error).partition("\n")[0]
    if fault in (Fault.CONFLICT, Fault.DUPLICATE):
        kind = ConflictError if fault is Fault.CONFLICT else DuplicateError
        return kind(f"Another change came first ({type(error).__name__}).", words)
    if fault is Fault.NOT_MIGRATED:
        detail = f"The database is not migrated ({words[:120]}). Run: usher db upgrade"
        return NotMigratedError(detail, words)
    if fault is Fault.NOT_STORABLE:
        return NotStorableError.refusing(words)
    detail = f"The database cannot be used: {words[:200]}"
    if lost or fault in (Fault.AWAY, Fault.LOST):
        return DatabaseAwayError(detail, words, lost=lost or fault is Fault.LOST)
    return DatabaseError(detail, words)
