"""A ledger that was partitioned by hand, as docs/storage.md shows it, is a ledger as before."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

from tests.store.store_support import deliver, execute, rows
from tests.support import NOON, ROOT, Clock, account, signed, verified
from usher import migrations
from usher.core.app import App
from usher.core.settings import Settings
from usher.core.store.filters import DeliveryFilters

PARTITIONING = re.compile(r"```sql\n(ALTER TABLE deliveries RENAME .*?)```", re.DOTALL)


def test_a_ledger_partitioned_by_hand_goes_on(
    empty_postgresql: str, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Retries are known, lists and look-ups whole, and a month is dropped at once."""
    with closing(App(make_settings(database_url=empty_postgresql), clock)) as app:
        database = app.store.database
        migrations.upgrade(database)
        ada = account(email="ada@example.com")
        first = signed("signup", ada)
        answer = deliver(app, [first])
        page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
        (recipe,) = PARTITIONING.findall(page)
        for statement in recipe.split(";\n"):
            execute(database, statement)

        assert deliver(app, [first]) == answer
        month_later = NOON + timedelta(days=31)
        login = signed("login", ada, at=month_later)
        app.webhooks.process([verified(app.webhooks, login, month_later)])
        ledger = app.store.ledger
        found = ledger.page(DeliveryFilters(user_id=ada.id)).items
        assert [each.event for each in found] == ["login", "signup"]
        assert [each.sequence for each in found] == [2, 1]
        assert [ledger.find(each.id[:12]) for each in found] == list(found)
        held = "SELECT tableoid::regclass::text, event FROM deliveries ORDER BY sequence"
        assert rows(database, held) == [
            ("deliveries_2026_11", "signup"),
            ("deliveries_2026_12", "login"),
        ]
        execute(database, "DROP TABLE deliveries_2026_11")
        assert [each.event for each in ledger.page().items] == ["login"]
        assert ledger.prune(month_later + timedelta(days=1), step=10) == 1
        execute(database, "UPDATE alembic_version SET version_num = '0008'")
        migrations.upgrade(database)  # passes over the settings that only partitions take
