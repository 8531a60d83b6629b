"""``usher requests``: waiting people and wishes, listed and decided."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Program
from tests.cli.test_users_changes import audited
from usher.cli.environment import opened

ASKING = "tests.domain.decide_support:asks"
BEA, CY = "bea@other.org", "cy@other.org"


@pytest.fixture
def waiting(on_both: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Two people who wait, and one who was let in at once."""
    monkeypatch.setenv("USHER_POLICY", ASKING)
    for email in (BEA, CY, "ada@example.com"):
        on_both.sign_up(email)
    return on_both


def states(program: Program) -> dict[str, str]:
    """The state of each request, by the person's address."""
    found = program.json("requests", "list", "--state", "all")["requests"]
    return {one["user"]["email"]: one["state"] for one in found}


def status(program: Program, email: str) -> Any:
    """Somebody's status."""
    return program.json("users", "show", email)["status"]


def test_requests_are_listed_with_what_the_policy_says(waiting: Program) -> None:
    """The oldest first, in words and as JSON."""
    lines = waiting("requests", "list").output.splitlines()
    assert [line.split()[0] for line in lines] == ["no", "1", "2"]
    assert BEA in lines[1]
    assert "to be let in" in lines[1]
    assert "asks for approval, with member" in lines[1]
    [first, _] = waiting.json("requests", "list")["requests"]
    assert first["policy"]["waiting"] is True
    assert (first["id"], first["role"], first["user"]["status"]) == (1, None, "waiting")
    more = waiting("requests", "list", "--limit", "1").output
    cursor = more.rpartition("--cursor ")[2].strip()
    assert CY in waiting("requests", "list", "--cursor", cursor).output
    assert waiting("requests", "list", "--state", "declined").output == "No requests.\n"


def test_one_request_is_shown_with_its_rules(waiting: Program) -> None:
    """All that a decision takes."""
    output = waiting("requests", "show", "1").output
    for word in (BEA, "to be let in", "open", "tests.domain.decide_support:asks"):
        assert word in output
    assert waiting.json("requests", "show", "1")["user"]["email"] == BEA
    assert "There is no such request" in waiting("requests", "show", "99", code=1).output


def test_an_approval_gives_roles_with_a_reason_and_an_end(waiting: Program) -> None:
    """As the administrator says; the other one waits on."""
    told = waiting(
        "requests", "approve", "1", "--role", "editor", "--until", "2999-01-01", "--reason", "4b"
    )  # fmt: skip
    assert told.output == f"1: {BEA}, to be let in: approved.\n"
    assert waiting.roles(BEA) == ["editor", "member"]
    assert states(waiting) == {BEA: "approved", CY: "open"}
    assert audited(waiting)[-1] == ("user.approved", "cli:operator", "4b")


def test_several_are_decided_at_once_and_one_that_fails_stops_no_other(waiting: Program) -> None:
    """It is told, and the exit code is 1."""
    output = waiting("requests", "approve", "2", "99", "1", "2", code=1).output
    assert "99: There is no such request" in output
    assert states(waiting) == {BEA: "approved", CY: "approved"}
    assert (
        "2: The request was approved already." in waiting("requests", "approve", "2", code=1).output
    )


def test_all_are_decided_after_a_question(waiting: Program) -> None:
    """Unless --yes says that it was thought about."""
    assert (
        "Approve 2 requests to be let in?"
        in waiting("requests", "approve", "--all", input="n\n", code=1).output
    )
    assert status(waiting, BEA) == "waiting"
    decided = waiting.json("requests", "approve", "--all", "--yes")["requests"]
    assert [one["state"] for one in decided] == ["approved", "approved"]
    assert waiting("requests", "list").output == "Nobody waits.\n"
    waiting("requests", "approve", code=2)
    waiting("requests", "approve", "1", "--all", code=2)


def test_a_role_is_given_by_the_number_of_its_request_alone(waiting: Program) -> None:
    """Nobody who asks to administer is let through among those who ask to come in."""
    with opened() as app:
        ada = app.store.users.find("ada@example.com")
        app.requests.ask(ada, "admin", "please", f"user:{ada.id}")
    waiting("requests", "approve", "--all", "--yes")
    assert states(waiting) == {BEA: "approved", CY: "approved", "ada@example.com": "open"}
    assert "admin" not in waiting.roles("ada@example.com")
    waiting("requests", "decline", "--all", "--yes")
    waiting("requests", "approve", "3")
    assert "admin" in waiting.roles("ada@example.com")


def test_a_decline_has_a_sentence_for_the_person_and_can_be_undone(waiting: Program) -> None:
    """They wait on."""
    waiting("requests", "decline", "1", "--message", "Which class?", "--reason", "unknown to me")
    assert status(waiting, BEA) == "waiting"
    assert waiting.json("requests", "show", "1")["message"] == "Which class?"
    assert audited(waiting)[-1] == ("request.declined", "cli:operator", "unknown to me")
    assert "request 1, to be let in" in waiting("audit", "--action", "request.declined").stdout
    waiting("requests", "approve", "1")
    assert status(waiting, BEA) == "active"


@pytest.mark.parametrize(
    "arguments",
    [("approve", "1", "--until", "2000-01-01"), ("decline", "1", "--message", "x" * 501)],
)
def test_what_is_not_valid_decides_nothing(waiting: Program, arguments: tuple[str, ...]) -> None:
    """The command was used wrongly."""
    waiting("requests", *arguments, code=2)
    assert states(waiting) == {BEA: "open", CY: "open"}


def test_who_waits_is_given_no_role_in_another_way(waiting: Program) -> None:
    """The sentence says how."""
    output = waiting("users", "grant", BEA, "editor", code=1).output
    assert "usher requests approve" in output
    assert status(waiting, BEA) == "waiting"
    assert BEA in waiting("users", "list", "--status", "waiting").output


def test_a_policy_that_fails_is_told_in_the_list(
    waiting: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decline needs none."""
    monkeypatch.setenv("USHER_POLICY", "tests.cli.test_requests:broken")
    assert waiting("requests", "list").output.splitlines()[1].split()[-1] == "fails"
    assert "fails" in waiting("requests", "show", "1").output
    assert waiting.json("requests", "show", "1")["policy"] is None
    waiting("requests", "decline", "1")


def broken(_: Any) -> Any:
    """A policy that fails."""
    raise ZeroDivisionError
