"""The files of deployment set what docs/settings.md has, and hold to what image and server do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
import yaml

from tests.deploy import test_dockerfile, test_template
from tests.deploy.test_compose import compose
from tests.deploy.test_kubernetes import container
from tests.deploy.test_terraform import variables as of_terraform
from tests.support import ROOT
from usher.core.secret_files import SUFFIX, other_name
from usher.core.settings import FROM_FILES, PREFIX, Settings
from usher.server.serve import STOP_SECONDS

DEPLOY: Final = ROOT / "deploy"
PORT: Final = 8888
KNOWN: Final = {PREFIX + name.upper() for name in Settings.__struct_fields__}
NEEDED: Final = {"USHER_WEBHOOK_SECRETS", "USHER_DATABASE_URL"}
OF_THE_HOST: Final = {"fly.toml": {"USHER_WEBHOOK_SECRETS"}}
"""What the host keeps as a secret, and the file therefore does not name."""


def fly() -> dict[str, Any]:
    """The file for Fly.io."""
    return tomllib.loads((DEPLOY / "fly.toml").read_text(encoding="utf-8"))


def render() -> dict[str, Any]:
    """The one service for Render."""
    [service] = yaml.safe_load((DEPLOY / "render.yaml").read_text(encoding="utf-8"))["services"]
    found: dict[str, Any] = service
    return found


def of_lines(name: str, pattern: str = r"^(USHER_\w+)=(.*)$") -> dict[str, str]:
    """What lines of a text set; comments aside."""
    return dict(re.findall(pattern, (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE))


def of_render() -> dict[str, Any]:
    """Where the value comes from, by the name of the variable; the host's own apart."""
    found = {each["key"]: each.get("value", each) for each in render()["envVars"]}
    assert found.pop("PORT") == str(PORT)
    return found


FILES: Final[Mapping[str, Callable[[], Mapping[str, Any]]]] = {
    "compose.yaml": lambda: compose()["services"]["usher-1"]["environment"],
    "fly.toml": lambda: fly()["env"],
    "kubernetes": lambda: container()["env"],
    "render.yaml": of_render,
    "template.yaml": test_template.variables,
    "terraform": of_terraform,
    "usher.env": lambda: of_lines("usher.env"),
    "usher-credentials.conf": lambda: of_lines(
        "usher-credentials.conf", r"^Environment=(USHER_\w+)=(.*)$"
    ),
}
each_file = pytest.mark.parametrize("name", FILES)


@each_file
def test_each_variable_is_a_setting(name: str) -> None:
    """A slip of the pen would keep Usher from starting."""
    found = set(FILES[name]())
    assert found
    assert found <= KNOWN | {variable + SUFFIX for variable in FROM_FILES}


@each_file
def test_what_is_required_is_there(name: str) -> None:
    """As a value, as a file, or as the host's secret."""
    given = {variable.removesuffix(SUFFIX) for variable in FILES[name]()}
    assert given | OF_THE_HOST.get(name, set()) >= NEEDED


@each_file
def test_no_file_holds_a_secret(name: str) -> None:
    """A secret's value is blank, a reference, or in a file; and no value stands beside its file."""
    found = FILES[name]()
    for variable in FROM_FILES & found.keys():
        value = found[variable]
        plain = isinstance(value, str) and not re.match(r"\$\{|sqlite:|local\.secret\[", value)
        assert not plain or value == "", variable
        assert value == "" or other_name(variable) not in found


def test_every_file_is_known_here() -> None:
    """One that is added is compared, too."""
    named = {
        path.relative_to(DEPLOY).parts[0]
        for path in DEPLOY.rglob("*")
        if path.is_file() and re.search(r"\bUSHER_[A-Z]+", path.read_text(encoding="utf-8"))
    }
    # They hand on what Usher does not read, or set nothing but for a trial.
    others = {"Caddyfile", "Dockerfile", "alerts.yml", "nginx.conf", "try-image.sh"}
    assert named <= FILES.keys() | others | {"usher.service", "usher@.service"}


def test_every_file_is_told_of() -> None:
    """Nobody finds a file that no page names; a folder is named as one."""
    pages = "".join(
        (ROOT / "docs" / page).read_text(encoding="utf-8")
        for page in ("deploy.md", "dependencies.md", "metrics.md")
    )
    names = {path.name for path in DEPLOY.iterdir()} - {"secrets"}
    assert {name for name in names if f"deploy/{name}" not in pages} == set()


def test_the_hosts_ask_where_the_image_answers() -> None:
    """Its port, its readiness, and the time to finish what is under way."""
    [exposed] = test_dockerfile.values(test_dockerfile.stages()[-1], "EXPOSE")
    service = fly()["http_service"]
    assert service["internal_port"] == PORT == int(exposed)
    assert {each["path"] for each in service["checks"]} == {"/readyz"}
    assert fly()["kill_timeout"] > STOP_SECONDS
    assert fly()["kill_signal"] == "SIGTERM"
    assert render()["healthCheckPath"] == "/readyz"
    assert render()["maxShutdownDelaySeconds"] > STOP_SECONDS


def test_the_hosts_migrate_before_the_new_version_starts() -> None:
    """Fly runs the image's ENTRYPOINT with the command, Render the command alone."""
    assert fly()["deploy"]["release_command"] == "db upgrade"
    assert render()["preDeployCommand"] == "python -m usher.cli db upgrade"
    assert (DEPLOY / fly()["build"]["dockerfile"]).exists()
    assert (ROOT / render()["dockerfilePath"]).exists()


def test_where_the_disk_goes_away_no_answered_event_is_kept_on_it() -> None:
    """Two answer, and neither has a spool."""
    assert fly()["env"]["USHER_SPOOL"] == of_render()["USHER_SPOOL"] == "/proc/none"
    assert fly()["http_service"]["min_machines_running"] == render()["numInstances"] == 2
