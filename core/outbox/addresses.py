"""The addresses of a receiver, looked up anew for each attempt, and all of them checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from typing import Final

from usher.core.domain.public_addresses import Address, Network, may_be_reached
from usher.core.domain.sink_urls import Target
from usher.core.errors import WebhookError

LOOK_UP_SECONDS: Final = 5.0
"""The C library would ask one server after the other for half a minute."""

LookUp = Callable[[str, float], Sequence[str]]
"""Gives the addresses of a name within some seconds (``usher.core.http.interface.Http``)."""


def addresses_of(
    target: Target, networks: Collection[Network], seconds: float, resolve: LookUp
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
    try:
        found = [ip_address(each) for each in resolve(host, min(seconds, LOOK_UP_SECONDS))]
    except TimeoutError:
        raise WebhookError("the name was not found in time") from None
    except (OSError, ValueError):  # the latter for an address that is none
        found = []
    if not found:
        raise WebhookError("the name has no address")
    return found
