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

from usher.core.errors import ExtraMissingError, UsherError
from usher.integrations import guard
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
"""The attribute of a request in which the middleware leaves what it was told."""


class Guard(guard.WrappingGuard):
    """A guard of Django's views, asynchronous ones included."""

    def _around(self, view: Any, roles: tuple[str, ...]) -> Any:
        @wraps(view)
        def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                told = self._told_of(request)
                caller = told or self.check(visit_of_environ(request.META))
                request.caller = self.require(caller, roles)
            except UsherError as error:
                return _refuse(error)
            return view(request, *args, **kwargs)

        @wraps(view)
        async def guarded_async(request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                told = self._told_of(request)
                caller = told or await self.check_async(visit_of_environ(request.META))
                request.caller = self.require(caller, roles)
            except UsherError as error:
                return _refuse(error)
            return await view(request, *args, **kwargs)

        return guarded_async if iscoroutinefunction(view) else guarded

    def _told_of(self, request: Any) -> Caller | None:
        """The answer that the middleware got for this request; None: it did not ask this guard.

        Raises:
            UsherError: the middleware was told this.
        """
        told = getattr(request, _TOLD, None) if self is _guard else None
        if isinstance(told, UsherError):
            raise told
        return told


def _with(request: Any, told: Caller | UsherError) -> Any:
    request.caller = told if isinstance(told, Caller) else None
    setattr(request, _TOLD, told)
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
            told: Caller | UsherError = _guard.check(visit_of_environ(request.META))
        except UsherError as error:
            told = error
        return get_response(_with(request, told))

    async def known_async(request: Any) -> Any:
        try:
            told: Caller | UsherError = await _guard.check_async(visit_of_environ(request.META))
        except UsherError as error:
            told = error
        return await get_response(_with(request, told))

    return known_async if iscoroutinefunction(get_response) else known
