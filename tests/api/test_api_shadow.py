"""The shadow policy over the API: for administrators, as the command has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.api.api_support import People
from tests.pipeline.shadow_support import follow, follower
from tests.store.store_support import deliver
from tests.support import account, signed

ADDRESS = "/policy/shadow"
ADMIN = "administrator"


@pytest.fixture
def watched(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> People:
    """A site with a shadow policy."""
    (tmp_path / "next.toml").write_text('[admission]\ndefault = "ask"\n')
    settings = replace(people.app.settings, policy_shadow=str(tmp_path / "next.toml"))
    monkeypatch.setattr(people.app, "settings", settings)
    return people


def test_an_administrator_sees_what_would_have_come_out_differently(watched: People) -> None:
    """Counted by kind and rule, and each event; nobody else sees any."""
    app, clock = watched.app, watched.app.clock
    empty = watched.ask(ADMIN, "GET", ADDRESS).json
    assert (empty["run"], empty["changes"], empty["differences"]) == (None, [], [])
    shadow = follower(app)
    follow(shadow)
    people = [account(email=f"{name}@example.com", at=clock()) for name in "abc"]
    deliver(app, [signed("signup", each, at=clock()) for each in people])
    assert watched.ask(ADMIN, "GET", ADDRESS).json["run"]["behind"] == 3
    follow(shadow)
    answer = watched.ask(ADMIN, "GET", f"{ADDRESS}?limit=2")
    found = answer.json
    run = found["run"]
    assert (run["events"], run["behind"], run["error"], run["failed_at"]) == (3, 0, None, None)
    assert run["live"] == app.policy.fingerprint != run["fingerprint"]
    assert found["changes"] == [
        {
            "change": "waiting",
            "role": None,
            "rule": "admission.default",
            "text": "everyone waits for an administrator's approval by default",
            "events": 3,
            "people": 3,
        }
    ]
    assert (found["more_changes"], found["counted"]) == (0, 3)
    assert [each["user_id"] for each in found["differences"]] == [
        str(each.id) for each in reversed(people[1:])
    ]
    assert 'rel="next"' in answer.headers["Link"]
    rest = watched.ask(ADMIN, "GET", f"{ADDRESS}?limit=2&cursor={found['next_cursor']}").json
    assert [each["user_id"] for each in rest["differences"]] == [str(people[0].id)]
    event = watched.ask(ADMIN, "GET", f"/events/{rest['differences'][0]['event_id']}")
    assert event.json["user_id"] == str(people[0].id)
    assert watched.ask("user", "GET", ADDRESS).status == 403
    assert watched.ask(ADMIN, "GET", f"{ADDRESS}?cursor=none").status == 400


def test_without_a_shadow_policy_there_is_nothing_to_see(sqlite_people: People) -> None:
    """The source is null."""
    assert sqlite_people.ask(ADMIN, "GET", ADDRESS).json == {
        "source": None,
        "absent": False,
        "run": None,
        "changes": [],
        "more_changes": 0,
        "counted": 0,
        "differences": [],
        "next_cursor": None,
    }


def test_where_the_file_is_gone_there_is_nothing_to_watch(watched: People, tmp_path: Path) -> None:
    """What was found before is no longer shown: the file was promoted, or put away."""
    follow(follower(watched.app))
    assert watched.ask(ADMIN, "GET", ADDRESS).json["run"] is not None
    (tmp_path / "next.toml").unlink()
    found = watched.ask(ADMIN, "GET", ADDRESS).json
    assert (found["absent"], found["run"], found["changes"]) == (True, None, [])
    assert found["source"] == str(tmp_path / "next.toml")
