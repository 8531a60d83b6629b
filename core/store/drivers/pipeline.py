"""PostgreSQL, whatever carries the bytes: statements that share a round trip, and what errors mean.

Two drivers are made of this, one on libpq (``postgresql``) and one in Python alone (``pg8000``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec.json import Encoder

from usher.core.store.drivers import Fault, Rows

if TYPE_CHECKING:
    from usher.core.store.drivers.statement import Insert, Statement

LOCK_TIMEOUT_MS: Final = 2_000
RECYCLE_SECONDS: Final[int] = 300
"""Age at which a connection is replaced. The connection of a frozen function, or one that a network
cut for idleness (AWS does after 350 s), would fail somebody's login."""
CONNECT_SECONDS: Final = 2
"""For all hosts together, up to the answer to the first question."""
MAX_ROWS: Final = 1_000
"""Rows in one document of an INSERT."""
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
    # Every statement has its index. A plan made while a table was empty scans the table, and is
    # kept until the first ANALYZE, however much the table grows (measured with 8,000 deliveries: a
    # quarter of an event's time, and growing).
    "enable_seqscan": "off",
    # enable_seqscan = off inflates the cost of a scan; jit would take it as worth compiling.
    "jit": "off",
    "TimeZone": "UTC",  # the zone of the times that are read
    # pg8000 reads times and bytes as text, in these forms.
    "DateStyle": "ISO",
    "bytea_output": "hex",
}
_ENCODE: Final = Encoder().encode

Answer = TypeVar("Answer")


class ExchangeError(Exception):
    """A fault of an exchange that the database has not said itself."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


def fault_of(sqlstate: str) -> Fault:
    """The meaning of an error of the server."""
    return next((fault for states, fault in _FAULTS if sqlstate.startswith(states)), Fault.REFUSED)


@cache
def settings_in_transaction(lock_timeout_ms: int) -> str:
    """The statement that gives a transaction its settings."""
    return f"SELECT {_set(lock_timeout_ms, 'true')}"


@cache
def settings_of_own_session(lock_timeout_ms: int) -> str:
    """The first question to a server: settings of the session, only where it is our own.

    A pooler answers with the key of a session of its own making: the next transaction may run on
    another server process, which knows neither settings nor prepared statements, and ours would be
    left to others. Its parameter is that key's process id; NULL answers that it is a pooler's.
    """
    own = f"concat({_set(lock_timeout_ms, 'false')})"
    return f"SELECT CASE WHEN pg_backend_pid() = $1 THEN {own} END"


def wanted_session(arguments: Mapping[str, str], hosts: int) -> str:
    """``target_session_attrs``: of a primary and its replicas the primary, unless said."""
    return arguments.get("target_session_attrs", "any" if hosts == 1 else "read-write")


class PipelineSession(ABC, Generic[Answer]):
    """One connection to PostgreSQL, whose statements wait for one flush; see ``Session``."""

    def __init__(self, raw: Any, pooled: bool, lock_timeout_ms: int) -> None:
        self.raw = raw
        self.pooled = pooled
        self._lock_timeout_ms = lock_timeout_ms
        self._queue: list[tuple[str, Sequence[bytes | None] | None, bool]] = []
        self._answered: list[Answer] = []
        self._direct = False

    def queue(self, text: str, values: Sequence[bytes | None] | None, prepare: bool) -> None:
        """Note a statement for the next exchange; every one of the session comes by here.

        Args:
            prepare: the session may prepare it.
        """
        self._queue.append((text, values, prepare and not self.pooled))

    def begin(self, *, write: bool) -> None:
        """Begin, in one flush with the first statement; whatever was left before is forgotten."""
        self._direct = False
        self._queue, self._answered = [], []
        self.queue(_BEGIN_WRITE if write else _BEGIN_READ, None, False)
        if self.pooled:
            self.queue(settings_in_transaction(self._lock_timeout_ms), None, False)

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

    def run(self, text: str) -> list[Any]:
        """Run a statement by itself, in no transaction but one that such a statement began."""
        self.queue(text, None, False)
        return self._load(self._exchange()[-1])

    def direct(self) -> None:
        """Await all that was sent."""
        self._direct = True
        if self._queue:
            self._exchange()

    def commit(self) -> None:
        """Commit, in one flush with what was sent before."""
        self.queue("COMMIT", None, False)
        ended = self._command(self._exchange()[-1])
        if ended != b"COMMIT":
            raise ExchangeError(Fault.AWAY, f"COMMIT was answered with {ended!r}")

    def rollback(self) -> None:
        """Roll back; what was not sent yet never is."""
        self._queue.clear()
        if self._has_unread():
            raise ExchangeError(Fault.AWAY, "an exchange was not brought to its end")
        if self._in_transaction():
            self.queue("ROLLBACK", None, False)
            self._exchange()

    @abstractmethod
    def _exchange(self) -> list[Answer]:
        """Send what is queued, and await every answer.

        Raises:
            Exception: that of the first statement that failed; none after it was run.
        """

    @abstractmethod
    def _load(self, answer: Answer) -> list[Any]:
        """The rows of an answer."""

    @abstractmethod
    def _command(self, answer: Answer) -> bytes | None:
        """The command that was done, as the server names it."""

    @abstractmethod
    def _has_unread(self) -> bool:
        """Whether answers to an earlier exchange may still come."""

    @abstractmethod
    def _in_transaction(self) -> bool:
        """Whether a transaction is open, a failed one too."""


def _set(lock_timeout_ms: int, local: str) -> str:
    settings = {"lock_timeout": str(lock_timeout_ms)} | _SETTINGS
    return ", ".join(f"set_config('{one}', '{to}', {local})" for one, to in settings.items())


def _parameter(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, list):
        quoted = (one.replace("\\", "\\\\").replace('"', '\\"') for one in value)
        value = "{" + ",".join(f'"{one}"' for one in quoted) + "}"
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        raise ExchangeError(Fault.NOT_STORABLE, "a text of PostgreSQL cannot hold U+0000")
    return text.encode()
