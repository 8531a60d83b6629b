"""Every access token that is not good, for the API and for each guard of ``usher.integrations``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.api.api_support import HOUR, JWT_SECRET, People, bearer
from tests.forge import encode, seal
from tests.support import NOON, SECRET
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.sender import signed_headers


def good(people: People) -> str:
    """The administrator's token, without its scheme."""
    return people.token("administrator").removeprefix("Bearer ")


def remade(people: People, secret: bytes = JWT_SECRET, **claims: Any) -> str:
    """The administrator's token with other claims, or from another key."""
    return "Bearer " + bearer(people.ids["administrator"], NOON, secret, **claims)


def event_jws(people: People, secret: bytes) -> str:
    """The signature of an event, offered as a token."""
    body = b"{}"
    made = signed_headers("login", body, ZERO_INSTANCE, int(NOON.timestamp()), secret)
    return "Bearer " + made["X-Webhook-Signature"]


def unsigned(people: People, algorithm: str) -> str:
    """The administrator's claims under another algorithm."""
    _, payload, signature = good(people).split(".")
    header = encode(f'{{"alg":"{algorithm}","typ":"JWT"}}'.encode())
    return f"Bearer {header}.{payload}.{signature if algorithm != 'none' else ''}"


FORGED: dict[str, Callable[[People], str]] = {
    "signed with a webhook secret": lambda p: remade(p, SECRET),
    "an event's signature": lambda p: event_jws(p, SECRET),
    "an event's signature by the same key": lambda p: event_jws(p, JWT_SECRET),
    "issued as an event": lambda p: remade(p, iss="gotrue"),
    "with a digest": lambda p: remade(p, sha256="0" * 64),
    "expired": lambda p: remade(p, exp=int(NOON.timestamp())),
    "without an end": lambda p: remade(p, exp=None),
    "its end a text": lambda p: remade(p, exp=str(int(NOON.timestamp()) + HOUR)),
    "its end true": lambda p: remade(p, exp=True),
    "not yet valid": lambda p: remade(p, nbf=int(NOON.timestamp()) + 1),
    "its beginning a text": lambda p: remade(p, nbf="0"),
    "its beginning true": lambda p: remade(p, nbf=True),
    "its time of issue true": lambda p: remade(p, iat=True),
    "from the future": lambda p: remade(p, iat=int(NOON.timestamp()) + 61),
    "of nobody": lambda p: remade(p, sub=None),
    "of no UUID": lambda p: remade(p, sub="1"),
    "of a number": lambda p: remade(p, sub=7),
    "its email a number": lambda p: remade(p, email=7),
    "its metadata a list": lambda p: remade(p, app_metadata=[]),
    "alg none": lambda p: unsigned(p, "none"),
    "alg None": lambda p: unsigned(p, "None"),
    "alg HS512": lambda p: unsigned(p, "HS512"),
    "alg RS256": lambda p: unsigned(p, "RS256"),
    "another payload": lambda p: "Bearer " + good(p).replace(".", ".e", 1),
    "no signature": lambda p: "Bearer " + good(p).rpartition(".")[0] + ".",
    "a part too many": lambda p: f"Bearer {good(p)}.x",
    "claims that are no object": lambda p: "Bearer " + seal(encode(b'{"alg":"HS256"}'), "W10"),
    "far too large": lambda p: remade(p, user_metadata={"x": "x" * 50_000}),
    "another scheme": lambda p: "Basic " + good(p),
    "no scheme": good,
    "two tokens": lambda p: f"Bearer {good(p)} {good(p)}",
    "joined headers": lambda p: f"Bearer {good(p)}, Bearer {good(p)}",
    "empty": lambda p: "",
    "a word": lambda p: "Bearer",
    "not ASCII": lambda p: "Bearer ä.ö.ü",
}  # fmt: skip
