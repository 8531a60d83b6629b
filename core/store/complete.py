"""How far the rows of a table are all there, so that a reader can go on from the last one.

Rows are numbered before they are committed. PostgreSQL may commit a row after another one with a
greater number, and a reader who has gone past would never see it. A transaction that writes a row
locks the table first (``ROW EXCLUSIVE``, which keeps nobody waiting), then takes the number, and
lets the lock go after its rows can be seen. So once all transactions have ended that held such a
lock after the newest row was seen, no row up to that one is still to come.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, func, select, text

from usher.core.store.database import Database, Transaction
from usher.core.store.tables import AUDIT

WAIT_SECONDS: Final = 2.0
FIRST_PAUSE_SECONDS: Final = 0.002
LONGEST_PAUSE_SECONDS: Final = 0.1
_WRITERS: Final = text("""
    SELECT virtualtransaction, pid FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation = CAST(:name AS regclass)
""")
_SESSIONS: Final = text("SELECT pid, usename FROM pg_stat_activity WHERE pid = ANY(:pids)")


class Writer(NamedTuple):
    """A transaction that may have written to the table.

    Attributes:
        transaction: PostgreSQL's name of it; another one once it is prepared for a second phase.
        pid: of its session; None: it is prepared, and waits for ``COMMIT PREPARED``.
    """

    transaction: str
    pid: int | None


class Complete:
    """Follows how far one table is complete; one for each thread.

    Args:
        table: its key is ``sequence``, and its newest row is never removed.
    """

    def __init__(self, database: Database, table: Table = AUDIT) -> None:
        self._database = database
        self._table = table
        self._known: int | None = None
        self._next: tuple[int, frozenset[str]] | None = None
        self.awaited: tuple[Writer, ...] = ()
        """The transactions for whose end the last ``up_to`` waited in vain."""

    def up_to(self, wait_seconds: float = WAIT_SECONDS) -> int | None:
        """The number of the last row before which none is still to come; 0: there is no row.

        That is the newest row now, as soon as its writers have ended, which takes milliseconds.
        After ``wait_seconds`` it is what was known before; None: nothing was. The next call goes
        on waiting for the same writers, so transactions that overlap for ever keep nothing back.

        Raises:
            DatabaseError: the database cannot be used.
        """
        until, pause, wanted = monotonic() + wait_seconds, FIRST_PAUSE_SECONDS, None
        while True:
            newest = self._look()
            wanted = newest if wanted is None else wanted
            if (self._known is not None and self._known >= wanted) or monotonic() >= until:
                return self._known
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _look(self) -> int:
        """Take in the newest row, and which writers have ended."""
        with self._database.read() as transaction:
            # The row first: a writer of one before it is among the writers after that, or done.
            found = transaction.sql.execute(select(func.max(self._table.c.sequence))).scalar()
            newest: int = found or 0
            if self._known is not None and newest < self._known:
                self._known = self._next = None  # a failover lost rows
            writers = () if newest in (0, self._known) else self._writers(transaction)
        if self._next is not None:
            number, before = self._next
            # Prepared, a transaction has another name.
            self.awaited = tuple(w for w in writers if w.transaction in before or w.pid is None)
            if not self.awaited:
                self._known, self._next = number, None
        if not writers:
            self._known, self._next, self.awaited = newest, None, ()
        elif self._next is None:
            self._next, self.awaited = (newest, frozenset(w.transaction for w in writers)), writers
        return newest

    def _writers(self, transaction: Transaction) -> tuple[Writer, ...]:
        if self._database.is_sqlite:  # one writes at a time
            return ()
        rows = transaction.sql.execute(_WRITERS, {"name": self._table.name})
        return tuple(Writer(*row) for row in rows)


def roles_of(database: Database, writers: tuple[Writer, ...]) -> dict[int, str]:
    """The roles of PostgreSQL as which these sessions are connected, by their process id."""
    pids = [writer.pid for writer in writers if writer.pid is not None]
    values: dict[str, Any] = {"pids": pids}
    with database.read() as transaction:
        return {pid: str(name) for pid, name in transaction.sql.execute(_SESSIONS, values)}
