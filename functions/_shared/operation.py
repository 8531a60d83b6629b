"""Operations of the API: one method of one path, with its access, parameters and body."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from msgspec import Struct, field
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from usher.core.app import App
from usher.core.auth import Principal
from usher.core.bounds import MAX_REASON_CHARACTERS, MAX_ROLE_CHARACTERS
from usher.core.domain.administration import Change
from usher.core.domain.events import is_text, parse_time
from usher.core.domain.held_roles import is_role
from usher.core.domain.keys import Scope
from usher.core.domain.records import Page, User
from usher.core.errors import (
    InvalidInputError,
    RequestError,
    RequestNotFoundError,
    UserNotFoundError,
    UsherError,
)
from usher.core.keys import Machine
from usher.core.strict_json import StrictJsonError, dumps, loads_object
from usher.core.texts import read_uuid
from usher.functions._shared.etags import ANY, read_etags
from usher.functions._shared.http import Request, Response

MERGE_PATCH: Final = "application/merge-patch+json"
_ETAG = re.compile(r'"([0-9]{1,9})(?:-[0-9a-f]{16})?"', re.ASCII)
MAX_DIGITS: Final = 18
"""Of a request's number: as many fit into 63 bits."""
Model = TypeVar("Model", bound=BaseModel)


def _rfc3339(value: object) -> object:
    """Read a time as RFC 3339 writes it; pydantic alone would read other forms, too."""
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 time")  # noqa: TRY004 - pydantic words ValueErrors
    return parse_time(value)


def _digits(value: object) -> object:
    """Whole numbers in a query as digits: no sign, point, exponent or blank."""
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("must be a whole number")
    return value


def _role(value: object) -> object:
    if isinstance(value, str) and not is_role(value):
        raise ValueError("is no role: printable characters, no space at either end")
    return value


Whole = Annotated[int, BeforeValidator(_digits)]
"""A whole number in a query."""
Moment = Annotated[datetime, BeforeValidator(_rfc3339)]
"""A time in a body or a query, in UTC."""
Role = Annotated[str, BeforeValidator(_role), Field(min_length=1, max_length=MAX_ROLE_CHARACTERS)]
"""The name of a role in a body."""
Reason = Annotated[
    str, Field(max_length=MAX_REASON_CHARACTERS, description="Why; kept in the audit.")
]
"""The reason for a change, in a body or a query."""


class Access(StrEnum):
    """The callers that an operation is open to."""

    PUBLIC = "anybody"
    PERSON = "anybody with a valid access token"
    ADMINISTRATOR = "administrators"


class Input(BaseModel):
    """A body or a query: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Input):
    """An address that takes no parameter."""


class Document(BaseModel):
    """The shape of an answer."""

    model_config = ConfigDict(extra="forbid")


class Why(Input):
    """The fields of every change by an administrator."""

    reason: Reason = ""
    force: bool = Field(False, description="Even if this leaves the site without an administrator.")


class Revocation(Input):
    """Why something is revoked."""

    reason: Reason = ""


class Paging(Input):
    """The page of a list."""

    limit: Whole = Field(50, ge=1, le=200, description="How many at most.")
    cursor: str | None = Field(
        None, max_length=2000, description="`next_cursor` of the page before."
    )


class Call(Struct, frozen=True):
    """One call of an operation, after all its checks.

    Attributes:
        caller: a person, or a machine with a key of the operation's scope; None where the
            operation is public.
        params: the variable parts of the path.
        query, body: instances of the operation's models.
        base: the part of the address before the operation's path.
        network: the key of the caller's network (``usher.core.limits``); None: it is not known.
    """

    app: App
    request: Request
    caller: Principal | Machine | None
    params: Mapping[str, str]
    query: Any
    body: Any
    base: str
    now: datetime
    network: str | None = None

    @property
    def principal(self) -> Principal:
        """The caller of an operation for people."""
        if self.caller is None or isinstance(self.caller, Machine):
            raise AssertionError("unreachable")
        return self.caller

    @property
    def actor(self) -> str:
        """The caller's name in the audit, of an operation that is not public."""
        if self.caller is None:
            raise AssertionError("unreachable")
        return self.caller.actor

    def user(self) -> User:
        """Return the user whose id is in the path.

        Raises:
            UserNotFoundError: there is none, or the id is not a UUID.
        """
        return self.app.store.users.get(self.id_of("id", "user", UserNotFoundError))

    def id_of(self, name: str, noun: str, missing: type[UsherError]) -> UUID:
        """Return an id that is in the path.

        Raises:
            UsherError: of the type ``missing``: it is no UUID.
        """
        found = read_uuid(self.params[name])
        if found is None:
            raise missing(f"A {noun}'s id is a UUID.")
        return found

    def number(self) -> int:
        """Return the number of the request that is in the path.

        Raises:
            RequestNotFoundError: it is no number.
        """
        text = self.params["number"]
        if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
            raise RequestNotFoundError("A request has a number.")
        return int(text)

    def change(self, why: Why = Why(reason="", force=False)) -> Change:
        """Return the actor, the reason and the condition (``If-Match``) of a change.

        Raises:
            RequestError: the header is malformed.
        """
        return Change(
            self.actor,
            why.reason,
            self._versions(),
            why.force,
            by_machine=isinstance(self.caller, Machine),
        )

    def _versions(self) -> frozenset[int] | None:
        values = self.request.headers.get("if-match", ())
        if not values:
            return None
        listed = read_etags(values)
        if listed is None:
            raise RequestError('If-Match must list ETags as they were answered, such as "3".')
        if listed == (ANY,):
            return None
        # Compared strongly: a weak one, or somebody else's, is no version of ours.
        return frozenset(int(found[1]) for each in listed if (found := _ETAG.fullmatch(each)))


class Operation(Struct, frozen=True):
    """One method of one path.

    Attributes:
        path: with its variable parts in braces.
        run: does the work.
        answer: the model of a good answer; None: it has no body.
        body_optional: a missing body counts as one without any field.
        conditional: takes ``If-Match``.
        cached: takes ``If-None-Match``, and answers 304 to it.
        errors: further statuses, which only this operation's work can meet.
        setting: field of the settings without which there is no such address.
        for_waiting: open to somebody who waits for an administrator's approval.
        scope: the one with which a key opens it; None: no key does.
    """

    method: str
    path: str
    summary: str
    access: Access
    run: Callable[[Call], Response]
    answer: type[BaseModel] | None
    status: int = 200
    query: type[Input] = NoQuery
    body: type[Input] | None = None
    body_optional: bool = False
    pages: bool = False
    conditional: bool = False
    cached: bool = False
    csv: bool = False
    errors: tuple[int, ...] = field(default=())
    setting: str = ""
    for_waiting: bool = False
    scope: Scope | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of the operation's paths."""
        return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.path)))


def read_query(request: Request, model: type[Model]) -> Model:
    """Read the query parameters into their model.

    Raises:
        RequestError: as ``Request.parameters`` does.
        InvalidInputError: a parameter is unknown, invalid or given twice.
    """
    values: dict[str, str] = {}
    problems = []
    for name, value in request.parameters():
        shown = name[:40] if name.isprintable() and name else "?"
        if name in values:
            problems.append((shown, "is given twice"))
        elif not is_text(value):
            problems.append((shown, "holds what is no text"))
        values[name] = value
    if problems:
        raise InvalidInputError(tuple(problems))
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise InvalidInputError(tuple(_problems(error, in_body=False))) from None


def read_body(request: Request, operation: Operation) -> Input | None:
    """Read the body into its model; None where the operation takes no body.

    Raises:
        InvalidInputError: the body is missing, unexpected, no strict JSON, or invalid.
        UnsupportedMediaTypeError: the body is not JSON.
    """
    if operation.body is None:
        if request.body:
            raise InvalidInputError((("", "this address takes no body"),))
        return None
    if not request.body:
        if operation.body_optional:
            return operation.body()
        raise InvalidInputError((("", "a JSON object is needed, and there is no body"),))
    request.require_json(*((MERGE_PATCH,) if operation.method == "PATCH" else ()))
    try:
        loads_object(request.body)
    except StrictJsonError as error:
        raise InvalidInputError((("", f"not strict JSON: {error}"),)) from None
    try:
        return operation.body.model_validate_json(request.body, strict=True)
    except ValidationError as error:
        raise InvalidInputError(tuple(_problems(error, in_body=True))) from None


def json_response(
    document: Any,
    status: int = 200,
    *,
    version: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a JSON answer; ``version`` of the record that it shows becomes the ETag."""
    etag = {"ETag": f'"{version}"'} if version is not None else {}
    return Response(status, dumps(document), "application/json", {**etag, **(headers or {})})


def with_tag(response: Response, version: int) -> Response:
    """Return an answer with an ETag of the record's version and of all that the answer says.

    A role that ends by itself changes the answer, and no version.
    """
    digest = sha256(response.body.encode()).hexdigest()[:16]
    return response.with_headers({"ETag": f'"{version}-{digest}"'})


def next_link(call: Call, page: Page[Any]) -> dict[str, str]:
    """Return the Link header to the next page (RFC 8288), where there is one."""
    if page.next_cursor is None:
        return {}
    kept = [(name, value) for name, value in call.request.parameters() if name != "cursor"]
    query = urlencode([*kept, ("cursor", page.next_cursor)])
    path = quote(call.request.path)
    return {"Link": f'<{path}?{query}>; rel="next"'}


def _problems(error: ValidationError, *, in_body: bool) -> list[tuple[str, str]]:
    found = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False)[:20]:
        steps = [str(step)[:40] for step in problem["loc"]]
        if in_body:
            where = "".join("/" + s.replace("~", "~0").replace("/", "~1") for s in steps)
        else:
            where = steps[0] if steps and steps[0].isprintable() and steps[0] else "?"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "is not known here"
        found.append((where, message[:1].lower() + message[1:]))
    return found
