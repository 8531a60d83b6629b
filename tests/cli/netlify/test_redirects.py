"""Which redirects of a site are in the way of Usher's."""

from __future__ import annotations

import pytest

from usher.cli.netlify.redirects import (
    API,
    HOOK,
    inside,
    line_of,
    missing,
    of_configuration,
    of_file,
    takes,
    to_host,
)

OURS = inside()
HOST = to_host("https://usher.example.com")


@pytest.mark.parametrize(
    ("source", "api", "hook"),
    [
        ("/*", True, True),
        ("/api/*", True, False),
        ("/api", True, False),
        ("/api/contact", True, False),
        ("/:language/*", True, True),
        ("/:one/:two", True, True),
        ("/:page", True, False),
        ("/hooks/*", False, True),
        ("/hooks/identity", False, True),
        ("/hooks", False, False),
        ("/apis/*", False, False),
        ("/", False, False),
        ("/blog/*", False, False),
        ("https://old.example.com/*", False, False),
    ],
)
def test_what_a_rule_takes(source: str, api: bool, hook: bool) -> None:
    """Stars and names stand for anything; a rule with a host is another domain's."""
    assert takes(source, API) is api
    assert takes(source, HOOK) is hook


@pytest.mark.parametrize(
    ("file", "configured", "lacking", "words"),
    [
        ("", [], 1, []),
        ("", [{"from": "/*", "to": "/index.html"}], 1, []),
        ("/old /new\n", [{"from": "/old", "to": "/new"}], 1, []),
        ("# /api/* /x\n\n/*\n", [], 1, []),
        ("", OURS, 0, []),
        ("", [*OURS, {"from": "/*", "to": "/index.html"}], 0, []),
        ("/api/* /.netlify/functions/api 200!\n/* /index.html 200\n", [], 0, []),
        ("/* /index.html 200\n", [], 1, ["_redirects sends /* to /index.html", line_of(OURS[0])]),
        ("/* id=:id /x/:id 302\n", [], 1, ["_redirects sends /* to /x/:id"]),
        ("/* /index.html 200\n", OURS, 0, ["_redirects sends /* to /index.html"]),
        ("/api/* https://a.example/:splat 200\n", [], 1, ["https://a.example/:splat", "Move"]),
        ("", [{"from": "/api/x", "to": "/y"}], 1, ["netlify.toml sends /api/x to /y"]),
        ("", [{"origin": "/api/*", "destination": "/y"}], 1, ["sends /api/* to /y"]),
        ("", [{"from": "/*", "to": "/i"}, *OURS], 0, ["Move the redirect of /api/* above"]),
        ("", HOST, 1, ["usher netlify setup --undo"]),
    ],
)  # fmt: skip
def test_what_is_missing_and_what_is_in_the_way(
    file: str, configured: list[dict[str, str]], lacking: int, words: list[str]
) -> None:
    """Files come before netlify.toml, where ours is put first."""
    found, problems = missing(
        OURS, of_file("_redirects", file), of_configuration({"redirects": configured})
    )
    assert len(found) == lacking
    told = "\n".join(problems)
    assert bool(problems) is bool(words)
    for word in words:
        assert word in told


def test_a_host_of_its_own_needs_two_signed_redirects() -> None:
    """A line in ``_redirects`` counts for each."""
    lines = "\n".join(map(line_of, HOST))
    assert lines.count("signed=USHER_PROXY_SECRET") == 2
    assert missing(HOST, of_file("_redirects", lines), []) == ([], [])
    assert missing(HOST, [], []) == (HOST, [])
