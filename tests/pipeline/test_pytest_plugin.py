"""The pytest plugin as another project has it: a folder with captures, a policy and three lines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.captures.make import HERE
from tests.support import clean_environment

TEST = """
import pytest

@pytest.mark.captures("captures/*.jsonl")
def test_captured_events(usher_replay, capture_file):
    usher_replay(capture_file).approved()
"""


# Whoever has our plugin need not have those of our own tests; some of them are slow to load.
ALONE = [f"-pno:{one.name}" for one in entry_points(group="pytest11") if one.name != "usher"]


class Project:
    """Another project's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        (root / "tests" / "captures").mkdir(parents=True)
        (root / "tests" / "test_events.py").write_text(TEST)
        shutil.copy(HERE / "policy.toml", root)
        shutil.copy(HERE / "email-signup.jsonl", root / "tests" / "captures" / "morning.jsonl")

    def pytest(self, *arguments: str, code: int = 0) -> str:
        """Run its tests."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ALONE, *arguments],
            cwd=self.root,
            env=clean_environment(TMPDIR=os.environ.get("TMPDIR", "/tmp")),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    @property
    def capture(self) -> Path:
        return self.root / "tests" / "captures" / "morning.jsonl"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With a capture that nobody has approved yet."""
    return Project(tmp_path)


def test_a_change_of_the_policy_is_told_and_can_be_approved(project: Project) -> None:
    """Not there yet, approved, changed, told in words, approved."""
    assert "morning.golden.json is not there yet" in project.pytest(code=1)
    project.pytest("--approve")
    assert "1 passed" in project.pytest()
    policy = project.root / "policy.toml"
    policy.write_text(policy.read_text().replace('grant = "staff"', 'grant = "crew"'))
    said = project.pytest(code=1)
    assert "differences from what was approved" in said
    assert "line 2, signup of 53deb933" in said
    assert 'answer.app_metadata.roles: ["member", "staff"] is now ["crew", "member"]' in said
    assert "If this is right: pytest --approve" in said
    assert "Traceback" not in said
    assert "event.applied" not in said  # no line of the log for each event
    project.pytest("--approve")
    assert "1 passed" in project.pytest()


def test_a_replay_can_be_looked_into(project: Project) -> None:
    """Answers by line, users by address; another policy; each replay by itself."""
    (project.root / "tests" / "test_events.py").write_text("""
from pathlib import Path
import pytest
HERE = Path(__file__).parent

def test_one(usher_replay):
    done = usher_replay(HERE / "captures" / "morning.jsonl")
    assert done.answer(2)["app_metadata"]["roles"] == ["member", "staff"]
    assert done.answer(5)["status"] == 403
    assert done.user("Ada.Lovelace@example.com")["status"] == "active"
    with pytest.raises(KeyError):
        done.answer(99)
    with pytest.raises(KeyError):
        done.user("mallory@mailinator.com")
    (HERE / "open.toml").write_text("")
    again = usher_replay(HERE / "captures" / "morning.jsonl", policy=HERE / "open.toml")
    assert again.answer(5)["status"] == 204
""")
    assert "1 passed" in project.pytest()


def test_foreign_events_need_their_secret_or_a_new_signature(project: Project) -> None:
    """As they are they are refused, as Identity's forged ones would be."""
    secret = b"the secret of the other site, 32 bytes"
    lines = [json.loads(line) for line in project.capture.read_text().splitlines()[:1]]
    from usher.core.captures.format import read_line, write_line

    capture = read_line(json.dumps(lines[0]).encode()).signed_with(secret)
    project.capture.write_text(write_line(capture) + "\n")
    (project.root / "tests" / "test_events.py").write_text(f"""
from pathlib import Path
FILE = Path(__file__).parent / "captures" / "morning.jsonl"

def test_one(usher_replay):
    assert usher_replay(FILE).answer(1)["status"] == 401  # which is logged, each time
    assert usher_replay(FILE, secrets=[{secret!r}]).answer(1)["status"] == 204
    assert usher_replay(FILE, resign=True).answer(1)["status"] == 204
""")
    assert "1 passed" in project.pytest()


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ('@pytest.mark.captures("none/*.jsonl")\ndef test_a(capture_file): pass', "no file fits"),
        ('@pytest.mark.captures("captures/*.jsonl")\ndef test_a(): pass', "needs the argument"),
    ],
)
def test_a_mark_that_finds_nothing_is_told(project: Project, test: str, said: str) -> None:
    """A test that would silently test nothing is an error."""
    (project.root / "tests" / "test_events.py").write_text(f"import pytest\n{test}\n")
    assert said in project.pytest(code=2)


def test_b2_a_golden_file_approved_with_1_is_not_met_by_true(project: Project) -> None:
    """Nor is a key that is null met by an absent one."""
    policy = project.root / "policy.toml"
    rules = policy.read_text()
    policy.write_text(f"{rules}\n[app_metadata]\nbeta = 1\n")
    project.pytest("--approve")
    assert "1 passed" in project.pytest()
    policy.write_text(f"{rules}\n[app_metadata]\nbeta = true\n")
    assert "answer.app_metadata.beta: 1 is now true" in project.pytest(code=1)
    project.pytest("--approve")
    golden = project.capture.with_suffix(".golden.json")
    golden.write_text(golden.read_text().replace('"beta": true', '"beta": true, "x": null', 1))
    assert "null is now absent" in project.pytest(code=1)


def test_a_damaged_capture_and_golden_file_are_told(project: Project) -> None:
    """By the number of the line; a golden file that is no JSON."""
    golden = project.capture.with_suffix(".golden.json")
    golden.write_text("{")
    assert "morning.golden.json is no JSON" in project.pytest(code=1)
    with project.capture.open("a") as file:
        file.write('{"usher_capture":1,')
    assert "line 11: is cut short" in project.pytest(code=1)


def test_a_run_without_captures_loads_nothing_of_usher(project: Project) -> None:
    """The plugin costs other test runs nothing, and hides no module from their coverage."""
    (project.root / "tests" / "test_events.py").write_text(
        "import sys\ndef test_a():\n"
        "    assert [m for m in sys.modules if m.startswith(('usher.core', 'sqlmodel'))] == []\n"
        "    loaded = sorted(m for m in sys.modules if m.split('.')[0] == 'usher')\n"
        "    assert loaded == ['usher', 'usher.testing', 'usher.testing.pytest_plugin']\n"
    )
    assert "1 passed" in project.pytest()
