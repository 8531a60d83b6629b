"""One attempt of a webhook: its addresses looked up and checked, then tried one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import monotonic
from typing import Final

from msgspec import Struct

from usher.core.domain.public_addresses import Network
from usher.core.domain.sink_urls import Target
from usher.core.errors import WebhookError
from usher.core.http.interface import Failure, Http, HttpError
from usher.core.outbox.addresses import addresses_of

CONNECT_SECONDS: Final = 4.0
"""For one address, where a name has several."""
MAX_ADDRESSES: Final = 4
"""Tried in one attempt."""

MAX_RETRY_AFTER_CHARACTERS: Final = 64


class Answer(Struct, frozen=True):
    """An answer: its status, and its header ``Retry-After``, empty where there is none."""

    status: int
    retry_after: str


def post(
    http: Http,
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    *,
    networks: Collection[Network],
    seconds: float,
) -> Answer:
    """Send a webhook to the first of its addresses that takes a connection.

    Args:
        networks: allowed besides public addresses.
        seconds: for all of it.

    Raises:
        WebhookError: there is no answer in time.
    """
    until = monotonic() + seconds
    for address in addresses_of(target, networks, seconds, http.resolve)[:MAX_ADDRESSES]:
        left = until - monotonic()
        if left <= 0:
            break
        try:
            answer = http.post(
                target, address, headers, body, connect_seconds=CONNECT_SECONDS, seconds=left
            )
        except HttpError as error:
            if error.failure is Failure.CONNECT:
                continue
            if error.failure is Failure.CERTIFICATE:
                raise WebhookError(f"the certificate is not good: {error.detail}") from None
            late = error.failure is Failure.TIME
            problem = _late(seconds) if late else f"the connection broke ({error.detail})"
            raise WebhookError(problem) from None
        told = answer.headers.get("retry-after", "")
        return Answer(answer.status, told[:MAX_RETRY_AFTER_CHARACTERS])
    late = monotonic() >= until
    raise WebhookError(_late(seconds) if late else "nobody answers at the address")


def _late(seconds: float) -> str:
    return f"no answer within {seconds:g} seconds"
