"""The erasure of personal data from the audit and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, select, update

from usher.core.domain.records import Key
from usher.core.store.ledger import erase_deliveries
from usher.core.store.tables import AuditRow

_AUDIT: Final[Table] = AuditRow.__table__  # type: ignore[attr-defined]


def erase(connection: Connection, key: Key) -> None:
    """Erase personal values from a user's audit and deliveries; entries and deliveries stay."""
    mine = and_(_AUDIT.c.instance_id == key[0], _AUDIT.c.user_id == key[1])
    columns = (_AUDIT.c.sequence, _AUDIT.c.before, _AUDIT.c.after)
    for row in connection.execute(select(*columns).where(mine)).all():
        connection.execute(
            update(_AUDIT)
            .where(_AUDIT.c.sequence == row.sequence)
            .values(before=_impersonal(row.before), after=_impersonal(row.after), reason="")
        )
    erase_deliveries(connection, *key)


def _impersonal(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    kept = {key: values[key] for key in ("status", "provider") if key in values}
    if "roles" in values:
        kept["roles"] = {
            role: {source: word | {"reason": ""} for source, word in said.items()}
            for role, said in values["roles"].items()
        }
    return kept
