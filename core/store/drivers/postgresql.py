"""PostgreSQL by psycopg 3, on libpq's pipeline mode: several statements share one round trip.

psycopg's cursors are made for one statement at a time, and cost an event more than the server
takes for it. The session uses ``connection.pgconn``, psycopg's documented way to libpq, and
psycopg's loaders for the rows.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec.json import Encoder
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from usher.core.database_url import connect_arguments
from usher.core.store.drivers import Fault, Rows
from usher.core.store.drivers.engine import engine_over
from usher.core.store.drivers.hosts import Hosts

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult
    from sqlalchemy import Engine

    from usher.core.store.drivers.statement import Insert, Statement

LOCK_TIMEOUT_MS: Final = 2_000
RECYCLE_SECONDS: Final[int] = 300
"""Age at which a connection is replaced. The connection of a frozen function, or one that a network
cut for idleness (AWS does after 350 s), would fail somebody's login."""
MAX_ROWS: Final = 1_000
"""Rows in one document of an INSERT."""
MAX_PREPARED: Final = 200
"""Prepared statements of one session; a statement's text differs by the columns that change."""
_NOTICE_A_DEAD_PEER: Final = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""libpq's parameters; seconds, the last one milliseconds."""
_FAULTS: Final[tuple[tuple[tuple[str, ...], Fault], ...]] = (
    # A serialization failure, a deadlock.
    (("40001", "40P01"), Fault.CONFLICT),
    (("23505",), Fault.DUPLICATE),
    # A table, a column that is not there.
    (("42P01", "42703"), Fault.NOT_MIGRATED),
    # A prepared statement that the session no longer has, since somebody discarded all; a primary
    # that became a replica, where another host may be the primary now.
    (("26000", "25006"), Fault.LOST),
    # A value that does not fit, a constraint, a limit of the program.
    (("22", "23", "54"), Fault.NOT_STORABLE),
    # No connection, out of resources (a full disk too), a lock not had in time, an
    # operator's intervention, a system error.
    (("08", "53", "55P03", "57", "58"), Fault.AWAY),
)
"""Beginnings of SQLSTATE and their meaning."""
_BEGIN_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""The database's default may be another level, at which a transaction fails for what others do."""
_SETTINGS: Final = {
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    # Every statement has its index. A plan made while a table was empty scans the table, and is
    # kept until the first ANALYZE, however much the table grows (measured with 8,000 deliveries: a
    # quarter of an event's time, and growing).
    "enable_seqscan": "off",
    # enable_seqscan = off inflates the cost of a scan; jit would take it as worth compiling.
    "jit": "off",
    "TimeZone": "UTC",  # the zone of the times that are read
}


def _set(local: str) -> str:
    return ", ".join(f"set_config('{one}', '{to}', {local})" for one, to in _SETTINGS.items())


_IN_TRANSACTION: Final = f"SELECT {_set('true')}"
_OWN_SESSION: Final = "SELECT CASE WHEN pg_backend_pid() = $1 THEN concat({}) END".format(
    _set("false")
)
"""Settings of the session only where it is our own. A pooler answers with the key of a session of
its own making: the next transaction may run on another server process, which knows neither settings
nor prepared statements, and ours would be left to others."""
_ENCODE: Final = Encoder().encode
_BINARY: Final = pq.Format.BINARY
_NOT_SUPPORTED: Final = "0A000"
"""SQLSTATE: among others, a prepared statement would have columns of other types than before."""
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
_FAILED: Final = pq.ExecStatus.FATAL_ERROR

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # psycopg raises what it logs

_Queued = tuple[str, "Sequence[bytes | None] | None", bool]
"""A statement on its way: its text, its values, and whether the session may prepare it."""


class StaleStatementError(psycopg.errors.InvalidSqlStatementName):
    """A prepared statement is older than the table's columns are; a new session has none."""


class PostgresqlDriver:
    """One database of PostgreSQL; see ``Driver``."""

    name = "postgresql"
    recycle_seconds: int = RECYCLE_SECONDS

    def __init__(self, url: str) -> None:
        arguments = {**_NOTICE_A_DEAD_PEER, **connect_arguments(url), "client_encoding": "utf8"}
        self._hosts = Hosts(arguments, _OWN_SESSION)

    def connect(self) -> PostgresqlSession:
        """A new connection, recognised as our own session or as a pooler's."""
        connection, own = self._hosts.connect()
        connection.autocommit = True
        pooled = own is None
        if pooled:
            connection.prepare_threshold = None
        return PostgresqlSession(connection, pooled)

    def fault(self, error: BaseException) -> Fault | None:
        """The meaning of an error."""
        if not isinstance(error, psycopg.Error):
            return None
        state = error.sqlstate
        if state is not None:
            return next(
                (fault for states, fault in _FAULTS if state.startswith(states)), Fault.REFUSED
            )
        if isinstance(error, psycopg.DataError):
            return Fault.NOT_STORABLE
        unreachable = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Fault.AWAY if unreachable else Fault.REFUSED

    def make_engine(self, connect: Callable[[], Any]) -> Engine:
        """SQLAlchemy over our connections."""
        return engine_over("postgresql+psycopg://", connect)

    def close(self) -> None:
        """Nothing is open beside the sessions."""


class PostgresqlSession:
    """One connection to PostgreSQL; see ``Session``."""

    def __init__(self, raw: psycopg.Connection[Any], pooled: bool) -> None:
        self.raw = raw
        self.pooled = pooled
        self._line = raw.pgconn
        self._rows = Transformer(raw)
        self._queue: list[_Queued] = []
        self._answered: list[PGresult] = []
        self._names: dict[str, bytes] = {}
        self._last_name = 0
        self._direct = False
        self._fileno = self._line.socket
        self._readable = select.poll()
        self._readable.register(self._fileno, select.POLLIN)
        self._usable = select.poll()
        self._usable.register(self._fileno, select.POLLIN | select.POLLOUT)
        self._closing = Lock()
        self._closed = False

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""
        return self.raw.closed

    def queue(self, text: str, values: Sequence[bytes | None] | None, prepare: bool) -> None:
        """Note a statement for the next exchange; every one of the session comes by here."""
        self._queue.append((text, values, prepare and not self.pooled))

    def begin(self, *, write: bool) -> None:
        """Begin, in one flush with the first statement; whatever was left before is forgotten."""
        self._direct = False
        self._queue, self._answered = [], []
        self.queue(_BEGIN_WRITE if write else _BEGIN_READ, None, False)
        if self.pooled:
            self.queue(_IN_TRANSACTION, None, False)

    def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        """The rows of one statement."""
        self.queue(statement.postgresql, [_parameter(one) for one in values], True)
        return self._load(self._exchange()[-1])

    def ask(self, statement: Statement, values: Sequence[Any]) -> Rows:
        """Send the question with whatever is awaited next."""
        place, answers = len(self._queue), self._answered
        self.queue(statement.postgresql, [_parameter(one) for one in values], True)

        def rows() -> list[Any]:
            if not answers:
                self._exchange()
            return self._load(answers[place])

        return rows

    def send(self, statement: Statement, values: Sequence[Any]) -> None:
        """Send it with whatever is awaited next."""
        self.queue(statement.postgresql, [_parameter(one) for one in values], True)
        if self._direct:
            self._exchange()

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], tail: str) -> None:
        """Insert by one statement with one parameter, a JSON document of all rows.

        So the statement stays the same however many there are, and is prepared once.
        """
        columns, text = insert.columns, insert.postgresql + tail
        for start in range(0, len(rows), MAX_ROWS):
            chunk = rows[start : start + MAX_ROWS]
            document = _ENCODE([dict(zip(columns, row, strict=True)) for row in chunk])
            self.queue(text, (document,), True)
        if self._direct:
            self._exchange()

    def direct(self) -> None:
        """Await all that was sent."""
        self._direct = True
        if self._queue:
            self._exchange()

    def commit(self) -> None:
        """Commit, in one flush with what was sent before."""
        self.queue("COMMIT", None, False)
        ended = self._exchange()[-1].command_status
        if ended != b"COMMIT":
            raise psycopg.OperationalError(f"COMMIT was answered with {ended!r}")

    def rollback(self) -> None:
        """Roll back; what was not sent yet never is."""
        self._queue.clear()
        if self._line.pipeline_status != pq.PipelineStatus.OFF:
            raise psycopg.OperationalError("an exchange was not brought to its end")
        if self._line.transaction_status != pq.TransactionStatus.IDLE:
            self.queue("ROLLBACK", None, False)
            self._exchange()

    def interrupt(self) -> None:
        """Shut the socket down, which wakes up whoever waits on it."""
        with self._closing:  # closed, its number may be that of another socket
            if not self._closed:
                with socket.socket(fileno=os.dup(self._fileno)) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        with self._closing:
            self._closed = True
            with suppress(psycopg.Error, OSError):
                self.raw.close()

    def _load(self, result: PGresult) -> list[Any]:
        self._rows.set_pgresult(result)
        return self._rows.load_rows(0, result.ntuples, tuple)

    def _exchange(self) -> list[PGresult]:
        """Send what is queued, and await every answer.

        Raises:
            psycopg.Error: that of the first statement that failed; none after it was run.
        """
        line, queued, names = self._line, self._queue, self._names
        had_names = bool(names)
        answered, self._queue, self._answered = self._answered, [], []
        prepared: list[str] = []
        places: list[int] = []
        line.enter_pipeline_mode()
        for text, values, prepare in queued:
            name = names.get(text) if prepare else None
            if name is None and prepare and len(names) < MAX_PREPARED:
                self._last_name += 1
                name = names[text] = b"usher_%d" % self._last_name
                line.send_prepare(name, text.encode())
                prepared.append(text)
            places.append(len(places) + len(prepared))
            if name is None:
                line.send_query_params(text.encode(), values, result_format=_BINARY)
            else:
                line.send_query_prepared(name, values, result_format=_BINARY)
        line.pipeline_sync()
        try:
            answers = self._answers()
        except psycopg.Error as error:
            for text in prepared:
                del names[text]
            if error.sqlstate == _NOT_SUPPORTED and had_names:
                raise StaleStatementError(str(error)) from error
            raise
        answered += [answers[place] for place in places] if prepared else answers
        return answered

    def _answers(self) -> list[PGresult]:
        """The answers up to the end of the pipeline; the line is an ordinary one afterwards."""
        line = self._line
        found: list[PGresult] = []
        failed: psycopg.Error | None = None
        silent = False
        try:
            self._flush()
            while True:
                while line.is_busy():
                    self._readable.poll()
                    line.consume_input()
                result = line.get_result()
                if result is None:  # the end of one statement's answer; two mean that none comes
                    if silent:
                        raise psycopg.OperationalError("the connection was closed")
                    silent = True
                    continue
                silent, status = False, result.status
                if status == _SYNC:
                    break
                if status == _FAILED and failed is None:
                    failed = error_from_result(result)
                found.append(result)
            line.exit_pipeline_mode()
        except psycopg.Error as lost:
            raise (failed or lost) from None
        if failed is not None:
            raise failed
        return found

    def _flush(self) -> None:
        """Send all of it; the server may want its answers read first."""
        line = self._line
        while line.flush():
            self._usable.poll()
            line.consume_input()


def _parameter(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, list):
        quoted = (one.replace("\\", "\\\\").replace('"', '\\"') for one in value)
        value = "{" + ",".join(f'"{one}"' for one in quoted) + "}"
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        raise psycopg.DataError("a text of PostgreSQL cannot hold U+0000")
    return text.encode()
