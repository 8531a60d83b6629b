# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases on PostgreSQL: who may do what, what is in the way, what is not kept."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from contextlib import closing
from threading import Thread

import psycopg

from tests.cli.walk import Steps, Walk, case
from tests.pipeline.outage_support import locked
from tests.server.outages import wait_until
from tests.support import free_port
from usher.core.store.drivers import sqlite

Run = Callable[[str], object]
URL = "USHER_DATABASE_URL"
ROLE = "usher_small"


@case("database.locked")
def a_migration_under_way(at: Walk) -> Steps:
    at.patch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    with locked(at.postgresql()):
        yield {}


@case("database.read_only", 0)
def only_for_reading(at: Walk) -> Steps:
    url = at.postgresql()
    option = "options=-c%20default_transaction_read_only%3Don"
    at.set(URL, f"{url}{'&' if '?' in url else '?'}{option}")
    yield {URL: url}


@case("database.unreachable", 1)
def another_port(at: Walk) -> Steps:
    url = at.postgresql()
    at.set(URL, f"postgresql://usher:hunter2secret@127.0.0.1:{free_port()}/usher")
    yield {URL: url}


@case("database.unreachable", 1)
def another_name(at: Walk) -> Steps:
    url = at.postgresql()
    at.set(URL, url.replace("/postgres?", "/nowhere?"))
    yield {URL: url}


@case("database.unreachable", 3)
def no_connection_left(at: Walk) -> Steps:
    run = a_small_user(at)
    run(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    yield {}
    run(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@case("database.no_right", 0)
def a_user_without_rights(at: Walk) -> Steps:
    run = a_small_user(at, "SELECT")
    yield {}
    _as_said(at, run, "database.no_right", 0)


@case("database.schema", 0)
def a_search_path_without_it(at: Walk) -> Steps:
    run = a_small_user(at)
    run(f"ALTER ROLE {ROLE} SET search_path = elsewhere")
    yield {}
    _as_said(at, run, "database.schema", 0)


@case("database.schema", 1)
def a_schema_that_is_not_to_be_used(at: Walk) -> Steps:
    run = a_small_user(at)
    run("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    at.stack.callback(run, "GRANT USAGE ON SCHEMA public TO PUBLIC")
    yield {}
    _as_said(at, run, "database.schema", 1)


@case("database.row_security", 0)
def row_level_security(at: Walk) -> Steps:
    run = a_small_user(at)
    run("ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY")
    at.stack.callback(run, "ALTER TABLE deliveries DISABLE ROW LEVEL SECURITY")
    yield {}
    _as_said(at, run, "database.row_security", 0)


@case("database.row_security", 1)
def a_trigger_that_drops_rows(at: Walk) -> Steps:
    run = a_trigger(at, "RETURN NULL", "BEFORE INSERT ON grants")
    yield {}
    run("DROP FUNCTION theirs CASCADE")


@case("database.failed", 0)
def a_trigger_that_raises(at: Walk) -> Steps:
    run = a_trigger(at, "RAISE EXCEPTION 'not on Sundays'", "BEFORE INSERT ON audit")
    yield {}
    run("DROP FUNCTION theirs CASCADE")


@case("database.full")
def no_room(at: Walk) -> Steps:
    raised = "RAISE EXCEPTION SQLSTATE '53100' USING MESSAGE = 'could not extend file'"
    run = a_trigger(at, raised, "BEFORE INSERT ON deliveries")  # in place of a full disk
    yield {}
    run("DROP FUNCTION theirs CASCADE")


@case("database.constraint")
def a_check_of_theirs(at: Walk) -> Steps:
    run = an_admin(at)
    run("ALTER TABLE users ADD CONSTRAINT theirs CHECK (email LIKE '%@%') NOT VALID")
    at.stack.callback(run, "ALTER TABLE users DROP CONSTRAINT IF EXISTS theirs")
    yield {}
    run("ALTER TABLE users DROP CONSTRAINT theirs")


@case("failures.failed", 1, leaves=("failures.failed",))
def an_event_that_a_constraint_refuses(at: Walk) -> Steps:
    run = an_admin(at)
    run("ALTER TABLE users ADD CONSTRAINT theirs CHECK (email NOT LIKE '%@%') NOT VALID")
    at.stack.callback(run, "ALTER TABLE users DROP CONSTRAINT IF EXISTS theirs")
    at.program.deliver("login", "ada@example.com", answers=500)
    (event,) = at.program.json("events", "list", "--outcome", "failed")["events"]
    yield {}
    run("ALTER TABLE users DROP CONSTRAINT theirs")
    at.program("events", "again", event["id"])
    assert at.program.json("events", "list", "--outcome", "failed")["events"] == []


@case("database.held")
def a_session_left_open(at: Walk) -> Steps:
    run = an_admin(at)
    at.program.sign_up("ada@example.com")
    url = at.postgresql().replace("postgresql+psycopg", "postgresql")
    connection = at.stack.enter_context(closing(psycopg.connect(url)))
    connection.execute("UPDATE audit SET reason = 'theirs'")
    yield {}
    run(f"SELECT pg_terminate_backend({connection.info.backend_pid})")


@case("database.lossy", 0)
def commits_that_wait_for_no_disk(at: Walk) -> Steps:
    run = a_small_user(at)
    run(f"ALTER ROLE {ROLE} SET synchronous_commit = off")
    yield {}
    _as_said(at, run, "database.lossy", 0)


@case("database.lossy", 1)
def an_address_that_asks_for_it(at: Walk) -> Steps:
    url = at.postgresql()
    option = "options=-c%20synchronous_commit%3Doff"
    at.set(URL, f"{url}{'&' if '?' in url else '?'}{option}")
    yield {URL: url}


@case("database.unsafe")
def torn_pages(at: Walk) -> Steps:
    run = an_admin(at)
    run("ALTER SYSTEM SET full_page_writes = off")
    run("SELECT pg_reload_conf()")
    wait_until(lambda: "database.unsafe" in at.ask())
    yield {}
    run("ALTER SYSTEM RESET full_page_writes")
    run("SELECT pg_reload_conf()")
    wait_until(lambda: "database.unsafe" not in at.ask())


@case("database.tls", 0)
def no_certificate_of_the_authority(at: Walk) -> Steps:
    url = at.postgresql()
    listening = at.stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    Thread(target=_offer_tls, args=(listening,), daemon=True).start()
    port = listening.getsockname()[1]
    tls = f"sslmode=verify-full&sslrootcert={at.folder}/ca.pem"
    at.set(URL, f"postgresql://usher@127.0.0.1:{port}/usher?{tls}")
    yield {URL: url}


def _offer_tls(listening: socket.socket) -> None:
    """As a PostgreSQL with TLS, until the client looks for the authority's certificate."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            connection.recv(8)
            connection.sendall(b"S")
            connection.recv(1)


def an_admin(at: Walk) -> Run:
    """The program on PostgreSQL; runs statements as the owner of its tables."""
    plain = at.postgresql().replace("postgresql+psycopg", "postgresql")
    connection = at.stack.enter_context(psycopg.connect(plain, autocommit=True))
    return lambda statements: connection.execute(statements.encode())


def a_small_user(at: Walk, rights: str = "SELECT, INSERT, UPDATE, DELETE") -> Run:
    """The program is another user of PostgreSQL, with these rights on all tables."""
    run = an_admin(at)
    run(
        f"CREATE ROLE {ROLE} LOGIN; GRANT {rights} ON ALL TABLES IN SCHEMA public TO {ROLE}; "
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}"
    )
    at.stack.callback(run, f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
    at.set(URL, os.environ[URL].replace("//postgres", f"//{ROLE}", 1))
    return run


def a_trigger(at: Walk, body: str, when: str) -> Run:
    """A trigger of somebody else's on one of the tables."""
    run = an_admin(at)
    run(
        f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body}; END$$; "
        f"CREATE TRIGGER theirs {when} FOR EACH ROW EXECUTE FUNCTION theirs()"
    )
    at.stack.callback(run, "DROP FUNCTION IF EXISTS theirs CASCADE")
    return run


def _as_said(at: Walk, run: Run, key: str, cause: int) -> None:
    """The first statements of the advice, to the letter."""
    mend = at.ask()[key]["advice"][cause]["mend"]
    found = re.search(r"(?:ALTER|GRANT) [^.]+", mend)
    assert found is not None
    run(found.group())
