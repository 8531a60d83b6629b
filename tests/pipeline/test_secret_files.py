"""Values from files: each secret and the database's address, and nothing of a file in an error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT
from usher.core.bounds import MAX_SECRET_FILE_BYTES
from usher.core.errors import SettingsError
from usher.core.settings import FROM_FILES, PREFIX, Settings

SECRET = "s3cr3t" * 8
VALUES = {
    "USHER_DATABASE_URL": f"postgresql://db.example/usher?user=usher&password={SECRET}",
    "USHER_WEBHOOK_SECRETS": f"{SECRET},{'old' * 12}",
}
PARTNERS = {"USHER_BRIDGE_SECRET": {"USHER_BRIDGE_URL": "https://a.example/bridge"}}
every_secret = pytest.mark.parametrize("name", sorted(FROM_FILES))


def environ(name: str, path: Path, **more: str) -> dict[str, str]:
    """An environment in which this variable's value is in a file."""
    return {
        **({} if name == "USHER_WEBHOOK_SECRETS" else {"USHER_WEBHOOK_SECRETS": "w" * 32}),
        **PARTNERS.get(name, {}),
        f"{name}_FILE": str(path),
        **more,
    }


def problem(name: str, path: Path, **more: str) -> str:
    """The one sentence about it."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ(name, path, **more))
    (sentence,) = caught.value.problems
    assert SECRET not in sentence
    return sentence


def test_each_setting_that_holds_a_secret_may_be_in_a_file() -> None:
    """Told by their names, so that a new one is not forgotten."""
    texts = {name for name, kind in Settings.__annotations__.items() if kind != "bool"}
    names = {PREFIX + name.upper() for name in texts}
    secret = {name for name in names if re.search("SECRET|TOKEN|PASSWORD|KEY", name)}
    assert secret | {"USHER_DATABASE_URL"} == FROM_FILES


@every_secret
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_value_of_a_file_is_the_value(name: str, end: str, tmp_path: Path) -> None:
    """As if the environment had it; the line's end is not part of it."""
    value, path = VALUES.get(name, SECRET), tmp_path / "value"
    path.write_bytes(f"{value}{end}".encode())
    given = environ(name, path)
    del given[f"{name}_FILE"]
    assert Settings.from_env(environ(name, path)) == Settings.from_env({**given, name: value})


@every_secret
def test_a_value_and_a_file_are_one_too_many(name: str, tmp_path: Path) -> None:
    """Nobody should have to know which of them wins. A blank one is none: images name defaults."""
    value, path = VALUES.get(name, SECRET), tmp_path / "value"
    path.write_text(value)
    both = problem(name, path, **{name: value})
    assert both == f"{name}_FILE and {name} are both set. Take one of them out."
    assert Settings.from_env(environ(name, path, **{name: " "}))


@every_secret
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "which cannot be read: No such file or directory."),
        (b"", "which is empty."),
        (b" \n", "which is empty."),
        (f"{SECRET}\n{SECRET}\n".encode(), "which holds more than one line."),
        (SECRET.encode() + b"\xff", "which is not UTF-8 text."),
        (SECRET.encode() * 2000, f"which is larger than {MAX_SECRET_FILE_BYTES} bytes."),
    ],
    ids=["missing", "empty", "blank", "two lines", "binary", "large"],
)
def test_a_file_that_cannot_be_used_is_named(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    """The setting, the path and what is wrong; never what is in it."""
    path = tmp_path / "value"
    if content is not None:
        path.write_bytes(content)
    assert problem(name, path) == f"{name}_FILE names {path}, {words}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """As a mount makes one where the file is missing."""
    sentence = problem("USHER_JWT_SECRET", tmp_path)
    assert sentence.endswith("which cannot be read: Is a directory.")


def test_what_a_file_holds_is_judged_like_a_value(tmp_path: Path) -> None:
    """By the name of the setting."""
    path = tmp_path / "value"
    path.write_text("short")
    words = "USHER_JWT_SECRET holds a secret of 5 bytes"
    assert problem("USHER_JWT_SECRET", path).startswith(words)


def test_other_settings_have_no_file(tmp_path: Path) -> None:
    """A path would be taken for a policy, and a slip of the pen for a setting."""
    path = tmp_path / "role"
    path.write_text("admin")
    words = "USHER_ADMIN_ROLE_FILE is not a setting of Usher. See docs/settings.md."
    assert problem("USHER_ADMIN_ROLE", path) == words


def test_the_page_names_each_of_them() -> None:
    """docs/settings.md says the rule once, and lists what it is for."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    section = page.partition("## Secrets from files")[2].partition("\n## ")[0]
    assert {f"{name}_FILE" for name in FROM_FILES} <= set(re.findall(r"\bUSHER_\w+", section))
