"""Signatures of webhooks by Standard Webhooks (standardwebhooks.com, specification 1.0). Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64


def secret_text(octets: bytes) -> str:
    """A secret as receivers configure it: ``whsec_`` and base64."""
    return PREFIX + base64.b64encode(octets).decode()


def secret_octets(text: str) -> bytes:
    """The key that a secret stands for.

    Raises:
        ValueError: the text is no secret; with the end of a sentence that begins with "A secret".
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"begins with {PREFIX}.")
    try:
        octets = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):  # the latter for text outside ASCII
        raise ValueError(f"is {PREFIX} followed by base64.") from None
    if not MIN_SECRET_BYTES <= len(octets) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes; this one has {len(octets)}."
        )
    return octets


def signed_headers(
    message_id: str, seconds: int, body: bytes, secrets: Iterable[str]
) -> dict[str, str]:
    """The headers of one attempt.

    Args:
        message_id: the same at each attempt, without a dot.
        seconds: the time of the attempt, since the epoch.
        secrets: each signs, in this order: a receiver may know any of them.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), seconds, body)
    signatures = (hmac.digest(secret_octets(secret), signed, "sha256") for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(signature).decode()}" for signature in signatures
        ),
    }
