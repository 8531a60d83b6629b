"""Runs migrations: one after the other, each kept before the next; on PostgreSQL beside events.

A migration is a module of ``versions/``. It may have, in this order:

- ``upgrade()``, in one transaction, with Alembic's ``op``;
- ``steps(connection)``, which changes rows and yields where a transaction may end;
- ``INDEXES`` on tables that have rows, and ``DROPPED``, names of indexes that nobody reads.

Then its revision is noted. An interrupted migration is run again from its beginning, so each part
must do nothing where it was done before. SQLite has one writer, so there it is all one transaction.
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
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from usher import migrations
from usher.core.errors import DatabaseAwayError, DatabaseError
from usher.core.store.refusals import meaning
from usher.migrations.forecast import indexes, modules, scripts

if TYPE_CHECKING:
    from usher.core.store.database import Connection, Database

Report = Callable[[str], object]

LOCK_MS: Final = 300
"""Longest wait for a table's lock: meanwhile everybody else waits behind us."""
PAUSE_SECONDS: Final = 1.0
"""Between two tries for it, so that those who waited go first."""
PATIENCE_SECONDS: Final = 600.0
"""How long a transaction is tried again."""
POLL_SECONDS: Final = 0.2
_ONE_AT_A_TIME: Final = 7_583_202_611_093_847_601
"""Key of the advisory lock that an upgrade holds."""
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
    try:
        if database.is_sqlite:
            _run_at_once(database, to)
        else:
            _Beside(database, report).run(to)
    except SQLAlchemyError as error:
        raise meaning(error) from error


def _run_at_once(database: Database, to: str) -> None:
    found = scripts()
    with database.engine.connect() as connection, connection.begin():
        context = MigrationContext.configure(connection)
        for revision, module in modules(found, context.get_current_revision(), to):
            _change_tables(context, module)
            for _ in _steps(module, connection):
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


def _steps(module: ModuleType, connection: Connection) -> Iterator[None]:
    found: Iterator[None] = module.steps(connection) if hasattr(module, "steps") else iter(())
    return found


def _dropped(module: ModuleType) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(module, "DROPPED", ())
    return found


class _Beside:
    """The run on a PostgreSQL that takes events meanwhile."""

    def __init__(self, database: Database, report: Report) -> None:
        self._database = database
        self._engine = database.engine
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
        self._soon(lambda connection: _change_tables(_context(connection), module))
        self._soon(lambda connection: self._step_by_step(module, connection))
        with self._outside() as execute:
            for index in indexes(module):
                self._report(f"{revision}: building {index.name} on {index.table}")
                with self._watched():
                    index.build_beside_events(execute)
            for name in _dropped(module):
                execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        self._soon(lambda connection: _context(connection).stamp(self._scripts, revision))
        self._report(f"{revision}: done in {monotonic() - started:.1f} s")

    @staticmethod
    def _step_by_step(module: ModuleType, connection: Connection) -> None:
        for _ in _steps(module, connection):
            connection.commit()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock in a transaction that does nothing else, so that nothing waits for it.

        A pooler keeps a transaction, but not a session.
        """
        with self._engine.connect() as holder:
            asked = sa.select(sa.func.pg_try_advisory_xact_lock(_ONE_AT_A_TIME))
            if not holder.execute(asked).scalar():
                self._report("Another upgrade is under way; waiting for its end.")
                holder.rollback()  # the other's builds wait for the end of this
                while not holder.execute(asked).scalar():
                    holder.rollback()
                    sleep(POLL_SECONDS)
            # Last, for the answer to a query keeps its snapshot, for which builds of indexes wait.
            holder.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield
            holder.rollback()

    def _soon(self, work: Callable[[Connection], object]) -> None:
        """Run a transaction again until it has its locks without a wait."""
        until = monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
                    work(connection)
                    connection.commit()
                    return
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != "55P03":
                    raise
                self._wait_for_others(error, until)

    def _wait_for_others(self, error: DBAPIError, until: float) -> None:
        with self._database.read() as connection:
            pids = [str(pid) for pid in connection.execute(_HOLDERS).scalars()]
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
        lent = self._engine.raw_connection()
        driver: Any = lent.driver_connection

        def execute(statement: str) -> Any:
            done = driver.execute(statement)
            return done.fetchall() if done.description else None

        try:
            if not pooled:
                execute("SET lock_timeout = 0")
                execute("SET statement_timeout = 0")
            yield execute
        except driver.Error as error:
            raise meaning(error) from error
        finally:
            lent.invalidate()  # its settings are ours alone

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
            with suppress(DatabaseError), self._database.read() as connection:
                row = connection.execute(_PROGRESS).first()
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
