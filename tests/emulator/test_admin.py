"""The admin endpoints: who may, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.emulator.test_token import signed
from tests.emulator.world import PASSWORD, World

Make = Callable[..., World]


@pytest.mark.parametrize("subject", ["0", str(UUID(int=0))])
def test_the_systems_own_token_is_an_administrators(quiet: World, subject: str) -> None:
    """What Netlify hands to functions."""
    assert quiet.call("GET", "/admin/users", token=signed({"sub": subject})).status == 200


def test_the_operators_token_opens_and_no_other(quiet: World) -> None:
    """A text, compared whole."""
    assert quiet.admin("GET", "/admin/users").status == 200
    assert quiet.call("GET", "/admin/users", token="operator").status == 401
    assert quiet.call("GET", "/admin/users").status == 401


def test_without_an_operator_token_an_empty_one_opens_nothing(make: Make) -> None:
    """No secret means closed."""
    world = make(operator_token="")
    assert world.call("GET", "/admin/users", authorization="Bearer ").status == 401


def test_a_person_is_an_administrator_by_the_top_level_role_and_audience(quiet: World) -> None:
    """Read from the account as it is now, not from the token."""
    user_id = quiet.member()
    token = quiet.token()
    refused = quiet.call("GET", "/admin/users", token=token)
    assert refused.json == {"code": 401, "msg": "User not allowed"}
    quiet.admin("PUT", f"/admin/users/{user_id}", {"role": " admin "})
    assert quiet.call("GET", "/admin/users", token=token).status == 200
    assert quiet.call("GET", "/admin/users", token=token, x_jwt_aud="other").status == 401
    body = {"email": "bob@example.com", "aud": "other"}
    assert quiet.call("POST", "/admin/users", body, token=token).status == 401
    quiet.admin("DELETE", f"/admin/users/{user_id}")
    gone = quiet.call("GET", "/admin/users", token=token)
    assert gone.json == {"code": 401, "msg": "Invalid admin user"}


def test_another_group_can_be_the_administrators(make: Make) -> None:
    """As an instance may be set up."""
    world = make(admin_group="boss", default_role="boss")
    world.member()
    assert world.call("GET", "/admin/users", token=world.token()).status == 200


def test_an_account_made_by_an_administrator(quiet: World) -> None:
    """Confirmed if wanted; app_metadata is ignored here, as GoTrue does."""
    body = {
        "email": "ada@example.com",
        "password": PASSWORD,
        "role": "editor",
        "confirm": True,
        "user_metadata": {"full_name": "Ada"},
        "app_metadata": {"roles": ["x"]},
    }
    made = quiet.admin("POST", "/admin/users", body).json
    assert (made["role"], made["user_metadata"]) == ("editor", {"full_name": "Ada"})
    assert made["app_metadata"] == {"provider": "email"}
    assert quiet.log_in().status == 200
    assert quiet.admin("POST", "/admin/users", body).status == 422
    assert quiet.admin("POST", "/admin/users", body | {"aud": "other"}).json["aud"] == "other"
    assert quiet.mails == []


def test_unconfirmed_without_being_told(quiet: World) -> None:
    """`confirm` is false by default."""
    body = {"email": "ada@example.com", "password": PASSWORD}
    user_id = quiet.admin("POST", "/admin/users", body).json["id"]
    assert quiet.log_in().status == 400
    quiet.admin("PUT", f"/admin/users/{user_id}", {"confirm": True})
    assert quiet.log_in().status == 200


def test_metadata_is_merged_key_by_key_and_a_null_deletes(quiet: World) -> None:
    """Both maps; at the first level only."""
    user_id = quiet.member(a=1, b=2)
    body = {
        "app_metadata": {"roles": ["x"], "plan": {"a": 1}},
        "user_metadata": {"a": None, "c": 3},
    }
    changed = quiet.admin("PUT", f"/admin/users/{user_id}", body).json
    assert changed["app_metadata"] == {"plan": {"a": 1}, "provider": "email", "roles": ["x"]}
    assert changed["user_metadata"] == {"b": 2, "c": 3}
    body = {"app_metadata": {"roles": None, "plan": {"b": 2}, "provider": None}}
    changed = quiet.admin("PUT", f"/admin/users/{user_id}", body).json
    assert changed["app_metadata"] == {"plan": {"b": 2}}


def test_address_password_and_role_are_replaced(quiet: World) -> None:
    """Empty ones leave what there is."""
    user_id = quiet.member()
    path = f"/admin/users/{user_id}"
    body = {"email": "new@example.com", "password": "another", "role": "editor"}
    assert quiet.admin("PUT", path, body).json["email"] == "new@example.com"
    same = quiet.admin("PUT", path, {"email": "", "password": "", "role": ""}).json
    assert (same["email"], same["role"]) == ("new@example.com", "editor")
    assert quiet.log_in("new@example.com", "another").status == 200


def test_a_deleted_account_is_gone(quiet: World) -> None:
    """Its address is free again."""
    user_id = quiet.member()
    assert quiet.admin("DELETE", f"/admin/users/{user_id}").json == {}
    for method in ("GET", "PUT", "DELETE"):
        reply = quiet.admin(method, f"/admin/users/{user_id}", {} if method == "PUT" else None)
        assert reply.json == {"code": 404, "msg": "User not found"}
    assert quiet.sign_up().status == 200


@pytest.mark.parametrize("user_id", ["x", "123", "%00", "5a6c2a0e"])
def test_an_id_that_is_no_uuid(quiet: World, user_id: str) -> None:
    """400; an unknown one is 404."""
    reply = quiet.admin("GET", f"/admin/users/{user_id}")
    assert reply.json == {"code": 400, "msg": "user_id must be an UUID"}
    assert quiet.admin("GET", f"/admin/users/{uuid4()}").status == 404


@pytest.mark.parametrize(
    "body", [{"confirm": "yes"}, {"app_metadata": []}, {"role": 1}, {"email": {}}, "[]", "x"]
)
def test_a_change_that_is_none_changes_nothing(quiet: World, body: Any) -> None:
    """400 before anything is touched."""
    user_id = quiet.member()
    assert quiet.admin("PUT", f"/admin/users/{user_id}", body).status == 400


def crowd(world: World, count: int) -> None:
    """Accounts made one second after another."""
    for number in range(count):
        body = {"email": f"u{number}@example.com", "user_metadata": {"full_name": f"N {number}"}}
        world.admin("POST", "/admin/users", body)
        world.clock.advance(seconds=1)


def emails(world: World, query: str = "") -> list[str]:
    """Who is on a page."""
    reply = world.admin("GET", f"/admin/users{query}")
    assert reply.status == 200, reply.text
    return [user["email"].partition("@")[0] for user in reply.json["users"]]


def test_lists_are_pages_with_links_and_a_count(quiet: World) -> None:
    """GoTrue's headers: next while there is one, last, and prev from the second page on."""
    crowd(quiet, 5)
    first = quiet.admin("GET", "/admin/users?per_page=2")
    assert list(first.json) == ["aud", "users"]
    assert first.headers["X-Total-Count"] == "5"
    assert first.headers["Link"] == (
        '</admin/users?page=2&per_page=2>; rel="next", </admin/users?page=3&per_page=2>; rel="last"'
    )
    assert emails(quiet, "?per_page=2") == ["u4", "u3"]
    assert emails(quiet, "?per_page=2&page=3") == ["u0"]
    last = quiet.admin("GET", "/admin/users?per_page=2&page=3")
    assert last.headers["Link"] == (
        '</admin/users?page=3&per_page=2>; rel="last", </admin/users?page=2&per_page=2>; rel="prev"'
    )
    assert emails(quiet, "?page=9") == []


def test_fifty_a_page_by_default(quiet: World) -> None:
    """Newest first."""
    for number in range(51):
        quiet.external(email=f"u{number}@example.com")
    assert len(emails(quiet)) == 50
    assert emails(quiet, "?page=2") == ["u0"]


def test_lists_are_sorted_and_filtered(quiet: World) -> None:
    """By creation only; the filter looks into address and full name, whatever the case."""
    crowd(quiet, 3)
    assert emails(quiet, "?sort=created_at%20asc") == ["u0", "u1", "u2"]
    assert emails(quiet, "?sort=created_at+desc") == ["u2", "u1", "u0"]
    assert emails(quiet, "?sort=created_at") == ["u2", "u1", "u0"]
    assert emails(quiet, "?filter=U1%40EX") == ["u1"]
    assert emails(quiet, "?filter=n%202") == ["u2"]
    assert emails(quiet, "?filter=nobody") == []


@pytest.mark.parametrize(
    "query",
    [
        "page=x", "page=-1", "per_page=0", "per_page=99999999999999999999", "per_page=²",
        "sort=email", "sort=created_at%20up", "page=%ff",
    ],
)  # fmt: skip
def test_a_list_that_cannot_be(quiet: World, query: str) -> None:
    """400."""
    assert quiet.admin("GET", f"/admin/users?{query}").status == 400


def test_another_audience_has_its_own_list(quiet: World) -> None:
    """And says whose it is."""
    quiet.member()
    reply = quiet.admin("GET", "/admin/users", x_jwt_aud="other").json
    assert reply == {"aud": "other", "users": []}


def test_the_audit_log_says_who_did_what(quiet: World) -> None:
    """Newest first; an administrator's doing names whom it was done to."""
    user_id = quiet.member(full_name="Ada")
    quiet.admin("PUT", f"/admin/users/{user_id}", {})
    entries = quiet.admin("GET", "/admin/audit").json
    assert [entry["payload"]["action"] for entry in entries] == ["user_modified", "user_signedup"]
    assert entries[0]["payload"] == {
        "action": "user_modified",
        "actor_email": "",
        "actor_id": str(UUID(int=0)),
        "log_type": "user",
        "timestamp": "2026-11-23T12:00:00Z",
        "traits": {"user_email": "ada@example.com", "user_id": user_id},
    }
    assert entries[1]["payload"]["actor_name"] == "Ada"
    assert set(entries[0]) == {"id", "payload", "created_at"}


def test_the_audit_log_is_searched(quiet: World) -> None:
    """By author, action or type."""
    quiet.member()
    quiet.log_in()

    def found(query: str) -> list[str]:
        reply = quiet.admin("GET", f"/admin/audit?query={query}")
        return [entry["payload"]["action"] for entry in reply.json]

    assert found("action:login") == ["login"]
    assert found("type:team") == ["user_signedup"]
    assert found("author:ADA@") == ["login", "user_signedup"]
    assert found("author:") == ["login", "user_signedup"]
    reply = quiet.admin("GET", "/admin/audit?per_page=1")
    assert (len(reply.json), reply.headers["X-Total-Count"]) == (1, "2")
    assert quiet.admin("GET", "/admin/audit?query=who:ada").status == 400
    assert quiet.call("GET", "/admin/audit").status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/users"), ("POST", "/admin/users"), ("GET", "/admin/users/x"),
        ("PUT", "/admin/users/x"), ("DELETE", "/admin/users/x"), ("GET", "/admin/audit"),
        ("POST", "/invite"),
    ],
)  # fmt: skip
def test_nothing_of_it_is_open(quiet: World, method: str, path: str) -> None:
    """401 before anything else, for strangers and for members."""
    quiet.member()
    for token in ("", quiet.token()):
        body: object = {} if method in ("POST", "PUT") else None
        assert quiet.call(method, path, body, token=token).status == 401
