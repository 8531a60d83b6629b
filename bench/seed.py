"""A database with any number of users and deliveries, filled by SQL alone: a million in a minute.

Everybody is a member, 1 % are editors, one in 100,000 is an administrator; one in ten is
suspended. A number gives the same rows each time, on both databases.
"""

import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection

from usher import migrations
from usher.core.domain.at_identity import AtIdentity
from usher.core.store.database import Database

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
LEDGER_START = START + 30 * 86_400
FIRST = UUID(int=1 << 100)
"""The id of the first user, who is an administrator."""
NOBODY = UUID(int=0)
SEEDING_CACHE_KIB = 4_000_000
"""At most; a page of an index is then written once in a million rows, not for each."""
CHUNK = 500_000
PROVIDER = "CASE i * 7919 % 4 WHEN 2 THEN 'google' WHEN 3 THEN 'github' ELSE 'email' END"
EMAIL = "substr(md5('email' || i), 1, 10) || '.' || i || '@example.com'"
STATE = json.dumps(AtIdentity().document() | {"proven": []})
ROLES = (
    ("member", 1, "policy"),
    ("editor", 100, "administrator"),
    ("admin", 100_000, "administrator"),
)
COUNTERS = (
    ("status", "status", "users"),
    ("provider", "provider", "users"),
    ("role", "role", "grants"),
)


class SqliteSql:
    """What is said in another way on each database; ``i`` is the number of the row."""

    no = "0"
    nobody = f"'{NOBODY.hex}'"
    empty = "CAST('{}' AS BLOB)"

    def numbers(self, start: int, end: int) -> str:
        return (
            f"WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL"
            f" SELECT i + 1 FROM n WHERE i + 1 < {end})"
        )

    def user(self, number: str) -> str:
        return f"CASE {number} WHEN 0 THEN '{FIRST.hex}' ELSE md5('user' || ({number})) END"

    def at(self, seconds: str) -> str:
        return f"strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', {seconds}, 'unixepoch')"

    def document(self, key: str, value: str) -> str:
        return f"json_object('{key}', {value})"

    def hex8(self, number: str) -> str:
        return f"printf('%08x', {number})"


class PostgresqlSql(SqliteSql):
    no = "false"
    nobody = f"'{NOBODY}'::uuid"
    empty = "'{}'::bytea"

    def numbers(self, start: int, end: int) -> str:
        return f"WITH n(i) AS (SELECT generate_series({start}::bigint, {end - 1}))"

    def user(self, number: str) -> str:
        return f"CASE {number} WHEN 0 THEN '{FIRST}' ELSE md5('user' || ({number})) END::uuid"

    def at(self, seconds: str) -> str:
        return f"to_timestamp({seconds})"

    def document(self, key: str, value: str) -> str:
        return f"json_build_object('{key}', {value})"

    def hex8(self, number: str) -> str:
        return f"lpad(to_hex({number}), 8, '0')"


def users(sql: SqliteSql, start: int, end: int) -> Iterator[str]:
    """The statements that make users of these numbers, their grants and their audit."""
    numbers, user, at = sql.numbers(start, end), sql.user("i"), sql.at(f"{START} + i")
    yield f"""
        INSERT INTO users (instance_id, id, status, email, email_key, provider, user_metadata,
            app_metadata, profile, extra_app_metadata, identity_state, created_at, updated_at,
            confirmed_at, suspended_at, last_seen_at, applied_order, version)
        {numbers}
        SELECT {sql.nobody}, {user}, CASE i % 10 WHEN 9 THEN 'suspended' ELSE 'active' END,
            {EMAIL}, {EMAIL}, {PROVIDER}, {sql.document("full_name", "'Person ' || i")},
            {sql.document("provider", PROVIDER)}, '{{}}', '{{}}', '{STATE}', {at}, {at},
            {at}, CASE i % 10 WHEN 9 THEN {at} END, {sql.at(f"{START} + i + i * 7907 % 1000000")},
            '1.' || i, 1
        FROM n"""
    for role, each, source in ROLES:
        yield f"""
            INSERT INTO grants (instance_id, user_id, role, source, denies, actor, reason,
                created_at)
            {numbers}
            SELECT {sql.nobody}, {user}, '{role}', '{source}', {sql.no}, 'bench', '', {at}
            FROM n WHERE i % {each} = 0"""
    yield f"""
        INSERT INTO audit (instance_id, user_id, at, actor, action, delivery_id, after, reason)
        {numbers}
        SELECT {sql.nobody}, {user}, {at}, 'identity', 'user.created', '{"0" * 72}',
            '{{"status": "active"}}', ''
        FROM n ORDER BY i"""


def counters() -> Iterator[str]:
    """The statements that count the users."""
    for kind, column, table in COUNTERS:
        yield f"""
            INSERT INTO counters (instance_id, name, shard, value)
            SELECT instance_id, '{kind}:' || {column}, 0, count(*) FROM {table}
            GROUP BY instance_id, {column}"""


def logins(sql: SqliteSql, start: int, end: int, count: int) -> str:
    """The statement that makes deliveries, a second apart, of so many users in turns."""
    moment = f"{LEDGER_START} + i"
    return f"""
        INSERT INTO deliveries (id, instance_id, event, user_id, issued_at, received_at, path,
            body, body_digest, key_index, outcome, reasons, policy, origin, reply_status,
            reply_type, reply_body)
        {sql.numbers(start, end)}
        SELECT {sql.hex8(moment)} || md5('a' || i) || md5('b' || i), {sql.nobody},
            'login', {sql.user(f"i % {count}")}, {moment}, {sql.at(moment)},
            '/.netlify/functions/identity-login', {sql.empty}, '', 0, 'unchanged', '[]', '', 'live',
            204, '', ''
        FROM n ORDER BY i"""


def seed(url: str, count: int) -> None:
    """Fill an empty database with this many users, each with one entry in the audit."""
    with filling(url, f"{count:,} users") as (database, sql):
        for start in range(0, count, CHUNK):
            run(database, *users(sql, start, min(start + CHUNK, count)))
        run(database, *counters())


def seed_ledger(url: str, count: int, each: int) -> None:
    """Add so many logins of each of ``count`` users to the ledger, in the order of time.

    The index by user grows with them, as it does on a site: made afterwards, it would be packed
    so full that each further event split a page of it.
    """
    with filling(url, f"{count * each:,} deliveries") as (database, sql):
        for start in range(0, count * each, CHUNK):
            run(database, logins(sql, start, min(start + CHUNK, count * each), count))


@contextmanager
def filling(url: str, what: str) -> Iterator[tuple[Database, SqliteSql]]:
    """A migrated database. SQLite has no statistics then, as on any site."""
    began = time.monotonic()
    database = Database(url)
    migrations.upgrade(database)
    yield database, SqliteSql() if database.is_sqlite else PostgresqlSql()
    if not database.is_sqlite:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as tidy:
            tidy.execute("VACUUM ANALYZE")
    path = database.sqlite_path
    database.dispose()
    if path:
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    print(f"  {what} in {time.monotonic() - began:.0f} s", file=sys.stderr)


def run(database: Database, *statements: str) -> None:
    """Statements in one transaction."""
    with database.write() as transaction:
        if database.is_sqlite:
            prepare(transaction.sql)
        as_it_is = transaction.sql.execution_options(no_parameters=True)
        for statement in statements:
            as_it_is.exec_driver_sql(statement)


def prepare(connection: Connection) -> None:
    """Room in memory for the transaction, and PostgreSQL's md5."""
    connection.exec_driver_sql(f"PRAGMA cache_size=-{SEEDING_CACHE_KIB}")
    driver: Any = connection.connection.driver_connection
    driver.create_function("md5", 1, md5, deterministic=True)


def md5(text: str) -> str:
    """As PostgreSQL's."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def sqlite_url(folder: Path, count: int) -> str:
    """A seeded SQLite file in a folder, made where it is not there yet."""
    path = folder / f"users-{count}.db"
    url = f"sqlite:///{path}"
    if not path.exists():
        seed(url, count)
    return url
