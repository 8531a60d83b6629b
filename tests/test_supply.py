"""What comes with the repository: no secret in it, and every package pinned by its hashes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from tests.support import ROOT
from tests.test_laws import tracked

# Those that know what a secret looks like. Entropy and the word "password" find mostly tests.
DETECTORS = (
    "AWSKeyDetector", "ArtifactoryDetector", "AzureStorageKeyDetector", "BasicAuthDetector",
    "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector",
    "MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector",
    "SendGridDetector", "SlackDetector", "StripeDetector", "TwilioKeyDetector",
)  # fmt: skip
SETTINGS = {"plugins_used": [{"name": name} for name in DETECTORS], "filters_used": []}
SIGNED_WITH_PUBLIC_SECRETS = ("tests/captures/", "fuzz/corpus/")
EXAMPLES = {"hunter2secret", "PASSWORD", "password", "pw", "pass", "p", "secret"}
LOCKS = sorted(
    path
    for pattern in ("*requirements.lock", "*/*requirements.lock", "deploy/*/requirements.lock")
    for path in ROOT.glob(pattern)
)


def secrets_in(paths: list[Path]) -> Iterator[str]:
    """File, line and kind of everything that looks like one, and is no example's."""
    with transient_settings(SETTINGS):
        for path in paths:
            for found in scan_file(str(path)):
                if found.secret_value not in EXAMPLES:
                    yield f"{path.name}:{found.line_number} {found.type}"


def test_no_file_holds_a_secret() -> None:
    """Keys, tokens and passwords in addresses; captures are signed with a secret that is public."""
    paths = [
        ROOT / name
        for name, _ in tracked()
        if not name.startswith(SIGNED_WITH_PUBLIC_SECRETS) and "lock" not in Path(name).name
    ]
    assert len(paths) > 100
    assert list(secrets_in(paths)) == []


@pytest.mark.parametrize(
    "line",
    [
        "key = 'AKIA" + "Z7QWERTYUIOPASDF'",
        "-----BEGIN RSA PRIVATE " + "KEY-----",
        "postgresql+psycopg://usher:x7" + "Hq2@db.example/usher",
        "token: ghp_" + "a1B2" * 9,
    ],
    ids=["AWS", "private key", "password in an address", "GitHub"],
)
def test_the_scan_finds_what_it_looks_for(line: str, tmp_path: Path) -> None:
    """A scan that finds nothing would pass everything."""
    path = tmp_path / "settings.txt"
    path.write_text(line + "\n")
    assert list(secrets_in([path]))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_locked_package_has_its_hashes(lock: Path) -> None:
    """Nobody can put another file in the place of one that was locked."""
    packages = re.split(r"\n(?=[a-z0-9])", lock.read_text())[1:]
    assert packages
    assert [p.partition("=")[0] for p in packages if "--hash=sha256:" not in p] == []


def test_the_workflow_of_ci_cannot_write_and_names_a_version_of_each_action() -> None:
    """It reads the code and no secret; an action that moves as it likes could do more."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    actions = re.findall(r"uses: (\S+)", text)
    assert actions
    assert [action for action in actions if not re.search(r"@(v\d+|[0-9a-f]{40})$", action)] == []


def test_hooks_before_a_commit_are_our_own_tools() -> None:
    """Nothing is fetched from another host when somebody commits."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_what_lambda_gets_is_part_of_what_is_published() -> None:
    """The same versions; neither the commands nor the server."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    published = {*project["dependencies"], *project["optional-dependencies"]["postgres"]}
    assert set(document["dependency-groups"]["lambda"]) < published
    locked = (ROOT / "deploy" / "lambda" / "requirements.lock").read_text()
    found = set(re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE))
    assert not found & {"alembic", "click", "granian", "python-dotenv", "rich", "watchfiles"}
