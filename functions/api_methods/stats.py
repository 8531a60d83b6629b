"""``/stats``: counts of users and events."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from usher.core.domain.keys import Scope
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Operation,
    Whole,
    json_response,
)
from usher.functions.api_methods import schemas


class StatsQuery(Input):
    """The days to count."""

    days: Whole = Field(30, ge=1, le=366, description="Events of so many days, today included.")


def read(call: Call) -> Response:
    """Return users by status, provider and role, and events by day (UTC)."""
    since = f"{call.now - timedelta(days=call.query.days - 1):%Y-%m-%d}"
    counts = call.app.store.users.stats(since)
    by_status = counts["status"]
    events = []
    for name, count in counts["day"].items():
        day, _, kind = name.partition(":")
        event, _, outcome = kind.rpartition(":")
        events.append({"day": day, "event": event, "outcome": outcome, "count": count})
    return json_response(
        {
            "users": sum(by_status.values()) - by_status.get("deleted", 0),
            "by_status": by_status,
            "by_provider": counts["provider"],
            "by_role": counts["role"],
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
        scope=Scope.USERS_READ,
    ),
)
