"""Addresses that a webhook may go to, as a table and as properties."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.public_addresses import may_be_reached

PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.167.255.255",
    "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450:4001::1",
    "3ffe:ffff::1",
)  # fmt: skip
NOT_PUBLIC = (
    # this network, private, carriers' NAT, loopback
    "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    # link-local, and the clouds' metadata: most; ECS; Alibaba; Oracle; Azure; AWS and Google by v6
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192",
    "168.63.129.16", "fd00:ec2::254", "fd20:ce::254",
    # protocol assignments, documentation, benchmarks, multicast, reserved, broadcast
    "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    # IPv6: unspecified, loopback, unique local, link-local (with a zone), site-local, multicast
    "::", "::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1",
    "100::1", "2001:db8::1", "3fff::1", "3fff:fff::1", "5f00::1", "4000::1",
    # IPv4 within IPv6, public or not: mapped, compatible, translated, NAT64, 6to4, Teredo, ORCHID
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
    "2002:7f00:1::", "2002:808:808::1", "2001:0:7f00:1::", "2001::1", "2001:10::1", "2001:2::1",
)  # fmt: skip
V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
LOCAL = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    """The neighbours of every network that is not public included."""
    assert may_be_reached(ip_address(address), ())


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_ssrf_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast, and whatever stands for IPv4."""
    assert not may_be_reached(ip_address(address), ())
    assert not may_be_reached(ip_address(address), (ip_network("10.9.0.0/16"),))


@given(V4)
def test_an_address_that_python_calls_local_is_refused(address: IPv4Address) -> None:
    """Our table refuses all that the standard library would."""
    if not address.is_global or address.is_multicast:
        assert not may_be_reached(address, ())


@given(V4)
def test_ipv4_within_ipv6_is_refused_in_every_form(address: IPv4Address) -> None:
    """Mapped, compatible, translated, NAT64, 6to4 and Teredo, whatever the address inside."""
    value = int(address)
    for outer in (
        0xFFFF << 32 | value,
        value,
        0xFFFF << 48 | value,
        int(IPv6Address("64:ff9b::")) | value,
        0x2002 << 112 | value << 80,
        0x2001_0000 << 96 | value << 64 | (value ^ 0xFFFF_FFFF),
    ):
        assert not may_be_reached(IPv6Address(outer), ())


@pytest.mark.parametrize(
    ("address", "networks", "public", "expected"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True, True),
        ("10.1.2.3", ("10.0.0.0/8",), False, True),
        ("11.1.2.3", ("10.0.0.0/8",), True, True),
        ("11.1.2.3", ("10.0.0.0/8",), False, False),
        ("172.16.0.1", ("10.0.0.0/8",), True, False),
        ("::1", ("127.0.0.0/8",), True, False),
        ("::1", ("::1/128",), False, True),
        ("fd00::1", ("10.0.0.0/8", "fd00::/8"), True, True),
        # What stands for another address needs both.
        ("::ffff:10.0.0.1", ("10.0.0.0/8",), True, False),
        ("::ffff:10.0.0.1", ("10.0.0.0/8", "::ffff:0:0/96"), True, True),
        ("::ffff:10.0.0.1", ("::/0",), True, False),
        ("64:ff9b::808:808", ("64:ff9b::/96",), True, True),
        ("64:ff9b::a9fe:a9fe", ("64:ff9b::/96",), True, False),
        ("64:ff9b::7f00:1", ("::/0",), True, False),
        ("2002:a00:1::", ("2002::/16",), True, False),
        ("2002:808:808::", ("2002::/16",), True, True),
        ("2001:0:808:808::f7f7:f7f7", ("2001::/32",), True, True),
        ("2001:0:808:808::f5ff:fffe", ("2001::/32",), True, False),
        ("::ffff:0:10.0.0.1", ("::/0",), True, False),
        ("::10.0.0.1", ("::/0",), True, False),
    ],
)
def test_networks_that_are_allowed(
    address: str, networks: tuple[str, ...], public: bool, expected: bool
) -> None:
    """Besides public addresses, or, without TLS, instead of them."""
    allowed = tuple(map(ip_network, networks))
    assert may_be_reached(ip_address(address), allowed, public=public) is expected
