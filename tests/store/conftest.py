"""The store's tests run with each driver: three drivers, one behaviour."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgresql", "pg8000"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, PostgreSQL by psycopg, and PostgreSQL by pg8000."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
