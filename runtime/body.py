"""Reading a request's body: never more than the cap, never for ever.

Granian hands the body over as a blocking stream. A client that announces more than it sends would
hold a thread until it hangs up, so a read that takes long is left to a thread of its own and the
request is answered 408.
"""

from __future__ import annotations

from typing import Any, Final

from core.errors import BodyTooLargeError

TIMEOUT_SECONDS: Final = 10


def read_body(stream: Any, max_body_bytes: int) -> bytes:
    """All bytes of the stream.

    Raises:
        BodyTooLargeError: more than the cap; the rest is not read.
    """
    body: bytes = stream.read(max_body_bytes + 1)
    if len(body) > max_body_bytes:
        raise BodyTooLargeError(max_body_bytes)
    return body
