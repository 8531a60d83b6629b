"""The console's files, as the server serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import SECRET, Server
from usher.core.errors import NotFoundError
from usher.functions._shared.headers import SECURITY_HEADERS, SITE_HEADERS
from usher.functions._shared.http import Request
from usher.server.site import FOLDER, TYPES, Site


@pytest.fixture(scope="module")
def server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real server process."""
    settings = {
        "USHER_DATABASE_URL": f"sqlite:///{sqlite_template}",
        "USHER_WEBHOOK_SECRETS": SECRET.decode(),
    }
    started = Server(tmp_path_factory.mktemp("site"), settings)
    yield started
    started.stop()


FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["", *FILES])
def test_every_file_is_served_byte_for_byte_with_its_headers(server: Server, name: str) -> None:
    """What Netlify would publish is what the server answers, and no file is left out."""
    path = FOLDER / (name or "index.html")
    answer = server.pool.request("GET", f"{server.url}/{name}")
    assert answer.status == 200
    assert answer.data == path.read_bytes()
    assert answer.headers["Content-Type"] == TYPES[path.suffix]
    for header, value in SITE_HEADERS.items():
        assert answer.headers[header] == value


def test_a_file_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    """The ETag answers 304 without a body, and a HEAD has none either."""
    first = server.pool.request("GET", f"{server.url}/console.css")
    etag = first.headers["ETag"]
    again = server.pool.request("GET", f"{server.url}/console.css", headers={"If-None-Match": etag})
    assert (again.status, again.data, again.headers["ETag"]) == (304, b"", etag)
    head = server.pool.request("HEAD", f"{server.url}/console.css")
    assert (head.status, head.data, head.headers["ETag"]) == (200, b"", etag)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("*", 304), ("W/{}", 304), ('"x", {}', 304), ('"a,b", W/"c" ,W/{}', 304), (" {} ", 304),
        (",{},", 304), ('"x"', 200), ('W/"x", "y"', 200), ("{}x", 200), ("x", 200), ("", 200),
        ('"*"', 200), ("*, {}", 200), ("w/{}", 200), ('"x" {}', 200),
    ],
)  # fmt: skip
def test_h5_if_none_match_is_read_as_a_list(server: Server, condition: str, status: int) -> None:
    """Any, weak, one of several (RFC 9110, 13.1.2); what is no list means nothing."""
    url = f"{server.url}/console.css"
    etag = server.pool.request("HEAD", url).headers["ETag"]
    headers = {"If-None-Match": condition.replace("{}", etag)}
    answer = server.pool.request("GET", url, headers=headers)
    assert (answer.status, answer.headers["ETag"]) == (status, etag)
    assert (answer.data == b"") == (status == 304)


@pytest.mark.parametrize(
    "path",
    [
        "/index",
        "/js",
        "/js/",
        "//index.html",
        "/../netlify.toml",
        "/js/../../policy.toml",
        "/%2e%2e/policy.toml",
        "/js/..%2f..%2fpolicy.toml",
        "/.env",
        "/index.html/",
        "/index.html%00",
    ],
)
def test_no_path_leads_out_of_the_site(server: Server, path: str) -> None:
    """Only the names of its files are known; anything else is a problem with the API's headers."""
    conn = server.pool.connection_from_url(server.url)
    answer = conn.urlopen("GET", path, assert_same_host=False)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    csp = "Content-Security-Policy"
    assert answer.headers[csp] == SECURITY_HEADERS[csp]


def test_files_are_only_read(server: Server) -> None:
    """Another method is refused with the ones there are."""
    answer = server.pool.request("POST", f"{server.url}/", body=b"x")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_without_a_site_there_is_none(tmp_path: Path) -> None:
    """A folder that is absent serves nothing, and breaks nothing."""
    with pytest.raises(NotFoundError):
        Site(tmp_path / "absent").answer(Request("GET", "/", {}, b""))


def test_only_kinds_that_are_known_are_served(tmp_path: Path) -> None:
    """A stray file beside the site's own stays private."""
    (tmp_path / "notes.txt").write_text("private")
    (tmp_path / "index.html").write_text("<!doctype html>")
    site = Site(tmp_path)
    assert site.answer(Request("GET", "/", {}, b"")).status == 200
    with pytest.raises(NotFoundError):
        site.answer(Request("GET", "/notes.txt", {}, b""))
