"""A database that is away for a while, for real: somebody else holds everything locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from usher.core.store.drivers import pg8000, postgresql, sqlite

LOCK_MS = 20


def impatient(patch: pytest.MonkeyPatch) -> None:
    """Let connections of this process wait a moment for a lock, on any database; 2 s are usual.

    PostgreSQL's are told as they are opened.
    """
    patch.setattr(sqlite, "BUSY_TIMEOUT_MS", LOCK_MS)
    for driver in (postgresql, pg8000):
        patch.setattr(driver, "LOCK_TIMEOUT_MS", LOCK_MS)


@contextmanager
def locked(
    url: str, tables: str = "deliveries", mode: str = "ACCESS EXCLUSIVE"
) -> Iterator[sqlite3.Connection | psycopg.Connection[Any]]:
    """Nobody else can write meanwhile, or until this connection rolls back."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            yield other
    else:
        plain = make_url(url).set(drivername="postgresql")
        with psycopg.connect(plain.render_as_string(hide_password=False)) as other:
            other.execute(f"LOCK TABLE {tables} IN {mode} MODE")
            yield other
            other.rollback()
