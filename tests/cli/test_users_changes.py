"""``usher users grant``, ``revoke``, ``suspend``, ``reactivate`` and ``delete``."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tests.cli.conftest import Program
from usher.core.app import utc_now
from usher.core.domain import administration
from usher.core.domain.administration import Change

ADA, OWNER = "ada@example.com", "owner@example.com"


@pytest.fixture
def ada(program: Program) -> Program:
    """One active member of the staff."""
    program.sign_up(ADA)
    return program


def audited(program: Program) -> list[tuple[str, str, str]]:
    """Action, actor and reason of every entry of the audit, in order."""
    with program.app() as app, app.store.database.read() as transaction:
        rows = transaction.sql.execute(
            text("SELECT action, actor, reason FROM audit ORDER BY sequence")
        ).all()
    return [(row[0], row[1], row[2]) for row in rows]


def test_a_grant_is_effective_explained_and_audited(on_both: Program) -> None:
    """Who gave it, why, and that it is not the policy's."""
    on_both.sign_up(ADA)
    on_both("users", "grant", ADA, "editor", "--reason", "writes the news")
    assert on_both.roles(ADA) == ["editor", "member", "staff"]
    (grant,) = [g for g in on_both.json("users", "show", ADA)["grants"] if g["role"] == "editor"]
    assert (grant["source"], grant["actor"]) == ("administrator", "cli:operator")
    assert (grant["reason"], grant["expires_at"], grant["holds"]) == ("writes the news", None, True)
    assert audited(on_both)[-1] == ("role.granted", "cli:operator", "writes the news")


def test_a_grant_can_end_on_a_day_or_after_some(ada: Program) -> None:
    """A day of UTC, or a span from now."""
    ada("users", "grant", ADA, "guest", "--until", "2999-12-31")
    ada("users", "grant", ADA, "trial", "--until", "30d")
    ends = {g["role"]: g["expires_at"] for g in ada.json("users", "show", ADA)["grants"]}
    assert ends["guest"] == "2999-12-31T00:00:00Z"
    left = datetime.fromisoformat(ends["trial"]) - utc_now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_a_grant_that_ended_gives_nothing(ada: Program) -> None:
    """It stays on record as ended."""
    with ada.app(lambda: utc_now() - timedelta(days=2)) as app:
        user = app.store.users.find(ADA)
        ends = utc_now() - timedelta(days=1)
        app.store.users.change(user, administration.grant("guest", expires_at=ends), Change("test"))
    assert ada.roles(ADA) == ["member", "staff"]
    rows = [line.split()[:3] for line in ada("users", "show", ADA).stdout.splitlines()]
    assert ["guest", "ended", "administrator"] in rows
    assert ada.json("users", "list", "--role", "guest")["users"] == []


@pytest.mark.parametrize(
    "until", ["2020-01-01", "tomorrow", "0d", "999999w", "2020-01-01T00:00:00+02:00"]
)
def test_an_end_that_is_none_is_wrong_usage(ada: Program, until: str) -> None:
    """Exit code 2, and no role is given."""
    assert "--until" in ada("users", "grant", ADA, "editor", "--until", until, code=2).stderr
    assert ada.roles(ADA) == ["member", "staff"]


@pytest.mark.parametrize("role", ["", " ", " a", "a\n", "\x1b[31m", "r" * 101])
def test_what_is_no_role_name_is_refused(ada: Program, role: str) -> None:
    """Exit code 1, and the rule: how long it may be."""
    result = ada("users", "grant", ADA, role, code=1)
    assert "1 to 100" in result.stderr
    assert "\x1b" not in result.stderr
    assert ada.roles(ADA) == ["member", "staff"]


@pytest.mark.parametrize("role", ["{email}", "{", "{x}", "100%", "[bold]b[/bold]", "größe"])
def test_any_role_name_can_be_given_and_taken(ada: Program, role: str) -> None:
    """Braces and brackets are names like any other."""
    said = ada("users", "grant", ADA, role).stdout
    assert repr(role) in said.splitlines()[0]
    assert role in ada.roles(ADA)
    said = ada("users", "revoke", ADA, role).stdout
    assert repr(role) in said.splitlines()[0]
    assert role not in ada.roles(ADA)


def test_revoking_a_role_of_the_policy_leaves_a_denial(on_both: Program) -> None:
    """The next login does not bring it back, and the events say why."""
    (ada,) = on_both.sign_up(ADA)
    on_both("users", "revoke", ADA, "staff", "--reason", "left")
    assert on_both.roles(ADA) == ["member"]
    on_both.deliver("login", ADA, user_id=ada, app_metadata={"provider": "email"})
    assert on_both.roles(ADA) == ["member"]
    (event,) = on_both.json("events", "list", "--event", "login")["events"]
    assert {"rule": "denial.administrator", "text": "no 'staff': denied by administrator"} in event[
        "reasons"
    ]
    assert ("role.revoked", "cli:operator", "left") in audited(on_both)


def test_granting_again_lifts_the_denial(ada: Program) -> None:
    """The administrator's last word counts."""
    ada("users", "revoke", ADA, "staff")
    ada("users", "grant", ADA, "staff")
    assert ada.roles(ADA) == ["member", "staff"]


def test_revoking_what_nobody_gave_is_noted(ada: Program) -> None:
    """No error, but not silent either; nothing is audited."""
    before = audited(ada)
    result = ada("users", "revoke", ADA, "editor")
    assert "'editor'" in result.stderr
    assert audited(ada) == before


def test_a_suspended_user_is_out_until_reactivated(on_both: Program) -> None:
    """Logins are refused with a stated rule; grants stay."""
    (ada,) = on_both.sign_up(ADA)
    suspended = on_both.json("users", "suspend", ADA, "--reason", "abuse")
    assert suspended["status"] == "suspended"
    on_both.deliver("login", ADA, user_id=ada)
    (event,) = on_both.json("events", "list", "--outcome", "denied")["events"]
    assert [reason["rule"] for reason in event["reasons"]] == ["user.suspended"]
    again = on_both.json("users", "reactivate", ADA)
    assert (again["status"], again["roles"]) == ("active", ["member", "staff"])
    assert [entry[0] for entry in audited(on_both)] == [
        "user.created",
        "user.suspended",
        "user.reactivated",
    ]


def test_doing_a_thing_twice_changes_nothing_the_second_time(ada: Program) -> None:
    """Neither the record's version nor the audit."""
    for command in (["suspend", ADA], ["reactivate", ADA], ["grant", ADA, "x"]):
        ada("users", *command)
        before = (ada.json("users", "show", ADA)["version"], audited(ada))
        ada("users", *command)
        assert (ada.json("users", "show", ADA)["version"], audited(ada)) == before, command


@pytest.mark.parametrize("answer", ["", "n\n", "\n"])
def test_delete_asks_first(ada: Program, answer: str) -> None:
    """Without a yes nothing happens."""
    result = ada("users", "delete", ADA, input=answer, code=1)
    assert (result.stdout, ADA in result.stderr) == ("", True)
    assert ada.json("users", "show", ADA)["status"] == "active"


@pytest.mark.parametrize(("options", "answer"), [([], "y\n"), (["--yes"], None)])
def test_delete_leaves_a_tombstone(ada: Program, options: list[str], answer: str | None) -> None:
    """After a yes, or without asking; the id stays, nothing else does."""
    user_id = ada.json("users", "show", ADA)["id"]
    said = ada("users", "delete", ADA, *options, input=answer).stdout
    assert (user_id in said, ADA in said) == (True, False)
    ada("users", "show", ADA, code=1)
    left = ada.json("users", "show", user_id)
    assert (left["status"], left["email"], left["roles"]) == ("deleted", "", [])
    for command in (["grant", user_id, "x"], ["suspend", user_id], ["reactivate", user_id]):
        assert left["deleted_at"][:10] in ada("users", *command, code=1).stderr


def test_after_a_deletion_no_command_prints_the_person(ada: Program) -> None:
    """``Erase for good``: neither the list, nor the events, nor their bodies know the address."""
    user_id = ada.json("users", "show", ADA)["id"]
    ada("users", "delete", ADA, "--yes")
    assert ADA not in ada("users", "list", "--json").stdout
    listed = ada("events", "list", "--user", user_id, "--json").stdout
    assert '"signup"' in listed
    assert ADA not in listed


# each takes away the site's only administrator
DEPOSITIONS = [["revoke", OWNER, "admin"], ["suspend", OWNER], ["delete", OWNER, "--yes"]]


@pytest.mark.parametrize("command", DEPOSITIONS, ids=lambda command: command[0])
def test_the_last_administrator_is_protected(program: Program, command: list[str]) -> None:
    """Refused, by the name of the role and the way around it; possible with --force."""
    (owner,) = program.sign_up(OWNER)
    result = program("users", *command, code=1)
    assert ("'admin'" in result.stderr, "force" in result.stderr) == (True, True)
    assert program.roles(owner) == ["admin", "member", "staff"]
    program("users", *command, "--force")
    assert program.json("users", "list", "--role", "admin", "--status", "active")["users"] == []


@pytest.mark.parametrize("command", DEPOSITIONS, ids=lambda command: command[0])
def test_with_a_second_administrator_nobody_is_irreplaceable(
    on_both: Program, command: list[str]
) -> None:
    """One active holder of the role is enough."""
    on_both.sign_up(OWNER, ADA)
    on_both("users", "grant", ADA, "admin")
    on_both("users", *command)
    assert on_both.roles(ADA) == ["admin", "member", "staff"]


def test_a_suspended_administrator_is_no_second_one(program: Program) -> None:
    """Only who could act counts."""
    program.sign_up(OWNER, ADA)
    program("users", "grant", ADA, "admin")
    program("users", "suspend", ADA)
    program("users", "suspend", OWNER, code=1)


def test_json_answers_with_the_changed_record(ada: Program) -> None:
    """For every command that changes one."""
    for command in (["grant", ADA, "x"], ["revoke", ADA, "x"], ["suspend", ADA]):
        changed = ada.json("users", *command)
        assert changed == ada.json("users", "show", ADA)


def test_an_operator_without_a_name_is_named_by_number(
    ada: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the process's user often has no entry in the password file."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    ada("users", "grant", ADA, "editor")
    assert audited(ada)[-1][1].startswith("cli:")
