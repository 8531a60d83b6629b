"""``/events``: deliveries from Identity, the reasons for each answer, and decisions anew."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from msgspec.structs import replace
from pydantic import Field

from usher.core.domain.documents import (
    decision_document,
    delivery_document,
    delivery_with_body,
    user_document,
)
from usher.core.domain.events import Event
from usher.core.domain.outbox_view import led_document
from usher.core.domain.records import Decision, Outcome, User
from usher.core.errors import EventUnreadableError, PolicyError
from usher.core.store.filters import DeliveryFilters
from usher.core.webhooks import event_of, failed_decision
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Moment,
    Operation,
    Paging,
    Why,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class ListQuery(Paging):
    """Filters of events."""

    event: Literal["validate", "signup", "login", "usermodified", "userdeleted"] | None = None
    outcome: Literal["applied", "unchanged", "denied", "ignored", "invalid", "failed"] | None = None
    user: UUID | None = None
    since: Moment | None = None
    until: Moment | None = Field(None, description="Excluded.")


class ReplayRequest(Why):
    """How to replay."""

    dry_run: bool = Field(True, description="Change nothing.")


def list_events(call: Call) -> Response:
    """Return a page of events, newest first."""
    query: ListQuery = call.query
    page = call.app.store.ledger.page(
        DeliveryFilters(
            event=query.event or "",
            outcome=query.outcome or "",
            user_id=query.user,
            since=query.since,
            until=query.until,
        ),
        limit=query.limit,
        cursor=query.cursor,
    )
    document = {
        "events": [delivery_document(delivery) for delivery in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def read(call: Call) -> Response:
    """Return one event with its body; the first characters of its id are enough."""
    delivery = call.app.store.ledger.find(call.params["id"])
    led = [led_document(each) for each in call.app.outbox.led_by_event(delivery)]
    return json_response({**delivery_with_body(delivery), "led_to": led})


def replay(call: Call) -> Response:
    """Decide an event again, by today's policy and record. A dry run changes nothing."""
    delivery = call.app.store.ledger.find(call.params["id"])
    event = event_of(delivery)
    if event is None:
        raise EventUnreadableError("Its body was erased, or is not an event that can be read.")
    wish: ReplayRequest = call.body
    users, policy = call.app.store.users, call.app.policy
    if wish.dry_run:
        decision = _rehearsed(event, users.look_up(event.user.id), call)
    else:
        failed = delivery if delivery.outcome is Outcome.FAILED else None
        decision = users.decide_again(event, policy, call.change(wish), failed)
        if decision.user is not None:
            decision = replace(decision, user=call.app.pushes.push(decision.user))
    recorded = decision_document(delivery.recorded)
    now = decision_document(decision)
    return json_response(
        {
            "dry_run": wish.dry_run,
            "recorded": recorded,
            "now": now,
            "differs": recorded["reply"] != now["reply"],
            "user": user_document(decision.user, call.now) if decision.user else None,
        }
    )


def _rehearsed(event: Event, user: User | None, call: Call) -> Decision:
    try:
        return call.app.webhooks.would_decide(event, user, call.now)
    except PolicyError as error:
        return failed_decision(error)


_ADMIN = Access.ADMINISTRATOR
OPERATIONS = (
    Operation(
        "GET",
        "/events",
        "List events",
        _ADMIN,
        list_events,
        schemas.EventList,
        query=ListQuery,
        pages=True,
    ),
    Operation(
        "GET", "/events/{id}", "One event", _ADMIN, read, schemas.EventWithBody, errors=(404,)
    ),
    Operation(
        "POST",
        "/events/{id}/replay",
        "Decide an event again",
        _ADMIN,
        replay,
        schemas.Replay,
        body=ReplayRequest,
        body_optional=True,
        errors=(404, 409, 412),
    ),
)
