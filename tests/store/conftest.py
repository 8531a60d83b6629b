"""The store's tests run with each driver: three drivers, one behaviour."""

from __future__ import annotations

from tests.support import databases

database_url = databases("sqlite", "postgresql", "pg8000")
