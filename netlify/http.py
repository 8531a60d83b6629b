"""HTTP inside a function of Netlify: the JavaScript thread sends what Python may only wait for.

Its orders ``http`` and ``resolve`` are described in runtime/http.mjs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from usher.core.domain.public_addresses import Address
from usher.core.domain.sink_urls import Target
from usher.core.http.interface import Answer, AnswerCutError, Failure, HttpError, Limits

ENCODINGS: Final[Mapping[str, int]] = {
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
}
"""None is asked for; a proxy may use one all the same. Each with its window, as zlib is told it."""


class WiresHttp:
    """See ``usher.core.http.interface.Http``.

    Args:
        ask: gives an order, as ``usher.netlify.wires.ask``.
    """

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self._ask = ask

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limits: Limits
    ) -> Answer:
        """See ``Http``."""
        whole = limits.connect_seconds + limits.read_seconds + limits.body_seconds
        told = self._http(
            method=method,
            url=url,
            headers={"Accept-Encoding": "identity", **headers},
            body=body,
            ms=_ms(whole),
            connect_ms=_ms(limits.connect_seconds),
            silence_ms=_ms(limits.read_seconds),
            body_ms=_ms(limits.body_seconds),
            limit=limits.body_bytes,
            start=limits.start_bytes,
        )
        answer = _answer(told)
        if "cut" in told:
            start = _decoded(answer, limits.start_bytes)
            raise AnswerCutError(start, told["received"], late=told["cut"] == "time")
        octets = _decoded(answer, limits.body_bytes + 1)
        if len(octets) > limits.body_bytes:
            raise AnswerCutError(octets[: limits.start_bytes], len(octets), late=False)
        return Answer(answer.status, answer.headers, octets)

    def post(
        self,
        target: Target,
        address: Address,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_seconds: float,
        seconds: float,
    ) -> Answer:
        """See ``Http``."""
        told = self._http(
            method="POST",
            url=f"http{'s' if target.secure else ''}://{target.authority}{target.path}",
            headers={"Accept-Encoding": "identity", **headers, "Host": target.authority},
            body=body,
            ms=_ms(seconds),
            connect_ms=_ms(min(connect_seconds, seconds)),
            limit=0,
            address=str(address),
        )
        return _answer(told)

    def resolve(self, host: str, seconds: float) -> Sequence[str]:
        """See ``Http``."""
        told = self._ask(do="resolve", host=host, ms=_ms(seconds))
        if told.get("late"):
            raise TimeoutError
        found: list[str] = told["addresses"]
        return found

    def _http(self, **order: Any) -> dict[str, Any]:
        try:
            told = self._ask(do="http", **order)
        except OSError as error:
            raise HttpError(Failure.BROKEN, type(error).__name__) from None
        if "failed" in told:
            raise HttpError(Failure(told["failed"]), told["why"])
        return told


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


def _answer(told: Mapping[str, Any]) -> Answer:
    headers = {name.lower(): value for name, value in told["headers"]}
    return Answer(told["status"], headers, told["bytes"] or b"")


def _decoded(answer: Answer, limit: int) -> bytes:
    """The beginning of a body, after its ``Content-Encoding``.

    Args:
        limit: bytes at most.

    Raises:
        HttpError: it is not encoded so.
    """
    window = ENCODINGS.get(answer.headers.get("content-encoding", "").strip().lower())
    if window is None:
        return answer.body[:limit]
    decoder = zlib.decompressobj(window)
    try:
        return decoder.decompress(answer.body, limit)
    except zlib.error:
        raise HttpError(Failure.BROKEN, "DecodeError") from None
