"""An event writes the indexes that it must, counted in the database's own log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from uuid import uuid4

import pytest

from bench.writes import SECRET, measure
from usher.core.app import App
from usher.core.settings import Settings

EVENTS, BATCH = 32, 16
WRITTEN = {
    "signup": {"users_email", "users_created", "users_last_seen", "grants_role", "audit_user"},
    "login": {"users_last_seen", "deliveries_received", "deliveries_user"},
}


@pytest.mark.parametrize("event", ["signup", "login"])
def test_no_event_writes_the_index_of_what_is_rare(
    database_url: str, make_settings: Callable[..., Settings], event: str
) -> None:
    """Whoever is active and came by e-mail is in neither; the others show that it counts."""
    settings = make_settings(database_url=database_url, webhook_secrets=(SECRET.encode(),))
    people = [uuid4() for _ in range(EVENTS)]
    with closing(App(settings)) as app:
        if event == "login":
            measure(app, "signup", people, BATCH)
        found = measure(app, event, people, BATCH)
        unit = "pages" if app.store.database.is_sqlite else "insert_leaf"
    assert all(found[name][unit] for name in WRITTEN[event])
    assert not any(found[name][unit] for name in ("users_status", "users_provider"))
