"""The connections of one process to its database: the one used last serves first.

So a writer's caches stay warm. SQLAlchemy's view of a connection is made at first need, and lives
as long.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, Final

from usher.core.errors import DatabaseAwayError
from usher.core.store.drivers import Driver, Session

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MAX_CONNECTIONS: Final = 15
IDLE_CONNECTIONS: Final = 5
"""Connections that are kept while nobody uses them."""
POOL_TIMEOUT_SECONDS: Final = 2
POOL_POLL_SECONDS: Final = 0.005


class PooledConnection:
    """A session in the pool, and SQLAlchemy's view of it, made at first need.

    Attributes:
        born: in seconds of ``monotonic``.
        resting_since: by the wall clock, for any other may stand still while a process is frozen.
    """

    __slots__ = ("_pool", "_sql", "born", "generation", "resting_since", "session")

    def __init__(self, pool: Pool, session: Session, generation: int) -> None:
        self.session = session
        self.born = monotonic()
        self.resting_since = 0.0
        self.generation = generation
        self._pool = pool
        self._sql: Connection | None = None

    def sql(self) -> Connection:
        """SQLAlchemy's connection."""
        if self._sql is None or self._sql.closed or self._sql.invalidated:
            self._sql = self._pool.connect_sql(self.session.raw)
        return self._sql

    def forget(self) -> None:
        """Have SQLAlchemy forget the transaction that is over."""
        if self._sql is not None:
            self._sql.rollback()

    def close(self) -> None:
        """Close both."""
        if self._sql is not None:
            with suppress(Exception):
                self._sql.close()
        self.session.close()


class Pool:
    """The connections of one process, the one used last first; a writer's caches stay warm.

    Attributes:
        under_way: the transactions of this process, and since when, in seconds of ``monotonic``.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._lock = Lock()
        self._idle: list[PooledConnection] = []
        self._left_over: list[PooledConnection] = []
        self._open = 0
        self._generation = 0
        self._process = os.getpid()
        self.under_way: dict[Any, float] = {}
        self._engine_lock = Lock()
        self._engine: Engine | None = None
        self._given: list[Any] = []

    @property
    def is_parents(self) -> bool:
        """Whether all of this is still the parent's, after a fork."""
        return self._process != os.getpid()

    def take(self) -> PooledConnection:
        """A connection, new if need be.

        Raises:
            DatabaseAwayError: all are in use.
        """
        if self.is_parents:
            self._leave_to_parent()
        until = 0.0
        while True:
            found = self._idle_one()
            if found is not None:
                return found
            with self._lock:
                if self._open < MAX_CONNECTIONS:
                    self._open += 1
                    break
            until = until or monotonic() + POOL_TIMEOUT_SECONDS
            if monotonic() > until:
                raise DatabaseAwayError("The database cannot be used: all connections are in use.")
            sleep(POOL_POLL_SECONDS)
        generation = self._generation
        try:
            return PooledConnection(self, self.driver.connect(), generation)
        except BaseException:
            self._count_down()
            raise

    def give(self, connection: PooledConnection) -> None:
        """Take a connection back whose transaction is over."""
        connection.forget()
        connection.resting_since = time()
        current = connection.generation == self._generation
        if current and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
            if connection.generation != self._generation:  # emptied by another thread meanwhile
                self.empty()
        else:
            self._close(connection)

    def undo(self, connection: PooledConnection, error: BaseException) -> None:
        """Roll back and take the connection back; close it where that is not possible."""
        in_order = isinstance(error, Exception) and not connection.session.broken
        if in_order:
            try:
                connection.session.rollback()
            except Exception:  # noqa: BLE001 - it is closed then
                in_order = False
        if in_order:
            self.give(connection)
        else:
            self._close(connection)

    def empty(self) -> None:
        """Close every idle connection, and each that is in use once it comes back."""
        self._generation += 1
        while (one := self._idle_one()) is not None:  # one that is new just now
            self._close(one)

    def connect_sql(self, raw: Any) -> Connection:
        """SQLAlchemy's connection over one of the driver."""
        engine = self.engine()
        with self._engine_lock:
            self._given.append(raw)
            return engine.connect()

    def engine(self) -> Engine:
        """SQLAlchemy's engine, made at first need."""
        with self._engine_lock:
            if self._engine is None:
                self._engine = self.driver.make_engine(self._given.pop)
            return self._engine

    def _idle_one(self) -> PooledConnection | None:
        """The idle connection used last; those that are old, or to be closed, are."""
        while self._idle:
            try:
                found = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if found.generation == self._generation and self._is_fresh(found):
                return found
            self._close(found)
        return None

    def _is_fresh(self, connection: PooledConnection) -> bool:
        age, rest = self.driver.recycle_seconds, self.driver.rest_seconds
        if age and monotonic() - connection.born > age:
            return False
        return rest is None or time() - connection.resting_since <= rest

    def _close(self, connection: PooledConnection) -> None:
        connection.close()
        self._count_down()

    def _count_down(self) -> None:
        with self._lock:
            self._open -= 1

    def _leave_to_parent(self) -> None:
        """After a fork: the connections are the parent's; closing them would end them there."""
        self._left_over += self._idle
        self._idle, self._open, self._process = [], 0, os.getpid()
        self.under_way = {}
        self._engine, self._lock, self._engine_lock = None, Lock(), Lock()
