"""``/me``: the caller's own record and requests."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from usher.core.bounds import MAX_REASON_CHARACTERS
from usher.core.domain import administration
from usher.core.domain.documents import own_document
from usher.core.domain.outbox import person_of
from usher.core.domain.records import Status, User
from usher.core.domain.requests import request_document
from usher.functions._shared.etags import has_already
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Operation,
    Role,
    json_response,
    with_tag,
)
from usher.functions.api_methods import schemas


class ProfileEdit(Input):
    """A merge patch (RFC 7396) of one's own profile, and of nothing else."""

    profile: dict[str, Any] = Field(description="Keys to set; a null takes a key away.")


class Wish(Input):
    """The role that somebody asks for."""

    role: Role | None = Field(None, description="Left out by somebody who waits to be let in.")
    reason: str = Field("", max_length=MAX_REASON_CHARACTERS, description="For administrators.")


def read(call: Call) -> Response:
    """Return the caller's record; 304 where the caller has it already, roles included."""
    shown = _shown(call, call.principal.user)
    if has_already(call.request.headers.get("if-none-match", ()), shown.headers["ETag"]):
        return Response(304, headers=shown.headers)
    return shown


def edit(call: Call) -> Response:
    """Change the caller's profile."""
    command = administration.edit(profile=call.body.profile)
    user = call.app.store.users.change(call.principal.user, command, call.change())
    return _shown(call, user)


def _shown(call: Call, user: User) -> Response:
    waits = user.status is Status.WAITING
    message = call.app.requests.sentence(user) if waits else None
    mode = call.app.settings.mode
    person = person_of(user, call.now)
    metadata = {"app_metadata": person.app_metadata, "written": person.written}
    document = {**own_document(user, call.now), **metadata, "message": message, "mode": mode}
    return with_tag(json_response(document), user.version)


def list_requests(call: Call) -> Response:
    """Return the caller's requests, the newest first."""
    found = call.app.requests.of(call.principal.user)
    return json_response({"requests": [request_document(request) for request in found]})


def ask(call: Call) -> Response:
    """Ask for a role, or anew to be let in."""
    body: Wish = call.body
    caller = call.principal
    request = call.app.requests.ask(caller.user, body.role, body.reason, caller.actor)
    return json_response(request_document(request), 201)


def withdraw(call: Call) -> Response:
    """Take a request back."""
    caller = call.principal
    call.app.requests.withdraw(caller.user, call.number(), caller.actor)
    return Response(204)


_PERSON = Access.PERSON
OPERATIONS = (
    Operation(
        "GET",
        "/me",
        "One's own record",
        _PERSON,
        read,
        schemas.Mine,
        cached=True,
        for_waiting=True,
    ),
    Operation(
        "PATCH",
        "/me",
        "Change one's own profile",
        _PERSON,
        edit,
        schemas.Mine,
        body=ProfileEdit,
        conditional=True,
        for_waiting=True,
    ),
    Operation(
        "GET",
        "/me/requests",
        "One's own requests",
        _PERSON,
        list_requests,
        schemas.OwnRequests,
        for_waiting=True,
    ),
    Operation(
        "POST",
        "/me/requests",
        "Ask for a role, or anew to be let in",
        _PERSON,
        ask,
        schemas.OwnRequest,
        status=201,
        body=Wish,
        errors=(409,),
        for_waiting=True,
    ),
    Operation(
        "DELETE",
        "/me/requests/{number}",
        "Take a request back",
        _PERSON,
        withdraw,
        None,
        status=204,
        errors=(404, 409),
        for_waiting=True,
    ),
)
