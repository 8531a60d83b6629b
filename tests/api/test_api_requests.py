"""Requests: people wait or ask, administrators decide, and nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.api.api_support import BOSS, JWT_SECRET, Answer, People, ask, asking, bearer
from tests.store.store_support import deliver
from tests.support import NOON, account, signed
from usher.core.bounds import MAX_OPEN_REQUESTS
from usher.core.domain import administration
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.records import Status

ADMIN = "administrator"


def listed(people: People, state: str = "open") -> list[tuple[str, str | None, str]]:
    """The requests: of whom, for what, in which state."""
    found = people.ask(ADMIN, "GET", f"/requests?state={state}").json["requests"]
    names = {str(id_): name for name, id_ in people.ids.items()}
    return [(names[one["user"]["id"]], one["role"], one["state"]) for one in found]


def decide(people: People, number: int, verb: str, body: Any = None) -> Answer:
    """An administrator's decision."""
    return people.ask(ADMIN, "POST", f"/requests/{number}/{verb}", body)


def actions(people: People) -> list[tuple[str, str]]:
    """The newest entries of the audit."""
    page = people.app.store.users.audit_page(limit=4)
    return [(entry.action, entry.actor.partition(":")[0]) for entry in page.items]


# --- waiting ---------------------------------------------------------------------------------


def test_who_waits_reaches_their_own_record_and_requests_alone(people: People) -> None:
    """Everything else says why it is closed."""
    mine = people.ask("waiting", "GET", "/me").json
    assert (mine["status"], mine["roles"]) == ("waiting", [])
    assert mine["message"] == "An administrator has to approve this account first."
    assert mine["mode"] == "live"
    assert people.ask("user", "GET", "/me").json["message"] is None
    assert people.ask("waiting", "PATCH", "/me", {"profile": {"name": "Wanda"}}).status == 200
    assert people.ask("waiting", "GET", "/me/requests").status == 200
    for method, path in (("GET", "/policy/me"), ("GET", "/users"), ("GET", "/requests")):
        answer = people.ask("waiting", method, path)
        assert (answer.status, answer.code) == (403, "account_waiting")


def test_who_begins_to_wait_has_an_entry_request(people: People) -> None:
    """Open, without a role; no record of it before, and one only however often they come."""
    assert listed(people) == [("waiting", None, "open")]
    with asking(people.app):
        who = people.app.store.users.get(people.ids["waiting"])
        again = account(email=who.email, user_id=who.id, at=NOON + timedelta(seconds=9))
        deliver(people.app, [signed("login", again, at=NOON + timedelta(seconds=9))])
    assert listed(people) == [("waiting", None, "open")]
    shown = people.ask(ADMIN, "GET", f"/requests/{people.number('waiting')}").json
    assert shown["user"]["status"] == "waiting"
    assert shown["policy"]["admitted"] is True
    assert shown["policy"]["roles"] == ["member", "staff"]
    assert {"rule": "role.1", "text": "grants 'member' to everybody"} in shown["policy"]["reasons"]


def test_a_token_before_any_event_waits_too(people: People) -> None:
    """And is refused by the address that it asks for, but for its own."""
    stranger = uuid4()
    token = "Bearer " + bearer(stranger, NOON)
    with asking(people.app):
        assert ask("GET", "/policy/me", token).code == "account_waiting"
    assert ask("GET", "/me", token).json["status"] == "waiting"
    people.ids["stranger"] = stranger
    assert ("stranger", None, "open") in listed(people)


def test_an_event_that_is_let_in_ends_the_waiting(people: People) -> None:
    """By the policy of then; the request is closed, and nobody else's is."""
    who = people.app.store.users.get(people.ids["waiting"])
    at = NOON + timedelta(seconds=9)
    deliver(people.app, [signed("login", account(email=who.email, user_id=who.id, at=at), at=at)])
    assert listed(people) == []
    assert listed(people, "approved") == [("waiting", None, "approved")]
    assert people.ask("waiting", "GET", "/me").json["roles"] == ["member", "staff"]
    [request] = people.ask(ADMIN, "GET", "/requests?state=all").json["requests"]
    assert (request["actor"], request["decided_at"] is not None) == ("identity", True)


# --- decisions -------------------------------------------------------------------------------


def test_an_approval_lets_in_with_the_policys_roles_and_the_administrators(people: People) -> None:
    """Once; it is in the audit with its reason."""
    number = people.number("waiting")
    body = {"roles": ["editor"], "reason": "I know her", "expires_at": "2099-01-01T00:00:00Z"}
    answer = decide(people, number, "approve", body)
    assert (answer.status, answer.json["state"]) == (200, "approved")
    assert answer.json["actor"] == f"user:{people.ids[ADMIN]}"
    assert answer.json["user"]["roles"] == ["editor", "member", "staff"]
    mine = people.ask("waiting", "GET", "/me").json
    assert (mine["status"], mine["message"]) == ("active", None)
    [editor] = [one for one in answer.json["user"]["grants"] if one["role"] == "editor"]
    assert (editor["reason"], editor["expires_at"]) == ("I know her", "2099-01-01T00:00:00Z")
    assert actions(people)[0] == ("user.approved", "user")
    for verb in ("approve", "decline"):
        again = decide(people, number, verb)
        assert (again.status, again.code) == (409, "request_decided")


def test_declining_is_told_in_a_sentence_and_can_be_undone(people: People) -> None:
    """The person waits on, can say more, and is let in later."""
    number = people.number("waiting")
    answer = decide(people, number, "decline", {"message": "Which class are you in?"})
    assert (answer.status, answer.json["state"]) == (200, "declined")
    assert actions(people)[0] == ("request.declined", "user")
    assert people.ask("waiting", "GET", "/me").json["message"] == "Which class are you in?"
    assert people.ask("waiting", "GET", "/policy/me").code == "account_waiting"
    assert decide(people, number, "decline").code == "request_decided"
    said = people.ask("waiting", "POST", "/me/requests", {"reason": "In 4b."})
    assert (said.status, said.json["state"], said.json["reason"]) == (201, "open", "In 4b.")
    assert said.json["id"] != number
    assert decide(people, number, "approve").json["user"]["status"] == "active"
    assert listed(people) == []  # the newer one is answered with it


def test_a_declined_request_without_a_sentence_has_a_general_one(people: People) -> None:
    """Something is shown."""
    decide(people, people.number("waiting"), "decline")
    message = people.ask("waiting", "GET", "/me").json["message"]
    assert message == "An administrator declined this request."


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/users/{waiting}/roles/editor", {}),
        ("PUT", "/users/{waiting}/roles", {"roles": ["editor"]}),
    ],
)
def test_a_role_is_no_way_around_an_approval(
    people: People, method: str, path: str, body: Any
) -> None:
    """Given to somebody who waits, it is refused; activating them changes nothing."""
    answer = people.ask(ADMIN, method, path, body)
    assert (answer.status, answer.code) == (409, "user_waiting")
    people.ask(ADMIN, "PATCH", "/users/{waiting}", {"status": "active"})
    assert people.ask("waiting", "GET", "/me").json["status"] == "waiting"


def test_the_suspended_are_not_approved(people: People) -> None:
    """They are reactivated first, and wait then as before."""
    number = people.number("waiting")
    people.ask(ADMIN, "PATCH", "/users/{waiting}", {"status": "suspended"})
    answer = decide(people, number, "approve")
    assert (answer.status, answer.code) == (409, "user_not_waiting")
    people.ask(ADMIN, "PATCH", "/users/{waiting}", {"status": "active"})
    assert decide(people, number, "approve").status == 200


@pytest.mark.parametrize(
    "body", [{"roles": [" x"]}, {"roles": "x"}, {"expires_at": "2000-01-01T00:00:00Z"}]
)
def test_a_decision_that_is_not_valid_decides_nothing(people: People, body: Any) -> None:
    """The whole of it is refused."""
    number = people.number("waiting")
    assert decide(people, number, "approve", body).code == "input_invalid"
    assert listed(people) == [("waiting", None, "open")]


@pytest.mark.parametrize("number", ["0", "x", "-1", "9" * 18, "9" * 40, "٣"])
def test_a_request_that_is_not_there_is_not_found(sqlite_people: People, number: str) -> None:
    """Whatever stands in its place."""
    from urllib.parse import quote

    answer = sqlite_people.ask(ADMIN, "GET", f"/requests/{quote(number)}")
    assert (answer.status, answer.code) == (404, "request_not_found")


def test_a_policy_that_fails_is_no_hindrance_to_declining(people: People) -> None:
    """It is told as null; an approval needs its roles, and says what is wrong."""

    def broken(_: Any) -> Any:
        raise ZeroDivisionError

    number = people.number("waiting")
    people.app.policy_in_force.current = CallablePolicy("tests:broken", broken)
    assert people.ask(ADMIN, "GET", "/requests").json["requests"][0]["policy"] is None
    assert decide(people, number, "approve").status == 500
    assert decide(people, number, "decline").json["state"] == "declined"


# --- roles -----------------------------------------------------------------------------------


def wish(people: People, role: str, reason: str = "") -> Answer:
    """The user asks for a role."""
    return people.ask("user", "POST", "/me/requests", {"role": role, "reason": reason})


def test_a_role_is_asked_for_and_given(people: People) -> None:
    """With the person's words; no more than that until an administrator decides."""
    asked = wish(people, "editor", "I write the news.")
    assert (asked.status, asked.json["state"], asked.json["role"]) == (201, "open", "editor")
    assert actions(people)[0] == ("request.made", "user")
    assert people.ask("user", "GET", "/me").json["roles"] == ["member", "staff"]
    answer = decide(people, asked.json["id"], "approve", {"reason": "Welcome"})
    assert answer.json["user"]["roles"] == ["editor", "member", "staff"]
    assert actions(people)[0] == ("role.granted", "user")
    [mine] = people.ask("user", "GET", "/me/requests").json["requests"]
    assert (mine["state"], mine["reason"], mine["message"]) == (
        "approved",
        "I write the news.",
        None,
    )
    assert "actor" not in mine


def test_another_role_can_be_given_instead(people: People) -> None:
    """The administrator's choice."""
    number = wish(people, "admin").json["id"]
    answer = decide(people, number, "approve", {"roles": ["editor"]})
    assert answer.json["user"]["roles"] == ["editor", "member", "staff"]


def test_a_declined_role_is_told_and_stays_so(people: People) -> None:
    """It can be asked for again."""
    number = wish(people, "editor").json["id"]
    decide(people, number, "decline", {"message": "Not yet."})
    assert people.ask("user", "GET", "/me/requests").json["requests"][0]["message"] == "Not yet."
    assert decide(people, number, "approve").code == "request_decided"
    assert wish(people, "editor").json["id"] != number


def test_what_one_has_or_waits_for_is_not_asked_for_twice(people: People) -> None:
    """The same wish again has newer words; the same ones change nothing, nor does the audit."""
    assert wish(people, "member").code == "request_not_possible"
    assert people.ask("user", "POST", "/me/requests", {}).code == "request_not_possible"
    first = wish(people, "editor", "Please").json
    assert wish(people, "editor", "Pretty please").json == first | {"reason": "Pretty please"}
    told = actions(people)
    assert wish(people, "editor", "Pretty please").json == first | {"reason": "Pretty please"}
    assert actions(people) == told
    for number in range(MAX_OPEN_REQUESTS - 1):
        assert wish(people, f"role {number}").status == 201
    assert (wish(people, "more").status, wish(people, "more").code) == (409, "request_not_possible")
    assert wish(people, "editor").status == 201


@pytest.mark.parametrize(
    "body", [{"role": ""}, {"role": "x" * 101}, {"reason": "x" * 501}, {"state": "approved"}]
)
def test_a_wish_is_bounded(people: People, body: Any) -> None:
    """And has no other fields."""
    assert people.ask("user", "POST", "/me/requests", body).code == "input_invalid"
    assert listed(people) == [("waiting", None, "open")]


def test_a_wish_is_taken_back_by_its_owner_while_it_is_open(people: People) -> None:
    """Neither by another, nor after the decision, nor to wait no more."""
    number = wish(people, "editor").json["id"]
    path = f"/me/requests/{number}"
    assert people.ask("other", "DELETE", path).code == "request_not_found"
    assert people.ask("user", "DELETE", path).status == 204
    assert actions(people)[0] == ("request.withdrawn", "user")
    assert people.ask("user", "DELETE", path).code == "request_not_found"
    number = wish(people, "editor").json["id"]
    decide(people, number, "approve")
    assert people.ask("user", "DELETE", f"/me/requests/{number}").code == "request_decided"
    entry = people.number("waiting")
    answer = people.ask("waiting", "DELETE", f"/me/requests/{entry}")
    assert (answer.status, answer.code) == (409, "request_not_possible")


def test_a_role_is_not_given_to_somebody_who_waits_by_their_request(people: People) -> None:
    """The entry is approved first."""
    asked = people.ask("waiting", "POST", "/me/requests", {"role": "editor"})
    assert asked.status == 201
    assert decide(people, asked.json["id"], "approve").code == "user_waiting"
    assert people.ask("waiting", "GET", "/me").json["status"] == "waiting"


# --- what stays ------------------------------------------------------------------------------


def test_requests_are_erased_with_the_person(people: People) -> None:
    """Their words and what they were told are personal data; a number is never used again."""
    number = wish(people, "editor", "My mother is ill.").json["id"]
    decide(people, number, "decline", {"message": "Sorry to hear that."})
    newest = wish(people, "author", "Please").json["id"]
    people.ask(ADMIN, "DELETE", "/users/{user}")
    assert listed(people, "all") == [("waiting", None, "open")]
    text = people.ask(ADMIN, "GET", f"/audit?user={people.ids['user']}").text
    assert "request.made" in text
    assert not [word for word in ("mother", "Sorry", "Please") if word in text]
    asked = people.ask("other", "POST", "/me/requests", {"role": "author"})
    assert asked.json["id"] > newest
    assert people.ask(ADMIN, "GET", f"/requests/{newest}").code == "request_not_found"


def test_requests_are_listed_page_by_page(people: People) -> None:
    """The oldest first."""
    for name in ("user", "other"):
        people.ask(name, "POST", "/me/requests", {"role": "editor"})
    first = people.ask(ADMIN, "GET", "/requests?limit=2")
    assert [one["role"] for one in first.json["requests"]] == [None, "editor"]
    cursor = first.json["next_cursor"]
    assert f"cursor={cursor}" in first.headers["Link"]
    rest = people.ask(ADMIN, "GET", f"/requests?limit=2&cursor={cursor}").json
    assert ([one["role"] for one in rest["requests"]], rest["next_cursor"]) == (["editor"], None)


def test_a_person_asks_at_the_rate_of_their_own_changes(
    sqlite_url: str, make_settings: Any, clock: Any
) -> None:
    """Each is kept in the audit, so there is a limit to them."""
    from usher.core.app import App, use

    settings = make_settings(
        database_url=sqlite_url, jwt_secret=JWT_SECRET, api_requests_per_minute=50
    )
    with use(App(settings, clock)) as app:
        people = People(app)
        answers = [wish(people, "editor", str(number)).status for number in range(40)]
    assert set(answers) == {201, 429}


def test_the_status_is_counted_and_filtered(people: People) -> None:
    """Like any other."""
    assert people.ask(ADMIN, "GET", "/stats").json["by_status"]["waiting"] == 1
    found = people.ask(ADMIN, "GET", "/users?status=waiting").json["users"]
    assert [one["id"] for one in found] == [str(people.ids["waiting"])]
    users = people.app.store.users
    users.change(users.get(people.ids["waiting"]), administration.delete(), BOSS)
    assert users.get(people.ids["waiting"]).status is Status.DELETED
    assert listed(people, "all") == []
