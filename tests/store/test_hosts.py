"""Several hosts in one address: the one that is ours to write to, in one time for all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import Thread
from time import sleep
from typing import Any
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


@contextmanager
def silent(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """The port of somebody who takes every connection and never says a word."""
    with ExitStack() as held, taking(held.enter_context, address, port) as own:
        yield own


@contextmanager
def passing_on(postgresql_url: str, address: str) -> Iterator[int]:
    """The port at which the real database is."""
    found = make_url(postgresql_url)
    path = f"{found.query['host']}/.s.PGSQL.{found.port or 5432}"

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with ExitStack() as held:

        def join(client: socket.socket) -> None:
            held.enter_context(client)
            server = held.enter_context(socket.socket(socket.AF_UNIX))
            server.connect(path)
            for source, target in ((client, server), (server, client)):
                thread = Thread(target=carry, args=(source, target), daemon=True)
                thread.start()
                held.callback(thread.join)
                held.callback(hang_up, source)

        with taking(join, address) as port:
            yield port


def hang_up(one: socket.socket) -> None:
    """Wake those that wait for it."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def taking(
    use: Callable[[socket.socket], object], address: str = "127.0.0.1", port: int = 0
) -> Iterator[int]:
    """The port of somebody who does this with every connection."""
    with socket.create_server((address, port)) as listener:

        def take() -> None:
            while True:
                try:
                    taken = listener.accept()[0]
                except OSError:  # closed
                    return
                use(taken)

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
        assert driver._hosts._best.place == 1
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


def test_of_many_addresses_of_one_name_the_last_one_is_found(
    postgresql_url: str, opened: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has half of the time left, is remembered, and is asked first from then on."""
    monkeypatch.setattr(hosts, "NEXT_HOST_SECONDS", 60.0)  # only their number brings them nearer
    addresses = [f"127.0.0.{number}" for number in range(2, 7)]
    patch_lookup(monkeypatch, lambda _: addresses)
    tried: list[str] = []

    def attempt(target: Any, question: bytes) -> Any:
        tried.append(target.address)
        return real(target, question)

    real = hosts._Attempt
    monkeypatch.setattr(hosts, "_Attempt", attempt)
    with passing_on(postgresql_url, addresses[-1]) as port, ExitStack() as stack:
        for address in addresses[:-1]:
            stack.enter_context(silent(address, port))
        url = url_of(postgresql_url, [port], host="many.example", connect_timeout="4")
        database = opened(url)
        assert counts(database)["users"] == 0
        assert tried == addresses
        database.driver.connect().close()
        assert tried[len(addresses)] == addresses[-1]
        database.dispose()


def test_a_slow_look_up_is_not_followed_by_others(
    opened: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time for all hosts is over."""
    monkeypatch.setattr(hosts, "CONNECT_SECONDS", 0.01)
    names: list[str] = []

    def look_up(name: str) -> list[str]:
        names.append(name)
        sleep(0.02)
        return ["127.0.0.1"]

    patch_lookup(monkeypatch, look_up)
    with silent() as port, pytest.raises(DatabaseAwayError) as found:
        counts(
            opened(f"postgresql+psycopg://u@a.example:{port},b.example:{port},c.example:{port}/x")
        )
    assert set(names) == {"a.example"}
    assert f'"a.example" (127.0.0.1), port {port}: no answer in time' in found.value.words


def patch_lookup(monkeypatch: pytest.MonkeyPatch, look_up: Callable[[str], list[str]]) -> None:
    """Names lead to these addresses."""

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in look_up(host)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


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
