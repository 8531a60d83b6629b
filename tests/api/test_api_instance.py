"""The API before the Identity instance is known, and beside the deliveries of strangers."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.api.api_support import JWT_SECRET, People, ask, bearer
from tests.store.store_support import counts, rows
from tests.store.test_users import save, user
from tests.support import SECRET, Clock, account, call, signed
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.records import Status
from usher.core.settings import Settings
from usher.emulator.sender import signed_headers

OURS, STRANGER = UUID(int=7), UUID(int=8)
NOTHING = {"users": 0, "grants": 0, "deliveries": 0, "audit": 0}


def me(app: App, user_id: UUID, method: str = "GET", body: object = None) -> tuple[int, object]:
    """Status and code of ``/me``."""
    answer = ask(method, "/me", "Bearer " + bearer(user_id, app.clock()), body)
    return answer.status, answer.json.get("code")


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_d2_a_token_before_any_event_writes_nothing(site: App, method: str) -> None:
    """Under no guess: the answer says what to do; after the first event it works."""
    ada = account()
    body = {"profile": {"a": 1}} if method == "PATCH" else None
    for _ in range(2):
        answer = ask(method, "/me", "Bearer " + bearer(ada.id, site.clock()), body)
        assert (answer.status, answer.code) == (409, "instance_unknown")
        assert "Log out and in again" in answer.json["detail"]
    assert counts(site.store.database) == NOTHING
    for table in ("instances", "counters", "pushes", "syncs"):
        assert rows(site.store.database, f"SELECT * FROM {table}") == []
    call(signed("login", ada, instance_id=OURS))
    assert me(site, ada.id, method, body) == (200, None)
    assert me(site, UUID(int=99)) == (200, None)
    found = rows(site.store.database, "SELECT DISTINCT instance_id FROM users")
    assert [UUID(str(one)) for (one,) in found] == [OURS]


@pytest.mark.parametrize("configured", [UUID(int=0), OURS], ids=["zero", "other"])
def test_d2_with_the_setting_the_first_token_makes_the_record(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock, configured: UUID
) -> None:
    """Under the instance that is set, zero included, which is a real one."""
    settings = make_settings(
        database_url=database_url, jwt_secret=JWT_SECRET, instance_id=configured
    )
    with use(App(settings, clock)) as app:
        ada = account()
        assert me(app, ada.id) == (200, None)
        made = app.store.users.get(ada.id)
        app.store.users.change(made, administration.grant("editor"), Change("boss"))
        call(signed("login", ada, instance_id=configured))
        assert app.store.users.get(ada.id).instance_id == configured
    with use(App(replace(settings, instance_id=None), clock)) as app:
        roles = ask("GET", "/me", "Bearer " + bearer(ada.id, clock())).json["roles"]
        assert "editor" in roles


def test_d2_a_replay_is_no_reason_to_make_records(site: App) -> None:
    """What is on record is shown; a person never seen has to wait for a live event."""
    (ada,) = save(site, user(instance_id=OURS))
    assert me(site, ada.id) == (200, None)
    assert me(site, UUID(int=99)) == (409, "instance_unknown")
    (pending,) = save(site, user(instance_id=OURS, confirmed_at=None))
    assert me(site, pending.id) == (409, "instance_unknown")
    assert site.store.users.get(pending.id).status is Status.PENDING


@pytest.fixture
def crowded(people: People) -> People:
    """Everybody signed up, and deliveries of a stranger of every kind."""
    for event in ("validate", "signup", "login", "usermodified", "userdeleted"):
        call(signed(event, account(email=f"{event}@x.org"), instance_id=STRANGER))
    return people


@pytest.mark.parametrize(
    "address",
    ["/me", "/users", "/users/{user}", "/users/{user}/events", "/events", "/audit", "/stats",
     "/roles", "/policy", "/me/policy"],
)  # fmt: skip
def test_d1_no_call_fails_for_a_strangers_deliveries(crowded: People, address: str) -> None:
    """Nor shows anything of them."""
    answer = crowded.ask("administrator", "GET", address)
    assert answer.status in (200, 404 if address == "/me/policy" else 200)
    assert "x.org" not in answer.text
    assert str(STRANGER) not in answer.text


def test_d1_a_strangers_event_cannot_be_decided_again(crowded: People) -> None:
    """By its id neither: it is not ours to apply."""
    (kept, *_) = crowded.app.store.ledger.page(instance_id=STRANGER).items
    before = counts(crowded.app.store.database)
    for method, address, body in (
        ("GET", f"/events/{kept.id}", None),
        ("POST", f"/events/{kept.id}/replay", {"dry_run": False}),
    ):
        answer = crowded.ask("administrator", method, address, body)
        assert (answer.status, answer.code) == (404, "event_not_found")
    assert counts(crowded.app.store.database) == before


def test_d1_records_of_several_are_503_without_their_ids(site: App) -> None:
    """Which instances there are stands in the log and in doctor, not in an answer."""
    (ada,) = save(site, user(instance_id=OURS))
    save(site, user(instance_id=STRANGER))
    answer = ask("GET", "/me", "Bearer " + bearer(ada.id, site.clock()))
    assert (answer.status, answer.code) == (503, "several_instances")
    assert str(OURS) not in answer.text


def test_d1_a_made_event_is_shown_as_one(people: People) -> None:
    """Its origin is what its signature says."""
    who, now = account(email="made@example.com"), people.app.clock()
    made = signed("signup", who, at=now)
    at = int(now.timestamp())
    headers = signed_headers("signup", made.body, UUID(int=0), at, SECRET, triggered=True)
    assert call(replace(made, headers=headers))["statusCode"] == 200
    found = people.ask("administrator", "GET", f"/users/{who.id}/events").json["events"]
    assert [one["origin"] for one in found] == ["trigger"]
