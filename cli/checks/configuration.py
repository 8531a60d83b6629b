"""The checks of settings, their secrets, and of git, which should have none of them."""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.cli.environment import ENV
from usher.cli.git import tracks
from usher.cli.output import counted
from usher.core.errors import SettingsError
from usher.core.secret_files import SUFFIX, named_files, other_name
from usher.core.settings import FROM_FILES, PREFIX, Settings

MIN_VARIETY: Final = 10
"""Different bytes in a secret; 64 random hex digits have nearly always more than twelve."""
_NAMES: Final = frozenset(PREFIX + name.upper() for name in Settings.__struct_fields__)
_FILES: Final = frozenset(name + SUFFIX for name in FROM_FILES)

FILE = Kind(
    "settings.file",
    "{problem}",
    (
        Advice(
            "The file was saved in another encoding, or belongs to somebody else.",
            "Save .env as UTF-8 text and make it readable for the user that runs Usher.",
        ),
    ),
)
MISSING = Kind(
    "settings.missing",
    "{problem}",
    (
        Advice(
            "The command was started in another folder than the one with .env.",
            "Change to that folder ({folder} has none).",
        ),
        Advice(
            "The server gets its settings from elsewhere, such as systemd's EnvironmentFile.",
            "Give them to this command as well: set -a; . FILE; set +a",
        ),
        Advice(
            "The installation is new.",
            "Make a .env with a secret in it, and give Identity the same secret.",
            commands=("usher init",),
        ),
    ),
)
NO_SECRET = Kind(
    "settings.no_secret",
    "{problem}",
    (
        Advice(
            ".env is here and has none.",
            "Set USHER_WEBHOOK_SECRETS to a new secret in it, and give Identity the same.",
            commands=("usher secret",),
            settings=("USHER_WEBHOOK_SECRETS",),
        ),
    ),
)
UNKNOWN = Kind(
    "settings.unknown",
    "{problem}",
    (
        Advice(
            "The name is misspelt, or another version had it.",
            "Write it as docs/settings.md does, or remove it, in .env and in the environment.",
        ),
    ),
)
INVALID = Kind(
    "settings.invalid",
    "{problem}",
    (
        Advice(
            "It was mistyped or cut off.",
            "Set {setting} as docs/settings.md says.",
            settings=("{setting}",),
        ),
        Advice(
            "The environment has it as well as .env, and wins.",
            "Take it out of the environment.",
        ),
    ),
)
UNUSABLE_FILE = Kind(
    "settings.secret_file",
    "{problem}",
    (
        Advice(
            "The path is wrong, or what should be in the file never came there.",
            "Put the value into the file, on one line, or set {setting} to the file that has it.",
            settings=("{setting}",),
        ),
        Advice(
            "The file belongs to another user than the one that runs Usher.",
            "Give it to that user, and to nobody else.",
        ),
    ),
)
GIVEN_TWICE = Kind(
    "settings.given_twice",
    "{problem}",
    (
        Advice(
            "The value was moved into a file, and its old place is left.",
            "Take {value} out, from .env or the environment.",
        ),
    ),
)
OPEN_FILE = Kind(
    "secrets.open_file",
    "every user of this machine can read {path}, which {setting} names",
    (
        Advice(
            "It was made with the usual rights. Where something else puts it there, such as a "
            "volume of Kubernetes (defaultMode), set them there.",
            "Let only the user that runs Usher read it.",
            commands=("chmod o= {path}",),
        ),
    ),
    Severity.WARNING,
)
WEAK = Kind(
    "secrets.weak",
    "secret number {position} in USHER_WEBHOOK_SECRETS has hardly any variety",
    (
        Advice(
            "It was typed by hand, and can be guessed.",
            "Put a new one before it in USHER_WEBHOOK_SECRETS and restart the server. Give the new "
            "one to Identity; then take the old one out, and restart once more.",
            commands=("usher secret",),
            settings=("USHER_WEBHOOK_SECRETS",),
        ),
    ),
)
REPEATED = Kind(
    "secrets.repeated",
    "USHER_WEBHOOK_SECRETS lists the same secret twice",
    (
        Advice(
            "A change of secrets was begun, and the new one is missing.",
            "Set USHER_WEBHOOK_SECRETS to new,old; or, if none was meant, to the one secret.",
            settings=("USHER_WEBHOOK_SECRETS",),
        ),
    ),
)
IN_GIT = Kind(
    "git.tracked",
    ".env is in git, and so are its secrets",
    (
        Advice(
            "It was added before .gitignore named it, or by force.",
            "Take it out and commit that. Then replace every secret in it (usher secret): git's "
            "history keeps the old ones.",
            commands=("git rm --cached .env",),
        ),
    ),
)
OBSERVING = Kind(
    "mode.observe",
    "Usher only observes: every event is answered 204, nobody is refused, and no role reaches "
    "Identity",
    (
        Advice(
            "USHER_MODE is observe, for the time beside an old function.",
            "Then set USHER_MODE to live and restart the server.",
            commands=("usher policy observed",),
            settings=("USHER_MODE",),
        ),
    ),
    Severity.WARNING,
)


def setting_problems(error: SettingsError, variables: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each problem.

    Args:
        variables: the environment as Usher reads it; empty where a file could not be read.
    """
    return [_problem(problem, variables) for problem in error.problems]


def _problem(problem: str, variables: Mapping[str, str]) -> Finding:
    setting = problem.partition(" ")[0]
    if not setting.startswith(PREFIX):
        return FILE.found(problem=problem)
    if setting in _FILES:
        value = other_name(setting)
        kind = GIVEN_TWICE if variables.get(value, "").strip() else UNUSABLE_FILE
        return kind.found(problem=problem, setting=setting, value=value)
    if setting not in _NAMES:
        return UNKNOWN.found(problem=problem, setting=setting)
    if variables.keys().isdisjoint({setting, other_name(setting)}):
        kind = NO_SECRET if ENV.exists() else MISSING
        return kind.found(problem=problem, setting=setting, folder=str(Path.cwd()))
    return INVALID.found(problem=problem, setting=setting)


def configuration_findings(settings: Settings, variables: Mapping[str, str]) -> list[Finding]:
    """Return the findings on usable settings.

    Args:
        variables: the environment that they were read from.
    """
    findings = [
        fine("settings", "every setting is usable"),
        *_secrets(settings),
        *_open_files(variables),
        _api(settings),
    ]
    observing = [OBSERVING.found()] if settings.observes else []
    return findings + observing + ([IN_GIT.found()] if tracks(ENV) else [])


def _secrets(settings: Settings) -> list[Finding]:
    secrets = settings.webhook_secrets
    wrong = [
        WEAK.found(position=position)
        for position, secret in enumerate(secrets, 1)
        if len(set(secret)) < MIN_VARIETY
    ]
    if len(set(secrets)) < len(secrets):
        wrong.append(REPEATED.found())
    shortest = min(map(len, secrets))
    text = f"{counted(len(secrets), 'webhook secret')}, the shortest of {shortest} bytes"
    return wrong or [fine("secrets", text, count=len(secrets), shortest_bytes=shortest)]


def _open_files(variables: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each file of a secret that everybody may read."""
    if sys.platform == "win32":  # its rights are not in the mode
        return []
    return [
        OPEN_FILE.found(setting=name, path=str(path))
        for name, path in named_files(variables, FROM_FILES).items()
        if path.stat().st_mode & stat.S_IROTH
    ]


def _api(settings: Settings) -> Finding:
    if settings.jwt_secret is not None:
        return fine("api", "access tokens are checked by USHER_JWT_SECRET")
    if settings.identity_url is not None:
        return fine("api", "access tokens are checked by asking Identity")
    return fine("api", "closed: neither USHER_JWT_SECRET nor USHER_IDENTITY_URL is set")
