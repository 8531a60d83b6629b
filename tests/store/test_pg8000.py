"""The driver that is all Python: over lines that others hold, with TLS verified, in few turns."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import pytest
from pg8000.exceptions import InterfaceError
from sqlalchemy import ColumnElement, bindparam, func, literal, literal_column, select, text
from sqlalchemy.engine import make_url

from tests.pgbouncer import PROGRAM, pgbouncer
from tests.pipeline.test_outage import statuses
from tests.receivers import Certificates, make_certificates
from tests.store.store_support import counts, deliver
from tests.support import account, free_port, signed
from usher.core.app import App
from usher.core.database_line import Target
from usher.core.errors import DatabaseAwayError, ExtraMissingError
from usher.core.store import pool
from usher.core.store.database import Database
from usher.core.store.drivers import pg8000
from usher.core.store.drivers.pipeline import LOCK_TIMEOUT_MS
from usher.core.store.drivers.sockets import SocketLine, dial
from usher.core.store.drivers.statement import Statement


@pytest.fixture
def database_url(pg8000_url: str) -> str:
    """PostgreSQL by pg8000 alone."""
    return pg8000_url


class HeldLine:
    """A line as another thread holds it: it counts what is asked of it, and may go silent."""

    def __init__(self, target: Target, seconds: float) -> None:
        self.line: SocketLine = dial(target, seconds)
        self.limits: list[float | None] = []
        self.turns = 0
        self.silent = False
        self.closed = False

    def exchange(self, data: bytes, seconds: float | None) -> bytes:
        """One order; what waits for the rest of an answer is no turn of its own."""
        self.turns += bool(data)
        self.limits.append(seconds)
        if self.silent:
            raise TimeoutError("no answer in 2000 ms")
        return self.line.exchange(data, seconds)

    def send(self, data: bytes) -> None:
        """As it is."""
        self.line.send(data)

    def interrupt(self) -> None:
        """As it is."""
        self.line.interrupt()

    def close(self) -> None:
        """As it is."""
        self.closed = True
        self.line.close()


@pytest.fixture
def held() -> Iterator[list[HeldLine]]:
    """The lines that somebody else gave to drivers made from now on."""
    lines: list[HeldLine] = []

    def give(target: Target, seconds: float) -> HeldLine:
        lines.append(HeldLine(target, seconds))
        return lines[-1]

    pg8000.over(give)
    yield lines
    pg8000.over(None)


def setting(database: Database, name: str) -> str:
    """A setting of the server, in a transaction."""
    with database.read() as transaction:
        return str(transaction.sql.execute(text(f"SHOW {name}")).scalar_one())


def test_an_event_waits_for_the_database_twice(held: list[HeldLine], usher: App) -> None:
    """Once for all that it asks, and once for the commit with all that it writes."""
    ada = account()
    deliver(usher, [signed("signup", account(email="first@example.com"))])
    (line,) = held
    line.turns = 0
    assert statuses(deliver(usher, [signed("signup", ada)])) == [200]
    assert line.turns == 2
    line.turns = 0
    assert statuses(deliver(usher, [signed("login", ada)])) == [200]
    assert line.turns == 2


def test_a_statement_of_sqlalchemy_waits_once(held: list[HeldLine], usher: App) -> None:
    """pg8000's own way waits three times where there are parameters."""
    with usher.store.database.read() as transaction:
        transaction.sql.execute(text("SELECT 1"))  # SQLAlchemy looks around, once
        held[0].turns = 0
        found = transaction.sql.execute(text("SELECT CAST(:one AS integer)"), {"one": 7})
        assert found.scalar_one() == 7
        assert held[0].turns == 1


def test_an_expression_with_a_parameter_is_the_same_wherever_it_stands(usher: App) -> None:
    """As with psycopg; two parameters of one value would make two expressions of it."""
    name: ColumnElement[str] = literal_column("name")
    kind = func.concat(func.left(name, bindparam("one", 1)), "%", "'%s'")
    statement = select(kind, func.count()).select_from(text("counters")).group_by(kind)
    with usher.store.database.read() as transaction:
        assert transaction.sql.execute(statement).all() == []
        assert transaction.sql.execute(select(literal(7) % literal(4))).scalar_one() == 3


def test_in_a_function_an_answer_comes_in_time_and_a_lock_is_given_up_before(
    held: list[HeldLine], pg8000_url: str, opened: Callable[[str], Database]
) -> None:
    """Identity waits for five seconds in all."""
    database = opened(pg8000_url)
    assert setting(database, "lock_timeout") == "1500ms"
    limits = held[0].limits
    assert max(limit or 99 for limit in limits) <= pg8000.FUNCTION_ANSWER_SECONDS
    assert limits[-1] == pg8000.FUNCTION_ANSWER_SECONDS
    assert pg8000.FUNCTION_LOCK_TIMEOUT_MS < pg8000.FUNCTION_ANSWER_SECONDS * 1_000


def test_elsewhere_an_answer_may_take_as_long_as_it_takes(
    pg8000_url: str, opened: Callable[[str], Database]
) -> None:
    """A migration does."""
    database = opened(pg8000_url)
    assert setting(database, "lock_timeout") == f"{LOCK_TIMEOUT_MS // 1_000}s"
    assert database._pool._idle[0].session._wire.seconds is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("rested", "lines"), [(19, 1), (21, 2)])
def test_a_line_that_was_at_rest_for_long_is_not_used_again(
    held: list[HeldLine], usher: App, monkeypatch: pytest.MonkeyPatch, rested: int, lines: int
) -> None:
    """The process was frozen meanwhile, by the wall clock; the line may be dead."""
    now = 1_764_000_000.0
    monkeypatch.setattr(pool, "time", lambda: now)
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    held[0].silent = lines == 2
    now += rested
    assert statuses(deliver(usher, [signed("signup", account(email="b@example.com"))])) == [200]
    assert len(held) == lines
    assert held[0].closed is (lines == 2)


def test_a_line_that_fell_silent_is_replaced(held: list[HeldLine], usher: App) -> None:
    """It fails; a late answer to what was asked there is nobody's."""
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    held[0].silent = True
    assert statuses(deliver(usher, [signed("signup", account(email="b@example.com"))])) == [200]
    assert [line.closed for line in held] == [True, False]
    assert counts(usher.store.database)["users"] == 2


def test_a_server_that_ends_a_connection_at_rest_loses_nothing(
    usher: App, opened: Callable[[str], Database], pg8000_url: str
) -> None:
    """57P01, as in a failover: a new line serves at once."""
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    kept = usher.store.database._pool._idle[0].session
    with opened(pg8000_url).write() as transaction:
        end = text("SELECT pg_terminate_backend(:pid, 30000)")
        assert transaction.sql.execute(end, {"pid": kept.raw.process_id}).scalar_one()
    assert statuses(deliver(usher, [signed("signup", account(email="b@example.com"))])) == [200]
    assert kept.broken


def test_an_answer_that_cannot_be_read_is_nobody_elses(
    pg8000_url: str, opened: Callable[[str], Database]
) -> None:
    """The rest of it is still on its way, so the connection is closed."""
    database = opened(pg8000_url)
    assert setting(database, "jit") == "off"
    (kept,) = database._pool._idle
    kept.session.raw.register_in_adapter(23, lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError), database.read() as transaction:
        transaction.sql.execute(text("SELECT 5 UNION ALL SELECT 6"))
    assert kept.session.broken
    assert counts(database)["users"] == 0


def test_under_emscripten_a_line_must_be_given(
    pg8000_url: str, monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], Database]
) -> None:
    """Its ``ssl`` verifies nothing, so Python opens none, with TLS or without."""
    monkeypatch.setattr(sys, "platform", "emscripten")
    with pytest.raises(DatabaseAwayError, match="verifies nothing under Emscripten"):
        counts(opened(pg8000_url))


def test_under_emscripten_a_line_that_was_given_serves(
    held: list[HeldLine], pg8000_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of Python's own is asked for."""
    database = Database(pg8000_url)
    given = dial

    def elsewhere(target: Target, seconds: float) -> SocketLine:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "linux")
            return given(target, seconds)

    monkeypatch.setattr("tests.store.test_pg8000.dial", elsewhere)
    monkeypatch.setattr(sys, "platform", "emscripten")
    assert counts(database)["users"] == 0
    assert len(held) == 1
    database.dispose()


def test_where_pg8000_is_missing_the_command_that_installs_it_is_told(
    pg8000_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not psycopg's."""
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(ExtraMissingError) as found:
        Database(pg8000_url)
    assert found.value.command == "pip install 'usher-identity[netlify]'"


VALUES = (
    "SELECT $1::text, $2::varchar, $3::bigint, $4::int, $5::smallint, $6::boolean, $7::uuid,"
    " $8::timestamptz, $9::text::bytea, $10::text, $11::char(3), current_schema()"
)
GIVEN = (
    ("ä \n' \\ 🦁", "", -(2**63), 2**31 - 1, -7, 0, "00000000000000000000000000000001",
     "2026-03-02T09:00:00.000001+00:00", "\\x00ff", None, "x"),
    ("{}", "a,b", 0, -(2**31), 2**15 - 1, 1, "f" * 32, "0001-01-01T00:00:00+00:00", "", None,
     "äöü"),
)  # fmt: skip


@pytest.mark.parametrize("given", GIVEN)
def test_values_and_rows_are_those_of_psycopg(
    pg8000_url: str, postgresql_url: str, given: tuple[Any, ...]
) -> None:
    """In type, too."""
    found = []
    for url in (pg8000_url, postgresql_url):
        database = Database(url)
        with database.read() as transaction:
            found.append(transaction.fetch(Statement("", VALUES), *given))
        database.dispose()
    ours, theirs = ([(type(one), one) for one in rows[0]] for rows in found)
    assert ours == theirs


@contextmanager
def greeting(answer: bytes) -> Iterator[int]:
    """The port of somebody who says this to whoever comes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as came:
                        came.recv(4096)
                        came.sendall(answer)

        thread = Thread(target=greet, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


class Talker:
    """A server that says the same for ever."""

    def __init__(self, words: bytes) -> None:
        self.words = words

    def exchange(self, data: bytes, seconds: float | None) -> bytes:
        """The words."""
        del data, seconds
        return self.words

    def send(self, data: bytes) -> None:
        """Nothing comes of it."""

    def interrupt(self) -> None:
        """It goes on."""

    def close(self) -> None:
        """It does not notice."""


def test_a_message_of_negative_length_ends_the_line() -> None:
    """Read backwards, the same octets would come again for ever."""
    wire = pg8000.Wire(Talker(b"\xff" * 100), None)
    with pytest.raises(InterfaceError, match="cannot be understood"):
        wire.message()
    assert wire.broken


def test_a_server_that_never_stops_talking_has_no_more_time_than_others() -> None:
    """While connecting, all that it says has one time."""
    wire = pg8000.Wire(Talker(b"N\0\0\0\5\0" * 10), monotonic() - 1)
    with pytest.raises(InterfaceError, match="no answer in time"):
        wire.message()
    assert wire.broken


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed the connection"),
        (b"?\0\0\0\x04", "its greeting cannot be understood"),
        (b"R\0\0\0\x0c\0\0\0\x07\0\0\0\0", "Authentication method 7 not supported"),
        (b"E\0\0\0\x22SFATAL\0C57P03\0Mstarting up\0\0\0\0\0\0\0", "failed: starting up"),
    ],
)
def test_a_strange_greeting_means_that_the_database_is_away(
    opened: Callable[[str], Database], answer: bytes, said: str
) -> None:
    """Anybody may listen there."""
    with greeting(answer) as port, pytest.raises(DatabaseAwayError) as found:
        counts(opened(url_of("127.0.0.1", port, "sslmode=disable&password=hunter2")))
    assert said in found.value.words
    assert f'"127.0.0.1", port {port}' in found.value.words
    assert "hunter2" not in f"{found.value} {found.value.words}"


def test_a_server_that_lets_nobody_in_is_away_for_both_drivers(
    pg8000_url: str, postgresql_url: str, opened: Callable[[str], Database]
) -> None:
    """A role that is not there may be one tomorrow."""
    for url in (pg8000_url, postgresql_url):
        database = opened(url.replace("//postgres", "//nobody", 1))
        with pytest.raises(DatabaseAwayError, match='role "nobody" does not exist'):
            counts(database)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and a certificate for 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture
def tls_port(postgresql_url: str, certificates: Certificates) -> Iterator[int]:
    """The port of PostgreSQL behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    found = make_url(postgresql_url)
    behind = f"{found.query['host']}/.s.PGSQL.{found.port or 5432}"

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                target.sendall(piece)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(came: socket.socket) -> None:
        with suppress(OSError), came:
            assert came.recv(8)[4:] == (80_877_103).to_bytes(4, "big")
            came.sendall(b"S")
            with (
                context.wrap_socket(came, server_side=True) as safe,
                socket.socket(socket.AF_UNIX) as server,
            ):
                server.connect(behind)
                back = Thread(target=pump, args=(server, safe), daemon=True)
                back.start()
                pump(safe, server)
                back.join()

    def listen(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=listen, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


MODES = ("prefer", "require", "verify-ca", "verify-full")


@pytest.mark.parametrize("mode", MODES)
def test_whatever_sslmode_says_the_certificate_is_verified_in_full(
    tls_port: int, certificates: Certificates, opened: Callable[[str], Database], mode: str
) -> None:
    """Its chain and its name: only ``disable`` does without."""
    known = f"sslmode={mode}&sslrootcert={certificates.authority}&channel_binding=require"
    assert counts(opened(url_of("127.0.0.1", tls_port, known)))["users"] == 0
    for host, query, said in (
        ("127.0.0.1", f"sslmode={mode}", "certificate verify failed"),
        ("localhost", known, "match"),
    ):
        with pytest.raises(DatabaseAwayError) as found:
            counts(opened(url_of(host, tls_port, query)))
        assert said in found.value.words


def test_a_server_without_tls_is_refused_where_nothing_is_said(
    opened: Callable[[str], Database],
) -> None:
    """Libpq would go on in plain text."""
    with greeting(b"N") as port, pytest.raises(DatabaseAwayError, match="does not support SSL"):
        counts(opened(url_of("127.0.0.1", port, "")))


def url_of(host: str, port: int, query: str) -> str:
    """The tests' database by this server."""
    return f"postgresql+pg8000://postgres@{host}:{port}/postgres" + (query and f"?{query}")


@pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")
def test_a_password_is_proved_and_a_wrong_one_told(
    postgresql_url: str, opened: Callable[[str], Database]
) -> None:
    """By SCRAM, which shows it to nobody."""
    with pgbouncer(postgresql_url, password="right") as url:
        own = url.replace("+psycopg", "+pg8000") + "?sslmode=disable"
        assert counts(opened(own))["users"] == 0
        for wrong in (own.replace(":right@", ":wrong@"), own.replace(":right@", "@")):
            with pytest.raises(DatabaseAwayError) as found:
                counts(opened(wrong))
            assert "right" not in found.value.words
            assert "wrong" not in found.value.words


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("target_session_attrs=primary", ""),
        ("target_session_attrs=read-write", ""),
        ("target_session_attrs=standby", "server is not in hot standby mode"),
        ("target_session_attrs=read-only", "session is not read-only"),
        (
            "target_session_attrs=read-write&options=-c%20default_transaction_read_only%3Don",
            "session is read-only",
        ),
        ("options=-c%20default_transaction_isolation%3Dserializable&application_name=ours", ""),
    ],
)
def test_a_server_of_the_wanted_kind_is_taken_and_no_other(
    pg8000_url: str, opened: Callable[[str], Database], query: str, said: str
) -> None:
    """As libpq would tell it."""
    database = opened(f"{pg8000_url}&{query}")
    if said:
        with pytest.raises(DatabaseAwayError, match=said):
            counts(database)
        return
    assert counts(database)["users"] == 0
    if "application_name" in query:
        assert setting(database, "application_name") == "ours"
        assert setting(database, "default_transaction_isolation") == "serializable"


def test_the_next_host_serves_and_is_asked_first_from_then_on(
    pg8000_url: str, opened: Callable[[str], Database]
) -> None:
    """The first one is down; each of all that fail is told of."""
    found = make_url(pg8000_url)
    folder, own = str(found.query["host"]), str(found.port or 5432)
    gone = free_port()
    url = f"postgresql+pg8000://postgres@/postgres?sslmode=disable&host=127.0.0.1,{folder}"
    database = opened(f"{url}&port={gone},{own}")
    assert counts(database)["users"] == 0
    assert database.driver._best.host == folder  # type: ignore[attr-defined]
    database.driver.connect().close()
    nowhere = f"{url.replace(folder, 'localhost')}&port={gone},{free_port()}"
    with pytest.raises(DatabaseAwayError, match="no host can be used") as told:
        counts(opened(nowhere))
    assert told.value.words.count(" failed: ") == 2


def test_a_certificate_file_that_is_not_there_is_told(
    tls_port: int, opened: Callable[[str], Database], tmp_path: Path
) -> None:
    """With its setting's name."""
    query = f"sslmode=require&sslrootcert={tmp_path}/none.pem"
    with pytest.raises(DatabaseAwayError, match="certificate file of sslrootcert cannot be read"):
        counts(opened(url_of("127.0.0.1", tls_port, query)))
