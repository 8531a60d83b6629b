"""Where settings come from: the environment, .env, and what ``usher dev`` made; in this order."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.support import SECRET
from usher import __version__
from usher.cli.dev import command as dev_module
from usher.cli.dev.folder import held, make_state, told
from usher.cli.dev.guide import guide
from usher.cli.environment import dev_environment, environment, installation
from usher.core.settings import PREFIX, Settings

REAL, FILE, DEV = ("r" * 40, "f" * 40, "d" * 40)


@pytest.fixture
def folder(bare: Program, tmp_path: Path) -> Path:
    """An empty working directory."""
    return tmp_path


@pytest.fixture
def dev_env(folder: Path) -> Path:
    """What an earlier ``usher dev`` left."""
    path = folder / ".usher" / "dev.env"
    path.parent.mkdir()
    path.write_text(f"USHER_WEBHOOK_SECRETS={DEV}\nUSHER_DATABASE_URL=sqlite:///dev.db\n")
    return path


def secret() -> str | None:
    """The secret that a command would use."""
    return environment().get("USHER_WEBHOOK_SECRETS")


def test_the_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name by name: what the environment does not set still comes from .env."""
    (folder / ".env").write_text(f"USHER_WEBHOOK_SECRETS={FILE}\nUSHER_POLICY=other.toml\n")
    assert secret() == FILE
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", REAL)
    assert environment() == {"USHER_WEBHOOK_SECRETS": REAL, "USHER_POLICY": "other.toml"}


def test_a_file_of_the_environment_wins_over_a_value_of_env(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other way round: value and file are two forms of one setting."""
    (folder / ".env").write_text(f"USHER_WEBHOOK_SECRETS={FILE}\n")
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS_FILE", "/run/secrets/webhook")
    assert environment() == {"USHER_WEBHOOK_SECRETS_FILE": "/run/secrets/webhook"}
    (folder / ".env").write_text("USHER_WEBHOOK_SECRETS_FILE=/run/secrets/webhook\n")
    monkeypatch.delenv("USHER_WEBHOOK_SECRETS_FILE")
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", REAL)
    assert environment() == {"USHER_WEBHOOK_SECRETS": REAL}


def test_what_dev_made_is_no_part_of_an_installation_with_files(
    dev_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret in a file is a real one, too."""
    monkeypatch.setenv("USHER_JWT_SECRET_FILE", "/run/secrets/jwt")
    assert installation() == {"USHER_JWT_SECRET_FILE": "/run/secrets/jwt"}


def test_what_dev_made_is_used_where_no_secret_is_set(dev_env: Path) -> None:
    """So that commands beside ``usher dev`` need no setting."""
    assert secret() == DEV
    assert environment()["USHER_DATABASE_URL"] == "sqlite:///dev.db"


def test_the_local_identity_is_known_as_long_as_dev_runs(
    dev_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And, like its secrets, never for what serves an installation; what was left is removed."""
    name = "USHER_IDENTITY_URL"
    with held("http://127.0.0.1:1"), told({name: "http://127.0.0.1:1/identity"}):
        assert environment()[name] == "http://127.0.0.1:1/identity"
        monkeypatch.setenv("USHER_WEBHOOK_SECRETS", REAL)
        assert name not in installation()
        monkeypatch.delenv("USHER_WEBHOOK_SECRETS")
    assert name not in environment()
    (dev_env.parent / "identity.env").write_text(f"{name}=http://127.0.0.1:2\n")
    assert name not in environment()
    with held("http://127.0.0.1:1"):
        assert name not in environment()


@pytest.mark.parametrize("value", [REAL, "", "short"])
def test_what_dev_made_never_mixes_into_an_installation(
    dev_env: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Any secret that is set, even an empty or wrong one, keeps dev.env out entirely."""
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", value)
    assert environment() == {"USHER_WEBHOOK_SECRETS": value}


def test_a_secret_in_the_file_keeps_dev_out_as_well(folder: Path, dev_env: Path) -> None:
    """.env counts as set."""
    (folder / ".env").write_text(f"USHER_WEBHOOK_SECRETS={FILE}\n")
    assert environment() == {"USHER_WEBHOOK_SECRETS": FILE}


def test_other_settings_win_over_what_dev_made(
    folder: Path, dev_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is named is never replaced by the one for play, nor gets its secrets."""
    (folder / ".env").write_text("USHER_DATABASE_URL=sqlite:///file.db\n")
    assert environment() == {"USHER_DATABASE_URL": "sqlite:///file.db"}
    monkeypatch.setenv("USHER_DATABASE_URL", "sqlite:///real.db")
    assert environment()["USHER_DATABASE_URL"] == "sqlite:///real.db"


def test_only_our_names_are_taken_from_the_file(folder: Path) -> None:
    """.env often belongs to several programs."""
    (folder / ".env").write_text(f"PATH=/nowhere\nUSHER_WEBHOOK_SECRETS='{FILE}'  # ours\nX\n")
    assert environment() == {"USHER_WEBHOOK_SECRETS": FILE}


def test_a_command_reads_the_file(bare: Program, folder: Path) -> None:
    """End to end: secret and database by .env alone."""
    (folder / ".env").write_text(
        f"USHER_WEBHOOK_SECRETS={SECRET.decode()}\nUSHER_DATABASE_URL=sqlite:///mine.db\n"
    )
    assert bare.json("users", "list")["users"] == []
    assert (folder / "mine.db").exists()
    assert not any(name.startswith("USHER_") for name in os.environ)


def test_a_file_that_is_no_text_is_no_traceback(bare: Program, folder: Path) -> None:
    """Saved in another encoding: a sentence that names the file."""
    (folder / ".env").write_bytes(b"USHER_POLICY=\xe9.toml\n")
    assert ".env" in bare("users", "list", code=1).stderr


def test_dev_makes_secrets_for_this_folder_only(folder: Path) -> None:
    """Readable by its owner alone, whatever the umask, and good settings."""
    before = os.umask(0)
    try:
        make_state()
    finally:
        os.umask(before)
    path = folder / ".usher" / "dev.env"
    assert path.stat().st_mode & 0o777 == 0o600
    settings = Settings.from_env(environment())
    assert settings.database_url == "sqlite:///.usher/usher.db"
    assert len(settings.webhook_secrets[0]) == 64
    assert settings.jwt_secret not in (None, settings.webhook_secrets[0])


def test_dev_keeps_what_it_made(folder: Path) -> None:
    """A second start has the same users and secrets."""
    make_state()
    first = (folder / ".usher" / "dev.env").read_bytes()
    make_state()
    assert (folder / ".usher" / "dev.env").read_bytes() == first


def test_dev_adds_what_its_file_lacks(dev_env: Path) -> None:
    """Otherwise a default would count, such as the database of the installation."""
    dev_env.write_text(f"USHER_WEBHOOK_SECRETS={DEV}\nUSHER_DATABASE_URL=")
    make_state()
    found = dev_environment()
    assert found["USHER_WEBHOOK_SECRETS"] == DEV
    assert found["USHER_DATABASE_URL"] == "sqlite:///.usher/usher.db"
    assert len(found["USHER_JWT_SECRET"]) == 64


def an_installation(folder: Path) -> None:
    """A .env with a value for every setting, some of them far away."""
    lines = [f"{PREFIX}{name.upper()}=of-env\n" for name in Settings.__struct_fields__]
    (folder / ".env").write_text("".join(lines))


def test_dev_never_uses_what_env_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database, secret or Identity of an installation; its rules and limits count.

    A new setting has to be put on one side or the other.
    """
    an_installation(folder)
    monkeypatch.setenv("USHER_DATABASE_URL", " ")
    make_state()
    found = dev_environment()
    assert found["USHER_DATABASE_URL"] == "sqlite:///.usher/usher.db"
    assert {name.removeprefix(PREFIX) for name, value in found.items() if value == "of-env"} == {
        "ADMIN_ROLE", "ALLOWED_ORIGINS", "API_ADDRESS_REQUESTS_PER_MINUTE", "AUDIT_RETENTION_DAYS",
        "API_REQUESTS_PER_MINUTE", "DOOR", "DOOR_LIMIT", "LEDGER_RETENTION_DAYS", "MAX_BODY_BYTES",
        "METRICS_TOKEN", "POLICY", "POLICY_SHADOW", "SYNC_INTERVAL_SECONDS", "TRUSTED_PROXIES",
        "DENIED_CHANGES", "HANDLERS", "PENDING_DAYS", "SINK_NETWORKS",
        "WEBHOOK_AHEAD_SECONDS", "WEBHOOK_TOLERANCE_SECONDS",
    }  # fmt: skip
    assert set(installation().values()) == {"of-env", " "}


def test_commands_beside_a_running_dev_are_about_it(folder: Path) -> None:
    """As long as it runs; then about .env again. Servers and migrations never follow it."""
    an_installation(folder)
    make_state()
    with held("http://127.0.0.1:1"), told({"USHER_IDENTITY_URL": "http://127.0.0.1:1/identity"}):
        assert environment()["USHER_DATABASE_URL"] == "sqlite:///.usher/usher.db"
        assert environment()["USHER_IDENTITY_URL"] == "http://127.0.0.1:1/identity"
        assert installation()["USHER_DATABASE_URL"] == "of-env"
    assert environment() == installation()


def test_a_command_says_that_it_is_about_the_running_dev(bare: Program) -> None:
    """On standard error, where .env names another database."""
    bare("init")
    make_state()
    with held("http://127.0.0.1:1"):
        found = bare("users", "list", "--json")
        assert json.loads(found.stdout)["users"] == []
        assert "`usher dev` that runs here" in found.stderr
        assert bare("token", "ada@example.com", code=1).stderr.count("USHER_JWT_SECRET") == 0
    assert bare("users", "list", "--json").stderr.count("usher dev") == 0


def test_dev_runs_on_what_the_environment_sets_and_says_so(
    bare: Program, folder: Path, served: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment alone beats its own state. No password is printed."""
    assert "Database: .usher/usher.db\n" in bare("dev", "--port", "9999").stdout
    (folder / ".env").write_text(f"USHER_WEBHOOK_SECRETS={FILE}\nUSHER_ADMIN_ROLE=boss\n")
    said = bare("dev", "--port", "9999").stdout
    assert "Set aside, for the installation of .env has it: USHER_WEBHOOK_SECRETS\n" in said
    assert "Your environment" not in said
    monkeypatch.setenv("USHER_DATABASE_URL", "postgresql://me:hunter2secret@db.example.com/real")
    said = bare("dev", "--port", "9999").stdout
    assert "Database: real of postgresql at db.example.com\n" in said
    assert "Your environment sets USHER_DATABASE_URL," in said
    assert "hunter2secret" not in said
    monkeypatch.setenv("USHER_DATABASE_URL", "hunter2secret")
    assert "hunter2secret" not in bare("dev", "--port", "9999").stdout


def test_with_another_identity_tokens_are_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret of the local one signed none of them."""
    make_state()
    monkeypatch.setenv("USHER_IDENTITY_URL", "https://example.com/.netlify/identity")
    assert "USHER_JWT_SECRET" not in dev_environment()
    assert "/api/me" not in guide(8888, local=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What ``usher dev`` would have served."""
    calls: list[tuple[str, int]] = []

    def supervise(url: str, asked: str, first: Callable[[], None]) -> None:
        calls.append((url, json.loads(asked)["port"]))
        first()

    monkeypatch.setattr("usher.cli.dev.supervise.supervise", supervise)
    monkeypatch.setattr(dev_module, "check_address", lambda *_: None)
    return calls


def test_fresh_forgets_users_and_secrets(
    bare: Program, folder: Path, dev_env: Path, served: list[tuple[str, int]]
) -> None:
    """Without it they are kept; with it everything is made anew."""
    (folder / ".usher" / "usher.db").write_text("people")
    bare("dev", "--port", "9999")
    assert secret() == DEV
    bare("dev", "--port", "9999", "--fresh")
    assert secret() not in (DEV, None)
    assert {path.name for path in (folder / ".usher").iterdir()} == {
        ".gitignore", "dev.env", "dev.lock",
    }  # fmt: skip
    assert served == [("http://127.0.0.1:9999", 9999)] * 2


def test_dev_says_what_to_try(bare: Program, served: list[tuple[str, int]]) -> None:
    """On this port; dev listens on loopback only."""
    said = bare("dev", "--port", "9999").stdout
    assert "Usher listens at http://127.0.0.1:9999" in said
    assert "usher trigger signup --email ada@example.com" in said
    assert served[0][0] == "http://127.0.0.1:9999"


def test_what_dev_says_to_try_reaches_its_port(
    bare: Program, served: list[tuple[str, int]]
) -> None:
    """On another port than the usual one, `usher trigger` must be told where."""
    said = bare("dev", "--port", "9999").stdout
    commands = [line for line in said.splitlines() if "usher trigger" in line]
    assert commands
    assert all("9999" in line for line in commands)


@pytest.mark.parametrize("arguments", [["dev", "--port", "0"], ["serve", "--port", "65536"]])
def test_a_port_that_is_none_is_wrong_usage(bare: Program, arguments: list[str]) -> None:
    """1 to 65535."""
    assert "is not in the range" in bare(*arguments, code=2).stderr


def test_secret_prints_64_hex_digits_each_time_others(bare: Program) -> None:
    """256 bits, good as a setting as they are; needs no setting itself."""
    printed = {bare("secret").stdout for _ in range(5)}
    assert len(printed) == 5
    for line in printed:
        assert len(line) == 65
        assert int(line, 16) > 0
        assert Settings.from_env({"USHER_WEBHOOK_SECRETS": line}).webhook_secrets


def test_help_and_version_need_nothing(bare: Program) -> None:
    """Exit code 0, from any folder."""
    for flag in ("-h", "--help"):
        assert " [OPTIONS] COMMAND" in bare(flag).stdout
    assert bare("--version").stdout == f"usher-identity, version {__version__}\n"
    assert "Usage:" in bare(code=(0, 2)).output


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "list"],
        ["events", "list"],
        ["policy", "explain", "some-id"],
        ["policy", "shadow"],
        ["trigger", "signup"],
        ["db", "upgrade"],
        ["serve", "--port", "1"],
    ],
    ids=" ".join,
)
def test_a_missing_secret_is_said_by_every_command_that_needs_settings(
    bare: Program, folder: Path, arguments: list[str]
) -> None:
    """One sentence with the remedy on standard error, exit code 1, nothing created."""
    result = bare(*arguments, code=1)
    assert result.stdout == ""
    assert result.stderr == (
        "USHER_WEBHOOK_SECRETS is not set, so no event could be verified. "
        "Make one with: usher secret\n"
    )
    assert list(folder.iterdir()) == []


def test_the_guide_names_only_commands_that_work(bare: Program, tmp_path: Path) -> None:
    """A token can be made where its secret is known: with the local Identity, after `init` too."""
    make_state()
    assert "/api/me" in guide(8888, local=True)
    bare("init")
    assert "/api/me" in guide(8888, local=True)
    (tmp_path / ".usher" / "dev.env").unlink()
    assert "usher token" not in guide(8888, local=True)
    assert "policy explain ada@example.com\n\nA change of" in guide(8888, local=True)


def test_an_env_file_of_somebody_else_is_said(
    bare: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`usher init` makes it for its owner's eyes only; another user's command says so."""

    def closed(_path: Path) -> dict[str, str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("usher.cli.environment.dotenv_values", closed)
    assert bare("users", "list", code=1).stderr == ".env cannot be read: Permission denied.\n"
