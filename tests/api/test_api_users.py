"""Users over the API: lists, single records, changes, and the mistakes that one makes first."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.api.api_support import BOSS, Answer, People, ask
from tests.store.store_support import deliver, rows
from tests.support import account, call, signed
from usher.core.domain import administration
from usher.core.domain.administration import Change

ADMIN = "administrator"


def following(answer: Answer) -> str | None:
    """The address that the Link header calls next, without its base."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    found = re.fullmatch(r'</api(/[^>]*)>; rel="next"', link)
    assert found, link
    return found[1]


def test_the_link_header_leads_through_every_user_once(people: People) -> None:
    """RFC 8288; the filters stay in the address."""
    for number in range(7):
        email = f"zoë+{number}@example.com"
        deliver(people.app, [signed("signup", account(email=email))])
    address: str | None = "/users?limit=3&sort=email&order=desc&email=zo%C3%AB"
    found: list[str] = []
    while address:
        answer = people.ask(ADMIN, "GET", address.replace("{", "%7B"))
        assert len(answer.json["users"]) <= 3
        found += [user["email"] for user in answer.json["users"]]
        address = following(answer)
        assert (address is None) == (answer.json["next_cursor"] is None)
        assert address is None or "email=zo%C3%AB" in address
    assert found == [f"zoë+{number}@example.com" for number in range(6, -1, -1)]


def test_b1_a_search_by_address_finds_either_spelling_of_the_domain(people: People) -> None:
    """``münchen.example`` and ``xn--mnchen-3ya.example`` are one."""
    for email in ("ada@xn--mnchen-3ya.example", "ada@münchen.example"):
        deliver(people.app, [signed("signup", account(email=email))])
    for prefix in ("ada@m%C3%BCnchen.ex", "ada@xn--mnchen", "ADA@M%C3%9CNCHEN"):
        found = people.ask(ADMIN, "GET", f"/users?email={prefix}").json["users"]
        assert len(found) == 2


def test_filters_reach_the_search(people: People) -> None:
    """Each of them; what no user meets gives an empty page."""
    for query, expected in [
        ("status=suspended", {"suspended@example.com"}),
        ("status=deleted", {""}),
        ("role=admin", {"owner@example.com"}),
        ("provider=email&role=staff&email=o", {"other@example.com", "owner@example.com"}),
        ("provider=google", set()),
        ("created_since=2026-11-23T12:00:00Z&created_until=2026-11-23T14:00:00%2B02:00", set()),
        ("seen_until=2026-11-23T12:00:01Z&role=admin", {"owner@example.com"}),
    ]:
        answer = people.ask(ADMIN, "GET", "/users?" + query)
        assert {user["email"] for user in answer.json["users"]} == expected, query


def test_a_csv_is_given_when_asked_for_and_runs_no_formula(people: People) -> None:
    """A cell that a spreadsheet would calculate begins with an apostrophe."""
    formula = account(email="+1|calc@x.org")
    deliver(people.app, [signed("signup", formula)])
    answer = people.ask(ADMIN, "GET", "/users?limit=200", accept="text/csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 7
    assert {row["email"] for row in rows} >= {"'" + formula.email, "owner@example.com"}
    (owner,) = [row for row in rows if row["email"] == "owner@example.com"]
    assert owner["roles"] == "admin\nmember\nstaff"
    for accept in ("*/*", "application/json", "text/csv, application/json", "text/html"):
        answer = people.ask(ADMIN, "GET", "/users", accept=accept)
        assert answer.headers["Content-Type"] == "application/json"


def test_the_second_of_two_editors_is_told_and_nothing_is_lost(people: People) -> None:
    """Both read version 1; the first change wins, the second is 412 with the version of now."""
    address = "/users/{other}"
    etag = people.ask(ADMIN, "GET", address).headers["ETag"]
    first = people.ask(ADMIN, "PATCH", address, {"profile": {"a": 1}}, if_match=etag)
    assert first.status == 200
    for method, path, body in [
        ("PATCH", address, {"profile": {"b": 2}}),
        ("PUT", address + "/roles", {"roles": []}),
        ("PUT", address + "/roles/x", None),
        ("DELETE", address + "/roles/staff", None),
        ("DELETE", address, None),
    ]:
        second = people.ask(ADMIN, method, path, body, if_match=etag)
        assert (second.status, second.code) == (412, "precondition_failed"), method
        assert first.headers["ETag"] in second.json["detail"]
    now = people.ask(ADMIN, "GET", address)
    assert (now.json, now.headers["ETag"]) == (first.json, first.headers["ETag"])
    again = {"profile": {"b": 2}}
    good = people.ask(ADMIN, "PATCH", address, again, if_match=now.headers["ETag"])
    assert good.json["profile"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("*", 200), (' "1" ', 200), ('"2"', 412), ('W/"1"', 412), ('"x"', 412), ('"1", "2"', 200),
        ('"7" , W/"1"', 412), ('"x","1"', 200), (',"1",', 200), ('"7","8"', 412), ('*, "1"', 400),

        ("1", 400), ('"1', 400), ("", 400), ("W/1", 400), ('"1" x', 400), ("\x00", 400),
    ],
)  # fmt: skip
def test_if_match_is_compared_strongly(people: People, value: str, status: int) -> None:
    """RFC 9110: any, ours, another's; or no ETag at all."""
    answer = people.ask("user", "PATCH", "/me", {"profile": {"a": 1}}, if_match=value)
    assert answer.status == status


def test_a_merge_patch_sets_and_takes_away(people: People) -> None:
    """RFC 7396, by either media type."""
    address = "/users/{other}"
    people.ask(ADMIN, "PATCH", address, {"profile": {"a": {"b": 1, "c": 2}, "d": [1]}})
    answer = people.ask(
        ADMIN,
        "PATCH",
        address,
        {"profile": {"a": {"b": None, "e": 3}, "d": None}, "app_metadata": {"plan": "gold"}},
        content_type="application/merge-patch+json",
    )
    assert answer.json["profile"] == {"a": {"c": 2, "e": 3}}
    assert answer.json["extra_app_metadata"] == {"plan": "gold"}


def test_b2_a_number_becomes_a_boolean(people: People) -> None:
    """Python calls 1 and true equal; the profile, its version and the audit tell them apart."""
    people.ask("user", "PATCH", "/me", {"profile": {"newsletter": 1}})
    before = people.ask("user", "GET", "/me").json
    after = people.ask("user", "PATCH", "/me", {"profile": {"newsletter": True}}).json
    assert after["profile"]["newsletter"] is True
    assert people.ask("user", "GET", "/me").json["profile"]["newsletter"] is True
    assert after["version"] == before["version"] + 1
    again = people.ask("user", "PATCH", "/me", {"profile": {"newsletter": True}}).json
    assert again["version"] == after["version"]


def test_further_app_metadata_reaches_the_token_and_leaves_it_again(people: People) -> None:
    """In the reply to the next event; a null takes the key out at Identity, too."""
    ada = account(user_id=people.ids["user"], email="user@example.com", roles=["member", "staff"])
    people.ask(ADMIN, "PATCH", "/users/{user}", {"app_metadata": {"plan": "gold"}})
    (reply,) = deliver(people.app, [signed("login", ada)])
    assert '"plan":"gold"' in str(reply)
    held = ada.app_metadata | {"plan": "gold"}  # type: ignore[operator]
    people.ask(ADMIN, "PATCH", "/users/{user}", {"app_metadata": {"plan": None}})
    with_plan = account(
        user_id=ada.id, email=ada.email, app_metadata=held, roles=None, last_sign_in_at=None
    )
    (reply,) = deliver(people.app, [signed("login", with_plan)])
    assert '"roles":["member","staff"]' in str(reply)
    assert "plan" not in str(reply)


def test_a_user_is_shut_out_and_let_in_again(people: People) -> None:
    """By the status; the audit names who did it and why."""
    body = {"status": "suspended", "reason": "spam"}
    assert people.ask(ADMIN, "PATCH", "/users/{user}", body).json["status"] == "suspended"
    assert people.ask("user", "GET", "/me").code == "account_suspended"
    entry = people.ask(ADMIN, "GET", "/audit?limit=1").json["audit"][0]
    assert entry["actor"] == f"user:{people.ids[ADMIN]}"
    assert (entry["action"], entry["reason"]) == ("user.suspended", "spam")
    assert (entry["before"], entry["after"]) == ({"status": "active"}, {"status": "suspended"})
    assert people.ask(ADMIN, "PATCH", "/users/{user}", {"status": "active"}).status == 200
    assert people.ask("user", "GET", "/me").status == 200


def test_a_deleted_user_is_a_tombstone_that_nothing_changes(people: People) -> None:
    """204, then 409 for whatever is tried."""
    assert people.ask(ADMIN, "DELETE", "/users/{other}?reason=wish").status == 204
    shown = people.ask(ADMIN, "GET", "/users/{other}").json
    assert (shown["status"], shown["email"], shown["grants"]) == ("deleted", "", [])
    assert people.ask(ADMIN, "PATCH", "/users/{other}", {"profile": {}}).code == "user_deleted"
    assert people.ask(ADMIN, "PUT", "/users/{other}/roles/x").code == "user_deleted"
    none: dict[str, list[str]] = {"roles": []}
    assert people.ask(ADMIN, "PUT", "/users/{other}/roles", none).code == "user_deleted"
    assert people.ask(ADMIN, "DELETE", "/users/{other}").status == 204


def test_roles_are_set_given_for_a_time_and_denied(people: People, clock: object) -> None:
    """A policy's role that is taken away leaves a denial; an end is an end."""
    address = "/users/{other}/roles"
    answer = people.ask(ADMIN, "PUT", address, {"roles": ["editor"], "reason": "new job"})
    assert answer.json["roles"] == ["editor"]
    said = {(g["role"], g["source"], g["denies"]) for g in answer.json["grants"]}
    assert ("staff", "administrator", True) in said
    assert ("staff", "policy", False) in said
    assert ("editor", "administrator", False) in said
    until = "2026-11-23T13:00:00+01:00"
    assert people.ask(ADMIN, "PUT", address + "/guest", {"expires_at": until}).code == (
        "input_invalid"
    )
    until = "2026-11-23T14:00:00+01:00"
    given = people.ask(ADMIN, "PUT", address + "/guest", {"expires_at": until})
    assert given.json["roles"] == ["editor", "guest"]
    clock.advance(hours=1)  # type: ignore[attr-defined]
    assert people.ask(ADMIN, "GET", address).json["roles"] == ["editor"]
    assert people.ask(ADMIN, "GET", "/users/{other}").json["roles"] == ["editor"]
    assert people.ask(ADMIN, "DELETE", address + "/editor?reason=left").json["roles"] == []


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("/users?limit=0", "limit"), ("/users?limit=201", "limit"), ("/users?limit=1e9", "limit"),
        ("/users?limit=", "limit"), ("/users?limit=" + "9" * 400, "limit"),
        ("/users?limit=1&limit=2", "limit"), ("/users?status=gone", "status"),
        ("/users?sort=id;drop", "sort"), ("/users?created_since=yesterday", "created_since"),
        ("/users?created_since=0", "created_since"), ("/users?offset=5", "offset"),
        ("/users?created_since=0001-01-01T00:00:00%2B23:59", "created_since"),
        ("/users?email=%00", "email"), ("/users?role=" + "x" * 101, "role"), ("/me?x=1", "x"),
        ("/events?user=1", "user"), ("/audit?action=all", "action"), ("/stats?days=0", "days"),
        ("/users?%0d%0aX-Evil: 1=1", "?"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(people: People, address: str, where: str) -> None:
    """400, and which one."""
    answer = people.ask(ADMIN, "GET", address)
    assert (answer.status, answer.code) == (400, "input_invalid")
    assert where in {error.get("parameter") for error in answer.json["errors"]}


@pytest.mark.parametrize(
    "text",
    [
        "' OR 1=1 --",
        "'; DROP TABLE users; --",
        "%",
        "_",
        "\\",
        "\r\nSet-Cookie: a=b",
        "💥",
        "a" * 99,
    ],
)
def test_what_is_meant_as_an_attack_is_only_text(people: People, text: str) -> None:
    """In every parameter that takes text: nothing is found, nothing is broken."""
    from urllib.parse import quote

    for name in ("email", "role", "provider"):
        answer = people.ask(ADMIN, "GET", f"/users?{name}={quote(text)}".replace("{", "%7B"))
        assert (answer.status, answer.json["users"]) == (200, []), name
        assert "Set-Cookie" not in answer.headers
    answer = people.ask(ADMIN, "GET", f"/audit?actor={quote(text)}")
    assert answer.json["audit"] == []
    path = "/users/{other}/roles/" + unquote(quote(text, safe=""))
    answer = people.ask(ADMIN, "PUT", path.format(**people.ids) if "{" in path else path)
    assert answer.status in (200, 400, 404)
    assert people.ask(ADMIN, "GET", "/users").status == 200


BODIES: list[tuple[bytes, str, str]] = [
    (b"", "input_invalid", ""), (b"{", "input_invalid", ""), (b"[]", "input_invalid", ""),
    (b"null", "input_invalid", ""), (b'{"roles":["a"],"roles":[]}', "input_invalid", ""),
    (b'{"roles":NaN}', "input_invalid", ""), (b'{"roles":["\\u0000"]}', "input_invalid", ""),
    (b'{"roles":["\xff"]}', "input_invalid", ""), (b'{"roles":"staff"}', "input_invalid", "/roles"),
    (b"{}", "input_invalid", "/roles"), (b'{"roles":[1]}', "input_invalid", "/roles/0"),
    (b'{"roles":[" a"]}', "input_invalid", "/roles/0"),
    (b'{"roles":[""]}', "input_invalid", "/roles/0"),
    (b'{"roles":[],"force":"yes"}', "input_invalid", "/force"),
    (b'{"roles":[],"force":1}', "input_invalid", "/force"),
    (b'{"roles":[],"a/b~c":1}', "input_invalid", "/a~1b~0c"),
    (b'{"roles":[' + b'"a",' * 60 + b'"b"]}', "input_invalid", "/roles"),
    (b'{"roles":[],"reason":"' + b"x" * 501 + b'"}', "input_invalid", "/reason"),
    (b'{"roles":' + b"[" * 9_000 + b"]" * 9_000 + b"}", "input_invalid", ""),
    (b'{"roles":[],"n":' + b"9" * 5_000 + b"}", "input_invalid", ""),
    (b'{"roles":["' + b"x" * 1_000_000 + b'"]}', "body_too_large", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "pointer"), BODIES, ids=range(len(BODIES)))
def test_a_wrong_body_is_refused_with_the_field_at_fault(
    sqlite_people: People, body: bytes, code: str, pointer: str
) -> None:
    """A JSON pointer to it; nothing is changed."""
    path = "/users/{other}/roles"
    before = sqlite_people.ask(ADMIN, "GET", path).json
    answer = sqlite_people.ask(ADMIN, "PUT", path, raw=body, content_type="application/json")
    assert (answer.status, answer.code) == (413 if code == "body_too_large" else 400, code)
    if code == "input_invalid":
        assert pointer in {error["pointer"] for error in answer.json["errors"]}
    assert sqlite_people.ask(ADMIN, "GET", path).json == before


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
def test_a_body_that_is_not_called_json_is_refused(sqlite_people: People, kind: str | None) -> None:
    """415, and what to send."""
    headers = {} if kind is None else {"content_type": kind}
    path = "/users/{other}/roles"
    answer = sqlite_people.ask(ADMIN, "PUT", path, raw=b'{"roles":[]}', **headers)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert "application/json" in answer.json["detail"]


def test_a_body_where_none_is_taken_is_refused(sqlite_people: People) -> None:
    """Rather than ignored; but for GET and HEAD, whose bodies nobody reads."""
    answer = sqlite_people.ask(ADMIN, "DELETE", "/users/{other}", {"force": True})
    assert (answer.status, answer.code) == (400, "input_invalid")


def test_a_profile_is_bounded(people: People) -> None:
    """16 KiB in all, however many pieces it comes in."""
    half = "x" * 8_000
    assert people.ask("user", "PATCH", "/me", {"profile": {"a": half}}).status == 200
    assert people.ask("user", "PATCH", "/me", {"profile": {"b": half}}).status == 200
    answer = people.ask("user", "PATCH", "/me", {"profile": {"c": half}})
    assert (answer.status, answer.code) == (400, "metadata_invalid")
    assert sorted(people.ask("user", "GET", "/me").json["profile"]) == ["a", "b"]


def test_an_event_leaves_the_profile_alone(people: People) -> None:
    """It is the person's own, and unknown to Identity."""
    people.ask("user", "PATCH", "/me", {"profile": {"likes": "tea"}})
    ada = account(user_id=people.ids["user"], email="new@example.com", user_metadata={"a": 1})
    deliver(people.app, [signed("login", ada)])
    mine = people.ask("user", "GET", "/me").json
    assert (mine["profile"], mine["user_metadata"]) == ({"likes": "tea"}, {"a": 1})


def test_stats_roles_and_events_tell_what_happened(people: People) -> None:
    """The same numbers as the lists."""
    stats = people.ask(ADMIN, "GET", "/stats").json
    assert stats["users"] == 5
    assert stats["by_status"] == {"active": 3, "waiting": 1, "suspended": 1, "deleted": 1}
    assert stats["by_role"] == {"member": 4, "staff": 4, "admin": 1}
    assert stats["by_provider"] == {"email": 5}
    day = {"day": "2026-11-23", "event": "signup", "outcome": "applied", "count": 6}
    assert stats["events"] == [day]
    roles = people.ask(ADMIN, "GET", "/roles").json["roles"]
    assert {"role": "admin", "users": 1, "policy": True} in roles
    events = people.ask(ADMIN, "GET", "/events?outcome=applied&event=signup&limit=3")
    assert len(events.json["events"]) == 3
    rest = people.ask(ADMIN, "GET", following(events) or "")
    assert len(rest.json["events"]) == 3
    mine = people.ask(ADMIN, "GET", "/users/{user}/events").json["events"]
    assert [event["user_id"] for event in mine] == [str(people.ids["user"])]


def test_an_event_is_decided_again_without_any_change(people: People) -> None:
    """By the record and the policy of now; erased ones cannot be."""
    (event,) = people.ask(ADMIN, "GET", "/users/{user}/events").json["events"]
    one = people.ask(ADMIN, "GET", f"/events/{event['id'][:20]}").json
    assert one["body"].startswith('{"event":"signup"')
    users = people.app.store.users
    users.change(users.get(people.ids["user"]), administration.revoke("staff"), Change("test"))
    before = (users.page(), people.app.store.ledger.page())
    replayed = people.ask(ADMIN, "POST", f"/events/{event['id']}/replay").json
    assert replayed["dry_run"] is True
    assert replayed["differs"] is True
    assert '"roles":["member","staff"]' in replayed["recorded"]["reply"]["body"]
    assert '"roles":["member"]' in replayed["now"]["reply"]["body"]
    assert (users.page(), people.app.store.ledger.page()) == before
    (erased,) = people.ask(ADMIN, "GET", "/users/{deleted}/events").json["events"]
    assert people.ask(ADMIN, "POST", f"/events/{erased['id']}/replay").code == "event_unreadable"


def test_an_event_is_decided_again_for_good(people: People) -> None:
    """By today's policy: the record and the audit change, and the ledger stays as it was."""
    (event,) = people.ask(ADMIN, "GET", "/users/{user}/events").json["events"]
    path = f"/events/{event['id']}/replay"
    wish = {"dry_run": False, "reason": "new rules"}
    assert people.ask(ADMIN, "POST", path, wish).json["differs"] is False
    assert people.ask(ADMIN, "GET", "/audit?action=event.replayed").json["audit"] == []
    Path(people.app.settings.policy).write_text('[[role]]\ngrant = "guest"\n')
    del people.app.policy_in_force.current
    was = people.ask(ADMIN, "GET", "/users/{user}")
    stale = people.ask(ADMIN, "POST", path, wish, **{"if-match": '"77"'})
    assert (stale.status, stale.code) == (412, "precondition_failed")
    done = people.ask(ADMIN, "POST", path, wish).json
    assert (done["dry_run"], done["differs"]) == (False, True)
    now = people.ask(ADMIN, "GET", "/users/{user}").json
    assert done["user"] == now
    assert now["version"] == was.json["version"] + 1
    assert "guest" in now["roles"]
    (entry,) = people.ask(ADMIN, "GET", "/audit?action=event.replayed").json["audit"]
    assert (entry["reason"], entry["delivery_id"]) == ("new rules", None)
    assert entry["actor"].startswith("user:")
    assert people.ask(ADMIN, "GET", "/users/{user}/events").json["events"] == [event]


def test_an_event_of_somebody_without_a_record_makes_one(people: People) -> None:
    """Such as one that an older policy refused; the newest event of the person is enough."""
    denied = signed("signup", account(email="x@mailinator.com", at=people.app.clock()),
                    at=people.app.clock())  # fmt: skip
    assert call(denied)["statusCode"] == 403
    (event,) = people.ask(ADMIN, "GET", "/events?outcome=denied").json["events"]
    Path(people.app.settings.policy).write_text("")
    del people.app.policy_in_force.current
    done = people.ask(ADMIN, "POST", f"/events/{event['id']}/replay", {"dry_run": False}).json
    assert done["now"]["outcome"] == "applied"
    assert people.ask(ADMIN, "GET", f"/users/{event['user_id']}").json == done["user"]


def test_every_change_is_in_the_audit(people: People) -> None:
    """By whom, why, and what differs; the newest first; by user and by action."""
    people.ask(ADMIN, "PUT", "/users/{other}/roles/editor", {"reason": "new job"})
    users = people.app.store.users
    users.change(users.get(people.ids["other"]), administration.grant("author"), BOSS)
    found = people.ask(ADMIN, "GET", "/audit?user={other}").json["audit"]
    assert [entry["action"] for entry in found] == ["role.granted", "role.granted", "user.created"]
    assert [entry["actor"] for entry in found] == ["test", f"user:{people.ids[ADMIN]}", "identity"]
    assert found[1]["reason"] == "new job"
    assert "editor" in found[1]["after"]["roles"]
    assert "editor" not in found[1]["before"]["roles"]
    assert found[2]["delivery_id"]
    deleted = people.ask(ADMIN, "GET", "/audit?action=user.deleted").json["audit"]
    assert [entry["user_id"] for entry in deleted] == [str(people.ids["deleted"])]
    assert people.ask(ADMIN, "GET", "/audit?until=2026-11-23T12:00:00Z").json["audit"] == []


def test_d4_one_key_of_a_large_profile_writes_little_into_the_audit(people: People) -> None:
    """The entry holds what changed, by key, at any depth, and not the whole profile twice."""
    large = {"bio": "x" * 14_000, "more": {"links": ["y" * 1_000], "theme": "dark"}, "n": 1}
    assert people.ask("user", "PATCH", "/me", {"profile": large}).status == 200
    patch = {"profile": {"n": 2, "more": {"theme": None}}}
    assert people.ask("user", "PATCH", "/me", patch).status == 200
    [(before, after)] = rows(
        people.app.store.database, "SELECT before, after FROM audit ORDER BY sequence DESC LIMIT 1"
    )
    assert len(str(before)) + len(str(after)) < 200
    newest = people.ask(ADMIN, "GET", "/audit?limit=1").json["audit"][0]
    assert newest["before"] == {"profile": {"n": 1, "more": {"theme": "dark"}}}
    assert newest["after"] == {"profile": {"n": 2, "more": {}}}


def test_pages_of_other_sites_may_call_only_from_the_list(people: People) -> None:
    """By origin, never by a star; the answer depends on the origin, and says so."""
    allowed, stranger = "https://site.example", "https://evil.example"
    for token in (people.token("user"), None):
        answer = ask("GET", "/me", token, origin=allowed)
        assert answer.headers["Access-Control-Allow-Origin"] == allowed
        assert "Access-Control-Allow-Credentials" not in answer.headers
        for origin in (stranger, "null", "*", allowed.upper(), allowed + ".evil.example"):
            answer = ask("GET", "/me", token, origin=origin)
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"
    asked: dict[str, Any] = {"access_control_request_method": "PATCH"}
    good = ask("OPTIONS", "/me", origin=allowed, **asked)
    assert good.headers["Access-Control-Allow-Methods"] == "GET, PATCH, HEAD, OPTIONS"
    assert "If-Match" in good.headers["Access-Control-Allow-Headers"]
    bad = ask("OPTIONS", "/me", origin=stranger, **asked)
    assert bad.status == 204
    assert not [name for name in bad.headers if name.startswith("Access-Control")]
