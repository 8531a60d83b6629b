"""``/stats`` and ``/roles`` count by reading alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.api.api_support import BOSS, People
from tests.pipeline.outage_support import locked
from tests.store.store_support import executed
from tests.support import Clock
from usher.core.domain import administration


def guests(path: str, document: dict[str, Any]) -> int:
    """How many have the role that is lent."""
    if path == "/stats":
        return int(document["by_role"].get("guest", 0))
    return sum(each["users"] for each in document["roles"] if each["role"] == "guest")


@pytest.mark.parametrize("path", ["/stats", "/roles"])
def test_counting_writes_nothing(people: People, clock: Clock, path: str) -> None:
    """A grant that has ended is subtracted, and left to maintenance."""
    users, database = people.app.store.users, people.app.store.database
    command = administration.grant("guest", expires_at=clock() + timedelta(minutes=5))
    lent = users.change(users.get(people.ids["user"]), command, BOSS)
    assert guests(path, people.ask("administrator", "GET", path).json) == 1
    clock.advance(minutes=6)
    # Nobody can write meanwhile: a write, or a row locked for one, would fail after two seconds.
    tables = "users, grants, counters, audit, deliveries"
    url = people.app.settings.database_url
    with locked(url, tables, "EXCLUSIVE"), executed(database) as statements:
        answer = people.ask("administrator", "GET", path)
    assert answer.status == 200
    assert guests(path, answer.json) == 0
    assert len(statements) > 1
    for one in statements:
        assert one.text.startswith(("SELECT", "WITH ended")), one.text
        assert "FOR UPDATE" not in one.text
    assert users.get(people.ids["user"]) == lent
