"""The examples of docs/guards.md, through each framework, by each source."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.access_tokens import FORGED, good, remade
from tests.api.api_support import BOSS, People, bearer
from tests.forgeries import FORGERIES
from tests.integrations.sites import Answer, call
from tests.support import NOON, Clock
from usher.core.domain import administration
from usher.core.domain.keys import NewKey, Scope
from usher.core.domain.outbox import Change, Kind, Person, Write
from usher.integrations.guard import Guard, Visit

pytestmark = pytest.mark.usefixtures("source")


def ask(framework: str, people: People, name: str, path: str, method: str = "GET") -> Answer:
    """A request by one of them."""
    return call(framework, method, path, ("Authorization", people.token(name)))


def give(people: People, name: str, *roles: str) -> None:
    """Set somebody's roles."""
    users = people.app.store.users
    users.change(users.get(people.ids[name]), administration.set_roles(list(roles)), BOSS)


def test_a_guard_tells_who_calls_and_lets_a_role_pass(framework: str, people: People) -> None:
    """The example as the page shows it."""
    mine = ask(framework, people, "user", "/account")
    assert (mine.status, mine.json) == (
        200,
        {"id": str(people.ids["user"]), "roles": ["member", "staff"]},
    )
    give(people, "other", "author")
    assert ask(framework, people, "other", "/drafts").json == {"drafts": []}
    assert ask(framework, people, "other", "/drafts", "POST").json == {
        "by": str(people.ids["other"])
    }


def test_a_caller_has_what_is_on_record_and_nothing_of_the_token(people: People) -> None:
    """Keys that were added here, and the handlers' own values, whatever Identity shows of them."""
    users, ada = people.app.store.users, people.ids["user"]
    users.change(
        users.get(ada), administration.edit(app_metadata={"plan": "gold", "x": None}), BOSS
    )
    change = Change(
        id="chg_1", kind=Kind.USER_CHANGED, at=NOON, user=Person(id=ada), sequence=1,
        instance_id=users.get(ada).instance_id,
    )  # fmt: skip
    keys = Write(app_metadata={"customer": "c7", "seat": 2})
    with people.app.store.write() as transaction:
        users.write_of_handler(transaction, "handler:site.billing", change, keys)
    token = people.token(
        "user",
        app_metadata={"provider": "email", "plan": "none", "customer": "c8", "admin": True},
        user_metadata={"seat": 9},
        written={"customer": "c9"},
    )
    caller = Guard().check(Visit("GET", (token,)))
    assert (caller.id, caller.email, caller.roles) == (ada, "user@example.com", {"member", "staff"})
    assert caller.app_metadata == {"provider": "email", "plan": "gold", "customer": "c7", "seat": 2}
    assert caller.written == {"customer": "c7", "seat": 2}
    assert "seat" not in caller.user_metadata
    assert caller.profile == {}


def test_a_forged_or_foreign_token_opens_nothing(framework: str, people: People) -> None:
    """Every one that the API refuses, in a header and in the cookie; and every forged event's."""
    offered = {kind: make(people) for kind, make in FORGED.items()}
    now = int(NOON.timestamp())
    offered |= {kind: f"Bearer {each.make(b'{}', now)}" for kind, each in FORGERIES.items()}
    passed = {}
    for kind, value in offered.items():
        answers = [call(framework, "GET", "/account", ("Authorization", value))]
        token = value.removeprefix("Bearer ")
        if kind not in ("no scheme", "another scheme", "two tokens", "joined headers"):
            answers.append(call(framework, "GET", "/account", ("Cookie", f"nf_jwt={token}")))
        found = {(answer.status, answer.code) for answer in answers}
        if found != {(401, "unauthenticated")}:
            passed[kind] = found
        assert all(answer.headers["www-authenticate"] == "Bearer" for answer in answers)
    assert passed == {}


def test_a_machines_key_is_nobody(framework: str, people: People) -> None:
    """A guard lets people in; no scope of a key opens it."""
    key, _ = people.app.keys.create(NewKey("script", frozenset(Scope), None), "test")
    for headers in (("Authorization", f"Bearer {key}"), ("Cookie", f"nf_jwt={key}")):
        assert call(framework, "GET", "/account", headers).code == "unauthenticated"


def test_the_roles_in_a_token_are_nobodys(framework: str, people: People) -> None:
    """Neither of somebody known nor at first sight, which makes the record."""
    claims: dict[str, Any] = {
        "app_metadata": {"provider": "email", "roles": ["editor"]},
        "user_metadata": {"roles": ["editor"]},
        "role": "editor",
    }
    stranger = uuid4()
    for token in (people.token("user", **claims), f"Bearer {bearer(stranger, NOON, **claims)}"):
        answer = call(framework, "GET", "/drafts", ("Authorization", token))
        assert (answer.status, answer.code) == (403, "forbidden")
    assert people.app.store.users.get(stranger).status == "active"


def test_shut_out_people_are_refused(framework: str, people: People) -> None:
    """By the code that the API has for them."""
    for name in ("waiting", "suspended", "deleted"):
        answer = ask(framework, people, name, "/account")
        assert (answer.status, answer.code) == (403, f"account_{name}")
        assert answer.headers["cache-control"] == "no-store"


def test_a_revoked_role_is_refused_at_the_next_request(
    framework: str, people: People, source: str, clock: Clock
) -> None:
    """By another Usher within ten seconds; a suspension and an erasure, too."""
    users = people.app.store.users

    def later() -> None:
        clock.advance(seconds=10 if source == "url" else 0)

    give(people, "user", "editor")
    assert ask(framework, people, "user", "/drafts").status == 200
    give(people, "user", "member")
    later()
    assert ask(framework, people, "user", "/drafts").code == "forbidden"
    assert ask(framework, people, "user", "/account").json["roles"] == ["member"]
    for change in ("suspend", "delete"):
        users.change(users.get(people.ids["user"]), getattr(administration, change)(), BOSS)
        later()
        code = {"suspend": "account_suspended", "delete": "account_deleted"}[change]
        assert ask(framework, people, "user", "/account").code == code


def test_a_cookie_reads_and_writes_nothing(framework: str, people: People) -> None:
    """Another site's page makes a browser send it."""
    give(people, "user", "editor")
    token = people.token("user").removeprefix("Bearer ")
    cookie = ("Cookie", f"theme=dark; nf_jwt={token}")
    assert call(framework, "GET", "/drafts", cookie).status == 200
    assert call(framework, "POST", "/drafts", cookie).code == "unauthenticated"
    assert ask(framework, people, "user", "/drafts", "POST").status == 200


def test_a_header_goes_before_the_cookie(framework: str, people: People) -> None:
    """One good token does not help another that is bad; cookies that differ are nobody's."""
    token, bad = good(people), remade(people, exp=1)
    header, cookie = ("Authorization", f"Bearer {token}"), ("Cookie", f"nf_jwt={token}")
    for headers, status in [
        ([header, ("Cookie", "nf_jwt=x")], 200),
        ([("Authorization", bad), cookie], 401),
        ([("Authorization", "Basic YTpi"), cookie], 401),
        ([("Authorization", ""), cookie], 401),
        ([("Authorization", " "), cookie], 401),
        ([header, ("Authorization", bad)], 401),
        ([header, header], 401),
        ([("Cookie", f"nf_jwt={token}; a=b; nf_jwt={token}")], 200),
        ([("Cookie", f"nf_jwt={token}; nf_jwt=x")], 401),
        ([("Cookie", f"nf_jwt={token}"), ("Cookie", "nf_jwt=x")], 401),
        ([("Cookie", "nf_jwt=; xnf_jwt=1")], 401),
        ([("Cookie", f'nf_jwt="{token}"')], 401),
        ([], 401),
    ]:
        assert call(framework, "GET", "/account", *headers).status == status, headers
