"""The same people in every database that the contract is run on, and what they hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import text

from tests.conftest import POLICY
from tests.forge import good, token
from tests.support import SECRET, Clock, account, signed, verified
from usher import migrations
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.emulator.payload import event_body

JWT_SECRET: Final = "the secret that signs access tokens"
ORIGIN: Final = "https://site.example"
BORN: Final = datetime(2020, 1, 1, 12, 0, tzinfo=UTC)
"""When everybody who is there beforehand came: no later time is the same in two databases."""
PEOPLE: Final = {
    "ada": "owner@example.com",
    "bob": "bob@example.com",
    "sue": "sue+suspended@example.com",
    "eve": "eve@example.com",
}
VARIABLES: Final = {
    "USHER_WEBHOOK_SECRETS": SECRET.decode(),
    "USHER_JWT_SECRET": JWT_SECRET,
    "USHER_ALLOWED_ORIGINS": ORIGIN,
    "USHER_DOOR": "on",
    "USHER_DOOR_LIMIT": "the contract, which asks seldom",
}
"""The settings of every runtime, besides USHER_DATABASE_URL and USHER_POLICY (``POLICY``)."""

__all__ = ["BORN", "ORIGIN", "PEOPLE", "POLICY", "VARIABLES", "seed"]


def person(name: str) -> UUID:
    """The id of somebody, the same in every run."""
    return uuid5(NAMESPACE_URL, f"https://site.example/{name}")


def settings(database_url: str, policy: str) -> Settings:
    """The contract's settings for a runtime within the test's own process."""
    return Settings.from_env(
        VARIABLES | {"USHER_DATABASE_URL": database_url, "USHER_POLICY": policy}
    )


def seed(database_url: str, policy: str) -> None:
    """Fill a database, emptied before: ada administers, sue is suspended, eve is deleted."""
    database = Database(database_url)
    migrations.upgrade(database)
    with database.write() as transaction:
        for table in ("users", "grants", "deliveries", "audit", "counters"):
            transaction.sql.execute(text(f"DELETE FROM {table}"))
    database.dispose()
    usher = App(settings(database_url, policy), Clock(BORN))
    for name, email in PEOPLE.items():
        who = account(user_id=person(name), email=email, at=BORN)
        usher.webhooks.process([verified(usher.webhooks, signed("signup", who, at=BORN), BORN)])
    users = usher.store.users
    users.change(users.get(person("sue")), administration.suspend(), Change("test", force=True))
    users.change(users.get(person("eve")), administration.delete(), Change("test", force=True))
    usher.close()


def body_of(event: str, name: str, email: str = "", **more: Any) -> bytes:
    """An event about somebody in Identity's bytes; the same in every run.

    Confirmed when the link was good, for the servers' clock is the real one.
    """
    address = email or PEOPLE.get(name, f"{name}@example.com")
    who = account(user_id=person(name), email=address, at=BORN, **{"confirmed_at": BORN, **more})
    return event_body(event, who)


def signature(body: bytes, at: int) -> str:
    """The value of X-Webhook-Signature for a body."""
    return good(body, at)


def bearer(name: str, at: int, **claims: Any) -> str:
    """The value of Authorization for somebody, good for an hour from then."""
    return f"Bearer {access_token(name, at, **claims)}"


def access_token(name: str, at: int, **claims: Any) -> str:
    """An access token as Identity makes it."""
    usual = {
        "exp": at + 3600,
        "sub": str(person(name)),
        "aud": "",
        "email": PEOPLE[name],
        "app_metadata": {"provider": "email"},
        "user_metadata": {},
    }
    header = b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}'
    return token(json.dumps(usual | claims).encode(), header, JWT_SECRET.encode())
