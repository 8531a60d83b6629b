"""What each command prints, once, word for word: ``golden/*.txt``.

The other tests of commands look at exit codes, at JSON, and at facts (names, ids, numbers). So a
sentence is changed in its own file and in one of these: look at the difference, then
``make test ARGS="tests/cli/test_words.py --approve"``.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.support import NOON, ROOT
from usher.cli.checks.table import FINDINGS

TABLE = "doctor-table"
GOLDEN = Path(__file__).parent / "golden"
ADA, BOB, PIA, NOBODY = "ada@example.com", "bob@b.example", "pia@example.com", "nobody@b.example"

SESSIONS: dict[str, list[str]] = {
    "users-empty": ["users list"],
    "users": [
        "users list",
        "users list --limit 2",
        "users list --cursor x",
        f"users show {ADA}",
        f"users show {NOBODY}",
        "users show ''",
    ],
    "users-changes": [
        f"users grant {ADA} editor --reason 'writes the news'",
        f"users grant {ADA} editor --until 3d",
        f"users grant {ADA} 'no role'",
        f"users grant {ADA} ''",
        f"users grant {ADA} editor --until 2020-01-01",
        f"users grant {ADA} editor --until tomorrow",
        f"users revoke {ADA} staff",
        f"users revoke {ADA} nothing",
        f"users suspend {BOB} --reason 'asked for it'",
        f"users suspend {BOB}",
        f"users reactivate {BOB}",
        f"users reactivate {BOB}",
        f"users delete {PIA}",
        f"users delete {PIA} --yes",
        f"users delete {PIA} --yes",
        f"users suspend {PIA}",
        "users revoke owner@example.com admin",
    ],
    "events-empty": ["events list"],
    "failed": [
        "events list --outcome failed",
        "events show {event}",
        "policy check",
        "policy check rules:answer",
        f"policy explain {ADA}",
        "policy explain {event}",
        "doctor",
        "events again {event}",
        "events again x",
    ],
    "mended": [
        "events again {event} --reason 'the rules are mended'",
        "events list",
        "events show {event}",
        "doctor",
    ],
    "events": [
        "events list",
        "events list --limit 1",
        "events list --cursor x",
        "events show {event}",
        "events show 0123456789ab",
        "events show x",
    ],
    "policy": [
        "policy check",
        "policy check nowhere.toml",
        f"policy explain {ADA}",
        "policy explain x@mailinator.com",
        "policy explain x",
    ],
    "audit": [f"users grant {ADA} editor --reason news", f"users suspend {BOB}", "audit"],
    "db": ["db upgrade"],
    "doctor": ["doctor"],
    "ledger": ["events prune", "events prune --yes", "events import nowhere.jsonl"],
    "policy-try": ["policy try nowhere.toml", "policy try {policy}"],
    "replay": ["replay nowhere.jsonl"],
    "sync": ["sync"],
    "token": [f"token {ADA}"],
    "trigger": ["trigger nothing", "trigger signup --url http://127.0.0.1:9/"],
    "usage": ["nothing", "users nothing", "users list --limit 0", "users show"],
}
"""What is typed, one after the other, each session on a database of its own."""

RULES = '''"""The rules of a site, as code."""

from usher.core.domain.policy import Verdict


def decide(applicant):
    """Everybody has a plan, but for somebody."""
    return Verdict(roles=frozenset({plans()[applicant.address]}))


def plans():
    return {}


def answer(applicant):
    """No verdict."""
    return "yes"
'''

PATTERNS = (
    (r"\b[0-9a-f]{20}(?:[0-9a-f]{52})?\b", "event"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "id"),
    (r"\beyJ[\w-]{20,}", "cursor"),
)
"""What is new in each run: called by kind and number, in the order of appearance."""

TIMES = re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: UTC|Z|\+00:00)?")


class Names:
    """Stand-ins for what no two runs have alike, of the same length where there is a table."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._known: dict[str, str] = {}
        self._numbers = {kind: count(1) for _, kind in PATTERNS}

    def hide(self, text: str) -> str:
        """The text with its ids, times and folder replaced, and no blanks at the ends of lines."""
        text = text.replace(self._folder, "FOLDER").replace("python -m pytest.usher", "usher")
        text = text.replace(str(ROOT), "USHER")
        text = re.sub(r'(File "USHER/.*", line )\d+', r"\1N", text)
        text = re.sub(r"^ *[~^]+\n", "", text, flags=re.MULTILINE)  # differ by version of Python
        for pattern, kind in PATTERNS:
            text = re.sub(pattern, lambda found, kind=kind: self._name(found[0], kind), text)  # type: ignore[misc]
        text = re.sub(r"came \d+ s after", "came 0 s after", text)
        text = TIMES.sub(lambda found: re.sub(r"\d", "9", found[0]), text)
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _name(self, found: str, kind: str) -> str:
        short = found[:20] if kind == "event" else found
        if short not in self._known:
            self._known[short] = f"{kind}-{next(self._numbers[kind])}"
        name = self._known[short]
        return name if kind == "cursor" else name.ljust(len(found), ".")


def events(program: Program) -> list[str]:
    """The ids of the events that came, the oldest first."""
    return [event["id"] for event in program.json("events", "list")["events"]][::-1]


@pytest.fixture
def rules(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A call fails an event by a callable policy; its id. Afterwards the policy can be mended."""

    def fail() -> str:
        (tmp_path / "rules.py").write_text(RULES)
        monkeypatch.setenv("USHER_POLICY", "rules:decide")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "rules", raising=False)
        program.deliver("usermodified", ADA, answers=500, confirmed_at=NOON)
        return events(program)[-1][:12]

    return fail


@pytest.mark.parametrize("session", sorted(SESSIONS))
def test_a_command_prints_what_was_approved(
    program: Program,
    session: str,
    rules: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    """Standard output and standard error of each command, and its exit code."""
    monkeypatch.setenv("COLUMNS", "120")
    event = ""
    if session in ("failed", "mended"):
        event = rules()
        if session == "mended":
            sys.modules["rules"].plans = lambda: {ADA: "member"}  # type: ignore[attr-defined]
    elif not session.endswith("-empty"):
        program.sign_up(ADA, BOB, "owner@example.com", "x@mailinator.com")
        program.deliver("validate", PIA)
        event = events(program)[0][:12]
    names = Names(tmp_path)
    said = []
    for line in SESSIONS[session]:
        filled = line.replace("{event}", event).replace("{policy}", str(tmp_path / "policy.toml"))
        done = program(*shlex.split(filled), code=(0, 1, 2), traceback=session == "failed")
        told = f"$ usher {line}\n{done.stdout}{done.stderr}".rstrip()
        said.append(told + (f"\n[exit code {done.exit_code}]" if done.exit_code else ""))
    found = names.hide("\n\n".join(said)) + "\n"
    golden = GOLDEN / f"{session}.txt"
    if pytestconfig.getoption("--approve"):
        golden.write_text(found)
    assert found == golden.read_text(), "if this is right: --approve"


def test_the_words_of_every_finding_are_those_approved(pytestconfig: pytest.Config) -> None:
    """What ``usher doctor`` would print of each, with the names of the facts in place of them."""
    found = ""
    for key, kind in FINDINGS.items():
        found += f"{kind.severity} {key}: {kind.problem}\n"
        found += "".join(f"    {number}. {each}\n" for number, each in enumerate(kind.advice, 1))
    golden = GOLDEN / f"{TABLE}.txt"
    if pytestconfig.getoption("--approve"):
        golden.write_text(found)
    assert found == golden.read_text(), "if this is right: --approve"


def test_no_golden_file_is_left_over() -> None:
    """Each belongs to a session, or is the table of findings."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*SESSIONS, TABLE}
