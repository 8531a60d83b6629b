"""Client of Identity's HTTP API (docs/identity.md); never called from inside an event.

Every call has a time limit and reads a bounded answer. Nothing follows a redirect: an access token
must not travel on.
"""

from __future__ import annotations

import time
from typing import Any, Final

import urllib3

from core.errors import (
    BodyError,
    IdentityNotConfiguredError,
    IdentityRefusedError,
    IdentityUnavailableError,
)
from core.events import IdentityUser, read_user
from core.strict_json import StrictJsonError, dumps, loads_object

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 4.0
BODY_SECONDS: Final = 4.0
MAX_ANSWER_BYTES: Final = 1_048_576
_PIECE_BYTES: Final = 65_536


class IdentityClient:
    """Asks one Identity.

    Args:
        url: base address, without a slash at its end.
        admin_token: operator token; None: only what needs none can be asked.
    """

    def __init__(self, url: str, admin_token: str | None = None) -> None:
        self._url = url
        self._admin_token = admin_token
        self._pool = urllib3.PoolManager(
            num_pools=2,
            maxsize=8,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )

    def user_of(self, token: str) -> IdentityUser | None:
        """Whose access token this is (``GET /user``); None where Identity does not accept it.

        Raises:
            IdentityUnavailableError: away, slow, or not answering as Identity does.
        """
        status, document = self._ask("GET", "/user", token)
        if status in (401, 403, 404):  # 404: a good token of an account that is gone
            return None
        if status != 200:
            raise IdentityUnavailableError(f"Identity answered GET /user with {status}.")
        return _user(document)

    def invite(self, email: str, data: dict[str, Any]) -> IdentityUser:
        """Have Identity make an account and mail an invitation (``POST /invite``).

        Raises:
            IdentityRefusedError: the address has an account, say; IdentityUnavailableError
        """
        if self._admin_token is None:
            raise IdentityNotConfiguredError("USHER_IDENTITY_ADMIN_TOKEN is not set.")
        body = dumps({"email": email, "data": data}).encode()
        status, document = self._ask("POST", "/invite", self._admin_token, body)
        if status == 200:
            return _user(document)
        if status in (400, 422):
            said = document.get("msg")
            sentence = said[:200] if isinstance(said, str) else "It gave no reason."
            raise IdentityRefusedError(f"Identity would not invite: {sentence}")
        raise IdentityUnavailableError(f"Identity answered POST /invite with {status}.")

    def _ask(
        self, method: str, path: str, token: str, body: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._pool.request(
                method,
                self._url + path,
                headers=headers,
                body=body,
                redirect=False,
                preload_content=False,
            )
            try:
                octets = _read(answer, time.monotonic() + BODY_SECONDS)
            finally:
                # Before it is released: a connection with a rest on it must serve nobody else.
                answer.close()
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            # Its message may hold an address; the kind of the failure says enough.
            raise IdentityUnavailableError(
                f"Identity could not be reached: {type(error).__name__}."
            ) from None
        if octets is None:
            raise IdentityUnavailableError(f"Identity answered {method} {path} without end.")
        try:
            return answer.status, loads_object(octets)
        except StrictJsonError:
            if answer.status == 200:
                raise IdentityUnavailableError(
                    f"Identity answered {method} {path} with no JSON object."
                ) from None
            return answer.status, {}


def _read(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes | None:
    """The body; None where it is too large, or comes too slowly to be waited for.

    urllib3's own limit is for each piece: one byte a second would never meet it.
    """
    octets = bytearray()
    while piece := answer.read1(_PIECE_BYTES):
        octets += piece
        if len(octets) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
            return None
    return bytes(octets)


def _user(document: dict[str, Any]) -> IdentityUser:
    try:
        return read_user(document)
    except BodyError as error:
        raise IdentityUnavailableError(f"Identity described a user oddly: {error}") from None
