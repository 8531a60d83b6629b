"""Findings on a PostgreSQL that is set up otherwise than Usher needs it."""

from __future__ import annotations

import re
from typing import Any, Final

from usher.cli.checks.findings import Advice, Finding, Kind, Severity
from usher.core.database_url import connect_arguments
from usher.core.errors import DatabaseError
from usher.core.store.complete import Complete, roles_of
from usher.core.store.database import Database
from usher.core.store.surroundings import Surroundings, surroundings

TLS = Kind(
    "database.tls",
    "no connection with TLS comes about: {error}",
    (
        Advice(
            "The file that sslrootcert in USHER_DATABASE_URL names is not there.",
            "Put the certificate of the authority that signed the server's there; for a public "
            "one set USHER_DATABASE_URL with sslrootcert=system.",
            settings=("USHER_DATABASE_URL",),
        ),
        Advice(
            "The server's certificate is for another name, or another authority signed it.",
            "Set USHER_DATABASE_URL with the host that the certificate is for, and with the file "
            "of that authority as sslrootcert.",
            settings=("USHER_DATABASE_URL",),
        ),
        Advice(
            "The server takes no connection with TLS.",
            "Turn it on there (ssl = on).",
        ),
    ),
)
SCHEMA = Kind(
    "database.schema",
    "the tables are in the schema {hidden}, where the role {role} does not see them",
    (
        Advice(
            "The role's search_path leaves it out.",
            "Let an administrator of the database run: ALTER ROLE {role} IN DATABASE {database} "
            "SET search_path = {hidden}. Then restart the server.",
        ),
        Advice(
            "The role may not use that schema.",
            "Let its owner run: GRANT USAGE ON SCHEMA {hidden} TO {role}",
        ),
    ),
)
NO_RIGHT = Kind(
    "database.no_right",
    "the role in USHER_DATABASE_URL lacks a right: {error}",
    (
        Advice(
            "A grant is missing, or tables were made anew without it.",
            "Let the owner of the tables run: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES "
            "IN SCHEMA {schema} TO {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} "
            "TO {role}",
        ),
    ),
)
ROW_SECURITY = Kind(
    "database.row_security",
    "it hides rows, or refuses them by row: {error}",
    (
        Advice(
            "Row level security is on for the table, and the role is not its owner.",
            "Let the owner run, for each table of Usher: ALTER TABLE deliveries DISABLE ROW LEVEL "
            "SECURITY. Or let a superuser run: ALTER ROLE {role} BYPASSRLS",
        ),
        Advice(
            "A trigger or a rule that is not Usher's does something else than to write the row.",
            "Take it off the table.",
        ),
    ),
)
LOSSY = Kind(
    "database.lossy",
    "synchronous_commit is off: an event that was answered can be lost when PostgreSQL or its "
    "machine stops",
    (
        Advice(
            "It is off for the server, the database or the role.",
            "Let an administrator of the database run: ALTER ROLE {role} IN DATABASE {database} "
            "SET synchronous_commit = on. Then restart the server.",
        ),
        Advice(
            "USHER_DATABASE_URL turns it off by its options.",
            "Set USHER_DATABASE_URL without that.",
            settings=("USHER_DATABASE_URL",),
        ),
    ),
)
UNSAFE = Kind(
    "database.unsafe",
    "off: {off}. A crash of its machine can damage the whole database",
    (
        Advice(
            "It was turned off for speed.",
            "Turn it on in postgresql.conf, and let PostgreSQL read that (SELECT "
            "pg_reload_conf()). A provider whose disks are a service of its own, such as Neon, may "
            "have it off rightly; then nothing is to be done.",
        ),
    ),
    Severity.WARNING,
)

HELD = Kind(
    "database.held",
    "a transaction has been writing to the audit for long, so that nothing newer is handed over "
    "or in the feed: {sessions}",
    (
        Advice(
            "A session was left open in the middle of a transaction, or a long job writes to "
            "Usher's tables.",
            "Let it end, or end it (SELECT pg_terminate_backend(PID)). A prepared transaction has "
            "no session: pg_prepared_xacts names it.",
        ),
    ),
    Severity.WARNING,
)

STANDBY_WORDS: Final = re.compile("session is read-only|server is in hot standby mode")
"""libpq's, of a host that it passes over."""
_TLS_WORDS: Final = re.compile(r"\b(SSL|TLS|certificate)\b")
_ROW_WORDS: Final = re.compile("row-level security|hides a row")


def refusal(words: str, *, away: bool) -> Kind | None:
    """Return the finding that PostgreSQL's words alone tell, if they do."""
    if _ROW_WORDS.search(words):
        return ROW_SECURITY
    return TLS if away and _TLS_WORDS.search(words) else None


def promises(database: Database, around: Surroundings) -> list[Finding]:
    """Return what makes a commit less than it says."""
    lossy = [found(LOSSY, database)] if around.synchronous_commit == "off" else []
    return lossy + ([UNSAFE.found(off=", ".join(around.unsafe))] if around.unsafe else [])


def held_back(database: Database) -> list[Finding]:
    """Return the transactions for whose end readers of the audit wait."""
    complete = Complete(database)
    complete.up_to()
    if not complete.awaited:
        return []
    roles = roles_of(database, complete.awaited)
    sessions = [
        f"{writer.pid} of the role {roles.get(writer.pid, '?')}" if writer.pid else "a prepared one"
        for writer in complete.awaited
    ]
    return [HELD.found(sessions=", ".join(sorted(sessions)))]


def found(kind: Kind, database: Database, **facts: Any) -> Finding:
    """Return a finding whose advice may name the role, the database and the schemas."""
    url = connect_arguments(database.url)
    names = {"role": url.get("user", "USER"), "database": url.get("dbname", "NAME")}
    names |= {"schema": "public", "hidden": "public"}
    try:
        around = surroundings(database)
    except DatabaseError:
        pass  # the address has to do
    else:
        names |= {name: getattr(around, name) or names[name] for name in names}
    return kind.found(**names, **facts)
