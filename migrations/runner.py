"""Runs migrations: one after the other, each kept before the next; on PostgreSQL beside events.

A migration is a module of ``versions/``. It may have, in this order:

- ``upgrade()``, in one transaction, with Alembic's ``op``;
- ``step(connection, place)``, which changes some rows, the first ones where ``place`` is None, and
  returns the place for its next transaction; None at the end;
- ``INDEXES`` on tables that have rows, and ``DROPPED``, names of indexes that nobody reads.

Its revision is noted last: in the transaction of ``upgrade()`` where that is all there is.
Otherwise an interrupted migration is run again from its beginning, so each part must do nothing
where it was done before. SQLite has one writer, so there it is all one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic, sleep
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from usher import migrations
from usher.core.errors import DatabaseAwayError, DatabaseError
from usher.core.store.refusals import refusal
from usher.migrations.forecast import indexes, modules, scripts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from usher.core.store.database import Database

Report = Callable[[str], object]

LOCK_MS: Final = 300
"""Longest wait for a table's lock: meanwhile everybody else waits behind us."""
PAUSE_SECONDS: Final = 1.0
"""Between two tries for it, so that those who waited go first."""
PATIENCE_SECONDS: Final = 600.0
"""How long a transaction is tried again."""
POLL_SECONDS: Final = 0.2
_ASK_FOR_IT: Final = "SELECT pg_try_advisory_xact_lock(7583202611093847601)"
"""The lock that an upgrade holds."""
_HOLDERS: Final = sa.text(
    "SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
    "WHERE l.granted AND l.pid <> pg_backend_pid() AND c.relkind = 'r' "
    "AND c.relnamespace = current_schema()::regnamespace ORDER BY l.pid LIMIT 3"
)
_PROGRESS: Final = sa.text(
    "SELECT phase, tuples_done, tuples_total, current_locker_pid "
    "FROM pg_stat_progress_create_index WHERE datname = current_database()"
)


def run(database: Database, to: str, report: Report) -> None:
    """Run what is still to be run, up to a revision.

    Raises:
        DatabaseError
    """
    if database.is_sqlite:
        _run_at_once(database, to)
    else:
        _Beside(database, report).run(to)


def _run_at_once(database: Database, to: str) -> None:
    found = scripts()
    with database.write() as transaction:
        connection = transaction.sql
        context = MigrationContext.configure(connection)
        for revision, module in modules(found, context.get_current_revision(), to):
            _change_tables(context, module)
            place = None
            while place := _step(module, connection, place):
                pass
            for index in indexes(module):
                index.build_in_place(connection.exec_driver_sql)
            for name in _dropped(module):
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
            context.stamp(found, revision)


def _change_tables(context: MigrationContext, module: ModuleType) -> None:
    if hasattr(module, "upgrade"):
        with Operations.context(context):
            module.upgrade()


def _is_one_transaction(module: ModuleType) -> bool:
    """Whether ``upgrade()`` is all that a migration does."""
    return not (hasattr(module, "step") or indexes(module) or _dropped(module))


def _step(module: ModuleType, connection: Connection, place: Any) -> Any:
    return module.step(connection, place) if hasattr(module, "step") else None


def _dropped(module: ModuleType) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(module, "DROPPED", ())
    return found


class _Beside:
    """The run on a PostgreSQL that takes events meanwhile."""

    def __init__(self, database: Database, report: Report) -> None:
        self._database = database
        self._report = report
        self._scripts: ScriptDirectory = scripts()

    def run(self, to: str) -> None:
        """Run all, unless another does; that one is waited for."""
        with self._alone():
            since = migrations.revision(self._database)
            for revision, module in modules(self._scripts, since, to):
                self._one(revision, module)

    def _one(self, revision: str, module: ModuleType) -> None:
        started = monotonic()
        if _is_one_transaction(module):
            self._soon(lambda connection: self._change_and_note(connection, revision, module))
        else:
            self._soon(lambda connection: _change_tables(_context(connection), module))
            self._beside_events(revision, module)
            self._soon(lambda connection: _context(connection).stamp(self._scripts, revision))
        self._report(f"{revision}: done in {monotonic() - started:.1f} s")

    def _change_and_note(self, connection: Connection, revision: str, module: ModuleType) -> None:
        context = _context(connection)
        _change_tables(context, module)
        context.stamp(self._scripts, revision)

    def _beside_events(self, revision: str, module: ModuleType) -> None:
        self._step_by_step(module)
        with self._outside() as execute:
            for index in indexes(module):
                self._report(f"{revision}: building {index.name} on {index.table}")
                with self._watched():
                    index.build_beside_events(execute)
            for name in _dropped(module):
                execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    def _step_by_step(self, module: ModuleType) -> None:
        place: Any = None

        def step(connection: Connection) -> Any:
            return _step(module, connection, place)

        while place := self._soon(step):
            pass

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock in a transaction that does nothing else, so that nothing waits for it.

        A pooler keeps a transaction, but not a session.
        """
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
        with self._lent() as execute:
            execute(begin)
            if not execute(_ASK_FOR_IT)[0][0]:
                self._report("Another upgrade is under way; waiting for its end.")
            while not execute(_ASK_FOR_IT)[0][0]:
                execute("ROLLBACK")  # indexes wait for the end of whatever has a snapshot
                sleep(POLL_SECONDS)
                execute(begin)
            execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield

    def _soon(self, work: Callable[[Connection], Any]) -> Any:
        """Run a transaction again until it has its locks without a wait; what it returns."""
        until = monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._database.write() as transaction:
                    connection = transaction.sql
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MS}")
                    return work(connection)
            except DatabaseAwayError as error:
                fault: Any = getattr(error.__cause__, "orig", None) or error.__cause__
                if getattr(fault, "sqlstate", None) != "55P03":
                    raise
                self._wait_for_others(error, until)

    def _wait_for_others(self, error: DatabaseError, until: float) -> None:
        with self._database.read() as transaction:
            pids = [str(pid) for pid in transaction.sql.execute(_HOLDERS).scalars()]
        others = f"; locks are held by the processes {', '.join(pids)}" if pids else ""
        if monotonic() > until:
            detail = f"A table was in use all the time{others}. End what holds it, and run it again"
            raise DatabaseAwayError(detail) from error
        self._report(f"A table is in use{others}. It is tried again")
        sleep(PAUSE_SECONDS)

    @contextmanager
    def _outside(self) -> Iterator[Callable[[str], Any]]:
        """Statements outside of any transaction; they wait as long as it takes."""
        pooled = self._database.pooled()
        with self._lent() as execute:
            if not pooled:
                execute("SET lock_timeout = 0")
                execute("SET statement_timeout = 0")
            yield execute

    @contextmanager
    def _lent(self) -> Iterator[Callable[[str], Any]]:
        """A connection of our own, without a transaction; closed at the end."""
        driver = self._database.driver
        session: Any = driver.connect()

        def execute(statement: str) -> Any:
            try:
                return session.run(statement)
            except Exception as error:
                fault = driver.fault(error)
                if fault is None:
                    raise
                raise refusal(fault, error) from error

        try:
            yield execute
        finally:
            session.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Report how far the build is, or for whom it waits."""
        ended = Event()
        watcher = Thread(target=self._watch, args=(ended,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _watch(self, ended: Event) -> None:
        told = ""
        while not ended.wait(PAUSE_SECONDS):
            with suppress(DatabaseError), self._database.read() as transaction:
                row = transaction.sql.execute(_PROGRESS).first()
                line = _progress(*row) if row else ""
                if line and line != told:
                    told = line
                    self._report(line)


def _progress(phase: str, done: int, total: int, locker: int | None) -> str:
    waits = f", for the process {locker}" if locker else ""
    share = f": {100 * done // total} %" if total else ""
    return f"  {phase}{share}{waits}"


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection)
