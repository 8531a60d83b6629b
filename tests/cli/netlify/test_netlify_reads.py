"""Netlify's own reader of configurations takes what ``setup`` wrote, for every layout of a site."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.cli.netlify.sites import BASES, SITES, make
from tests.netlify_site import CLI, INSTALL_SECONDS, NPM_PATH, run_node
from tests.npm import installed
from usher.cli.netlify.plan import OURS
from usher.netlify.configuration import FUNCTIONS

HOST = "https://usher.example.com"
READER = """
import { readFileSync } from "node:fs";
const { resolveConfig } = await import(process.argv[1]);
const found = {};
for (const [name, root] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  for (const context of ["production", "deploy-preview"]) {
    const { config } = await resolveConfig({
      repositoryRoot: root, cwd: root, context, branch: "main", mode: "buildbot", offline: true,
    });
    found[`${name} ${context}`] = config;
  }
}
console.log(JSON.stringify(found));
"""


def test_netlify_reads_what_was_written(
    bare: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Build command, functions, and whose redirect comes first, in two contexts; one process."""
    locks = tmp_path_factory.getbasetemp().parent
    installed(CLI, locks, path=NPM_PATH, seconds=INSTALL_SECONDS)
    for name, files in SITES.items():
        for kind, options in (("inside", []), ("host", ["--host", HOST])):
            monkeypatch.chdir(make(tmp_path / f"{name}, {kind}", files))
            bare("netlify", "setup", "--yes", *options)
    roots = {path.name: str(path) for path in tmp_path.iterdir()}
    reader = CLI / "node_modules" / "@netlify" / "config" / "lib" / "index.js"
    done = run_node(
        "--input-type=module", "-e", READER, str(reader), cwd=tmp_path, stdin=json.dumps(roots)
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 4 * len(SITES)
    for name in SITES:
        for context in ("production", "deploy-preview"):
            config = found[f"{name}, inside {context}"]
            folder = tmp_path / f"{name}, inside" / BASES.get(name, "")
            build = config["build"]
            assert build["command"].startswith(OURS)
            assert not folder.is_relative_to(build["publish"])
            assert build["environment"]["PYTHON_VERSION"] in ("3.12", "3.13")
            assert Path(config["functionsDirectory"]).parent in (folder, folder / "netlify")
            for each in FUNCTIONS:
                assert "netlify/usher/**" in config["functions"][each]["included_files"]
            assert "included_files" not in config["functions"]["*"]
            assert (config["redirects"][0]["from"], config["redirects"][0]["to"]) == (
                "/api/*",
                "/.netlify/functions/api",
            )
            rules = found[f"{name}, host {context}"]["redirects"][:2]
            assert [rule["signed"] for rule in rules] == ["USHER_PROXY_SECRET"] * 2
            assert all(rule["to"].startswith(HOST) and rule["force"] for rule in rules)
