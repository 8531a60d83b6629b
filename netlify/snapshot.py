"""What lies in a snapshot of Python's memory: all modules of a function, and a rehearsal of it.

Nothing secret is in it: settings, policy and handlers are read after it.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import importlib
import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from time import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from usher.core import app
from usher.functions._shared.identity_hook import SIGNATURE_HEADER
from usher.netlify import entry
from usher.server import routes

if TYPE_CHECKING:
    from collections.abc import Iterator

FOR_EVENTS: Final = (
    "usher.core.policy_file",
    "usher.core.store.drivers.pg8000",
    "usher.core.store.erasure",
    "usher.core.store.ledger",
    "usher.core.store.users",
)
FOR_API: Final = (
    "usher.core.auth",
    "usher.core.identity.push",
    "usher.core.keys",
    "usher.core.outbox.sinks",
    "usher.core.requests",
    "usher.core.store.audit",
    "usher.core.store.counts",
    "usher.core.store.deliveries",
    "usher.core.store.user_search",
)
SECRET: Final = "rehearsal-rehearsal-rehearsal-re"  # noqa: S105 - everybody may know it
REHEARSED: Final = {
    "USHER_WEBHOOK_SECRETS": SECRET,
    "USHER_JWT_SECRET": SECRET,
    "USHER_DATABASE_URL": "postgresql://nobody@rehearsal.invalid/nothing",
    "USHER_POLICY": "policy.toml",
}


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def to_bytes(self) -> bytes:
        return self._data


def prepare(name: str) -> None:
    """Import what the function of this name needs, and let it answer once."""
    for module in FOR_EVENTS if name == "identity" else FOR_EVENTS + FOR_API:
        importlib.import_module(module)
    if name == "identity":
        for path in routes.HOOK_PATHS:
            routes.find_hook(path)
    else:
        routes.load()
    with _no_wires():
        rehearse(entry.answer)
    app.end()
    importlib.invalidate_caches()  # importlib.metadata keeps archives open
    gc.collect()
    gc.freeze()


def rehearse(
    answer: Callable[[str, _Body], str], environment: Mapping[str, str] = REHEARSED
) -> list[int]:
    """Send a forged event, and a good one; here it finds no database.

    Returns:
        The statuses of the answers.
    """
    statuses = []
    body = json.dumps(_EVENT).encode()
    for secret in (SECRET[::-1], SECRET):
        headers = [["content-type", "application/json"], [SIGNATURE_HEADER, _sign(body, secret)]]
        asked = {
            "method": "POST",
            "path": "/.netlify/functions/identity",
            "query": "",
            "headers": headers,
            "environment": environment,
        }
        statuses.append(json.loads(answer(json.dumps(asked), _Body(body)))["status"])
    return statuses


_EVENT: Final[dict[str, Any]] = {
    "event": "signup",
    "instance_id": "00000000-0000-0000-0000-000000000000",
    "user": {
        "id": "11111111-1111-4111-8111-111111111111",
        "aud": "",
        "role": "",
        "email": "nobody@rehearsal.invalid",
        "confirmation_sent_at": "2026-01-01T00:00:00Z",
        "app_metadata": {"provider": "email"},
        "user_metadata": {},
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    },
}


def _sign(body: bytes, secret: str) -> str:
    claims = {"iss": "gotrue", "sub": _EVENT["instance_id"], "iat": int(time())}
    claims["sha256"] = hashlib.sha256(body).hexdigest()
    parts = [_part(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    digest = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{_part(digest)}"


def _part(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def _no_wires() -> Iterator[None]:
    """JavaScript's side is not there while a snapshot is made."""
    refused = json.dumps({"error": "this is a rehearsal"})
    sys.modules["usher_wires"] = SimpleNamespace(ask=lambda *_: (refused, None))  # type: ignore[assignment]
    yield
    del sys.modules["usher_wires"]
