"""The functions on a real PostgreSQL: what they answer is committed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.api.api_support import bearer
from tests.netlify.functions import Functions, functions, run_inside
from tests.support import SECRET, account, signed


@pytest.fixture
def stored(site: Path, postgresql_url: str, tmp_path: Path) -> Iterator[Functions]:
    """The functions with a database."""
    url = postgresql_url.replace("+psycopg", "")
    variables = {
        "NETLIFY_DB_URL": url,
        "USHER_DATABASE_URL": "",
        "USHER_JWT_SECRET": SECRET.decode(),
    }
    with functions(site, tmp_path / "log", **variables) as running:
        yield running


def test_a_person_signs_up_logs_in_and_reads_their_record(
    stored: Functions, postgresql_url: str, tmp_path: Path
) -> None:
    """The roles are in the answer, and in the database when it comes."""
    owner = account(email="owner@example.com")
    now = datetime.now(UTC)
    roles = {"signup": ["member"], "login": ["admin", "member", "staff"]}
    for number, event in enumerate(roles, 1):
        told = stored.deliver(signed(event, owner, at=now))
        assert (told.status, told.document["app_metadata"]["roles"]) == (200, roles[event])
        with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (number,)
    headers = {"Authorization": f"Bearer {bearer(owner.id, now, SECRET, email=owner.email)}"}
    me = stored.ask("/api/me", "GET", headers=headers)
    assert (me.status, me.document["email"]) == (200, "owner@example.com")
    users = stored.ask("/api/users", "GET", headers=headers)
    assert [each["email"] for each in users.document["users"]] == ["owner@example.com"]
    assert "without its snapshot" not in (tmp_path / "log").read_text()


NEW = """
import sys
from usher.netlify import entry, snapshot
before = set(sys.modules)
environment = {{**snapshot.REHEARSED, "USHER_DATABASE_URL": {url!r}}}
statuses = snapshot.rehearse(entry.answer, environment)
json.dumps([statuses, sorted(set(sys.modules) - before)])
"""


def test_an_event_imports_nothing_that_its_snapshot_has_not(
    site: Path, postgresql_url: str
) -> None:
    """Each module more would have to be loaded in a cold start."""
    program = NEW.format(url=postgresql_url.replace("+psycopg", ""))
    statuses, new = run_inside(site, program)
    assert statuses == [401, 200]
    assert new == ["usher_wires"]


def test_the_schedule_does_maintenance(stored: Functions) -> None:
    """By the third function, which Netlify calls every five minutes."""
    stored.deliver(signed("signup", account(), at=datetime.now(UTC)))
    told = stored.ask("/.netlify/functions/usher-maintenance", body=b"{}")
    assert (told.status, told.document) == (200, {"done": True})
