"""`usher netlify build`: what is made, from what, and what it leaves alone."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from tests.netlify.conftest import VARIABLES, chosen, make_site, run_build
from tests.support import ROOT
from usher.core.errors import BuildError, SettingsError
from usher.netlify.build import MARK, _function_files, _move, build
from usher.netlify.configuration import MADE
from usher.netlify.contents import gather

BUNDLE = Path("netlify/usher")


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_input_gives_the_same_bytes(site: Path, tmp_path: Path) -> None:
    """A snapshot alone differs: it has a hash seed of its own, which nobody outside may know."""
    again = make_site(tmp_path / "again")
    done = run_build(again, "--plain", "--json", **VARIABLES)
    assert done.returncode == 0, done.stderr
    first, second = files(site / "netlify"), files(again / "netlify")
    snapshots = {name for name in first if name.endswith(".snapshot")}
    assert snapshots == {"usher/api.snapshot", "usher/identity.snapshot"}
    assert second == {name: data for name, data in first.items() if name not in snapshots}
    told = json.loads(done.stdout)
    made = ("identity", "api", "usher-maintenance")
    assert told["functions"] == [f"netlify/functions/{name}.mjs" for name in made]
    assert told["bytes"] == sum(told["files"].values())


def test_the_bundle_has_what_runs_there_and_nothing_else(site: Path) -> None:
    """The policy and the modules that settings name; neither commands nor secrets nor tests."""
    with ZipFile(site / BUNDLE / "app.zip") as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names if "dist-info" not in name}
    assert {"usher", "mysite", "pg8000", "sqlalchemy", "ssl.pyc"} <= tops
    assert not tops & {"click", "alembic", "granian", "rich", "tests", "psycopg"}
    assert "mysite/hooks.pyc" in names
    assert not any(name.startswith(("usher/cli", "usher/emulator")) for name in names)
    assert not any(name.endswith(".py") for name in names)
    secret = b"not-for-the-bundle"
    assert [name for name, data in files(site / "netlify").items() if secret in data] == []


def test_the_licence_of_all_that_is_shipped_is_listed(site: Path) -> None:
    """Of every locked package, and of Python itself."""
    text = (site / BUNDLE / "LICENSES.txt").read_text()
    lock = (ROOT / "netlify" / "requirements.lock").read_text()
    locked = re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE)
    assert len(locked) > 10
    wanted = [f"{name.replace('-', '_')} {version}\n" for name, version in locked]
    wanted += ["pyodide 314.0.7\n", "CPython 3.14.2\n"]
    assert [each for each in wanted if each not in text] == []


def test_others_may_read_the_bundle(site: Path) -> None:
    """The user that runs functions is not the one that built them."""
    paths = [site / BUNDLE, *(site / BUNDLE).rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o755, 0o644}


def test_names_that_netlify_calls_itself_are_refused(tmp_path: Path) -> None:
    """Usher could verify nothing there, and would refuse every sign-up of the site."""
    folder = tmp_path / "netlify" / "functions"
    folder.mkdir(parents=True)
    (folder / "identity-signup.ts").touch()
    with pytest.raises(BuildError, match=r"identity-signup.*outgoing webhook"):
        build(tmp_path, {})


def test_a_file_of_somebody_else_is_never_overwritten(tmp_path: Path) -> None:
    """Nor does another function get the same name beside it."""
    (tmp_path / "netlify.toml").write_text('[functions]\ndirectory = "lambda/"\n')
    folder = tmp_path / "lambda"
    folder.mkdir()
    for name in ("api.mjs", "api.ts", "identity.js"):
        mine = folder / name
        mine.write_text("export default () => new Response('mine')\n")
        with pytest.raises(BuildError, match=name):
            build(tmp_path, {})
        mine.unlink()
    (tmp_path / BUNDLE).mkdir(parents=True)
    (tmp_path / BUNDLE / "mine.txt").touch()
    with pytest.raises(BuildError, match="netlify/usher"):
        build(tmp_path, {})
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "mine.txt",
        "netlify.toml",
    ]


def test_a_function_brings_its_own_snapshot_alone(site: Path) -> None:
    """Each is an archive of its own, of at most 35 MB."""
    text = (site / "netlify" / "functions" / "api.mjs").read_text()
    assert text.startswith(MADE)
    assert "new URL('../usher/usher.mjs', import.meta.url)" in text
    assert "!../usher/identity.snapshot" in text
    bundle = site / BUNDLE
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for path in bundle.rglob("*"):
            if path.name != "identity.snapshot":
                archive.write(path, path.relative_to(bundle))
    assert len(packed.getvalue()) < 35_000_000


def test_functions_are_made_where_netlify_toml_has_them(tmp_path: Path) -> None:
    """They find the bundle from there; the API in Lambda's form where the platform is trusted."""
    settings = {"USHER_TRUST_PLATFORM": "netlify-v1"}
    made = _function_files(tmp_path, tmp_path / "src" / "lambda", chosen(settings))
    api = made[tmp_path / "src" / "lambda" / "api.mjs"]
    assert "new URL('../../netlify/usher/usher.mjs', import.meta.url)" in api
    assert "export const handler = serveLambda('api')" in api
    assert "export default serve" in made[tmp_path / "src" / "lambda" / "identity.mjs"]
    assert (
        '"schedule": "*/5 * * * *"' in made[tmp_path / "src" / "lambda" / "usher-maintenance.mjs"]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"USHER_HANDLERS": "mysite.hooks"}, "names the module mysite, which is not in"),
        ({"USHER_POLICY": "rules:decide"}, "names the module rules, which is not in"),
        ({"USHER_POLICY": "/etc/policy.toml"}, "must be a path from the site's folder"),
        ({"USHER_POLICY": "../policy.toml"}, "outside the site's folder"),
    ],
)
def test_what_a_setting_names_must_be_in_the_site(
    settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    """The functions have nothing else."""
    (tmp_path / "policy.toml").touch()
    site = tmp_path / "site"
    site.mkdir()
    with pytest.raises(BuildError, match=words):
        gather(site, chosen(settings), [])


def test_a_setting_that_no_function_could_use_ends_the_build(tmp_path: Path) -> None:
    """Otherwise each request would be answered 500, and only the log would know why."""
    with pytest.raises(SettingsError, match="USHER_HANDLERS must name modules"):
        build(tmp_path, {"USHER_HANDLERS": "../hooks"})
    with pytest.raises(SettingsError, match="USHER_TRUST_PLATFORM must be"):
        build(tmp_path, {"USHER_TRUST_PLATFORM": "netlify"})


def test_code_that_imports_what_functions_have_not_ends_the_build(tmp_path: Path) -> None:
    """The build loads handlers and a policy in code once, in the Python of the bundle."""
    site = make_site(tmp_path)
    (site / "mysite" / "hooks.py").write_text("import urllib3\n")
    done = run_build(site, "--plain", **VARIABLES)
    assert done.returncode == 1
    assert "mysite.hooks cannot be imported: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (site / "netlify").exists()


def test_a_build_that_is_broken_off_stands_in_no_later_one_s_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bundle goes as a whole: half of one, without its mark, would be refused."""
    target, made = tmp_path / "usher", tmp_path / "made"
    for folder in (target, made):
        folder.mkdir()
        (folder / MARK).write_text(folder.name)
    real = shutil.rmtree

    def broken_off(path: Path, *, ignore_errors: bool = False) -> None:
        if path.exists():
            (path / MARK).unlink()
            raise KeyboardInterrupt
        real(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", broken_off)
        with pytest.raises(KeyboardInterrupt):
            _move(made, target)
    assert (target / MARK).read_text() == "made"
    _move(made, target)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["made", "usher"]


def test_hidden_files_of_a_module_stay_where_they_are(tmp_path: Path) -> None:
    """A ``.env`` beside the handlers would be carried into the functions."""
    site = make_site(tmp_path)
    package = site / "mysite"
    (package / ".cache").mkdir()
    for name in (".env", ".cache/token", "words.txt"):
        (package / name).write_text("x")
    named = {
        name for name in gather(site, chosen(VARIABLES), []).archive if name.startswith("mysite/")
    }
    assert named == {"mysite/__init__.py", "mysite/hooks.py", "mysite/words.txt"}


def test_lists_beside_the_policy_come_along(tmp_path: Path) -> None:
    """Under the same path from the site's folder."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "policy.toml").write_text(
        '[admission]\ndeny_email_domains = { file = "lists/domains.txt" }\n'
    )
    (tmp_path / "rules" / "lists").mkdir()
    (tmp_path / "rules" / "lists" / "domains.txt").write_text("mailinator.com\n")
    found = gather(tmp_path, chosen({"USHER_POLICY": "rules/policy.toml"}), []).site
    assert sorted(found) == ["rules/lists/domains.txt", "rules/policy.toml"]
