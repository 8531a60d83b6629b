"""``usher netlify setup --run-env``: variables set by Netlify's command line, here a stand-in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.cli.netlify.sites import PLAIN, make, tree

OPEN = ["USHER_IDENTITY_URL", "USHER_USE_PLATFORM_TOKEN"]
"""The variables that are no secrets."""
LINKED = {"siteData": {"site-url": "https://shop.example", "site-id": "1"}, "linked": True}
PROGRAM = """#!{python}
import json, sys
from pathlib import Path
folder = Path({folder!r})
with (folder / "calls").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
answers = json.loads((folder / "answers").read_text())
name = sys.argv[1]
if name == "env:set":
    if sys.argv[2] in answers["refuses"]:
        sys.exit("refused: " + " ".join(sys.argv))
elif answers[name] is not None:
    print("a line before the document")
    print(json.dumps(answers[name]))
"""
Netlify = Callable[..., Path]


def put_netlify_there(folder: Path) -> None:
    """Write the stand-in, which notes its arguments and answers as it is told."""
    folder.mkdir()
    program = folder / "netlify"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)


@pytest.fixture
def netlify_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Netlify:
    """Let the stand-in be what ``netlify`` is, and a site the working folder."""
    folder = tmp_path / "bin"
    put_netlify_there(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(make(tmp_path / "site", PLAIN))

    def answer(status: object = LINKED, there: object = None, refuses: str = "") -> Path:
        answers = {"status": status, "env:list": there or {}, "refuses": [refuses]}
        (folder / "answers").write_text(json.dumps(answers))
        return folder

    return answer


def calls(folder: Path) -> list[list[str]]:
    """The arguments of each call that set something."""
    found = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return [each[1:] for each in found if each[0] == "env:set"]


def test_secrets_are_set_for_production_alone_and_shown_once(
    bare: Program, netlify_on_the_path: Netlify
) -> None:
    """With the scopes that a secret can have; the address is the linked site's."""
    folder = netlify_on_the_path()
    said = bare("netlify", "setup", "--yes", "--run-env").output
    [secret, address, token] = calls(folder)
    scopes = ["--secret", "--scope", "builds", "functions", "runtime"]
    assert secret[0] == "USHER_WEBHOOK_SECRETS"
    assert secret[2:] == ["--context", "production", *scopes]
    assert address[:2] == ["USHER_IDENTITY_URL", "https://shop.example/.netlify/identity"]
    assert token[:2] == ["USHER_USE_PLATFORM_TOKEN", "on"]
    assert address[2:] == token[2:] == ["--context", "production"]
    assert said.count(secret[1]) == 1
    assert "https://shop.example/.netlify/functions/identity" in said
    assert not any(secret[1].encode() in octets for octets in tree(Path.cwd()).values())


def test_variables_that_are_there_are_kept(bare: Program, netlify_on_the_path: Netlify) -> None:
    """A new secret would refuse every event until Identity knows it."""
    folder = netlify_on_the_path(there={"USHER_WEBHOOK_SECRETS": "hidden", "OTHER": "x"})
    found = bare.json("netlify", "setup", "--yes", "--run-env")
    assert [each[0] for each in calls(folder)] == OPEN
    assert found["kept_variables"] == ["USHER_WEBHOOK_SECRETS"]
    assert [each["set"] for each in found["variables"]] == [True, True]


def test_a_second_run_sets_what_the_first_did_not(
    bare: Program, netlify_on_the_path: Netlify
) -> None:
    """With nothing to write, nobody is asked."""
    folder = netlify_on_the_path()
    bare("netlify", "setup", "--yes")
    said = bare("netlify", "setup", "--run-env").output
    assert "Nothing to do." in said
    assert len(calls(folder)) == 3


def test_a_refused_variable_is_named_without_its_value(
    bare: Program, netlify_on_the_path: Netlify
) -> None:
    """Netlify's own words may repeat the arguments."""
    folder = netlify_on_the_path(refuses="USHER_WEBHOOK_SECRETS")
    said = bare("netlify", "setup", "--yes", "--run-env", code=1).output
    [[name, secret, *_], address, _] = calls(folder)
    assert f"did not take {name}: refused:" in said
    assert f"{address[0]} was set on Netlify" in said
    assert secret not in said


def test_a_secret_that_is_set_is_shown_although_a_later_one_is_refused(
    bare: Program, netlify_on_the_path: Netlify
) -> None:
    """Netlify shows it to nobody any more."""
    folder = netlify_on_the_path(refuses="USHER_BRIDGE_SECRET")
    options = ("--host", "https://usher.example.com", "--bridge", "--yes", "--run-env")
    said = bare("netlify", "setup", *options, code=1).output
    [[_, proxy, *_], [_, bridge, *_]] = calls(folder)
    assert said.count(proxy) == 1
    assert bridge not in said


@pytest.mark.parametrize("status", [None, {"siteData": None, "linked": False}])
def test_without_a_linked_site_nothing_is_written(
    bare: Program, netlify_on_the_path: Netlify, status: object
) -> None:
    """So the files and the variables belong together."""
    netlify_on_the_path(status=status)
    before = tree(Path.cwd())
    assert "netlify link" in bare("netlify", "setup", "--yes", "--run-env", code=1).output
    assert tree(Path.cwd()) == before


def test_without_netlify_s_command_line_that_is_said(
    bare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that installs it."""
    make(tmp_path, PLAIN)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = bare("netlify", "setup", "--yes", "--run-env", code=1).output
    assert "npm install -g netlify-cli" in said
