"""Lines and HTTP, which Python may only wait for: the JavaScript thread ``wires.mjs`` does them.

Pyodide has no sockets of its own under Node, and its ``ssl`` verifies nothing, so TLS is Node's.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

OCTETS = "bytes"


def alarm(seconds: float) -> None:
    """See ``usher.core.outbox.in_process.Alarm``."""
    ask("alarm", after=round(seconds * 1000))


def pbkdf2_hmac(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    """As ``hashlib.pbkdf2_hmac``, which Pyodide has not."""
    import usher_wires  # type: ignore[import-not-found]  # noqa: PLC0415 - as below
    from pyodide.ffi import to_js  # type: ignore[import-not-found]  # noqa: PLC0415

    length = hashlib.new(name).digest_size
    made = usher_wires.pbkdf2(name, to_js(password), to_js(salt), iterations, length)
    octets: bytes = made.to_bytes()
    return octets


def ask(do: str, **order: Any) -> dict[str, Any]:
    """Give one order, and wait for its answer.

    Args:
        do: the order's name.
        order: its fields, as wires.mjs describes them; ``bytes`` and ``body`` are bytes.

    Raises:
        OSError: it failed, or took longer than ``ms``; the words say how.
    """
    import usher_wires  # noqa: PLC0415 - made by usher.mjs
    from pyodide.ffi import to_js  # noqa: PLC0415

    octets = order.pop("body" if do == "http" else OCTETS, None)
    text, data = usher_wires.ask(
        json.dumps({"do": do, **order}), None if octets is None else to_js(octets)
    )
    told: dict[str, Any] = json.loads(text)
    if "error" in told:
        raise OSError(told["error"])
    if data is not None:
        told[OCTETS] = data.to_bytes()
    elif do == "http":
        told[OCTETS] = None
    return told
