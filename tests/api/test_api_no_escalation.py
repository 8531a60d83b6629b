"""Nobody gets what they may not have: by no body, no address and no token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.access_tokens import FORGED, good, remade
from tests.api.api_support import BOSS, JWT_SECRET, People, ask, asking, bearer
from tests.store.store_support import deliver
from tests.support import NOON, account, signed
from usher.core.app import App, use
from usher.core.auth import TrustedCaller
from usher.core.domain import administration
from usher.core.domain.admission import Answer
from usher.core.domain.codes import NewCodes
from usher.core.domain.counting import Counting
from usher.core.domain.keys import NewKey, Scope
from usher.core.domain.policy import RESERVED_APP_METADATA
from usher.core.domain.rules import FilePolicy
from usher.core.errors import MetadataInvalidError, UserNotFoundError
from usher.core.settings import Settings
from usher.functions._shared.operation import Access
from usher.functions.api_methods import OPERATIONS

FIELDS: list[tuple[str, Any]] = [
    ("roles", ["admin"]), ("role", "admin"), ("status", "active"), ("id", "x"),
    ("instance_id", "x"), ("source", "policy"), ("version", 1), ("grants", []),
    ("app_metadata", {"roles": ["admin"]}), ("extra_app_metadata", {}), ("user_metadata", {}),
    ("written", {}),
    ("waiting", False), ("by_code", True), ("used", 0), ("created_by", "cli:x"), ("state", "open"),
    ("email", "owner@example.com"), ("confirmed_at", None), ("__class__", 1), ("Profile", {}),
]  # fmt: skip
BODIES = [
    ("PATCH", "/me", {"profile": {}}, set()),
    ("POST", "/users", {"email": "new@x.org"}, {"email"}),
    ("PATCH", "/users/{other}", {}, {"status", "app_metadata"}),
    ("PUT", "/users/{other}/roles", {"roles": ["staff"]}, {"roles"}),
    ("PUT", "/users/{other}/roles/x", {}, set()),
    ("POST", "/events/000000/replay", {}, set()),
    ("POST", "/policy/explain", {"email": "new@x.org"}, {"email"}),
    ("POST", "/policy/try", {"policy": "[admission]"}, set()),
    ("POST", "/me/requests", {"role": "editor"}, {"role"}),
    ("POST", "/codes", {}, {"roles"}),
    ("POST", "/keys", {"name": "x", "scopes": ["users:read"], "expires_at": None}, set()),
    ("POST", "/sinks", {"url": "https://crm.example/"}, set()),
    ("POST", "/outbox/retry", {"consumer": "handler:x"}, set()),
    ("POST", "/outbox/forget", {"consumer": "handler:x"}, set()),
    ("POST", "/outbox/1/retry", {}, set()),
    ("POST", "/outbox/1/skip", {}, set()),
    ("POST", "/requests/1/approve", {}, {"roles"}),
    ("POST", "/requests/1/decline", {}, set()),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "known"), BODIES, ids=[f"{m} {p}" for m, p, *_ in BODIES]
)
@pytest.mark.parametrize(("field", "value"), FIELDS, ids=[name for name, _ in FIELDS])
def test_mass_assignment_is_refused(
    sqlite_people: People,
    method: str,
    path: str,
    body: Any,
    known: set[str],
    field: str,
    value: Any,
) -> None:
    """A field that a body does not have is an error that names it, and nothing is changed."""
    if field in known:
        pytest.skip("the body has this field")
    users = sqlite_people.app.store.users
    before = users.page().items
    answer = sqlite_people.ask("administrator", method, path, body | {field: value})
    assert (answer.status, answer.code) == (400, "input_invalid")
    assert {"pointer": f"/{field}", "detail": "is not known here"} in answer.json["errors"]
    assert users.page().items == before


@pytest.mark.parametrize("value", [["admin"], {"roles": ["admin"]}, "", None])
@pytest.mark.parametrize("key", [*sorted(RESERVED_APP_METADATA), "Roles", "AUTHORIZATION"])
def test_app_metadata_sets_no_key_that_gives_roles(people: People, key: str, value: object) -> None:
    """They would reach the token, and Netlify's role redirects, without being a grant."""
    body = {"app_metadata": {"plan": "gold", key: value}}
    answer = people.ask("administrator", "PATCH", "/users/{other}", body)
    assert (answer.status, answer.code) == (400, "metadata_invalid")
    assert key in answer.text
    assert not people.app.store.users.get(people.ids["other"]).extra_app_metadata


def test_a_key_from_before_it_was_reserved_can_be_taken_out(people: People) -> None:
    """And only that: its value is in no reply any more, and cannot be changed."""
    users = people.app.store.users
    before = replace(
        users.get(people.ids["other"]), extra_app_metadata={"authorization": {"roles": ["x"]}}
    )
    with pytest.raises(MetadataInvalidError):
        administration.edit_app_metadata(before, {"authorization": {"roles": ["y"]}})
    after = administration.edit_app_metadata(before, {"authorization": None})
    assert after.extra_app_metadata == {"authorization": None}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users/{}", None), ("PATCH", "/users/{}", {"status": "active"}),
        ("DELETE", "/users/{}", None), ("GET", "/users/{}/roles", None),
        ("PUT", "/users/{}/roles", {"roles": ["admin"]}), ("PUT", "/users/{}/roles/admin", {}),
        ("DELETE", "/users/{}/roles/staff", None), ("GET", "/users/{}/events", None),
        ("GET", "/users/{}/changes", None), ("POST", "/outbox/1/skip?{}", {}),
        ("GET", "/requests/1?{}", None), ("POST", "/requests/1/approve?{}", {}),
        ("POST", "/requests/99/decline?{}", {}),
    ],
)  # fmt: skip
def test_to_a_user_absent_and_forbidden_look_the_same(
    people: People, method: str, path: str, body: object
) -> None:
    """Their own id, another's, a deleted one's, one that nobody has, and what is no id."""
    users = people.app.store.users
    before = users.page().items
    ids = [*map(str, people.ids.values()), "00000000-0000-0000-0000-00000000dead", "nonsense"]
    answers = {people.ask("user", method, path.format(id_), body).text for id_ in ids}
    assert len(answers) == 1
    assert '"code":"forbidden"' in answers.pop()
    assert users.page().items == before


def test_a_user_sees_and_edits_only_themselves(people: People) -> None:
    """Profile in, profile out; roles, status and everybody else untouched."""
    before = people.app.store.users.get(people.ids["user"])
    answer = people.ask("user", "PATCH", "/me", {"profile": {"roles": ["admin"], "likes": "tea"}})
    assert answer.json["profile"] == {"roles": ["admin"], "likes": "tea"}
    assert answer.json["roles"] == ["member", "staff"]
    after = people.app.store.users.get(people.ids["user"])
    assert (after.grants, after.status) == (before.grants, before.status)
    assert people.ask("user", "GET", "/users").code == "forbidden"


def test_a_demoted_administrators_token_is_refused_at_the_next_request(people: People) -> None:
    """Our record decides, not what the token says."""
    token = people.token("administrator", app_metadata={"roles": ["admin"], "provider": "email"})
    assert ask("GET", "/users", token).status == 200
    users = people.app.store.users
    users.change(users.get(people.ids["administrator"]), administration.revoke("admin"), BOSS)
    assert ask("GET", "/users", token).code == "forbidden"
    users.change(users.get(people.ids["administrator"]), administration.suspend(), BOSS)
    assert ask("GET", "/me", token).code == "account_suspended"
    users.change(users.get(people.ids["administrator"]), administration.delete(), BOSS)
    assert ask("GET", "/me", token).code == "account_deleted"


def test_an_older_tokens_roles_are_nobodys(people: People) -> None:
    """Neither for a known user nor at first sight: the policy's roles, no more."""
    claims: dict[str, Any] = {
        "app_metadata": {"provider": "email", "roles": ["admin"]},
        "user_metadata": {},
    }
    assert ask("GET", "/users", people.token("user", **claims)).code == "forbidden"
    from uuid import uuid4

    stranger = "Bearer " + bearer(uuid4(), NOON, role="admin", **claims)
    assert ask("GET", "/users", stranger).code == "forbidden"
    assert ask("GET", "/me", stranger).json["roles"] == ["member"]


ACTS: list[tuple[str, str, object]] = [
    ("PATCH", "/me", {"profile": {"roles": ["admin"], "status": "active"}}),
    ("POST", "/me/requests", {"role": "admin", "reason": "please"}),
    ("POST", "/me/requests", {"reason": "please"}),
    ("DELETE", "/me/requests/1", None),
    ("DELETE", "/me/requests/2", None),
    ("GET", "/requests", None),
    ("GET", "/requests/1", None),
    ("POST", "/requests/1/approve", {"roles": ["admin"]}),
    ("POST", "/requests/2/approve", {}),
    ("POST", "/requests/1/decline", {}),
    ("PATCH", "/users/{}", {"status": "active"}),
    ("PUT", "/users/{}/roles", {"roles": ["admin"]}),
    ("PUT", "/users/{}/roles/admin", {}),
    ("POST", "/users", {"email": "friend@example.com"}),
    ("POST", "/outbox/forget", {"consumer": "handler:x"}),
    ("GET", "/policy/me", None),
]


@pytest.mark.parametrize("name", ["waiting", "user", "suspended", "deleted"])
def test_nobody_approves_themselves_or_another(people: People, name: str) -> None:
    """Every act of one's own, in turn and again, leaves all statuses and roles as they were."""
    users = people.app.store.users

    def standing() -> dict[str, object]:
        return {str(one.id): (one.status, one.grants) for one in users.page().items}

    before = standing()
    for method, path, body in ACTS * 2:
        for who in ("waiting", "user"):
            answer = people.ask(name, method, path.format(people.ids[who]), body)
            assert answer.status < 500
            if not path.startswith(("/me", "/policy/me")):
                assert answer.status == 403
        assert standing() == before
    entries = people.ask("administrator", "GET", "/requests?state=all").json["requests"]
    assert {one["state"] for one in entries} == {"open"}
    assert [one["user"]["status"] for one in entries if one["role"] is None] == ["waiting"]


def test_who_waits_gains_nothing_by_their_token_or_their_events(people: People) -> None:
    """Roles in it are nobody's; a login that the policy asks about changes nothing."""
    claims = {"app_metadata": {"provider": "email", "roles": ["admin"]}, "role": "admin"}
    token = people.token("waiting", **claims)
    assert ask("GET", "/users", token).code == "account_waiting"
    with asking(people.app):
        for number, event in enumerate(("login", "usermodified", "signup")):
            at = NOON + timedelta(seconds=number)
            who = account(
                email="waiting@example.com",
                user_id=people.ids["waiting"],
                at=at,
                roles=["admin"],
                confirmed_at=NOON,
            )
            deliver(people.app, [signed(event, who, at=at)])
            assert ask("GET", "/users", token).code == "account_waiting"
            mine = ask("GET", "/me", token).json
            assert (mine["status"], mine["roles"]) == ("waiting", [])


@contextmanager
def counting(app: App) -> Iterator[None]:
    """A site for invited people: those without a code wait, in here."""
    usual = app.policy
    assert isinstance(usual, FilePolicy)
    admission = replace(usual.admission, default=Answer.ASK)
    in_force = app.policy_in_force.__dict__
    in_force["current"] = replace(usual, admission=admission, counting=Counting("code"))
    try:
        yield
    finally:
        in_force["current"] = usual


GUESSES: list[Any] = [
    "guess-guess-guess", "7HQ2M-9KXTD-4BWZP", "' OR 1=1 --", "%", "*", "", 0, True, None, [], {},
    ["7HQ2M-9KXTD-4BWZP"], {"code": "x"}, "admin", "waiting", "x" * 10_000,
]  # fmt: skip
TYPED: dict[str, Any] = {
    "roles": ["admin"], "role": "admin", "status": "active", "waiting": False, "by_code": True,
    "waiting_since": None, "invited": True, "invited_at": "2026-01-01T00:00:00Z", "used": 0,
    "app_metadata": {"roles": ["admin"]}, "code_uses": [], "approved": True,
}  # fmt: skip
"""What people write into the fields that are theirs."""
FULL_OF_IT = {"profile": TYPED | {"code": "7HQ2M-9KXTD-4BWZP"}}
CLOSED: list[tuple[str, str, object]] = [
    *(act for act in ACTS if not act[1].startswith("/me")),
    ("GET", "/users", None),
    ("GET", "/users/{}", None),
    ("GET", "/codes", None),
    ("POST", "/codes", {"roles": ["admin"]}),
    ("GET", "/keys", None),
    ("POST", "/keys", {"name": "mine", "scopes": ["roles:write"], "expires_at": None}),
    ("GET", "/audit", None),
    ("GET", "/events", None),
    ("GET", "/policy", None),
    ("POST", "/policy/explain", {"email": "new@x.org", "code": "valid"}),
]


def newcomer(people: People, name: str, code: Any) -> UUID:
    """Somebody whom the policy asks about gives something as a code, and types the rest, too."""
    typed = TYPED | {"code": code}
    return people.sign_up(name, user_metadata=typed)


def assert_waits(people: People, name: str) -> None:
    """``/api/me`` and the person's own requests are open, nothing else is, and no role is there."""
    who = people.ids[name]
    claims = {"app_metadata": {"provider": "email", "roles": ["admin"]}, "role": "admin"}
    token = people.token(name, **claims, user_metadata=TYPED)
    for method, path, body in CLOSED:
        answer = ask(method, path.format(who), token, body)
        assert (answer.status, answer.code) == (403, "account_waiting"), (method, path)
    assert ask("PATCH", "/me", token, FULL_OF_IT).status == 200
    mine = ask("GET", "/me", token).json
    assert (mine["status"], mine["roles"]) == ("waiting", [])
    assert ask("GET", "/me/requests", token).status == 200
    assert people.app.store.users.get(who).grants == ()


@pytest.mark.parametrize("kind", ["guessed", "declined", "used up", "ended", "revoked"])
def test_who_waits_beside_codes_reaches_nothing_but_themselves(
    sqlite_people: People, kind: str
) -> None:
    """Whatever they gave as a code, and whatever they write into the fields that are theirs."""
    people, codes = sqlite_people, sqlite_people.app.codes
    now = people.app.clock()
    ends = now + timedelta(minutes=1)
    made = NewCodes(roles=("editor",), ends_at=ends if kind == "ended" else None)
    ((spelling, code),) = codes.make(made, "cli:ada")
    with counting(people.app):
        if kind == "used up":
            newcomer(people, "first", spelling)
            assert people.ask("first", "GET", "/me").json["roles"] == ["editor", "member", "staff"]
        elif kind == "revoked":
            codes.revoke(code.id, "cli:ada")
        elif kind == "ended":
            people.app.clock.advance(minutes=1)  # type: ignore[attr-defined]
        newcomer(people, "late", "" if kind in ("guessed", "declined") else spelling)
        if kind == "declined":
            path = f"/requests/{people.number('late')}/decline"
            assert people.ask("administrator", "POST", path, {"message": "No."}).status == 200
        assert_waits(people, "late")
        if kind == "declined":
            assert people.ask("late", "GET", "/me").json["message"] == "No."
            assert people.ask("late", "POST", "/me/requests", {"reason": "but"}).status == 201
            assert_waits(people, "late")
    assert codes.get(code.id).used == (kind == "used up")


def test_who_guesses_codes_gets_nowhere(sqlite_people: People) -> None:
    """Of any type, at every event, and with a good code in any field but the policy's own."""
    people = sqlite_people
    ((spelling, code),) = people.app.codes.make(NewCodes(roles=("admin",)), "cli:ada")
    with counting(people.app):
        for number, guess in enumerate([*GUESSES, code.digest, str(code.id), spelling[:-1]]):
            newcomer(people, f"guess{number}", guess)
            mine = people.ask(f"guess{number}", "GET", "/me").json
            assert (mine["status"], mine["roles"]) == ("waiting", []), guess
        assert_waits(people, "guess0")
        elsewhere = {"Code": spelling, "code ": spelling, "data": {"code": spelling}}
        people.sign_up("elsewhere", user_metadata=elsewhere)
        assert_waits(people, "elsewhere")
        # A good code that comes after the signup is none: only a signup uses it.
        for second, event in enumerate(("login", "usermodified"), start=1):
            at = people.app.clock() + timedelta(seconds=second)
            who = account(
                email="guess0@example.com",
                user_id=people.ids["guess0"],
                at=at,
                confirmed_at=at,
                user_metadata={"code": spelling},
                roles=["admin"],
            )
            deliver(people.app, [signed(event, who, at=at)])
            body = {"profile": {"code": spelling}}
            assert people.ask("guess0", "PATCH", "/me", body).status == 200
            reason = {"reason": spelling}
            assert people.ask("guess0", "POST", "/me/requests", reason).status == 201
            assert_waits(people, "guess0")
    assert people.app.codes.get(code.id).used == 0


@pytest.mark.parametrize("roles", [{"editor"}, {"editor", "author", "staff"}])
def test_rights_elsewhere_approve_nobodys_own_request(people: People, roles: set[str]) -> None:
    """No role but the administrator's decides, not even at the instance of somebody else."""
    users = people.app.store.users
    for role in roles:
        users.change(users.get(people.ids["user"]), administration.grant(role), BOSS)
    asked = people.ask("user", "POST", "/me/requests", {"role": "admin", "reason": "please"})
    number = asked.json["id"]
    before = users.get(people.ids["user"])
    claims = {"app_metadata": {"provider": "email", "roles": ["admin", *roles]}, "role": "admin"}
    other = bearer(
        people.ids["user"],
        NOON,
        JWT_SECRET,
        iss="https://other.example/.netlify/identity",
        **claims,
    )
    for token in (people.token("user", **claims), f"Bearer {other}"):
        for verb, body in (("approve", {}), ("approve", {"roles": ["admin"]}), ("decline", {})):
            answer = ask("POST", f"/requests/{number}/{verb}", token, body)
            assert (answer.status, answer.code) == (403, "forbidden")
    assert users.get(people.ids["user"]).grants == before.grants
    assert people.ask("user", "GET", "/me/requests").json["requests"][0]["state"] == "open"


def test_an_approval_that_was_taken_back_by_a_suspension_opens_nothing(people: People) -> None:
    """The suspended are refused first; reactivated, they are as the approval left them."""
    number = people.number("waiting")
    assert people.ask("administrator", "POST", f"/requests/{number}/approve").status == 200
    people.ask("administrator", "PATCH", "/users/{waiting}", {"status": "suspended"})
    assert people.ask("waiting", "GET", "/me").code == "account_suspended"
    people.ask("administrator", "PATCH", "/users/{waiting}", {"status": "active"})
    assert people.ask("waiting", "GET", "/me").json["roles"] == ["member", "staff"]
    assert people.ask("waiting", "GET", "/requests").code == "forbidden"


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_is_not_good_opens_nothing(sqlite_people: People, kind: str) -> None:
    """401, and of the reason no more than helps an honest caller."""
    answer = ask("GET", "/users", FORGED[kind](sqlite_people))
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert "claim" not in answer.text
    assert ("expired" in answer.text) is (kind == "expired")  # true is no time that has passed
    assert "signature" not in answer.text


def test_a_configured_audience_must_be_named(
    sqlite_url: str, make_settings: Callable[..., Settings]
) -> None:
    """As the one audience, or among several."""
    settings = make_settings(
        database_url=sqlite_url, jwt_secret=JWT_SECRET, jwt_audience="api.example"
    )
    with use(App(settings, lambda: NOON)) as app:
        people = People(app)
        for audience, status in [
            ("api.example", 200), (["x", "api.example"], 200), ("", 401), (None, 401),
            ("API.example", 401), (["x"], 401), ({"api.example": 1}, 401),
        ]:  # fmt: skip
            assert ask("GET", "/users", remade(people, aud=audience)).status == status, audience


def test_a_cookie_opens_reading_and_nothing_else(people: People) -> None:
    """It travels with what other sites' pages ask for; nothing may change by it."""
    cookie = f"theme=dark; nf_jwt={good(people)}"
    assert ask("GET", "/users", cookie=cookie).status == 200
    assert ask("HEAD", "/users", cookie=cookie).status == 200
    writes: list[tuple[str, str, object]] = [
        ("PATCH", "/me", {"profile": {}}), ("DELETE", "/users/{other}", None),
        ("PUT", "/users/{other}/roles", {"roles": []}), ("POST", "/users", {"email": "a@b.c"}),
    ]  # fmt: skip
    for method, path, body in writes:
        assert ask(method, people.fill(path), body=body, cookie=cookie).status == 401
    assert ask("GET", "/me", cookie=f"nf_jwt={good(people)}; nf_jwt=x").status == 401
    assert ask("GET", "/me", cookie="nf_jwt=; xnf_jwt=1").status == 401


LAST = [
    ("DELETE", "/users/{administrator}/roles/admin", None),
    ("PUT", "/users/{administrator}/roles", {"roles": ["member"]}),
    ("PATCH", "/users/{administrator}", {"status": "suspended"}),
    ("DELETE", "/users/{administrator}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), LAST)
def test_the_last_administrator_stays_unless_forced(
    people: People, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """Neither demoted, suspended nor deleted by accident."""
    answer = people.ask("administrator", method, path, body)
    assert (answer.status, answer.code) == (409, "last_administrator")
    assert people.ask("administrator", "GET", "/users").status == 200
    forced = body | {"force": True} if body else None
    address = path if body else path + "?force=true"
    assert people.ask("administrator", method, address, forced).status in (200, 204)
    assert people.ask("administrator", "GET", "/users").status in (401, 403)


def test_only_a_runtime_can_vouch_for_a_caller(people: People) -> None:
    """By the type of the context, which no request can send; roles there are nobody's either."""
    claims = {"sub": str(people.ids["administrator"]), "exp": int(NOON.timestamp()) + 60}
    assert ask("GET", "/users", context=TrustedCaller(claims)).status == 200
    assert ask("GET", "/users", context={"claims": claims}).status == 401
    assert ask("GET", "/users", context=TrustedCaller({**claims, "exp": 1})).status == 401
    other = {
        "sub": str(people.ids["user"]),
        "exp": claims["exp"],
        "app_metadata": {"roles": ["admin"]},
    }
    assert ask("GET", "/users", context=TrustedCaller(other)).code == "forbidden"


def test_first_sight_makes_a_record_and_a_tombstone_stays_one(people: People) -> None:
    """A good token is enough to be known, never to come back from the dead."""
    from uuid import uuid4

    stranger = uuid4()
    assert ask("GET", "/me", "Bearer " + bearer(stranger, NOON)).json["status"] == "active"
    entry = people.app.store.users.audit_page(limit=1).items[0]
    assert (entry.action, entry.user_id) == ("user.created", stranger)
    assert people.ask("deleted", "GET", "/me").code == "account_deleted"
    with pytest.raises(UserNotFoundError):
        people.app.store.users.find("deleted@example.com")


def test_a_token_takes_no_role_off_a_pending_record(people: People) -> None:
    """Its roles are not believed, so their absence says nothing."""
    who = account(email="pia@example.com", roles=["editor", "member"], proven=False)
    deliver(people.app, [signed("usermodified", who)])
    assert people.app.store.users.get(who.id).status == "pending"
    mine = ask("GET", "/me", "Bearer " + bearer(who.id, NOON)).json
    assert (mine["status"], mine["roles"]) == ("active", ["editor", "member"])


SCOPED = {
    ("GET", "/users"): "users:read", ("GET", "/users/{id}"): "users:read",
    ("GET", "/users/{id}/roles"): "users:read", ("GET", "/users/{id}/events"): "users:read",
    ("GET", "/roles"): "users:read", ("GET", "/stats"): "users:read",
    ("GET", "/changes"): "changes:read",
    ("PUT", "/users/{id}/roles"): "roles:write", ("PUT", "/users/{id}/roles/{role}"): "roles:write",
    ("DELETE", "/users/{id}/roles/{role}"): "roles:write",
}  # fmt: skip
"""All that a key opens, with its scope; every other operation is closed to every key."""
FILLED = {"{role}": "editor", "{number}": "1", "{key}": "machine"}


def machine(people: People, *scopes: str) -> str:
    """The Authorization header of a key with these scopes."""
    wanted = NewKey("machine", frozenset(map(Scope, scopes)), None)
    return f"Bearer {people.app.keys.create(wanted, 'cli:ada')[0]}"


def everything(people: People) -> object:
    """The whole state that no key may touch: people but for roles, keys, codes and requests."""
    users = people.app.store.users
    return (
        [(one.id, one.status, one.profile, one.extra_app_metadata) for one in users.page().items],
        [one for one in users.page().items if one.id == people.ids["administrator"]],
        [(each.name, each.scopes, each.revoked_at) for each in people.app.keys.page().items],
        people.app.codes.page().items,
        [asked.request for asked in people.app.requests.page(None).items],
    )


@pytest.mark.parametrize("scopes", [*([scope] for scope in Scope), list(Scope)], ids=str)
def test_a_key_opens_what_its_scopes_name_and_nothing_else(
    sqlite_people: People, scopes: list[str]
) -> None:
    """Every operation, by every scope alone and by all together."""
    people, bearer = sqlite_people, machine(sqlite_people, *scopes)
    before, opened = everything(people), set()
    for operation in OPERATIONS:
        who = people.ids["user"]
        path = operation.path.replace("{id}", str(who)).replace("{code}", str(who))
        for part, value in FILLED.items():
            path = path.replace(part, value)
        wanted = SCOPED.get((operation.method, operation.path))
        body = {"name": "more", "scopes": list(Scope), "expires_at": None, "roles": ["editor"]}
        for sent in (None, {}, body):
            answer = ask(operation.method, path, bearer, sent)
            if operation.access is Access.PUBLIC:
                assert answer.status in (200, 400)
            elif wanted in scopes:
                assert answer.status in (200, 400), answer
                opened.add(operation.path)
            else:
                assert (answer.status, answer.code) == (403, "key_forbidden"), operation
                assert answer.json["detail"] == (
                    f"It needs the scope {wanted!r}."
                    if wanted
                    else "No key does; it is for people."
                )
        assert everything(people) == before, operation
    assert opened == {path for (_, path), scope in SCOPED.items() if scope in scopes}


def test_the_scopes_of_operations_are_those_of_the_table() -> None:
    """Only what administrators may do has one: no key acts as a person, or makes keys."""
    found = {(each.method, each.path): each.scope for each in OPERATIONS if each.scope}
    assert found == SCOPED
    assert {each.access for each in OPERATIONS if each.scope} == {Access.ADMINISTRATOR}
    assert not any(each.path.startswith(("/keys", "/me")) for each in OPERATIONS if each.scope)


ADMIN_WORDS: list[tuple[str, str, object]] = [
    ("PUT", "/users/{user}/roles/admin", {}),
    ("PUT", "/users/{user}/roles/admin", {"expires_at": "2027-01-01T00:00:00Z"}),
    ("PUT", "/users/{user}/roles", {"roles": ["admin"]}),
    ("PUT", "/users/{user}/roles", {"roles": ["editor", "admin"], "force": True}),
    ("PUT", "/users/{suspended}/roles/admin", {}),
    ("PUT", "/users/{denied}/roles/admin", {}),
    ("PUT", "/users/{administrator}/roles/admin", {"expires_at": "2026-12-01T00:00:00Z"}),
    ("PUT", "/users/{administrator}/roles", {"roles": []}),
    ("PUT", "/users/{administrator}/roles", {"roles": ["editor"], "force": True}),
    ("DELETE", "/users/{administrator}/roles/admin", None),
    ("DELETE", "/users/{administrator}/roles/admin?force=true", None),
]


def test_no_key_gives_or_takes_the_administrators_role(people: People) -> None:
    """By no way there is; it gives other roles to the same people."""
    bearer, users = machine(people, *Scope), people.app.store.users
    denied = account(email="owner@example.com")
    people.ids["denied"] = denied.id
    deliver(people.app, [signed("signup", denied)])
    users.change(users.get(denied.id), administration.revoke("admin"), BOSS)
    assert any(word.denies for word in users.get(denied.id).grants)
    before = users.page().items
    for method, path, body in ADMIN_WORDS:
        answer = ask(method, people.fill(path), bearer, body)
        assert (answer.status, answer.code) == (403, "key_forbidden"), path
        assert answer.json["detail"] == "No key gives or takes the role 'admin'."
        assert users.page().items == before
    boss = f"/users/{people.ids['administrator']}/roles"
    kept = ask("PUT", boss, bearer, {"roles": ["admin", "editor"]})
    assert kept.json["roles"] == ["admin", "editor"]
    assert ask("DELETE", f"{boss}/editor", bearer).json["roles"] == ["admin"]


@pytest.mark.parametrize("ending", ["revoked", "expired"])
def test_a_key_that_has_ended_opens_nothing(sqlite_people: People, ending: str) -> None:
    """At the very next request, whatever its scopes."""
    people = sqlite_people
    end = people.app.clock() + timedelta(minutes=1)
    text, _ = people.app.keys.create(NewKey("machine", frozenset(Scope), end), "cli:ada")
    assert ask("GET", "/users", f"Bearer {text}").status == 200
    if ending == "revoked":
        people.app.keys.revoke("machine", "cli:ada")
    else:
        people.app.clock.advance(minutes=1)  # type: ignore[attr-defined]
    for method, path in SCOPED:
        answer = ask(method, path.replace("{id}", "x").replace("{role}", "x"), f"Bearer {text}")
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.json["detail"] == f"The key is {ending}."
