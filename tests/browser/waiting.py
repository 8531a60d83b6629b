"""Changes in the outbox, as a handler leaves them that fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import insert

from tests.browser.people import PLAIN
from usher.core.app import App
from usher.core.domain.outbox import changes_of
from usher.core.domain.outbox_queue import State
from usher.core.domain.outbox_shards import shard_of
from usher.core.domain.records import AuditEntry
from usher.core.store.complete import Complete
from usher.core.store.filters import AuditFilters
from usher.core.store.outbox import Queue
from usher.core.store.tables import OUTBOX

HANDLER: Final = "handler:members.billing.open_account"
ERROR: Final = "TimeoutError: no answer within 30 s (members/billing.py:41)"


def let_wait(app: App, consumer: str = HANDLER, unseen: timedelta = timedelta()) -> None:
    """One that fails, another behind it, two dead letters and one that was dropped.

    Args:
        unseen: since a server worked for it.
    """
    now = app.clock()
    queue = Queue(app.store.database)
    position = Complete(app.store.database).up_to()
    assert position is not None
    queue.begin(consumer, position, now - unseen)
    users = app.store.users
    bob = users.audit_page(AuditFilters(user_id=users.find(PLAIN).id), limit=50).items[::-1]
    first, second = [entry for entry in bob if changes_of(entry)][:2]
    one, two, three = users.audit_page(AuditFilters(action="role.granted"), limit=3).items
    mine: dict[str, Any] = {"consumer": consumer}
    failed: dict[str, Any] = {**mine, "error": ERROR, "failed_at": now - timedelta(minutes=4)}
    dead: dict[str, Any] = {"state": State.DEAD, "tries": 21, **failed}
    rows = [
        _row(first, tries=7, due_at=now + timedelta(minutes=6), **failed),
        _row(second, **mine),
        _row(one, **dead),
        _row(two, **dead),
        _row(three, **mine, state=State.DROPPED, tries=12, error="Identity has no such account."),
    ]
    with app.store.database.write() as transaction:
        transaction.sql.execute(insert(OUTBOX), rows)


def _row(entry: AuditEntry, **facts: Any) -> dict[str, Any]:
    change = changes_of(entry)[0]
    values = {
        "sequence": change.sequence,
        "part": 0,
        "shard": shard_of(change.user.id),
        "instance_id": change.instance_id,
        "user_id": change.user.id,
        "kind": change.kind.value,
        "role": change.role,
        "change_id": change.id,
        "at": change.at,
        "state": State.WAITING,
        "tries": 0,
        "due_at": None,
        "error": "",
        "failed_at": None,
    }
    return {**values, **facts}
