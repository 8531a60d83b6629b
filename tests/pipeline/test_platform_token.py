"""Which tokens of the platform are taken from the context of an invocation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.store.store_support import LogLines
from usher.core.errors import PlatformTokenError
from usher.core.identity.platform import PlatformToken

URL = "https://site.example/.netlify/identity"
TOKEN = "stranger-token"


def given(url: object, token: object = TOKEN, configured: str | None = URL) -> PlatformToken:
    """The state after an invocation with a good token, and one with this."""
    found = PlatformToken(configured)
    found.renew(configured, "good-token")
    found.renew(url, token)
    return found


@pytest.mark.parametrize(
    "url",
    [URL, URL + "/", "HTTPS://Site.Example/.netlify/identity", URL.replace("/.", ":443/.")],
)
def test_the_configured_address_counts_in_any_spelling(url: str) -> None:
    """Scheme and host in any case, the usual port, a slash at the end."""
    assert given(url).get() == TOKEN
    assert given(URL, configured=url).get() == TOKEN


@pytest.mark.parametrize(
    "url",
    [
        "http://site.example/.netlify/identity", "https://site.example:80/.netlify/identity",
        "https://site.example/.netlify", "https://site.example/.netlify/Identity",
        "https://www.site.example/.netlify/identity", "https://a@site.example/.netlify/identity",
        "https://site.example@evil.example/.netlify/identity", URL + "?", URL + "?a=1", URL + "#",
        URL + "/admin", "//site.example/.netlify/identity", "ftp://site.example/", "https://[::1/",
        "https://site.example:x/", "nonsense", " ", 7, [URL], URL.encode(),
    ],
)  # fmt: skip
def test_a_context_of_another_address_is_ignored(url: object) -> None:
    """Its token goes nowhere, and a log line says so without it; the one before has ended."""
    lines = LogLines()
    token = given(url)
    assert not token.is_given
    with pytest.raises(PlatformTokenError):
        token.get()
    (line,) = lines("platform.token_ignored")
    assert line["reason"] == "address"
    assert TOKEN not in json.dumps(line)


def test_the_log_names_the_host_of_another_address() -> None:
    """So an operator sees which one the platform means; what is no host is not told."""
    lines = LogLines()
    for url in ("https://Other.example/.netlify/identity", "https://ada@b.example/x"):
        given(url)
    assert [line["host"] for line in lines()] == ["other.example", ""]


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ö", "x" * 70_000, 7, {"a": 1}, b"abc"])
def test_a_token_that_no_header_carries_is_ignored(token: Any) -> None:
    """Neither is anything but a text."""
    lines = LogLines()
    assert not given(URL, token).is_given
    assert [line["reason"] for line in lines()] == ["form"]


@pytest.mark.parametrize(
    ("url", "token"), [(None, None), (URL, None), (None, TOKEN), ("", ""), (URL, "")]
)
def test_an_invocation_without_a_context_ends_the_token_before(url: object, token: object) -> None:
    """Nothing is logged; most invocations may be so."""
    lines = LogLines()
    assert not given(url, token).is_given
    assert lines() == []


def test_without_an_address_no_token_is_taken() -> None:
    """Nor where the setting is off."""
    assert not given(URL, configured=None).is_given
