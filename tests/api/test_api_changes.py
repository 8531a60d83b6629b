"""``/api/changes``: in order, from a cursor on, and none is ever skipped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from jsonschema import Draft202012Validator

from tests.api.api_support import BOSS, People, ask
from tests.api.test_api_keys import key
from tests.store.store_support import deliver, execute, rows
from tests.store.test_complete import opened
from tests.support import NOON, account, signed
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.cursors import write_cursor
from usher.core.domain.outbox import changes_of
from usher.core.store import feed


def read(people: People, query: str = "", by: str = "administrator") -> Any:
    """What a look at the feed answers."""
    answer = people.ask(by, "GET", f"/changes{query}")
    assert answer.status == 200, answer
    return answer.json


def told(found: Any) -> list[tuple[str, str | None]]:
    """The kinds and roles."""
    return [(each["kind"], each["role"]) for each in found["changes"]]


def follow(people: People, cursor: str, limit: int = 3) -> tuple[list[Any], str]:
    """Everything from a cursor on, page by page, and the last cursor."""
    seen: list[Any] = []
    while True:
        page = read(people, f"?after={cursor}&limit={limit}")
        seen += page["changes"]
        cursor = page["next_cursor"]
        if not page["more"]:
            return seen, cursor


def test_the_feed_begins_now_and_goes_on_from_its_cursor(people: People) -> None:
    """Without ``after`` there is only a cursor; what comes later is told once, in order."""
    first = read(people)
    assert (first["changes"], first["more"]) == ([], False)
    ada = people.sign_up("ada")
    users = people.app.store.users
    users.change(users.get(ada), administration.grant("editor"), BOSS)
    second = read(people, f"?after={first['next_cursor']}")
    assert told(second) == [
        ("user.created", None), ("user.confirmed", None), ("role.granted", "member"),
        ("role.granted", "staff"), ("role.granted", "editor"),
    ]  # fmt: skip
    assert {each["user_id"] for each in second["changes"]} == {str(ada)}
    assert len({each["id"] for each in second["changes"]}) == 5
    third = read(people, f"?after={second['next_cursor']}")
    assert (third["changes"], third["next_cursor"]) == ([], second["next_cursor"])


def test_from_the_start_each_change_is_told_once_whatever_the_pages(people: People) -> None:
    """What the audit holds, in its order; changes of one entry stay together."""
    entries = people.app.store.users.audit_page(limit=200).items
    wanted = [change.id for entry in reversed(entries) for change in changes_of(entry)]
    for limit in (1, 2, 7, 200):
        seen, cursor = follow(people, "start", limit)
        assert [each["id"] for each in seen] == wanted
        assert read(people, f"?after={cursor}")["changes"] == []


def test_by_default_a_change_tells_ids_and_in_full_the_person(people: People) -> None:
    """As the person is on record when it is told."""
    cursor = read(people)["next_cursor"]
    ada = people.sign_up("ada", user_metadata={"name": "Ada"})
    thin = read(people, f"?after={cursor}&kinds=user.confirmed")["changes"]
    assert "ada" not in str(thin).lower()
    document = ask("GET", "/openapi.json").json
    shape = document["paths"]["/changes"]["get"]["responses"]["200"]["content"]["application/json"]
    for query in ("", "&full=true"):
        answer = read(people, f"?after=start&limit=200{query}")
        schema = {**shape["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer)
    users = people.app.store.users
    users.change(users.get(ada), administration.edit(profile={"a": 1}), BOSS)
    (full,) = read(people, f"?after={cursor}&kinds=user.confirmed&full=true")["changes"]
    assert {name: full[name] for name in thin[0]} == thin[0]
    assert (full["user"]["email"], full["user"]["profile"]) == ("ada@example.com", {"a": 1})
    assert (full["actor"], full["after"]["status"]) == ("identity", "active")


def test_of_the_deleted_nothing_personal_is_told(people: People) -> None:
    """Neither by their own changes before, which are erased, nor by the deletion."""
    cursor = read(people)["next_cursor"]
    ada = people.sign_up("ada", user_metadata={"name": "Lovelace"})
    users = people.app.store.users
    users.change(users.get(ada), administration.delete(), BOSS)
    answer = people.ask("administrator", "GET", f"/changes?after={cursor}&full=true")
    assert "user.deleted" in answer.text
    for personal in ("ada@", "Lovelace"):
        assert personal not in answer.text
    assert {each["user"]["status"] for each in answer.json["changes"]} == {"deleted"}


def test_kinds_are_chosen_by_name_and_by_pattern(people: People) -> None:
    """A page without any of them moves on all the same."""
    cursor = read(people)["next_cursor"]
    people.sign_up("ada")
    for kinds, count in (("role.granted", 2), ("user.*", 2), ("user.created, role.*", 3)):
        assert len(told(read(people, f"?after={cursor}&kinds={kinds}"))) == count
    page = read(people, f"?after={cursor}&kinds=user.deleted")
    assert page["changes"] == []
    assert page["next_cursor"] != cursor
    wrong = people.ask("administrator", "GET", "/changes?kinds=user.created,user.gone")
    assert wrong.json["errors"] == [
        {"parameter": "kinds", "detail": "no change is 'user.gone'"}
    ]  # fmt: skip


def test_a_page_looks_at_so_many_entries_at_most(
    sqlite_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It then says that there is more, though it found nothing."""
    monkeypatch.setattr(feed, "SCAN", 3)
    page = read(sqlite_people, "?after=start&kinds=user.deleted&limit=1")
    assert (page["changes"], page["more"]) == ([], True)
    seen = []
    for _ in range(20):
        seen += page["changes"]
        page = read(sqlite_people, f"?after={page['next_cursor']}&kinds=user.deleted&limit=1")
    assert len(seen + page["changes"]) == 1


def test_only_the_people_of_this_instance_are_told(sqlite_people: People) -> None:
    """An older version may have kept others; the place moves past them."""
    cursor = read(sqlite_people)["next_cursor"]
    execute(
        sqlite_people.app.store.database,
        f"UPDATE audit SET instance_id = '{uuid4().hex}' WHERE sequence > 1",
    )
    seen, after = follow(sqlite_people, "start")
    assert len({each["user_id"] for each in seen}) == 1
    assert after == cursor


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "0",
        "1.5",
        write_cursor("changes", (1,)),
        write_cursor("at", (1, NOON)),
        "eyJvIjoiY2hh",
    ],
)
def test_what_is_no_cursor_is_refused(sqlite_people: People, cursor: str) -> None:
    """Rather than taken for a beginning."""
    answer = sqlite_people.ask("administrator", "GET", f"/changes?after={cursor}")
    assert (answer.status, answer.code) == (400, "cursor_invalid")


def test_a_cursor_whose_entry_is_gone_is_refused(people: People) -> None:
    """Entries after it may be gone, too: by retention, or with a backup that was restored."""
    app, cursor = people.app, read(people)["next_cursor"]
    people.sign_up("ada")
    newer = read(people)["next_cursor"]
    app.clock.advance(days=40)  # type: ignore[attr-defined]
    users = app.store.users
    users.change(users.get(people.ids["user"]), administration.grant("editor"), BOSS)
    newest = read(people)["next_cursor"]
    app.store.users.prune_audit(app.clock() - timedelta(days=30), step=100)
    for gone in (cursor, newer):
        answer = people.ask("administrator", "GET", f"/changes?after={gone}")
        assert (answer.status, answer.code) == (410, "cursor_gone")
    assert read(people, f"?after={newest}")["changes"] == []
    assert [each["role"] for each in follow(people, "start")[0]] == ["editor"]
    ahead = write_cursor("changes", (10_000, NOON))
    assert people.ask("administrator", "GET", f"/changes?after={ahead}").code == "cursor_gone"


def test_a_cursor_of_a_database_that_was_restored_since_is_refused(people: People) -> None:
    """Though by now other entries have the numbers of those that were lost with it."""
    app = people.app
    backup = read(people)["next_cursor"]
    people.sign_up("lost")
    cursor = read(people)["next_cursor"]
    lost = f"sequence = {app.feed.place_of(cursor).sequence}"
    execute(app.store.database, f"UPDATE audit SET user_id = '{uuid4().hex}' WHERE {lost}")
    assert read(people, f"?after={cursor}")["changes"] == []
    execute(app.store.database, f"UPDATE audit SET at = '2026-11-23 13:00:00' WHERE {lost}")
    answer = people.ask("administrator", "GET", f"/changes?after={cursor}")
    assert (answer.status, answer.code) == (410, "cursor_gone")
    assert read(people, f"?after={backup}")["changes"]


def test_before_any_event_the_feed_is_empty_and_goes_on_from_there(site: App) -> None:
    """A key needs no person, so this is possible."""
    bearer = key(site, "changes:read")
    first = ask("GET", "/changes", bearer)
    assert (first.status, first.json["changes"]) == (200, [])
    deliver(site, [signed("signup", account())])
    page = ask("GET", f"/changes?after={first.json['next_cursor']}", bearer).json
    assert [each["kind"] for each in page["changes"]][:2] == ["user.created", "user.confirmed"]


def test_a_key_sees_people_in_full_with_both_scopes(sqlite_people: People) -> None:
    """By ids with the one for changes alone."""
    one = key(sqlite_people.app, "changes:read")
    both = key(sqlite_people.app, "changes:read", "users:read", name="both")
    assert ask("GET", "/changes?after=start", one).status == 200
    refused = ask("GET", "/changes?after=start&full=true", one)
    assert (refused.status, refused.code) == (403, "key_forbidden")
    assert "'users:read'" in refused.text
    assert "user" in ask("GET", "/changes?after=start&full=true", both).json["changes"][0]


def test_a_function_does_not_wait(people: People) -> None:
    """The answer is there at once, and says so by what it holds."""
    page = read(people, "?wait=25")
    assert (page["changes"], page["more"]) == ([], False)
    assert people.ask("administrator", "GET", "/changes?wait=26").code == "input_invalid"


def test_a_cursor_never_skips_a_change(
    people: People, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two transactions, of which the one that numbered its entry first commits last."""
    if people.app.store.database.is_sqlite:
        pytest.skip("one transaction writes at a time")
    monkeypatch.setattr(feed, "SETTLE_SECONDS", 0.01)
    bearer = key(people.app, "changes:read")
    cursor = ask("GET", "/changes", bearer).json["next_cursor"]
    entry = rows(people.app.store.database, "SELECT instance_id FROM audit LIMIT 1")[0][0]
    with opened(postgresql_url) as first, opened(postgresql_url) as second:
        early, late = write(first, entry), write(second, entry)
        second.connection.commit()
        for _ in range(3):
            page = ask("GET", f"/changes?after={cursor}", bearer).json
            assert (page["changes"], page["next_cursor"]) == ([], cursor)
        first.connection.commit()
        page = ask("GET", f"/changes?after={cursor}", bearer).json
    assert [each["user_id"] for each in page["changes"]] == [str(early), str(late)]


def test_where_a_new_reader_begins_is_not_guessed(
    people: People, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a foreign transaction stays open, and nothing was known before: 503."""
    if people.app.store.database.is_sqlite:
        pytest.skip("one transaction writes at a time")
    monkeypatch.setattr(feed, "SETTLE_SECONDS", 0.01)
    bearer = key(people.app, "changes:read")
    with opened(postgresql_url) as foreign:
        foreign.write()
        answer = ask("GET", "/changes", bearer)
        assert (answer.status, answer.code) == (503, "database_unavailable")
        foreign.connection.rollback()
    assert ask("GET", "/changes", bearer).status == 200


def write(transaction: Any, instance_id: UUID) -> UUID:
    """An entry of somebody new, whose id is returned."""
    who = uuid4()
    transaction.connection.execute(
        "INSERT INTO audit (instance_id, user_id, at, actor, action, before, after, reason)"
        " VALUES (%s, %s, now(), 'test', 'user.changed', '{}', '{\"email\": \"x\"}', '')",
        (instance_id, who),
    )
    return who
