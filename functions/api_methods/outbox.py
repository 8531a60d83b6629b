"""``/outbox``: changes that wait for a consumer, or failed, and how each consumer stands."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from usher.core.domain.outbox_queue import State
from usher.core.domain.outbox_view import (
    Filters,
    seen_document,
    standing_document,
    waiting_document,
)
from usher.core.errors import ChangeNotFoundError
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    MAX_DIGITS,
    Access,
    Call,
    Input,
    Operation,
    Paging,
    Reason,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class ListQuery(Paging):
    """The changes that are listed."""

    state: Literal["waiting", "dead", "dropped"] | None = None
    consumer: str = Field("", max_length=300)
    user: UUID | None = None


class Act(Input):
    """Why a change is retried or skipped."""

    reason: Reason = ""


class DeadLetters(Act):
    """The dead letters that are retried."""

    consumer: str = Field(max_length=300, description="`handler:NAME` or `sink:ID`.")


class Forgetting(Act):
    """The handler that is forgotten."""

    consumer: str = Field(max_length=300, description="`handler:NAME`.")


def read_outbox(call: Call) -> Response:
    """Return how each consumer stands, and a page of changes, the newest first."""
    query: ListQuery = call.query
    outbox = call.app.outbox
    page = outbox.page(
        Filters(State(query.state) if query.state else None, query.consumer, query.user),
        limit=query.limit,
        cursor=query.cursor,
    )
    document = {
        "consumers": [standing_document(each) for each in outbox.standings()],
        "changes": [waiting_document(row) for row in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def read(call: Call) -> Response:
    """Return one change, with what led to it."""
    return json_response(seen_document(call.app.outbox.get(_number(call))))


def retry(call: Call) -> Response:
    """Hand a change over as soon as can be, with all its attempts before it."""
    body: Act = call.body
    row = call.app.outbox.retry(_number(call), call.actor, body.reason)
    return json_response(waiting_document(row))


def skip(call: Call) -> Response:
    """Never hand a change over; those of the same person behind it go on."""
    body: Act = call.body
    call.app.outbox.skip(_number(call), call.actor, body.reason)
    return Response(204)


def retry_dead(call: Call) -> Response:
    """Retry the dead letters of a consumer, the oldest first, a thousand at most."""
    body: DeadLetters = call.body
    count, more = call.app.outbox.retry_dead(body.consumer, call.actor, body.reason)
    return json_response({"retried": count, "more": more})


def forget(call: Call) -> Response:
    """Forget a handler that no module has any more, with all changes that wait for it."""
    body: Forgetting = call.body
    count = call.app.outbox.forget(body.consumer, call.actor, body.reason)
    return json_response({"forgotten": count})


def _number(call: Call) -> int:
    text = call.params["number"]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise ChangeNotFoundError("A change of the outbox has a number.")
    return int(text)


_ADMIN = Access.ADMINISTRATOR
_ONE = "/outbox/{number}"
OPERATIONS = (
    Operation(
        "GET",
        "/outbox",
        "Changes that wait or failed, and how consumers stand",
        _ADMIN,
        read_outbox,
        schemas.Outbox,
        query=ListQuery,
        pages=True,
    ),
    Operation(
        "POST",
        "/outbox/retry",
        "Retry the dead letters of a consumer",
        _ADMIN,
        retry_dead,
        schemas.Retried,
        body=DeadLetters,
        errors=(404,),
    ),
    Operation(
        "POST",
        "/outbox/forget",
        "Forget a handler",
        _ADMIN,
        forget,
        schemas.Forgotten,
        body=Forgetting,
        errors=(404, 409),
    ),
    Operation(
        "GET", _ONE, "One change of the outbox", _ADMIN, read, schemas.OutboxOne, errors=(404,)
    ),
    Operation(
        "POST",
        f"{_ONE}/retry",
        "Retry a change",
        _ADMIN,
        retry,
        schemas.OutboxChange,
        body=Act,
        body_optional=True,
        errors=(404,),
    ),
    Operation(
        "POST",
        f"{_ONE}/skip",
        "Skip a change",
        _ADMIN,
        skip,
        None,
        204,
        body=Act,
        body_optional=True,
        errors=(404,),
    ),
)
