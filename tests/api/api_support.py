"""Calling the API in process: access tokens made by hand, and people of every standing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from tests.forge import token
from tests.store.store_support import deliver
from tests.support import SECRET, account, signed
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Applicant, Verdict
from usher.functions import api

JWT_SECRET = b"the secret that signs access tokens"
HEADER = b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}'
BOSS = Change("test", force=True)
HOUR = 3_600


@dataclass(frozen=True)
class Answer:
    """What the function returned, its body read."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of an error."""
        code: str = self.json["code"]
        return code


def bearer(user_id: UUID, now: datetime, secret: bytes = JWT_SECRET, **claims: Any) -> str:
    """An access token as Identity makes it; a claim that is None is left out."""
    usual = {
        "exp": int(now.timestamp()) + HOUR,
        "sub": str(user_id),
        "aud": "",
        "email": f"{user_id}@example.com",
        "app_metadata": {"provider": "email"},
        "user_metadata": {},
    }
    kept = {name: value for name, value in (usual | claims).items() if value is not None}
    return token(json.dumps(kept).encode(), HEADER, secret)


def ask(
    method: str,
    address: str,
    authorization: str | None = None,
    body: object = None,
    *,
    raw: bytes | None = None,
    base: str = "/api",
    context: object = None,
    **headers: str,
) -> Answer:
    """One request; ``body`` is sent as JSON."""
    path, _, query = address.partition("?")
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if authorization is not None:
        sent["authorization"] = authorization
    if body is not None:
        raw = json.dumps(body).encode()
        sent.setdefault("content-type", "application/json")
    event: dict[str, Any] = {
        "httpMethod": method,
        "path": base + path,
        "rawQuery": query,
        "headers": sent,
        "body": (raw or b"").decode("latin-1"),
    }
    if raw is not None and not raw.isascii():
        import base64

        event |= {"body": base64.b64encode(raw).decode(), "isBase64Encoded": True}
    answer = api.handler(event, context)
    return Answer(answer["statusCode"], answer["headers"], answer["body"])


@contextmanager
def asking(app: App) -> Iterator[None]:
    """A policy that asks for everybody's approval, in here."""

    def ask_all(applicant: Applicant) -> Verdict:
        given = usual.evaluate(applicant)
        return replace(given, asks=True)

    usual = app.policy
    app.policy_in_force.current = CallablePolicy("tests:ask_all", ask_all)
    try:
        yield
    finally:
        app.policy_in_force.current = usual


class People:
    """A user, another, an administrator, one each who waits, is suspended, and is deleted."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.ids: dict[str, UUID] = {}
        for name in ("user", "other", "administrator", "suspended", "deleted"):
            self.sign_up(name)
        with asking(app):
            self.sign_up("waiting")
        users = app.store.users
        users.change(users.get(self.ids["suspended"]), administration.suspend(), BOSS)
        users.change(users.get(self.ids["deleted"]), administration.delete(), BOSS)

    def sign_up(self, name: str, **fields: Any) -> UUID:
        """Somebody more."""
        email = "owner@example.com" if name == "administrator" else f"{name}@example.com"
        now = self.app.clock()
        who = account(email=email, at=now, **fields)
        deliver(self.app, [signed("signup", who, at=now, secret=SECRET)])
        self.ids[name] = who.id
        return who.id

    def number(self, name: str) -> int:
        """The number of somebody's newest request."""
        found: int = self.ask(name, "GET", "/me/requests").json["requests"][0]["id"]
        return found

    def token(self, name: str, **claims: Any) -> str:
        """The Authorization header of one of them."""
        return "Bearer " + bearer(self.ids[name], self.app.clock(), **claims)

    def ask(self, name: str, method: str, address: str, body: object = None, **more: Any) -> Answer:
        """A request by one of them; ``{user}`` and the like in the address are ids."""
        return ask(method, self.fill(address), self.token(name), body, **more)

    def fill(self, address: str) -> str:
        """An address with the ids of people in it."""
        return address.format(**self.ids)
