"""What the emulator does with a hook's answer, and with one that does not come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import pytest

from tests.emulator.test_sender import raw
from tests.emulator.world import JWT_SECRET, PASSWORD, World, reply_json
from tests.stub import HANG, Answer, answering
from tests.support import NOON, SECRET, free_port
from usher.core.jws import verify_event
from usher.emulator.options import Webhook

Make = Callable[..., World]
NOT_HANDLED = {"code": 422, "msg": "Failed to handle signup webhook"}


def only(event: str, answer: int | Answer) -> Callable[[str, int], int | Answer]:
    """Answer one event so, and accept the others."""
    return lambda name, _number: answer if name == event else 204


@pytest.mark.parametrize("status", [200, 202, 204])
def test_three_statuses_are_success(make: Make, status: int) -> None:
    """The first attempt is the last."""
    world = make(lambda *_: status)
    assert world.sign_up().status == 200
    assert world.events == ["validate"]


@pytest.mark.parametrize("status", [201, 206, 301, 400, 401, 403, 404, 409, 429, 500, 503])
def test_any_other_status_is_tried_three_times_then_422(make: Make, status: int) -> None:
    """And nothing is stored: no account, no mail."""
    world = make(lambda *_: status)
    reply = world.sign_up()
    assert (reply.status, reply.json) == (422, NOT_HANDLED)
    assert world.events == ["validate"] * 3
    assert world.admin("GET", "/admin/users").json["users"] == []
    assert world.mails == []


def test_a_refused_signup_leaves_the_link_good(make: Make) -> None:
    """The account stays unconfirmed; the next click tries again."""
    world = make(lambda event, number: 500 if event == "signup" and number <= 4 else 204)
    world.sign_up()
    assert world.confirm().json == NOT_HANDLED
    assert world.confirm().status == 200
    assert world.events == ["validate", *["signup"] * 4]


def test_a_refused_login_gives_no_tokens(make: Make) -> None:
    """Nor an entry in the audit log."""
    world = make(only("login", 403))
    world.member()
    assert world.log_in().json == NOT_HANDLED
    actions = [entry["payload"]["action"] for entry in world.admin("GET", "/admin/audit").json]
    assert actions == ["user_signedup"]


def test_with_autoconfirm_a_refusal_leaves_nothing(make: Make) -> None:
    """Both are one transaction there."""
    world = make(only("signup", 403), autoconfirm=True)
    assert world.sign_up().status == 422
    assert world.admin("GET", "/admin/users").json["users"] == []


def test_a_refused_recovery_has_gotrues_other_words(make: Make) -> None:
    """Every failure of a recovery is 500 there; the link stays good."""
    world = make(lambda event, number: 403 if event == "signup" and number <= 4 else 204)
    world.sign_up()
    world.call("POST", "/recover", {"email": "ada@example.com"})
    body = {"type": "recovery", "token": world.mails[-1].token}
    refused = world.call("POST", "/verify", body)
    assert (refused.status, refused.json["msg"]) == (500, "Database error updating user")
    assert world.call("POST", "/verify", body).status == 200


def test_a_retry_that_is_accepted_is_enough(make: Make) -> None:
    """Same body and signature each time."""
    world = make(lambda _event, number: 204 if number == 3 else 500)
    assert world.sign_up().status == 200
    assert world.stub is not None
    signatures = {headers["x-webhook-signature"] for _, headers, _ in world.stub.requests}
    assert (len(world.bodies), len(set(world.bodies)), len(signatures)) == (3, 1, 1)


def test_time_outs_are_tried_again_and_end_in_504(make: Make) -> None:
    """Three times the limit of an attempt, five seconds each at Identity."""
    world = make(lambda *_: HANG, attempt_timeout_seconds=0.2)
    started = monotonic()
    reply = world.sign_up()
    assert monotonic() - started >= 0.6
    assert reply.json | {"error_id": ""} == {
        "code": 504,
        "msg": "Failed to perform webhook in time frame (0.2 seconds)",
        "error_id": "",
    }
    assert world.events == ["validate"] * 3


def test_a_time_out_then_success(make: Make) -> None:
    """The person notices nothing but the wait."""
    world = make(lambda _e, number: 204 if number == 2 else HANG, attempt_timeout_seconds=0.2)
    assert world.sign_up().status == 200


def test_five_seconds_are_the_default(make: Make) -> None:
    """IDENTITY's own number."""
    assert make().emulator._instance.options.attempt_timeout_seconds == 5.0


def test_a_receiver_that_is_not_there_is_502_at_once(make: Make) -> None:
    """Not tried again."""
    url = f"http://127.0.0.1:{free_port()}/hook"
    world = make(webhook=Webhook(url=url, secret=SECRET))
    reply = world.sign_up()
    assert (reply.status, reply.json["msg"]) == (502, f"Failed to connect to {url}")


def test_a_receiver_that_hangs_up_is_500_at_once(make: Make) -> None:
    """The event may have arrived, and is not sent again."""
    with raw(b"") as (url, connections):
        reply = make(webhook=Webhook(url=url, secret=SECRET)).sign_up()
    assert (reply.status, reply.json["msg"]) == (500, f"Failed to trigger webhook to {url}")
    assert len(connections) == 1


def test_the_signature_is_good_and_fresh(make: Make) -> None:
    """Signed with the webhook's secret at the time of sending."""
    world = make(lambda *_: 204, instance_id=UUID(int=7))
    world.clock.advance(hours=5)
    world.sign_up()
    assert world.stub is not None
    path, headers, body = world.stub.requests[0]
    now = NOON.timestamp() + 5 * 3600
    claims = verify_event([headers["x-webhook-signature"]], body, [SECRET], now)
    assert (claims.issued_at, claims.instance_id) == (int(now), UUID(int=7))
    assert (path, headers["x-netlify-event"]) == ("/hook", "identity_validate")
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "Go-http-client/1.1"


def test_without_a_secret_there_is_no_signature(make: Make) -> None:
    """As with a webhook that has none."""
    with answering(204) as stub:
        world = make(webhook=Webhook(url=stub.url, secret=b""))
        world.sign_up()
    assert "x-webhook-signature" not in stub.requests[0][1]


def test_function_hooks_are_signed_with_the_jwt_secret(make: Make) -> None:
    """One address for each event, several if there are; a path is one of the site's."""
    with answering(204) as stub:
        hooks = {"validate": "/fn/validate", "signup": [f"{stub.url}/a", f"{stub.url}/b"]}
        world = make(site_url=stub.url, function_hooks=hooks)
        world.member()
        world.log_in()
    assert [path for path, _, _ in stub.requests] == ["/fn/validate", "/a", "/b"]
    _, headers, body = stub.requests[0]
    assert verify_event(
        [headers["x-webhook-signature"]], body, [JWT_SECRET], NOON.timestamp()
    ).issued_at


def test_a_webhook_can_want_some_events_only(make: Make) -> None:
    """The others are not sent."""
    with answering(204) as stub:
        webhook = Webhook(url=stub.url, secret=SECRET, events=("login",))
        world = make(webhook=webhook)
        world.member()
        world.log_in()
    assert [json.loads(body)["event"] for _, _, body in stub.requests] == ["login"]


def test_metadata_in_the_answer_replaces_what_is_stored(make: Make) -> None:
    """The whole map: provider is lost where it is left out."""
    answer = reply_json({"app_metadata": {"roles": ["member"]}, "extra": 1})
    world = make(only("signup", answer))
    user_id = world.member(full_name="Ada")
    user = world.admin("GET", f"/admin/users/{user_id}").json
    assert user["app_metadata"] == {"roles": ["member"]}
    assert user["user_metadata"] == {"full_name": "Ada"}


def test_metadata_from_validate_is_in_signup(make: Make) -> None:
    """And what login answers is in the token of that very login."""
    answers = {
        "validate": reply_json({"user_metadata": {"from": "validate"}}),
        "signup": reply_json({"app_metadata": {"from": "signup", "n": None}}),
        "login": reply_json({"app_metadata": {"from": "login"}, "user_metadata": None}),
    }
    world = make(lambda event, _number: answers.get(event, 204))
    world.member(full_name="Ada")
    assert world.last_user["user_metadata"] == {"from": "validate"}
    token = world.token()
    user = world.call("GET", "/user", token=token).json
    assert world.last_user["app_metadata"] == {"from": "signup", "n": None}
    assert (user["app_metadata"], user["user_metadata"]) == (
        {"from": "login"},
        {"from": "validate"},
    )


MALFORMED = [
    b"OK", b"[]", b'"x"', b"1", b"{", b'{"app_metadata":[]}', b'{"user_metadata":"x"}', b"true",
    b'{"app_metadata":{"a":NaN}}', b'{"app_metadata":{"a":1e400}}', b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED)
def test_an_answer_that_is_no_json_object_is_500(make: Make, body: bytes) -> None:
    """To the person who signs up; and it is not tried again."""
    world = make(lambda *_: reply_json(body))
    reply = world.sign_up()
    assert reply.status == 500
    assert reply.json["msg"].startswith("Webhook returned malformed JSON: ")
    assert world.events == ["validate"]


READABLE: list[tuple[bytes, Any]] = [
    (b"null", None),
    (b"{}", None),
    (b'{"user_metadata":null}', None),
    (b' \n{"user_metadata":{"a":1}} trailing', {"a": 1}),
    (b'{"user_metadata":{"a":1},"user_metadata":{"a":2}}', {"a": 2}),
    (b'{"user_metadata":{"a":"\\ud800\xff"}}', {"a": "\ufffd\ufffd"}),
    (b'{"user_metadata":{"a":[null,{"b":"\\u0000"}]}}', {"a": [None, {"b": "\0"}]}),
]


@pytest.mark.parametrize(("body", "metadata"), READABLE)
def test_what_go_reads_is_read(make: Make, body: bytes, metadata: Any) -> None:
    """Leniently: what follows the value, duplicate keys, bad UTF-8."""
    world = make(only("validate", reply_json(body)))
    assert world.sign_up().json["user_metadata"] == metadata


def test_a_body_counts_without_an_announced_length(make: Make) -> None:
    """As it ends with the connection."""
    body = b'{"user_metadata":{"a":"b"}}'
    world = make(lambda *_: (200, {}, body))
    assert world.sign_up().json["user_metadata"] == {"a": "b"}


def test_keys_of_an_answer_match_in_any_letter_case(make: Make) -> None:
    """Those of the struct; those of the map are the map's own."""
    world = make(only("validate", reply_json({"User_Metadata": {"A": 1}})))
    assert world.sign_up().json["user_metadata"] == {"A": 1}


def test_a_map_that_the_database_cannot_hold_is_500(make: Make) -> None:
    """A hundred levels are the most."""
    for levels, status in ((100, 200), (101, 500)):
        deep: Any = {}
        for _ in range(levels - 1):
            deep = {"a": deep}
        world = make(only("validate", reply_json({"app_metadata": deep})))
        assert world.sign_up().status == status
        assert make().sign_up(**deep).status == status


def test_a_redirect_that_loses_the_body_reaches_nothing(make: Make) -> None:
    """The hook's address must be the final one: a GET is no event."""
    with answering((302, {"Location": "/hook"}, b""), 405) as stub:
        world = make(webhook=Webhook(url=f"{stub.url}/old", secret=SECRET))
        assert world.sign_up().json == NOT_HANDLED
    assert stub.methods[:2] == ["POST", "GET"]
    assert stub.requests[1][2] == b""


def test_a_failing_receiver_does_not_undo_what_an_administrator_did(make: Make) -> None:
    """Events of administration are sent after the commit, and lost for good."""
    world = make(lambda event, _number: 500 if event.startswith("user") else 204)
    user_id = world.member()
    path = f"/admin/users/{user_id}"
    assert world.admin("PUT", path, {"role": "editor"}).json["role"] == "editor"
    assert world.admin("GET", path).json["role"] == "editor"
    assert world.admin("DELETE", path).status == 200
    assert world.admin("GET", path).status == 404
    assert world.events[2:] == [*["usermodified"] * 3, *["userdeleted"] * 3]


def test_the_answer_to_usermodified_counts_the_one_to_userdeleted_does_not(make: Make) -> None:
    """The latter's body is not even read."""
    answers = {
        "usermodified": reply_json({"app_metadata": {"roles": ["x"]}}),
        "userdeleted": reply_json(b"not JSON"),
    }
    world = make(lambda event, _number: answers.get(event, 204))
    user_id = world.member()
    path = f"/admin/users/{user_id}"
    assert world.admin("PUT", path, {}).json["app_metadata"] == {"roles": ["x"]}
    assert world.admin("GET", path).json["app_metadata"] == {"roles": ["x"]}
    assert world.admin("DELETE", path).status == 200


@dataclass
class Slow:
    """A hook for one event that answers when it is told to; all other events are accepted."""

    event: str
    answer: int | Answer = 204
    called: Event = field(default_factory=Event)
    free: Event = field(default_factory=Event)

    def __call__(self, event: str, _number: int) -> int | Answer:
        if event != self.event:
            return 204
        self.called.set()
        assert self.free.wait(20)
        return self.answer

    @contextmanager
    def during(self, request: Callable[[], Any]) -> Iterator[Future[Any]]:
        """While the hook of this request is called; afterwards it has its answer."""
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(request)
            assert self.called.wait(20)
            try:
                yield asked
            finally:
                self.free.set()
            asked.result(20)


def roles(world: World, path: str) -> list[str]:
    """What Identity holds now."""
    found: list[str] = world.admin("GET", path).json["app_metadata"].get("roles", [])
    return found


def test_during_a_login_nothing_is_locked_and_its_answer_overwrites_the_whole_map(
    make: Make,
) -> None:
    """An administrator takes a role away at once; the hook's answer brings it back."""
    held = {"provider": "email", "roles": ["editor"]}
    slow = Slow("login", reply_json({"app_metadata": held}))
    world = make(slow, attempt_timeout_seconds=30.0, lock_wait_seconds=0.1)
    path = f"/admin/users/{world.member()}"
    world.admin("PUT", path, {"app_metadata": held})
    with slow.during(world.log_in) as login:
        taken = world.admin("PUT", path, {"app_metadata": {"roles": []}, "role": "boss"})
        assert (taken.status, roles(world, path), login.done()) == (200, [], False)
    assert roles(world, path) == ["editor"]
    assert world.admin("GET", path).json["role"] == "boss"


def test_a_login_that_answers_nothing_overwrites_nothing(make: Make) -> None:
    """Only columns that a request wrote are stored."""
    slow = Slow("login")
    world = make(slow, attempt_timeout_seconds=30.0)
    path = f"/admin/users/{world.member()}"
    with slow.during(world.log_in):
        world.admin("PUT", path, {"app_metadata": {"roles": ["editor"]}})
    assert roles(world, path) == ["editor"]


def test_during_a_plain_confirmation_nothing_is_locked(make: Make) -> None:
    """The row is written after the hook."""
    slow = Slow("signup")
    world = make(slow, attempt_timeout_seconds=30.0, lock_wait_seconds=0.1)
    path = f"/admin/users/{world.sign_up().json['id']}"
    with slow.during(world.confirm):
        assert world.admin("PUT", path, {"role": "editor"}).status == 200
    user = world.admin("GET", path).json
    assert (user["role"], "confirmed_at" in user) == ("editor", True)


def test_during_a_first_login_by_a_provider_of_an_account_that_exists_nothing_is_locked(
    make: Make,
) -> None:
    """Nor is its address during a later one."""
    slow = Slow("signup")
    world = make(slow, attempt_timeout_seconds=30.0, lock_wait_seconds=0.1)
    path = f"/admin/users/{world.sign_up().json['id']}"
    with slow.during(world.external):
        assert world.admin("PUT", path, {"role": "editor"}).status == 200
    slow.event, slow.called, slow.free = "login", Event(), Event()
    with slow.during(world.external):
        assert world.sign_up("Ada@example.com").status == 400


def accept_invite(world: World) -> str:
    """An invited account; its link waits in the last mail."""
    return str(world.admin("POST", "/invite", {"email": "ada@example.com"}).json["id"])


def recover_unconfirmed(world: World) -> str:
    """An unconfirmed account that asked for a recovery."""
    user_id = str(world.sign_up().json["id"])
    world.call("POST", "/recover", {"email": "ada@example.com"})
    return user_id


def made_by_an_administrator(world: World) -> str:
    """An account that an administrator made, unconfirmed."""
    body = {"email": "ada@example.com", "password": PASSWORD}
    return str(world.admin("POST", "/admin/users", body).json["id"])


def click(kind: str) -> Callable[[World], Any]:
    """Follow the link in the last mail."""

    def verify(world: World) -> Any:
        body = {"type": kind, "token": world.mails[-1].token, "password": PASSWORD}
        return world.call("POST", "/verify", body)

    return verify


LOCKING: list[tuple[Callable[[World], str], Callable[[World], Any], dict[str, Any]]] = [
    (accept_invite, click("signup"), {}),
    (accept_invite, lambda w: w.external(more=f"&invite_token={w.mails[-1].token}"), {}),
    (recover_unconfirmed, click("recovery"), {}),
    (made_by_an_administrator, lambda world: world.sign_up(), {"autoconfirm": True}),
]


@pytest.mark.parametrize(
    ("prepare", "request_", "options"),
    LOCKING,
    ids=["invite", "invite by a provider", "recovery", "autoconfirm"],
)
def test_a_row_written_before_the_hook_is_locked_until_the_commit(
    make: Make,
    prepare: Callable[[World], str],
    request_: Callable[[World], Any],
    options: dict[str, Any],
) -> None:
    """A change from inside such a hook waits for itself, and is told so at last."""
    slow = Slow("signup")
    world = make(slow, attempt_timeout_seconds=30.0, lock_wait_seconds=0.1, **options)
    path = f"/admin/users/{prepare(world)}"
    with slow.during(lambda: request_(world)):
        refused = world.admin("PUT", path, {"role": "editor"})
        assert (refused.status, refused.json["msg"]) == (500, "Lock wait timeout exceeded")
        assert world.admin("GET", path).status == 200
    assert world.admin("PUT", path, {"role": "editor"}).status == 200
    assert world.emulator._instance.locks._locks == {}


def test_a_change_that_waits_for_a_locked_row_overwrites_it_afterwards(make: Make) -> None:
    """It writes the map that it read before it waited."""
    slow = Slow("signup", reply_json({"app_metadata": {"roles": ["member"]}}))
    world = make(slow, attempt_timeout_seconds=30.0)
    path = f"/admin/users/{accept_invite(world)}"
    body = {"app_metadata": {"roles": ["editor"]}}
    with ThreadPoolExecutor(1) as pool:
        with slow.during(lambda: click("signup")(world)):
            waiting = pool.submit(world.admin, "PUT", path, body)
            sleep(0.2)
            assert not waiting.done()
        assert waiting.result(20).status == 200
    assert roles(world, path) == ["editor"]


def test_reading_the_account_from_inside_its_hook_does_not_wait(make: Make) -> None:
    """As with the real database: one sees what was committed."""
    seen: list[Any] = []

    def respond(event: str, _number: int) -> int:
        if event == "signup":
            seen.append(world.admin("GET", "/admin/users").json["users"][0])
        return 204

    world = make(respond)
    world.member()
    assert "confirmed_at" not in seen[0]


def test_other_accounts_do_not_wait_for_a_slow_hook(make: Make) -> None:
    """Neither the database nor another account is held while a hook is called."""
    blocked, free = Event(), Event()

    def respond(event: str, _number: int) -> int:
        if event == "login" and not blocked.is_set():
            blocked.set()
            assert free.wait(20)
        return 204

    world = make(respond, attempt_timeout_seconds=30.0)
    world.member()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(world.log_in)
        assert blocked.wait(20)
        world.member("bob@example.com")
        assert world.log_in("bob@example.com").status == 200
        assert not slow.done()
        free.set()
        assert slow.result(20).status == 200


def test_many_signups_of_one_address_make_one_account(make: Make) -> None:
    """The address is held from the first look to the commit."""
    world = make(lambda *_: 204)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: world.sign_up(), range(8)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["id"] for reply in replies}) == 1
    assert world.events == ["validate"]


def test_one_link_clicked_twice_at_once_lets_in_twice(make: Make) -> None:
    """Nothing is locked before the hook, so that both find the token good."""
    slow = Slow("signup")
    world = make(slow, attempt_timeout_seconds=30.0)
    world.sign_up()
    with ThreadPoolExecutor(1) as pool, slow.during(world.confirm) as first:
        second = pool.submit(world.confirm)
        while world.events.count("signup") < 2:
            sleep(0.01)
        slow.free.set()
        assert (first.result(20).status, second.result(20).status) == (200, 200)
    assert world.confirm().status == 404


def test_one_refresh_token_used_many_times_at_once_is_good_once(make: Make) -> None:
    """Exactly one gets new tokens."""
    world = make()
    world.member()
    held = world.log_in().json["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: world.refresh(held), range(8)))
    assert sorted(reply.status for reply in replies) == [200, *[400] * 7]


def test_a_crowd_signs_up_at_once(make: Make) -> None:
    """Everybody gets an account; nobody meets a locked database."""
    world = make(autoconfirm=True)
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda n: world.sign_up(f"u{n}@example.com"), range(60)))
    assert {reply.status for reply in replies} == {200}
    assert world.admin("GET", "/admin/users").headers["X-Total-Count"] == "60"
