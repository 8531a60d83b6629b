"""Failed events exported, imported, replayed, tried with another policy, and decided again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator

from tests.cli.conftest import Program
from tests.support import NOON, ROOT
from usher.core.settings import Settings
from usher.testing.goldens import Replayed, replay_file

ADA = "ada.canary@example.com"
RULES = '''"""A policy that knows nobody, until it is mended."""

from usher.core.domain.policy import Verdict

plans = {}


def decide(applicant):
    if applicant.event == "usermodified":
        return Verdict(roles=frozenset({plans[applicant.address]}))
    return Verdict(roles=frozenset({"member"}))
'''


class Rules:
    """The policy of a site."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def source(self) -> str:
        """As ``USHER_POLICY`` has it."""
        return f"{self.name}:decide"

    def mend(self) -> None:
        """Have the policy know everybody."""
        sys.modules[self.name].plans = {ADA: "staff"}  # type: ignore[attr-defined]


@pytest.fixture
def rules(on_both: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rules]:
    """A callable policy, under a name of its own."""
    assert on_both
    made = Rules(f"rules_{uuid4().hex[:8]}")
    (tmp_path / f"{made.name}.py").write_text(RULES)
    monkeypatch.setenv("USHER_POLICY", made.source)
    monkeypatch.syspath_prepend(tmp_path)
    yield made
    sys.modules.pop(made.name, None)


@pytest.fixture
def failed(on_both: Program, rules: Rules) -> str:
    """Somebody signed up; then a change of theirs at Identity failed. Its id."""
    assert rules
    ada = on_both.deliver("signup", ADA)
    on_both.deliver("usermodified", ADA, user_id=ada, confirmed_at=NOON, answers=500)
    (event,) = on_both.json("events", "list", "--outcome", "failed")["events"]
    found: str = event["id"]
    return found


def exported(program: Program, path: Path, *options: str) -> list[dict[str, Any]]:
    """The ledger in a file; its lines, read."""
    text = program("events", "export", *options).stdout
    path.write_text(text, encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_c2_a_failed_event_is_exported_and_nothing_personal_with_it(
    on_both: Program, rules: Rules, failed: str, tmp_path: Path
) -> None:
    """As the schema says; redacted, of the error its class and the file's name are left."""
    schema = Draft202012Validator(json.loads((ROOT / "docs/capture.schema.json").read_text()))
    (line,) = exported(on_both, tmp_path / "a.jsonl", "--outcome", "failed")
    schema.validate(line)
    assert line["decided"]["id"] == failed
    assert [each["text"] for each in line["decided"]["reasons"]] == [
        "KeyError: '[address]'", f"{rules.name}.py:10",
    ]  # fmt: skip
    (line,) = exported(on_both, tmp_path / "r.jsonl", "--outcome", "failed", "--redact")
    schema.validate(line)
    assert [each["text"] for each in line["decided"]["reasons"]] == [
        "KeyError", f"{rules.name}.py:10",
    ]  # fmt: skip
    assert "canary" not in (tmp_path / "r.jsonl").read_text()
    exported(on_both, tmp_path / "all.jsonl")
    on_both("events", "prune", "--before", "2999-01-01", "--yes")
    done = on_both.json("events", "import", str(tmp_path / "all.jsonl"))
    assert done == {"imported": 2, "known": 0, "wrong": 0}
    assert [e["id"] for e in on_both.json("events", "list", "--outcome", "failed")["events"]] == [
        failed
    ]


def test_c2_a_replay_that_fails_as_it_did_then_differs_in_nothing(
    on_both: Program, rules: Rules, failed: str, tmp_path: Path
) -> None:
    """Once the policy is mended, the answer is another; where it breaks, so is it."""
    assert failed
    lines = exported(on_both, tmp_path / "a.jsonl")
    assert on_both.json("replay", "--ledger", "--dry-run", "--diff") == {
        "played": 2, "failed": 0, "wrong": 0, "differences": [],
    }  # fmt: skip
    rules.mend()
    done = on_both.json("replay", "--ledger", "--dry-run", "--diff", code=1)
    assert done["failed"] == 0
    answers = [each for each in done["differences"] if each["what"].startswith("answer")]
    assert [(each["was"], each["now"]) for each in answers] == [
        ("500 policy_invalid", "200 roles: staff; provider: email")
    ]
    lines[1]["answer"] = {"status": 204, "content_type": "", "body": ""}
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    sys.modules[rules.name].plans = {}  # type: ignore[attr-defined]
    into = ["--into", f"sqlite:///{tmp_path / 'new.db'}", "--diff"]
    done = on_both.json("replay", str(tmp_path / "b.jsonl"), *into, code=1)
    assert done["failed"] == 1
    assert [(each["was"], each["now"]) for each in done["differences"]] == [
        ("204", "500 policy_invalid")
    ]


def test_c2_another_policy_is_tried_on_what_failed(
    on_both: Program, rules: Rules, failed: str, tmp_path: Path
) -> None:
    """Whichever of the two fails: that is a difference, and not the end of the trial."""
    assert failed
    new = tmp_path / "new.toml"
    new.write_text('[[role]]\ngrant = "member"\n')
    found = on_both.json("policy", "try", str(new), code=1)
    assert [(g["what"], g["was"], g["now"]) for g in found["differences"]] == [
        ("admission at usermodified", "failed", "admitted")
    ]
    found = on_both.json("policy", "try", rules.source)
    assert found["differences"] == []
    rules.mend()
    (tmp_path / "broken.py").write_text("def decide(applicant):\n    return applicant.nothing\n")
    found = on_both.json("policy", "try", "broken:decide", code=1)
    assert ("admission at signup", "admitted", "failed") in {
        (g["what"], g["was"], g["now"]) for g in found["differences"]
    }


def test_c2_a_failed_event_is_in_the_golden_file(
    on_both: Program,
    rules: Rules,
    failed: str,
    tmp_path: Path,
    make_settings: Callable[..., Settings],
) -> None:
    """With its answer, its outcome and the names of its reasons; mended, the file says so."""
    assert failed
    path = tmp_path / "morning.jsonl"
    exported(on_both, path)

    def replayed(name: str) -> Replayed:
        url = f"sqlite:///{tmp_path / name}"
        return replay_file(path, make_settings(database_url=url, policy=rules.source))

    first = replayed("one.db")
    step = first.steps[1]
    assert (step["answer"]["status"], step["outcome"]) == (500, "failed")
    assert step["rules"] == ["error", "error.at"]
    first.approve()
    assert replayed("two.db").differences() == []
    rules.mend()
    differences = replayed("three.db").differences()
    assert any("outcome" in each and '"failed" is now "applied"' in each for each in differences)


def test_c2_decided_again_it_is_no_failure_any_more(
    on_both: Program, rules: Rules, failed: str
) -> None:
    """Exit code 1 as long as the policy is broken, and nothing is changed then."""
    assert "no event failed" not in on_both("doctor", code=1).stdout
    before = on_both.json("users", "show", ADA)
    on_both("events", "again", failed, code=1, traceback=True)
    assert on_both.json("users", "show", ADA) == before
    rules.mend()
    done = on_both.json("events", "again", failed, "--reason", "mended")
    assert (done["id"], done["recorded"]["outcome"]) == (failed, "failed")
    assert done["now"]["outcome"] == "applied"
    assert on_both.roles(ADA) == ["staff"]
    assert on_both.json("events", "show", failed)["outcome"] == "applied"
    assert on_both.json("audit", "--action", "event.replayed")["audit"][0]["reason"] == "mended"
    findings = {each["name"]: each for each in on_both.json("doctor", code=(0, 1))}
    assert findings["failures"]["well"]
    on_both("events", "again", failed)
    assert on_both.roles(ADA) == ["staff"]


def test_c2_what_was_erased_cannot_be_decided_again(
    on_both: Program, rules: Rules, failed: str
) -> None:
    """The doctor still tells that it failed, and nothing of the person."""
    assert rules
    ada = on_both.json("users", "show", ADA)["id"]
    on_both("users", "delete", ada, "--yes")
    said = on_both("events", "again", failed, code=1).stderr
    assert said.startswith("Its body was erased")
    findings = {each["name"]: each for each in on_both.json("doctor", code=1)}
    assert "erased with the person's data" in findings["failures"]["text"]
    assert "KeyError" not in on_both("events", "show", failed).stdout
