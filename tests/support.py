"""What tests share: a clock, events in Identity's bytes, and handlers called directly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3
from msgspec import Struct

from usher.core.webhooks import Received, Verified, Webhooks
from usher.emulator.payload import ZERO_INSTANCE, Account, event_body
from usher.emulator.sender import signed_headers
from usher.functions import (
    identity,
    identity_login,
    identity_signup,
    identity_userdeleted,
    identity_usermodified,
    identity_validate,
)

ROOT = Path(__file__).resolve().parent.parent
SECRET = b"0123456789abcdef0123456789abcdef"
OLD_SECRET = b"fedcba9876543210fedcba9876543210"
WAIT_SECONDS = 90
"""For what takes a second or two: only a machine under heavy load needs it."""
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

HANDLERS = {
    "identity": identity.handler,
    "identity-validate": identity_validate.handler,
    "identity-signup": identity_signup.handler,
    "identity-login": identity_login.handler,
    "identity-usermodified": identity_usermodified.handler,
    "identity-userdeleted": identity_userdeleted.handler,
}


class Clock:
    """A clock that moves only when told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


def account(
    *,
    user_id: UUID | None = None,
    email: str = "ada@example.com",
    provider: str = "email",
    roles: list[str] | None = None,
    proven: bool = True,
    at: datetime = NOON,
    **fields: Any,
) -> Account:
    """An account as Identity would hold it; ``proven``: a confirmation mail went out."""
    app_metadata: dict[str, Any] = {"provider": provider}
    if roles is not None:
        app_metadata["roles"] = roles
    values: dict[str, Any] = {
        "app_metadata": app_metadata,
        "confirmation_sent_at": at if proven and provider == "email" else None,
        "created_at": at,
        "updated_at": at,
    }
    return Account(id=user_id or uuid4(), email=email, **(values | fields))


class Signed(Struct, frozen=True):
    """A signed event: headers and body as Identity sends them."""

    event: str
    headers: dict[str, str]
    body: bytes

    def request(self, path: str = "", method: str = "POST", **headers: str) -> dict[str, Any]:
        """The platform's event dict."""
        return {
            "httpMethod": method,
            "path": path or f"/.netlify/functions/identity-{self.event}",
            "headers": self.headers | headers,
            "body": self.body.decode(),
            "isBase64Encoded": False,
        }


def signed(
    event: str,
    who: Account,
    *,
    at: datetime = NOON,
    secret: bytes = SECRET,
    instance_id: UUID = ZERO_INSTANCE,
    triggered: bool = False,
) -> Signed:
    """An event of ``who``, signed at ``at``."""
    body = event_body(event, who, instance_id)
    issued_at = int(at.timestamp())
    headers = signed_headers(event, body, instance_id, issued_at, secret, triggered=triggered)
    return Signed(event, headers, body)


def call(delivery: Signed, function: str = "") -> dict[str, Any]:
    """Hand a delivery to the function for its event (or the one named) and return its answer."""
    return HANDLERS[function or f"identity-{delivery.event}"](delivery.request(), None)


def verified(webhooks: Webhooks, delivery: Signed, at: datetime = NOON) -> Verified:
    """A delivery past verification, ready for ``Webhooks.process``."""
    return webhooks.verify(
        Received((delivery.headers["X-Webhook-Signature"],), delivery.body, "/", None, at)
    )


@contextmanager
def apart() -> Iterator[Path]:
    """A folder for a PostgreSQL, which does not run as root.

    Not in pytest's own: each pytest that starts, and some tests start one, shuts that to everybody
    but root.
    """
    with TemporaryDirectory(prefix="usher-pg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def databases(*names: str) -> Any:
    """The fixture ``database_url`` over several kinds, each by its fixture ``NAME_url``."""

    @pytest.fixture(name="database_url", params=names)
    def each(request: pytest.FixtureRequest) -> str:
        url: str = request.getfixturevalue(f"{request.param}_url")
        return url

    return each


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(**variables: str) -> dict[str, str]:
    """The process's environment without settings of ours, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("USHER_")}
    return kept | variables


class Server:
    """``usher serve`` as a real process.

    Args:
        folder: working directory; its ``server.log`` gets standard error.
        variables: the settings.
        port: a free one, unless told.
    """

    def __init__(
        self, folder: Path, variables: Mapping[str, str], *options: str, port: int = 0
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=64)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "usher.cli", "serve", "--port", str(self.port), *options],
                cwd=folder,
                env=clean_environment(PYTHONPATH=str(ROOT), **variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text())
            try:
                if self.pool.request("GET", f"{self.url}/healthz").status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        raise AssertionError("the server did not start: " + self.log.read_text())

    def post(self, delivery: Signed, function: str = "") -> urllib3.BaseHTTPResponse:
        """Post a delivery to the function for its event, or the one named."""
        url = f"{self.url}/.netlify/functions/{function or f'identity-{delivery.event}'}"
        return self.pool.request("POST", url, body=delivery.body, headers=delivery.headers)

    def kill(self) -> None:
        """Kill -9, workers included."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop, wait until it has, and close the connections to it."""
        self.pool.clear()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
