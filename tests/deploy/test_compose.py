"""compose.yaml: read by Compose's own tool where there is one, and by its schema everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support import ROOT
from usher.server.serve import STOP_SECONDS

FILE: Final = ROOT / "deploy" / "compose.yaml"
HOST: Final = "usher.example.com"


def compose() -> dict[str, Any]:
    """The file, its anchors resolved."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def schema(path: Path) -> subprocess.CompletedProcess[str]:
    """Compose's schema, asked about a file."""
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [program, "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_schema_takes_it(tmp_path: Path) -> None:
    """And refuses a file with a mistake."""
    done = schema(FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("  cap_drop: [ALL]", "  drop_caps: [ALL]"))
    assert schema(wrong).returncode != 0


def test_compose_itself_takes_it() -> None:
    """`docker compose config`; without a name for the certificate it says what is missing."""
    command = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.call([*command, "version"], stdout=-3, stderr=-3):
        pytest.skip("docker compose is not installed (Docker's plugin docker-compose-plugin)")
    command += ["-f", str(FILE), "config", "--quiet"]
    named = {**os.environ, "USHER_HOST": HOST}
    done = subprocess.run(command, env=named, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    named.pop("USHER_HOST")
    done = subprocess.run(command, env=named, capture_output=True, text=True, check=False)
    assert "USHER_HOST" in done.stderr


def test_caddy_takes_its_file(tmp_path: Path) -> None:
    """With TLS; tests/deploy/test_restarts.py restarts two servers behind it."""
    variables = compose()["services"]["proxy"]["environment"] | {"USHER_HOST": HOST}
    program = str(Path(sys.executable).with_name("caddy"))
    command = [program, "validate", "--config", str(ROOT / "deploy" / "Caddyfile")]
    environment = {**os.environ, **variables, "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Caddyfile input is not formatted" not in done.stderr


def test_every_container_has_little_power() -> None:
    """No file to write but where it must, and no way to more rights than it starts with."""
    for name, service in compose()["services"].items():
        assert service["read_only"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "network_mode", "pid"} & service.keys(), name
    ours = [s for s in compose()["services"].values() if s["image"] == "usher"]
    assert len(ours) == 3
    assert all(service["cap_drop"] == ["ALL"] for service in ours)


def test_the_proxy_alone_is_reached_from_elsewhere() -> None:
    """PostgreSQL is in a network without a way out."""
    services = compose()["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    assert services["database"]["networks"] == ["inside"]
    assert compose()["networks"]["inside"]["internal"]
    [network] = compose()["networks"]["outside"]["ipam"]["config"]
    trusted = services["usher-1"]["environment"]["USHER_TRUSTED_PROXIES"]
    assert trusted == network["subnet"]


def test_secrets_are_files_that_git_leaves_out() -> None:
    """Each is used, by its path in the container; none is in the environment."""
    document = compose()
    used = {name for s in document["services"].values() for name in s.get("secrets", ())}
    assert used == set(document["secrets"])
    assert {each["file"] for each in document["secrets"].values()} == {
        f"secrets/{name}" for name in used
    }
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    settings = document["services"]["usher-1"]["environment"]
    files = [value for name, value in settings.items() if name.endswith("_FILE")]
    assert {path.removeprefix("/run/secrets/") for path in files} <= used


def test_one_after_the_other() -> None:
    """The database is ready, then migrated; servers start, then the proxy."""
    services = compose()["services"]

    def waits_for(name: str) -> dict[str, str]:
        return {other: each["condition"] for other, each in services[name]["depends_on"].items()}

    assert waits_for("migrate") == {"database": "service_healthy"}
    assert waits_for("usher-1") == {"migrate": "service_completed_successfully"}
    assert waits_for("proxy") == {"usher-1": "service_healthy", "usher-2": "service_healthy"}
    assert services["migrate"]["command"] == ["db", "upgrade"]
    assert services["migrate"]["restart"] == "no"


def test_two_servers_differ_in_their_spool_alone() -> None:
    """Each keeps its own; requests under way have the time to be finished."""
    one, two = (compose()["services"][name] for name in ("usher-1", "usher-2"))
    assert one.pop("volumes") == ["usher-1:/data"]
    assert two.pop("volumes") == ["usher-2:/data"]
    assert one == two
    assert int(one["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    names = compose()["services"]["proxy"]["environment"]["USHER_PROCESSES"].split()
    assert names == ["usher-1:8888", "usher-2:8888"]
