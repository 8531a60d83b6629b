"""Guards of Flask's views: decorators, nearest to the function; the caller is ``g.caller``.

    @app.get("/drafts")
    @require_role("editor")
    def drafts() -> str: ...

A refusal is an exception of Werkzeug, so the application's error handlers see it.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from usher.core.errors import ExtraMissingError, UsherError
from usher.integrations import guard
from usher.integrations.sources import Caller
from usher.integrations.web import refusal, visit_of_environ

try:
    from flask import Response, current_app, g, request
    from werkzeug.exceptions import default_exceptions
except ImportError as error:
    raise ExtraMissingError("Flask is", "flask") from error

__all__ = ["Caller", "Guard", "require_role", "signed_in"]


class Guard(guard.WrappingGuard):
    """A guard of Flask's views."""

    def _around(self, view: Any, roles: tuple[str, ...]) -> Any:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                g.caller = self.check(visit_of_environ(request.environ), roles)
            except UsherError as error:
                status, headers, body = refusal(error)
                answer = Response(body, status, headers)
                raise default_exceptions[status](response=answer) from None
            return current_app.ensure_sync(view)(*args, **kwargs)

        return guarded


_guard = Guard()
signed_in = _guard.signed_in
require_role = _guard.require_role
