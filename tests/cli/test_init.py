"""``usher init``: what it makes, what it leaves alone, and where it refuses."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.cli.conftest import Program
from tests.support import ROOT
from usher.cli.init import IGNORED
from usher.core.settings import PREFIX, Settings

MADE = {".env", ".gitignore", "policy.toml"}


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_new_folder_has_what_the_doctor_wants(bare: Program, tmp_path: Path) -> None:
    """A secret of its own, which nobody else reads and nothing prints; the starter policy."""
    said = bare("init").output
    assert names(tmp_path) == MADE
    values = dotenv_values(tmp_path / ".env")
    [secret] = Settings.from_env({k: v or "" for k, v in values.items()}).webhook_secrets
    assert len(secret) == 64
    assert secret.decode() not in said
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (tmp_path / "policy.toml").read_text() == (ROOT / "policy.toml").read_text()
    assert (tmp_path / ".gitignore").read_text().splitlines() == list(IGNORED)
    for command in ("usher dev", "usher doctor", "usher db upgrade", "usher serve"):
        assert command in said
    assert {found["well"] for found in bare.json("doctor")} == {True}


def test_the_env_file_is_the_example_with_a_secret(bare: Program, tmp_path: Path) -> None:
    """Every other setting waits there as a comment; two folders have two secrets."""
    bare("init")
    bare("init", "other")
    made, example = (tmp_path / ".env").read_text(), (ROOT / ".env.example").read_text()
    other = (tmp_path / "other" / ".env").read_text()
    differing = [line for line in made.splitlines() if line not in example.splitlines()]
    assert [line.partition("=")[0] for line in differing] == [PREFIX + "WEBHOOK_SECRETS"]
    assert made.count("\n") == example.count("\n")
    assert made != other


def test_what_is_there_is_kept_and_said(bare: Program, tmp_path: Path) -> None:
    """Files, and a link to a file."""
    (tmp_path / "policy.toml").write_text("# mine\n")
    (tmp_path / "elsewhere").write_text("USHER_POLICY=other.toml\n")
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    found = bare.json("init")
    assert (found["made"], found["kept"]) == ([".gitignore"], ["policy.toml", ".env"])
    assert (tmp_path / "policy.toml").read_text() == "# mine\n"
    assert (tmp_path / "elsewhere").read_text() == "USHER_POLICY=other.toml\n"
    again = bare.json("init")
    assert (again["made"], again["extended"]) == ([], [])
    assert "it was there already" in bare("init").output


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\n".join(IGNORED) + "\n"),
        ("*.pyc", "*.pyc\n" + "\n".join(IGNORED) + "\n"),
        ("/.env\n.usher\r\n.usher-spool\n*.db\n*.db-shm\n", None),
        (
            "\n".join(IGNORED) + "\n!.env*\n",
            "\n".join(IGNORED) + "\n!.env*\n" + "\n".join(IGNORED) + "\n",
        ),
        (".env\n!.env\n.usher/\n.usher-spool/\n*.db\n*.db-shm\n*.db-wal\n", None),
    ],
    ids=[
        "empty",
        "no newline at its end",
        "one missing",
        "some allowed again",
        "one allowed again",
    ],
)
def test_gitignore_gets_the_lines_that_are_missing(
    bare: Program, tmp_path: Path, before: str, after: str | None
) -> None:
    """Those alone, at its end; git then leaves out what must not be committed."""
    path = tmp_path / ".gitignore"
    path.write_bytes(before.encode())
    assert bare.json("init")["extended"] == [".gitignore"]
    text = path.read_bytes().decode()
    assert text.startswith(before)
    assert after is None or text == after
    assert after or text.count("\n") == before.count("\n") + 1
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for name in (".env", ".usher/dev.env", ".usher-spool/1.spool", "usher.db", "usher.db-wal"):
        subprocess.run(["git", "check-ignore", "-q", name], cwd=tmp_path, check=True)


def link_to_nothing(path: Path) -> None:
    """A link whose file is gone."""
    path.symlink_to("nowhere")


def link_to_a_file(path: Path) -> None:
    """A link that leads to a file."""
    path.with_name("elsewhere").write_text("")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        (".gitignore", link_to_a_file, "is a link, which git does not follow"),
        (".gitignore", link_to_nothing, "is a link, which git does not follow"),
        (".gitignore", Path.mkdir, "is no file"),
        ("policy.toml", link_to_nothing, "is a link to nowhere, which is not there"),
        ("policy.toml", Path.mkdir, "is no file"),
        (".env", link_to_nothing, "is a link to nowhere, which is not there"),
        (".env", Path.mkdir, "is no file"),
        (".env", os.mkfifo, "is no file"),
    ],
)
def test_what_is_no_file_is_refused(
    bare: Program, tmp_path: Path, name: str, make: Callable[[Path], None], why: str
) -> None:
    """Before anything is written: a secret must not stand where git or Usher does not look."""
    make(tmp_path / name)
    before = names(tmp_path)
    assert why in bare("init", code=1).output
    assert names(tmp_path) == before


def test_a_kept_env_that_others_may_read_is_said(bare: Program, tmp_path: Path) -> None:
    """With the command that mends it; one that is stricter than ours is fine."""
    env = tmp_path / ".env"
    env.write_text(f"USHER_WEBHOOK_SECRETS={'s' * 40}\n")
    env.chmod(0o644)
    assert f".env has mode 0644, not 0600. Others may read it: chmod 600 {env}" in " ".join(
        bare("init").output.split("\n")
    )
    for mode in (0o600, 0o400):
        env.chmod(mode)
        assert bare.json("init")["warnings"] == []


@pytest.mark.parametrize("text", ["OTHER=1\n", "USHER_WEBHOOK_SECRETS=\n", ""])
def test_a_kept_env_without_a_secret_needs_one_first(
    bare: Program, tmp_path: Path, text: str
) -> None:
    """Nothing runs before."""
    assert bare.json("init")["next"][0] == "usher dev"
    (tmp_path / ".env").write_text(text)
    assert bare.json("init")["next"][:2] == ["usher secret", "usher dev"]
    assert "make one, for USHER_WEBHOOK_SECRETS" in bare("init").output


def git(folder: Path, *arguments: str) -> None:
    """Run git there."""
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_an_env_that_git_has_already_is_said(bare: Program, tmp_path: Path) -> None:
    """No .gitignore counts for it; the doctor sees it, too."""
    git(tmp_path, "init", "-q")
    assert bare.json("init")["warnings"] == []
    git(tmp_path, "add", "-f", ".env")
    [warning] = bare.json("init")["warnings"]
    assert "git rm --cached .env" in warning
    [found] = [found for found in bare.json("doctor", code=1) if not found["well"]]
    assert found["key"] == "git.tracked"


def test_without_git_nothing_is_said_of_it(
    bare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may be copied to where there is none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bare.json("init")["warnings"] == []


@pytest.mark.parametrize("arguments", [[], ["below"], ["{made}"]])
def test_a_working_folder_that_is_gone_is_a_sentence(
    bare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Also where another folder is named."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    made = [text.format(made=tmp_path / "made") for text in arguments]
    assert "The working folder has been removed." in bare("init", *made, code=1).output


def test_a_link_in_a_circle_is_a_sentence(bare: Program, tmp_path: Path) -> None:
    """It leads to no folder."""
    (tmp_path / "circle").symlink_to("circle")
    assert "circle" in bare("init", "circle/below", code=1).output


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_cannot_be_written_whole_is_not_there(
    bare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """A full disk, at each file; the next try makes what is missing."""
    real, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    (tmp_path / ".gitignore").write_text("*.pyc\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        said = bare("init", code=1).output
    assert "cannot be written: No space left on device." in said
    missing = ("policy.toml", ".env") if after < 2 else (".env",)
    assert not names(tmp_path) & set(missing[-1:] if after else missing)
    assert ((tmp_path / ".gitignore").read_text() == "*.pyc\n") == (after == 0)
    assert bare.json("init")["made"][-1] == ".env"


def test_a_folder_that_cannot_be_made_is_said(bare: Program, tmp_path: Path) -> None:
    """A file is in its place, or in the place of one above it."""
    (tmp_path / "file").write_text("")
    assert "is a file" in bare("init", "file", code=2).output
    assert "cannot be written: Not a directory." in bare("init", "file/below", code=1).output


NETLIFY = '[build]\npublish = "site"\n[context.branch-deploy]\npublish = "/preview"\n'


@pytest.mark.parametrize(
    ("folder", "files", "why"),
    [
        (".", {"index.html": ""}, "It holds index.html"),
        ("public", {}, "Folders called public"),
        ("a/Dist/b", {}, "Folders called Dist"),
        ("www/site", {}, "Folders called www"),
        ("public_html/.git/..", {".git/HEAD": ""}, "Folders called public_html"),
        ("site", {"netlify.toml": NETLIFY}, "netlify.toml publishes it"),
        ("site/deep/er", {"netlify.toml": NETLIFY}, 'publish = "site"'),
        ("preview", {"netlify.toml": NETLIFY}, 'publish = "/preview"'),
        (".", {"netlify.toml": '[build]\npublish = "."'}, "netlify.toml publishes it"),
        ("back", {"netlify.toml": '[build]\npublish = ""'}, "netlify.toml publishes it"),
        ("web/a", {"netlify.toml": '[build]\nbase = "web"\npublish = "a"'}, "publishes"),
        (
            "web/a",
            {"netlify.toml": '[build]\nbase = "web"\npublish = "web/a"'},
            "publishes",
        ),
        (".", {"netlify.toml": "[build"}, "cannot be read"),
        (".", {"netlify.toml": "[build]\ncommand = 'x'"}, 'has no line publish = "…"'),
        ("back", {"netlify.toml": "[dev]\nport = 1\n[context]\nx = 1\n"}, "has no line publish"),
        ("front", {"netlify.toml": '[build]\nbase = "front"'}, "has no line publish"),
        ("x", {"netlify.toml": NETLIFY + '[context.a]\nbase="x"\npublish="."'}, "publishes it"),
        ("y", {"netlify.toml": '[build]\npublish="z"\n[context.a]\npublish="y"'}, "publishes it"),
        (
            "app",
            {"netlify.toml": '[build]\npublish = "."', "app/netlify.toml": NETLIFY},
            'publish = "."',
        ),
        ("a", {"netlify.toml": '[Build]\nPublish = "a"\n'}, 'publish = "a"'),
        ("www/example.com/usher", {"www/example.com/app.py": ""}, "Folders called www"),
        ("www/example.com/html/x", {}, "Folders called"),
        ("www", {"www/html/page": ""}, "Folders called www"),
    ],
)
def test_a_published_folder_is_refused(
    bare: Program, tmp_path: Path, folder: str, files: dict[str, str], why: str
) -> None:
    """Anybody could read the secret there; not even the folder is made."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    said = bare("init", folder, code=1).output
    assert why in said
    assert "Choose another folder" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        (".", {"netlify.toml": NETLIFY}),
        ("back", {"netlify.toml": NETLIFY, "site/index.html": ""}),
        ("publication", {}),
        (".", {"netlify.toml": '[build]\nbase = "front"'}),
        ("app", {"netlify.toml": NETLIFY, "app/netlify.toml": '[build]\npublish = "dist"'}),
        ("www/example.com/usher", {"www/example.com/html/page": ""}),
        ("www/example.com", {"www/example.com/public/page": ""}),
        ("build/project/back", {"build/project/.git/HEAD": ""}),
        ("inner/back", {"netlify.toml": '[build]\npublish = "."', "inner/.git/HEAD": ""}),
    ],
)
def test_a_folder_that_nobody_publishes_is_taken(
    bare: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    files: dict[str, str],
) -> None:
    """Beside what is published; above a project, names and files say nothing of it."""
    monkeypatch.setattr("usher.cli.git._git", lambda *_: None)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert bare.json("init", folder)["made"] == [".gitignore", "policy.toml", ".env"]


def test_a_link_leads_to_where_it_is_looked_at(bare: Program, tmp_path: Path) -> None:
    """An innocent name of a published folder."""
    (tmp_path / "public").mkdir()
    (tmp_path / "private").symlink_to(tmp_path / "public")
    assert "Folders called public" in bare("init", "private", code=1).output
