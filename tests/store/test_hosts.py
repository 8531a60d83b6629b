"""Several hosts in one address: the one that is ours to write to, in one time for all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Thread
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.pgbouncer import PROGRAM, pgbouncer
from tests.pipeline.test_outage import statuses
from tests.store.store_support import counts, deliver
from tests.support import Clock, account, free_port, signed
from usher.core.app import App
from usher.core.errors import DatabaseAwayError
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.core.store.drivers import hosts
from usher.core.store.drivers.postgresql import PostgresqlDriver

MANY = 12
"""More than could be waited for one after the other."""


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    """Open databases, and close them after the test."""
    with ExitStack() as stack:

        def opens(url: str) -> Database:
            found = Database(url)
            stack.callback(found.dispose)
            return found

        yield opens


@contextmanager
def silent() -> Iterator[int]:
    """The port of somebody who takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as held:

        def take() -> None:
            while True:
                try:
                    held.enter_context(listener.accept()[0])
                except OSError:  # closed
                    return

        thread = Thread(target=take, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def full() -> Iterator[int]:
    """The port of somebody whose queue is full: no further SYN is answered."""
    with socket.socket() as listener, ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextmanager
def down() -> Iterator[int]:
    """A port where nobody listens."""
    yield free_port()


def url_of(postgresql_url: str, ports: list[int], **more: str) -> str:
    """The database behind these hosts of loopback; 0 is the real one, by its socket."""
    found = make_url(postgresql_url)
    folder, own = str(found.query["host"]), str(found.port or 5432)
    query = {
        "host": ",".join("127.0.0.1" if port else folder for port in ports),
        "port": ",".join(str(port or own) for port in ports),
    } | more
    parameters = "&".join(f"{name}={quote(value, safe=',')}" for name, value in query.items())
    return f"postgresql+psycopg://{found.username}@/{found.database}?{parameters}"


@pytest.mark.parametrize("first", [silent, full, down])
def test_the_first_host_may_be_down_or_hang(
    postgresql_url: str,
    opened: Callable[[str], Database],
    first: Callable[[], AbstractContextManager[int]],
) -> None:
    """The next one serves, is remembered, and is asked first from then on."""
    with first() as port:
        database = opened(url_of(postgresql_url, [port, 0], connect_timeout="30"))
        assert counts(database)["users"] == 0
        driver = database.driver
        assert isinstance(driver, PostgresqlDriver)
        assert driver._hosts._best == 1
        session = driver.connect()
        assert session.raw.execute("SELECT 1").fetchone() == (1,)
        session.close()


def test_all_hosts_together_have_one_time(
    postgresql_url: str, opened: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dozen that hang, and the right one at the end of them; then a dozen that all hang."""
    monkeypatch.setattr(hosts, "NEXT_HOST_SECONDS", 0.01)
    monkeypatch.setattr(hosts, "CONNECT_SECONDS", 0.3)
    with silent() as port:
        patient = url_of(postgresql_url, [port] * MANY + [0], connect_timeout="30")
        assert counts(opened(patient))["users"] == 0
        waited = f'"127.0.0.1", port {port}: no answer in time'
        with pytest.raises(DatabaseAwayError, match="no host can be used") as found:
            counts(opened(url_of(postgresql_url, [port] * MANY)))
        assert found.value.words.count(waited) == MANY
        with pytest.raises(DatabaseAwayError, match=waited):
            counts(opened(url_of(postgresql_url, [port], connect_timeout="1")))


def test_why_no_host_serves_is_told_of_each(
    postgresql_url: str, opened: Callable[[str], Database]
) -> None:
    """Without the password."""
    ports = [free_port(), free_port()]
    with pytest.raises(DatabaseAwayError) as found:
        counts(opened(url_of(postgresql_url, ports, password="hunter2secret")))
    words = found.value.words
    assert [f"port {port} failed" in words for port in ports] == [True, True]
    assert "hunter2secret" not in f"{found.value} {words}"


def test_a_name_that_leads_nowhere_is_passed_over(
    postgresql_url: str, opened: Callable[[str], Database]
) -> None:
    """As one that is down; ``.invalid`` is nobody's (RFC 6761)."""
    url = url_of(postgresql_url, [1, 0]).replace("host=127.0.0.1", "host=db.invalid")
    assert counts(opened(url))["users"] == 0


@pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")
def test_a_pooler_before_a_server_that_is_gone_is_passed_over(
    postgresql_url: str, opened: Callable[[str], Database]
) -> None:
    """It takes connections all the same, and lets their first question wait."""
    with pgbouncer(postgresql_url, size=1) as pooled:
        found = make_url(pooled)
        plain = found.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain) as holds:  # its only connection to the server
            holds.execute("SELECT 1")
            assert found.port
            database = opened(url_of(postgresql_url, [found.port, 0]))
            assert counts(database)["users"] == 0
            assert not database.pooled()


def test_connections_that_became_read_only_are_replaced(
    postgresql_url: str,
    opened: Callable[[str], Database],
    make_settings: Callable[..., Settings],
    clock: Clock,
) -> None:
    """As after a failover: the old primary is a replica now. Nobody notices."""
    app = App(make_settings(database_url=url_of(postgresql_url, [0, 0])), clock)
    people = [account(email=f"{number}@example.com") for number in range(2)]
    assert statuses(deliver(app, [signed("signup", people[0])])) == [200]
    (kept,) = app.store.database._pool._idle
    kept.session.raw.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    assert statuses(deliver(app, [signed("signup", people[1])])) == [200]
    assert kept not in app.store.database._pool._idle
    assert counts(app.store.database)["users"] == 2
    app.close()
