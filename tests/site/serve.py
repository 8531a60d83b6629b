"""The console, the API and a tiny stand-in for Identity on one port, with people in it.

    python -m tests.site.serve --port 8899

It is for tests and for looking at the console. The stand-in knows nothing of passwords but one.
"""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid5

import migrations
from core import log
from core.app import App, use
from core.database import Database
from core.errors import UserNotFoundError
from core.settings import Settings
from functions import api
from tests.core.store_support import deliver
from tests.functions.api_support import JWT_SECRET, bearer
from tests.site.people import HOME, seed
from tests.support import ROOT, SECRET, account, signed

SITE: Final = ROOT / "site"
PASSWORD: Final = "the right password"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY: Final = """
[admission]
default = "allow"
deny_email_domains = { values = ["mailinator.com"], message = "Please use an address that lasts." }

[[role]]
grant = "member"

[[role]]
grant = "staff"
email_domains = ["example.com"]

[[role]]
grant = "contributor"
providers = ["github", "gitlab"]

[[role]]
grant = "admin"
emails = ["owner@example.com"]

[app_metadata]
plan = "free"
"""


class Identity:
    """What the console asks of Identity, answered for whoever is on record."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.refresh: dict[str, UUID] = {}
        self.mailed: dict[str, tuple[str, str]] = {}  # token -> kind, address
        self.lifetime = timedelta(hours=1)
        self.changes: list[dict[str, Any]] = []

    def answer(
        self, method: str, path: str, form: dict[str, Any], token: str
    ) -> tuple[int, dict[str, Any] | None]:
        """Status and document; None: no body."""
        name = f"{method} {path}"
        if name == "GET /settings":
            return 200, {"external": {"google": True, "github": False}, "disable_signup": False}
        if name == "POST /token":
            return self._token(form)
        if name == "POST /signup":
            return self._signup(form)
        if name == "POST /verify":
            return self._verify(form)
        if name == "POST /recover":
            return 200, {}
        if name == "POST /logout":
            return 204, None
        if name == "PUT /user" and token:
            self.changes.append(form)
            return 200, {"email": form.get("email", "")}
        return 404, {"code": 404, "msg": "Not found"}

    def session(self, user_id: UUID, email: str) -> dict[str, Any]:
        """A token answer."""
        made = secrets.token_urlsafe(16)
        self.refresh[made] = user_id
        now = datetime.now(UTC) + self.lifetime - timedelta(hours=1)
        return {
            "access_token": bearer(user_id, now, email=email),
            "token_type": "bearer",
            "expires_in": int(self.lifetime.total_seconds()),
            "refresh_token": made,
        }

    def _token(self, form: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if form.get("grant_type") == "refresh_token":
            user_id = self.refresh.pop(form.get("refresh_token", ""), None)
            if user_id is None:
                return 400, _grant_error("Invalid Refresh Token")
            return 200, self.session(user_id, self.app.store.users.get(user_id).email)
        email = form.get("username", "")
        if form.get("password") != PASSWORD:
            return 400, _grant_error("No user found with that email, or password invalid.")
        try:
            user = self.app.store.users.find(email)
        except UserNotFoundError:
            return 400, _grant_error("No user found with that email, or password invalid.")
        return 200, self.session(user.id, user.email)

    def _signup(self, form: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        email = form.get("email", "")
        who = self._account(email, form.get("data"))
        (answer,) = deliver(self.app, [signed("validate", who, at=_now())])
        if getattr(answer, "status", 500) >= 400:
            return 422, {"code": 422, "msg": "Failed to handle signup webhook"}
        self.mailed["mailed-to-" + email] = ("signup", email)
        return 200, {"id": str(who.id), "email": email, "confirmation_sent_at": "now"}

    def _verify(self, form: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        kind, email = self.mailed.pop(form.get("token", ""), ("", ""))
        if not email or kind != form.get("type"):
            return 404, {"code": 404, "msg": "Confirmation token not found"}
        who = self._account(email, None)
        if kind == "signup":
            deliver(self.app, [signed("signup", who, at=_now())])
        return 200, self.session(who.id, email)

    def _account(self, email: str, data: Any) -> Any:
        return account(
            user_id=uuid5(HOME, email), email=email, at=_now(), user_metadata=data or None
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Console

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = urlsplit(self.path)
        if url.path.startswith("/api/"):
            self._api(url.path, url.query, body)
        elif url.path.startswith("/.netlify/identity/"):
            self._identity(url.path.removeprefix("/.netlify/identity"), body)
        else:
            self._file(url.path)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _api(self, path: str, query: str, body: bytes) -> None:
        event = {
            "httpMethod": self.command,
            "path": path,
            "rawQuery": query,
            "headers": dict(self.headers.items()),
            "body": body.decode(),
        }
        answer = api.handler(event, None)
        self._send(answer["statusCode"], answer["headers"], answer["body"].encode())

    def _identity(self, path: str, body: bytes) -> None:
        form: dict[str, Any]
        if "json" in self.headers.get("Content-Type", ""):
            form = json.loads(body or b"{}")
        else:
            form = dict(parse_qsl(body.decode()))
        token = self.headers.get("Authorization", "")
        status, document = self.server.identity.answer(self.command, path, form, token)
        text = b"" if document is None else json.dumps(document).encode()
        self._send(status, {"Content-Type": "application/json"}, text)

    def _file(self, path: str) -> None:
        found = (SITE / (path.lstrip("/") or "index.html")).resolve()
        if not found.is_relative_to(SITE) or not found.is_file():
            self._send(404, {"Content-Type": "text/plain", **HEADERS}, b"not found")
            return
        headers = {"Content-Type": TYPES[found.suffix], **HEADERS}
        self._send(200, headers, found.read_bytes())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class Console(ThreadingHTTPServer):
    """The server of all three."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, app: App, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.app = app
        self.identity = Identity(app)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def console(folder: Path, port: int = 0, people: int = 320) -> Iterator[Console]:
    """The console with a throw-away database, served until the block ends."""
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    url = f"sqlite:///{folder / 'usher.db'}"
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()
    settings = Settings(
        webhook_secrets=(SECRET,), database_url=url, jwt_secret=JWT_SECRET, policy=str(policy)
    )
    with use(App(settings)) as app:
        if people:
            seed(app, _now(), people)
        with Console(app, port) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield server
            server.shutdown()
            thread.join(10)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _grant_error(text: str) -> dict[str, Any]:
    return {"error": "invalid_grant", "error_description": text}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8899)
    options = parser.parse_args()
    log.configure()
    with (
        tempfile.TemporaryDirectory() as folder,
        console(Path(folder), options.port) as server,
    ):
        print(f"{server.url}  owner@example.com / {PASSWORD}")
        threading.Event().wait()


if __name__ == "__main__":
    main()
