"""The same requests through Netlify's own proxy, with its signed rewrites."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import urllib3

from tests.contract.cases import HOOK, Answer, Case, cases
from tests.contract.runtimes import over_http
from tests.contract.test_contract import wrong
from tests.contract.world import VARIABLES, bearer, body_of, signature
from tests.netlify_site import PROXY_SECRET, NetlifySite, netlify_site
from tests.support import ROOT, Server
from usher.functions._shared.headers import SITE_HEADERS

ONCE: Final = "Node keeps the first of such headers that come twice"
DECODED: Final = "Netlify's proxy decodes the path before it passes it on"
DIFFERS: Final[Mapping[str, str]] = {
    "api: a method of nobody": "Node's HTTP knows no such method",
    "api: two tokens": ONCE,
    "api: a type twice": ONCE,
    "hook: a type twice": ONCE,
    "api: two slashes": "Netlify's proxy makes them one",
    "api: a query that is not UTF-8": "Netlify's proxy writes the query again",
    "api: decoded once only": DECODED,
    "api: a question mark in a path": DECODED,
    "api: a plus in a path is a plus": "its answer lists the role of a case that differs",
}
"""Where Netlify's command line cannot pass on what came; none lets anybody in who was kept out."""


@pytest.fixture
def backend(
    tmp_path: Path,
    sqlite_url: str,
    seeded: Callable[[str], str],
    start_server: Callable[..., Server],
) -> Server:
    """Usher behind the site."""
    url = seeded(f"sqlite:///{tmp_path / 'served.db'}")
    return start_server(url, **VARIABLES, USHER_PROXY_SECRET=PROXY_SECRET)


@pytest.fixture
def site(
    backend: Server, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NetlifySite]:
    """The site in front of it."""
    with netlify_site(tmp_path, tmp_path_factory, backend.url) as running:
        yield running


def offered(at: int) -> Iterator[tuple[str, Case]]:
    """What a site passes on of the table: the API, and one address for events."""
    for case in cases(at):
        path, mark, query = case.target.partition("?")
        if path == HOOK:
            yield case.id, replace(case, target=f"/hooks/identity{mark}{query}")
        elif path.startswith("/api/"):
            yield case.id, case


def check_table(site: NetlifySite, reference: Mapping[str, Answer]) -> None:
    """Every event by /hooks/identity and every call of the API: the same status, headers, bytes."""
    send = over_http(site.port)
    found: dict[str, object] = {}
    for name, case in offered(int(time.time())):
        answer, same = send(case), reference[name]
        if name in DIFFERS:
            if answer.comparable() == same.comparable():
                found[name] = f"no difference, though: {DIFFERS[name]}"
        elif problems := list(wrong(case, answer)):
            found[name] = problems
        elif answer.comparable() != same.comparable():
            found[name] = {"was": answer, "handlers": same}
    assert found == {}


def check_files(site: NetlifySite, ask: Callable[..., Any]) -> None:
    """A file of the console comes as it is, with the headers that Usher's server gives it."""
    for path, file in (("/", "index.html"), ("/js/main.js", "js/main.js")):
        answer = ask("GET", site.url + path)
        assert (answer.status, answer.data) == (200, (ROOT / "site" / file).read_bytes())
        told = {name: answer.headers.get(name) for name in SITE_HEADERS}
        told["Cache-Control"] = "no-cache"  # the local file server has one of its own
        assert told == dict(SITE_HEADERS), path


def check_the_way(site: NetlifySite, backend: Server, ask: Callable[..., Any]) -> None:
    """The API answers who came through the site; events and probes may come directly."""
    at = int(time.time())
    authorization = {"Authorization": bearer("bob", at)}
    for headers in (authorization, authorization | {"X-Nf-Sign": "a.b.c"}):
        assert ask("GET", f"{backend.url}/api/me", headers=headers).status == 403
        assert ask("GET", f"{site.url}/api/me", headers=headers).status == 200  # Netlify's replaces
    body = body_of("login", "bob")
    signed = {"Content-Type": "application/json", "X-Webhook-Signature": signature(body, at)}
    for address in (f"{backend.url}{HOOK}", f"{site.url}/hooks/identity"):
        assert ask("POST", address, body=body, headers=signed).status == 200
    assert ask("GET", f"{backend.url}/readyz").status == 200
    assert ask("POST", f"{site.url}{HOOK}", body=body, headers=signed).status == 404


def test_the_site_answers_as_the_handlers(
    site: NetlifySite, backend: Server, reference: Mapping[str, Answer]
) -> None:
    """Through `netlify dev`, whose start takes longer than all that is asked of it."""
    check_table(site, reference)
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        check_files(site, pool.request)
        check_the_way(site, backend, pool.request)
