"""``usher dev`` as a real process while its files change, and beside another one."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.json import decode

from tests.dev_process import COMMAND, GUIDED, WAIT_SECONDS, Dev
from tests.support import ROOT, clean_environment, free_port
from usher.server.outbox import Start


def test_it_waits_for_a_broken_file_to_be_mended(dev: Dev) -> None:
    """The file is named, the fault is told once, and the mended one is served; lists count too."""
    policy = dev.folder / "policy.toml"
    good = policy.read_text()
    policy.write_text("[[role]\n")
    dev.says("Usher does not run. Mend that and save")
    assert not dev.answers()
    assert "policy.toml" in dev.log.read_text().rpartition("Usher does not run")[0]
    policy.write_text(good)
    dev.says("policy.toml changed: ready in")
    assert dev.answers()
    (dev.folder / ".env").write_text("USHER_MAX_BODY_BYTES=short\n")
    dev.says("Usher does not run", times=2)
    assert "USHER_MAX_BODY_BYTES" in dev.log.read_text()
    (dev.folder / ".env").unlink()
    dev.says(".env changed: ready in")
    assert dev.log.read_text().count("Usher does not run") == 2
    policy.write_text('[admission]\ndeny_email_domains = { file = "junk.txt" }\n')
    dev.says("Usher does not run", times=3)
    (dev.folder / "junk.txt").write_text("junk.example\n")
    dev.says("junk.txt changed: ready in")


def test_its_server_does_not_outlive_it(dev: Dev) -> None:
    """Not even where it is killed."""
    dev.process.kill()
    dev.process.wait(WAIT_SECONDS)
    deadline = time.monotonic() + WAIT_SECONDS
    while dev.answers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not dev.answers()


def test_a_second_one_is_told_why_not(dev: Dev, tmp_path: Path) -> None:
    """In the same folder, and on the same port from another."""
    environment = clean_environment(PYTHONPATH=str(ROOT))
    other = tmp_path / "other"
    other.mkdir()
    for folder, port, said in (
        (dev.folder, free_port(), f"runs in this folder: process {dev.process.pid}"),
        (other, dev.port, f"port {dev.port}: Address already in use. Take another --port."),
    ):
        command = [*COMMAND, "--port", str(port)]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The code, where it may be changed."""
    root = tmp_path / "code"
    shutil.copytree(ROOT / "usher", root / "usher", symlinks=True)
    for link in (root / "usher").iterdir():
        if link.is_symlink():
            real = ROOT / "usher" / link.name
            (shutil.copytree if real.is_dir() else shutil.copy)(real, link.parent / link.readlink())
    return root


def test_it_starts_again_for_the_code_and_the_console(folder: Path, copy: Path) -> None:
    """A fault of syntax is shown with its place; the mended module and another page are served."""
    dev = Dev(folder, root=copy)
    try:
        dev.says(GUIDED)
        module = copy / "usher" / "core" / "domain" / "decide.py"
        good = module.read_text()
        broken = good + "\ndef decide_again(:\n"
        module.write_text(broken)
        dev.says("Usher does not run. Mend that and save")
        told = dev.log.read_text()
        assert f'File "{module}", line {len(broken.splitlines())}' in told
        assert "    def decide_again(:\n" in told
        assert "SyntaxError: " in told
        assert "Traceback" not in told
        assert not dev.answers()
        module.write_text(good + "\n1 / 0\n")
        dev.says("Usher does not run", times=2)
        assert "ZeroDivisionError: division by zero" in dev.log.read_text()
        module.write_text(good)
        dev.says("core/domain/decide.py changed: ready in")
        assert dev.answers()
        for name in ("index.html", "js/main.js"):
            path = copy / "site" / name
            path.write_text(path.read_text() + "<!-- changed -->")
            dev.says(f"site/{name} changed: ready in")
            assert dev.get(f"/{name}").endswith("<!-- changed -->")
    finally:
        dev.stop()


def test_handlers_run_beside_it_and_are_read_again_when_they_change(folder: Path) -> None:
    """In a process that ends with the server; a fault in them is told before it is ready."""
    hooks = "from usher import after\nprint('hooks {0}')\n@after('*')\ndef f(change): ...\n"
    (folder / "mysite").mkdir()
    module = folder / "mysite" / "hooks.py"
    module.write_text(hooks.format("one"))
    dev = Dev(folder, USHER_HANDLERS="mysite.hooks")
    try:
        dev.says(GUIDED)
        dev.says("hooks one")
        dev.says('"handlers":["handler:mysite.hooks.f"]')
        module.write_text(hooks.format("two"))
        dev.says("mysite/hooks.py changed: ready in")
        dev.says("hooks two")
        dev.says('"handlers":["handler:mysite.hooks.f"]', times=2)
        waits = {each.settling_seconds for each in _starts(folder)}
        assert waits == {1.0}  # a signup waits no 20 seconds
        module.write_text("1 / 0\n")
        dev.says("Usher does not run. Mend that and save")
        said = dev.log.read_text().rpartition("Usher does not run")[0]
        assert "mysite.hooks cannot be imported: ZeroDivisionError" in said
        assert "outbox.no_handlers" not in said
        module.write_text(hooks.format("three"))
        dev.says("mysite/hooks.py changed: ready in", times=2)
    finally:
        assert dev.stop() == 0


def _starts(folder: Path) -> list[Start]:
    """What the processes in a folder were told that hand changes over."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder.resolve()
            if here and b"usher.server.outbox_process" in arguments:
                found.append(decode(arguments[-2], type=Start))
    return found
