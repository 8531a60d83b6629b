"""A real PgBouncer with transaction pooling, and fewer connections to PostgreSQL than clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL, make_url

from tests.support import apart, free_port

WAIT_SECONDS = 30
PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = {auth}
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


@contextmanager
def pgbouncer(postgresql_url: str, size: int = 3, password: str = "") -> Iterator[str]:
    """The URL of the same database behind it.

    Args:
        size: how many connections it keeps to the server.
        password: what it asks for, by SCRAM; none: it lets anybody in.
    """
    assert PROGRAM is not None, "needs pgbouncer"
    server = make_url(postgresql_url)
    socket = str(server.query["host"])  # a folder that only PostgreSQL's own user may enter
    listen = free_port()
    with apart() as folder:
        file = folder / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                host=socket,
                port=server.port or 5432,
                user=server.username,
                listen=listen,
                size=size,
                auth="scram-sha-256" if password else "any",
                users=folder / "users",
            )
        )
        file.chmod(0o644)
        (folder / "users").write_text(f'"{server.username}" "{password}"\n')
        (folder / "users").chmod(0o644)
        owner = ("-u", Path(socket).owner()) if os.getuid() == 0 else ()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAM, *owner, str(file)], stdout=log, stderr=log, start_new_session=True
            )
        try:
            own = (server.username, password, "127.0.0.1", listen, server.database)
            url = URL.create("postgresql+psycopg", *own)
            _wait(url, process, folder / "log")
            yield url.render_as_string(hide_password=False)
        finally:
            process.terminate()
            process.wait()


def _wait(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            psycopg.connect(plain, autocommit=True).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text()) from None
            time.sleep(0.05)
        else:
            return
