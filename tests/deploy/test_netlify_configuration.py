"""netlify.toml, that of an Usher on a host of its own, and the redirects that the latter writes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.netlify_site import PROXY_SECRET, copy_project, run_node
from tests.support import ROOT
from usher.cli.netlify.proposal import Wishes, propose
from usher.cli.netlify.site import find
from usher.functions._shared.headers import SITE_HEADERS

BACKEND = "https://usher.example.com"
NOTHING_ELSE = Wishes(None, False, None, None)
SECRET = {"USHER_PROXY_SECRET": PROXY_SECRET}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What Netlify sees of this repository."""
    return copy_project(tmp_path)


INSIDE = ROOT / "netlify.toml"
PROXY = ROOT / "deploy" / "netlify-proxy.toml"


def read(path: Path) -> dict[str, Any]:
    """A configuration."""
    return tomllib.loads(path.read_text())


@pytest.mark.parametrize("path", [INSIDE, PROXY], ids=["inside", "proxy"])
def test_files_have_the_headers_that_the_server_gives_them(path: Path) -> None:
    """Netlify publishes the same console, and a browser is told the same of it."""
    toml = read(path)
    (headers,) = toml["headers"]
    assert headers == {"for": "/*", "values": dict(SITE_HEADERS)}
    assert (ROOT / toml["build"]["publish"] / "index.html").is_file()


def test_the_repositorys_own_site_needs_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`usher netlify setup` would change nothing of it: redirect, build, functions are there."""
    for name in ("site", "netlify"):
        (tmp_path / name).mkdir()
    for name in ("site/index.html", "netlify.toml", "policy.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.chdir(tmp_path)
    changed = {change.name for change in propose(find(tmp_path), NOTHING_ELSE).changes}
    assert "netlify.toml" not in changed
    assert read(INSIDE)["build"]["command"] == (
        "python -m pip install '.[netlify]' && usher netlify build"
    )


def test_what_the_proxy_publishes_and_runs_is_there() -> None:
    """Folders and scripts by their names."""
    toml = read(PROXY)
    assert (ROOT / toml["build"]["publish"] / "index.html").is_file()
    assert (ROOT / toml["functions"]["directory"] / "usher-bridge.mjs").is_file()
    assert "node netlify/redirects.mjs" in toml["build"]["command"]
    assert (ROOT / "netlify" / "package-lock.json").is_file()


@pytest.mark.parametrize("address", [BACKEND, BACKEND + "/", f" {BACKEND} "])
def test_one_variable_says_where_usher_is(project: Path, address: str) -> None:
    """/api and the one address for events lead there, signed and forced."""
    done = run_node(
        "netlify/redirects.mjs", cwd=project, NETLIFY="true", BACKEND_URL=address, **SECRET
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (project / "site" / "_redirects").read_text() == (
        f"/api/* {BACKEND}/api/:splat 200! signed=USHER_PROXY_SECRET\n"
        f"/hooks/identity {BACKEND}/.netlify/functions/identity 200! signed=USHER_PROXY_SECRET\n"
    )


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "BACKEND_URL is not set"),
        ({"BACKEND_URL": ""}, "BACKEND_URL is not set"),
        ({"BACKEND_URL": "usher.example.com"}, "must be https://"),
        ({"BACKEND_URL": "http://usher.example.com"}, "must be https://"),
        ({"BACKEND_URL": "http://127.0.0.1:8888"}, "must be https://"),
        ({"BACKEND_URL": BACKEND + "/path"}, "without a path"),
        ({"BACKEND_URL": "https://me:secret@usher.example.com"}, "without a path"),
        ({"BACKEND_URL": "https://usher.example.com /*"}, "must be https://"),
        ({"BACKEND_URL": BACKEND, "URL": BACKEND}, "is this site itself"),
        ({"BACKEND_URL": BACKEND, "USHER_PROXY_SECRET": ""}, "USHER_PROXY_SECRET is not set"),
        ({"BACKEND_URL": BACKEND, "USHER_PROXY_SECRET": "short"}, "fewer than 32 bytes"),
    ],
)
def test_on_netlify_a_missing_or_wrong_variable_fails_the_build(
    project: Path, variables: dict[str, str], says: str
) -> None:
    """With a sentence, and nothing written: a site without its back end must not go live."""
    done = run_node("netlify/redirects.mjs", cwd=project, NETLIFY="true", **(SECRET | variables))
    assert done.returncode == 1
    assert says in done.stderr
    assert not (project / "site" / "_redirects").exists()


def test_elsewhere_it_is_in_nobodys_way(project: Path) -> None:
    """Without the variable nothing is written; with one, an Usher on this machine will do."""
    done = run_node("netlify/redirects.mjs", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (project / "site" / "_redirects").exists()
    local = "http://127.0.0.1:8888"
    done = run_node("netlify/redirects.mjs", cwd=project, BACKEND_URL=local, **SECRET)
    assert done.returncode == 0, done.stderr
    assert local in (project / "site" / "_redirects").read_text()
