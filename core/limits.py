"""Rate limits of the API: a token bucket for each caller, in memory, bounded.

Identity's events are never limited.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from threading import Lock
from typing import Final

from usher.core.errors import TooManyRequestsError

UNREADABLE: Final = "unreadable"
"""The bucket of everybody for whom a proxy of ours forwards what is no address."""
LOCAL: Final = "local"
"""The bucket of everybody whose address is not public, where all must be counted."""
MAX_KEYS: Final = 10_000
"""Buckets that are kept; beyond them the one used longest ago is dropped, and is full again."""
SECONDS: Final = 60.0
"""Time in which an empty bucket fills."""
Network = IPv4Network | IPv6Network
_WITH_PORT: Final = r"(?:\[(?P<six>[^\[\]]*)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?"


class RateLimiter:
    """One bucket for each key: it holds a minute's requests and refills at a steady rate.

    Args:
        per_minute: requests; 0: no limit.
        clock: gives the seconds of a monotonic clock.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._most = per_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, key: str) -> None:
        """Count a request.

        Raises:
            TooManyRequestsError: the bucket is empty; the error says when to come again.
        """
        if not self._most:
            return
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(key, (float(self._most), now))
            left = min(self._most, left + (now - at) * self._most / SECONDS)
            allowed = left >= 1
            self._left[key] = (left - 1 if allowed else left, now)
            if len(self._left) > MAX_KEYS:
                self._left.popitem(last=False)
        if not allowed:
            raise TooManyRequestsError((1 - left) * SECONDS / self._most)

    def give_back(self, key: str) -> None:
        """Take back a request that was counted, and is not to count."""
        with self._lock:
            if key in self._left:
                left, at = self._left[key]
                self._left[key] = (min(self._most, left + 1), at)


def client(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str | None:
    """The key of a request's bucket: an IPv4 address, or an IPv6 network of 64 bits.

    Args:
        peer: the address at the other end of the connection.
        forwarded: the values of all X-Forwarded-For headers. Each proxy adds its peer's address on
            the right; only what ``proxies`` added is believed.
        proxies: the networks of trusted proxies.

    Returns:
        ``UNREADABLE`` for text that is no address. None for an address that is not public. It is
        one's own network, or a proxy that is not configured, behind which all callers would share
        one bucket.
    """
    hops = [hop for value in forwarded for hop in value.split(",") if hop.strip()]
    address = read_address(peer)
    if address is None:
        return None
    while hops and any(address in network for network in proxies):
        address = read_address(hops.pop())
        if address is None:
            return UNREADABLE
    if not address.is_global:
        return None
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address)


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: with a port, brackets, quotes or a zone; None: it is none.

    IPv4 in IPv6 is IPv4.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    found = re.fullmatch(_WITH_PORT, text, re.ASCII)
    if found is not None:
        text = found["four"] or found["six"] or ""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address
