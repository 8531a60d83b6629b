"""Marks of a refused event: what it looks like, though nothing in it can be believed. Pure.

A mark is for the log and for ``usher doctor``, and decides nothing. Anybody can make a request that
bears one, but for ``FUNCTION_HOOK``, which takes the secret of access tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from usher.core.errors import Check, SignatureError
from usher.core.jws import ISSUER, open_compact, read_unverified


class Mark(StrEnum):
    """The likely sender of a refused event."""

    UNSIGNED = "unsigned"  # names an event as Identity does, and has no signature
    FUNCTION_HOOK = "function_hook"  # Identity's, by the secret of access tokens
    OTHER_SECRET = "other_secret"  # noqa: S105 - in Identity's form, by a secret unknown here


def mark_of(
    check: Check, signatures: Sequence[str], *, named: bool, token_secret: bytes | None
) -> Mark | None:
    """The mark of a delivery that was refused; None: it does not even look like Identity's.

    Args:
        check: the check that failed.
        named: a header of the request names the event.
        token_secret: signs access tokens, and with them the events of function hooks; None: it is
            not known.
    """
    if check is Check.SIGNATURE_MISSING:
        return Mark.UNSIGNED if named else None
    if check is not Check.SIGNATURE_MISMATCH:
        return None
    claims = read_unverified(signatures[0])
    if claims.get("iss") != ISSUER or "sha256" not in claims:
        return None
    try:
        open_compact(signatures[0], [token_secret] if token_secret else [])
    except SignatureError:
        return Mark.OTHER_SECRET
    return Mark.FUNCTION_HOOK
