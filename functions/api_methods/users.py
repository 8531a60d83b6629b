"""``/users``: the list, single records, and their roles and events."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import Any, Final, Literal
from unicodedata import normalize

from pydantic import Field

from usher.core.bounds import MAX_ROLE_CHARACTERS
from usher.core.domain import administration
from usher.core.domain.documents import (
    delivery_document,
    grant_document,
    identity_state,
    user_document,
    utc,
)
from usher.core.domain.keys import Scope
from usher.core.domain.outbox_view import led_document
from usher.core.domain.records import Page, Status, User
from usher.core.domain.roles import effective
from usher.core.errors import InvalidInputError
from usher.core.store.filters import DeliveryFilters, Sort, UserFilters
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
    Why,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class ListQuery(Paging):
    """Filters and order of users."""

    status: Literal["pending", "waiting", "active", "suspended", "deleted"] | None = None
    role: str = Field("", max_length=MAX_ROLE_CHARACTERS, description="Who has it now.")
    provider: str = Field("", max_length=100)
    email: str = Field("", max_length=320, description="Addresses that begin so.")
    created_since: Moment | None = None
    created_until: Moment | None = Field(None, description="Excluded.")
    seen_since: Moment | None = None
    seen_until: Moment | None = Field(None, description="Excluded.")
    sort: Literal["created", "last_seen", "email"] = "created"
    order: Literal["asc", "desc"] = "asc"


class Edit(Why):
    """The changes to a record; fields left out stay as they are."""

    status: Literal["active", "suspended"] | None = None
    profile: dict[str, Any] | None = Field(None, description="A merge patch (RFC 7396).")
    app_metadata: dict[str, Any] | None = Field(
        None, description="A merge patch of what is added to every reply."
    )


class RoleSet(Why):
    """The roles that a user shall have."""

    roles: list[Role] = Field(max_length=50)


class RoleGrant(Input):
    """How a role is given."""

    reason: Reason = ""
    expires_at: Moment | None = Field(None, description="When it ends by itself.")


BETWEEN_ROLES: Final = "\n"
"""In a cell; a role is printable, and so holds none."""
_RUNS: Final = ("=", "+", "-", "@", "\u2212")
"""The characters that begin a formula; the last is the minus sign of mathematics."""


def list_users(call: Call) -> Response:
    """Return a page of users, as JSON or CSV."""
    query: ListQuery = call.query
    page = call.app.store.users.page(
        UserFilters(
            status=Status(query.status) if query.status else None,
            role=query.role,
            provider=query.provider,
            email_prefix=query.email,
            created_since=query.created_since,
            created_until=query.created_until,
            seen_since=query.seen_since,
            seen_until=query.seen_until,
        ),
        sort=Sort(query.sort),
        descending=query.order == "desc",
        limit=query.limit,
        cursor=query.cursor,
    )
    if _wants_csv(call):
        return Response(200, _csv(page, call.now), "text/csv; charset=utf-8", next_link(call, page))
    document = {
        "users": [user_document(user, call.now) for user in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def read(call: Call) -> Response:
    """Return one record."""
    return _shown(call, call.user())


def edit(call: Call) -> Response:
    """Suspend, reactivate, or change profile and further app_metadata."""
    body: Edit = call.body
    command = administration.edit(
        suspended=body.status == "suspended" if body.status else None,
        profile=body.profile,
        app_metadata=body.app_metadata,
    )
    return _shown(call, _changed(call, command, body))


def delete(call: Call) -> Response:
    """Leave a tombstone, and delete the account at Identity."""
    _changed(call, administration.delete(), call.query)
    return Response(204)


def read_roles(call: Call) -> Response:
    """Return a user's roles."""
    return _shown_roles(call, call.user())


def set_roles(call: Call) -> Response:
    """Set the user's roles."""
    body: RoleSet = call.body
    return _shown_roles(call, _changed(call, administration.set_roles(body.roles), body))


def grant(call: Call) -> Response:
    """Grant a role, until ``expires_at`` if that is given."""
    body: RoleGrant = call.body
    if body.expires_at is not None and body.expires_at <= call.now:
        raise InvalidInputError((("/expires_at", "lies in the past"),))
    command = administration.grant(call.params["role"], expires_at=body.expires_at)
    why = Why(reason=body.reason, force=False)
    return _shown_roles(call, _changed(call, command, why))


def revoke(call: Call) -> Response:
    """Remove a role. Against the policy's grant a denial is left."""
    command = administration.revoke(call.params["role"])
    return _shown_roles(call, _changed(call, command, call.query))


def list_events(call: Call) -> Response:
    """Return a page of a user's events."""
    page = call.app.store.ledger.page(
        DeliveryFilters(user_id=call.user().id), limit=call.query.limit, cursor=call.query.cursor
    )
    document = {
        "events": [delivery_document(delivery) for delivery in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def list_changes(call: Call) -> Response:
    """Return a page of what changed of a user, the newest first, with who does not have it."""
    page = call.app.outbox.led_by_person(
        call.user(), limit=call.query.limit, cursor=call.query.cursor
    )
    document = {
        "changes": [led_document(each) for each in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def _changed(call: Call, command: administration.Command, why: Why) -> User:
    """Change the user of the path, and tell Identity."""
    user = call.app.store.users.change(call.user(), command, call.change(why))
    return call.app.pushes.push(user)


def _shown(call: Call, user: User) -> Response:
    return json_response(user_document(user, call.now), version=user.version)


def _shown_roles(call: Call, user: User) -> Response:
    document = {
        "roles": sorted(effective(user.grants, call.now)),
        "grants": [grant_document(each, call.now) for each in user.grants],
        "identity": identity_state(user),
    }
    return json_response(document, version=user.version)


def _wants_csv(call: Call) -> bool:
    accepted = ",".join(call.request.headers.get("accept", ())).lower()
    types = [part.partition(";")[0].strip() for part in accepted.split(",")]
    return "text/csv" in types and "application/json" not in types


def _csv(page: Page[User], now: datetime) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("id", "email", "status", "roles", "provider", "created_at", "last_seen_at"))
    for user in page.items:
        cells = (
            str(user.id),
            user.email,
            user.status.value,
            BETWEEN_ROLES.join(sorted(effective(user.grants, now))),
            user.provider,
            utc(user.created_at),
            utc(user.last_seen_at),
        )
        rows.writerow([cell(each or "") for each in cells])
    return text.getvalue()


def cell(value: str) -> str:
    """Escape a cell that a spreadsheet would take for a formula.

    Spreadsheets pass over blanks, and some read full-width and small forms as the plain ones.
    """
    first = next((each for each in value if each.isprintable() and not each.isspace()), "")
    runs = normalize("NFKC", first) in _RUNS or value.startswith(("\t", "\r", "\n"))
    return f"'{value}" if runs else value


_ADMIN = Access.ADMINISTRATOR
_READ, _ROLES = Scope.USERS_READ, Scope.ROLES_WRITE
OPERATIONS = (
    Operation(
        "GET",
        "/users",
        "List users",
        _ADMIN,
        list_users,
        schemas.UserList,
        query=ListQuery,
        pages=True,
        csv=True,
        scope=_READ,
    ),
    Operation(
        "GET", "/users/{id}", "One user", _ADMIN, read, schemas.User, errors=(404,), scope=_READ
    ),
    Operation(
        "PATCH",
        "/users/{id}",
        "Suspend, reactivate or change a user",
        _ADMIN,
        edit,
        schemas.User,
        body=Edit,
        conditional=True,
        errors=(404, 409),
    ),
    Operation(
        "DELETE",
        "/users/{id}",
        "Erase a user, leaving a tombstone",
        _ADMIN,
        delete,
        None,
        status=204,
        query=Why,
        conditional=True,
        errors=(404, 409),
    ),
    Operation(
        "GET",
        "/users/{id}/roles",
        "A user's roles and grants",
        _ADMIN,
        read_roles,
        schemas.UserRoles,
        errors=(404,),
        scope=_READ,
    ),
    Operation(
        "PUT",
        "/users/{id}/roles",
        "Set a user's roles",
        _ADMIN,
        set_roles,
        schemas.UserRoles,
        body=RoleSet,
        conditional=True,
        errors=(404, 409),
        scope=_ROLES,
    ),
    Operation(
        "PUT",
        "/users/{id}/roles/{role}",
        "Give a role",
        _ADMIN,
        grant,
        schemas.UserRoles,
        body=RoleGrant,
        body_optional=True,
        conditional=True,
        errors=(404, 409),
        scope=_ROLES,
    ),
    Operation(
        "DELETE",
        "/users/{id}/roles/{role}",
        "Take a role away, or deny it",
        _ADMIN,
        revoke,
        schemas.UserRoles,
        query=Why,
        conditional=True,
        errors=(404, 409),
        scope=_ROLES,
    ),
    Operation(
        "GET",
        "/users/{id}/events",
        "A user's events",
        _ADMIN,
        list_events,
        schemas.EventList,
        query=Paging,
        pages=True,
        errors=(404,),
        scope=_READ,
    ),
    Operation(
        "GET",
        "/users/{id}/changes",
        "What changed of a user, and who does not have it",
        _ADMIN,
        list_changes,
        schemas.LedToList,
        query=Paging,
        pages=True,
        errors=(404,),
    ),
)
