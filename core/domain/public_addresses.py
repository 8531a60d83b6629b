"""Addresses that a webhook may go to: public ones, and those that a setting allows. Pure.

The table is our own, after IANA's registries of special-purpose addresses: ``ipaddress`` has
learned of some only in later releases of Python, and calls NAT64 global.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; metadata at Alibaba Cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, though from a public range
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; metadata at Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_6: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given to anybody. Loopback, unique local and link-local addresses, multicast,
mapped addresses and NAT64 lie outside."""
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")


def may_be_reached(address: Address, networks: Collection[Network], *, public: bool = True) -> bool:
    """Whether a webhook may go to an address.

    An IPv6 address that stands for an IPv4 address is in no public network. One that a setting
    allows counts only where the IPv4 address may be reached as well.

    Args:
        networks: allowed besides public addresses.
        public: whether public ones are allowed; not so without TLS.
    """
    if any(address in network for network in networks):
        return all(may_be_reached(each, networks) for each in _stands_for(address))
    return public and _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _stands_for(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses in an IPv6 address."""
    if isinstance(address, IPv4Address):
        return ()
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    translated = address in _NAT64 or address in _TRANSLATED
    if translated or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()
