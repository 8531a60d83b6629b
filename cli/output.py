"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.records import Delivery, Grant, User
from core.roles import effective

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """A line for people; no control character of a user's text reaches the terminal."""
    click.secho(_clean(text), err=err, **style)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table; ``empty`` is said where there are no rows. Cells are text, never markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(_clean(str(cell))) for cell in row))
        count += 1
    if count:
        console().print(table)
    else:
        click.echo(empty)


def console() -> Console:
    """Standard output; as wide as it needs when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 4_000, highlight=False)


def user_document(user: User, now: datetime) -> dict[str, Any]:
    """A user as JSON."""
    return {
        "id": str(user.id),
        "instance_id": str(user.instance_id),
        "status": user.status.value,
        "email": user.email,
        "provider": user.provider,
        "roles": sorted(effective(user.grants, now)),
        "grants": [grant_document(grant, now) for grant in user.grants],
        "user_metadata": user.user_metadata,
        "app_metadata": user.app_metadata,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "confirmed_at": user.confirmed_at,
        "suspended_at": user.suspended_at,
        "deleted_at": user.deleted_at,
        "last_seen_at": user.last_seen_at,
        "version": user.version,
    }


def grant_document(grant: Grant, now: datetime) -> dict[str, Any]:
    """A grant or denial as JSON."""
    return {
        "role": grant.role,
        "source": grant.source.value,
        "denies": grant.denies,
        "holds": grant.holds(now),
        "actor": grant.actor,
        "reason": grant.reason,
        "created_at": grant.created_at,
        "expires_at": grant.expires_at,
    }


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    """A delivery as JSON; the body as text, where it is."""
    body = delivery.body
    return {
        "id": delivery.id,
        "sequence": delivery.sequence,
        "event": delivery.event,
        "user_id": str(delivery.user_id) if delivery.user_id else None,
        "instance_id": str(delivery.instance_id),
        "issued_at": delivery.issued_at,
        "received_at": delivery.received_at,
        "path": delivery.path,
        "outcome": delivery.outcome,
        "reasons": [{"rule": r.rule, "text": r.text} for r in delivery.reasons],
        "policy": delivery.policy,
        "key_index": delivery.key_index,
        "reply": {"status": delivery.reply.status, "body": delivery.reply.body},
        "body_digest": delivery.body_digest,
        "body": body.decode("utf-8", "replace") if body is not None else None,
    }


def moment(value: datetime | None) -> str:
    """A time for a table: UTC, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        raise TypeError("a mapping that is no dict")
    return str(value)
