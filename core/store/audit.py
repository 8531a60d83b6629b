"""The audit, read: every change of a record with its actor, before and after.

It only grows, but for entries older than the retention that is set.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from usher.core.domain.records import AuditEntry, Key, Page
from usher.core.store.filters import AuditFilters
from usher.core.store.keyset import Order, fetch
from usher.core.store.sizes import ENTRY
from usher.core.store.tables import AUDIT

_NEWEST = Order("at", (AUDIT.c.at, AUDIT.c.sequence), (datetime, int), True)


def audit_page(
    connection: Connection,
    instance_id: UUID,
    filters: AuditFilters,
    limit: int,
    cursor: str | None,
) -> Page[AuditEntry]:
    """One page of the audit, the newest first; of large entries a few.

    Args:
        limit: rows at most, between 1 and ``keyset.MAX_PAGE``.
        cursor: ``next_cursor`` of the page before; None: the first page.

    Raises:
        CursorInvalidError: the cursor is not one of this list.
    """
    within = [AUDIT.c.instance_id == instance_id]
    if filters.user_id:
        within.append(AUDIT.c.user_id == filters.user_id)
    if filters.since:
        within.append(AUDIT.c.at >= filters.since)
    if filters.until:
        within.append(AUDIT.c.at < filters.until)
    where = []
    if filters.actor:
        where.append(AUDIT.c.actor == filters.actor)
    if filters.action:
        where.append(AUDIT.c.action == filters.action)
    rows, following = fetch(
        connection,
        select(AUDIT),
        _NEWEST,
        within=within,
        where=where,
        cursor=cursor,
        limit=limit,
        size=ENTRY,
    )
    return Page(tuple(map(to_entry, rows)), following)


def newest_acts(
    connection: Connection, key: Key, since: datetime, limit: int
) -> list[tuple[str, str]]:
    """Action and actor of somebody's newest entries, not older than a time."""
    instance_id, user_id = key
    newest = (
        select(AUDIT.c.action, AUDIT.c.actor)
        .where(AUDIT.c.instance_id == instance_id, AUDIT.c.user_id == user_id, AUDIT.c.at >= since)
        .order_by(AUDIT.c.at.desc(), AUDIT.c.sequence.desc())
        .limit(limit)
    )
    return [(row.action, row.actor) for row in connection.execute(newest)]


def has_entry(connection: Connection, entry: AuditEntry) -> bool:
    """Whether the audit holds this act: same user, time, actor and action, and no delivery."""
    same = (
        AUDIT.c.instance_id == entry.instance_id,
        AUDIT.c.user_id == entry.user_id,
        AUDIT.c.at == entry.at,
        AUDIT.c.actor == entry.actor,
        AUDIT.c.action == entry.action,
        AUDIT.c.delivery_id.is_(None),
    )
    return connection.execute(select(AUDIT.c.sequence).where(*same).limit(1)).first() is not None


def to_entry(row: Any) -> AuditEntry:
    """An entry from its row."""
    return AuditEntry(
        action=row.action,
        actor=row.actor,
        instance_id=row.instance_id,
        user_id=row.user_id,
        at=row.at,
        before=row.before,
        after=row.after,
        reason=row.reason,
        delivery_id=row.delivery_id,
        sequence=row.sequence,
        ledger_position=row.ledger_position,
    )
