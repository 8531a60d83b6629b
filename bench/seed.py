"""A database with any number of users, written by the product's own code."""

import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

from usher import migrations
from usher.core.domain.records import AuditEntry, Grant, Source, User
from usher.core.store.counters import Counters
from usher.core.store.database import Database
from usher.core.store.users import store_users

START = datetime(2026, 1, 1, tzinfo=UTC)
CHUNK = 5_000
SEEDING_CACHE_KIB = 4_000_000
"""At most; a page of an index is then written once in a million rows, not for each."""
ADMIN_EVERY, EDITOR_EVERY = 100_000, 100
FIRST = UUID(int=1 << 100)
"""The id of the first user, who is an administrator."""


def person(number: int, random: Random) -> User:
    """The user of this number: everybody a member, 1 % editors, a handful of administrators."""
    moment = START + timedelta(seconds=number)
    grants = [Grant("member", Source.POLICY, moment, actor="0" * 12)]
    if number % EDITOR_EVERY == 0:
        grants.append(Grant("editor", Source.ADMINISTRATOR, moment, actor="cli:seed"))
    if number % ADMIN_EVERY == 0:
        grants.append(Grant("admin", Source.ADMINISTRATOR, moment, actor="cli:seed"))
    provider = ("email", "email", "google", "github")[random.randrange(4)]
    email = f"{random.getrandbits(40):010x}.{number}@example.com"
    return User(
        UUID(int=0),
        FIRST if number == 0 else UUID(int=random.getrandbits(128), version=4),
        created_at=moment,
        updated_at=moment,
        email=email,
        email_key=email,
        provider=provider,
        app_metadata={"provider": provider},
        user_metadata={"full_name": f"Person {number}"},
        confirmed_at=moment,
        suspended_at=moment if number % 10 == 9 else None,
        last_seen_at=moment + timedelta(seconds=random.randrange(10**6)),
        grants=tuple(sorted(grants, key=lambda grant: (grant.role, grant.source))),
        order=f"1.{number:012d}",
    )


def seed(url: str, count: int) -> None:
    """Fill an empty database with this many users, each with one entry in the audit."""
    database = Database(url)
    migrations.upgrade(database)
    random = Random(1)
    began = time.monotonic()
    for start in range(0, count, CHUNK):
        users = [person(number, random) for number in range(start, min(start + CHUNK, count))]
        after = {(user.instance_id, user.id): user for user in users}
        entries = [
            AuditEntry(
                "user.created",
                "identity",
                user.instance_id,
                user.id,
                user.created_at,
                None,
                {"status": "active"},
                delivery_id="0" * 72,
            )
            for user in users
        ]
        counters = Counters()
        with database.write() as transaction:
            store_users(transaction, counters, {}, after, entries)
            counters.write(transaction)
        print(f"\r  seeding {start + len(users):,} of {count:,}", end="", file=sys.stderr)
    with database.write() as transaction:
        transaction.sql.exec_driver_sql("ANALYZE")
    database.dispose()
    if database.sqlite_path:
        with sqlite3.connect(database.sqlite_path) as plain:
            plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        plain.close()
    print(f" in {time.monotonic() - began:.0f} s", file=sys.stderr)


def seed_ledger(url: str, each: int) -> None:
    """Add so many logins of each user to the ledger of a SQLite file, in the order of time.

    By SQL alone, for there are many; the bodies are short. The index by user grows with them, as
    it does on a site: made afterwards, it would be packed so full that each further event split
    a page of it.
    """
    began = time.monotonic()
    database = Database(url)
    with database.write() as transaction:
        count = transaction.sql.exec_driver_sql("SELECT count(*) FROM users").scalar_one()
    start = int((START + timedelta(days=30)).timestamp())
    for turn in range(each):
        with database.write() as transaction:
            transaction.sql.exec_driver_sql(f"PRAGMA cache_size=-{SEEDING_CACHE_KIB}")
            transaction.sql.exec_driver_sql(
                """
                INSERT INTO deliveries (id, instance_id, event, user_id, issued_at, received_at,
                    path, body, body_digest, key_index, outcome, reasons, policy, origin,
                    reply_status, reply_type, reply_body)
                SELECT printf('%08x', ? + row) || lower(hex(randomblob(32))), instance_id, 'login',
                    id, ? + row, strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', ? + row, 'unixepoch'),
                    '/.netlify/functions/identity-login', CAST('{}' AS BLOB), '', 0, 'unchanged',
                    '[]', '', 'live', 204, '', ''
                FROM (SELECT id, instance_id, row_number() OVER (ORDER BY created_at) AS row
                      FROM users)
                """,
                (start + turn * count,) * 3,
            )
        print(f"\r  ledger {(turn + 1) * count:,} of {each * count:,}", end="", file=sys.stderr)
    with database.write() as transaction:
        transaction.sql.exec_driver_sql("ANALYZE")
    database.dispose()
    print(f" in {time.monotonic() - began:.0f} s", file=sys.stderr)


def sqlite_url(folder: Path, count: int) -> str:
    """A seeded SQLite file in a folder, made where it is not there yet."""
    path = folder / f"users-{count}.db"
    url = f"sqlite:///{path}"
    if not path.exists():
        seed(url, count)
    return url
