"""``/stats``: how many of what."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from functions._shared.http import Response
from functions._shared.operation import Access, Call, Input, Operation, json_response
from functions.api_methods import schemas


class StatsQuery(Input):
    """How far back."""

    days: int = Field(30, ge=1, le=366, description="Events of so many days, today included.")


def read(call: Call) -> Response:
    """Users by status, provider and role, and events by day."""
    users = call.app.store.users
    by_status = dict(users.counts("status"))
    since = f"{call.now - timedelta(days=call.query.days - 1):%Y-%m-%d}"
    events = []
    for name, count in users.counts("day", since).items():
        day, event, outcome = name.split(":", 1)[0], *name.split(":", 1)[1].rsplit(":", 1)
        events.append({"day": day, "event": event, "outcome": outcome, "count": count})
    return json_response(
        {
            "users": sum(by_status.values()) - by_status.get("deleted", 0),
            "by_status": by_status,
            "by_provider": users.counts("provider"),
            "by_role": users.counts("role"),
            "events": events,
        }
    )


OPERATIONS = (
    Operation(
        "GET",
        "/stats",
        "Counts of users and events",
        Access.ADMINISTRATOR,
        read,
        schemas.Stats,
        query=StatsQuery,
    ),
)
