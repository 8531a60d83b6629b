"""PostgreSQL by pg8000, which is all Python: for where no libpq is, as inside Netlify's functions.

pg8000 connects, proves who we are, and serves SQLAlchemy. Its own way of a statement waits for the
server three times; the session's statements share one round trip, by the unnamed statement alone,
so that any pooler may stand between. Messages are those of PostgreSQL's protocol 3.0.

The bytes go over a ``Line``, which somebody else may hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct as Layout
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from msgspec import Struct
from pg8000.converters import make_params
from pg8000.core import SYNC_MSG, Context
from pg8000.dbapi import Connection
from pg8000.exceptions import DatabaseError, Error, InterfaceError

from usher.core.database_line import Target, wanted
from usher.core.database_url import connect_arguments, hosts
from usher.core.store.drivers import Fault
from usher.core.store.drivers.engine import engine_over
from usher.core.store.drivers.pipeline import (
    CONNECT_SECONDS,
    LOCK_TIMEOUT_MS,
    RECYCLE_SECONDS,
    ExchangeError,
    PipelineSession,
    fault_of,
    settings_of_own_session,
    wanted_session,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

FUNCTION_ANSWER_SECONDS: Final = 2.0
FUNCTION_LOCK_TIMEOUT_MS: Final = 1_500
FUNCTION_REST_SECONDS: Final = 20.0
"""Limits inside a function, within the five seconds that Identity waits: two at most until a server
has answered, and two for an exchange. An answer that does not come fails the event, which Identity
sends again. A lock that is not had in time must be told before the answer counts as lost, hence the
shorter time for it. A line that was at rest for long is not tried at all: while the process was
frozen, it may have died without a word, and would cost two seconds."""
_MAX_PARSED: Final = 256
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL's."""
_CONDITIONS: Final = {
    "23505": "UniqueViolation",
    "40001": "SerializationFailure",
    "40P01": "DeadlockDetected",
}
"""Names of the errors that are told by name."""
_ROLES: Final = "SELECT current_setting('transaction_read_only'), pg_is_in_recovery()::text"
_REFUSED_ROLES: Final = {
    "read-write": ("on", None, "session is read-only"),
    "read-only": ("off", None, "session is not read-only"),
    "primary": (None, "true", "server is in hot standby mode"),
    "standby": (None, "false", "server is not in hot standby mode"),
}
"""By ``target_session_attrs``: the answers to ``_ROLES`` that are refused, and the words for it."""
_SIZE: Final = Layout("!i")
_COLUMN: Final = Layout("!ihihih")
_DESCRIBE_AND_EXECUTE: Final = b"D\0\0\0\x06P\0" + b"E\0\0\0\x09\0\0\0\0\0"
_BINARY_RESULTS: Final = b"\0\x01\0\x01"
_NULL: Final = b"\xff\xff\xff\xff"


class Line(Protocol):
    """A connected line to a server, encrypted where its target said so."""

    def exchange(self, data: bytes, seconds: float | None) -> bytes:
        """Send the bytes, and return what has arrived, at least one byte.

        Raises:
            OSError: nothing has arrived in this time, or the line is gone.
        """

    def send(self, data: bytes) -> None:
        """Send the bytes, and await nothing; never waits."""

    def interrupt(self) -> None:
        """Make an exchange fail soon; called from another thread."""

    def close(self) -> None:
        """Close the line; never fails."""


Dial = Callable[[Target, float], Line]
"""A line to a server, within so many seconds; raises OSError. TLS must be verified in full."""


class Lines(Struct, frozen=True):
    """Where the lines of this process come from, and what holds for them.

    Attributes:
        dial: None: they are sockets of this process.
        answer_seconds: the limit of an exchange; None: however long it takes.
        lock_timeout_ms: as PostgreSQL's setting of this name.
        rest_seconds: see ``Driver``.
    """

    dial: Dial | None = None
    answer_seconds: float | None = None
    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    rest_seconds: float | None = None


_lines = Lines()


def over(dial: Dial | None) -> None:
    """From now on lines are held by somebody else, for a process that is frozen at times.

    Drivers that are there already keep what they have.

    Args:
        dial: None: sockets of this process again.
    """
    global _lines
    if dial is None:
        _lines = Lines()
        return
    _lines = Lines(dial, FUNCTION_ANSWER_SECONDS, FUNCTION_LOCK_TIMEOUT_MS, FUNCTION_REST_SECONDS)


class ServerError(DatabaseError):
    """An error that the server has told; its words are the server's first line."""

    def __init__(self, told: dict[str, str]) -> None:
        super().__init__(told)
        self.sqlstate = told.get("C", "")

    def __str__(self) -> str:
        return str(self.args[0].get("M", "an error without words"))


_KINDS: Final[dict[str, type[ServerError]]] = {
    state: type(name, (ServerError,), {}) for state, name in _CONDITIONS.items()
}


class Pg8000Driver:
    """One database of PostgreSQL; see ``Driver``."""

    name = "postgresql"
    recycle_seconds: int = RECYCLE_SECONDS

    def __init__(self, url: str) -> None:
        arguments = connect_arguments(url)
        self._wanted = wanted(arguments, hosts(arguments))
        self._lines = _lines
        self.rest_seconds = _lines.rest_seconds
        self._role = wanted_session(arguments, len(self._wanted.targets))
        self._best = self._wanted.targets[0]

    def connect(self) -> Pg8000Session:
        """A new connection to the first server that serves us, the best one of last time first.

        All of them share the time, for only one is tried at a time: a function has no threads.

        Raises:
            pg8000.Error: none does; with the words of each.
        """
        until = monotonic() + (self._wanted.seconds or CONNECT_SECONDS)
        targets = sorted(self._wanted.targets, key=lambda target: target != self._best)
        failed: list[Error] = []
        for number, target in enumerate(targets):
            share = (until - monotonic()) / (len(targets) - number)
            try:
                session = self._session(target, max(0.0, share))
            except Error as error:
                failed.append(error)
            else:
                self._best = target
                return session
        if len(failed) == 1:
            raise failed[0]
        words = "; ".join(map(str, failed))
        raise InterfaceError(f"no host can be used: {words}")

    def fault(self, error: BaseException) -> Fault | None:
        """The meaning of an error."""
        if isinstance(error, ExchangeError):
            return error.fault
        if isinstance(error, ServerError):
            return fault_of(error.sqlstate)
        if not isinstance(error, Error):
            return None
        return Fault.AWAY if isinstance(error, InterfaceError) else Fault.REFUSED

    def make_engine(self, connect: Callable[[], Any]) -> Engine:
        """SQLAlchemy over our connections.

        A parameter that stands twice is one: by the usual style they would be two, and an
        expression with one in it not the same in SELECT and in GROUP BY.
        """
        return engine_over("postgresql+pg8000://", connect, "numeric_dollar")

    def close(self) -> None:
        """Nothing is open beside the sessions."""

    def _session(self, target: Target, seconds: float) -> Pg8000Session:
        until = monotonic() + seconds
        try:
            wire = Wire(self._dial(target, seconds), until)
            raw = self._greeted(wire)
            try:
                session = Pg8000Session(raw, False, self._lines.lock_timeout_ms)
                session.pooled = session.recognise(self._role)
            except BaseException:
                raw.close()
                raise
        except (Error, OSError) as error:
            at = f'connection to server at "{target.host}", port {target.port} failed'
            raise InterfaceError(f"{at}: {error}") from error  # as psycopg: away, whatever it is
        wire.until, wire.seconds = None, self._lines.answer_seconds
        return session

    def _dial(self, target: Target, seconds: float) -> Line:
        if self._lines.dial is not None:
            return self._lines.dial(target, seconds)
        from usher.core.store.drivers.sockets import dial  # noqa: PLC0415 - not under Emscripten

        return dial(target, seconds)

    def _greeted(self, wire: Wire) -> WiredConnection:
        said = self._wanted
        try:
            return WiredConnection(
                said.user,
                password=said.password,
                database=said.database,
                application_name=said.application_name,
                startup_params=said.startup,
                ssl_context=False,  # TLS is the line's
                sock=wire,
            )
        except Error:
            wire.close()
            raise
        except Exception as error:  # of pg8000 or scramp, about a strange greeting
            wire.close()
            raise InterfaceError(f"its greeting cannot be understood: {error}") from error


class Wire:
    """A line as pg8000 takes it, for a socket and for its file.

    All that was written goes out at once, as soon as something is to be read.

    Attributes:
        until: when reading ends, in seconds of ``monotonic``; None: ``seconds`` after each turn.
        broken: the line is gone.
    """

    def __init__(self, line: Line, until: float | None) -> None:
        self.line = line
        self.until = until
        self.seconds: float | None = None
        self.broken = False
        self._written = bytearray()
        self._found = b""
        self._at = 0

    def makefile(self, mode: str) -> Wire:
        """This."""
        del mode
        return self

    def write(self, data: bytes) -> None:
        """Keep the bytes for the next turn."""
        self._written += data

    def flush(self) -> None:
        """Nothing; ``read`` sends."""

    def read(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            InterfaceError: the line is gone, or what comes is no message.
        """
        if size < 0:  # backwards, it would read the same for ever
            raise self._lost("what the server sends cannot be understood")
        end = self._at + size
        while len(self._found) < end:
            self._turn()
            end = self._at + size
        found = self._found[self._at : end]
        self._at = end
        return found

    def message(self) -> tuple[bytes, bytes]:
        """The kind of the next message, and what it says."""
        head = self.read(5)
        return head[:1], self.read(_SIZE.unpack_from(head, 1)[0] - 4)

    def close(self) -> None:
        """Say goodbye, where pg8000 wrote one, and close the line."""
        if not self.broken:
            self.broken = True
            with suppress(OSError):
                self.line.send(bytes(self._written))
        self.line.close()

    def _turn(self) -> None:
        if self.broken:
            raise InterfaceError("network error: the connection is closed")
        sent, self._written = bytes(self._written), bytearray()
        seconds = self.seconds if self.until is None else max(0.0, self.until - monotonic())
        if seconds == 0:  # a server that never stops talking always has something to read
            raise self._lost("no answer in time")
        try:
            arrived = self.line.exchange(sent, seconds)
        except BaseException as error:
            self.broken = True
            if isinstance(error, OSError):
                raise InterfaceError(f"network error: {error}") from error
            raise
        self._found = self._found[self._at :] + arrived
        self._at = 0

    def _lost(self, why: str) -> InterfaceError:
        self.broken = True
        return InterfaceError(f"network error: {why}")


class WiredConnection(Connection):
    """pg8000's connection; it waits once for a statement, and tells what the session must know.

    Attributes:
        process_id: of the server, as it says.
        status: ``I``: idle, ``T``: in a transaction, ``E``: in one that failed; empty: answers
            are outstanding.
    """

    def __init__(self, *args: Any, sock: Wire, **named: Any) -> None:
        self.wire = sock
        self.process_id = 0
        self.status = b""
        super().__init__(*args, sock=sock, **named)
        self.autocommit = True  # the session says BEGIN

    def execute_unnamed(
        self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None
    ) -> Context:
        """Run a statement in one round trip; nothing of ours streams."""
        context = Context(statement, stream=stream)
        self.send_PARSE(b"\0", statement, oids)
        self.send_DESCRIBE_STATEMENT(b"\0")
        self.send_BIND(b"\0", make_params(self.py_types, vals))
        self.send_EXECUTE()
        self.wire.write(SYNC_MSG)
        self.handle_messages(context)
        return context

    def handle_messages(self, context: Context) -> None:
        """Read to the end of the answers."""
        self.status = b""
        super().handle_messages(context)

    def handle_READY_FOR_QUERY(self, data: bytes, context: Context | None) -> None:  # noqa: N802
        """The end of the answers."""
        self.status = data
        super().handle_READY_FOR_QUERY(data, context)

    def handle_BACKEND_KEY_DATA(self, data: bytes, context: Context) -> None:  # noqa: N802
        """The server's process, and a key."""
        self.process_id = _SIZE.unpack_from(data)[0]
        super().handle_BACKEND_KEY_DATA(data, context)

    def handle_ERROR_RESPONSE(self, data: bytes, context: Context) -> None:  # noqa: N802
        """An error; the first one of several counts."""
        context.error = context.error or _error_of(data)


class Answer(Struct):
    """The answer to a statement.

    Attributes:
        readers: one for each column.
        rows: as they came.
        command: the one that was done, as the server names it.
    """

    readers: list[Callable[[bytes], Any]]
    rows: list[bytes]
    command: bytes | None = None


class Pg8000Session(PipelineSession[Answer]):
    """One connection to PostgreSQL; see ``Session``."""

    raw: WiredConnection

    def __init__(self, raw: WiredConnection, pooled: bool, lock_timeout_ms: int) -> None:
        super().__init__(raw, pooled, lock_timeout_ms)
        self._wire = raw.wire

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""
        return self._wire.broken

    def recognise(self, role: str) -> bool:
        """Ask the first question; whether a pooler stands between.

        Args:
            role: ``target_session_attrs``.

        Raises:
            InterfaceError: it is not such a server.
        """
        question = settings_of_own_session(self._lock_timeout_ms)
        self._queue = [(question, (str(self.raw.process_id).encode(),), False)]
        if role != "any":
            self._queue.append((_ROLES, (), False))
        own, *roles = [self._load(answer)[0] for answer in self._exchange()]
        for read_only, standby in roles:
            not_so, not_there, words = _REFUSED_ROLES[role]
            if read_only == not_so or standby == not_there:
                raise InterfaceError(words)
        return own[0] is None

    def interrupt(self) -> None:
        """Have the line fail, which wakes up whoever waits for it."""
        self._wire.line.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with suppress(Error, OSError):
            self.raw.close()

    def _load(self, answer: Answer) -> list[Any]:
        return [_row(row, answer.readers) for row in answer.rows]

    def _command(self, answer: Answer) -> bytes | None:
        return answer.command

    def _has_unread(self) -> bool:
        return not self.raw.status

    def _in_transaction(self) -> bool:
        return self.raw.status != b"I"

    def _exchange(self) -> list[Answer]:
        """Send what is queued, and await every answer.

        Raises:
            pg8000.Error: that of the first statement that failed; none after it was run.
        """
        queued, answered = self._queue, self._answered
        self._queue, self._answered = [], []
        self.raw.status = b""
        for text, values, _ in queued:
            self._wire.write(_parse(text))
            self._wire.write(_bind(values or ()))
            self._wire.write(_DESCRIBE_AND_EXECUTE)
        self._wire.write(SYNC_MSG)
        answered += self._answers()
        return answered

    def _answers(self) -> list[Answer]:
        found: list[Answer] = []
        failed: ServerError | None = None
        now = Answer([], [])
        try:
            while not self.raw.status:
                kind, data = self._wire.message()
                if kind == b"D":
                    now.rows.append(data)
                elif kind == b"T":
                    now.readers = _readers(data)
                elif kind == b"C":
                    now.command = data[:-1]
                    found.append(now)
                    now = Answer([], [])
                elif kind == b"E":
                    failed = failed or _error_of(data)
                elif kind == b"Z":
                    self.raw.handle_READY_FOR_QUERY(data, None)
        except InterfaceError as lost:
            raise (failed or lost) from None
        if failed is not None:
            raise failed
        return found


def _error_of(data: bytes) -> ServerError:
    fields = [one.decode(errors="replace") for one in data.split(b"\0") if one]
    told = {one[0]: one[1:] for one in fields}
    return _KINDS.get(told.get("C", ""), ServerError)(told)


def _message(kind: bytes, data: bytes) -> bytes:
    return kind + _SIZE.pack(len(data) + 4) + data


@lru_cache(_MAX_PARSED)
def _parse(text: str) -> bytes:
    """The server finds out the types of the parameters."""
    return _message(b"P", b"\0" + text.encode() + b"\0\0\0")


def _bind(values: Sequence[bytes | None]) -> bytes:
    """The parameters as text; the columns shall come in binary."""
    pieces = [b"\0\0\0\0", len(values).to_bytes(2, "big")]
    for value in values:
        pieces += (_NULL,) if value is None else (_SIZE.pack(len(value)), value)
    return _message(b"B", b"".join((*pieces, _BINARY_RESULTS)))


def _readers(data: bytes) -> list[Callable[[bytes], Any]]:
    """From the description of the columns: name, table, number, type, its size and kind, format."""
    found, at = [], 2
    for _ in range(int.from_bytes(data[:2], "big")):
        at = data.index(b"\0", at) + 1
        found.append(_READERS.get(_COLUMN.unpack_from(data, at)[2], bytes))
        at += _COLUMN.size
    return found


def _row(data: bytes, readers: Sequence[Callable[[bytes], Any]]) -> tuple[Any, ...]:
    found: list[Any] = []
    at = 2
    for read in readers:
        start = at + 4
        at = start + (size := _SIZE.unpack_from(data, at)[0])
        if size < 0:
            found.append(None)
            at = start
        else:
            found.append(read(data[start:at]))
    return tuple(found)


def _truth(data: bytes) -> bool:
    return data != b"\0"


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _uuid(data: bytes) -> UUID:
    return UUID(bytes=data)


def _time(data: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=_number(data))


_READERS: Final[dict[int, Callable[[bytes], Any]]] = {
    16: _truth,
    **dict.fromkeys((20, 21, 23, 26), _number),
    **dict.fromkeys((18, 19, 25, 705, 1042, 1043, 2278), bytes.decode),
    1184: _time,
    2950: _uuid,
}
"""By the OID of the type, as in the server's catalogue: int8, int2, int4 and oid; char, name, text,
unknown, bpchar, varchar and void; timestamptz; uuid. All others stay bytes, as bytea is."""
