"""``/changes``: the feed of changes, for programs that follow them."""

from __future__ import annotations

from functools import partial
from typing import Final

from msgspec.structs import replace
from pydantic import Field

from usher.core.app import App
from usher.core.domain.documents import change_document
from usher.core.domain.keys import Scope
from usher.core.domain.outbox import unknown_patterns
from usher.core.errors import InvalidInputError
from usher.core.keys import Machine
from usher.core.store.feed import Place
from usher.functions._shared.http import Later, Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Operation,
    Whole,
    json_response,
)
from usher.functions.api_methods import schemas

MAX_WAIT_SECONDS: Final = 25
"""Proxies in between end a request that is silent for half a minute."""


class FeedQuery(Input):
    """The place in the feed, and the changes that are wanted."""

    after: str | None = Field(
        None,
        max_length=2000,
        description="`next_cursor` of the answer before; `start`: the oldest; absent: from now on.",
    )
    limit: Whole = Field(
        50, ge=1, le=200, description="About how many; those of one act stay together."
    )
    kinds: str = Field(
        "*", max_length=500, description="Separated by commas, such as `user.*,role.granted`."
    )
    full: bool = Field(False, description="With people's data; a key also needs `users:read`.")
    wait: Whole = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for a change, where there is none; by a server only.",
    )


def read(call: Call) -> Response:
    """Return changes after a place, the oldest first."""
    query: FeedQuery = call.query
    patterns = frozenset(part.strip() for part in query.kinds.split(","))
    if wrong := unknown_patterns(patterns):
        raise InvalidInputError((("kinds", f"no change is {wrong[0][:40]!r}"),))
    if query.full and isinstance(call.caller, Machine):
        call.caller.require(Scope.USERS_READ)
    place = call.app.feed.place_of(query.after)
    waiter = call.caller.name if call.caller else ""
    return _page(call.app, query, patterns, waiter, place)


def _page(
    app: App, query: FeedQuery, patterns: frozenset[str], waiter: str, place: Place
) -> Response:
    page = app.feed.page(place, patterns, query.limit, full=query.full)
    document = {
        "changes": [change_document(change, full=query.full) for change in page.changes],
        "next_cursor": app.feed.cursor_of(page.place),
        "more": page.more,
    }
    response = json_response(document)
    if not query.wait or page.changes or page.more:
        return response
    again = partial(_page, app, query, patterns, waiter, page.place)
    return replace(response, later=Later(query.wait, page.place.sequence, patterns, waiter, again))


OPERATIONS = (
    Operation(
        "GET",
        "/changes",
        "Changes, in order, from a cursor on",
        Access.ADMINISTRATOR,
        read,
        schemas.ChangeList,
        query=FeedQuery,
        errors=(410,),
        scope=Scope.CHANGES_READ,
    ),
)
