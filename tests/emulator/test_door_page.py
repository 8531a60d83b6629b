"""The page of docs/door.md, run as it stands there, beside ``usher dev``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import POLICY
from tests.dev_process import usher_dev
from tests.npm import door_snippets, installed
from tests.support import ROOT
from usher.core.door import NO_REASON

CLIENTS = Path(__file__).parent / "clients"


@pytest.mark.parametrize("package", ["@netlify/identity", "@netlify/identity-2"])
def test_door_snippets_show_the_policys_sentence(
    package: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A refused address, one that is taken, another error of Identity's, and no network."""
    clients = installed(CLIENTS, tmp_path_factory.getbasetemp().parent)
    site = tmp_path / "site"
    site.mkdir()
    (site / "node_modules").symlink_to(clients / "node_modules")
    why, page, _widget = door_snippets()
    (site / "package.json").write_text('{"type":"module"}')
    (site / "why.js").write_text(why)
    (site / "page.js").write_text(page.replace('"@netlify/identity"', f'"{package}"'))
    (tmp_path / "policy.toml").write_text(POLICY)
    with usher_dev(tmp_path, USHER_DOOR="on") as running:
        arguments = [running.url, "", package, str(site / "why.js"), str(site / "page.js")]
        done = subprocess.run(
            ["node", "door.js", *arguments],
            check=False,
            cwd=clients,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "refused": "Please use an address that lasts.",
        "taken": "Check your inbox.",
        "mailed": True,
        "other": "Password is too short",
        "package": package,
        "offline": "This account could not be made. Please try again later.",
    }


def test_door_page_names_the_sentence_that_says_nothing() -> None:
    """Word for word, so that a page may know it."""
    assert f"*{NO_REASON}*" in (ROOT / "docs" / "door.md").read_text(encoding="utf-8")
