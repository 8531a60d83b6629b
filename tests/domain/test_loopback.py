"""Which pages and names are of this machine."""

from __future__ import annotations

import pytest

from usher.core.errors import RequestError, StrangePageError
from usher.functions._shared.http import Request, Response
from usher.functions._shared.loopback import (
    for_own_pages,
    is_loopback_host,
    is_loopback_origin,
    require_host,
    require_own_page,
)

OURS = (
    "localhost", "LOCALHOST:8888", "shop.localhost", "127.0.0.1:1", "127.9.8.7", "[::1]",
    "[::1]:8888",
)  # fmt: skip
OTHERS = (
    "", ":8888", "evillocalhost", "evillocalhost:8888", "localhost.evil.com", "127.0.0.1.nip.io",
    "127.0.0.1.evil.example:8888", "evil.example", "192.168.0.7", "0.0.0.0", "[::]", "[::2]",
    "localhost@evil.com", "evil.com@localhost", "localhost evil.com", "localhost/", "localhost#",
    "localhost:8888:1", "localhost:x", "::1", "[::1", "127.0.0.1,evil.com", "localhost\n",
    "localhost.", "\uff4cocalhost", "127.0.0.1%00.evil.com", "2130706433", "127.1",
)  # fmt: skip


def asked(method: str = "GET", **headers: str | tuple[str, ...]) -> Request:
    """A request; a header given as a tuple comes several times."""
    named = {"host": "localhost:8888"} | headers
    found = {
        name.replace("_", "-"): (value,) if isinstance(value, str) else value
        for name, value in named.items()
    }
    return Request(method, "/api/me", found, b"")


@pytest.mark.parametrize("host", OURS)
def test_f1_names_of_this_machine_are_answered(host: str) -> None:
    """``localhost``, what is below it, and loopback addresses."""
    assert is_loopback_host(host)
    assert is_loopback_origin(f"http://{host}")
    assert is_loopback_origin(f"https://{host}")
    require_own_page(asked(host=host))


@pytest.mark.parametrize("host", OTHERS)
def test_f1_only_names_of_this_machine_are_answered(host: str) -> None:
    """A name that only looks like one of them is somebody else's."""
    assert not is_loopback_host(host)
    assert not is_loopback_origin(f"http://{host}")
    with pytest.raises(StrangePageError):
        require_own_page(asked(host=host))


@pytest.mark.parametrize("hosts", [(), ("localhost", "localhost"), ("localhost", "evil.com")])
def test_f1_one_host_is_needed(hosts: tuple[str, ...]) -> None:
    """None, or several, is nobody's."""
    with pytest.raises(StrangePageError):
        require_own_page(asked(host=hosts))


@pytest.mark.parametrize(
    "origin", ["null", "", "localhost", "file://localhost", "evil://localhost"]
)
def test_f1_what_is_no_origin_of_ours(origin: str) -> None:
    """A sandboxed page, a file, another scheme."""
    assert not is_loopback_origin(origin)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "anything"},
        {"sec_fetch_site": ("same-origin", "cross-site")},
        {"sec_fetch_site": "cross-site", "origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site", "origin": "null"},
        {"sec_fetch_site": "cross-site", "origin": "http://evillocalhost:8888"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ("http://localhost:8888", "https://evil.example")},
    ],
)
def test_f1_a_strange_page_changes_nothing(
    method: str, headers: dict[str, str | tuple[str, ...]]
) -> None:
    """Whatever it is; where it only reads, CORS decides."""
    with pytest.raises(StrangePageError):
        require_own_page(asked(method, **headers))
    require_own_page(asked("GET", **headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "same-origin", "origin": "null"},  # a form under Referrer-Policy
        {"sec_fetch_site": "same-site", "origin": "http://localhost:3000"},
        {"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:5173"},
        {"origin": "http://[::1]:3000"},
    ],
)
def test_f1_programs_and_pages_of_this_machine_may_change_things(
    headers: dict[str, str | tuple[str, ...]],
) -> None:
    """A site under development is on another port."""
    require_own_page(asked("POST", **headers))


@pytest.mark.parametrize(
    ("origin", "reads"),
    [
        ("http://localhost:3000", True), ("https://[::1]", True), ("https://evil.example", False),
        ("null", False), ("http://evillocalhost", False), (("http://localhost",) * 2, False),
        ((), False),
    ],
)  # fmt: skip
def test_f1_a_strange_page_reads_nothing(origin: str | tuple[str, ...], *, reads: bool) -> None:
    """The local Identity answers any origin, as the real one does; this takes it back."""
    given = {"Access-Control-Allow-Origin": "*", "access-control-max-age": "1", "ETag": '"1"'}
    answer = for_own_pages(asked(origin=origin), Response(200, "x", "text/plain", given))
    assert answer.headers == (given if reads else {"ETag": '"1"'})
    assert (answer.status, answer.body, answer.content_type) == (200, "x", "text/plain")


@pytest.mark.parametrize(
    ("hosts", "version", "good"),
    [
        (("example.com",), "1.1", True), (("[::1]:8888",), "1.1", True), (("",), "1.1", True),
        ((), "1", True), ((), "1.0", True), ((), "1.1", False), (("a", "b"), "1.1", False),
        (("a", "a"), "1", False), (("a b",), "1.1", False), (("a/b",), "1.1", False),
        (("a@b",), "1.1", False), (("a, b",), "1.1", False), (("a:b",), "1.1", False),
    ],
)  # fmt: skip
def test_h4_one_host(hosts: tuple[str, ...], version: str, *, good: bool) -> None:
    """RFC 9112, 3.2."""
    if good:
        require_host(hosts, version)
    else:
        with pytest.raises(RequestError):
            require_host(hosts, version)
