"""The addresses of a receiver, looked up anew for each attempt, and all of them checked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from usher.core.domain.public_addresses import Address, Network, may_be_reached
from usher.core.domain.sink_urls import Target
from usher.core.errors import WebhookError

LOOK_UP_SECONDS: Final = 5.0
"""The C library would ask one server after the other for half a minute."""

LookUp = Callable[[str], Sequence[str]]
"""Gives the addresses of a name; raises OSError where it has none."""


def look_up(host: str) -> Sequence[str]:
    """The addresses of a name, as the system finds them.

    Raises:
        OSError: it has none, or no server could be asked.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def addresses_of(
    target: Target, networks: Collection[Network], seconds: float, resolve: LookUp = look_up
) -> list[Address]:
    """The addresses that a connection may go to, in the order in which they are tried.

    One address that may not be reached spoils them all: a name that is public here and private
    there is nobody's receiver.

    Args:
        networks: allowed besides public addresses; without TLS they alone are.
        seconds: time for the look-up.

    Raises:
        WebhookError: there is none, they cannot be found in time, or one may not be reached.
    """
    literal = target.address
    found = [literal] if literal is not None else _resolved(target.host, seconds, resolve)
    if not all(may_be_reached(each, networks, public=target.secure) for each in found):
        raise WebhookError(
            "the address is not public, and is not in USHER_SINK_NETWORKS"
            if target.secure
            else "the address is not in USHER_SINK_NETWORKS, which http:// needs"
        )
    return found


def _resolved(host: str, seconds: float, resolve: LookUp) -> list[Address]:
    answer: SimpleQueue[list[Address] | None] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put([ip_address(each) for each in resolve(host)])
        except (OSError, ValueError):  # the latter for a name that cannot be asked for
            answer.put(None)

    # The look-up cannot be ended; what it finds after its time is nobody's.
    Thread(target=ask, name="sink-look-up", daemon=True).start()
    try:
        found = answer.get(timeout=max(0.0, min(seconds, LOOK_UP_SECONDS)))
    except Empty:
        raise WebhookError("the name was not found in time") from None
    if not found:
        raise WebhookError("the name has no address")
    return found
