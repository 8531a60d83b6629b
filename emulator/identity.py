"""The emulated Identity: one entry for every request, dispatched by a table.

Nothing here is meant for production: see docs/emulator.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from msgspec.structs import replace

from usher.core.log import describe, get_logger
from usher.emulator import about, admin, cors, dev, external, signup, token, user, verify
from usher.emulator.call import Call, no_cookie, refusal
from usher.emulator.clock import MovableClock
from usher.emulator.errors import (
    BearerError,
    IdentityError,
    MethodError,
    NoRouteError,
    OAuthError,
)
from usher.emulator.faults import Faults
from usher.emulator.hooks import Hooks
from usher.emulator.instance import Instance
from usher.emulator.locks import AccountLocks
from usher.emulator.options import EVENTS, Options
from usher.emulator.store import Store
from usher.functions._shared.http import Request, Response

Handler = Callable[[Instance, Call], Response]

API: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/health": {"GET": about.health},
    "/settings": {"GET": about.settings},
    "/signup": {"POST": signup.sign_up},
    "/invite": {"POST": signup.invite},
    "/verify": {"POST": verify.verify},
    "/recover": {"POST": verify.recover},
    "/token": {"POST": token.token},
    "/logout": {"POST": token.log_out},
    "/user": {"GET": user.show, "PUT": user.change},
    "/authorize": {"GET": external.authorize},
    "/callback": {"POST": external.callback},
    "/admin/users": {"GET": admin.list_users, "POST": admin.create_user},
    "/admin/users/{user_id}": {
        "GET": admin.show_user,
        "PUT": admin.change_user,
        "DELETE": admin.delete_user,
    },
    "/admin/audit": {"GET": admin.list_audit},
}
_TEXT: Final = "text/plain; charset=utf-8"
DEV_PREFIX: Final = "/_dev/"
DEV: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/_dev/mail": {"GET": dev.show_mails, "POST": dev.empty_mails, "DELETE": dev.empty_mails},
    "/_dev/faults": {"GET": dev.show_faults, "PUT": dev.set_faults},
    "/_dev/clock": {"GET": dev.show_clock, "PUT": dev.set_clock},
    "/_dev/consent": {"GET": external.consent},
}
NOT_EMULATED: Final = ("/saml", "/instances", "/admin/users/export")
"""Paths that GoTrue has and this does not, with everything below them."""
SLASH_ALLOWED: Final = (
    "/user", "/callback", "/admin/users", "/admin/users/{user_id}", "/admin/audit",
)  # fmt: skip
"""Routes of GoTrue's sub-routers, which take a slash at the end; the others do not."""
GUARDED: Final = ("/user", "/admin")
"""Paths below which a token is asked for before the route is looked for."""
CLEARING: Final = ("/user", "/logout")
"""Paths where a bad token costs the cookie."""


class Emulator:
    """A local Netlify Identity.

    Args:
        options: its set-up; the database is opened, and made where there is none.
    """

    def __init__(self, options: Options) -> None:
        faults = Faults(EVENTS)
        clock = MovableClock(options.clock)
        self._instance = Instance(
            options=options,
            clock=clock,
            store=Store(options.database_url),
            locks=AccountLocks(options.lock_wait_seconds),
            hooks=Hooks(options, faults, clock),
            faults=faults,
        )

    def close(self) -> None:
        """Close the database."""
        self._instance.store.close()

    def serves(self, path: str) -> bool:
        """Whether a request with this path is for the emulator."""
        mount = self._instance.options.mount
        return path == mount or path.startswith((mount + "/", DEV_PREFIX))

    def handle(self, request: Request) -> Response:
        """Answer one request; called from any thread."""
        try:
            response = self._answer(request)
        except Exception as error:  # noqa: BLE001 - ends as an answer and a line in the log
            get_logger().error("emulator.failed", **describe(error))
            response = refusal(IdentityError(500, "Internal server error"))
        if request.path.startswith(DEV_PREFIX):
            return response
        return cors.shared(request, response)

    def _answer(self, request: Request) -> Response:
        call = Call(request, request.path, self._instance.clock())
        try:
            return self._dispatch(call)
        except MethodError as error:
            return refusal(error).with_headers({"Allow": ", ".join(error.allow)})
        except BearerError as error:
            path = request.path.removeprefix(self._instance.options.mount)
            return refusal(error).with_headers(no_cookie(call.now) if below(path, CLEARING) else {})
        except (IdentityError, OAuthError) as error:
            return refusal(error)

    def _dispatch(self, call: Call) -> Response:
        limit = self._instance.options.max_body_bytes
        if len(call.request.body) > limit:
            raise IdentityError(413, f"The body is larger than {limit} bytes")
        if call.path.startswith(DEV_PREFIX):
            dev.check_visitor(self._instance, call)
            return self._route(call, DEV)
        mount = self._instance.options.mount
        if not self.serves(call.path):
            raise IdentityError(404, f"Nothing is here; the API is below {mount}/")
        if cors.is_preflight(call.request):
            return cors.preflight(call.request)
        call = replace(call, path=call.path.removeprefix(mount))
        if below(call.path, NOT_EMULATED):
            raise IdentityError(501, f"{call.path} is not emulated, see docs/emulator.md")
        if below(call.path, GUARDED):
            self._instance.bearer(call)
        try:
            return self._route(call, API)
        except MethodError as error:  # the router's own answers, which are no JSON
            return Response(405, "", _TEXT, {"Allow": ", ".join(error.allow)})
        except NoRouteError:
            return Response(404, "404 page not found\n", _TEXT)

    def _route(self, call: Call, routes: Mapping[str, Mapping[str, Handler]]) -> Response:
        for pattern, handlers in routes.items():
            arguments = _match(pattern, call.path)
            if arguments is None:
                continue
            handler = handlers.get(call.request.method)
            if handler is None:
                raise MethodError(tuple(handlers))
            return handler(self._instance, replace(call, arguments=arguments))
        raise NoRouteError


def below(path: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a path is one of these, or below it."""
    return f"{path}/".startswith(tuple(f"{prefix}/" for prefix in prefixes))


def _match(pattern: str, path: str) -> dict[str, str] | None:
    """The parts of the path that stand for the braces of a pattern; None: it does not fit."""
    if pattern in SLASH_ALLOWED:
        path = path.removesuffix("/")
    expected, given = pattern.split("/"), path.split("/")
    if len(expected) != len(given):
        return None
    arguments = {}
    for want, have in zip(expected, given, strict=True):
        if want.startswith("{"):
            arguments[want.strip("{}")] = unquote(have)
        elif want != have:
            return None
    return arguments
