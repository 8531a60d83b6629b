"""``usher instance``, and what commands say and do about events of other instances."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.cli.conftest import Program
from tests.store.store_support import counts, execute, rows
from tests.store.test_users import save, user
from tests.support import account, call, signed
from usher import migrations
from usher.cli.checks.instance import _several
from usher.core.store.database import Database
from usher.core.store.instance_report import OnRecord

ZERO, OURS, STRANGER = UUID(int=0), UUID(int=7), UUID(int=8)


def finding(program: Program) -> dict[str, object]:
    """What doctor finds about the instance."""
    found: list[dict[str, object]] = program.json("doctor", code=(0, 1))
    return next(one for one in found if one["name"] == "instance")


def crowd(program: Program) -> None:
    """Ours first, then one event of a stranger of each kind."""
    program.deliver("signup", "ada@example.com", instance_id=OURS)
    for event in ("validate", "login", "usermodified", "userdeleted"):
        program.deliver(event, "ada@x.org", instance_id=STRANGER)


def test_d1_nothing_is_known_at_first(on_both: Program) -> None:
    """It is said so, and is no fault."""
    assert on_both.json("instance") == {
        "instance_id": None, "how": "not", "adopted": None, "on_record": [],
    }  # fmt: skip
    assert on_both("instance").stdout == (
        "In use: not known yet; the first event that Identity sends will name it\n"
    )
    assert finding(on_both)["well"] is True


def test_d1_the_adopted_instance_is_told_with_its_event(on_both: Program) -> None:
    """By the command and by doctor."""
    on_both.deliver("signup", "ada@example.com", instance_id=OURS)
    (event,) = on_both.json("events", "list")["events"]
    found = on_both.json("instance")
    assert (found["instance_id"], found["how"]) == (str(OURS), "event")
    assert found["adopted"]["delivery_id"] == event["id"]
    assert found["on_record"] == [
        {"instance_id": str(OURS), "users": 1, "events": 1, "refused": 0, "last_refused": None}
    ]
    said = on_both("instance").stdout
    assert f"In use: {OURS}, adopted at " in said
    assert event["id"][:20] in said
    told = finding(on_both)
    assert told["well"] is True
    assert f"{OURS}, adopted at " in str(told["text"])


def test_d1_refused_events_are_told_and_shown(on_both: Program) -> None:
    """Doctor names the instance, how many, since when, and the two ways out."""
    crowd(on_both)
    told = finding(on_both)
    assert told["well"] is False
    assert told["key"] == "instance.other"
    facts: Any = told["facts"]
    assert (facts["instance"], facts["count"]) == (str(STRANGER), 4)
    assert f"usher events list --instance {STRANGER}" in str(told["advice"])
    listed = on_both.json("events", "list", "--instance", str(STRANGER))["events"]
    assert {one["outcome"] for one in listed} == {"ignored"}
    assert {reason["rule"] for one in listed for reason in one["reasons"]} == {"instance.other"}
    assert len(listed) == 4
    assert len(on_both.json("events", "list")["events"]) == 1
    shown = on_both("events", "show", listed[0]["id"]).stdout
    assert str(STRANGER) in shown
    assert "instance.other" in shown
    (_, stranger) = on_both.json("instance")["on_record"]
    assert (stranger["users"], stranger["events"], stranger["refused"]) == (0, 4, 4)


def test_d1_an_unknown_event_of_before_the_choice_was_not_refused(on_both: Program) -> None:
    """It was ignored for its name, as ours are; doctor finds nothing wrong."""
    now = datetime.now(UTC)
    event = signed("novelty", account(email="ada@x.org", at=now), at=now, instance_id=STRANGER)
    with on_both.app():
        assert call(event, "identity")["statusCode"] == 204
    on_both.deliver("signup", "ada@example.com", instance_id=OURS)
    (_, stranger) = on_both.json("instance")["on_record"]
    assert (stranger["events"], stranger["refused"]) == (1, 0)
    assert finding(on_both)["well"] is True


def test_d2_doctor_prefers_an_instance_with_events_to_the_guess_of_a_token() -> None:
    """One record each: the zero UUID that an older version guessed is not the likely one."""
    each = [OnRecord(ZERO, 1, 0, 0, None), OnRecord(OURS, 1, 1, 0, None)]
    assert _several(each).facts["largest"] == str(OURS)


@pytest.mark.parametrize("command", [("events", "again"), ("policy", "explain")])
def test_d1_an_event_of_another_instance_is_named_as_such(
    on_both: Program, command: tuple[str, str]
) -> None:
    """It can be shown; nothing is decided by it, and no command says that it is not there."""
    crowd(on_both)
    listed = on_both.json("events", "list", "--instance", str(STRANGER))["events"]
    refused = on_both(*command, listed[0]["id"][:20], code=1)
    assert f"of another Identity instance, {STRANGER}" in refused.stderr
    assert "usher instance" in refused.stderr
    assert "No event's id begins with" in on_both(*command, "ffffffffff", code=1).stderr


def test_d1_following_doctors_advice_mends_it(
    on_both: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong adoption: the setting names the other; what came before is not lost."""
    on_both.deliver("signup", "wrong@x.org", instance_id=STRANGER)
    on_both.deliver("signup", "ada@example.com", instance_id=OURS)
    assert finding(on_both)["well"] is False
    monkeypatch.setenv("USHER_INSTANCE_ID", str(OURS))
    on_both.deliver("signup", "bob@example.com", instance_id=OURS)
    assert [one["email"] for one in on_both.json("users", "list")["users"]] == ["bob@example.com"]
    told = finding(on_both)
    assert told["well"] is True
    assert told["text"] == f"{OURS}, by USHER_INSTANCE_ID"
    monkeypatch.delenv("USHER_INSTANCE_ID")
    assert finding(on_both)["text"] == f"{OURS}, by USHER_INSTANCE_ID"


COMMANDS = (
    ["users", "list"], ["users", "show", "ada@example.com"],
    ["users", "grant", "ada@example.com", "editor"], ["users", "suspend", "ada@example.com"],
    ["audit"], ["events", "list"], ["events", "export"], ["events", "prune", "--yes"],
    ["policy", "try", "policy.toml"], ["replay", "--ledger", "--dry-run"], ["instance"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_d1_no_command_fails_for_a_strangers_events(
    on_both: Program, command: list[str], policy_file: object
) -> None:
    """Each works on ours alone."""
    crowd(on_both)
    said = on_both(*[str(policy_file) if part == "policy.toml" else part for part in command])
    if command != ["instance"]:
        assert "ada@x.org" not in said.stdout
        assert str(STRANGER) not in said.stdout
    if command[:2] == ["policy", "try"]:
        assert "1 events of 1 users" in said.stdout


def test_d1_trigger_says_in_a_signed_claim_that_it_is_none(on_both: Program) -> None:
    """It works before the first event, and decides nothing; afterwards its own default fits."""
    with on_both.door() as door:
        hook = f"{door.url}/.netlify/functions/identity-signup"
        on_both("trigger", "signup", "--url", hook)
    (event,) = on_both.json("events", "list")["events"]
    assert on_both.json("events", "show", event["id"])["outcome"] == "applied"
    assert on_both.json("instance")["how"] == "records"
    assert "not adopted yet" in str(finding(on_both)["text"])
    on_both("users", "grant", "ada@example.com", "admin")
    on_both.deliver("signup", "bob@example.com", instance_id=OURS)
    assert on_both.json("instance")["instance_id"] == str(OURS)
    with on_both.door() as door:
        hook = f"{door.url}/.netlify/functions/identity-login"
        refused = on_both("trigger", "login", "--url", hook, code=1)
        assert "--instance-id" in refused.stdout
        on_both("trigger", "login", "--url", hook, "--instance-id", str(OURS))


def test_d1_trigger_signs_for_the_instance_of_the_setting(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is set, nothing else would be taken."""
    monkeypatch.setenv("USHER_INSTANCE_ID", str(OURS))
    with program.door() as door:
        hook = f"{door.url}/.netlify/functions/identity-signup"
        sent = program.json("trigger", "signup", "--url", hook)
    assert json.loads(sent["body"])["instance_id"] == str(OURS)


def test_d1_a_replay_and_an_import_adopt_nothing(
    on_both: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Whatever file it is; and an import of a stranger's jams nothing."""
    on_both.deliver("signup", "ada@x.org", instance_id=STRANGER)
    exported = on_both("events", "export").stdout
    with on_both.app() as app:
        database = app.store.database
        for table in ("instances", "users", "grants", "deliveries", "audit"):
            execute(database, f"DELETE FROM {table}")
    on_both("events", "import", "-", input=exported)
    assert on_both.json("instance")["how"] == "not"
    assert len(on_both.json("events", "list")["events"]) == 1
    on_both("replay", "-", input=exported)
    assert on_both.json("instance")["how"] == "records"
    on_both.deliver("signup", "bob@example.com", instance_id=OURS)
    assert [one["email"] for one in on_both.json("users", "list")["users"]] == ["bob@example.com"]
    assert finding(on_both)["well"] is True
    assert on_both("replay", "-", input=exported, code=(0, 1))
    assert len(on_both.json("users", "list")["users"]) == 1


# --- an upgrade -----------------------------------------------------------------------------------


def before_the_upgrade(program: Program, *people: tuple[UUID, str]) -> None:
    """Records as an older version has left them: (instance, order of the newest event)."""
    with program.app() as app:
        save(app, *(user(f"u{n}@x.org", instance_id=one, order=order)
                    for n, (one, order) in enumerate(people)))  # fmt: skip
        database = app.store.database
        execute(database, "DROP TABLE instances")
        migrate_again(database)


def migrate_again(database: Database) -> None:
    """Run this migration alone, where the later ones have run."""
    execute(database, "UPDATE alembic_version SET version_num = '0006'")
    migrations.upgrade(database, to="0007")
    execute(database, f"UPDATE alembic_version SET version_num = '{migrations.newest()}'")


BY_EVENT = "1795476852.2"


@pytest.mark.parametrize(
    ("people", "adopted"),
    [
        pytest.param((), None, id="nobody"),
        pytest.param(((OURS, BY_EVENT),), OURS, id="one"),
        pytest.param(((OURS, ""), (OURS, BY_EVENT), (OURS, "")), OURS, id="three of one"),
        pytest.param(((OURS, ""),), OURS, id="one by a sync"),
        pytest.param(((ZERO, BY_EVENT), (ZERO, "")), ZERO, id="zero"),
        pytest.param(((ZERO, ""),), None, id="zero by a guess"),
    ],
)
def test_d1_an_upgrade_adopts_the_only_instance(
    on_both: Program, people: tuple[tuple[UUID, str], ...], adopted: UUID | None
) -> None:
    """Zero only where an event wrote it: the first token used to make a record under it."""
    before_the_upgrade(on_both, *people)
    found = on_both.json("instance")
    assert found["how"] == ("upgrade" if adopted else "records" if people else "not")
    if adopted:
        assert found["instance_id"] == str(adopted)
        assert "adopted at " in on_both("instance").stdout
    assert finding(on_both)["well"] is True
    on_both.deliver("signup", "bob@example.com", instance_id=OURS)
    again = on_both.json("instance")
    assert again["instance_id"] == str(adopted if adopted is not None else OURS)


@pytest.mark.parametrize("order", ["", BY_EVENT], ids=["by a guess", "by an event"])
def test_d1_an_upgrade_with_records_of_several_needs_the_setting(
    on_both: Program, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Doctor and every command name them, and what to do; doing it mends all of it."""
    before_the_upgrade(on_both, (OURS, BY_EVENT), (ZERO, order))
    on_both.deliver("signup", "bob@example.com", instance_id=OURS)
    for command in (["users", "list"], ["events", "list"], ["audit"]):
        said = on_both(*command, code=1).stderr
        assert f"{ZERO}, {OURS}" in said
        assert "USHER_INSTANCE_ID" in said
    told = finding(on_both)
    assert told["well"] is False
    assert f"{OURS} (2 users), {ZERO} (1 user)" in str(told["text"])
    assert "USHER_INSTANCE_ID" in str(told["advice"])
    assert "several instances" in on_both("instance").stdout
    found = {one["instance_id"]: one["users"] for one in on_both.json("instance")["on_record"]}
    assert found == {str(ZERO): 1, str(OURS): 2}
    monkeypatch.setenv("USHER_INSTANCE_ID", str(OURS))
    assert finding(on_both)["well"] is True
    assert len(on_both.json("users", "list")["users"]) == 2


def test_d1_an_upgrade_run_twice_keeps_what_it_adopted(on_both: Program) -> None:
    """And what an event adopted meanwhile."""
    before_the_upgrade(on_both, (OURS, BY_EVENT))
    with on_both.app() as app:
        database = app.store.database
        before = rows(database, "SELECT * FROM instances")
        migrate_again(database)
        assert rows(database, "SELECT * FROM instances") == before
        assert counts(database)["users"] == 1
