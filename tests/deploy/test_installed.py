"""Usher from a wheel and from an sdist, as its users have it: nothing else of ours is there."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import pytest
import urllib3
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.browser import Watch, launch
from tests.captures.make import HERE as CAPTURES
from tests.deploy.installed import Installed, build, wheel_of
from tests.support import ROOT, free_port
from tests.test_laws import tracked
from usher import __version__

THEIR_FOLDERS = ("core", "functions", "runtime", "cli", "emulator", "migrations")
POLICY = """
from core.billing import PLANS
from usher.core.domain.policy import Applicant, Verdict

def decide(applicant: Applicant) -> Verdict:
    return Verdict(roles=frozenset(PLANS.get(applicant.address, ())))
"""
BILLING = 'PLANS = {"ada@example.com": ["gold"]}\n'
METADATA = f"usher_identity-{__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the clone."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the clone."""
    return build("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel_of_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist."""
    return wheel_of(sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(
    wheel: Path, wheel_of_sdist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Installed]:
    """``environment("sdist", "testing")``: installed so, with these extras."""

    @cache
    def made(way: str, *extras: str) -> Installed:
        source = wheel if way == "wheel" else wheel_of_sdist
        beside = ("httpx2",) if "testing" in extras else ()  # FastAPI's own client for tests
        return Installed(tmp_path_factory.mktemp("installed"), source, *extras, beside=beside)

    return made


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, environment: Callable[..., Installed]) -> Installed:
    """The base install, without an extra, by each way."""
    return environment(request.param)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """The machine's Chromium."""
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's folder, with packages of their own that are called as ours in a clone."""
    folder = tmp_path / "project"
    for name in THEIR_FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f'OURS = "{name}"\n')
    (folder / "core" / "billing.py").write_text(BILLING)
    (folder / "policies.py").write_text(POLICY)
    return folder


@pytest.fixture
def traps(project: Path) -> Path:
    """The project, with files called like modules of Python, of others, and of the server alone."""
    for name in ("queue", "click", "prometheus_client", "uvloop"):
        (project / f"{name}.py").write_text("raise RuntimeError('not the one that you want')\n")
    return project


def shipped() -> set[str]:
    """What a wheel must hold of what is under version control."""
    links = {path.name: path for path in (ROOT / "usher").iterdir()}
    kept = {name for name, _ in tracked()}
    found = {f"usher/{name}" for name, path in links.items() if path.is_file()}
    for name, path in links.items():
        if path.is_dir() and name != "__pycache__":
            found |= {f"usher/{each}" for each in kept if each.startswith(f"{name}/")}
    return found


def test_j2_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Console, migrations, starter policy, types; no file outside ``usher/`` but the metadata."""
    names = set(ZipFile(wheel).namelist())
    assert {name for name in names if not name.startswith(f"{METADATA}/")} == shipped()
    needed = {"usher/site/index.html", "usher/policy.toml", "usher/env.example", "usher/py.typed"}
    assert needed < names
    assert any(name.startswith("usher/migrations/versions/0001_") for name in names)
    assert f"{METADATA}/licenses/LICENSE" in names


def test_j2_a_wheel_of_the_sdist_holds_the_same(
    wheel: Path, wheel_of_sdist: Path, sdist: Path
) -> None:
    """To the byte, and the sdist has no link that leads nowhere."""
    first, second = ZipFile(wheel), ZipFile(wheel_of_sdist)
    assert {name: first.read(name) for name in first.namelist() if "RECORD" not in name} == {
        name: second.read(name) for name in second.namelist() if "RECORD" not in name
    }
    with tarfile.open(sdist) as archive:
        assert all(member.isfile() for member in archive.getmembers())


def test_j2_what_lies_about_gets_into_neither(tmp_path: Path) -> None:
    """Secrets, databases, compiled modules, what Netlify's build writes."""
    copy = tmp_path / "clone"
    for name, _ in tracked():
        if not name.startswith(("tests/", "bench/", "fuzz/", "docs/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    for link in (ROOT / "usher").iterdir():
        if link.is_symlink() and not (copy / "usher" / link.name).is_symlink():
            (copy / "usher" / link.name).unlink(missing_ok=True)
            (copy / "usher" / link.name).symlink_to(link.readlink())
    for name in (
        "core/.env", "cli/usher.db", "server/usher.db-wal", "site/_redirects", "usher/.env",
        "core/__pycache__/app.cpython-311.pyc", "core/.usher/dev.env", "emulator/some.log",
        ".env", "functions/.usher-spool/1.spool",
    ):  # fmt: skip
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("secret")
    names = set(ZipFile(build("wheel", tmp_path / "wheel", copy)).namelist())
    assert {name for name in names if not name.startswith(f"{METADATA}/")} == shipped()
    with tarfile.open(build("sdist", tmp_path / "sdist", copy)) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    more = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert inside == shipped() | more


def test_j1_nothing_of_ours_is_importable_but_usher(installed: Installed, tmp_path: Path) -> None:
    """Neither by the files that were installed, nor for a program that asks."""
    assert installed.own == {"usher", METADATA}
    folders = [*THEIR_FOLDERS, "server", "testing", "site", "aws_lambda", "tests", "bench"]
    program = f"""
from importlib.util import find_spec
print([name for name in {folders} if name != "site" and find_spec(name)])
"""
    assert installed.run(tmp_path, installed.python, "-c", program).stdout == "[]\n"


def test_j1_importing_usher_loads_nothing_but_itself(installed: Installed, tmp_path: Path) -> None:
    """And neither does its pytest plugin, pytest apart, when it is loaded."""
    program = """
import sys
before = set(sys.modules)
import usher
print(sorted(set(sys.modules) - before), usher.__version__)
"""
    found = installed.run(tmp_path, installed.python, "-c", program)
    assert found.stdout == f"['usher'] {__version__}\n"


def test_j1_what_a_user_does(installed: Installed, traps: Path) -> None:
    """Version, init, serve, trigger, list: with a policy that imports their own ``core.billing``.

    A file of theirs that is called like a module takes nobody's place.
    """
    project = traps
    version = installed.usher(project, "--version").stdout
    assert version == f"usher-identity, version {__version__}\n"
    assert installed.json(project, "init")["made"] == [".gitignore", "policy.toml", ".env"]
    with (project / ".env").open("a") as file:
        file.write("USHER_POLICY=policies:decide\n")
    assert {found["well"] for found in installed.json(project, "doctor")} == {True}
    assert "newest revision" in installed.usher(project, "db", "upgrade").stdout
    with installed.running(project, "serve", "/readyz") as url:
        page = urllib3.request("GET", f"{url}/", retries=False)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        to = f"{url}/.netlify/functions/identity-signup"
        sent = installed.usher(project, "trigger", "signup", "--url", to).stdout
        assert "Accepted." in sent
    [user] = installed.json(project, "users", "list")["users"]
    assert (user["email"], user["roles"]) == ("ada@example.com", ["gold"])


def test_j2_the_console_opens_in_a_browser(
    installed: Installed, traps: Path, browser: Browser
) -> None:
    """``usher dev`` where nothing was set up; the page and its scripts load without a complaint."""
    with installed.running(traps, "dev", "/healthz") as url:
        context = browser.new_context()
        watch = Watch(context, url)
        page = context.new_page()
        page.goto(url)
        expect(page.get_by_label("E-mail")).to_be_visible()
        watch.check()


def test_j2_a_missing_extra_is_one_sentence(
    environment: Callable[..., Installed], tmp_path: Path
) -> None:
    """With the command that installs it, where the extra is truly not there."""
    installed = environment("wheel")
    installed.usher(tmp_path, "init")
    url = {"USHER_DATABASE_URL": "postgres://u:p@127.0.0.1:1/x"}
    said = "The driver for PostgreSQL is not installed. Run: pip install 'usher-identity[postgres]'"
    for arguments in (["users", "list"], ["db", "upgrade"], ["serve", "--port", str(free_port())]):
        assert installed.usher(tmp_path, *arguments, code=1, **url).stderr == f"{said}\n"
    assert "[postgres]" in installed.usher(tmp_path, "doctor", code=1, **url).stdout
    asked = "from usher.server import traces; print(traces.start())"
    traced = installed.run(
        tmp_path, installed.python, "-c", asked, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"
    )
    assert "pip install 'usher-identity[traces]'" in traced.stdout + traced.stderr
    load = "try:\n import usher.testing.pytest_plugin\nexcept ImportError as e: print(e)"
    found = installed.run(tmp_path, installed.python, "-c", load).stdout
    assert found == "pytest is not installed. Run: pip install 'usher-identity[testing]'\n"


PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
PLUGIN = """
import sys
import pytest

def test_nothing_was_loaded_before_it_is_used():
    ours = [name for name in sys.modules if name.split(".")[0] == "usher"]
    assert sorted(ours) == ["usher", "usher.testing", "usher.testing.pytest_plugin"]
    assert not {"sqlalchemy", "sqlmodel", "structlog", "urllib3"} & set(sys.modules)

def test_their_own_packages_are_theirs():
    import cli, core, emulator, functions, migrations, runtime
    for package in (cli, core, emulator, functions, migrations, runtime):
        assert package.OURS == package.__name__

@pytest.mark.captures("captures/*.jsonl")
def test_captured_events(usher_replay, capture_file):
    usher_replay(capture_file).approved()
"""


def test_j1_the_plugin_in_a_project_with_folders_called_as_ours(
    environment: Callable[..., Installed], project: Path
) -> None:
    """Its tests start, import their own packages, and replay by their own callable policy."""
    installed = environment("wheel", "testing", "fastapi")
    (project / "tests" / "captures").mkdir(parents=True)
    (project / "tests" / "test_events.py").write_text(PLUGIN)
    shutil.copy(CAPTURES / "email-signup.jsonl", project / "tests" / "captures" / "morning.jsonl")
    settings = "[pytest]\nfilterwarnings = error\nusher_policy = policies:decide\npythonpath = .\n"
    (project / "pytest.ini").write_text(settings)
    for name in THEIR_FOLDERS:
        (project / name / "conftest.py").write_text("from core.billing import PLANS\n")
        (project / name / f"test_{name}.py").write_text(
            f"import {name}\n\ndef test_it():\n    assert {name}.OURS == '{name}'\n"
        )
    pytest_command = [str(installed.python), "-P", *PYTEST]
    approved = installed.run(project, *pytest_command, "--approve")
    assert f"{len(THEIR_FOLDERS) + 3} passed" in approved.stdout
    golden = (project / "tests" / "captures" / "morning.golden.json").read_text()
    assert '"gold"' not in golden  # nobody of the capture pays
    # Without pytest's own pythonpath the policy is found as well, last of all.
    (project / "pytest.ini").write_text(settings.replace("pythonpath = .\n", ""))
    only = [*pytest_command, "tests/test_events.py::test_captured_events"]
    assert "1 passed" in installed.run(project, *only).stdout


def test_a_whole_small_project_tests_itself(
    environment: Callable[..., Installed], tmp_path: Path
) -> None:
    """``examples/fastapi-site``: guards, handlers, a policy, and its tests, as they stand there."""
    installed = environment("wheel", "testing", "fastapi")
    folder = tmp_path / "site"
    for name in (name for name, _ in tracked() if name.startswith("examples/fastapi-site/")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    site = folder / "examples" / "fastapi-site"
    assert "9 passed" in installed.run(site, installed.python, *PYTEST).stdout


def test_docs_a_function_in_javascript_is_moved_word_by_word(
    environment: Callable[..., Installed], tmp_path: Path
) -> None:
    """The first part of docs/your-code.md: its files in an empty folder, and its test."""
    installed = environment("wheel", "testing", "fastapi")
    page = (ROOT / "docs" / "your-code.md").read_text()
    part = page.partition("## From a JavaScript function")[2].partition("\n## ")[0]
    files = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", part, re.DOTALL)
    assert len(files) == 5
    for name, text in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "1 passed" in installed.run(tmp_path, installed.python, *PYTEST).stdout
