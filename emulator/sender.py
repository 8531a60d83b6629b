"""Sending an event as Identity does: one signature, three attempts of five seconds.

Source: docs/identity.md, "What the sender does with the answer".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Final
from uuid import UUID

import urllib3

from core.jws import sign_event

ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 5.0
SUCCESS: Final = (200, 202, 204)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt came to; ``error`` is set when no answer came."""

    number: int
    status: int = 0
    body: bytes = b""
    content_type: str = ""
    error: str = ""
    duration_ms: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether Identity goes on with the signup or login."""
        return self.status in SUCCESS


def signed_headers(
    event: str, body: bytes, instance_id: UUID, issued_at: int, secret: bytes
) -> dict[str, str]:
    """The headers of an event request."""
    return {
        "Content-Type": "application/json",
        "X-Webhook-Signature": sign_event(body, instance_id, issued_at, secret),
        "X-Netlify-Event": f"identity_{event}",
    }


def send(url: str, body: bytes, headers: dict[str, str]) -> Iterator[Attempt]:
    """Make the attempts, each as it happens; ends after the first that is accepted."""
    with urllib3.PoolManager(retries=False) as pool:
        for number in range(1, ATTEMPTS + 1):
            started = perf_counter()
            again = True
            try:
                answer = pool.request(
                    "POST", url, body=body, headers=headers, timeout=TIMEOUT_SECONDS, redirect=False
                )
                attempt = Attempt(
                    number,
                    answer.status,
                    answer.data,
                    answer.headers.get("Content-Type", ""),
                    duration_ms=_since(started),
                )
            except urllib3.exceptions.TimeoutError as error:
                again = not isinstance(error, urllib3.exceptions.NewConnectionError)
                attempt = Attempt(number, error=_worded(url, error), duration_ms=_since(started))
            except urllib3.exceptions.HTTPError as error:
                again = False  # only a time-out is tried again
                attempt = Attempt(number, error=_worded(url, error), duration_ms=_since(started))
            yield attempt
            if attempt.accepted or not again:
                return


def _worded(url: str, error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"nothing answers at {url}; is the server running (make run)?"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:.0f} s"
    return f"the connection failed: {type(error).__name__}"


def _since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 1)
