"""The SAM template: valid, true to our settings and log lines, with no secret and little power."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

from tests.contract.cases import Case
from tests.contract.gateways import url
from tests.contract.runtime_api import function
from tests.contract.world import VARIABLES
from tests.support import ROOT
from tests.test_docs import log_events
from usher.core.scheduled import CALL_SECONDS
from usher.core.settings import PREFIX, Settings

TEMPLATE = ROOT / "deploy" / "template.yaml"
SECRETS = {"WEBHOOK_SECRETS", "DATABASE_URL", "JWT_SECRET"}


@cache
def resources() -> dict[str, Any]:
    """The template's resources by their names."""
    found: dict[str, Any] = load(str(TEMPLATE))["Resources"]
    return found


def properties(name: str) -> dict[str, Any]:
    """Of one resource."""
    found: dict[str, Any] = resources()[name]["Properties"]
    return found


def variables() -> dict[str, Any]:
    """The function's environment."""
    found: dict[str, Any] = properties("Usher")["Environment"]["Variables"]
    return found


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    """cfn-lint, which knows what each resource takes."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    """And finds something where there is something."""
    done = lint(TEMPLATE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "template.yaml"
    wrong.write_text(TEMPLATE.read_text().replace("MemorySize: 1024", "MemorySize: plenty"))
    assert lint(wrong).returncode != 0


def test_each_variable_is_a_setting() -> None:
    """A slip of the pen would stop the function."""
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__}
    assert set(variables()) <= known


def test_secrets_are_references() -> None:
    """Neither the template nor its parameters hold one; nor are there others that could."""
    for name in SECRETS:
        text = str(variables()[PREFIX + name])
        assert "{{resolve:secretsmanager:${SecretArn}:SecretString:" + PREFIX + name in text
    others = {name.removeprefix(PREFIX) for name in variables()} - SECRETS
    assert not [name for name in others if re.search("SECRET|TOKEN|PASSWORD|URL_DATABASE", name)]


def test_the_metric_filters_name_log_lines_that_there_are() -> None:
    """An alarm on a line that nobody writes would never ring."""
    filters = [r for r in resources().values() if r["Type"] == "AWS::Logs::MetricFilter"]
    named = {
        name
        for each in filters
        for name in re.findall(r'\$\.event = "([^"]+)"', each["Properties"]["FilterPattern"])
    }
    assert named == {"signature.rejected", "event.failed", "request.failed", "maintenance.failed"}
    assert named <= set(log_events())


def test_every_metric_of_ours_has_an_alarm() -> None:
    """By the same name, in the same place."""
    counted = {
        transformation["MetricName"]
        for each in resources().values()
        if each["Type"] == "AWS::Logs::MetricFilter"
        for transformation in each["Properties"]["MetricTransformations"]
    }
    watched = {
        each["Properties"]["MetricName"]
        for each in resources().values()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert counted == {"RejectedSignatures", "Failures"}
    assert counted < watched


def test_the_schedule_leaves_time_for_calls_of_identity() -> None:
    """Twice as long as no call is begun any more; and it asks for what the handler knows."""
    [schedule] = properties("Usher")["Events"].values()
    assert schedule["Properties"]["Input"] == '{"usher": "maintenance"}'
    assert schedule["Properties"]["ScheduleExpression"] == "rate(5 minutes)"
    assert properties("Usher")["Timeout"] >= 2 * CALL_SECONDS


def test_the_function_may_write_its_own_log_and_nothing_else() -> None:
    """What reaches a VPC is AWS's own policy for that."""
    [policy] = properties("Role")["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == {"Fn::GetAtt": ["Logs", "Arn"]}
    assert "*" not in str(properties("Role")["Policies"])


@pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric runs on Linux only")
def test_what_is_built_runs(tmp_path: Path, postgresql_url: str) -> None:
    """`make build-Usher`, packages apart, makes a folder in which the named handler answers."""
    built = tmp_path / "built"
    built.mkdir()
    command = ["make", "build-Usher", f"ARTIFACTS_DIR={built}", "LAMBDA_PIP=true"]
    subprocess.run(
        [*command, f"PYTHON={sys.executable}"], cwd=ROOT, check=True, capture_output=True
    )
    assert not (built / "tests").exists()
    settings: dict[str, Any] = {**VARIABLES, "USHER_DATABASE_URL": postgresql_url}
    settings["USHER_POLICY"] = str(built / variables()["USHER_POLICY"])
    handler = properties("Usher")["Handler"]
    with function(tmp_path, code=built, handler=handler, **settings) as running:
        request = Case(name="", part="server", method="GET", target="/readyz", status=200)
        assert running.invoke(url(request))["statusCode"] == 200
