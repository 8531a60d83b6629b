"""``/keys``: keys of machines, made, listed and revoked by administrators."""

from __future__ import annotations

from pydantic import Field

from usher.core.domain.keys import MAX_NAME_CHARACTERS, NewKey, Scope, key_document
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Moment,
    Operation,
    Paging,
    Revocation,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class KeyWanted(Input):
    """The key to be made."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARACTERS, description="Names the actor.")
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    expires_at: Moment | None = Field(description="From then on it opens nothing; null: no end.")


def create(call: Call) -> Response:
    """Make a key. Its text is told in this answer alone."""
    body: KeyWanted = call.body
    wanted = NewKey(body.name, frozenset(body.scopes), body.expires_at)
    text, key = call.app.keys.create(wanted, call.principal.actor)
    return json_response({"key": text, **key_document(key, call.now)}, 201)


def list_keys(call: Call) -> Response:
    """Return a page of keys, newest first."""
    page = call.app.keys.page(limit=call.query.limit, cursor=call.query.cursor)
    document = {
        "keys": [key_document(key, call.now) for key in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def revoke(call: Call) -> Response:
    """End a key for good."""
    key = call.app.keys.revoke(call.params["key"], call.principal.actor, call.query.reason)
    return json_response(key_document(key, call.now))


_ADMIN = Access.ADMINISTRATOR
OPERATIONS = (
    Operation(
        "GET",
        "/keys",
        "Keys of machines",
        _ADMIN,
        list_keys,
        schemas.KeyList,
        query=Paging,
        pages=True,
    ),
    Operation(
        "POST",
        "/keys",
        "Make a key",
        _ADMIN,
        create,
        schemas.KeyMade,
        status=201,
        body=KeyWanted,
        errors=(409,),
    ),
    Operation(
        "DELETE",
        "/keys/{key}",
        "Revoke a key",
        _ADMIN,
        revoke,
        schemas.Key,
        query=Revocation,
        errors=(404,),
    ),
)
