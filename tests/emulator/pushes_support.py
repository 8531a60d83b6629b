"""Usher and the emulator on one site, each reached by the other over HTTP; Identity can go away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.api.api_support import bearer
from tests.emulator.world import JWT_SECRET, MOUNT, World
from tests.support import SECRET, Clock, free_port
from usher.core.app import App, use
from usher.core.identity.push import Pushed
from usher.core.settings import Settings
from usher.emulator.options import Webhook
from usher.emulator.server import serving
from usher.functions import api, identity
from usher.functions._shared.http import Request, Response


@dataclass
class Together:
    """A site.

    Attributes:
        calls: method and path of every request to the emulator over HTTP, while it was there.
        before: called with each of those first; may do what somebody else does meanwhile.
    """

    world: World
    app: App
    clock: Clock
    port: int
    boss: str = ""
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] | None = None
    _up: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Identity is there."""

        def handle(request: Request) -> Response:
            what = f"{request.method} {request.path.removeprefix(MOUNT)}"
            self.calls.append(what)
            if self.before is not None:
                self.before(what)
            return self.world.emulator.handle(request)

        self._up.enter_context(serving(handle, self.port))

    def stop(self) -> None:
        """Identity is away."""
        self._up.close()

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """A call of our API by the administrator; the answer's JSON."""
        self.clock.advance(seconds=1)
        path, _, query = path.partition("?")
        event = {
            "httpMethod": method,
            "path": f"/api{path}",
            "rawQuery": query,
            "headers": {
                "authorization": "Bearer " + bearer(UUID(self.boss), self.clock(), JWT_SECRET),
                "content-type": "application/json",
            },
            "body": "" if body is None else json.dumps(body),
        }
        answer = api.handler(event, None)
        assert answer["statusCode"] in (200, 201, 204), answer["body"]
        return json.loads(answer["body"] or "null")

    def at_identity(self, user_id: str, **app_metadata: Any) -> None:
        """Somebody changes an account there."""
        self.clock.advance(seconds=1)
        body = {"app_metadata": app_metadata}
        assert self.world.admin("PUT", f"/admin/users/{user_id}", body).status == 200

    def held(self, user_id: str) -> dict[str, Any]:
        """The ``app_metadata`` that Identity holds."""
        found: dict[str, Any] = self.world.admin("GET", f"/admin/users/{user_id}").json
        return dict(found["app_metadata"])

    def retry(self, seconds: float = 90) -> Pushed:
        """What the server's rounds do, later."""
        self.clock.advance(seconds=seconds)
        self.app.pushes._away_until = 0.0  # by the wall clock, which no test moves
        return self.app.pushes.push_pending()

    def member(self, email: str = "bob@example.com") -> str:
        """Somebody who signed up a while ago."""
        self.clock.advance(seconds=1)
        user_id = self.world.member(email)
        self.clock.advance(seconds=60)
        return user_id

    def changes(self, user_id: str) -> int:
        """How often an administrator changed the account at Identity, by its own audit."""
        entries = self.world.admin("GET", "/admin/audit?query=action:user_modified&per_page=500")
        return sum(e["payload"]["traits"]["user_id"] == user_id for e in entries.json)

    def audit(self, user_id: str) -> list[tuple[str, str]]:
        """Action and actor of what our audit says, the oldest first."""
        found = self.api("GET", f"/audit?user={user_id}")["audit"]
        return [(entry["action"], entry["actor"].partition(":")[0]) for entry in found[::-1]]


@contextmanager
def together(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    database_url: str,
    clock: Clock,
    **more: Any,
) -> Iterator[Together]:
    """A site with an administrator; ``receive`` stands in for the receiver of events."""
    receive = more.pop("receive", identity.hook.answer)
    port = free_port()
    settings = make_settings(
        database_url=database_url,
        **({"jwt_secret": JWT_SECRET, "identity_url": f"http://127.0.0.1:{port}{MOUNT}"} | more),
    )
    with use(App(settings, clock)) as app, ExitStack() as stack:
        url = stack.enter_context(serving(receive))
        webhook = Webhook(url=f"{url}/.netlify/functions/identity", secret=SECRET)
        site = Together(make(webhook=webhook, clock=clock), app, clock, port)
        stack.callback(site.stop)
        site.start()
        site.boss = site.member("owner@example.com")
        site.calls.clear()
        yield site
