"""Lines to PostgreSQL that JavaScript holds, for the driver pg8000: TCP, and TLS by Node."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Final

from usher.core.database_line import Target, authorities
from usher.netlify import wires
from usher.netlify.wires import ask

if not hasattr(hashlib, "pbkdf2_hmac"):  # scramp would do it in Python
    hashlib.pbkdf2_hmac = wires.pbkdf2_hmac  # type: ignore[assignment]
ANSWER_MS: Final = 60_000
"""Where the driver sets no limit: more than a function has."""


class WireLine:
    """A line that wires.mjs knows by a number; see ``usher.core.store.drivers.pg8000.Line``."""

    def __init__(self, number: int) -> None:
        self._number = number

    def exchange(self, data: bytes, seconds: float | None) -> bytes:
        """Send the bytes, and return what has arrived, at least one byte.

        Raises:
            OSError: nothing has arrived in this time, or the line is gone.
        """
        ms = ANSWER_MS if seconds is None else max(1, int(seconds * 1000))
        told: bytes = ask("exchange", line=self._number, bytes=data, ms=ms)["bytes"]
        return told

    def send(self, data: bytes) -> None:
        """Send the bytes, and await nothing."""
        ask("send", line=self._number, bytes=data)

    def interrupt(self) -> None:
        """Close the line; nobody waits in it, for there is one thread."""
        self.close()

    def close(self) -> None:
        """Close the line; never fails."""
        with suppress(OSError):
            ask("close", line=self._number)


def dial(target: Target, seconds: float) -> WireLine:
    """A line to a server, encrypted where the target says so, and then verified in full.

    Raises:
        OSError: it cannot be had, or the certificate is not believed.
    """
    told = ask(
        "open",
        host=target.host,
        address=target.address,
        port=target.port,
        tls=target.tls,
        ca=authorities(target),
        ms=max(1, int(seconds * 1000)),
    )
    return WireLine(told["line"])
