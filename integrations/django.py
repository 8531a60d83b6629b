"""Guards of Django's views: decorators, and a middleware; the caller is ``request.caller``.

    @require_role("editor")
    def drafts(request: HttpRequest) -> HttpResponse: ...

``MIDDLEWARE = [..., "usher.integrations.django.middleware"]`` sets ``request.caller`` for every
view: None for a visitor who is not signed in, and where that cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from msgspec.structs import replace

from usher.core.errors import ExtraMissingError, UsherError
from usher.integrations import guard
from usher.integrations.guard import Visit
from usher.integrations.sources import Caller
from usher.integrations.web import refusal, visit_of_environ

try:
    from asgiref.sync import iscoroutinefunction
    from django.http import HttpResponse
    from django.utils.decorators import sync_and_async_middleware
except ImportError as error:
    raise ExtraMissingError("Django is", "django") from error

__all__ = ["Caller", "Guard", "middleware", "require_role", "signed_in"]

View = Callable[..., Any]
_TOLD: Final = "_usher_told"
"""The attribute of a request in which the middleware leaves what it was told, and for which method:
another middleware may change that, and the cookie counts for few."""


class Guard(guard.WrappingGuard):
    """A guard of Django's views, asynchronous ones included."""

    def _around(self, view: Any, roles: tuple[str, ...]) -> Any:
        @wraps(view)
        def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                told = self._told_of(request)
                caller = told or self.check(_visit(request))
                request.caller = self.require(caller, roles)
            except UsherError as error:
                return _refuse(error)
            return view(request, *args, **kwargs)

        @wraps(view)
        async def guarded_async(request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                told = self._told_of(request)
                caller = told or await self.check_async(_visit(request))
                request.caller = self.require(caller, roles)
            except UsherError as error:
                return _refuse(error)
            return await view(request, *args, **kwargs)

        return guarded_async if iscoroutinefunction(view) else guarded

    def _told_of(self, request: Any) -> Caller | None:
        """The answer that the middleware got for this request and method; None: it has none.

        Raises:
            UsherError: the middleware was told this.
        """
        method, told = getattr(request, _TOLD, (None, None)) if self is _guard else (None, None)
        if method != request.method:
            return None
        if isinstance(told, UsherError):
            raise told
        return told


def _visit(request: Any) -> Visit:
    """The request as its view sees it, whose method a middleware may have changed."""
    return replace(visit_of_environ(request.META), method=request.method or "")


def _with(request: Any, told: Caller | UsherError) -> Any:
    request.caller = told if isinstance(told, Caller) else None
    setattr(request, _TOLD, (request.method, told))
    return request


def _refuse(error: UsherError) -> Any:
    status, headers, body = refusal(error)
    return HttpResponse(body, status=status, headers=headers)


_guard = Guard()
signed_in = _guard.signed_in
require_role = _guard.require_role


@sync_and_async_middleware  # type: ignore[untyped-decorator]  # Django has no types
def middleware(get_response: View) -> View:
    """Tell every view who calls, and refuse nobody but at the views that are guarded."""

    def known(request: Any) -> Any:
        try:
            told: Caller | UsherError = _guard.check(_visit(request))
        except UsherError as error:
            told = error
        return get_response(_with(request, told))

    async def known_async(request: Any) -> Any:
        try:
            told: Caller | UsherError = await _guard.check_async(_visit(request))
        except UsherError as error:
            told = error
        return await get_response(_with(request, told))

    return known_async if iscoroutinefunction(get_response) else known
