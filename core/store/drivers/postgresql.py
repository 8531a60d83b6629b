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
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from usher.core.database_url import connect_arguments
from usher.core.store.drivers import Fault
from usher.core.store.drivers.engine import engine_over
from usher.core.store.drivers.hosts import Hosts
from usher.core.store.drivers.pipeline import (
    LOCK_TIMEOUT_MS,
    RECYCLE_SECONDS,
    ExchangeError,
    PipelineSession,
    fault_of,
    settings_of_own_session,
)

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult
    from sqlalchemy import Engine

MAX_PREPARED: Final = 200
"""Prepared statements of one session; a statement's text differs by the columns that change."""
_NOTICE_A_DEAD_PEER: Final = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""libpq's parameters; seconds, the last one milliseconds."""
_BINARY: Final = pq.Format.BINARY
_NOT_SUPPORTED: Final = "0A000"
"""SQLSTATE: among others, a prepared statement would have columns of other types than before."""
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
_FAILED: Final = pq.ExecStatus.FATAL_ERROR

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # psycopg raises what it logs


class StaleStatementError(psycopg.errors.InvalidSqlStatementName):
    """A prepared statement is older than the table's columns are; a new session has none."""


class PostgresqlDriver:
    """One database of PostgreSQL; see ``Driver``."""

    name = "postgresql"
    recycle_seconds: int = RECYCLE_SECONDS
    rest_seconds: float | None = None

    def __init__(self, url: str) -> None:
        arguments = {**_NOTICE_A_DEAD_PEER, **connect_arguments(url), "client_encoding": "utf8"}
        self._lock_timeout_ms = LOCK_TIMEOUT_MS
        self._hosts = Hosts(arguments, settings_of_own_session(self._lock_timeout_ms))

    def connect(self) -> PostgresqlSession:
        """A new connection, recognised as our own session or as a pooler's."""
        connection, own = self._hosts.connect()
        connection.autocommit = True
        pooled = own is None
        if pooled:
            connection.prepare_threshold = None
        return PostgresqlSession(connection, pooled, self._lock_timeout_ms)

    def fault(self, error: BaseException) -> Fault | None:
        """The meaning of an error."""
        if isinstance(error, ExchangeError):
            return error.fault
        if not isinstance(error, psycopg.Error):
            return None
        if error.sqlstate is not None:
            return fault_of(error.sqlstate)
        if isinstance(error, psycopg.DataError):
            return Fault.NOT_STORABLE
        unreachable = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Fault.AWAY if unreachable else Fault.REFUSED

    def make_engine(self, connect: Callable[[], Any]) -> Engine:
        """SQLAlchemy over our connections."""
        return engine_over("postgresql+psycopg://", connect)

    def close(self) -> None:
        """Nothing is open beside the sessions."""


class PostgresqlSession(PipelineSession["PGresult"]):
    """One connection to PostgreSQL; see ``Session``."""

    def __init__(self, raw: psycopg.Connection[Any], pooled: bool, lock_timeout_ms: int) -> None:
        super().__init__(raw, pooled, lock_timeout_ms)
        self._line = raw.pgconn
        self._rows = Transformer(raw)
        self._names: dict[str, bytes] = {}
        self._last_name = 0
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
        return bool(self.raw.closed)

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

    def _load(self, answer: PGresult) -> list[Any]:
        self._rows.set_pgresult(answer)
        return self._rows.load_rows(0, answer.ntuples, tuple)

    def _command(self, answer: PGresult) -> bytes | None:
        return answer.command_status

    def _has_unread(self) -> bool:
        return bool(self._line.pipeline_status != pq.PipelineStatus.OFF)

    def _in_transaction(self) -> bool:
        return bool(self._line.transaction_status != pq.TransactionStatus.IDLE)

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
