"""Routes by path, one table for every runtime. Each target is loaded at its first request.

``answer`` handles one whole request. The server calls the parts, since it commits events in
groups and has threads for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Final

from usher.core import app
from usher.core.errors import DatabaseError, MethodNotAllowedError
from usher.core.strict_json import dumps
from usher.functions._shared.addresses import API_BASES, FUNCTIONS_PREFIX, HOOKS
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, Response, hold
from usher.functions._shared.identity_hook import IdentityHook

if TYPE_CHECKING:
    from usher.core.app import App
    from usher.core.auth import TrustedCaller
    from usher.server.site import Site

API_PREFIXES: Final = tuple(base + "/" for base in API_BASES)
HOOK_PATHS: Final = {
    FUNCTIONS_PREFIX + name: f"usher.functions.{name.replace('-', '_')}" for name in HOOKS
}


def find_hook(path: str) -> IdentityHook | None:
    """Return the hook at a path, or None."""
    file = HOOK_PATHS.get(path)
    return _hook(file) if file else None


@cache  # by file, not path: requests for ever new paths must not fill the memory
def _hook(file: str) -> IdentityHook:
    hook: IdentityHook = import_module(file).hook
    return hook


def load() -> None:
    """Load all targets now, rather than at their first request."""
    for path in HOOK_PATHS:
        find_hook(path)
    import_module("usher.functions.api")
    _site()


def is_api(path: str) -> bool:
    """Whether the API answers at a path, even if with 404."""
    return path.startswith(API_PREFIXES)


def answer(request: Request, trusted: TrustedCaller | None = None) -> Response:
    """Answer a request at any address.

    Args:
        trusted: the caller, where the platform vouches for them; it counts for the API.
    """
    if is_api(request.path):
        from usher.functions import api  # noqa: PLC0415 - events need none of it

        received = perf_counter()
        return hold(api.answer(request, trusted), received)
    if hook := find_hook(request.path):
        return hook.answer(request)
    try:
        return answer_rest(request)
    except Exception as error:
        return failure(error)


def answer_rest(request: Request) -> Response:
    """Answer at a path without a function: a probe, or a file of the site.

    Raises:
        NotFoundError, MethodNotAllowedError, DatabaseError, PolicyError, SpoolError
    """
    probe = PROBES.get(request.path)
    if probe is None:
        return _site().answer(request)
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowedError(request.method, ("GET", "HEAD"))
    return probe()


@cache
def _site() -> Site:
    from usher.server.site import Site  # noqa: PLC0415 - events need none of it

    return Site()


def _healthz() -> Response:
    """Answer that the process is alive; nothing else is checked."""
    return Response(200, dumps({"status": "ok"}), "application/json")


def _readyz() -> Response:
    """Answer that an event would be taken now: into the database or, by a server, the spool.

    Raises:
        DatabaseError, PolicyError, SpoolError: an event would be refused.
    """
    usher = app.current()
    status = "degraded" if is_degraded(usher) else "ok"
    return Response(
        200, dumps({"status": status, "policy": usher.policy.fingerprint}), "application/json"
    )


def is_degraded(usher: App) -> bool:
    """Whether an event would go into the spool now, and not into the database.

    Raises:
        DatabaseError, SpoolError: an event would be refused.
    """
    fallback = usher.webhooks.fallback
    degraded = fallback is not None and fallback.active
    if not degraded:
        try:
            usher.store.check()
        except DatabaseError:
            if fallback is None:
                raise
            degraded = True
    if fallback is not None and degraded:
        fallback.check()
    return degraded


READYZ: Final = "/readyz"
PROBES: Final[Mapping[str, Callable[[], Response]]] = {"/healthz": _healthz, READYZ: _readyz}
