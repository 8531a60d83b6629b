"""``usher audit``: changes of records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from usher.cli.environment import opened
from usher.cli.moments import PAST
from usher.cli.output import (
    NO_MATCH,
    counted,
    cursor_option,
    json_option,
    limit_option,
    moment,
    print_json,
    print_table,
    say_more,
)
from usher.core.domain.documents import audit_document
from usher.core.domain.records import THE_SITE, AuditEntry
from usher.core.store.filters import ACTIONS, AuditFilters
from usher.core.strict_json import dumps


@click.command()
@click.option("--user", help="Only changes of this user, by id or e-mail address.")
@click.option("--actor", default="", help="Only changes by identity, cli:NAME, user:ID or usher.")
@click.option("--action", type=click.Choice(ACTIONS))
@click.option("--since", type=PAST, help="Only changes at or after this time.")
@click.option("--until", type=PAST, help="Only changes before this time.")
@limit_option
@cursor_option
@json_option
def audit(
    user: str | None,
    actor: str,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List changes of records and of the policy, newest first, with the values before and after."""
    with opened() as app:
        filters = AuditFilters(
            user_id=app.store.users.find(user).id if user else None,
            actor=actor,
            action=action or "",
            since=since,
            until=until,
        )
        page = app.store.users.audit_page(filters, limit=limit, cursor=cursor)
    if as_json:
        documents = [audit_document(entry) for entry in page.items]
        print_json({"audit": documents, "next_cursor": page.next_cursor})
        return
    print_table(
        ("at (UTC)", "actor", "action", "user", "what", "reason"),
        (
            (
                moment(entry.at),
                entry.actor,
                entry.action,
                "the site" if entry.user_id == THE_SITE else entry.user_id,
                differences(entry),
                entry.reason or "-",
            )
            for entry in page.items
        ),
        NO_MATCH
        if page.next_cursor or cursor or filters != AuditFilters()
        else "Nothing was changed yet. Try: usher trigger signup --email ada@example.com",
    )
    say_more(page)


def differences(entry: AuditEntry) -> str:
    """Describe an entry in one line, such as ``status active → suspended; roles +editor``."""
    if entry.before is None:
        return f"status {entry.after.get('status', '-')}"
    parts = []
    for key, new in entry.after.items():
        old = entry.before.get(key)
        if key == "roles":
            parts.append(f"roles {_roles(old or {}, new)}")
        elif key == "request":
            asked = "to be let in" if new["role"] is None else f"role {new['role']!r}"
            parts.append(f"request {new['request']}, {asked}")
        elif key == "codes":
            parts.append(_codes(new))
        elif key == "key":
            parts.append(f"key {new['name']}: {', '.join(new.get('scopes', ['revoked']))}")
        elif key == "sink":
            parts.append(f"sink {new['host']} ({new['id']})")
        elif isinstance(new, str):
            parts.append(f"{key} {old or '-'} → {new or '-'}")
        else:
            parts.append(f"{key} {dumps(old)} → {dumps(new)}")
    return "; ".join(parts)


def _codes(made: Mapping[str, Any]) -> str:
    """As ``30 codes (Class 7b), giving pupil``."""
    label = f" ({made['label']})" if made["label"] else ""
    gives = f", giving {', '.join(made['gives'])}" if made["gives"] else ""
    return f"{counted(len(made['ids']), 'code')}{label}{gives}"


def _roles(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    words = []
    for role in sorted({*old, *new}):
        before, after = old.get(role, {}), new.get(role, {})
        for source in sorted({*before, *after}):
            if before.get(source) != after.get(source):
                said = after.get(source)
                sign = "-" if said is None else "!" if said["is"] == "denial" else "+"
                words.append(f"{sign}{role} ({source})")
    return " ".join(words) or "-"
