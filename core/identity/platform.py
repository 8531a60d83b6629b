"""Identity's admin API with the platform's token, which Netlify gives a function with a request.

The context of a request names Identity's address and holds a token that is good for a short time.
In functions of today's kind it comes as a request header, and a stranger may have written it. So it
counts for this one invocation, and goes to the configured address alone. A token that Identity
refuses ends nothing but itself: what was to be told waits, as if there were none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from usher.core.bounds import MAX_ACCESS_TOKEN_BYTES
from usher.core.errors import PlatformTokenError
from usher.core.identity.http import AdminAnswer, HttpTransport
from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.http.interface import Http

_TOKEN: Final = re.compile("[!-~]+")  # a header carries it
_HOST: Final = re.compile("[a-z0-9.-]{1,253}")
_PORTS: Final = {"https": 443, "http": 80}


class PlatformToken:
    """The token of the invocation that is under way; in memory alone.

    Args:
        url: the configured address of Identity; None: no token is used.
    """

    def __init__(self, url: str | None) -> None:
        self._address = address_of(url) if url else None
        self._token = ""

    @property
    def is_given(self) -> bool:
        """Whether there is a token now, good or not."""
        return bool(self._token)

    def renew(self, url: object = None, token: object = None) -> None:
        """Begin an invocation: the token of the one before is forgotten.

        Args:
            url: the address of Identity in the context of this one; None: it has no context.
            token: the token there.
        """
        self._token = ""
        if self._address is None or not url or not token:
            return
        log = get_logger()
        if not (
            isinstance(token, str)
            and len(token) <= MAX_ACCESS_TOKEN_BYTES
            and _TOKEN.fullmatch(token)
        ):
            log.warning("platform.token_ignored", reason="form")
            return
        address = address_of(url) if isinstance(url, str) else None
        if address != self._address:
            host = address[1] if address is not None and _HOST.fullmatch(address[1]) else ""
            log.warning("platform.token_ignored", reason="address", host=host)
            return
        self._token = token

    def get(self) -> str:
        """The token.

        Raises:
            PlatformTokenError: there is none.
        """
        if not self._token:
            raise PlatformTokenError(
                "Netlify gave no token for Identity with this request; what is to be told waits "
                "for the next request that has one."
            )
        return self._token

    def refuse(self) -> PlatformTokenError:
        """Forget a token that Identity does not accept."""
        self._token = ""
        get_logger().warning("platform.token_refused")
        return PlatformTokenError(
            "Identity does not accept the token that came with this request; what is to be told "
            "waits for the next request that has one."
        )


class PlatformTransport:
    """An ``AdminTransport``."""

    def __init__(self, url: str, token: PlatformToken, http: Http) -> None:
        self._admin = HttpTransport(url, token.get, http)
        self._token = token

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``AdminTransport``.

        Raises:
            PlatformTokenError: there is no token that Identity accepts.
        """
        answer = self._admin.request(method, path, body)
        if answer.status in (401, 403):
            raise self._token.refuse()
        return answer


def address_of(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path of an address, in one spelling; None: it has other parts."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        return None
    if "?" in url or "#" in url:
        return None
    return parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/")
