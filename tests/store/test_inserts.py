"""Rows with empty columns: each row keeps its own values, whatever the others lack."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.support import NOON
from usher.core.app import App
from usher.core.store.statements import INTO_AUDIT, INTO_PUSHES
from usher.core.store.values import time_text

AT = time_text(NOON)


def entry(delivery_id: str | None, position: int | None) -> tuple[Any, ...]:
    """A row of the audit with these."""
    return "0" * 32, "1" * 32, AT, "a", "user.changed", delivery_id, position, None, "{}", ""


@pytest.mark.parametrize(
    "places",
    [
        [(None, None)],
        [(None, 0)],
        [("a", None), ("b", None)],
        [(None, 7), ("b", None)],
        [("a", None), (None, 0)],
        [(None, None), (None, None), ("c", 0)],
    ],
)
def test_a_row_keeps_what_another_lacks(
    usher: App, places: list[tuple[str | None, int | None]]
) -> None:
    """A nought is a value, and no other row's gap."""
    with usher.store.database.write() as transaction:
        transaction.insert(INTO_AUDIT, [entry(*each) for each in places])
        found = transaction.sql.execute(
            text("SELECT delivery_id, ledger_position FROM audit ORDER BY sequence")
        )
        assert [tuple(row) for row in found] == places


def test_a_change_to_nothing_takes_the_old_value_away(usher: App) -> None:
    """Also where no row of the statement has a value in that column."""

    def push(lease: str | None) -> tuple[Any, ...]:
        return "0" * 32, "1" * 32, AT, 0, AT, lease, ""

    with usher.store.database.write() as transaction:
        transaction.insert(INTO_PUSHES, [push("2" * 32)])
        transaction.insert(INTO_PUSHES, [push(None)], INTO_PUSHES.changing(frozenset(("lease",))))
        found = transaction.sql.execute(text("SELECT lease FROM pushes"))
        assert [tuple(row) for row in found] == [(None,)]
