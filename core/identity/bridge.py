"""Identity's admin API through the bridge, a function on Netlify that holds the platform's token.

Each call is one signed request. Its JWS binds the exact body and is good for 30 seconds. Issuer and
audience are its own, so that no other token of the same secret passes. The function is
``netlify/functions/usher-bridge.mjs``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from usher.core.errors import (
    BridgeError,
    IdentityAnswerTooLargeError,
    IdentityUnavailableError,
    UsherError,
)
from usher.core.http.interface import Http
from usher.core.identity.http import (
    ADMIN_BODY_SECONDS,
    ADMIN_READ_SECONDS,
    MAX_ADMIN_ANSWER_BYTES,
    AdminAnswer,
    BoundedHttp,
    looks_like_object,
)
from usher.core.jws import sign_compact
from usher.core.strict_json import StrictJsonError, dumps, loads_object

ISSUER: Final = "usher"
AUDIENCE: Final = "usher-bridge"
SIGNATURE_HEADER: Final = "X-Usher-Signature"
_HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
_WORTH_A_REPEAT: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses of the platform itself, without the bridge's document."""


class BridgeTransport:
    """An ``AdminTransport``.

    Args:
        url: address of the function.
        secret: signing secret, at least 32 bytes.
        clock: gives seconds since the epoch.
        http: sends the requests.
    """

    def __init__(
        self, url: str, secret: bytes, clock: Callable[[], float], http: Http | None = None
    ) -> None:
        self._http = BoundedHttp(url, http, ADMIN_READ_SECONDS, ADMIN_BODY_SECONDS)
        self._secret = secret
        self._clock = clock

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``AdminTransport``; the answer is Identity's, or the platform's passing failure.

        Raises:
            BridgeError: the bridge did not carry the call out.
            IdentityUnavailableError: Identity answered 200 without a JSON object.
            IdentityAnswerTooLargeError: the answer is larger than the bridge carries.
        """
        call = {
            "method": method,
            "path": path,
            "body": None if body is None else dumps(body),  # as text, so Identity gets our bytes
        }
        headers = {SIGNATURE_HEADER: self._sign(dumps(call).encode())}
        try:
            answer = self._http.request("POST", "", headers, call, MAX_ADMIN_ANSWER_BYTES)
        except IdentityUnavailableError as error:
            raise BridgeError(f"At USHER_BRIDGE_URL: {error}", "unreachable") from None
        except IdentityAnswerTooLargeError as error:
            raise IdentityAnswerTooLargeError(error.detail, _unquoted(error.start)) from None
        document = answer.document
        if answer.status in _WORTH_A_REPEAT and not document:
            return answer
        status, found, text = map(document.get, ("status", "headers", "body"))
        if type(status) is not int or not isinstance(found, dict) or not isinstance(text, str):
            raise BridgeError(
                f"USHER_BRIDGE_URL answered {answer.status}, and not as the bridge does: "
                "is the function deployed there?",
                "absent",
            )
        inner = text.encode()
        if answer.status != 200:
            raise _refusal(inner)
        if status == 200 and not looks_like_object(inner):
            raise IdentityUnavailableError("Identity answered with no JSON object.")
        return AdminAnswer(status, {name: str(value) for name, value in found.items()}, inner)

    def _sign(self, body: bytes) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": int(self._clock()),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        return sign_compact(_HEADER, dumps(claims).encode(), self._secret)


def _refusal(body: bytes) -> UsherError:
    try:
        code = str(loads_object(body).get("code"))[:40]
    except StrictJsonError:
        code = "None"
    if code == "answer_too_large":
        return IdentityAnswerTooLargeError("Identity's answer is larger than the bridge carries.")
    if code == "bridge_closed":
        return BridgeError(
            "The bridge is closed; its function's log on Netlify says why.", "closed"
        )
    if code == "signature_invalid":
        return BridgeError(
            "The bridge does not accept Usher's signature: compare USHER_BRIDGE_SECRET on both "
            "sides, and the clocks.",
            "signature",
        )
    return BridgeError(f"The bridge refused the request: {code}.", code)


def _unquoted(start: bytes) -> bytes:
    """The start of the text within the start of the bridge's document."""
    return start.replace(b"\\", b"")
