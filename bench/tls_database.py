"""A PostgreSQL as one that is rented: over TCP, TLS by an authority of its own, and a password.

The wheel that tests use has no TLS, so it is the system's (Debian: ``apt-get install postgresql``).
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.receivers import make_certificates
from tests.support import apart, free_port
from usher import migrations
from usher.core.store.database import Database

DEBIAN = Path("/usr/lib/postgresql")
PASSWORD = "known to its owner only"
LINE = re.compile(r"^(\d+\.\d+) \[(\d+)\] LOG:  (.*)$")
CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
ssl = on
ssl_cert_file = 'receiver.pem'
ssl_key_file = 'receiver.key'
log_line_prefix = '%n [%p] '
log_connections = on
"""
LOGGED = "log_statement = 'all'\n"
ACCESS = "hostssl all all 127.0.0.1/32 scram-sha-256\n"


class NoPostgresqlError(RuntimeError):
    """There is none with TLS on this machine."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the server's log: when, in seconds since 1970, of which connection, and what."""

    at: float
    connection: int
    said: str


@dataclass(frozen=True, slots=True)
class TlsDatabase:
    """A migrated database.

    Attributes:
        url: ``postgresql:``, with the password, for clients that trust the authority.
        authority: its certificate.
        log: of the server.
    """

    url: str
    authority: Path
    log: Path

    @property
    def verified(self) -> str:
        """The URL for psycopg, and whatever else reads libpq's parameters."""
        return f"{self.url}?sslmode=verify-full&sslrootcert={quote(str(self.authority))}"

    def say(self, *statements: str) -> None:
        """Statements of its owner."""
        with psycopg.connect(self.verified, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def count(self, table: str) -> int:
        """How many rows a table has."""
        with psycopg.connect(self.verified) as connection:
            (found,) = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
        return int(found[0])

    def moments(self) -> list[Moment]:
        """What the log says so far."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        found = (LINE.match(line) for line in text.splitlines())
        return [Moment(float(each[1]), int(each[2]), each[3]) for each in found if each]


def programs() -> Path:
    """The folder of the newest PostgreSQL's programs.

    Raises:
        NoPostgresqlError
    """
    installed = sorted(DEBIAN.glob("*/bin/pg_ctl"), key=lambda each: int(each.parts[-3]))
    on_path = shutil.which("pg_ctl")
    found = installed[-1] if installed else on_path and Path(on_path)
    if not found:
        raise NoPostgresqlError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return Path(found).parent


@contextmanager
def tls_database(*, logged: bool = False) -> Iterator[TlsDatabase]:
    """A new one, which syncs each commit.

    Args:
        logged: write each statement into the log, not only each connection.
    """
    bin_folder = programs()
    owner = pwd.getpwnam("postgres").pw_uid if os.getuid() == 0 else None

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [bin_folder / program, *arguments],
            user=owner,
            cwd=folder,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            log = folder / "log"
            more = log.read_text(errors="replace") if log.exists() else ""
            raise NoPostgresqlError(f"{program} failed: {done.stdout}{more}".strip())

    with apart() as folder:
        certificates = make_certificates(folder, "IP:127.0.0.1")
        data, secret = folder / "data", folder / "password"
        secret.write_text(PASSWORD)
        for path in (folder, secret, certificates.certificate, certificates.key):
            os.chown(path, owner if owner is not None else -1, -1)
        access = ("--auth=scram-sha-256", "--username=postgres", f"--pwfile={secret}")
        run("initdb", f"--pgdata={data}", "--encoding=UTF8", "--no-locale", *access)
        for file in (certificates.certificate, certificates.key):
            Path(shutil.move(file, data)).chmod(0o600)
        port = free_port()
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION.format(port=port) + (LOGGED if logged else ""))
        (data / "pg_hba.conf").write_text(ACCESS)
        folder.chmod(0o755)
        log = folder / "log"
        run("pg_ctl", "-D", str(data), "-l", str(log), "-w", "start")
        try:
            address = f"postgres:{quote(PASSWORD)}@127.0.0.1:{port}/postgres"
            made = TlsDatabase(f"postgresql://{address}", certificates.authority, log)
            database = Database(made.verified.replace("postgresql:", "postgresql+psycopg:", 1))
            migrations.upgrade(database)
            database.dispose()
            yield made
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
