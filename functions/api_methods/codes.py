"""``/codes``: invitation codes, made, listed and revoked by administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from usher.core.bounds import (
    MAX_CODE_CHARACTERS,
    MAX_CODE_ROLES,
    MAX_CODE_USES,
    MAX_CODES_AT_ONCE,
    MAX_LABEL_CHARACTERS,
)
from usher.core.domain.codes import NewCodes
from usher.core.domain.documents import code_document
from usher.core.errors import CodeNotFoundError
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Moment,
    Operation,
    Paging,
    Revocation,
    Role,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class CodesWanted(Input):
    """The codes to be made, all alike."""

    count: int = Field(1, ge=1, le=MAX_CODES_AT_ONCE)
    uses: int = Field(1, ge=1, le=MAX_CODE_USES, description="Accounts that each code admits.")
    roles: list[Role] = Field(default=[], max_length=MAX_CODE_ROLES)
    roles_until: Moment | None = Field(None, description="When these roles end by themselves.")
    ends_at: Moment | None = Field(None, description="From when on nobody can use the code.")
    label: str = Field("", max_length=MAX_LABEL_CHARACTERS)
    code: str = Field(
        "", max_length=2 * MAX_CODE_CHARACTERS, description="Your own; empty: Usher makes them."
    )


def make(call: Call) -> Response:
    """Make codes. Their spelling is told in this answer alone."""
    body: CodesWanted = call.body
    wanted = NewCodes(
        count=body.count,
        allowed=body.uses,
        roles=tuple(body.roles),
        roles_until=body.roles_until,
        ends_at=body.ends_at,
        label=body.label,
        spelling=body.code,
    )
    made = call.app.codes.make(wanted, call.principal.actor)
    documents = [{"code": text, **code_document(code, call.now)} for text, code in made]
    return json_response({"codes": documents, "invitation_code": _key(call)}, 201)


def list_codes(call: Call) -> Response:
    """Return a page of codes, newest first."""
    page = call.app.codes.page(limit=call.query.limit, cursor=call.query.cursor)
    document = {
        "codes": [code_document(code, call.now) for code in page.items],
        "invitation_code": _key(call),
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def read(call: Call) -> Response:
    """Return one code."""
    return json_response(code_document(call.app.codes.get(_id(call)), call.now))


def list_uses(call: Call) -> Response:
    """Return a page of the accounts that used a code."""
    page = call.app.codes.uses(_id(call), limit=call.query.limit, cursor=call.query.cursor)
    document: dict[str, Any] = {
        "uses": [{"user_id": use.user_id, "used_at": use.used_at} for use in page.items],
        "next_cursor": page.next_cursor,
    }
    return json_response(document, headers=next_link(call, page))


def revoke(call: Call) -> Response:
    """Let nobody use a code from now on."""
    code = call.app.codes.revoke(_id(call), call.principal.actor, call.query.reason)
    return json_response(code_document(code, call.now))


def _key(call: Call) -> str | None:
    """The key of ``user_metadata`` at which the policy looks for a code."""
    counting = call.app.policy.counting
    return (counting.code_key or None) if counting else None


def _id(call: Call) -> UUID:
    return call.id_of("code", "code", CodeNotFoundError)


_ADMIN = Access.ADMINISTRATOR
OPERATIONS = (
    Operation(
        "GET",
        "/codes",
        "Invitation codes",
        _ADMIN,
        list_codes,
        schemas.CodeList,
        query=Paging,
        pages=True,
    ),
    Operation(
        "POST",
        "/codes",
        "Make invitation codes",
        _ADMIN,
        make,
        schemas.CodesMade,
        status=201,
        body=CodesWanted,
        errors=(409,),
    ),
    Operation(
        "GET", "/codes/{code}", "One invitation code", _ADMIN, read, schemas.Code, errors=(404,)
    ),
    Operation(
        "DELETE",
        "/codes/{code}",
        "Revoke an invitation code",
        _ADMIN,
        revoke,
        schemas.Code,
        query=Revocation,
        errors=(404,),
    ),
    Operation(
        "GET",
        "/codes/{code}/uses",
        "The accounts that used a code",
        _ADMIN,
        list_uses,
        schemas.CodeUseList,
        query=Paging,
        pages=True,
        errors=(404,),
    ),
)
