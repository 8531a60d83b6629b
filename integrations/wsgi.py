"""Guards around any WSGI application; the caller is in ``environ["usher.caller"]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from usher.core.errors import UsherError
from usher.integrations import guard
from usher.integrations.sources import Caller
from usher.integrations.web import refusal, visit_of_environ

__all__ = ["Caller", "Guard", "require_role", "signed_in"]


class Guard(guard.WrappingGuard):
    """A guard of WSGI applications."""

    def _around(self, application: Any, roles: tuple[str, ...]) -> Any:
        def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            try:
                environ["usher.caller"] = self.check(visit_of_environ(environ), roles)
            except UsherError as error:
                status, headers, body = refusal(error)
                start_response(f"{status} {error.title}", list(headers.items()))
                return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body.encode()]
            return application(environ, start_response)

        return guarded


_guard = Guard()
signed_in = _guard.signed_in
require_role = _guard.require_role
