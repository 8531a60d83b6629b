"""Requests to a deployed site: as they come back, with their headers and the time they took."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from usher.core.http.interface import Limits
from usher.core.http.native import NativeHttp
from usher.core.strict_json import StrictJsonError, loads_object

LIMITS: Final = Limits(
    connect_seconds=10, read_seconds=20, body_seconds=20, body_bytes=4_194_304, start_bytes=0
)
"""Longer than Identity waits, so that a slow answer is told as slow."""


class Reply(Struct, frozen=True):
    """An answer; its headers by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, as where a site answers every address with its first page."""
        return self.headers.get("content-type", "").startswith("text/html")

    @property
    def document(self) -> dict[str, Any]:
        """The body's JSON object; empty where it has none."""
        try:
            return loads_object(self.body)
        except StrictJsonError:
            return {}

    @property
    def code(self) -> str:
        """Usher's code of an error; ``-`` where it has none."""
        return str(self.document.get("code", "-"))

    @property
    def is_found(self) -> bool:
        """Whether something other than a page is at the address."""
        return self.status != 404 and not self.is_page


class Site:
    """A site.

    Args:
        url: its address, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = NativeHttp()

    @property
    def host(self) -> str:
        """Its name, without a port."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_secure(self) -> bool:
        """Whether it is asked by HTTPS. By HTTP only this machine is."""
        return self.url.startswith("https://")

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Ask for a path.

        Raises:
            HttpError: there is no answer.
            AnswerCutError: it is too large, or comes too slowly.
        """
        return self.ask_url(method, self.url + path, headers or {}, body)

    def ask_url(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        """Ask for a whole URL, as above."""
        began = perf_counter()
        answer = self._http.request(method, url, headers, body, LIMITS)
        return Reply(answer.status, answer.headers, answer.body, perf_counter() - began)
