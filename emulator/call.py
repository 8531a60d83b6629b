"""One request to the emulator, taken apart, and the forms of its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

from msgspec import Struct, field

from usher.core.errors import RequestError
from usher.core.strict_json import StrictJsonError, loads_object
from usher.emulator.decoding import DecodingError, go_fields
from usher.emulator.errors import BearerError, IdentityError, OAuthError
from usher.emulator.payload import go_json
from usher.functions._shared.http import MAX_PARAMETERS, Request, Response

JSON: Final = "application/json"
COOKIE: Final = "nf_jwt"
_BEARER: Final = re.compile(r"[Bb]earer (\S+)")
_FORM: Final = "application/x-www-form-urlencoded"


class Call(Struct, frozen=True):
    """One request.

    Attributes:
        path: without the mount's prefix.
        now: the time of its arrival, UTC.
        arguments: the parts of the path that stand for the braces in its route.
    """

    request: Request
    path: str
    now: datetime
    arguments: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str:
        """The first value, or nothing."""
        return next(iter(self.request.headers.get(name, ())), "")

    def query(self, name: str) -> list[str]:
        """Every value of a query parameter.

        Raises:
            IdentityError: 400, the query is no text.
        """
        try:
            return [value for key, value in self.request.parameters() if key == name]
        except RequestError as error:
            raise IdentityError(400, error.detail) from None

    def first(self, name: str) -> str:
        """The first value of a query parameter, or nothing."""
        return next(iter(self.query(name)), "")

    def form(self, name: str) -> str:
        """A field of the form in the body or, as in Go, of the query.

        Raises:
            IdentityError: 400, either is no text.
        """
        if self.header("content-type").partition(";")[0].strip().lower() == _FORM:
            try:
                pairs = parse_qsl(
                    self.request.body.decode(),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=MAX_PARAMETERS,
                )
            except ValueError:  # UnicodeDecodeError is one
                raise IdentityError(400, "Could not read the form") from None
            for key, value in pairs:
                if key == name:
                    return value
        return self.first(name)

    def body(self, what: str) -> Body:
        """The JSON object in the body, as leniently as Go reads it.

        Raises:
            IdentityError: 400, it is none.
        """
        try:
            return Body(what, go_fields(self.request.body))
        except DecodingError as error:
            raise IdentityError(400, f"Could not read {what} params: {error}") from None

    def document(self) -> dict[str, Any]:
        """The JSON object in the body, read strictly: for our own endpoints.

        Raises:
            IdentityError: 400, it is none.
        """
        try:
            return loads_object(self.request.body)
        except StrictJsonError as error:
            raise IdentityError(400, f"Could not read the body: {error}") from None

    def bearer(self) -> str:
        """The bearer token.

        Raises:
            BearerError: 401, there is none.
        """
        found = _BEARER.fullmatch(self.header("authorization"))
        if not found:
            raise BearerError("This endpoint requires a Bearer token")
        return found[1]

    def user_id(self) -> UUID:
        """The id in the path.

        Raises:
            IdentityError: 400, it is no UUID.
        """
        try:
            return UUID(self.arguments["user_id"])
        except ValueError:
            raise IdentityError(400, "user_id must be an UUID") from None

    def referrer(self, site_url: str) -> str:
        """The page that the person came from, where it belongs to the site."""
        page = self.header("referer")
        try:
            same = page and urlsplit(page).hostname == urlsplit(site_url).hostname
        except ValueError:
            return ""
        return page if same else ""


class Body(Struct, frozen=True):
    """A JSON object read as Go reads it into a struct: missing or null means empty."""

    what: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A string."""
        return str(self._typed(name, str) or "")

    def flag(self, name: str) -> bool:
        """A boolean."""
        return bool(self._typed(name, bool))

    def map(self, name: str) -> dict[str, Any] | None:
        """An object; None where it is missing or null."""
        value: dict[str, Any] | None = self._typed(name, dict)
        return value

    def _typed(self, name: str, kind: type) -> Any:
        value = self.fields.get(name)
        if value is not None and type(value) is not kind:
            raise IdentityError(
                400, f"Could not read {self.what} params: {name} must be {_KINDS[kind]}"
            )
        return value


_KINDS: Final = {str: "a string", bool: "true or false", dict: "an object"}


def answer(value: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """A JSON answer in Go's bytes."""
    return Response(status, go_json(value).decode(), JSON, headers or {})


def redirect(url: str) -> Response:
    """302 elsewhere."""
    return Response(302, headers={"Location": url})


def refusal(error: IdentityError | OAuthError) -> Response:
    """An error in GoTrue's form."""
    if isinstance(error, OAuthError):
        shown = {"error": error.error}
        if error.description:
            shown["error_description"] = error.description
        return answer(shown, status=error.status)
    document: dict[str, Any] = {"code": error.status, "msg": error.message}
    if error.status >= 500:
        document["error_id"] = str(uuid4())
    return answer(document, status=error.status)


def cookie(token: str, now: datetime, seconds: int, *, session: bool) -> dict[str, str]:
    """The header that gives the access token to the browser as a cookie."""
    until = "" if session else f"{_expires(now + timedelta(seconds=seconds))}; Max-Age={seconds}; "
    return {"Set-Cookie": f"{COOKIE}={token}; Path=/; {until}HttpOnly; Secure; SameSite=Lax"}


def no_cookie(now: datetime) -> dict[str, str]:
    """The header that takes it away."""
    until = _expires(now - timedelta(hours=10))
    return {"Set-Cookie": f"{COOKIE}=; Path=/; {until}; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}


def _expires(moment: datetime) -> str:
    return f"Expires={format_datetime(moment.astimezone(UTC), usegmt=True)}"
