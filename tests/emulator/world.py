"""An emulator, a receiver of its events, and a person with a browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

from tests.stub import Answer, Stub, serving
from tests.support import SECRET, Clock
from usher.emulator.identity import Emulator
from usher.emulator.mail import Mail
from usher.emulator.options import Options, Webhook
from usher.functions._shared.http import Request

JWT_SECRET = b"jwt-secret-jwt-secret-jwt-secret!"
OPERATOR = "operator-token-operator-token"
SITE = "http://localhost:8888"
PASSWORD = "correct horse"
MOUNT = "/.netlify/identity"


@dataclass
class Reply:
    """An answer of the emulator."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def fragment(self) -> dict[str, str]:
        """What stands behind the # of a redirect."""
        return {
            name: value[0] for name, value in parse_qs(urlsplit(self.location).fragment).items()
        }


@dataclass
class World:
    """One emulator and what happened around it."""

    emulator: Emulator
    clock: Clock
    mails: list[Mail] = field(default_factory=list)
    stub: Stub | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: dict[str, str] | None = None,
        token: str = "",
        **headers: str,
    ) -> Reply:
        """One request; headers are written with underscores."""
        sent = {name.replace("_", "-"): (value,) for name, value in headers.items()}
        if token:
            sent["authorization"] = (f"Bearer {token}",)
        text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        if form is not None:
            sent["content-type"] = ("application/x-www-form-urlencoded",)
            text = urlencode(form)
        path, _, query = path.partition("?")
        path = path if path.startswith("/_dev") else MOUNT + path
        answer = self.emulator.handle(Request(method, path, sent, text.encode(), query))
        return Reply(answer.status, answer.all_headers(), answer.body)

    def sign_up(self, email: str = "ada@example.com", **data: Any) -> Reply:
        body = {"email": email, "password": PASSWORD, "data": data or None}
        return self.call("POST", "/signup", body)

    def confirm(self) -> Reply:
        """Click on the link in the last mail."""
        body = {"type": "signup", "token": self.mails[-1].token}
        return self.call("POST", "/verify", body)

    def member(self, email: str = "ada@example.com", **data: Any) -> str:
        """Somebody who signed up and confirmed; their id."""
        reply = self.sign_up(email, **data)
        assert reply.status == 200, reply.text
        assert self.confirm().status == 200
        return str(reply.json["id"])

    def log_in(self, email: str = "ada@example.com", password: str = PASSWORD, **h: str) -> Reply:
        form = {"grant_type": "password", "username": email, "password": password}
        return self.call("POST", "/token", form=form, **h)

    def token(self, email: str = "ada@example.com") -> str:
        """An access token."""
        return str(self.log_in(email).json["access_token"])

    def refresh(self, token: str) -> Reply:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return self.call("POST", "/token", form=form)

    def admin(self, method: str, path: str, body: Any = None, **headers: Any) -> Reply:
        """A request with the operator's token."""
        return self.call(method, path, body, token=OPERATOR, **headers)

    def account_without_event(self, email: str = "eve@example.com") -> None:
        """Make an account of which Identity sends no event."""
        body = {"email": email, "password": "correct horse", "confirm": True}
        assert self.admin("POST", "/admin/users", body).status == 200

    def external(
        self,
        provider: str = "google",
        email: str = "ada@example.com",
        name: str = "Ada",
        *,
        verified: bool = True,
        more: str = "",
        **form: str,
    ) -> Reply:
        """Log in through a provider: authorize, consent, callback."""
        redirect = self.call("GET", f"/authorize?provider={provider}{more}")
        assert redirect.status == 302, redirect.text
        state = parse_qs(urlsplit(redirect.location).query)["state"][0]
        fields = {"state": state, "email": email, "name": name} | form
        return self.call(
            "POST", "/callback", form=fields | ({"verified": "yes"} if verified else {})
        )

    @property
    def bodies(self) -> list[bytes]:
        """Of every event request."""
        assert self.stub is not None
        return [body for _, _, body in self.stub.requests]

    @property
    def events(self) -> list[str]:
        """The names of the events received, in order."""
        return [json.loads(body)["event"] for body in self.bodies]

    @property
    def last_user(self) -> dict[str, Any]:
        """The user in the last event."""
        user: dict[str, Any] = json.loads(self.bodies[-1])["user"]
        return user


Respond = Callable[[str, int], int | Answer]
"""Name of the event and number of the request to a status, or a whole answer."""


def reply_json(document: Any) -> Answer:
    """200 with a JSON body whose length is announced."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return 200, {"Content-Length": str(len(body)), "Content-Type": "application/json"}, body


@contextmanager
def world(folder: Path, respond: Respond | None = None, **options: Any) -> Iterator[World]:
    """An emulator; with ``respond`` its events go to a real receiver on loopback."""
    clock = Clock()
    mails: list[Mail] = []
    given: dict[str, Any] = {
        "database": folder / "identity.db",
        "jwt_secret": JWT_SECRET,
        "site_url": SITE,
        "operator_token": OPERATOR,
        "clock": clock,
        "on_mail": mails.append,
    }

    def answer(number: int, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        assert respond is not None
        told = respond(json.loads(body)["event"], number)
        return told if isinstance(told, tuple) else (told, {"Content-Length": "0"}, b"")

    if respond is None:
        emulator = Emulator(Options(**(given | options)))
        try:
            yield World(emulator, clock, mails)
        finally:
            emulator.close()
        return
    with serving(answer) as stub:
        if "function_hooks" not in options:
            options = {"webhook": Webhook(url=f"{stub.url}/hook", secret=SECRET)} | options
        emulator = Emulator(Options(**(given | options)))
        try:
            yield World(emulator, clock, mails, stub)
        finally:
            emulator.close()


def same_id() -> UUID:
    """Every id is this one: for tests with one account that pin bytes."""
    return UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51")
