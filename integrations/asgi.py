"""Guards around any ASGI application; the caller is in ``scope["usher.caller"]``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from usher.core.errors import UsherError
from usher.integrations import guard
from usher.integrations.sources import Caller
from usher.integrations.web import Scope, refusal, visit_of_scope

__all__ = ["Caller", "Guard", "require_role", "signed_in"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard(guard.WrappingGuard):
    """A guard of ASGI applications."""

    def _around(self, application: Any, roles: tuple[str, ...]) -> Any:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "lifespan":
                try:
                    caller = await self.check_async(visit_of_scope(scope), roles)
                except UsherError as error:
                    await _refuse(scope, receive, send, error)
                    return
                scope = {**scope, "usher.caller": caller}
            await application(scope, receive, send)

        return guarded


async def _refuse(scope: Scope, receive: Receive, send: Send, error: UsherError) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    status, headers, body = refusal(error)
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    octets = b"" if scope.get("method") == "HEAD" else body.encode()
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": octets})


_guard = Guard()
signed_in = _guard.signed_in
require_role = _guard.require_role
