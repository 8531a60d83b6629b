"""The policy over the API: as the command says it, for administrators; oneself, for anybody."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from tests.api.api_support import BOSS, JWT_SECRET, People
from tests.support import SECRET, Clock
from usher.cli.main import usher
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.policy import Applicant, Reason, Verdict
from usher.core.policy_source import load_policy
from usher.core.settings import Settings

ADMIN = "administrator"
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"email": "ada@example.com"}, []),
    ({"email": "ada@example.com", "proven": False}, ["--unproven"]),
    ({"email": "Ada <OWNER@Example.com>", "provider": "google"}, ["--provider", "google"]),
    ({"email": "x@mailinator.com", "event": "validate"}, ["--event", "validate"]),
    ({"email": "a@b@c"}, []),
    ({"email": "<script>@example.com"}, []),
    (
        {"email": "ada@example.com", "invited": True, "at": "2026-12-10T12:00:00+01:00"},
        ["--invited", "--at", "2026-12-10T11:00:00"],
    ),
]


def asked(command: list[str], policy: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command prints for programs."""
    monkeypatch.setenv("USHER_POLICY", str(policy))
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", SECRET.decode())
    return json.loads(CliRunner().invoke(usher, ["policy", *command, "--json"]).stdout)


def test_the_rules_are_those_of_the_command(
    sqlite_people: People, policy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences, what the policy's own tests come to, and the fingerprint of decisions."""
    test = '[[test]]\nwho = "x@mailinator.com"\nexpect = "refused"\n'
    policy_file.write_text(policy_file.read_text() + test)
    sqlite_people.app.policy_in_force.current = load_policy(str(policy_file))
    answer = sqlite_people.ask(ADMIN, "GET", "/policy")
    here = {"mode": "live", "rejected": None}
    assert answer.json == asked(["check"], policy_file, monkeypatch) | here
    assert "Gives 'member' to everybody." in answer.json["rules"]
    assert [found["passed"] for found in answer.json["tests"]] == [True]


@pytest.mark.parametrize(("body", "options"), CASES)
def test_a_verdict_is_that_of_the_command(
    sqlite_people: People,
    policy_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
    options: list[str],
) -> None:
    """Admission, message, roles and reasons, proven or not."""
    answer = sqlite_people.ask(ADMIN, "POST", "/policy/explain", body)
    command = ["explain", body["email"], *options]
    assert answer.json == asked(command, policy_file, monkeypatch)


@pytest.mark.parametrize(("code", "waiting"), [("valid", False), ("invalid", True)])
def test_a_code_in_the_question_counts_as_in_the_commands(
    sqlite_people: People,
    policy_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    waiting: bool,
) -> None:
    """It admits those who would wait; for people on record, too."""
    rules = '[admission]\ndefault = "ask"\ninvitation_code = "code"\n'
    policy_file.write_text(rules)
    sqlite_people.app.policy_in_force.current = load_policy(str(policy_file))
    body = {"email": "new@x.org", "code": code}
    answer = sqlite_people.ask(ADMIN, "POST", "/policy/explain", body)
    assert (answer.json["admitted"], answer.json["waiting"]) == (True, waiting)
    assert answer.json["reasons"][0]["rule"] == "admission.invitation_code"
    command = ["explain", body["email"], "--code", code]
    assert answer.json == asked(command, policy_file, monkeypatch)
    monkeypatch.setenv("USHER_DATABASE_URL", sqlite_people.app.settings.database_url)
    who = str(sqlite_people.ids["user"])
    on_record = asked(["explain", who, "--code", code], policy_file, monkeypatch)
    assert on_record["waiting"] is waiting


def test_asking_leaves_no_trace(people: People) -> None:
    """Neither a record, nor an event, nor an entry in the audit."""
    store = people.app.store
    before = (store.users.page().items, store.users.audit_page().items, store.ledger.page().items)
    assert people.ask(ADMIN, "POST", "/policy/explain", {"email": "new@x.org"}).status == 200
    after = (store.users.page().items, store.users.audit_page().items, store.ledger.page().items)
    assert before == after


@pytest.mark.parametrize(
    "body",
    [
        {}, {"email": ""}, {"email": "a" * 321}, {"email": 1}, {"email": "a@b.c", "proven": "yes"},
        {"email": "a@b.c", "event": "login"}, {"email": "a@b.c", "provider": None},
        {"email": "a@b.c", "at": "2026-12-10T12:00:00"}, {"email": "a@b.c", "invited": 2},
        {"email": "a@b.c", "code": "open"}, {"email": "a@b.c", "code": True},
    ],
)  # fmt: skip
def test_a_question_that_is_none_is_refused(sqlite_people: People, body: object) -> None:
    """By its model, as everywhere."""
    answer = sqlite_people.ask(ADMIN, "POST", "/policy/explain", body)
    assert (answer.status, answer.code) == (400, "input_invalid")


def test_everybody_learns_why_they_have_their_roles(people: People, clock: Clock) -> None:
    """Who gives each role, until when; and the rules that concern them, given or withheld."""
    users = people.app.store.users
    end = clock.now + timedelta(days=1)
    for role, ends in (("editor", end), ("staff", end), ("guest", end)):
        users.change(
            users.get(people.ids["user"]), administration.grant(role, expires_at=ends), BOSS
        )
    users.change(users.get(people.ids["user"]), administration.revoke("member"), BOSS)
    answer = people.ask("user", "GET", "/policy/me").json
    assert [(each["role"], each["sources"], each["until"]) for each in answer["roles"]] == [
        ("editor", ["administrator"], "2026-11-24T12:00:00Z"),
        ("guest", ["administrator"], "2026-11-24T12:00:00Z"),
        ("staff", ["administrator", "policy"], None),
    ]
    assert [each["rule"] for each in answer["reasons"]] == ["role.1", "role.2"]
    assert answer["roles"][0]["since"] == "2026-11-23T12:00:00Z"
    assert (answer["administrator"], answer["administrator_role"]) == (False, "admin")


def test_what_was_written_for_administrators_stays_with_them(people: People) -> None:
    """Neither an actor nor their reason is shown to the person."""
    body = {"reason": "a secret reason"}
    assert people.ask(ADMIN, "PUT", "/users/{user}/roles/editor", body).status == 200
    text = people.ask("user", "GET", "/policy/me").text
    assert "editor" in text
    assert "secret" not in text
    assert str(people.ids[ADMIN]) not in text


def decide(applicant: Applicant) -> Verdict:
    """A policy in code."""
    roles = frozenset({"admin"} if applicant.address == "owner@example.com" else ())
    return Verdict(roles=roles, role_reasons=(Reason("code.secret", "an inner matter"),))


def test_a_callable_explains_itself_to_administrators_alone(sqlite_url: str, clock: Clock) -> None:
    """Its reasons were not written for the person."""
    settings = Settings(
        webhook_secrets=(SECRET,),
        database_url=sqlite_url,
        jwt_secret=JWT_SECRET,
        policy=f"{__name__}:decide",
    )
    with use(App(settings, clock)) as app:
        people = People(app)
        body = {"email": "new@x.org"}
        verdict = people.ask(ADMIN, "POST", "/policy/explain", body).json
        assert verdict["reasons"][1] == {"rule": "code.secret", "text": "an inner matter"}
        assert people.ask(ADMIN, "GET", "/policy").json["rules"] == [
            f"The callable {__name__}:decide decides."
        ]
        mine = people.ask("user", "GET", "/policy/me").json
        assert (mine["roles"], mine["reasons"], mine["administrator"]) == ([], [], False)
        assert people.ask(ADMIN, "GET", "/policy/me").json["administrator"] is True


def test_the_api_says_whether_usher_only_observes(
    sqlite_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To administrators with the rules, and to everybody with their own roles."""
    paths = ("/policy", "/policy/me")
    assert [sqlite_people.ask(ADMIN, "GET", path).json["mode"] for path in paths] == ["live"] * 2
    observing = replace(sqlite_people.app.settings, mode="observe")
    monkeypatch.setattr(sqlite_people.app, "settings", observing)
    assert [sqlite_people.ask(ADMIN, "GET", path).json["mode"] for path in paths] == ["observe"] * 2
