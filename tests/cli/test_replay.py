"""Export, redaction, import, pruning and replay, as one types them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.cli.conftest import Program
from tests.support import ROOT, SECRET, account
from usher.cli import trying
from usher.core.app import App, utc_now
from usher.core.domain.administration import Change as By
from usher.core.domain.outbox import Change
from usher.core.domain.outbox_shards import SHARDS
from usher.core.outbox.consumer import Done
from usher.core.webhooks import event_of
from usher.emulator.payload import ZERO_INSTANCE, event_body
from usher.emulator.sender import signed_headers


@pytest.fixture
def traffic(on_both: Program) -> Program:
    """A morning: people come, one is refused, one is erased, an administrator acts."""
    ada = on_both.deliver(
        "signup",
        "ada.canary@example.com",
        user_metadata={"full_name": "Ada Canary", "born": 18151210185211},
    )
    on_both.deliver("signup", "Zoë Canary <zoe.canary@b.example>")
    on_both.deliver("signup", "x@mailinator.com")
    gone = on_both.deliver("signup", "gone@b.example")
    on_both.deliver("login", "ada.canary@example.com", user_id=ada, roles=["member", "staff"])
    on_both.deliver("userdeleted", "gone@b.example", user_id=gone)
    on_both("users", "grant", str(ada), "editor", "--reason", "Canary wanted it")
    return on_both


def exported(program: Program, path: Path, *options: str) -> list[dict[str, Any]]:
    """The ledger in a file; its lines, read."""
    text = program("events", "export", *options).stdout
    path.write_text(text, encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


class Told:
    """A consumer that notes the kinds and the actors of what it gets, by user."""

    name = "handler:site.told"
    patterns = frozenset({"*"})
    seconds = 1.0

    def __init__(self) -> None:
        self.got: dict[UUID, list[tuple[str, str]]] = {}

    def hand_over(self, change: Change) -> Done:
        """Note it."""
        fact = change.kind.value, change.actor.partition(":")[0]
        self.got.setdefault(change.user.id, []).append(fact)
        return Done()

    def work(self, app: App) -> dict[UUID, list[tuple[str, str]]]:
        """Take in all that is due; return it."""
        dispatcher = app.dispatcher(self, uuid4())
        for _ in range(3 * SHARDS):
            dispatcher.turn()
        got, self.got = self.got, {}
        return got


def test_what_is_played_back_is_told_to_nobody_unless_with_effects(
    program: Program, tmp_path: Path
) -> None:
    """Events, deletions and acts; with effects at once, though they come from a signup."""
    gone = program.deliver("signup", "gone@example.com")
    program.deliver("userdeleted", "gone@example.com", user_id=gone)
    person = program.deliver("signup", "ada@example.com")
    program("users", "grant", str(person), "editor")
    file, url = tmp_path / "all.jsonl", f"sqlite:///{tmp_path / 'other.db'}"
    exported(program, file, "--with-audit")
    with program.app() as app:
        other = replace(app.settings, database_url=url)
    told = Told()

    @contextmanager
    def emptied() -> Iterator[App]:
        Path(tmp_path / "other.db").unlink(missing_ok=True)
        program("replay", str(file), "--into", url, "--until", "2020-01-01")  # makes it
        target = App(other)
        assert told.work(target) == {}  # from here on it is told
        yield target
        target.close()

    with emptied() as target:
        program("replay", str(file), "--into", url)
        assert told.work(target) == {}
        assert target.store.users.get(person).grants
    with emptied() as target:
        program("replay", "--ledger", "--with-audit", "--into", url, "--with-effects")
        kinds = ["user.created", "user.confirmed", "role.granted", "role.granted"]
        assert told.work(target) == {
            gone: [("user.deleted", "identity")],
            person: [*((kind, "identity") for kind in kinds), ("role.granted", "cli")],
        }
        assert {one.origin for one in target.store.ledger.page().items} == {"effects"}
        program("replay", "--ledger", "--with-audit", "--into", url, "--with-effects")
        assert told.work(target) == {}
    for wrong in (["--dry-run"], ["--to", "http://127.0.0.1:1"]):
        result = program("replay", str(file), "--with-effects", *wrong, code=2)
        assert "for a database that stays" in result.output


def test_a_ledger_is_exported_in_the_order_of_arrival(traffic: Program, tmp_path: Path) -> None:
    """Each line a capture with request, answer and decision; filters narrow it."""
    lines = exported(traffic, tmp_path / "a.jsonl")
    assert [line["decided"]["event"] for line in lines] == [*["signup"] * 4, "login", "userdeleted"]
    schema = Draft202012Validator(json.loads((ROOT / "docs/capture.schema.json").read_text()))
    for line in exported(traffic, tmp_path / "all.jsonl", "--with-audit"):
        schema.validate(line)
    assert [line["answer"]["status"] for line in lines] == [200, 200, 403, 204, 204, 204]
    assert json.loads(lines[0]["body"])["user"]["email"] == "ada.canary@example.com"
    assert lines[3]["body"] is None
    for options, count in [
        (["--event", "login"], 1), (["--outcome", "denied"], 1), (["--until", "2020-01-01"], 0),
        (["--user", "ada.canary@example.com"], 2), (["--with-audit"], 7),
        (["--with-audit", "--user", "Zoë Canary <zoe.canary@b.example>"], 1),
    ]:  # fmt: skip
        assert len(exported(traffic, tmp_path / "b.jsonl", *options)) == count, options


def test_what_was_exported_is_replayed_to_the_same_answers(
    traffic: Program, tmp_path: Path
) -> None:
    """Into a new database: nothing differs, twice is once, and all of it is marked."""
    exported(traffic, tmp_path / "a.jsonl")
    into = ["--into", f"sqlite:///{tmp_path / 'new.db'}"]
    for _ in range(2):
        done = traffic.json("replay", str(tmp_path / "a.jsonl"), *into, "--diff")
        assert done == {"played": 6, "failed": 0, "wrong": 0, "differences": []}
    assert traffic.json("replay", "--ledger", "--dry-run", "--with-audit", "--diff") == {
        "played": 7, "failed": 0, "wrong": 0, "differences": [],
    }  # fmt: skip


def test_a_changed_policy_shows_in_the_differences(traffic: Program, policy_file: Path) -> None:
    """Grouped, with how often and where; exit code 1."""
    policy_file.write_text('[[role]]\ngrant = "guest"\n')
    done = traffic.json("replay", "--ledger", "--dry-run", "--diff", code=1)
    groups = {(g["what"], g["was"], g["now"]): g["count"] for g in done["differences"]}
    assert groups["answer to signup", "403 Please use an address that lasts.",
                  "200 roles: guest; provider: email"] == 1  # fmt: skip
    assert ("user's roles", "member, staff", "guest") not in groups  # staff: at Identity by then
    assert ("user's roles", "editor, member, staff", "guest, member, staff") in groups
    text = traffic("replay", "--ledger", "--dry-run", "--diff", code=1).stdout
    assert "403 Please use an address that lasts." in text
    assert "6 played, 0 failed, 0 wrong lines" in text


@pytest.mark.parametrize("options", [[], ["--map-domains"]])
def test_a_redacted_capture_has_nothing_of_anybody_and_replays_alike(
    traffic: Program, tmp_path: Path, options: list[str]
) -> None:
    """The same people, under other names; every signature verifies."""
    plain = exported(traffic, tmp_path / "plain.jsonl", "--with-audit")
    lines = exported(traffic, tmp_path / "r.jsonl", "--redact", "--with-audit", *options)
    text = (tmp_path / "r.jsonl").read_text(encoding="utf-8").lower()
    secrets = ["canary", "zoë", "18151210185211", "gone@", "x@mail"]
    secrets += [line["decided"]["user_id"] for line in plain if "decided" in line]
    secrets += ["@b.example", "mailinator.com", "@example.com"] if options else []
    assert [word for word in secrets if word in text] == []

    def people(found: list[dict[str, Any]]) -> list[int]:
        ids = [line["decided"]["user_id"] for line in found if "decided" in line]
        return [ids.index(each) for each in ids]

    assert people(lines) == people(plain)
    into = ["--into", f"sqlite:///{tmp_path / 'new.db'}"]
    done = traffic.json("replay", str(tmp_path / "r.jsonl"), *into, "--diff", code=(0, 1))
    assert (done["failed"], done["wrong"]) == (0, 0)
    if not options:
        assert done["differences"] == []


def test_a_body_and_a_har_file_can_be_replayed(program: Program, tmp_path: Path) -> None:
    """From a proxy, or bare; a signature of ours verifies, another's is made anew if asked."""
    now = datetime.now(UTC)
    who = account(email="ada@example.com", at=now)
    body = event_body("signup", who, ZERO_INSTANCE)
    (tmp_path / "body.json").write_bytes(body)
    assert program.json("replay", str(tmp_path / "body.json"))["failed"] == 0
    assert program.roles(who.id) == ["member", "staff"]
    for secret, more, failed in [(SECRET, [], 0), (b"x" * 32, [], 1), (b"x" * 32, ["--resign"], 0)]:
        headers = signed_headers("signup", body, ZERO_INSTANCE, int(now.timestamp()), secret)
        entry = {
            "startedDateTime": now.isoformat(),
            "request": {
                "method": "POST",
                "url": "https://site.example/.netlify/functions/identity",
                "headers": [{"name": k, "value": v} for k, v in headers.items()],
                "postData": {"text": base64.b64encode(body).decode(), "encoding": "base64"},
            },
            "response": {"status": 204, "content": {}},
        }
        other = {"request": {"method": "GET", "url": "/", "headers": []}}
        (tmp_path / "a.har").write_text(json.dumps({"log": {"entries": [other, entry]}}))
        done = program.json("replay", str(tmp_path / "a.har"), *more, code=(0, 1))
        assert (done["played"], done["failed"]) == (1, failed)
    assert "signature_mismatch" in program("replay", str(tmp_path / "a.har"), code=1).stderr


BROKEN = {
    "a line cut short": (lambda good: good[0] + "\n" + good[1][:80], 2),
    "a broken line": (lambda good: good[0] + "\n{}x\n" + good[1] + "\n", 2),
    "an unknown version": (lambda good: good[0] + '\n{"usher_capture":2}\n', 2),
    "no version": (lambda good: good[0] + "\n\n{}\n", 3),
    "no body": (lambda good: good[0] + '\n{"usher_capture":1,"headers":{},"received_at":'
                '"2026-01-01T00:00:00Z","method":"POST","path":"/"}\n', 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_file_is_told_by_the_line(program: Program, tmp_path: Path, kind: str) -> None:
    """What came before it is done; --keep-going does the rest, and says so."""
    program.sign_up("a@b.example", "b@b.example")
    good = program("events", "export").stdout.splitlines()
    damage, line = BROKEN[kind]
    (tmp_path / "a.jsonl").write_text(damage(good))
    for command in (["replay"], ["events", "import"]):
        result = program(*command, str(tmp_path / "a.jsonl"), code=1)
        assert f"line {line}: " in result.stderr
        going = program.json(*command, str(tmp_path / "a.jsonl"), "--keep-going", code=1)
        assert going["wrong"] == 1
        assert going.get("failed", 0) == 0


@pytest.mark.parametrize("content", ["", "\n", "[]", "{}", '{"log":{}}', '{"event":1}', "nonsense"])
def test_what_is_no_capture_is_refused_with_a_sentence(
    program: Program, tmp_path: Path, content: str
) -> None:
    """An empty file is nothing to do."""
    (tmp_path / "a").write_text(content)
    result = program("replay", str(tmp_path / "a"), code=0 if not content.strip() else 1)
    assert result.output.strip()


def test_captures_are_imported_without_any_effect_on_users(
    traffic: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be looked at, replayed and tried; what is known stays as it is."""
    exported(traffic, tmp_path / "a.jsonl")
    monkeypatch.setenv("USHER_DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    path = str(tmp_path / "a.jsonl")
    assert traffic.json("events", "import", path) == {"imported": 6, "known": 0, "wrong": 0}
    assert traffic.json("events", "import", path) == {"imported": 0, "known": 6, "wrong": 0}
    assert traffic.json("users", "list")["users"] == []
    listed = traffic.json("events", "list")["events"]
    assert {event["origin"] for event in listed} == {"replay"}
    assert traffic.json("replay", "--ledger", "--dry-run", "--diff")["differences"] == []


def test_old_deliveries_are_pruned(on_both: Program) -> None:
    """By the setting, or before a time; users stay."""
    on_both.sign_up("a@b.example", "b@b.example")
    assert on_both.json("events", "prune", "--yes")["removed"] == 0
    assert len(on_both.json("events", "list")["events"]) == 2
    soon = f"{utc_now() + timedelta(days=1):%Y-%m-%d}"
    assert "Aborted" in on_both("events", "prune", "--before", soon, code=1).output
    assert on_both.json("events", "prune", "--before", soon, "--yes")["removed"] == 2
    assert on_both.json("events", "list")["events"] == []
    assert len(on_both.json("users", "list")["users"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"], ["replay", "x", "--ledger"], ["replay", "--ledger"],
        ["replay", "x", "--into", "sqlite:///x.db", "--dry-run"],
        ["events", "export", "--map-domains"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(program: Program, arguments: list[str]) -> None:
    """Before anything is read or written."""
    program(*arguments, code=2)


def test_a_file_that_is_not_there_is_a_sentence(program: Program) -> None:
    """Not a traceback."""
    assert "cannot be read" in program("replay", "nowhere.jsonl", code=1).stderr


def test_a_policy_is_tried_on_the_past(traffic: Program, tmp_path: Path) -> None:
    """Who would have been let in or kept out, who would have which role; nothing is changed."""
    new = tmp_path / "new.toml"
    new.write_text('[admission]\ndeny_email_domains = ["b.example"]\n[[role]]\ngrant = "member"\n')
    before = (traffic.json("users", "list"), traffic.json("events", "list"))
    found = traffic.json("policy", "try", str(new), code=1)
    groups = {(g["what"], g["was"], g["now"]): g["count"] for g in found["differences"]}
    assert groups == {
        ("admission at signup", "admitted", "denied by admission.deny_email_domains"): 1,
        ("admission at signup", "denied by admission.deny_email_domains", "admitted"): 1,
        ("role 'member'", "had", "not had"): 1,
        ("role 'member'", "not had", "had"): 1,
    }
    assert (found["events"], found["users"]) == (4, 3)
    assert (traffic.json("users", "list"), traffic.json("events", "list")) == before
    text = traffic("policy", "try", str(new), "--since", "1d", code=1).stdout
    assert "denied by admission.deny_email_domains" in text
    assert "4 events of 3 users" in text


def test_the_same_policy_tried_on_the_past_changes_nothing(
    traffic: Program, policy_file: Path
) -> None:
    """Exit code 0; nor does any policy before there were events."""
    assert "Nothing would have" in traffic("policy", "try", str(policy_file)).stdout
    found = traffic.json("policy", "try", str(policy_file), "--since", "2999-01-01")
    assert found == {"events": 0, "users": 0, "differences": []}
    traffic("policy", "try", str(policy_file), "--since", "yesterday", code=2)


def test_a_policy_is_tried_on_the_records(traffic: Program, tmp_path: Path) -> None:
    """Who of today's people would not get in now, and who would gain or lose which role."""
    new = tmp_path / "new.toml"
    new.write_text('[admission]\ndeny_email_domains = ["b.example"]\n[[role]]\ngrant = "guest"\n')
    before = (traffic.json("users", "list"), traffic.json("audit"))
    listed = [user for user in before[0]["users"] if user["status"] != "deleted"]
    people = len(listed)
    found = traffic.json("policy", "try", str(new), "--records", code=1)
    assert found["records"] == people > 0
    groups = {(g["what"], g["was"], g["now"]): g["count"] for g in found["differences"]}
    assert groups[("role 'guest'", "not had", "had")] == people
    refused = ("admission", "admitted", "denied by admission.deny_email_domains")
    assert groups[refused] == sum("@b.example" in user["email"] for user in listed) > 0
    assert (traffic.json("users", "list"), traffic.json("audit")) == before
    text = traffic("policy", "try", str(new), "--records", code=1).stdout
    assert text.endswith(f"{people} records compared by both policies.\n")


def test_the_same_policy_tried_on_the_records_changes_nothing(
    traffic: Program, policy_file: Path
) -> None:
    """Exit code 0. Records have no time from which on they would count."""
    said = traffic("policy", "try", str(policy_file), "--records").stdout
    assert said.startswith("Nothing would come out differently.\n")
    traffic("policy", "try", str(policy_file), "--records", "--since", "30d", code=2)


def test_a_large_trial_in_processes_finds_what_a_small_one_does(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same counts and examples."""
    new = tmp_path / "new.toml"
    new.write_text('[admission]\ndeny_email_domains = ["b.example"]\n[[role]]\ngrant = "guest"\n')
    program.sign_up("a@b.example", "ada@example.com", "x@mailinator.com")
    small = program.json("policy", "try", str(new), code=1)
    monkeypatch.setattr(trying, "SMALL", 0)
    assert program.json("policy", "try", str(new), code=1) == small


def test_what_was_decided_again_for_good_is_rebuilt_too(
    on_both: Program, policy_file: Path
) -> None:
    """An event that was decided again is an act like others: the same users come out."""
    ada, _ = on_both.sign_up("ada@example.com", "eve@b.example")
    policy_file.write_text('[[role]]\ngrant = "guest"\n[[role]]\ngrant = "staff"\n')
    with on_both.app() as app:
        for event in app.store.ledger.page().items:
            content = event_of(event)
            assert content
            app.store.users.decide_again(content, app.policy, By("cli:ada", "new rules"))
    assert on_both.roles(ada) == ["guest", "staff"]
    done = on_both.json("replay", "--ledger", "--dry-run", "--with-audit", "--diff", code=1)
    assert done["failed"] == 0
    assert [g for g in done["differences"] if g["what"].startswith("user")] == []
