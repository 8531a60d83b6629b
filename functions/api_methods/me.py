"""``/me``: the caller's own record."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from usher.core.domain import administration
from usher.core.domain.documents import own_document
from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Input, Operation, json_response
from usher.functions.api_methods import schemas


class ProfileEdit(Input):
    """A merge patch (RFC 7396) of one's own profile, and of nothing else."""

    profile: dict[str, Any] = Field(description="Keys to set; a null takes a key away.")


def read(call: Call) -> Response:
    """Return the caller's record."""
    user = call.principal.user
    return json_response(own_document(user, call.now), version=user.version)


def edit(call: Call) -> Response:
    """Change the caller's profile."""
    command = administration.edit(profile=call.body.profile)
    user = call.app.store.users.change(call.principal.user, command, call.change())
    return json_response(own_document(user, call.now), version=user.version)


OPERATIONS = (
    Operation("GET", "/me", "One's own record", Access.PERSON, read, schemas.Own),
    Operation(
        "PATCH",
        "/me",
        "Change one's own profile",
        Access.PERSON,
        edit,
        schemas.Own,
        body=ProfileEdit,
        conditional=True,
    ),
)
