"""Rate limits: buckets that fill again, and whose address counts."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core import limits
from usher.core.errors import TooManyRequestsError
from usher.core.limits import UNREADABLE, RateLimiter, client, read_address


class Seconds:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def allowed(buckets: RateLimiter, key: str = "a") -> bool:
    """Whether one more request passes."""
    try:
        buckets.take(key)
    except TooManyRequestsError:
        return False
    return True


def test_a_minutes_requests_pass_at_once_and_then_the_steady_rate() -> None:
    """60 a minute: 60, and then one a second."""
    clock = Seconds()
    buckets = RateLimiter(60, clock)
    assert sum(allowed(buckets) for _ in range(100)) == 60
    clock.now += 0.9
    assert not allowed(buckets)
    clock.now += 0.2
    assert allowed(buckets)
    assert not allowed(buckets)
    clock.now += 3600
    assert sum(allowed(buckets) for _ in range(100)) == 60


def test_one_persons_haste_is_not_anothers() -> None:
    """Each key has its own bucket."""
    buckets = RateLimiter(1, Seconds())
    assert [allowed(buckets, key) for key in "aabb"] == [True, False, True, False]


def test_a_request_can_be_taken_back() -> None:
    """Once for each that was counted; a full bucket stays full, and an unknown one unknown."""
    buckets = RateLimiter(2, Seconds())
    buckets.give_back("a")
    assert [allowed(buckets) for _ in range(3)] == [True, True, False]
    buckets.give_back("a")
    assert [allowed(buckets) for _ in range(2)] == [True, False]
    for _ in range(5):
        buckets.give_back("a")
    assert [allowed(buckets) for _ in range(3)] == [True, True, False]


def test_zero_is_no_limit() -> None:
    """For who limits elsewhere."""
    buckets = RateLimiter(0, Seconds())
    assert all(allowed(buckets) for _ in range(10_000))


@pytest.mark.parametrize(("per_minute", "seconds"), [(60, 1), (6, 10), (1, 60), (1_200, 1)])
def test_the_refusal_says_when_to_come_again(per_minute: int, seconds: int) -> None:
    """In whole seconds, at least one; whoever waits so long is let in."""
    clock = Seconds()
    buckets = RateLimiter(per_minute, clock)
    while allowed(buckets):
        pass
    with pytest.raises(TooManyRequestsError) as refused:
        buckets.take("a")
    assert refused.value.retry_after_seconds == seconds
    clock.now += seconds
    assert allowed(buckets)


def test_only_so_many_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked longest ago is forgotten: memory is bounded whoever asks."""
    monkeypatch.setattr(limits, "MAX_KEYS", 2)
    buckets = RateLimiter(1, Seconds())
    assert [allowed(buckets, key) for key in "abac"] == [True, True, False, True]
    assert [allowed(buckets, key) for key in "acb"] == [False, False, True]


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 50))
def test_never_more_than_a_bucket_and_the_rate(waits: list[float], per_minute: int) -> None:
    """In any span of time: one bucket, and what flowed in meanwhile."""
    clock = Seconds()
    buckets = RateLimiter(per_minute, clock)
    passed = 0
    for wait in waits:
        clock.now += wait
        passed += allowed(buckets)
    assert passed <= per_minute * (1 + sum(waits) / 60) + 1e-6


PROXIES = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"))
CASES: dict[str, tuple[str, list[str], str | None]] = {
    "a public peer": ("8.8.8.8", [], "8.8.8.8"),
    "a public peer's own claim": ("8.8.8.8", ["9.9.9.9"], "8.8.8.8"),
    "loopback": ("127.0.0.1", [], None),
    "a private peer that is no proxy": ("192.168.1.1", ["9.9.9.9"], None),
    "through a proxy": ("127.0.0.1", ["9.9.9.9"], "9.9.9.9"),
    "through two proxies": ("127.0.0.1", ["9.9.9.9, 10.1.1.1"], "9.9.9.9"),
    "two headers": ("127.0.0.1", ["9.9.9.9", "10.1.1.1"], "9.9.9.9"),
    "a made-up address before the true one": ("127.0.0.1", ["1.1.1.1, 9.9.9.9"], "9.9.9.9"),
    "only proxies": ("127.0.0.1", ["10.1.1.1"], None),
    "no address": ("127.0.0.1", ["unknown"], UNREADABLE),
    "empty": ("127.0.0.1", [""], None),
    "IPv6": ("2600:1::1234", [], "2600:1::/64"),
    "IPv6, the same network": ("2600:1::ffff:1", [], "2600:1::/64"),
    "IPv4 in IPv6": ("::ffff:8.8.8.8", [], "8.8.8.8"),
}


@pytest.mark.parametrize(("peer", "forwarded", "expected"), CASES.values(), ids=CASES.keys())
def test_whose_address_counts(peer: str, forwarded: list[str], expected: str | None) -> None:
    """The last that no proxy of ours vouches for; nobody chooses their own bucket."""
    assert client(peer, forwarded, PROXIES) == expected


def test_without_trusted_proxies_the_header_means_nothing() -> None:
    """The default."""
    assert client("127.0.0.1", ["9.9.9.9"], ()) is None
    assert client("8.8.8.8", ["9.9.9.9"], ()) == "8.8.8.8"


FORWARDED: dict[str, tuple[str | None, str | None]] = {
    "8.8.4.6:1234": ("8.8.4.6", "8.8.4.6"),
    " 8.8.4.6 ": ("8.8.4.6", "8.8.4.6"),
    '"8.8.4.6:1234"': ("8.8.4.6", "8.8.4.6"),
    "[8.8.4.6]": ("8.8.4.6", "8.8.4.6"),
    "[::1]": ("::1", None),
    "[::1]:443": ("::1", None),
    "[2600:1::1]:443": ("2600:1::1", "2600:1::/64"),
    '"[2600:1::1]:443"': ("2600:1::1", "2600:1::/64"),
    "2600:1::1%eth0": ("2600:1::1", "2600:1::/64"),
    "[2600:1::1%25eth0]:1": ("2600:1::1", "2600:1::/64"),
    "fe80::1%eth0": ("fe80::1", None),
    "[2001:db8::1]:443": ("2001:db8::1", None),
    "::ffff:8.8.4.6": ("8.8.4.6", "8.8.4.6"),
    "[::ffff:8.8.4.6]:1": ("8.8.4.6", "8.8.4.6"),
    "unknown": (None, UNREADABLE),
    "_hidden": (None, UNREADABLE),
    "8.8.4.6:": (None, UNREADABLE),
    "8.8.4.6:x": (None, UNREADABLE),
    "8.8.4.6:123456": (None, UNREADABLE),
    "8.8.4": (None, UNREADABLE),
    "08.8.4.6": (None, UNREADABLE),
    "[8.8.4.6": (None, UNREADABLE),
    "[]": (None, UNREADABLE),
    '"': (None, UNREADABLE),
    '""': (None, UNREADABLE),
    "for=8.8.4.6": (None, UNREADABLE),
    "8.8.4.6;1": (None, UNREADABLE),
    "\u0668.8.4.6": (None, UNREADABLE),
}


@pytest.mark.parametrize(("text", "expected"), FORWARDED.items(), ids=FORWARDED.keys())
def test_d6_whatever_a_proxy_forwards_is_limited(
    text: str, expected: tuple[str | None, str | None]
) -> None:
    """Ports, brackets, quotes and zones are read; what is no address shares one bucket."""
    address, bucket = expected
    found = read_address(text)
    assert (found and str(found)) == address
    for before in ([], ["9.9.9.9"], [f"9.9.9.9, {text}"]):
        assert client("127.0.0.1", [*before, text], PROXIES) == bucket
    assert client("8.8.8.8", [text], PROXIES) == "8.8.8.8"


def test_d6_a_proxy_is_known_however_it_is_written() -> None:
    """With its port, in brackets, as IPv4 in IPv6; empty members of the list are none."""
    hops = ["9.9.9.9", " , 10.1.1.1:80,,", '"[::ffff:10.2.2.2]:81"', ","]
    assert client("::ffff:127.0.0.1", hops, PROXIES) == "9.9.9.9"


@given(st.text(max_size=40))
def test_d6_no_text_of_a_proxys_breaks_it(text: str) -> None:
    """And none but an empty or private one goes without a limit."""
    bucket = client("127.0.0.1", [text], PROXIES)
    last = [hop for hop in text.split(",") if hop.strip()][-1:]
    address = read_address(last[0]) if last else None
    assert bucket is not None or not last or (address is not None and not address.is_global)
