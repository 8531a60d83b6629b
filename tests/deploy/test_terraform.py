"""Terraform for Lambda: it can be read, and makes what the SAM template makes."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

import hcl2
from cfnlint.decode.cfn_yaml import load

from tests.deploy.test_template import properties, resources
from tests.deploy.test_template import variables as of_template
from tests.support import ROOT

FOLDER: Final = ROOT / "deploy" / "terraform"


def plain(value: Any) -> Any:
    """Without the quotes that the parser keeps, and without its marks."""
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items() if not k.startswith("__")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value[1:-1].replace('\\"', '"') if isinstance(value, str) and value[:1] == '"' else value


@cache
def document() -> dict[str, Any]:
    """All files as one: names of kinds, of things, and what they are made of."""
    found: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("*.tf")):
        for kind, blocks in plain(hcl2.loads(path.read_text(encoding="utf-8"))).items():
            for name, body in (each for block in blocks for each in block.items()):
                if kind in {"resource", "variable"}:
                    found.setdefault(kind, {}).setdefault(name, {}).update(body)
    return found


def things(kind: str) -> dict[str, Any]:
    """Resources of one kind, by name."""
    found: dict[str, Any] = document()["resource"][kind]
    return found


def variables() -> dict[str, str]:
    """The function's environment: each with where its value comes from."""
    text = (FOLDER / "main.tf").read_text(encoding="utf-8")
    return dict(re.findall(r"\b(USHER_\w+) += (\S+)", text))


def test_the_function_is_the_templates() -> None:
    """The same code, runtime, room and time."""
    ours, theirs = things("aws_lambda_function")["usher"], properties("Usher")
    assert ours["handler"] == theirs["Handler"]
    assert ours["runtime"] == theirs["Runtime"]
    assert ours["architectures"] == theirs["Architectures"]
    assert ours["memory_size"] == theirs["MemorySize"]
    assert ours["timeout"] == theirs["Timeout"]
    [snap_start] = ours["snap_start"]
    assert snap_start["apply_on"] == theirs["SnapStart"]["ApplyOn"]
    alias = things("aws_lambda_alias")["live"]
    assert alias["name"] == theirs["AutoPublishAlias"]
    [url] = things("aws_lambda_function_url").values()
    assert url["authorization_type"] == theirs["FunctionUrlConfig"]["AuthType"]


def test_the_settings_are_the_templates() -> None:
    """The same variables; a secret is read from the secret, and nothing else is."""
    assert variables().keys() == of_template().keys()
    secret = {name for name, value in variables().items() if value.startswith("local.secret[")}
    assert secret == {
        name for name, value in of_template().items() if "resolve:secretsmanager" in str(value)
    }


def test_whatever_may_be_given_may_be_given_to_both() -> None:
    """A parameter of the template is a variable here; the name and the package come with SAM."""
    parameters = load(str(ROOT / "deploy" / "template.yaml"))["Parameters"]
    snake = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in parameters}
    assert document()["variable"].keys() - {"name", "package"} == snake


def test_the_schedule_is_the_templates() -> None:
    """The same pace, the same word, as many tries."""
    [ours] = things("aws_scheduler_schedule").values()
    theirs = properties("Usher")["Events"]["Maintenance"]["Properties"]
    assert ours["schedule_expression"] == theirs["ScheduleExpression"]
    [target] = ours["target"]
    assert target["input"] == '${jsonencode({usher = "maintenance"})}'
    assert json.loads(theirs["Input"]) == {"usher": "maintenance"}
    [retry] = target["retry_policy"]
    assert retry["maximum_retry_attempts"] == theirs["RetryPolicy"]["MaximumRetryAttempts"]


def test_the_alarms_are_the_templates() -> None:
    """The same lines of the log are counted, and the same numbers are too many."""
    patterns = {each["pattern"] for each in things("aws_cloudwatch_log_metric_filter").values()}
    theirs = [r for r in resources().values() if r["Type"] == "AWS::Logs::MetricFilter"]
    assert patterns == {each["Properties"]["FilterPattern"] for each in theirs}
    ours = {
        (each["metric_name"], each["statistic"], each["period"], each["comparison_operator"])
        for each in things("aws_cloudwatch_metric_alarm").values()
    }
    alarms = [
        r["Properties"] for r in resources().values() if r["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert ours == {
        (each["MetricName"], each["Statistic"], each["Period"], each["ComparisonOperator"])
        for each in alarms
    }


def test_the_function_may_write_its_log_and_nothing_else() -> None:
    """As the template has it; the schedule's role may invoke the function."""
    actions = {
        name: re.findall(r'"(\w+:\w+)"', body["policy"])
        for name, body in things("aws_iam_role_policy").items()
    }
    assert actions == {
        "log": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "invoke": ["lambda:InvokeFunction"],
    }
