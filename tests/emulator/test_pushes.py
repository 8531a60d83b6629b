"""What administrators change here reaches tokens: the emulator and Usher, over HTTP both ways."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.emulator.pushes_support import Together, together
from tests.emulator.world import OPERATOR, PASSWORD, World
from tests.store.store_support import LogLines, executed
from tests.support import Clock, account, call, signed
from usher.core.identity.push import LEASE
from usher.core.jws import read_unverified
from usher.core.settings import Settings
from usher.functions._shared.http import Request, Response

Make = Callable[..., World]


def roles_in(token: str) -> list[str]:
    """The roles that an access token carries."""
    found: list[str] = read_unverified(token, 20_000)["app_metadata"].get("roles", [])
    return found


class Person:
    """Somebody with a browser: logged in once, refreshing from then on."""

    def __init__(self, site: Together, user_id: str) -> None:
        self.world = site.world
        self.clock = site.clock
        self.id = user_id
        self.held = site.world.log_in("bob@example.com").json

    def roles(self) -> list[str]:
        """The roles in the next refreshed token."""
        self.clock.advance(seconds=1)
        self.held = self.world.refresh(self.held["refresh_token"]).json
        return roles_in(self.held["access_token"])


@pytest.fixture
def bob(site: Together) -> Person:
    """He has the policy's roles."""
    person = Person(site, site.member())
    assert person.roles() == ["member", "staff"]
    site.clock.advance(seconds=60)
    site.calls.clear()
    return person


def test_a_granted_role_is_in_the_next_refreshed_token(site: Together, bob: Person) -> None:
    """Without a login; and the answer says that Identity is in step."""
    told = site.api("PUT", f"/users/{bob.id}/roles/editor")
    assert (told["roles"], told["identity"]) == (["editor", "member", "staff"], "in step")
    assert bob.roles() == ["editor", "member", "staff"]
    assert site.changes(bob.id) == 1
    assert site.app.pushes.backlog().count == 0


def test_a_revoked_role_is_gone_from_the_next_refreshed_token(site: Together, bob: Person) -> None:
    """One that people gave, and one of the policy's, which is denied from now on."""
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    site.api("DELETE", f"/users/{bob.id}/roles/editor")
    assert bob.roles() == ["member", "staff"]
    site.api("DELETE", f"/users/{bob.id}/roles/staff")
    assert bob.roles() == ["member"]
    site.api("PUT", f"/users/{bob.id}/roles", {"roles": []})
    assert bob.roles() == []
    assert site.api("GET", f"/users/{bob.id}")["roles"] == []


def test_our_own_change_comes_back_as_an_event_and_changes_nothing(
    site: Together, bob: Person
) -> None:
    """Identity fires usermodified for it: no grant, no denial, no audit, no further push."""
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    site.api("DELETE", f"/users/{bob.id}/roles/staff")
    events = site.api("GET", f"/users/{bob.id}/events")["events"]
    echoes = [e for e in events if e["event"] == "usermodified"]
    assert [e["reply"]["status"] for e in echoes] == [204, 204]
    rules = {reason["rule"] for e in echoes for reason in e["reasons"]}
    assert not rules & {"identity.added", "identity.removed"}
    assert site.changes(bob.id) == 2
    grants = site.api("GET", f"/users/{bob.id}/roles")["grants"]
    assert {g["source"] for g in grants} == {"policy", "administrator"}
    assert site.audit(bob.id)[-2:] == [("role.granted", "user"), ("role.revoked", "user")]


def test_a_change_while_identity_is_away_holds_here_and_arrives_once(
    site: Together, bob: Person
) -> None:
    """Pending until then; no other key of app_metadata is lost, whoever wrote it."""
    site.at_identity(bob.id, plan="gold", seats={"n": 3})
    changes = site.changes(bob.id)
    site.stop()
    told = site.api("PUT", f"/users/{bob.id}/roles/editor")
    assert (told["roles"], told["identity"]) == (["editor", "member", "staff"], "pending")
    assert site.api("GET", f"/users/{bob.id}")["identity"] == "pending"
    found = site.app.pushes.of(site.app.store.users.find("bob@example.com"))
    assert found is not None
    assert found.error.startswith("identity_unavailable: Identity could not be reached")
    assert site.retry().left == 1
    drop_next(site, "usermodified")  # its answer would bring the roles as well
    site.at_identity(bob.id, theme="dark")
    site.start()
    pushed = site.retry()
    assert (pushed.settled, pushed.left, pushed.error) == (1, 0, "")
    assert site.retry().settled == 0
    assert bob.roles() == ["editor", "member", "staff"]
    kept = {key: value for key, value in site.held(bob.id).items() if key != "roles"}
    assert kept == {"provider": "email", "plan": "gold", "seats": {"n": 3}, "theme": "dark"}
    assert site.changes(bob.id) == changes + 2
    assert site.api("GET", f"/users/{bob.id}")["identity"] == "in step"


def test_the_next_login_settles_what_is_pending(site: Together, bob: Person) -> None:
    """Its answer carries the roles, so nothing is left to push."""
    site.stop()
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    site.clock.advance(seconds=5)
    token = site.world.token("bob@example.com")
    assert site.app.pushes.backlog().count == 0
    assert roles_in(token) == ["editor", "member", "staff"]
    site.start()
    assert site.retry().settled == 0
    assert site.changes(bob.id) == 0


def test_both_sides_change_roles_and_nobodys_change_is_lost(site: Together, bob: Person) -> None:
    """One at Identity whose event is lost, one here meanwhile; the audit shows both."""
    site.stop()
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    drop_next(site, "usermodified")
    site.at_identity(bob.id, roles=["auditor", "member"])  # auditor given, staff taken away
    site.start()
    assert site.retry().settled == 1
    assert bob.roles() == ["auditor", "editor", "member"]
    assert site.api("GET", f"/users/{bob.id}")["roles"] == ["auditor", "editor", "member"]
    assert site.audit(bob.id)[-2:] == [("role.granted", "user"), ("user.changed", "identity")]
    last = site.api("GET", f"/audit?user={bob.id}")["audit"][0]
    assert last["before"]["roles"].keys() ^ last["after"]["roles"].keys() == {"auditor"}
    assert last["after"]["roles"]["staff"]["identity"]["is"] == "denial"


def drop_next(site: Together, event: str) -> None:
    """The next of these events is lost on the way."""
    rules = {"rules": [{"fault": "drop", "event": event, "count": 1}]}
    told = site.world.call("PUT", "/_dev/faults", rules)
    assert told.status < 300, told.text


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (["auditor", "member", "staff"], ["auditor", "editor", "member", "staff"]),
        (["staff"], ["editor", "staff"]),
        (["auditor"], ["auditor", "editor"]),
        ([], ["editor"]),
        (["editor", "member", "staff"], ["editor", "member", "staff"]),
    ],
)
def test_a_change_at_identity_between_our_look_and_our_write_is_not_lost(
    site: Together, bob: Person, theirs: list[str], expected: list[str]
) -> None:
    """Our write overwrites theirs; their event told us, so it is written again."""
    hits: list[str] = []

    def meanwhile(call: str) -> None:
        if call.startswith("PUT") and not hits:
            hits.append(call)
            site.at_identity(bob.id, roles=theirs)
            site.clock.advance(seconds=1)

    site.before = meanwhile
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    site.before = None
    site.retry()
    site.retry()
    assert hits
    assert bob.roles() == expected
    found = site.api("GET", f"/users/{bob.id}")
    assert (found["roles"], found["identity"]) == (expected, "in step")


@pytest.mark.parametrize("moment", ["GET", "PUT"])
def test_a_second_change_here_while_the_first_is_on_its_way(
    site: Together, bob: Person, moment: str
) -> None:
    """Whoever is at it takes the second along; the end is what holds here."""
    hits: list[str] = []

    def meanwhile(call: str) -> None:
        if call.startswith(moment) and not hits:
            hits.append(call)
            told = site.api("DELETE", f"/users/{bob.id}/roles/staff")
            assert told["identity"] == "pending"

    site.before = meanwhile
    told = site.api("PUT", f"/users/{bob.id}/roles/editor")
    assert hits
    assert (told["roles"], told["identity"]) == (["editor", "member"], "in step")
    assert bob.roles() == ["editor", "member"]


def test_identity_is_never_called_inside_an_event(site: Together, bob: Person) -> None:
    """The emulator holds the account while it waits for our answer: a call would never end."""
    site.stop()
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    site.api("PATCH", f"/users/{bob.id}", {"app_metadata": {"plan": "gold"}})
    site.start()
    site.clock.advance(seconds=90)
    site.calls.clear()
    assert site.world.log_in("bob@example.com").status == 200
    site.at_identity(bob.id, roles=["member"])
    carol = site.world.member("carol@example.com")
    assert site.world.admin("DELETE", f"/admin/users/{carol}").status == 200
    assert site.calls == []


def test_an_unanswered_write_that_arrived_is_not_written_again(site: Together, bob: Person) -> None:
    """The look before the next write finds it there."""
    failing = {"on": True}
    real = site.world.emulator.handle

    def lose_answers(request: Request) -> Response:
        answer = real(request)
        return Response(504) if failing["on"] and request.method == "PUT" else answer

    site.world.emulator.handle = lose_answers  # type: ignore[method-assign]
    told = site.api("PUT", f"/users/{bob.id}/roles/editor")
    assert told["identity"] == "pending"
    failing["on"] = False
    before = site.changes(bob.id)
    assert site.retry().settled == 1
    site.retry()
    assert site.changes(bob.id) == before
    assert site.api("GET", f"/users/{bob.id}")["identity"] == "in step"
    assert bob.roles() == ["editor", "member", "staff"]


def test_further_app_metadata_is_pushed_and_taken_away_again(site: Together, bob: Person) -> None:
    """Only these keys; what Identity holds besides stays."""
    site.at_identity(bob.id, plan="silver", theme="dark")
    site.api("PATCH", f"/users/{bob.id}", {"app_metadata": {"plan": "gold", "seats": 3}})
    assert site.held(bob.id) == {
        "provider": "email",
        "roles": ["member", "staff"],
        "plan": "gold",
        "seats": 3,
        "theme": "dark",
    }
    site.api("PATCH", f"/users/{bob.id}", {"app_metadata": {"seats": None}})
    assert "seats" not in site.held(bob.id)
    site.api("PATCH", f"/users/{bob.id}", {"profile": {"nick": "B"}})
    assert "nick" not in str(site.held(bob.id))


def test_a_suspended_user_has_no_roles_in_tokens_until_reactivated(
    site: Together, bob: Person
) -> None:
    """Identity cannot shut anybody out of a refresh; what a token opens, it can."""
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    told = site.api("PATCH", f"/users/{bob.id}", {"status": "suspended"})
    assert told["identity"] == "in step"
    assert bob.roles() == []
    site.clock.advance(hours=3)
    site.at_identity(bob.id, plan="gold")
    told = site.api("PATCH", f"/users/{bob.id}", {"status": "active"})
    assert told["roles"] == ["editor", "member", "staff"]
    assert bob.roles() == ["editor", "member", "staff"]


def test_a_deleted_user_is_deleted_at_identity(site: Together, bob: Person) -> None:
    """The tombstone first; that the account is gone there comes back as an event."""
    site.api("DELETE", f"/users/{bob.id}")
    assert site.world.admin("GET", f"/admin/users/{bob.id}").status == 404
    assert site.app.pushes.backlog().count == 0
    assert site.api("GET", f"/users/{bob.id}")["identity"] == "in step"


@pytest.mark.parametrize("gone", ["there", "gone", "event"])
def test_a_deletion_while_identity_is_away_is_made_up_for(
    site: Together, bob: Person, gone: str
) -> None:
    """Whether somebody deletes the account there meanwhile, with or without our knowing."""
    site.stop()
    site.api("DELETE", f"/users/{bob.id}")
    assert site.api("GET", f"/users/{bob.id}")["identity"] == "pending"
    assert site.world.log_in("bob@example.com").status == 422
    if gone == "gone":
        drop_next(site, "userdeleted")
    if gone != "there":
        assert site.world.admin("DELETE", f"/admin/users/{bob.id}").status == 200
    assert site.app.pushes.backlog().count == (0 if gone == "event" else 1)
    site.start()
    site.retry()
    assert site.app.pushes.backlog().count == 0
    assert site.world.admin("GET", f"/admin/users/{bob.id}").status == 404


def test_a_grant_that_ends_by_itself_leaves_the_token(site: Together, bob: Person) -> None:
    """The server takes it off the record, and tells Identity."""
    until = site.clock().replace(microsecond=0)
    body = {"expires_at": until.replace(hour=until.hour + 2).isoformat()}
    site.api("PUT", f"/users/{bob.id}/roles/guest", body)
    assert bob.roles() == ["guest", "member", "staff"]
    site.clock.advance(hours=3)
    site.app.maintenance.step()
    assert site.retry().settled == 1
    assert bob.roles() == ["member", "staff"]


def test_a_user_without_an_account_stays_pending_and_says_why(site: Together) -> None:
    """Their signup was rolled back at Identity, or they came from elsewhere."""
    who = account(email="ghost@example.com", at=site.clock())
    assert call(signed("signup", who, at=site.clock()))["statusCode"] == 200
    site.clock.advance(seconds=60)
    told = site.api("PUT", f"/users/{who.id}/roles/editor")
    assert told["identity"] == "pending"
    assert site.app.pushes.backlog().error.startswith("identity_account_missing")
    pushed = site.retry()
    assert (pushed.settled, pushed.left) == (0, 1)


def test_without_credentials_nothing_is_pending(
    make: Make, make_settings: Callable[..., Settings], database_url: str, clock: Clock
) -> None:
    """Identity's own word is enough for tokens; roles then come with the next login."""
    with together(make, make_settings, database_url, clock, identity_url=None) as site:
        bob = Person(site, site.member())
        told = site.api("PUT", f"/users/{bob.id}/roles/editor")
        assert told["identity"] == "in step"
        assert bob.roles() == ["member", "staff"]
        site.clock.advance(seconds=60)
        assert roles_in(site.world.token("bob@example.com")) == ["editor", "member", "staff"]
        assert site.calls == []
        assert site.app.pushes.push_pending().left == 0


def test_no_token_of_an_administrator_is_in_a_log_or_an_error(
    make: Make, make_settings: Callable[..., Settings], sqlite_url: str, clock: Clock
) -> None:
    """Neither when it is accepted, nor when it is refused."""
    wrong = "a-token-that-identity-does-not-know"
    lines = LogLines()
    more = {"identity_admin_token": wrong}
    with together(make, make_settings, sqlite_url, clock, **more) as site:
        user_id = site.member()
        told = site.api("PUT", f"/users/{user_id}/roles/editor")
        assert told["identity"] == "pending"
        assert site.app.pushes.backlog().error.startswith("identity_credentials")
    more = {"identity_admin_token": OPERATOR}
    with together(make, make_settings, sqlite_url, clock, **more) as site:
        site.retry()
    assert lines("push.failed")
    assert not any(t in str(lines()) for t in (wrong, OPERATOR, PASSWORD, "Bearer", "eyJ"))


def test_a_push_whose_server_died_is_taken_over_by_another(site: Together, bob: Person) -> None:
    """After its lease: until then nobody writes at Identity beside it."""
    site.stop()
    site.api("PUT", f"/users/{bob.id}/roles/editor")
    dead = site.app.pushes
    user = site.app.store.users.find("bob@example.com")
    key, lease = (user.instance_id, user.id), uuid4()
    assert dead._claim(key, lease, due=False)
    site.start()
    site.calls.clear()
    told = site.api("PUT", f"/users/{bob.id}/roles/author")
    assert told["identity"] == "pending"
    assert site.retry(LEASE.total_seconds() - 2).settled == 0
    assert site.calls == []
    assert site.retry(2).settled == 1
    assert bob.roles() == ["author", "editor", "member", "staff"]
    late = dead._user(key, lease)
    assert late is None, "the dead one's lease opens nothing any more"


def test_an_answer_on_its_way_to_identity_is_waited_for(site: Together, bob: Person) -> None:
    """It replaces the whole map there, so what we wrote meanwhile is looked at once more."""
    site.at_identity(bob.id, roles=[])
    site.api("PUT", f"/users/{bob.id}/roles", {"roles": ["member"]})
    site.world.call("PUT", "/_dev/faults", {"rules": [ROLLBACK]})
    assert site.world.log_in("bob@example.com").status == 500
    told = site.api("PUT", f"/users/{bob.id}/roles/editor")
    assert told["roles"] == ["editor", "member"]
    site.retry(30)
    assert bob.roles() == ["editor", "member"]
    assert site.api("GET", f"/users/{bob.id}")["identity"] == "in step"


ROLLBACK = {"fault": "rollback", "event": "login", "count": 1}


def test_an_event_costs_no_statement_more_while_nothing_is_pending(
    site: Together, bob: Person
) -> None:
    """And not one of them concerns pushes."""
    with executed(site.app.store.database) as seen:
        assert site.world.log_in("bob@example.com").status == 200
    kinds = [one.text.split(None, 1)[0] for one in seen]
    assert not [one for one in seen if "pushes" in one.text]
    assert kinds.count("SELECT") == 3  # the ledger, the users, their grants
    assert kinds.count("INSERT") == 3  # the delivery, the user, the counters
