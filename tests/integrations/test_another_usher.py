"""A guard that asks another Usher: what it remembers, and what it makes of odd answers."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.api.api_support import BOSS, People, bearer
from tests.integrations.conftest import asking
from tests.stub import HANG, Answer, Stub, answering, serving
from tests.support import NOON, Clock, free_port
from usher.core.domain import administration
from usher.core.errors import (
    AccountSuspendedError,
    GuardError,
    TooManyRequestsError,
    UnauthenticatedError,
    UsherError,
)
from usher.core.identity import http as identity_http
from usher.core.settings import Settings
from usher.integrations import guard as guard_module
from usher.integrations.guard import Guard, Visit

ADA = UUID(int=7)
MINE = {
    "id": str(ADA),
    "email": "ada@example.com",
    "status": "active",
    "roles": ["editor"],
    "profile": {"likes": "tea"},
    "user_metadata": {},
    "app_metadata": {},
    "written": {},
    "something": "of a later version",
}


def told(etag: str = '"1-a"', **fields: Any) -> Answer:
    """An Usher's answer about Ada."""
    return 200, {"ETag": etag}, json.dumps(MINE | fields).encode()


def refused(status: int, code: str, **headers: str) -> Answer:
    """An Usher's refusal."""
    return status, headers, json.dumps({"code": code, "status": status}).encode()


def visit(user_id: UUID = ADA, **more: Any) -> Visit:
    """A request with a good token; nobody here can check its signature."""
    claims = more.pop("claims", {})
    return Visit("GET", (f"Bearer {bearer(user_id, NOON, b's' * 32, **claims)}",), **more)


def test_its_answer_is_the_caller(clock: Clock) -> None:
    """It gets the token and nothing else of the request."""
    with answering(told()) as stub, asking(stub.url, clock):
        caller = Guard().check(visit(cookies=("a=b",), forwarded=("9.9.9.9",)), {"editor"})
        assert (caller.id, caller.email, caller.roles) == (ADA, "ada@example.com", {"editor"})
        assert caller.profile == {"likes": "tea"}
        ((path, headers, body),) = stub.requests
        assert (path, body) == ("/api/me", b"")
        assert headers["authorization"].startswith("Bearer ey")
        assert not {"cookie", "x-forwarded-for", "usher-key", "usher-client"} & set(headers)


def test_an_answer_is_remembered_for_ten_seconds_and_then_asked_about(clock: Clock) -> None:
    """By its ETag; 304 renews it, anything else takes its place."""
    answers = [told('"1-a"'), (304, {}, b""), told('"2-b"', roles=[])]
    with answering(*answers) as stub, asking(stub.url, clock):
        guard = Guard()
        for seconds, asked, roles in [
            (0, 1, {"editor"}), (9, 1, {"editor"}), (1, 2, {"editor"}), (9, 2, {"editor"}),
            (1, 3, set()), (9, 3, set()),
        ]:  # fmt: skip
            clock.advance(seconds=seconds)
            assert guard.check(visit()).roles == roles
            assert len(stub.requests) == asked
        tags = [headers.get("if-none-match") for _, headers, _ in stub.requests]
        assert tags == [None, '"1-a"', '"1-a"']


def test_a_guard_that_remembers_nothing_asks_each_time(clock: Clock) -> None:
    """And more than ten seconds is no choice; nor is a clock that was set back."""
    with answering(told(), (304, {}, b""), (304, {}, b""), told()) as stub, asking(stub.url, clock):
        guard = Guard(remember=0)
        assert [guard.check(visit()).roles for _ in range(3)] == [{"editor"}] * 3
        assert len(stub.requests) == 3
        usual = Guard()
        usual.check(visit())
        clock.advance(seconds=-60)
        usual.check(visit())
        assert len(stub.requests) == 5
    for seconds in (-1, 10.1, 60):
        with pytest.raises(ValueError, match="at most 10 seconds"):
            Guard(remember=seconds)


def test_nothing_is_remembered_past_the_tokens_end(clock: Clock) -> None:
    """Nor, by choice, while nobody can be asked."""
    end = int(NOON.timestamp()) + 5
    with answering(told(), 500) as stub, asking(stub.url, clock):
        guard = Guard(stale_ok=3600)
        assert guard.check(visit(claims={"exp": end}))
        clock.advance(seconds=5)
        with pytest.raises(UnauthenticatedError):
            guard.check(visit(claims={"exp": end}))
        assert len(stub.requests) == 1


def test_what_cannot_be_good_is_not_asked_about(clock: Clock) -> None:
    """Another Usher is not bothered with it."""
    with answering(told()) as stub, asking(stub.url, clock):
        bad = [{"exp": 1}, {"exp": None}, {"iss": "gotrue"}, {"sha256": "0"}, {"nbf": 2**40}]
        for claims in bad:
            with pytest.raises(UnauthenticatedError):
                Guard().check(visit(claims=claims))
        for text in ("x", "a.b.c", "usher_key_of_a_machine", "é.é.é"):
            with pytest.raises(UnauthenticatedError):
                Guard().check(Visit("GET", (f"Bearer {text}",)))
        assert stub.requests == []


ODD: dict[str, Answer | int] = {
    "broken": 500,
    "busy": 503,
    "a proxy's 401": (401, {"WWW-Authenticate": "Basic"}, b"<html>"),
    "a proxy's 403": 403,
    "a proxy's 429": 429,
    "not through its site": refused(403, "not_through_site"),
    "nothing there": refused(404, "not_found"),
    "moved": (302, {"Location": "http://127.0.0.1:9/api/me"}, b""),
    "a page": (200, {}, b"<!doctype html>"),
    "a list": (200, {}, b"[]"),
    "nothing known": (200, {}, b"{}"),
    "no UTF-8": (200, {}, b'{"id":"\xff"}'),
    "100,000 levels": (200, {}, b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "its roles a text": told(roles="editor"),
    "its roles numbers": told(roles=[1]),
    "somebody pending": told(status="pending"),
    "somebody suspended": told(status="suspended"),
    "of no status": told(status=None),
    "somebody else": told(id=str(UUID(int=8))),
    "304 about nothing": (304, {}, b""),
    "204": 204,
    "without end": (200, {}, b"{" + b" " * (identity_http.MAX_ANSWER_BYTES + 10)),
    "cut off": (200, {"Content-Length": "5000"}, b"{"),
    "silent": HANG,
}


@pytest.mark.parametrize("kind", ODD)
def test_an_answer_that_is_none_lets_nobody_in(
    clock: Clock, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and the log says why; nothing of the answer or the token is in it."""
    monkeypatch.setattr(identity_http, "READ_SECONDS", 0.3)
    monkeypatch.setattr(identity_http, "BODY_SECONDS", 0.3)
    with answering(ODD[kind]) as stub, asking(stub.url, clock), capture_logs() as lines:
        with pytest.raises(GuardError) as caught:
            Guard().check(visit())
        assert (caught.value.status, caught.value.detail) == (503, "")
    (line,) = [line for line in lines if line["event"] == "guard.failed"]
    assert "eyJ" not in str(lines)
    assert line["code"] in ("guard_unavailable", "RecursionError", "UnicodeDecodeError"), line


def test_an_usher_that_is_away_lets_nobody_in(clock: Clock) -> None:
    """Until it is back."""
    with asking(f"http://127.0.0.1:{free_port()}", clock), pytest.raises(GuardError):
        Guard().check(visit())
    with answering(500, told()) as stub, asking(stub.url, clock):
        guard = Guard()
        with pytest.raises(GuardError):
            guard.check(visit())
        assert guard.check(visit()).id == ADA


REFUSALS = [
    (refused(401, "unauthenticated"), "unauthenticated"),
    (refused(403, "account_suspended"), "account_suspended"),
    (refused(403, "account_deleted"), "account_deleted"),
    (told(status="waiting", roles=[]), "account_waiting"),
    (refused(409, "instance_unknown"), "instance_unknown"),
    (refused(429, "too_many_requests", **{"Retry-After": "7"}), "too_many_requests"),
]


@pytest.mark.parametrize(("answer", "code"), REFUSALS, ids=[code for _, code in REFUSALS])
def test_its_word_about_a_caller_is_passed_on(clock: Clock, answer: Answer, code: str) -> None:
    """Not remembered: the next request asks again."""
    with answering(answer, told()) as stub, asking(stub.url, clock):
        guard = Guard(stale_ok=60)
        with pytest.raises(UsherError) as caught:
            guard.check(visit())
        assert caught.value.code == code
        if isinstance(caught.value, TooManyRequestsError):
            assert caught.value.retry_after_seconds == 7
        assert guard.check(visit()).id == ADA


@pytest.mark.parametrize(("stale_ok", "seconds", "passes"), [
    (0, 10, False), (60, 10, True), (60, 60, True), (60, 61, False),
])  # fmt: skip
def test_an_older_answer_counts_only_by_choice(
    clock: Clock, stale_ok: float, seconds: float, passes: bool
) -> None:
    """For so long, and while nobody can be asked."""
    with answering(told(), 500) as stub, asking(stub.url, clock):
        guard = Guard(stale_ok=stale_ok)
        guard.check(visit())
        clock.advance(seconds=seconds)
        for _ in range(2):
            if passes:
                assert guard.check(visit(), {"editor"}).roles == {"editor"}
            else:
                with pytest.raises(GuardError):
                    guard.check(visit())
        with pytest.raises(GuardError):  # somebody whom it never saw
            guard.check(visit(UUID(int=8)))


def test_an_older_answer_does_not_count_for_somebody_refused_since(clock: Clock) -> None:
    """A suspension that was seen once holds through an outage; a 429 says nothing about them."""
    answers: list[Any] = [
        told(), refused(429, "too_many_requests"), 500, refused(403, "account_suspended"), 500,
    ]  # fmt: skip
    with answering(*answers) as stub, asking(stub.url, clock):
        guard = Guard(stale_ok=3600)
        guard.check(visit())
        outcomes: list[Any] = []
        for _ in range(4):
            clock.advance(seconds=10)
            try:
                outcomes.append(guard.check(visit()).id)
            except UsherError as error:
                outcomes.append(type(error))
        assert outcomes == [TooManyRequestsError, ADA, AccountSuspendedError, GuardError]


def test_somebody_shut_out_passes_by_no_older_token_of_theirs_either(clock: Clock) -> None:
    """Pages fetch a new token each hour; one that is refused by itself says nothing of others."""
    bob = UUID(int=8)
    no_token, shut = refused(401, "unauthenticated"), refused(403, "account_suspended")
    answers: list[Any] = [told(), told(id=str(bob)), no_token, 500, shut, 500, 500]
    with answering(*answers) as stub, asking(stub.url, clock):
        guard = Guard(stale_ok=3600, remember=0)
        newer = visit(claims={"iat": 1})
        assert guard.check(visit()).id == ADA
        assert guard.check(visit(bob)).id == bob
        with pytest.raises(UnauthenticatedError):
            guard.check(newer)
        assert guard.check(visit()).id == ADA
        with pytest.raises(AccountSuspendedError):
            guard.check(newer)
        with pytest.raises(GuardError):
            guard.check(visit())
        assert guard.check(visit(bob)).id == bob


def test_an_answer_about_somebody_else_does_not_count_as_an_older_one(clock: Clock) -> None:
    """Neither is the mixed-up answer taken, nor the choice forgotten."""
    other = told(id=str(UUID(int=8)), roles=["admin"])
    with answering(told(), other) as stub, asking(stub.url, clock):
        guard = Guard(stale_ok=60)
        guard.check(visit())
        clock.advance(seconds=10)
        assert guard.check(visit()).roles == {"editor"}


def test_only_so_many_callers_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is asked about again."""
    monkeypatch.setattr(guard_module, "REMEMBERED", 2)
    with answering(told()) as stub, asking(stub.url, clock):
        guard = Guard()
        for jti, asked in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("b", 3), ("a", 4)]:
            guard.check(visit(claims={"jti": jti}))
            assert len(stub.requests) == asked, jti


@pytest.mark.parametrize(
    ("peer", "forwarded", "named"),
    [
        ("9.9.9.9", (), "9.9.9.9"),
        ("9.9.9.9", ("8.8.4.4",), "9.9.9.9"),
        ("10.0.0.1", ("6.6.6.6, 8.8.4.4",), "8.8.4.4"),
        ("2001:4860:1:2:3::9", (), "2001:4860:1:2::/64"),
        ("10.9.9.9", (), None),
        ("", (), None),
    ],
)  # fmt: skip
def test_the_clients_address_is_named_with_a_key(
    clock: Clock, peer: str, forwarded: tuple[str, ...], named: str | None
) -> None:
    """As its network, where that is public; a proxy's word counts where it is trusted."""
    key = "usher_" + "k" * 40
    with answering(told()) as stub, asking(stub.url, clock, key=key, trusted_proxies="10.0.0.1"):
        Guard().check(visit(peer=peer, forwarded=forwarded))
        ((_, headers, _),) = stub.requests
        assert headers.get("usher-client") == named
        assert headers.get("usher-key") == (key if named else None)


def test_while_it_is_away_one_request_tries_and_others_fail_at_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung Usher does not take every thread of a site; the first answer opens again."""
    monkeypatch.setattr(identity_http, "READ_SECONDS", 0.2)
    trying, goes_on = threading.Event(), threading.Event()

    def answer(number: int, *_: object) -> Answer:
        if number == 1:
            return HANG
        trying.set()
        goes_on.wait(30)
        return told()

    with serving(answer) as stub, asking(stub.url, clock):
        guard = Guard(remember=0)
        with pytest.raises(GuardError):
            guard.check(visit())
        monkeypatch.setattr(identity_http, "READ_SECONDS", 30)
        found: list[UUID] = []
        remote: Any = guard._source
        remote[1]._http = identity_http.BoundedHttp(stub.url)
        thread = threading.Thread(target=lambda: found.append(guard.check(visit()).id))
        thread.start()
        assert trying.wait(30)
        for _ in range(20):
            with pytest.raises(GuardError):
                guard.check(visit())
        assert len(stub.requests) == 2
        goes_on.set()
        thread.join()
        assert found == [ADA]
        assert guard.check(visit()).id == ADA


def test_a_role_that_ends_by_itself_ends_at_the_guard(
    people: People, over_http: Stub, clock: Clock
) -> None:
    """The record's version stays; the ETag does not."""
    users = people.app.store.users
    grant = administration.grant("editor", expires_at=NOON + timedelta(seconds=30))
    users.change(users.get(people.ids["user"]), grant, BOSS)
    guard = Guard()
    token = Visit("GET", (people.token("user"),))
    with asking(over_http.url, clock):
        for seconds, holds in [(0, True), (10, True), (10, True), (10, False)]:
            clock.advance(seconds=seconds)
            assert ("editor" in guard.check(token).roles) is holds
    tags = {headers.get("if-none-match") for _, headers, _ in over_http.requests}
    assert len(over_http.requests) == 4
    assert len(tags - {None}) == 1


def test_the_key_and_the_address_are_settings() -> None:
    """Neither needs a webhook secret beside it; a key is as long as a secret."""
    found = Settings.from_env(
        {"USHER_URL": "https://usher.example/", "USHER_KEY": "k" * 32}, verifies=False
    )
    assert (found.url, found.key) == ("https://usher.example", "k" * 32)
