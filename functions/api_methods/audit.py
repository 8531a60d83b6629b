"""``/audit``: changes of records."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from usher.core.domain.documents import audit_document
from usher.core.store.filters import ACTIONS, AuditFilters
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Moment,
    Operation,
    Paging,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class ListQuery(Paging):
    """Filters of the audit."""

    user: UUID | None = None
    actor: str = Field("", max_length=200)
    action: Literal[ACTIONS] | None = None  # type: ignore[valid-type]
    since: Moment | None = None
    until: Moment | None = Field(None, description="Excluded.")


def list_audit(call: Call) -> Response:
    """Return a page of the audit, newest first."""
    query: ListQuery = call.query
    page = call.app.store.users.audit_page(
        AuditFilters(
            user_id=query.user,
            actor=query.actor,
            action=query.action or "",
            since=query.since,
            until=query.until,
        ),
        limit=query.limit,
        cursor=query.cursor,
    )
    document = {
        "audit": [audit_document(entry) for entry in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


OPERATIONS = (
    Operation(
        "GET",
        "/audit",
        "Who changed what",
        Access.ADMINISTRATOR,
        list_audit,
        schemas.AuditList,
        query=ListQuery,
        pages=True,
    ),
)
