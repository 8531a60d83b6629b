"""``usher policy reload`` and ``promote``, beside what a server's worker does, and without it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.server.reload_support import COLOURS, FINGERPRINTS, policy_of, put
from tests.support import account, call, signed
from usher.cli import policy_reload
from usher.core.app import use
from usher.core.policy_file import parse_policy
from usher.core.server_folder import made_in
from usher.server.policy_follower import PolicyFollower

RED, BLUE = (FINGERPRINTS[colour] for colour in COLOURS)
Serve = Callable[[], PolicyFollower]


@pytest.fixture
def policy(program: Program, policy_file: Path) -> Path:
    """The policy's file, red."""
    put(policy_file, policy_of("red"))
    return policy_file


@contextmanager
def follower(program: Program) -> Iterator[PolicyFollower]:
    """What a worker has of the policy, in this process."""
    with program.app() as app, made_in(app.settings.spool_folder) as folder:
        found = PolicyFollower(app, folder)
        found.establish()
        found.start()
        yield found
        found.close()


@pytest.fixture
def serve(program: Program, policy: Path) -> Iterator[Serve]:
    """Start following; ended after the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(follower(program))


def test_reload_puts_the_file_in_force_and_tells_of_each_worker(
    program: Program, policy: Path, serve: Serve
) -> None:
    """In words, and for programs."""
    serve()
    put(policy, policy_of("blue"))
    (told,) = program.json("policy", "reload")
    assert (told["before"], told["fingerprint"], told["rejected"]) == (RED, BLUE, None)
    assert told["complete"]
    assert [each["fingerprint"] for each in told["workers"]] == [BLUE]
    put(policy, policy_of("red"))
    assert f"The policy is in force (fingerprint {RED})." in program("policy", "reload").stdout
    assert "was in force already" in program("policy", "reload").stdout


def test_a_policy_is_shortened_by_a_promotion_alone(
    program: Program, policy: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload takes it for one that was cut off. Neither needs the secrets."""
    serve()
    monkeypatch.delenv("USHER_WEBHOOK_SECRETS")
    shorter = policy_of("red").partition("\n[app_metadata]")[0]
    put(policy, shorter)
    said = program("policy", "reload", code=1).stderr
    assert "no more than the beginning of the one in force" in said
    assert "usher policy promote FILE" in said
    policy.with_name("next.toml").write_text(shorter)
    program("policy", "promote", "--yes")
    (told,) = program.json("policy", "reload")
    assert (told["fingerprint"], told["rejected"]) == (parse_policy(shorter).fingerprint, None)
    program("policy", "promote", "--undo", "--yes")


def test_reload_refuses_a_wrong_file_and_says_why(
    program: Program, policy: Path, serve: Serve
) -> None:
    """Exit code 1; the policy before stays, and the API tells administrators of it."""
    worker = serve()
    put(policy, "[admision]\n")
    said = program("policy", "reload", code=1)
    assert "Refused: policy.toml: unknown key 'admision'" in said.stderr
    assert f"stays in force (fingerprint {RED})" in said.stderr
    (told,) = program.json("policy", "reload", code=1)
    assert (told["fingerprint"], told["complete"]) == (RED, True)
    in_force = worker._usher.policy_in_force
    assert in_force.rejected == told["rejected"]
    assert in_force.current.fingerprint == RED
    put(policy, policy_of("red"))
    program("policy", "reload")
    assert in_force.rejected == ""


def test_reload_without_a_server_says_so(program: Program, policy: Path) -> None:
    """And where it was looked for."""
    said = program("policy", "reload", code=1).stderr
    assert "No server runs that keeps its files in " in said
    assert "USHER_SPOOL" in said


def test_reload_beside_usher_dev_says_that_there_is_no_need(
    program: Program, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``usher dev`` starts again when the file changes."""
    monkeypatch.setattr(policy_reload, "dev_runs", lambda: True)
    said = program("policy", "reload", code=1).stderr
    assert "`usher dev` takes a changed policy up by itself" in said


def test_code_is_neither_reloaded_nor_promoted(
    program: Program, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process cannot read it again."""
    (tmp_path / "rules_of_reload.py").write_text("def decide(applicant):\n    return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("USHER_POLICY", "rules_of_reload:decide")
    serve()
    assert "Restart the server" in program("policy", "reload", code=1).stderr
    assert "restart the server" in program("policy", "promote", code=1).stderr


def test_promote_shows_what_changes_and_puts_the_file_in_force(
    program: Program, policy: Path, serve: Serve
) -> None:
    """The former one is kept; ``--undo`` exchanges the two, and does so again."""
    serve()
    following = policy.with_name("next.toml")
    following.write_text(policy_of("blue"))
    said = program("policy", "promote", input="y\n")
    assert "- Gives 'red' to everybody." in said.stdout
    assert "+ Gives 'blue' to everybody." in said.stdout
    assert f"The policy is in force (fingerprint {BLUE})." in said.stdout
    assert policy.read_text() == policy_of("blue")
    assert not following.exists()
    for colour, fingerprint in (("red", RED), ("blue", BLUE)):
        said = program("policy", "promote", "--undo", "--yes")
        assert f"The policy is in force (fingerprint {fingerprint})." in said.stdout
        assert policy.read_text() == policy_of(colour)
    assert {path.name for path in policy.parent.glob("*policy*")} == {
        "policy.toml",
        "policy.toml.before",
    }


def test_promote_is_audited_with_both_fingerprints(program: Program, policy: Path) -> None:
    """By whom; without a server, the next start reads it."""
    program.sign_up("ada@example.com")
    policy.with_name("next.toml").write_text(policy_of("blue"))
    said = program("policy", "promote", "--yes")
    assert "the next one that starts reads it" in said.stdout
    (entry,) = program.json("audit", "--action", "policy.promoted")["audit"]
    assert (entry["before"], entry["after"]) == ({"policy": RED}, {"policy": BLUE})
    assert (entry["actor"], entry["user_id"]) == (
        "cli:operator",
        "00000000-0000-0000-0000-000000000000",
    )
    assert "the site" in program("audit").stdout


def test_promote_changes_nothing_without_a_yes_or_with_a_wrong_file(
    program: Program, policy: Path
) -> None:
    """What is promoted is checked as if it were in place."""
    following = policy.with_name("next.toml")
    following.write_text(policy_of("blue"))
    program("policy", "promote", code=1, input="n\n")
    failing = '[[test]]\nwho = "a@b.example"\nexpect = "refused"\n'
    for text in ("", "[admission]\n", "[admision]\n", policy_of("blue") + failing):
        following.write_text(text)
        assert "next.toml: " in program("policy", "promote", "--yes", code=1).stderr
    following.unlink()
    said = program("policy", "promote", "--yes", code=1).stderr
    assert f"{following}: there is no such file" in said
    assert "nothing to go back to" in program("policy", "promote", "--undo", code=1).stderr
    program("policy", "promote", "--undo", "next.toml", code=2)
    program("policy", "promote", str(policy), code=2)
    assert policy.read_text() == policy_of("red")
    assert not policy.with_name("policy.toml.before").exists()


def test_the_first_policy_is_promoted_where_there_was_none(
    program: Program, tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to keep, and so nothing to undo."""
    policy.unlink()
    monkeypatch.setenv("USHER_POLICY", "policy.toml")
    (tmp_path / "next.toml").write_text(policy_of("blue"))
    program("policy", "promote", "--yes")
    assert policy.read_text() == policy_of("blue")
    program("policy", "promote", "--undo", "--yes", code=1)


def test_a_full_disk_leaves_the_policy_as_it_is(
    program: Program, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no copy beside it."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    following = policy.with_name("next.toml")
    following.write_text(policy_of("blue"))
    names = {path.name for path in policy.parent.iterdir()}
    monkeypatch.setattr("usher.core.policy_reload.os.fsync", full)
    said = program("policy", "promote", "--yes", code=1).stderr
    assert f"{policy}: No space left on device." in said
    assert policy.read_text() == policy_of("red")
    assert {path.name for path in policy.parent.iterdir() if "policy" in path.name} <= names


def test_of_a_link_the_file_that_it_names_is_promoted(program: Program, policy: Path) -> None:
    """Moved, it would name nothing, and without a policy everybody is admitted."""
    drafts = policy.parent / "drafts"
    drafts.mkdir()
    (drafts / "v2.toml").write_text(policy_of("blue"))
    (drafts / "next.toml").symlink_to("v2.toml")
    program("policy", "promote", str(drafts / "next.toml"), "--yes")
    assert (policy.read_text(), policy.is_symlink()) == (policy_of("blue"), False)
    assert [path.name for path in drafts.iterdir()] == ["v2.toml"]
    program("policy", "promote", "--undo", "--yes")
    assert policy.read_text() == policy_of("red")


def test_promote_takes_the_watched_file_unless_told(
    program: Program, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of USHER_POLICY_SHADOW; where that is code, or not set, next.toml."""
    monkeypatch.setenv("USHER_POLICY_SHADOW", "candidate.toml")
    candidate, following = tmp_path / "candidate.toml", policy.with_name("next.toml")
    candidate.write_text(policy_of("blue"))
    following.write_text(policy_of("green"))
    assert "Nothing is watched now." in program("policy", "promote", "--yes").stdout
    assert policy.read_text() == policy_of("blue")
    assert "candidate.toml: there" in program("policy", "promote", "--yes", code=1).stderr
    monkeypatch.setenv("USHER_POLICY_SHADOW", "rules_to_come:decide")
    assert "Nothing is watched" not in program("policy", "promote", "--yes").stdout
    assert policy.read_text() == policy_of("green")


def test_promote_mends_a_policy_that_cannot_be_used(program: Program, policy: Path) -> None:
    """It says what is wrong with the one in place."""
    put(policy, "[admision]\n")
    policy.with_name("next.toml").write_text(policy_of("blue"))
    said = program("policy", "promote", "--yes")
    assert "The policy in place cannot be used: policy.toml: unknown key" in said.stderr
    assert policy.read_text() == policy_of("blue")


def test_promote_refuses_another_file_than_the_servers(
    program: Program, policy: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other settings than the server's, it would be moved to where nobody reads it."""
    serve()
    other = tmp_path / "other.toml"
    other.write_text(policy_of("red"))
    monkeypatch.setenv("USHER_POLICY", str(other))
    (tmp_path / "next.toml").write_text(policy_of("blue"))
    said = program("policy", "promote", "--yes", code=1).stderr
    assert f"The server reads {policy}" in said
    assert other.read_text() == policy_of("red")


def test_an_event_is_decided_by_what_was_reloaded(
    program: Program, policy: Path, serve: Serve
) -> None:
    """By the App that serves, without its being built anew."""
    worker = serve()
    put(policy, policy_of("blue"))
    program("policy", "reload")
    with use(worker._usher):
        now = datetime.now(UTC)
        answer = call(signed("signup", account(at=now), at=now))
    assert '"blue"' in answer["body"]
