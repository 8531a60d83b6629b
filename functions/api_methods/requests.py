"""``/requests``: people ask to be let in, or for a role, and administrators decide."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from usher.core.bounds import MAX_REASON_CHARACTERS
from usher.core.domain.administration import Change
from usher.core.domain.decide import applicant
from usher.core.domain.documents import user_document, verdict_document
from usher.core.domain.events import EventName
from usher.core.domain.requests import Asked, State, request_document
from usher.core.errors import InvalidInputError, PolicyError
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Moment,
    Operation,
    Paging,
    Reason,
    Role,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class ListQuery(Paging):
    """The requests that are listed."""

    state: Literal["open", "approved", "declined", "all"] = "open"


class Approval(Input):
    """How a request is approved."""

    roles: list[Role] = Field(
        default_factory=list,
        max_length=50,
        description="Given besides; of a request for a role, in its place.",
    )
    reason: Reason = ""
    expires_at: Moment | None = Field(None, description="When these roles end by themselves.")


class Refusal(Input):
    """How a request is declined."""

    message: str = Field("", max_length=MAX_REASON_CHARACTERS, description="For the person.")
    reason: Reason = ""


def list_requests(call: Call) -> Response:
    """Return a page of requests, the oldest first."""
    query: ListQuery = call.query
    state = None if query.state == "all" else State(query.state)
    page = call.app.requests.page(state, limit=query.limit, cursor=query.cursor)
    document = {
        "requests": [_document(call, asked) for asked in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def read(call: Call) -> Response:
    """Return one request."""
    return json_response(_document(call, call.app.requests.get(call.number())))


def approve(call: Call) -> Response:
    """Let the person in, or give them the role; Identity is told."""
    body: Approval = call.body
    if body.expires_at is not None and body.expires_at <= call.now:
        raise InvalidInputError((("/expires_at", "lies in the past"),))
    change = Change(call.principal.actor, body.reason)
    asked = call.app.requests.approve(
        call.number(), call.app.policy, change, body.roles, body.expires_at
    )
    return json_response(_document(call, Asked(asked.request, call.app.pushes.push(asked.user))))


def decline(call: Call) -> Response:
    """Decline a request."""
    body: Refusal = call.body
    change = Change(call.principal.actor, body.reason)
    return json_response(
        _document(call, call.app.requests.decline(call.number(), change, body.message))
    )


def _document(call: Call, asked: Asked) -> dict[str, Any]:
    policy = call.app.policy
    try:
        verdict = policy.evaluate(applicant(EventName.SIGNUP, asked.user, call.now))
        said = verdict_document(verdict) | {"fingerprint": policy.fingerprint}
    except PolicyError:  # a callable's fault; the request can be decided even so
        said = None
    return {
        **request_document(asked.request),
        "actor": asked.request.actor,
        "user": user_document(asked.user, call.now),
        "policy": said,
    }


_ADMIN = Access.ADMINISTRATOR
OPERATIONS = (
    Operation(
        "GET",
        "/requests",
        "List requests",
        _ADMIN,
        list_requests,
        schemas.RequestList,
        query=ListQuery,
        pages=True,
    ),
    Operation(
        "GET", "/requests/{number}", "One request", _ADMIN, read, schemas.Request, errors=(404,)
    ),
    Operation(
        "POST",
        "/requests/{number}/approve",
        "Let somebody in, or give the role that they ask for",
        _ADMIN,
        approve,
        schemas.Request,
        body=Approval,
        body_optional=True,
        errors=(404, 409),
    ),
    Operation(
        "POST",
        "/requests/{number}/decline",
        "Decline a request",
        _ADMIN,
        decline,
        schemas.Request,
        body=Refusal,
        body_optional=True,
        errors=(404, 409),
    ),
)
