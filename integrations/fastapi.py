"""Guards of FastAPI's endpoints: dependencies that give the caller, or raise HTTPException.

    @app.get("/drafts")
    def drafts(caller: Annotated[Caller, Depends(require_role("editor"))]) -> list[Draft]: ...

They name themselves in the OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final

from usher.core.auth import COOKIE
from usher.core.errors import ExtraMissingError, UsherError
from usher.integrations import guard
from usher.integrations.sources import Caller
from usher.integrations.web import refusal, visit_of_scope

try:
    from fastapi import HTTPException, Security
    from fastapi.openapi.models import HTTPBearer
    from fastapi.openapi.models import SecurityBase as Model
    from fastapi.requests import HTTPConnection
    from fastapi.security.base import SecurityBase
except ImportError as error:
    raise ExtraMissingError("FastAPI is", "fastapi") from error

__all__ = ["Caller", "Guard", "require_role", "signed_in"]


class _Scheme(SecurityBase):
    """A way to send the token, for the OpenAPI document alone: the guard reads the headers."""

    def __init__(self, name: str, model: Model) -> None:
        self.scheme_name = name
        self.model = model

    def __call__(self) -> None:
        """Nothing is read."""


_SAID: Final = f"The access token of Netlify Identity. GET and HEAD take the cookie {COOKIE} too."
# The cookie is no scheme beside it: FastAPI has the same schemes for all methods of a route.
_BEARER: Final = _Scheme("bearer", HTTPBearer(bearerFormat="JWT", description=_SAID))


class Guard(guard.Guard):
    """A guard of FastAPI's endpoints."""

    async def signed_in(
        self, connection: HTTPConnection, _bearer: None = Security(_BEARER)
    ) -> Caller:
        """The caller, who is signed in."""
        return await self._caller(connection, ())

    def require_role(self, role: str, *more: str) -> Callable[..., Awaitable[Caller]]:
        """Return a dependency: the caller, who has one of these roles."""

        async def required(connection: HTTPConnection, _bearer: None = Security(_BEARER)) -> Caller:
            return await self._caller(connection, (role, *more))

        return required

    async def _caller(self, connection: HTTPConnection, roles: tuple[str, ...]) -> Caller:
        try:
            return await self.check_async(visit_of_scope(connection.scope), roles)
        except UsherError as error:
            status, headers, body = refusal(error)
            del headers["Content-Type"]
            raise HTTPException(status, json.loads(body), headers) from None


_guard = Guard()
signed_in = _guard.signed_in
require_role = _guard.require_role
