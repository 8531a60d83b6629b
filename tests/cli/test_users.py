"""``usher users list`` and ``show``: filters, pages, and who is meant."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.cli.conftest import Program
from tests.store.store_support import execute
from usher.core.domain.written import UserKey, Written

PEOPLE = ("ada@example.com", "Adam@example.com", "bob@b.example", "owner@example.com")


@pytest.fixture
def people(on_both: Program) -> Program:
    """Four people: one of them suspended, one only seen before confirmation."""
    on_both.sign_up(*PEOPLE)
    on_both("users", "suspend", "bob@b.example")
    on_both.deliver("validate", "pia@example.com")
    return on_both


# filters, who is listed
FILTERS: list[tuple[list[str], list[str]]] = [
    ([], [*PEOPLE, "pia@example.com"]),
    (["--status", "active"], ["ada@example.com", "Adam@example.com", "owner@example.com"]),
    (["--status", "suspended"], ["bob@b.example"]),
    (["--status", "pending"], ["pia@example.com"]),
    (["--status", "deleted"], []),
    (["--role", "admin"], ["owner@example.com"]),
    (["--role", "staff"], ["ada@example.com", "Adam@example.com", "owner@example.com"]),
    (["--role", "nothing"], []),
    (["--email", "ada"], ["ada@example.com", "Adam@example.com"]),
    (["--email", "ADA@"], ["ada@example.com"]),
    (["--email", "da"], []),
    (["--email", "a", "--role", "staff", "--status", "active"], list(PEOPLE[:2])),
    (["--limit", "2"], list(PEOPLE[:2])),
]


def test_filters_narrow_the_list(people: Program) -> None:
    """Each alone and several together; oldest first."""
    for filters, expected in FILTERS:
        listed = people.json("users", "list", *filters)["users"]
        assert [user["email"] for user in listed] == expected, filters


def test_b1_a_user_is_found_by_either_spelling_of_the_domain(on_both: Program) -> None:
    """``münchen.example`` and ``xn--mnchen-3ya.example`` are one."""
    on_both.sign_up("ada@xn--mnchen-3ya.example", "bob@münchen.example")
    for ada in ("ada@münchen.example", "Ada@xn--mnchen-3ya.example"):
        assert on_both.json("users", "show", ada)["email"] == "ada@xn--mnchen-3ya.example"
    shown = on_both.json("users", "show", "bob@xn--mnchen-3ya.example")
    assert shown["email"] == "bob@münchen.example"
    listed = on_both.json("users", "list", "--email", "ada@münchen")["users"]
    assert [user["email"] for user in listed] == ["ada@xn--mnchen-3ya.example"]


def test_pages_follow_one_another_without_gap_or_repetition(on_both: Program) -> None:
    """The cursor of each page leads to the next; the last has none."""
    ids = on_both.sign_up(*(f"user{number}@example.com" for number in range(5)))
    seen, cursor = [], None
    for size in (2, 2, 1):
        more: list[str] = ["--cursor", cursor] if cursor else []
        page = on_both.json("users", "list", "--limit", "2", *more)
        assert len(page["users"]) == size
        seen += [UUID(user["id"]) for user in page["users"]]
        cursor = page["next_cursor"]
    assert seen == ids
    assert cursor is None


def test_the_table_says_how_to_go_on(program: Program) -> None:
    """The hint can be copied; a page that is the last has none."""
    program.sign_up("a@b.example", "c@d.example")
    listed = program("users", "list", "--limit", "1").stdout
    hint = listed.splitlines()[-1].removeprefix("More: ").split()
    following = program("users", "list", "--limit", "1", *hint).stdout
    assert "c@d.example" in following
    assert "More:" not in following


@pytest.mark.parametrize("cursor", ["x", "~", "e30", "a.b.c"])
def test_a_cursor_that_is_none_says_so(program: Program, cursor: str) -> None:
    """Exit code 1 and a sentence."""
    result = program("users", "list", "--cursor", cursor, code=1)
    assert (result.stdout, "cursor" in result.stderr) == ("", True)


def test_an_empty_list_says_what_to_try(program: Program) -> None:
    """The first thing that anybody sees; with --json it is an empty list."""
    assert "usher trigger signup" in program("users", "list").stdout
    assert program.json("users", "list") == {"users": [], "next_cursor": None}


def test_show_has_the_record_its_grants_and_its_events(on_both: Program) -> None:
    """Everything about one person on one screen, with the source of each role."""
    (ada,) = on_both.sign_up("ada@example.com")
    on_both("users", "grant", str(ada), "editor", "--reason", "writes the news", "--until", "3d")
    on_both("users", "revoke", str(ada), "staff")
    shown = on_both("users", "show", str(ada)).stdout
    for line in (f"id         {ada}", "email      ada@example.com", "roles      editor, member"):
        assert line in shown.splitlines()
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert any(
        row.startswith("editor granted administrator cli:operator writes the news 2")
        for row in rows
    )
    assert any(row.startswith("staff denied administrator cli:operator") for row in rows)
    assert any(row.startswith("staff granted policy") for row in rows)
    assert any(row.startswith("signup applied") for row in rows)


def test_show_has_the_keys_that_handlers_wrote(on_both: Program) -> None:
    """With the values and who wrote them; without any there is no such table."""
    (ada,) = on_both.sign_up("ada@example.com")
    assert "by the handler" not in on_both("users", "show", str(ada)).stdout
    with on_both.app() as app:
        user = app.store.users.get(ada)
        key = (user.instance_id, user.id)
        notes = Written(
            {"customer": "site.billing"}, {"seat": UserKey(2, "crm"), "x": UserKey(None, "crm")}
        )
        after = replace(user, extra_app_metadata={"customer": {"id": "c" * 80}}, written=notes)
        with app.store.write() as transaction:
            app.store.users.store(transaction, {key: user}, {key: after}, [])
    shown = on_both("users", "show", str(ada)).stdout
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    head = rows.index("key of value by the handler")
    assert rows[head + 1 : head + 4] == [
        f'customer app_metadata {{"id":"{"c" * 52}… site.billing',
        "seat user_metadata 2 crm",
        "x user_metadata removed crm",
    ]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (7, "roles is a number, not a list: neither read nor written over"),
        (["editor", 7, ""], "roles has elements that are no role names; they stay (2: a number, "),
        (["editor "], ""),
    ],
)
def test_c1_roles_that_cannot_be_read_are_shown(on_both: Program, held: object, said: str) -> None:
    """With the record, and with the event that told of them."""
    metadata = {"provider": "email", "roles": held}
    ada = on_both.deliver("login", "ada@example.com", app_metadata=metadata)
    shown = on_both("users", "show", str(ada)).stdout
    assert (f"           unreadable: {said}" in shown) is bool(said)
    assert (on_both.json("users", "show", str(ada))["unreadable_roles"] or "").startswith(said)
    (event,) = on_both.json("events", "list")["events"]
    texts = [r["text"] for r in event["reasons"] if r["rule"] == "identity.roles_unreadable"]
    assert len(texts) == bool(said)
    assert all(text.startswith(said) for text in texts)
    words = " ".join(on_both("events", "show", event["id"]).stdout.split())
    assert ("identity.roles_unreadable roles" in words) is bool(said)


def test_json_has_the_whole_record(program: Program) -> None:
    """Times in RFC 3339, grants with their sources, metadata as received."""
    ada = program.deliver("signup", "ada@example.com", user_metadata={"full_name": "Ada"})
    user = program.json("users", "show", "ada@example.com")
    assert user["id"] == str(ada)
    assert user["status"] == "active"
    assert user["roles"] == ["member", "staff"]
    assert user["user_metadata"] == {"full_name": "Ada"}
    assert user["app_metadata"] == {"provider": "email"}
    assert user["created_at"].endswith("Z")
    assert user["deleted_at"] is None
    assert {grant["source"] for grant in user["grants"]} == {"policy"}
    assert user == program.json("users", "list")["users"][0]


@pytest.mark.parametrize("who", ["nobody@example.com", str(UUID(int=9)), "", " "])
@pytest.mark.parametrize(
    "command", [["show"], ["suspend"], ["reactivate"], ["delete", "--yes"]], ids=lambda c: c[0]
)
def test_nobody_is_found_by_a_wrong_name(program: Program, command: list[str], who: str) -> None:
    """One line that repeats it, exit code 1, for every command that names a user."""
    result = program("users", command[0], who, *command[1:], code=1)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert (repr(who) in line) is bool(who.strip())


def test_with_several_instances_the_one_meant_must_be_configured(
    on_both: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the wrong one of two, where an older version has kept both."""
    for number, email in ((2, "ADA@example.com"), (1, "ada@example.com")):
        monkeypatch.setenv("USHER_INSTANCE_ID", str(UUID(int=number)))
        first = on_both.deliver("signup", email, instance_id=UUID(int=number))
    monkeypatch.delenv("USHER_INSTANCE_ID")
    with on_both.app() as app:
        execute(app.store.database, "DELETE FROM instances")
    for command in (["users", "show", str(first)], ["users", "list"], ["events", "list"]):
        assert "USHER_INSTANCE_ID" in on_both(*command, code=1).stderr
    monkeypatch.setenv("USHER_INSTANCE_ID", str(UUID(int=1)))
    assert on_both.json("users", "show", "ada@example.com")["id"] == str(first)
    assert len(on_both.json("events", "list")["events"]) == 1


def test_an_address_of_two_users_needs_the_id(on_both: Program) -> None:
    """Never the wrong one of two."""
    first, _ = on_both.sign_up("ada@example.com", "ADA@example.com")
    for command in (["show", "Ada@example.com"], ["grant", "ada@example.com", "editor"]):
        result = on_both("users", *command, code=1)
        assert result.stdout == ""
        assert "'ada@example.com'" in result.stderr.lower()
    assert on_both.json("users", "show", str(first))["email"] == "ada@example.com"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--status", "gone"],
        ["list", "--limit", "0"],
        ["list", "--limit", "201"],
        ["show"],
        ["grant", "a@b.example"],
        ["unknown"],
    ],
)
def test_wrong_usage_exits_with_2(program: Program, arguments: list[str]) -> None:
    """And shows the usage on standard error."""
    assert re.match(r"Usage: .+ users ", program("users", *arguments, code=2).stderr)


def test_personal_data_is_printed_as_text_not_as_ascii(program: Program) -> None:
    """Names are written as their owners write them."""
    program.deliver("signup", "zoë@example.com", user_metadata={"full_name": "Zoë 李"})
    assert "Zoë 李" in program("users", "show", "ZOË@example.com", "--json").stdout
    assert json.loads(program("users", "list", "--json").stdout)["users"][0]["email"][2] == "ë"
